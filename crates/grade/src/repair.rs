//! Small repairs to a copy of a submission, to see what it would be worth without a slip.
//!
//! The lesson: a repair must not hide what it repairs. So each is one sentence for the report, each is the
//! least that helps, and none is made where it could break what works: a target that other rules build
//! upon is left alone, and files are added, not overwritten.
//!
//! Left out: anything about what the programs do.

mod includes;

use crate::handin::makefile::{Makefile, TARGETS, is_understood};
use crate::handin::sources::ONE_FOR_ALL;
use crate::handin::{names, top};
use crate::intake::{files, read_text};
use crate::model::{HandIn, Process};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// The Makefile that is written where there is none.
const MAKEFILE: &str = "Makefile";
/// The libraries of the document's command line.
const LIBRARIES: &str = "-lsocket -lnsl -lresolv";
/// Lines at the top of a Makefile that may be no part of it.
const JUNK_LINES: usize = 20;

/// Repairs the copy of a submission at `root`, of which `hand_in` tells. Returns a sentence for each
/// repair; the copy is to be looked at anew after any.
///
/// # Errors
/// The copy cannot be written.
pub fn repair(root: &Path, hand_in: &HandIn) -> io::Result<Vec<String>> {
    let mut done = Vec::new();
    let mut makefile = hand_in.makefile.clone();
    if let (None, Some(wrong)) = (&makefile, &hand_in.misnamed_makefile) {
        fs::rename(root.join(wrong), root.join(MAKEFILE))?;
        done.push(format!("{} was renamed to {MAKEFILE}.", shown(wrong)));
        makefile = Some(MAKEFILE.to_owned());
    }
    match &makefile {
        Some(name) => {
            comment_out_junk(root, name, &mut done)?;
            copy_misnamed_sources(root, name, &hand_in.files, &mut done)?;
            add_targets(root, name, hand_in, &mut done)?;
        }
        None => write_makefile(root, &hand_in.files, &mut done)?,
    }
    includes::add(root, &mut done)?;
    Ok(done)
}

/// Lines at the top that make cannot read become comments.
fn comment_out_junk(root: &Path, name: &str, done: &mut Vec<String>) -> io::Result<()> {
    let Some(bytes) = content(root, name)? else { return Ok(()) };
    let mut repaired = Vec::with_capacity(bytes.len() + JUNK_LINES);
    let mut rest = &bytes[..];
    let mut goes_on = false;
    for _ in 0..JUNK_LINES {
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end().trim_start_matches('\u{feff}');
        if !goes_on && !text.is_empty() && !text.starts_with('#') {
            if is_understood(text) {
                break;
            }
            repaired.extend_from_slice(b"# ");
            done.push(format!(
                "The line \"{}\" at the top of {name} was made a comment.",
                shown(text.trim())
            ));
        }
        // A comment goes on where its line says so.
        goes_on = text.ends_with('\\');
        repaired.extend_from_slice(line);
        rest = after;
    }
    if repaired.len() + rest.len() == bytes.len() {
        return Ok(());
    }
    repaired.extend_from_slice(rest);
    replace(root, name, &repaired)
}

/// Sources that the Makefile names otherwise than they are called get a second name.
fn copy_misnamed_sources(
    root: &Path,
    makefile: &str,
    files: &[String],
    done: &mut Vec<String>,
) -> io::Result<()> {
    let parsed = Makefile::parse(&read_text(root, makefile).unwrap_or_default());
    let plain = |word: &String| word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    let wanted = parsed.words().into_iter().filter(plain).filter(|word| {
        let made = parsed.has(word) || files.contains(word);
        (names::is_source(word) || names::split(word).1 == "h") && !made
    });
    for want in wanted {
        let (stem, ending) = names::split(&want);
        let is_header = ending == "h";
        let mut like: Vec<&String> = files
            .iter()
            .filter(|file| {
                let (other, of) = names::split(file);
                let of = of.to_lowercase();
                let same_kind =
                    if is_header { of == "h" } else { names::SOURCES.contains(&of.as_str()) };
                same_kind
                    && names::folder(file) == names::folder(&want)
                    && other.eq_ignore_ascii_case(stem)
            })
            .collect();
        // The most alike: the same letters first, then the same ending.
        like.sort_by_key(|file| {
            let (other, of) = names::split(file);
            (other != stem, !of.eq_ignore_ascii_case(ending))
        });
        let Some(found) = like.first() else { continue };
        if let Some(bytes) = content(root, found)? {
            replace(root, &want, &bytes)?;
            done.push(format!("{} was copied to {want}, as {makefile} calls it.", shown(found)));
        }
    }
    Ok(())
}

