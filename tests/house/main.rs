//! The house inspects itself: what ARCHITECTURE.md says must never be, is not.
//!
//! Rules and exceptions are data, in `rules`; how source text is read is in `rust` and `page`. Every
//! failure names file and line and says what to do. What is left out: whatever the compiler, clippy and
//! rustfmt find already.

mod files;
mod page;
mod rules;
mod rust;

use files::{File, read_tree, root};
use rules::Exception;
use rust::Source;
use std::collections::BTreeSet;

/// The root package's sources.
fn sources() -> Vec<Source> {
    all_sources().into_iter().filter(|source| source.path.starts_with("src/")).collect()
}

/// Those of the rooms in `crates/` too.
fn all_sources() -> Vec<Source> {
    let is_source = |path: &str| match path.strip_prefix("crates/").and_then(|p| p.split_once('/')) {
        Some((_, inside)) => inside.starts_with("src/"),
        None => path.starts_with("src/"),
    };
    let files = read_tree().into_iter().filter(|f| f.path.ends_with(".rs") && is_source(&f.path));
    files.map(|f| Source::new(&f.path, &f.text)).collect()
}

fn file(path: &str) -> File {
    File::read(&root().join(path), path).unwrap_or_else(|| panic!("{path} is missing"))
}

#[track_caller]
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n\n{}\n", complaints.join("\n"));
}

fn is_library(path: &str) -> bool {
    !path.starts_with("src/bin/") && !path.starts_with("crates/suite/")
}

/// Every manifest of the workspace: its path and text.
fn manifests() -> Vec<File> {
    let is_manifest = |path: &str| {
        path == "Cargo.toml" || path.starts_with("crates/") && path.ends_with("/Cargo.toml")
    };
    read_tree().into_iter().filter(|f| is_manifest(&f.path)).collect()
}

#[test]
fn no_room_uses_what_it_must_never_use() {
    let sources = sources();
    assert!(sources.len() > 20, "the sources are found");
    none(sources.iter().flat_map(rules::forbidden_in).collect());
}

#[test]
fn files_and_functions_can_be_read_in_one_go() {
    none(all_sources().iter().flat_map(too_long_in).collect());
}

fn too_long_in(source: &Source) -> Vec<String> {
    let path = &source.path;
    let mut complaints = Vec::new();
    let lines = source.production_lines();
    if lines > rules::allowed(rules::LONG_FILES, path, rules::FILE_LINES) {
        complaints.push(format!(
            "{path}:1: {lines} lines before its tests, {} are the most: give a part of it a file of its own",
            rules::FILE_LINES
        ));
    }
    for function in source.functions() {
        let name = format!("{path}:{}", function.name);
        if function.lines > rules::allowed(rules::LONG_FUNCTIONS, &name, rules::FUNCTION_LINES) {
            complaints.push(format!(
                "{path}:{}: fn {} has {} lines, {} are the most: name its steps as functions",
                function.line,
                function.name,
                function.lines,
                rules::FUNCTION_LINES
            ));
        }
    }
    complaints
}

#[test]
fn library_code_neither_panics_on_what_is_outside_nor_prints() {
    let sources = all_sources();
    let library = sources.iter().filter(|source| is_library(&source.path));
    none(library.flat_map(careless_in).collect());
}

fn careless_in(source: &Source) -> Vec<String> {
    let found: Vec<_> =
        rules::CARELESS.iter().flat_map(|(what, instead)| source.find(what, instead)).collect();
    // Each exception has a number, so that one more is noticed.
    let allowed = rules::allowed(rules::PROVED, &source.path, 0);
    if found.len() > allowed { found } else { Vec::new() }
}

#[test]
fn unsafe_is_where_it_is_expected() {
    let known: Vec<&str> = rules::UNSAFE.iter().map(|e| e.what).collect();
    let sources = all_sources();
    let others = sources.iter().filter(|source| !known.contains(&source.path.as_str()));
    none(
        others
            .flat_map(|s| s.find("unsafe", "do without, or add the file to rules::UNSAFE with a reason"))
            .collect(),
    );
}

#[test]
fn every_exception_is_still_needed() {
    let sources = all_sources();
    let exists = |path: &str| sources.iter().find(|source| source.path == path);
    let mut complaints = Vec::new();
    let mut stale = |list: &str, e: &Exception| {
        complaints.push(format!("tests/house/rules.rs: {list} still names {}: take it out", e.what));
    };
    for e in rules::UNSAFE {
        if exists(e.what).is_none_or(|source| source.find("unsafe", "").is_empty()) {
            stale("UNSAFE", e);
        }
    }
    for e in rules::PROVED {
        let count =
            |s: &Source| rules::CARELESS.iter().map(|(what, _)| s.find(what, "").len()).sum::<usize>();
        if exists(e.what).is_none_or(|source| count(source) < e.most) {
            stale("PROVED", e);
        }
    }
    for e in rules::LONG_FILES {
        if exists(e.what).is_none_or(|source| source.production_lines() <= rules::FILE_LINES) {
            stale("LONG_FILES", e);
        }
    }
    for e in rules::LONG_FUNCTIONS {
        let (path, name) = e.what.split_once(':').expect("path:function");
        let long =
            |s: &Source| s.functions().iter().any(|f| f.name == name && f.lines > rules::FUNCTION_LINES);
        if !exists(path).is_some_and(long) {
            stale("LONG_FUNCTIONS", e);
        }
    }
    none(complaints);
}

