//! What was handed in: looked at as a TA would before anything is built.
//!
//! The lesson: rules about files are read to the letter where a program reads them (`Makefile`, targets,
//! file names), and with good will where a person does. A README addresses a point if it is labelled with
//! the point's letter or uses a word that one needs for it. Whether what it says is true is left out.

pub(crate) mod makefile;
pub(crate) mod names;
pub(crate) mod readme;
pub(crate) mod sources;

use crate::intake::{files, read_text};
use crate::model::{HandIn, Process};
use makefile::Makefile;
use regex::Regex;
use std::path::Path;

/// Looks at the submission at `root`. It is only read.
///
/// What cannot be read counts as not there: the intake has made all of it readable.
pub fn look(root: &Path, archive_name: Option<&str>) -> HandIn {
    let files = files(root).unwrap_or_default();
    let mut files: Vec<String> = files.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    files.sort();
    let mut hand_in = HandIn {
        missing_sources: sources::missing(&files),
        fork: sources::fork(root, &files),
        bad_archive_name: archive_name.and_then(bad_archive_name),
        missing_targets: makefile::TARGETS.map(str::to_owned).to_vec(),
        ..HandIn::default()
    };
    if let Some((name, text)) = find_readme(root, &files) {
        hand_in.points = readme::points(&text);
        hand_in.readme = Some(name);
    }
    let makefile = names::READ_BY_MAKE
        .iter()
        .find_map(|name| read_text(root, name).map(|text| (name.to_string(), text)));
    if let Some((name, text)) = makefile {
        let makefile = Makefile::parse(&text);
        hand_in.makefile = Some(name);
        hand_in.missing_targets = makefile.missing_targets();
        let there = top(&files).collect();
        hand_in.phony = Process::SERVERS.iter().all(|process| {
            !makefile.has(process.name()) || makefile.is_never_up_to_date(process.name(), &there)
        });
    } else {
        hand_in.misnamed_makefile =
            top(&files).find(|name| names::is_makefile_like(name)).map(str::to_owned);
    }
    hand_in.files = files;
    hand_in
}

/// The names of the files that lie at the top.
pub(crate) fn top(files: &[String]) -> impl Iterator<Item = &str> {
    files.iter().map(String::as_str).filter(|name| !name.contains('/'))
}

/// The README that says the most obvious name, and its text. An empty one is none.
fn find_readme(root: &Path, files: &[String]) -> Option<(String, String)> {
    let mut named: Vec<&str> = top(files).filter(|name| names::is_readme(name)).collect();
    named.sort_by_key(|name| (name.len(), *name));
    named.into_iter().find_map(|name| {
        let text = read_text(root, name)?;
        let text = text.trim();
        (!text.is_empty()).then(|| (name.to_owned(), text.to_owned()))
    })
}

/// Whether one program is all four servers, as the document allows.
pub(crate) fn is_one_for_all(hand_in: &HandIn) -> bool {
    let is = |file: &String| {
        let name = names::last(file);
        names::is_source(name) && names::split(name).0 == sources::ONE_FOR_ALL
    };
    hand_in.files.iter().any(is)
}

/// What an archive's name should have been like, if it is not.
fn bad_archive_name(name: &str) -> Option<String> {
    let good = Regex::new(r"^ee450_[a-z0-9]+_session[0-9]\.tar\.gz$").is_ok_and(|re| re.is_match(name));
    (!good).then(|| {
        let shown: String = name.chars().flat_map(char::escape_debug).collect();
        format!(
            "The archive should be called ee450_yourUSCusername_session#.tar.gz, all small letters \
             (such as ee450_sakulkar_session1.tar.gz), and is called {shown}."
        )
    })
}

#[cfg(test)]
mod tests;
