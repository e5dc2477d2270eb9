//! What each finding costs.
//!
//! The lesson: the numbers are in one documented file, and a TA's file is laid over it key by key. So the
//! built-in file is at once the documentation, the default, and the list of keys that there are: what it
//! does not know is a spelling mistake and is refused with its line, never ignored.
//!
//! Left out: policies that change what is checked. A key can make a finding free, not make it vanish.

use crate::limits::{POLICY_BYTES, POLICY_POINTS};
use crate::model::{Class, Kind};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The built-in policy with its documentation, for people who want to begin with a copy.
pub const BUILT_IN: &str = include_str!("policy.toml");

/// Why a policy cannot be used. Each is shown to a person as it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("the policy {}: {reason}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// No TOML.
    #[error("{at}: {reason}")]
    Syntax {
        /// File and line.
        at: String,
        /// What the parser says.
        reason: String,
    },
    /// A key that no policy has.
    #[error("{at}: there is no key `{key}`; the built-in policy shows all that there are")]
    Unknown {
        /// File and line.
        at: String,
        /// The key, with its section.
        key: String,
    },
    /// A value that breaks a rule.
    #[error("{at}: {key} = {value}: it has to be a number from 0 to {POLICY_POINTS}")]
    Value {
        /// File and line.
        at: String,
        /// The key, with its section.
        key: String,
        /// As it is written.
        value: String,
    },
    /// The built-in policy lacks a key: a fault of the grader.
    #[error("the built-in policy has no key `{0}`, which is a fault of the grader: report it")]
    Missing(&'static str),
}

/// A cost in both readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// With white space, final period and case of the type ignored.
    pub lenient: f64,
    /// The document to the letter.
    pub strict: f64,
}

impl Cost {
    /// The same in both readings.
    pub fn both(points: f64) -> Cost {
        Cost { lenient: points, strict: points }
    }
}

/// What each finding costs. The built-in file says what each key means.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What "Submission Rules" is worth in all.
    pub hand_in: f64,
    /// Each point of the README that is not addressed.
    pub readme_point: f64,
    /// Misnamed sources.
    pub source_names: f64,
    /// A misnamed archive.
    pub archive_name: f64,
    /// Rule 10, for each file.
    pub missing_file: f64,
    /// What each phase is worth.
    pub phases: [f64; 3],
    /// Rule 5: what is left.
    pub no_compile: f64,
    /// Rule 6: what is left.
    pub no_task: f64,
    /// Rule 11.
    pub ports: f64,
    /// Rule 12.
    pub error: f64,
    /// Rule 12, for what is wrong with negative numbers only.
    pub negative: f64,
    /// Rule 12, for what is wrong beyond 32 bits only.
    pub wide: f64,
    /// Rule 12, for what is wrong with thousands of numbers only.
    pub large: f64,
    /// Rule 12, for each kind of difference.
    screen: BTreeMap<Kind, Cost>,
    /// Each probe that went badly.
    pub probe: f64,
    /// Rule 15.
    pub fork: f64,
    /// Rule 13.
    pub least: f64,
    /// Rule 17.
    pub most: f64,
    /// Bytes a number that have to be seen on the wire.
    pub bytes_per_number: f64,
    /// Inputs with more numbers are not judged by volume.
    pub most_numbers: f64,
}

impl Policy {
    /// Reads a policy: the built-in one, with the values of the file at `path` in place of its own.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, has a key that is not known or a value out of range.
    pub fn load(path: Option<&Path>) -> Result<Policy, Error> {
        let mut values = flatten("the built-in policy", BUILT_IN, None)?;
        if let Some(path) = path {
            let text = read(path)
                .map_err(|e| Error::Unreadable { path: path.to_owned(), reason: e.to_string() })?;
            let own = flatten(&path.display().to_string(), &text, Some(&values))?;
            values.extend(own);
        }
        Policy::from_values(&values)
    }