/// What the prescribed targets lack: rules, and that they are no files.
fn add_targets(root: &Path, name: &str, hand_in: &HandIn, done: &mut Vec<String>) -> io::Result<()> {
    let Some(mut bytes) = content(root, name)? else { return Ok(()) };
    let parsed = Makefile::parse(&String::from_utf8_lossy(&bytes));
    let there = top(&hand_in.files).collect();
    let mut added = String::new();
    let mut phony = Vec::new();
    for target in TARGETS {
        if parsed.has(target) {
            let up_to_date = !parsed.is_never_up_to_date(target, &there);
            // One that only compiles would not run anything for being phony.
            if target != "all" && up_to_date && parsed.runs(target) {
                phony.push(target);
                done.push(format!("{target} was added to .PHONY in {name}."));
            }
            continue;
        }
        // Make builds it by a rule of its own, for the sake of another target.
        if parsed.is_needed(target) {
            continue;
        }
        let run = || parsed.makes(target).then(|| format!("{target}:\n\t./{target}\n"));
        if let Some(rule) = rule(target, &hand_in.files).or_else(run) {
            added.push_str(&rule);
            phony.push(target);
            done.push(format!("The target {target} was added to {name}."));
        }
    }
    if phony.is_empty() {
        return Ok(());
    }
    // A last line that goes on would take the first of these with it.
    bytes.extend_from_slice(format!("\n\n.PHONY: {}\n{added}", phony.join(" ")).as_bytes());
    replace(root, name, &bytes)
}

/// A Makefile that compiles as the document's command line does.
fn write_makefile(root: &Path, files: &[String], done: &mut Vec<String>) -> io::Result<()> {
    let rules: Vec<String> = TARGETS.iter().filter_map(|target| rule(target, files)).collect();
    if source(files, Process::Client.name()).is_none() && rules.is_empty() {
        return Ok(());
    }
    let text = format!(".PHONY: {}\n{}", TARGETS.join(" "), rules.concat());
    replace(root, MAKEFILE, text.as_bytes())?;
    done.push(format!("{MAKEFILE} was written; it compiles with the document's command line."));
    Ok(())
}

/// The rule for one of the prescribed targets; `None` where there is no source for it.
fn rule(target: &str, files: &[String]) -> Option<String> {
    let one_for_all = source(files, ONE_FOR_ALL).is_some();
    if target == "all" {
        let programs = Process::ALL.iter().map(|process| process.name()).chain([ONE_FOR_ALL]);
        let commands: String = programs
            .filter_map(|program| {
                let file = source(files, program)?;
                let compiler = if file.to_lowercase().ends_with(".c") { "gcc" } else { "g++" };
                Some(format!("\t{compiler} -o {program} {file} {LIBRARIES}\n"))
            })
            .collect();
        return (!commands.is_empty()).then(|| format!("all:\n{commands}"));
    }
    let command = match (source(files, target), one_for_all) {
        (Some(_), _) => format!("./{target}"),
        (None, true) if target == Process::ServerA.name() => format!("./{ONE_FOR_ALL}"),
        (None, true) => "@echo \"make serverA runs all servers\"".to_owned(),
        (None, false) => return None,
    };
    Some(format!("{target}:\n\t{command}\n"))
}

/// The source of a program, at the top, in whatever case.
fn source<'a>(files: &'a [String], program: &str) -> Option<&'a str> {
    let mut like: Vec<&str> = top(files)
        .filter(|name| {
            let (stem, ending) = names::split(name);
            stem.eq_ignore_ascii_case(program)
                && names::SOURCES.contains(&ending.to_lowercase().as_str())
        })
        .collect();
    like.sort_by_key(|name| names::split(name).0 != program);
    like.first().copied()
}

/// A file's bytes, if there is one in the copy. The intake has bounded it.
fn content(root: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let path = root.join(name);
    match fs::metadata(&path) {
        Ok(known) if known.is_file() && read_text(root, name).is_some() => fs::read(path).map(Some),
        _ => Ok(None),
    }
}

/// Writes a file in place of what has its name: through no link, and keeping no half of it.
fn replace(root: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = root.join(name);
    let beside = root.join(format!(".repaired-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
    let written = file.write_all(bytes).and_then(|()| fs::rename(&beside, &path));
    if written.is_err() {
        fs::remove_file(&beside)?;
    }
    written
}

/// A submission's words in a sentence.
fn shown(text: &str) -> String {
    crate::intake::quoted(text.as_bytes())
}

#[cfg(test)]
mod tests;
