use super::*;
use crate::handin::look;

/// A submission, repaired: what was said, and its folder.
fn repaired(files: &[(&str, &str)]) -> (Vec<String>, tempfile::TempDir) {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let done = repair(root.path(), &look(root.path(), None)).unwrap();
    // Whatever is repaired is so once and for all.
    assert_eq!(repair(root.path(), &look(root.path(), None)).unwrap(), [""; 0]);
    (done, root)
}

fn text(root: &tempfile::TempDir, name: &str) -> String {
    fs::read_to_string(root.path().join(name)).unwrap()
}

const GOOD: &str = "\
.PHONY: all serverA serverB serverC aws
all:
\tgcc -o serverA serverA.c
serverA serverB serverC aws:
\t./$@
";
const MAIN: &str = "int main(void) { return 0; }\n";

#[test]
fn what_is_good_is_left_alone() {
    let (done, root) = repaired(&[("Makefile", GOOD), ("serverA.c", MAIN)]);
    assert_eq!(done, [""; 0]);
    assert_eq!((text(&root, "Makefile"), text(&root, "serverA.c")), (GOOD.to_owned(), MAIN.to_owned()));
    assert_eq!(repaired(&[("notes.txt", "nothing to compile")]).0, [""; 0]);
}

#[test]
fn a_misnamed_makefile_is_renamed() {
    for name in ["Makefile.txt", "MAKEFILE"] {
        let (done, root) = repaired(&[(name, GOOD), ("serverA.c", MAIN)]);
        assert_eq!(done, [format!("{name} was renamed to Makefile.")]);
        assert_eq!(text(&root, "Makefile"), GOOD);
        assert!(!root.path().join(name).exists());
    }
}

#[test]
fn junk_at_the_top_becomes_a_comment() {
    let (done, root) =
        repaired(&[("makefile", &format!("\nEE450 Makefile\n{GOOD}")), ("serverA.c", MAIN)]);
    assert_eq!(done, ["The line \"EE450 Makefile\" at the top of makefile was made a comment."]);
    assert_eq!(text(&root, "makefile"), format!("\n# EE450 Makefile\n{GOOD}"));
    for fine in
        ["# comment \\\n that goes on\n", "CC = gcc\n", "export X\n", "$(info hello)\n", "x:\n\tjunk\n"]
    {
        assert_eq!(repaired(&[("Makefile", &format!("{fine}{GOOD}")), ("serverA.c", MAIN)]).0, [""; 0]);
    }
}

#[test]
fn targets_become_phony_where_they_run_something() {
    let rules = GOOD.split_once('\n').unwrap().1;
    let (done, root) = repaired(&[("Makefile", rules), ("serverA.c", MAIN)]);
    assert_eq!(done, ["serverA was added to .PHONY in Makefile."]);
    assert_eq!(text(&root, "Makefile"), format!("{rules}\n\n.PHONY: serverA\n"));
    assert!(look(root.path(), None).phony);
    // One that compiles still would not run.
    let compiles = "all: serverA serverB serverC aws\nserverA serverB serverC aws:\n\tgcc -o $@ $@.c\n";
    assert_eq!(repaired(&[("Makefile", compiles), ("serverA.c", MAIN)]).0, [""; 0]);
}

#[test]
fn missing_targets_are_added() {
    let (done, root) = repaired(&[
        ("Makefile", "client:\n\tgcc -o client client.c"),
        ("client.c", MAIN),
        ("aws.cc", MAIN),
    ]);
    assert_eq!(done, ["The target all was added to Makefile.", "The target aws was added to Makefile."]);
    assert_eq!(
        text(&root, "Makefile"),
        "client:\n\tgcc -o client client.c\n\n.PHONY: all aws\nall:\n\
         \tg++ -o aws aws.cc -lsocket -lnsl -lresolv\n\
         \tgcc -o client client.c -lsocket -lnsl -lresolv\naws:\n\t./aws\n"
    );
    // What it makes from a source of another name can be run too.
    let other = "all:\n\tgcc -o serverB b.c\n";
    let (done, root) = repaired(&[("Makefile", other), ("b.c", MAIN)]);
    assert_eq!(done, ["The target serverB was added to Makefile."]);
    assert!(text(&root, "Makefile").ends_with("serverB:\n\t./serverB\n"));
}

#[test]
fn what_make_builds_by_itself_is_not_made_a_run() {
    let implicit = "all: serverA serverB serverC aws\n";
    let files = [("Makefile", implicit), ("serverA.c", MAIN), ("aws.c", MAIN)];
    let (done, root) = repaired(&files);
    assert_eq!(done, [""; 0]);
    assert_eq!(text(&root, "Makefile"), implicit);
}

#[test]
fn a_makefile_is_written_where_there_is_none() {
    let files = ["serverA.c", "serverB.cc", "serverC.cpp", "aws.c", "Client.c"].map(|name| (name, MAIN));
    let (done, root) = repaired(&files);
    assert_eq!(done, ["Makefile was written; it compiles with the document's command line."]);
    assert_eq!(
        text(&root, "Makefile"),
        ".PHONY: all serverA serverB serverC aws\nall:\n\
         \tgcc -o serverA serverA.c -lsocket -lnsl -lresolv\n\
         \tg++ -o serverB serverB.cc -lsocket -lnsl -lresolv\n\
         \tg++ -o serverC serverC.cpp -lsocket -lnsl -lresolv\n\
         \tgcc -o aws aws.c -lsocket -lnsl -lresolv\n\
         \tgcc -o client Client.c -lsocket -lnsl -lresolv\n\
         serverA:\n\t./serverA\nserverB:\n\t./serverB\nserverC:\n\t./serverC\naws:\n\t./aws\n"
    );
    assert!(look(root.path(), None).phony);
}

