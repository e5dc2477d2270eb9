//! Headers that a source needs and does not include.
//!
//! Older compilers declared unknown functions by themselves and warned; newer ones do not compile them.

use super::{content, files, names, read_text, replace, shown};
use crate::handin::sources::code_of;
use crate::limits::LOOKED_AT_BYTES;
use regex::Regex;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;

/// A header, its name in C++, what else brings it along, and functions that it declares.
struct Header {
    c: &'static str,
    cpp: &'static str,
    brought_by: &'static [&'static str],
    functions: &'static [&'static str],
}

/// What the standard library's streams and strings bring along in C++.
const STREAMS: &[&str] = &["iostream", "string", "fstream", "sstream"];

const HEADERS: [Header; 8] = [
    Header {
        c: "string.h",
        cpp: "cstring",
        brought_by: &[],
        functions: &[
            "memset", "memcpy", "memmove", "memcmp", "strlen", "strcpy", "strncpy", "strcmp", "strncmp",
            "strcat", "strncat", "strstr", "strtok", "strchr", "strdup", "strerror",
        ],
    },
    Header {
        c: "stdlib.h",
        cpp: "cstdlib",
        brought_by: STREAMS,
        functions: &[
            "exit", "atoi", "atol", "atoll", "malloc", "calloc", "realloc", "free", "strtol", "qsort",
        ],
    },
    Header {
        c: "unistd.h",
        cpp: "unistd.h",
        brought_by: &[],
        functions: &["close", "read", "write", "fork", "sleep", "usleep", "getpid"],
    },
    Header {
        c: "arpa/inet.h",
        cpp: "arpa/inet.h",
        brought_by: &[],
        functions: &["inet_ntoa", "inet_addr", "inet_ntop", "inet_pton"],
    },
    Header {
        c: "stdio.h",
        cpp: "cstdio",
        brought_by: STREAMS,
        functions: &[
            "printf", "fprintf", "sprintf", "snprintf", "perror", "fopen", "fgets", "fscanf", "scanf",
            "puts",
        ],
    },
    Header {
        c: "ctype.h",
        cpp: "cctype",
        brought_by: STREAMS,
        functions: &["isdigit", "isspace", "isalpha", "toupper", "tolower"],
    },
    Header { c: "sys/wait.h", cpp: "sys/wait.h", brought_by: &[], functions: &["wait", "waitpid"] },
    Header {
        c: "netdb.h",
        cpp: "netdb.h",
        brought_by: &[],
        functions: &["gethostbyname", "getaddrinfo", "freeaddrinfo"],
    },
];

/// Adds to each source the headers that it lacks.
pub(super) fn add(root: &Path, done: &mut Vec<String>) -> io::Result<()> {
    let (Ok(call), Ok(include)) = (
        // What stands before tells a call from a member's, a declaration or a definition.
        Regex::new(r"(?m)(?:(\w+)[\s*]+|([.>])\s*|)\b([a-z_]+)\s*\("),
        Regex::new(r#"(?m)^\s*#\s*include\s*([<"])([^>"\n]+)[>"]"#),
    ) else {
        return Ok(());
    };
    let mut own: HashMap<String, BTreeSet<String>> = HashMap::new();
    let files = files(root)?;
    let named = |ending: fn(&str) -> bool| {
        files.iter().filter_map(|path| path.to_str()).filter(move |name| ending(name))
    };
    // What a source gets from the submission's own headers: any of them may include the next.
    for header in named(|name| matches!(names::split(name).1, "h" | "hpp")) {
        let text = read_text(root, header).unwrap_or_default();
        own.entry(names::last(header).to_owned()).or_default().extend(included(&include, &text));
    }
    for source in named(names::is_source) {
        let Some(bytes) = content(root, source)? else { continue };
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LOOKED_AT_BYTES)]);
        let has = all_included(included(&include, &text), &own);
        let called = called(&call, &code_of(&text));
        let is_cpp = !source.ends_with(".c");
        let mut lines = String::new();
        for header in &HEADERS {
            let brought = is_cpp && header.brought_by.iter().any(|by| has.contains(*by));
            let there =
                has.contains(header.c) || has.contains(header.cpp) || has.contains("bits/stdc++.h");
            let Some(function) = header.functions.iter().find(|name| called.contains(**name)) else {
                continue;
            };
            if !there && !brought {
                let name = if is_cpp { header.cpp } else { header.c };
                lines.push_str(&format!("#include <{name}>\n"));
                done.push(format!("{} got #include <{name}>, for {function}.", shown(source)));
            }
        }
        if !lines.is_empty() {
            replace(root, source, &[lines.as_bytes(), &bytes].concat())?;
        }
    }
    Ok(())
}

fn included(include: &Regex, text: &str) -> BTreeSet<String> {
    include.captures_iter(text).map(|found| found[2].trim().to_owned()).collect()
}

/// With what the submission's own headers include in turn.
fn all_included(mut has: BTreeSet<String>, own: &HashMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let mut todo: Vec<String> = has.iter().cloned().collect();
    while let Some(name) = todo.pop() {
        for more in own.get(names::last(&name)).into_iter().flatten() {
            if has.insert(more.clone()) {
                todo.push(more.clone());
            }
        }
    }
    has
}

/// The functions that a source calls and does not declare itself.
fn called(call: &Regex, code: &str) -> BTreeSet<String> {
    let mut called = BTreeSet::new();
    let mut declared = BTreeSet::new();
    for found in call.captures_iter(code) {
        let name = found[3].to_owned();
        match (found.get(1).map(|word| word.as_str()), found.get(2)) {
            (None | Some("return" | "else" | "do" | "case"), None) => called.insert(name),
            (Some(_), None) => declared.insert(name),
            (_, Some(_)) => false,
        };
    }
    called.difference(&declared).cloned().collect()
}
