//! Inputs that a TA adds: every `*.csv` of a folder.
//!
//! They are read more strictly than a student's program must: a stray carriage return or blank line would
//! cost students points for the TA's slip.

use crate::limits::{CASE_BYTES, CASE_NAME_CHARS, CASE_ROWS, CASES};
use crate::model::{Case, Class};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Numbers beyond which an input is there for its length.
const FEW: usize = 300;

/// Why the TA's inputs cannot be used. Nothing was graded then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be listed.
    #[error("{}: the folder of cases cannot be read: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("{}: no *.csv in it: put one file for each case there, one integer a line", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// There is too much in it.
    #[error("{}: more than {CASES} files *.csv: every one of them is run with all functions", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has too many bytes.
    #[error("{}: larger than {CASE_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A row is wrong.
    #[error("{}, line {line}: {problem}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong and what should be there.
        problem: String,
    },
}

/// The cases in `dir`, by file name. A name that is taken, also by a case of the seed, gets a number.
///
/// # Errors
/// The first file that cannot be used, and its line.
pub fn from_dir(dir: &Path) -> Result<Vec<Case>, Error> {
    let mut taken: BTreeSet<String> = super::cases(0).into_iter().map(|case| case.name).collect();
    list(dir)?
        .into_iter()
        .map(|path| {
            let (text, numbers) = read(&path)?;
            let name = unique(&sanitised(&path), &mut taken);
            Ok(Case { name, class: class(&numbers), text, numbers })
        })
        .collect()
}

/// The files `*.csv`, sorted.
fn list(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let broken = |source| Error::Folder { path: dir.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(broken)? {
        let path = entry.map_err(broken)?.path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            paths.push(path);
        }
        if paths.len() > CASES {
            return Err(Error::TooMany { path: dir.to_owned() });
        }
    }
    if paths.is_empty() {
        return Err(Error::Empty { path: dir.to_owned() });
    }
    paths.sort();
    Ok(paths)
}

/// A file's text and the numbers in it.
fn read(path: &Path) -> Result<(String, Vec<i64>), Error> {
    let broken = |source| Error::File { path: path.to_owned(), source };
    // Asked before it is opened: to open a pipe is to wait for somebody to write to it.
    if !std::fs::metadata(path).map_err(broken)?.is_file() {
        return Err(broken(io::Error::other("it is not a regular file")));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(broken)?;
    file.take(CASE_BYTES + 1).read_to_end(&mut bytes).map_err(broken)?;
    if bytes.len() as u64 > CASE_BYTES {
        return Err(Error::TooLarge { path: path.to_owned() });
    }
    // What is not UTF-8 is no number either, and is reported with its line.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match parse(&text) {
        Ok(numbers) => Ok((text, numbers)),
        Err((line, problem)) => Err(Error::Row { path: path.to_owned(), line, problem }),
    }
}

/// The numbers of a file, or the first wrong line and what is wrong with it.
fn parse(text: &str) -> Result<Vec<i64>, (usize, String)> {
    let mut numbers = Vec::new();
    for (i, row) in text.split_inclusive('\n').enumerate() {
        let line = i + 1;
        if line > CASE_ROWS {
            return Err((line, format!("more than {CASE_ROWS} rows")));
        }
        let Some(row) = row.strip_suffix('\n') else {
            return Err((line, "the last row must end with a newline".to_owned()));
        };
        numbers.push(number(row).map_err(|problem| (line, problem))?);
    }
    match numbers.len() {
        0 => Err((1, "the file is empty: at least three numbers are needed".to_owned())),
        n if n % 3 != 0 => Err((n, format!("{n} rows: their number must be a multiple of three"))),
        _ => Ok(numbers),
    }
}

/// A row that is one integer as C prints it.
fn number(row: &str) -> Result<i64, String> {
    if row.ends_with('\r') {
        return Err("ends with a carriage return: save the file with UNIX line endings".to_owned());
    }
    match row.parse::<i64>() {
        Ok(number) if number.to_string() == row => Ok(number),
        _ => {
            let shown: String = row.chars().take(CASE_NAME_CHARS).collect();
            Err(format!(
                "{shown:?} is not one integer from -2^63 to 2^63-1, without sign +, zeros or spaces"
            ))
        }
    }
}