#[test]
fn one_program_for_all_servers_is_run_once() {
    let (_, root) = repaired(&[("servers.c", MAIN), ("client.c", MAIN)]);
    let makefile = text(&root, "Makefile");
    assert!(makefile.contains("gcc -o servers servers.c"), "{makefile}");
    assert!(
        makefile
            .contains("serverA:\n\t./servers\nserverB:\n\t@echo \"make serverA runs all servers\"\n")
    );
    assert_eq!(look(root.path(), None).missing_targets, [""; 0]);
}

#[test]
fn sources_get_the_names_that_the_makefile_uses() {
    let makefile = format!("S = serverB.c\n{GOOD}x: $(S) lib/a.c gone.c\n\tgcc lib/a.c -o x\n");
    let (done, root) = repaired(&[
        ("Makefile", &makefile),
        ("ServerA.c", "// mine\n"),
        ("serverA.cpp", "// by ending\n"),
        ("serverB.cpp", "// b\n"),
        ("serverb.C", "// case and ending\n"),
        ("a.c", "// another folder\n"),
    ]);
    assert_eq!(
        done,
        [
            "serverA.cpp was copied to serverA.c, as Makefile calls it.",
            "serverB.cpp was copied to serverB.c, as Makefile calls it.",
        ]
    );
    assert_eq!(
        (text(&root, "serverA.c"), text(&root, "serverB.c")),
        ("// by ending\n".into(), "// b\n".into())
    );
    let (done, root) = repaired(&[("Makefile", GOOD), ("SERVERA.C", MAIN)]);
    assert_eq!(done[0], "SERVERA.C was copied to serverA.c, as Makefile calls it.");
    assert_eq!(text(&root, "serverA.c"), MAIN);
}

/// What a source begins with after its repair, and what was said of it.
fn includes(name: &str, source: &str, more: &[(&str, &str)]) -> (Vec<String>, String) {
    let mut files = vec![("Makefile", GOOD), ("serverA.c", MAIN), (name, source)];
    files.extend(more);
    let (done, root) = repaired(&files);
    let repaired = text(&root, name);
    (done, repaired.strip_suffix(source).unwrap().to_owned())
}

#[test]
fn missing_headers_are_included() {
    let source =
        "#include <stdio.h>\nint main(void) { memset(b, 0, 1); printf(\"\"); return close (3); }\n";
    let (done, added) = includes("aws.c", source, &[]);
    assert_eq!(added, "#include <string.h>\n#include <unistd.h>\n");
    assert_eq!(
        done,
        ["aws.c got #include <string.h>, for memset.", "aws.c got #include <unistd.h>, for close."]
    );
    let source =
        "#include <iostream>\nint main() { std::memset(b, 0, 1); exit(atoi(\"1\")); inet_addr(x); }\n";
    assert_eq!(includes("aws.cpp", source, &[]).1, "#include <cstring>\n#include <arpa/inet.h>\n");
}

#[test]
fn headers_that_are_there_are_not() {
    let none = |name: &str, source: &str, more: &[(&str, &str)]| {
        assert_eq!(includes(name, source, more), (Vec::new(), String::new()), "{source}");
    };
    none("aws.c", "# include <string.h>\nint n = strlen(s);\n", &[]);
    none("aws.cc", "#include <string.h>\nint n = strlen(s);\n", &[]);
    none("aws.cc", "#include <bits/stdc++.h>\nint n = strlen(s);\n", &[]);
    none("aws.cc", "void f() { file.close(); p->read(b); a.\n write(c); }\n", &[]);
    none("aws.c", "// strlen(s)\nchar *s = \"strlen(s)\";\n", &[]);
    none("aws.c", "int read(int x) { return x; }\nint y = read(1);\n", &[]);
    let mine =
        [("aws.h", "#include \"more.h\"\n"), ("more.h", "#include <string.h>\n#include \"aws.h\"\n")];
    none("aws.c", "#include \"aws.h\"\nint n = strlen(s);\n", &mine);
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are() {
    let root = tempfile::tempdir().unwrap();
    let source = b"char c[] = \"\xe9\xff\";\nint n = strlen(c);\n";
    fs::write(root.path().join("aws.c"), source).unwrap();
    fs::write(root.path().join("Makefile"), b"caf\xe9 latte\nall:\n\tgcc aws.c\n").unwrap();
    repair(root.path(), &look(root.path(), None)).unwrap();
    let repaired = fs::read(root.path().join("aws.c")).unwrap();
    assert_eq!(repaired, [b"#include <string.h>\n", &source[..]].concat());
    assert!(fs::read(root.path().join("Makefile")).unwrap().starts_with(b"# caf\xe9 latte\nall:"));
}

#[test]
fn repairs_are_not_written_through_links() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), "junk line\n").unwrap();
    std::os::unix::fs::symlink(outside.path(), root.path().join("Makefile")).unwrap();
    std::os::unix::fs::symlink(outside.path(), root.path().join("aws.c")).unwrap();
    repair(root.path(), &look(root.path(), None)).unwrap();
    assert_eq!(fs::read_to_string(outside.path()).unwrap(), "junk line\n");
}
