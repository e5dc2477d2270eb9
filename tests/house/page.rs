//! Reads pages, the manifest and the Makefile as far as house rules need it.

use std::collections::BTreeSet;

/// The names in one table of a Cargo.toml.
pub fn dependencies(manifest: &str, table: &str) -> Vec<String> {
    let rows = manifest.lines().skip_while(|line| *line != table).skip(1);
    let rows = rows.take_while(|line| !line.starts_with('['));
    rows.filter_map(|row| row.split_once('=')).map(|(name, _)| name.trim().to_owned()).collect()
}

/// Complaints about absolute paths that only one machine has.
pub fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (line, n) in text.lines().zip(1..) {
        for top in ["home", "root", "work", "Users"] {
            let wanted = format!("/{top}/");
            // Behind a letter it is the end of a relative path.
            let alone = |(at, _): (usize, &str)| {
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}*".contains(c))
            };
            if line.match_indices(&wanted).any(alone) {
                complaints.push(format!(
                    "{path}:{n}: a path under /{top} is somebody's machine: make it relative"
                ));
            }
        }
    }
    complaints
}

/// Lines outside fenced blocks, with their numbers.
fn prose(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    page.lines().enumerate().filter_map(move |(i, line)| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((i + 1, line))
    })
}

/// Links and pictures within the project, each with its line.
pub fn links(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (n, line) in prose(page) {
        for (open, close) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
            for (at, _) in line.match_indices(open) {
                let rest = &line[at + open.len()..];
                let link = &rest[..rest.find(close).unwrap_or(rest.len())];
                if !link.contains("://") && !link.starts_with("mailto:") {
                    found.push((n, link.to_owned()));
                }
            }
        }
    }
    found
}

/// What `#...` may name: headings, as web pages of repositories spell them.
pub fn anchors(page: &str) -> BTreeSet<String> {
    let headings = prose(page).filter_map(|(_, line)| {
        line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))
    });
    headings.map(anchor).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The targets that a page tells to make: in code only, not in a sentence such as "make sure".
pub fn make_commands(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (line, n) in page.lines().zip(1..) {
        fenced ^= line.starts_with("```");
        let pieces: Vec<&str> =
            if fenced { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
        for piece in pieces {
            let command = piece.trim_start_matches("$ ");
            if let Some(target) =
                command.strip_prefix("make ").and_then(|rest| rest.split_whitespace().next())
            {
                found.push((n, target.to_owned()));
            }
        }
    }
    found
}

/// The Makefile's targets.
pub fn targets(makefile: &str) -> BTreeSet<&str> {
    let rules = makefile.lines().filter(|line| !line.starts_with(['\t', '#', '.', ' ']));
    let heads = rules.filter_map(|line| line.split_once(':')).filter(|(_, rest)| !rest.starts_with('='));
    heads.flat_map(|(names, _)| names.split_whitespace()).collect()
}

/// The scripts that the Makefile runs.
pub fn scripts(makefile: &str) -> Vec<String> {
    let recipes = makefile.lines().filter(|line| line.starts_with('\t'));
    let words = recipes.flat_map(|line| line.split([' ', '\t', '@', ';']));
    words.filter(|word| word.starts_with("scripts/")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_those_of_their_table() {
        let manifest = "[package]\nname = \"x\"\n\n[dependencies]\na = \"1\"\nb-c = { version = \"1\" }\n\n[dev-dependencies]\nd = \"1\"\n";
        assert_eq!(dependencies(manifest, "[dependencies]"), ["a", "b-c"]);
        assert_eq!(dependencies(manifest, "[dev-dependencies]"), ["d"]);
    }

    #[test]
    fn machine_paths_are_told_from_relative_ones() {
        let planted = ["home", "root", "work"].map(|top| format!("x\ncd /{top}/me\n"));
        for text in planted {
            assert_eq!(machine_paths("a.md", &text).len(), 1, "{text}");
            assert!(machine_paths("a.md", &text)[0].starts_with("a.md:2: "));
        }
        assert!(
            machine_paths("a.md", &format!("bench/{}/x, {}/{}/", "work", "$HOME", "src")).is_empty()
        );
    }

    #[test]
    fn links_are_found_outside_fences() {
        let page = "# A `b`-c D!\n[x](y.md) and ![p](docs/p.svg) [w](https://e.org)\n```text\n[no](no.md)\n```\n<img src=\"q.png\">\n[t](#a-b-c-d)\n";
        let found = [(2, "y.md"), (2, "docs/p.svg"), (6, "q.png"), (7, "#a-b-c-d")];
        assert_eq!(links(page), found.map(|(n, link)| (n, link.to_owned())));
        assert!(anchors(page).contains("a-b-c-d"));
    }

    #[test]
    fn make_commands_are_found_in_code_only() {
        let page = "Run `make demo`, make sure.\n```sh\nmake test   # all\n$ make aws\n```\n";
        let found = [(1, "demo"), (3, "test"), (4, "aws")];
        assert_eq!(make_commands(page), found.map(|(n, target)| (n, target.to_owned())));
    }

    #[test]
    fn targets_are_rules_and_nothing_else() {
        let makefile =
            "A := 1\n.PHONY: x\nall:\n\t@scripts/a.sh\na b: c\n\t@exec scripts/b.sh x\n# no: x\n";
        assert_eq!(targets(makefile), BTreeSet::from(["all", "a", "b"]));
        assert_eq!(scripts(makefile), ["scripts/a.sh", "scripts/b.sh"]);
    }
}