#[test]
fn doors_are_light() {
    let sources = sources();
    let heavy = sources
        .iter()
        .filter(|s| s.path.starts_with("src/bin/") && s.production_lines() >= rules::DOOR_LINES);
    none(
        heavy
            .map(|s| {
                format!(
                    "{}:1: a door has under {} lines: move decisions into the library",
                    s.path,
                    rules::DOOR_LINES
                )
            })
            .collect(),
    );
}

#[test]
fn every_dependency_has_one_home() {
    let (sources, manifest) = (sources(), file("Cargo.toml").text);
    let mut complaints = Vec::new();
    for name in page::dependencies(&manifest, "[dependencies]") {
        let Some((_, homes)) = rules::HOMES.iter().find(|(dependency, _)| *dependency == name) else {
            complaints.push(format!("Cargo.toml: {name} has no home: give it one in rules::HOMES"));
            continue;
        };
        let users: Vec<_> =
            sources.iter().filter_map(|s| s.first_use_of(&name).map(|line| (s, line))).collect();
        if users.is_empty() {
            complaints.push(format!("Cargo.toml: {name} is used by nothing: take it out"));
        }
        for (user, line) in users {
            if !homes.iter().any(|home| user.path.starts_with(home)) {
                complaints.push(format!(
                    "{}:{line}: {name} lives in {}: use what that offers instead",
                    user.path,
                    homes.join(", ")
                ));
            }
        }
    }
    none(complaints);
}

#[test]
fn the_root_package_uses_nothing_in_crates() {
    let manifest = file("Cargo.toml");
    let inside = manifest
        .text
        .lines()
        .zip(1..)
        .filter(|(line, _)| line.contains("path") && line.contains("crates/"));
    none(
        inside
            .map(|(_, n)| format!("Cargo.toml:{n}: the five programs need only the root package"))
            .collect(),
    );
}

#[test]
fn rooms_in_crates_know_neither_each_other_nor_what_they_judge() {
    let mut complaints = Vec::new();
    let rooms: Vec<_> = manifests().into_iter().filter(|f| f.path.starts_with("crates/")).collect();
    assert!(rooms.len() >= 2, "the rooms are found");
    for room in rooms.iter().filter(|f| !f.path.starts_with("crates/suite/")) {
        let grade = room.path.starts_with("crates/grade/");
        for (line, n) in room.text.lines().zip(1..) {
            let other = line.contains("path = \"../") && !line.contains("path = \"../..\"");
            if other || grade && line.contains("path = ") {
                complaints.push(format!("{}:{n}: only crates/suite wires rooms together", room.path));
            }
        }
    }
    none(complaints);
}

#[test]
fn architecture_explains_every_dependency() {
    let map = file("ARCHITECTURE.md").text;
    let mut complaints = Vec::new();
    for manifest in manifests() {
        let mut names = page::dependencies(&manifest.text, "[dependencies]");
        names.extend(page::dependencies(&manifest.text, "[dev-dependencies]"));
        assert!(names.len() > 1, "the dependencies are found");
        names.retain(|name| !name.starts_with("offload") && !map.contains(&format!("| `{name}` |")));
        complaints.extend(names.iter().map(|name| {
            format!("ARCHITECTURE.md: no row says why `{name}` of {} is there", manifest.path)
        }));
    }
    none(complaints);
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    let files = read_tree();
    none(files.iter().flat_map(|f| page::machine_paths(&f.path, &f.text)).collect());
}

#[test]
fn every_link_in_a_page_leads_somewhere() {
    let files = read_tree();
    let pages: Vec<_> = files.iter().filter(|f| f.path.ends_with(".md")).collect();
    assert!(pages.len() >= 5, "the pages are found");
    let mut complaints = Vec::new();
    for page in pages {
        let anchors = page::anchors(&page.text);
        for (line, link) in page::links(&page.text) {
            let good = match link.strip_prefix('#') {
                Some(anchor) => anchors.contains(anchor),
                None => {
                    let path = link.split('#').next().unwrap_or_default();
                    root().join(&page.path).parent().is_some_and(|place| place.join(path).exists())
                }
            };
            if !good {
                complaints.push(format!("{}:{line}: {link} leads nowhere", page.path));
            }
        }
    }
    none(complaints);
}

#[test]
fn every_make_command_in_a_page_exists() {
    let makefile = file("Makefile").text;
    let targets = page::targets(&makefile);
    let mut complaints = Vec::new();
    for name in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"] {
        for (line, target) in page::make_commands(&file(name).text) {
            if !targets.contains(target.as_str()) {
                complaints.push(format!("{name}:{line}: the Makefile has no target {target}"));
            }
        }
    }
    let readme: BTreeSet<_> =
        page::make_commands(&file("README.md").text).into_iter().map(|(_, t)| t).collect();
    assert!(
        readme.contains("demo") && readme.contains("test"),
        "README.md shows make demo and make test"
    );
    for script in page::scripts(&makefile) {
        if !root().join(&script).exists() {
            complaints.push(format!("Makefile: {script} does not exist"));
        }
    }
    none(complaints);
}

#[test]
fn the_readme_names_the_toolchain_that_is_needed() {
    let manifest = file("Cargo.toml").text;
    let wanted = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let said = format!("Rust toolchain of {} or later", wanted.expect("rust-version").trim_matches('"'));
    assert!(file("README.md").text.contains(&said), "README.md must say: {said}");
}
