//! A Makefile's rules, as far as the five targets are concerned.
//!
//! Left out: functions, conditionals (all branches count), included files, pattern rules.

use super::names;
use crate::limits::LOOKED_AT_BYTES;
use std::collections::{BTreeMap, BTreeSet};

/// What a Makefile must make.
pub(crate) const TARGETS: [&str; 5] = ["all", "serverA", "serverB", "serverC", "aws"];
/// Variables that are replaced inside variables, and bytes of the line that comes of it.
const DEPTH: usize = 8;
const EXPANDED_BYTES: usize = 16 << 10;
/// Bytes of all rules with their variables replaced. What is behind is not looked at.
const KEPT_BYTES: usize = 4 * LOOKED_AT_BYTES;
/// Words that begin a line that is neither a rule nor an assignment.
const DIRECTIVES: [&str; 14] = [
    "include", "-include", "sinclude", "ifeq", "ifneq", "ifdef", "ifndef", "else", "endif", "define",
    "endef", "export", "unexport", "vpath",
];

/// What is known of one target.
#[derive(Debug, Default)]
pub(crate) struct Target {
    /// What it depends on.
    pub(crate) needs: BTreeSet<String>,
    /// Its commands, with variables replaced.
    pub(crate) recipe: Vec<String>,
}

/// A Makefile.
#[derive(Debug, Default)]
pub(crate) struct Makefile {
    /// The targets of explicit rules.
    pub(crate) targets: BTreeMap<String, Target>,
    /// What `.PHONY` names.
    pub(crate) phony: BTreeSet<String>,
    variables: BTreeMap<String, String>,
    /// The files that commands write.
    made: BTreeSet<String>,
    kept_bytes: usize,
}

impl Makefile {
    /// Reads the rules in a Makefile's text. What it does not understand it skips.
    pub(crate) fn parse(text: &str) -> Makefile {
        let mut makefile = Makefile::default();
        let lines = joined(text);
        for line in lines.iter().filter(|line| !line.starts_with('\t')) {
            makefile.assign(line);
        }
        let mut now: Vec<String> = Vec::new();
        for line in &lines {
            if let Some(command) = line.strip_prefix('\t') {
                makefile.command(&now, command);
            } else if !is_blank(line) && !is_directive(line) && split_assignment(line).is_none() {
                now = makefile.rule(line);
            }
        }
        makefile
    }

    /// Whether there is a rule for a target.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.targets.contains_key(name)
    }

    /// The prescribed targets that are not there.
    pub(crate) fn missing_targets(&self) -> Vec<String> {
        TARGETS.iter().filter(|name| !self.has(name)).map(|name| name.to_string()).collect()
    }

    /// Whether `make NAME` always runs the commands: the name is phony, or no file's, or depends on such.
    pub(crate) fn is_never_up_to_date(&self, name: &str, files: &BTreeSet<&str>) -> bool {
        let mut seen = BTreeSet::from([name]);
        let mut todo = vec![name];
        while let Some(name) = todo.pop() {
            if self.phony.contains(name) {
                return true;
            }
            let Some(target) = self.targets.get(name) else { continue };
            let by_itself = target.recipe.is_empty() && target.needs.iter().any(|need| is_code(need));
            if !(by_itself || self.made.contains(name) || files.contains(name)) {
                return true;
            }
            todo.extend(target.needs.iter().map(String::as_str).filter(|need| seen.insert(need)));
        }
        false
    }

    /// Whether a target's own commands start a program that lies there.
    pub(crate) fn runs(&self, name: &str) -> bool {
        let commands = self.targets.get(name).into_iter().flat_map(|target| &target.recipe);
        commands.flat_map(|line| line.split([';', '&', '|'])).any(|command| {
            command
                .trim_start_matches(|c: char| c.is_whitespace() || "@-+".contains(c))
                .starts_with("./")
        })
    }

    /// Whether a command writes a file of that name.
    pub(crate) fn makes(&self, name: &str) -> bool {
        self.made.contains(name)
    }

    /// Whether any rule depends on a name.
    pub(crate) fn is_needed(&self, name: &str) -> bool {
        self.targets.values().any(|target| target.needs.contains(name))
    }

    /// All words of rules and commands, with variables replaced.
    pub(crate) fn words(&self) -> BTreeSet<String> {
        let commands = self.targets.values().flat_map(|t| &t.recipe);
        commands
            .flat_map(|line| line.split(|c: char| c.is_whitespace() || ";&|()'\"`".contains(c)))
            .chain(self.targets.values().flat_map(|t| &t.needs).map(String::as_str))
            .map(|word| word.trim_start_matches("./").to_owned())
            .collect()
    }

    fn assign(&mut self, line: &str) {
        if let Some((name, added, value)) = split_assignment(line) {
            let old = self.variables.entry(name.to_owned()).or_default();
            if added {
                old.push(' ');
                old.push_str(value);
            } else {
                *old = value.to_owned();
            }
        }
    }

    /// Reads a rule's first line; returns its targets.
    fn rule(&mut self, line: &str) -> Vec<String> {
        let line = self.expanded(line);
        let Some((left, right)) = line.split_once(':') else { return Vec::new() };
        let right = right.trim_start_matches(':');
        let (needs, command) = match right.split_once(';') {
            Some((needs, command)) => (needs, Some(command)),
            None => (right, None),
        };
        // `all: CFLAGS = -g` gives a variable to a target and is no rule.
        if needs.contains('=') {
            return Vec::new();
        }
        // `$(objects): %.o: %.c`: the last part is what they depend on.
        let needs = needs.rsplit(':').next().unwrap_or("");
        let needs: Vec<String> =
            needs.split_whitespace().filter(|need| *need != "|").map(str::to_owned).collect();
        let names: Vec<String> = left.split_whitespace().map(str::to_owned).collect();
        for name in &names {
            if !self.keep(name.len() + right.len()) {
                break;
            }
            if name == ".PHONY" {
                self.phony.extend(needs.iter().cloned());
            } else if !name.starts_with('.') || name.contains('/') {
                self.targets.entry(name.clone()).or_default().needs.extend(needs.iter().cloned());
            }
        }
        if let Some(command) = command {
            self.command(&names, command);
        }
        names
    }

    fn command(&mut self, targets: &[String], command: &str) {
        let command = self.expanded(command.trim());
        if command.is_empty() || command.starts_with('#') {
            return;
        }
        for name in targets {
            if !self.keep(name.len() + command.len()) {
                break;
            }
            if let Some(target) = self.targets.get_mut(name) {
                let command = command.replacen("$@", name, 1).replacen("$(@)", name, 1);
                self.made.extend(outputs(&command).into_iter().map(str::to_owned));
                target.recipe.push(command);
            }
        }
    }

    /// Whether so much more may be kept: a few lines can stand for any number of them.
    fn keep(&mut self, bytes: usize) -> bool {
        self.kept_bytes = self.kept_bytes.saturating_add(bytes);
        self.kept_bytes <= KEPT_BYTES
    }

    /// A line with its variables replaced. What none is given for vanishes, as in make.
    fn expanded(&mut self, line: &str) -> String {
        let mut text = line.to_owned();
        for _ in 0..DEPTH {
            if !text.contains('$') || !self.keep(text.len()) {
                break;
            }
            let (next, replaced) = self.expanded_once(&text);
            if !(self.keep(next.len()) && replaced) {
                break;
            }
            text = next;
        }
        text
    }

    /// The line, and whether anything was replaced. Too much is cut off and counts as nothing.
    fn expanded_once(&self, line: &str) -> (String, bool) {
        let mut text = String::new();
        let mut rest = line;
        let mut replaced = false;
        while let Some((before, behind)) = rest.split_once('$') {
            text.push_str(before);
            let (name, after) = variable(behind);
            match name {
                // `$@` is for the rule, `$(shell ...)` and the like for make.
                Some(name) => {
                    let value = self.variables.get(name).map_or("", String::as_str);
                    if text.len() + value.len() > EXPANDED_BYTES {
                        return (text, false);
                    }
                    text.push_str(value);
                }
                None => text.push('$'),
            }
            replaced |= name.is_some();
            rest = after;
        }
        text.push_str(rest);
        (text, replaced)
    }
}