/// By what is in it. An answer beyond 32 bits from numbers within is [`super::class_of`]'s matter: the
/// same input may be ordinary for `min` and wide for `sos`.
fn class(numbers: &[i64]) -> Class {
    if numbers.iter().any(|n| i32::try_from(*n).is_err()) {
        Class::Wide
    } else if numbers.iter().any(|n| *n < 0) {
        Class::Negative
    } else if numbers.len() > FEW {
        Class::Large
    } else {
        Class::Ordinary
    }
}

/// The file's name in `a-z0-9-`.
fn sanitised(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = stem.chars().map(plain).take(CASE_NAME_CHARS).collect();
    match name.trim_matches('-') {
        "" => "case".to_owned(),
        name => name.to_owned(),
    }
}

/// `name`, or `name-2` and so on where it is taken.
fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut unique = name.to_owned();
    let mut count = 1;
    while !taken.insert(unique.clone()) {
        count += 1;
        unique = format!("{name}-{count}");
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    /// What the TA reads, without the folder's path.
    fn complaint(files: &[(&str, &str)]) -> String {
        let dir = folder(files);
        let message = from_dir(dir.path()).unwrap_err().to_string();
        message.replace(&format!("{}/", dir.path().display()), "")
    }

    #[test]
    fn files_become_cases_sorted_named_and_classed() {
        let large = "1\n".repeat(303);
        let dir = folder(&[
            ("b.csv", "1\n2\n3\n"),
            ("B.csv", "1\n-2\n3\n"),
            ("n30.csv", "1\n2\n2147483648\n"),
            ("Größe 1.csv", &large),
            ("---.csv", "0\n0\n0\n"),
            ("notes.txt", "not a case"),
        ]);
        let cases = from_dir(dir.path()).unwrap();
        let found: Vec<_> = cases.iter().map(|case| (case.name.as_str(), case.class)).collect();
        assert_eq!(
            found,
            [
                ("case", Class::Ordinary),
                ("b", Class::Negative),
                ("gr--e-1", Class::Large),
                ("b-2", Class::Ordinary),
                ("n30-2", Class::Wide),
            ]
        );
        assert_eq!((cases[1].text.as_str(), &cases[1].numbers[..]), ("1\n-2\n3\n", &[1, -2, 3][..]));
    }

    #[test]
    fn a_slip_is_named_with_file_and_line() {
        let integer = "is not one integer from -2^63 to 2^63-1, without sign +, zeros or spaces";
        for (text, message) in [
            ("", "a.csv, line 1: the file is empty: at least three numbers are needed".to_owned()),
            ("1\n2\n", "a.csv, line 2: 2 rows: their number must be a multiple of three".to_owned()),
            ("1\n2\n3", "a.csv, line 3: the last row must end with a newline".to_owned()),
            (
                "1\r\n2\r\n3\r\n",
                "a.csv, line 1: ends with a carriage return: save the file with UNIX line endings"
                    .to_owned(),
            ),
            ("1\n\n3\n", format!("a.csv, line 2: \"\" {integer}")),
            ("1\n2,3\n4\n", format!("a.csv, line 2: \"2,3\" {integer}")),
            ("+1\n2\n3\n", format!("a.csv, line 1: \"+1\" {integer}")),
            ("1\n 2\n3\n", format!("a.csv, line 2: \" 2\" {integer}")),
            ("1\n2\n9223372036854775808\n", format!("a.csv, line 3: \"9223372036854775808\" {integer}")),
        ] {
            assert_eq!(complaint(&[("a.csv", text)]), message);
        }
    }

    #[test]
    fn what_is_too_much_is_refused() {
        assert_eq!(
            complaint(&[("a.csv", &"1\n".repeat(90_003))]),
            "a.csv, line 90001: more than 90000 rows"
        );
        let huge = "1".repeat(CASE_BYTES as usize + 1);
        assert_eq!(complaint(&[("a.csv", &huge)]), "a.csv: larger than 2097152 bytes");
        let names: Vec<String> = (0..=CASES).map(|i| format!("{i}.csv")).collect();
        let files: Vec<_> = names.iter().map(|name| (name.as_str(), "1\n2\n3\n")).collect();
        assert!(complaint(&files).contains("more than 50 files"));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = folder(&[]);
        assert!(from_dir(dir.path()).unwrap_err().to_string().contains("no *.csv in it"));
        std::fs::create_dir(dir.path().join("a.csv")).unwrap();
        assert!(from_dir(dir.path()).unwrap_err().to_string().ends_with("it is not a regular file"));
        assert!(matches!(from_dir(&dir.path().join("none")), Err(Error::Folder { .. })));
    }
}