    fn from_values(values: &BTreeMap<String, f64>) -> Result<Policy, Error> {
        let get = |key: &'static str| values.get(key).copied().ok_or(Error::Missing(key));
        let cost = |lenient, strict| Ok(Cost { lenient: get(lenient)?, strict: get(strict)? });
        let screen = [
            (Kind::WrongValue, cost("screen.wrong-value.lenient", "screen.wrong-value.strict")?),
            (Kind::MissingLine, cost("screen.missing-line.lenient", "screen.missing-line.strict")?),
            (Kind::ExtraLine, cost("screen.extra-line.lenient", "screen.extra-line.strict")?),
            (Kind::Wording, cost("screen.wording.lenient", "screen.wording.strict")?),
            (Kind::TypeCase, cost("screen.type-case.lenient", "screen.type-case.strict")?),
            (Kind::Case, cost("screen.case.lenient", "screen.case.strict")?),
            (Kind::Punctuation, cost("screen.punctuation.lenient", "screen.punctuation.strict")?),
            (Kind::WhiteSpace, cost("screen.white-space.lenient", "screen.white-space.strict")?),
            (Kind::LookAlike, cost("screen.look-alike.lenient", "screen.look-alike.strict")?),
        ];
        Ok(Policy {
            hand_in: get("hand-in.points")?,
            readme_point: get("hand-in.readme-point")?,
            source_names: get("hand-in.source-names")?,
            archive_name: get("hand-in.archive-name")?,
            missing_file: get("hand-in.missing-file")?,
            phases: [get("phases.first")?, get("phases.second")?, get("phases.third")?],
            no_compile: get("tiers.no-compile")?,
            no_task: get("tiers.no-task")?,
            ports: get("errors.ports")?,
            error: get("errors.each")?,
            negative: get("classes.negative")?,
            wide: get("classes.wide")?,
            large: get("classes.large")?,
            screen: screen.into_iter().collect(),
            probe: get("probes.points")?,
            fork: get("bonus.fork")?,
            least: get("bounds.least")?,
            most: get("bounds.most")?,
            bytes_per_number: get("wire.bytes-per-number")?,
            most_numbers: get("wire.most-numbers")?,
        })
    }

    /// What a flawless submission has before any bonus: the hand-in and all phases.
    pub fn full(&self) -> f64 {
        self.hand_in + self.phases.iter().sum::<f64>()
    }

    /// What is left at most when `phase` is the last that works: rules 6 to 9.
    pub fn tier(&self, phase: u8) -> f64 {
        match phase {
            0 => self.no_task,
            phase => self.hand_in + self.phases.iter().take(usize::from(phase)).sum::<f64>(),
        }
    }

    /// What a difference of this kind costs.
    pub fn screen(&self, kind: Kind) -> Cost {
        self.screen.get(&kind).copied().unwrap_or(Cost::both(self.error))
    }

    /// What being wrong with such inputs only costs.
    pub fn class(&self, class: Class) -> f64 {
        match class {
            Class::Ordinary => self.error,
            Class::Negative => self.negative,
            Class::Wide => self.wide,
            Class::Large => self.large,
            Class::Beyond => 0.0,
        }
    }
}

/// Reads a small UTF-8 file whole.
fn read(path: &Path) -> io::Result<String> {
    // A pipe or device might block for ever, or never end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    File::open(path)?.take(POLICY_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > POLICY_BYTES {
        return Err(io::Error::other(format!(
            "it is longer than {POLICY_BYTES} bytes, which nobody meant"
        )));
    }
    Ok(text)
}

/// All values of a policy by `section.key`; with `known`, any other key is refused.
fn flatten(
    origin: &str,
    text: &str,
    known: Option<&BTreeMap<String, f64>>,
) -> Result<BTreeMap<String, f64>, Error> {
    let at = |start: usize| {
        let before = &text.as_bytes()[..start.min(text.len())];
        format!("{origin}:{}", 1 + before.iter().filter(|byte| **byte == b'\n').count())
    };
    let root = DeTable::parse(text).map_err(|e| Error::Syntax {
        at: at(e.span().map_or(0, |span| span.start)),
        reason: e.message().to_owned(),
    })?;
    let mut values = BTreeMap::new();
    let mut tables = vec![(String::new(), root.get_ref())];
    while let Some((prefix, table)) = tables.pop() {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let at = at(name.span().start);
            if let DeValue::Table(table) = value.get_ref() {
                let prefix = format!("{key}.");
                if known.is_some_and(|known| !known.keys().any(|known| known.starts_with(&prefix))) {
                    return Err(Error::Unknown { at, key });
                }
                tables.push((prefix, table));
                continue;
            }
            if known.is_some_and(|known| !known.contains_key(&key)) {
                return Err(Error::Unknown { at, key });
            }
            let Some(points) = points(value) else {
                let value = text.get(value.span()).unwrap_or_default().to_owned();
                return Err(Error::Value { at, key, value });
            };
            values.insert(key, points);
        }
    }
    Ok(values)
}