/// The variable's name behind a dollar sign, if it is a simple one, and what follows.
fn variable(behind: &str) -> (Option<&str>, &str) {
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    let close = match behind.chars().next() {
        Some('(') => ')',
        Some('{') => '}',
        Some(c) if c.is_ascii_alphabetic() => return (Some(&behind[..1]), &behind[1..]),
        _ => return (None, behind),
    };
    match behind[1..].split_once(close) {
        Some((name, after)) if is_name(name) => (Some(name), after),
        _ => (None, behind),
    }
}

/// Whether a line is what make takes at the top of a file, without regard to its meaning.
pub(crate) fn is_understood(line: &str) -> bool {
    let calls = line.trim_start().starts_with("$(");
    !line.starts_with('\t')
        && (is_blank(line)
            || is_directive(line)
            || split_assignment(line).is_some()
            || line.contains(':')
            || calls)
}

/// Whether a file is compiled or linked.
fn is_code(name: &str) -> bool {
    names::is_source(name) || names::split(name).1 == "o"
}

/// The files that a command writes.
fn outputs(command: &str) -> Vec<&str> {
    let words: Vec<&str> = command
        .split(|c: char| c.is_whitespace() || ";&|".contains(c))
        .filter(|word| !word.is_empty())
        .collect();
    let mut made: Vec<&str> = words.windows(2).filter(|two| two[0] == "-o").map(|two| two[1]).collect();
    made.extend(words.iter().filter_map(|word| word.strip_prefix("-o")));
    if matches!(words.first(), Some(&("mv" | "cp"))) {
        made.extend(words.last());
    }
    made.iter().map(|name| name.trim_start_matches("./")).collect()
}

/// The lines of a Makefile, those that go on joined, comments gone.
fn joined(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        if let Some(start) = line.strip_suffix('\\') {
            open.push_str(start);
            open.push(' ');
            continue;
        }
        open.push_str(line);
        let line = std::mem::take(&mut open);
        let is_command = line.starts_with('\t');
        lines.push(match line.split_once('#') {
            Some((before, _)) if !is_command && !before.ends_with('\\') => before.to_owned(),
            _ => line,
        });
    }
    if !open.is_empty() {
        lines.push(open);
    }
    lines
}

fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

fn is_directive(line: &str) -> bool {
    line.split_whitespace().next().is_some_and(|word| DIRECTIVES.contains(&word))
}

/// The name of an assignment, whether it adds, and its value.
fn split_assignment(line: &str) -> Option<(&str, bool, &str)> {
    let (left, value) = line.split_once('=')?;
    let added = left.ends_with('+');
    let left = left.trim_end_matches(['+', ':', '?', '!']).trim();
    let name = ["export", "override"].iter().fold(left, |left, word| {
        left.strip_prefix(word).filter(|rest| rest.starts_with(' ')).map_or(left, str::trim)
    });
    let is_name = !name.is_empty() && !name.contains([':', ' ', '\t', '(']);
    is_name.then(|| (name, added, value.trim()))
}
