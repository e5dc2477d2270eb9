//! Files by their names: what a name says to make, to a compiler and to people.

/// What make reads when no file is named, in its order.
pub(crate) const READ_BY_MAKE: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];
/// Endings of files that compilers take as C or C++.
pub(crate) const SOURCES: [&str; 3] = ["c", "cc", "cpp"];
/// Endings of sources in other languages.
pub(crate) const OTHER_SOURCES: [&str; 6] = ["go", "java", "js", "py", "rs", "ts"];
/// Endings that say that a file is no text for people or for make, whatever its name begins with.
const MADE: [&str; 9] = ["c", "cc", "cpp", "h", "o", "swp", "exe", "am", "in"];

/// Whether a person would take the file for a Makefile: `Makefile.txt`, `MAKEFILE`, `makefile.mk`, `Make`.
pub(crate) fn is_makefile_like(name: &str) -> bool {
    let lower = name.to_lowercase();
    let (stem, ending) = split(&lower);
    let named = ["makefile", "make file", "make_file", "make-file", "gnumakefile"];
    (named.iter().any(|start| stem.starts_with(start)) && !is_made(&lower))
        || lower == "make"
        || (stem == "make" && matches!(ending, "txt" | "mk"))
        || ending == "mk"
        || ending == "makefile"
}

/// Whether a person would take the file for the README.
pub(crate) fn is_readme(name: &str) -> bool {
    let lower = name.to_lowercase();
    ["readme", "read_me", "read-me", "read me"].iter().any(|start| {
        let behind = lower.strip_prefix(start).map(|rest| rest.chars().next());
        matches!(behind, Some(None | Some('.' | '_' | '-' | ' ' | '(')))
    }) && !is_made(&lower)
}

/// Whether the file is C or C++ source.
pub(crate) fn is_source(name: &str) -> bool {
    SOURCES.contains(&split(name).1)
}

/// The name before its last period, and what is behind.
pub(crate) fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or((name, ""))
}

/// The last part of a path.
pub(crate) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The folder of a path; empty at the top.
pub(crate) fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn is_made(lower: &str) -> bool {
    lower.ends_with('~') || MADE.contains(&split(lower).1)
}