/// A number of points in range.
fn points(value: &Spanned<DeValue<'_>>) -> Option<f64> {
    let points: f64 = match value.get_ref() {
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().ok()?,
        DeValue::Float(float) => float.as_str().parse().ok()?,
        _ => return None,
    };
    (0.0..=POLICY_POINTS).contains(&points).then_some(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Policy, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        std::fs::write(&path, text).unwrap();
        let place = format!("{}/", folder.path().display());
        Policy::load(Some(&path)).map_err(|e| e.to_string().replace(&place, ""))
    }

    #[test]
    fn the_built_in_policy_is_the_document() {
        let policy = Policy::load(None).unwrap();
        assert_eq!(policy.full(), 100.0);
        assert_eq!([0, 1, 2, 3].map(|phase| policy.tier(phase)), [10.0, 35.0, 75.0, 100.0]);
        assert_eq!(policy.no_compile, 5.0);
        assert_eq!((policy.missing_file, policy.ports, policy.error), (15.0, 10.0, 5.0));
        assert_eq!((policy.fork, policy.least, policy.most), (10.0, 10.0, 100.0));
        let readme = 8.0 * policy.readme_point;
        assert_eq!(readme + policy.source_names + policy.archive_name, policy.hand_in);
    }

    #[test]
    fn the_lenient_reading_forgives_what_the_model_says_and_extra_lines() {
        let policy = Policy::load(None).unwrap();
        for (kind, cost) in &policy.screen {
            let forgiven = kind.forgiven() || *kind == Kind::ExtraLine;
            assert_eq!(cost.lenient, if forgiven { 0.0 } else { 5.0 }, "{kind:?}");
            assert_eq!(cost.strict, 5.0, "{kind:?}");
        }
    }

    #[test]
    fn a_file_changes_only_the_keys_that_it_has() {
        let policy = load(
            "[errors]\neach = 2.5\n[probes]\npoints = 1\n[screen]\nextra-line = { lenient = 3 }\n\
             [classes]\nwide = 0",
        )
        .unwrap();
        let built_in = Policy::load(None).unwrap();
        assert_eq!(policy.error, 2.5);
        assert_eq!(policy.probe, 1.0);
        assert_eq!(policy.screen(Kind::ExtraLine), Cost { lenient: 3.0, strict: 5.0 });
        assert_eq!(policy.class(Class::Wide), 0.0);
        assert_eq!(policy.phases, built_in.phases);
        assert_eq!(load("").unwrap(), built_in);
    }

    #[test]
    fn errors_say_where_and_what_to_do() {
        let refused = |text: &str| load(text).unwrap_err();
        assert_eq!(
            refused("[errors]\n\nportz = 3\n"),
            "policy.toml:3: there is no key `errors.portz`; the built-in policy shows all that there are"
        );
        assert!(
            refused("\n[penalties]\nx = 1").starts_with("policy.toml:2: there is no key `penalties`")
        );
        assert!(refused("errors = 3").starts_with("policy.toml:1: there is no key `errors`"));
        assert!(
            refused("[errors.each]\nx=1").starts_with("policy.toml:1: there is no key `errors.each`")
        );
        for wrong in ["-1", "1001", "nan", "inf", "\"5\"", "true", "[5]", "0x5"] {
            assert_eq!(
                refused(&format!("[errors]\neach = {wrong}")),
                format!("policy.toml:2: errors.each = {wrong}: it has to be a number from 0 to 1000")
            );
        }
        assert!(refused("[errors]\neach = ").starts_with("policy.toml:2: "));
        assert!(refused("[errors]\neach = 1\neach = 2").starts_with("policy.toml:3: "));
        assert!(refused(&"#".repeat(1 << 17)).contains("longer than 65536 bytes"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let e = Policy::load(Some(Path::new("/nowhere/policy.toml"))).unwrap_err();
        assert_eq!(
            e.to_string(),
            "the policy /nowhere/policy.toml: No such file or directory (os error 2)"
        );
        let e = Policy::load(Some(Path::new("/dev/zero"))).unwrap_err();
        assert!(e.to_string().contains("it is not a file"));
    }
}
