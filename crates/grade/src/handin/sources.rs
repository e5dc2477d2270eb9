//! C and C++ sources: whether the prescribed ones are there, and what they call.

use super::names;
use crate::intake::read_text;
use crate::model::Process;
use regex::Regex;
use std::path::Path;

/// The source of all servers in one.
pub(crate) const ONE_FOR_ALL: &str = "servers";

/// The prescribed sources that no file is. One `servers.*` stands for all four servers. The document thinks
/// of C and C++ only: where there is none of either, another language's own habits hold for endings and
/// letters.
pub(super) fn missing(files: &[String]) -> Vec<String> {
    let other_language = !files.iter().any(|file| names::is_source(names::last(file)));
    let there = |stem: &str| {
        files.iter().any(|file| {
            let (name, ending) = names::split(names::last(file));
            match other_language {
                false => names::SOURCES.contains(&ending) && name == stem,
                true => names::OTHER_SOURCES.contains(&ending) && name.eq_ignore_ascii_case(stem),
            }
        })
    };
    let one_for_all = there(ONE_FOR_ALL);
    // In the order in which the document names them.
    [Process::Aws, Process::Client, Process::ServerA, Process::ServerB, Process::ServerC]
        .iter()
        .filter(|process| !(there(process.name()) || one_for_all && **process != Process::Client))
        .map(|process| process.name().to_owned())
        .collect()
}

/// Where a source first makes a process or thread: `file:line`.
pub(super) fn fork(root: &Path, files: &[String]) -> Option<String> {
    let calls =
        Regex::new(r"\b(v?fork|pthread_create)\s*\(|\bstd\s*::\s*(thread|jthread|async)\b").ok()?;
    let code = |name: &&String| names::is_source(name) || names::split(name).1 == "h";
    files.iter().filter(code).find_map(|name| {
        let text = code_of(&read_text(root, name)?);
        let line = text.lines().position(|line| calls.is_match(line))?;
        Some(format!("{name}:{}", line + 1))
    })
}

/// A source with comments, strings and `#if 0` blanked, line by line as it was.
pub(crate) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('/', Some('/')) => {
                let mut last = c;
                while let Some(next) = rest.next_if(|next| *next != '\n' || last == '\\') {
                    if next == '\n' {
                        code.push('\n');
                    }
                    last = next;
                }
            }
            ('/', Some('*')) => {
                rest.next();
                let mut last = ' ';
                for next in rest.by_ref() {
                    if next == '\n' {
                        code.push('\n');
                    }
                    if last == '*' && next == '/' {
                        break;
                    }
                    last = next;
                }
                code.push(' ');
            }
            ('"' | '\'', _) => {
                code.push(c);
                // A literal ends with its line at the latest: an apostrophe in `#error don't` is none.
                while let Some(next) = rest.next_if(|next| *next != '\n') {
                    if next == '\\' {
                        if rest.next() == Some('\n') {
                            code.push('\n');
                        }
                    } else if next == c {
                        break;
                    }
                }
                code.push(c);
            }
            _ => code.push(c),
        }
    }
    without_if_0(&code)
}

fn without_if_0(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut depth = 0u32;
    for line in code.split_inclusive('\n') {
        let directive: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        if depth == 0 {
            if directive == "#if0" {
                depth = 1;
            }
            kept.push_str(if depth == 0 { line } else { "\n" });
            continue;
        }
        if directive.starts_with("#if") {
            depth += 1;
        } else if directive.starts_with("#endif") || depth == 1 && directive.starts_with("#el") {
            depth -= 1;
        }
        kept.push('\n');
    }
    kept
}
