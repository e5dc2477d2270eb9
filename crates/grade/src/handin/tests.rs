use super::*;
use std::fs;

/// A submission of these files, looked at.
fn look_at(files: &[(&str, &str)]) -> HandIn {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    look(root.path(), None)
}

/// What a Makefile with this text is worth, beside sources.
fn makefile(text: &str) -> HandIn {
    look_at(&[("Makefile", text), ("serverA.c", ""), ("aws.c", "")])
}

/// The letters of the points that a README addresses.
fn addressed(text: &str) -> String {
    let points = look_at(&[("README", text)]).points;
    ('a'..='h').zip(points).filter(|(_, is)| *is).map(|(letter, _)| letter).collect()
}

const RULES: &str = "\
all:
\tgcc -o serverA serverA.c
serverA:
\t./serverA
serverB:
\t./serverB
serverC:
\t./serverC
aws:
\t./aws
";

#[test]
fn a_good_hand_in_has_all() {
    let readme = "Ada Lovelace\n1234567890\nI implemented all phases.\naws.c: the front end.\n\
                  Run make all, then ./client sum.\nFormat of the messages: text.\n\
                  It fails for long lines.\nReused code: none.\n";
    let makefile = format!(".PHONY: all serverA serverB \\\n  serverC aws\n{RULES}");
    let hand_in = look_at(&[
        ("README", readme),
        ("Makefile", &makefile),
        ("aws.c", "int main(void) { return 0; }\n"),
        ("client.cpp", ""),
        ("serverA.cc", ""),
        ("serverB.c", ""),
        ("serverC.c", ""),
    ]);
    assert_eq!(
        hand_in,
        HandIn {
            readme: Some("README".to_owned()),
            points: [true; 8],
            makefile: Some("Makefile".to_owned()),
            phony: true,
            files: ["Makefile", "README", "aws.c", "client.cpp", "serverA.cc", "serverB.c", "serverC.c"]
                .map(str::to_owned)
                .to_vec(),
            ..HandIn::default()
        }
    );
}

#[test]
fn nothing_lacks_everything() {
    let hand_in = look_at(&[]);
    assert_eq!((hand_in.readme, hand_in.makefile, hand_in.misnamed_makefile), (None, None, None));
    assert_eq!(hand_in.missing_targets, ["all", "serverA", "serverB", "serverC", "aws"]);
    assert_eq!(hand_in.missing_sources, ["aws", "client", "serverA", "serverB", "serverC"]);
    assert!(!hand_in.phony);
}

#[test]
fn a_readme_goes_by_any_usual_name() {
    for name in
        ["README", "README.txt", "readme.md", "ReadMe", "Readme.TXT", "README_ee450", "read_me.txt"]
    {
        assert_eq!(look_at(&[(name, "x")]).readme.as_deref(), Some(name));
    }
    for name in ["readme.c", "README~", "readmenot.txt", "docs/README", "notes.txt"] {
        assert_eq!(look_at(&[(name, "x")]).readme, None, "{name}");
    }
    assert_eq!(look_at(&[("README", " \n\n")]).readme, None, "an empty one is none");
    let two = look_at(&[("README", ""), ("README.txt", "b. 1234567890")]);
    assert_eq!(two.readme.as_deref(), Some("README.txt"));
}

#[test]
fn labelled_points_are_addressed_if_there_is_text() {
    assert_eq!(
        addressed("a. x\n(b) y\nc) z\nD: u\n- e. v\n**f.** w\n[g] r\nh.\nnext line\n"),
        "abcdefgh"
    );
    assert_eq!(addressed("a.\nb.\n\nc.  \n"), "", "labels alone say nothing");
}

#[test]
fn words_address_points() {
    assert_eq!(addressed("Full Name: ada"), "a");
    assert_eq!(addressed("EE450 Socket Programming Project\nby Grace Hopper"), "a");
    assert_eq!(addressed("Socket Programming\nComputer Networks"), "");
    assert_eq!(addressed("1234-5678-90"), "b");
    assert_eq!(addressed("USC ID 1234567"), "b");
    assert_eq!(addressed("at 2016-11-17 from 127.0.0.1, port 24123, 123456789012"), "", "no IDs");
    assert_eq!(addressed("phase 1 and 2"), "c");
    assert_eq!(addressed("serverA.cpp"), "d");
    assert_eq!(addressed("make all"), "e");
    assert_eq!(addressed("messages are exchanged so:"), "f");
    assert_eq!(addressed("idiosyncrasy: none"), "g");
    assert_eq!(addressed("beej's guide"), "h");
}

#[test]
fn a_readme_that_only_people_can_read_is_theirs_to_judge() {
    assert_eq!(addressed("%PDF-1.4 ..."), "abcdefgh");
    let root = tempfile::tempdir().unwrap();
    let wide: Vec<u8> = "\u{feff}make all".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(root.path().join("README.txt"), wide).unwrap();
    let points = look(root.path(), None).points;
    assert_eq!(points, [false, false, false, false, true, false, false, false], "Windows' \"Unicode\"");
}

#[test]
fn a_makefile_has_one_of_three_names() {
    for name in ["Makefile", "makefile", "GNUmakefile"] {
        let hand_in = look_at(&[(name, RULES), ("Makefile.bak", "")]);
        assert_eq!((hand_in.makefile.as_deref(), hand_in.misnamed_makefile), (Some(name), None));
    }
    for name in ["Makefile.txt", "MAKEFILE", "makefile.mk", "Make", "MakeFile", "ee450.mk"] {
        let hand_in = look_at(&[(name, RULES)]);
        assert_eq!((hand_in.makefile, hand_in.misnamed_makefile.as_deref()), (None, Some(name)));
        assert_eq!(hand_in.missing_targets.len(), 5, "make reads none");
    }
    for name in ["makefile.c", "Makefile~", "maker.txt", "src/Makefile"] {
        assert_eq!(look_at(&[(name, RULES)]).misnamed_makefile, None, "{name}");
    }
}

#[test]
fn targets_are_found_however_they_are_written() {
    let missing = |text: &str| makefile(text).missing_targets.join(" ");
    assert_eq!(missing(RULES), "");
    assert_eq!(missing("all serverA serverB \\\n serverC aws :\n\t./$@\n"), "");
    assert_eq!(missing("S = serverA serverB\nT := $(S) serverC\nall: ${T}\n$(T) aws:\n\t./$@\n"), "");
    assert_eq!(missing("all: x ; gcc x.c\nserverA::\n\t./serverA\n"), "serverB serverC aws");
    // Not rules: a comment, a command, an assignment, a target's variable, a different case.
    let none = "#all: x\n\tall: x\nserverA := 1\nserverB: CFLAGS = -g\nserverc:\n\t./x\nX = aws:\n";
    assert_eq!(missing(none), "all serverA serverB serverC aws");
    assert_eq!(missing(".PHONY: all serverA serverB serverC aws\n"), "all serverA serverB serverC aws");
    assert_eq!(missing(&RULES.replace('\n', "\r\n")), "", "as Windows writes it");
}

#[test]
fn run_targets_must_not_be_files_that_make_makes() {
    let phony = |text: &str| makefile(text).phony;
    assert!(!phony(RULES), "the binary has the target's name");
    assert!(phony(&format!("{RULES}.PHONY: serverA\n")));
    assert!(phony(&RULES.replace("-o serverA", "-o serverA.out")));
    assert!(!phony(&RULES.replace("-o serverA", "-o ./serverA")));
    assert!(!phony(&RULES.replace("-o serverA", "-oserverA")));
    assert!(!phony(&RULES.replace("-o serverA serverA.c", "-o $(A) serverA.c\nA=serverA")));
    assert!(!phony("serverA: serverA.c\n\tgcc -o $@ serverA.c\n"));
    assert!(!phony("serverA: serverA.o\n"), "by a rule that make has itself");
    assert!(!phony("all:\n\tgcc serverA.c\n\tmv a.out serverA\nserverA:\n\t./serverA\n"));
    assert!(phony(&RULES.replace("serverA:", "serverA: all")), "what it needs is never there");
    assert!(!phony("a: b\nb: a\nserverA: a\n\tgcc -o serverA x.c\n\tgcc -o a -o b\n"), "in circles");
    let there = look_at(&[("Makefile", &RULES.replace("-o serverA", "")), ("serverA", "\x7fELF")]);
    assert!(!there.phony, "the binary was handed in");
}

#[test]
fn hostile_makefiles_take_no_time() {
    let doubled = "A0 = xxxxxxxx\n".to_owned()
        + &(1..60).map(|n| format!("A{n} = $(A{0})$(A{0})\n", n - 1)).collect::<String>();
    let grown = (0..20_000).map(|_| "$(A59) $(A9): $(A59)\n\t$(A10)\n").collect::<String>();
    assert_eq!(makefile(&(doubled + &grown)).missing_targets.len(), 5);
    let names: String = (0..60_000).map(|n| format!(" t{n}")).collect();
    let square = format!("{names}: {names}\n\tx\n\tx\n\tx\n");
    assert_eq!(makefile(&square).missing_targets.len(), 5);
    let chain: String = (0..40_000).map(|n| format!("t{n}: t{}\n", n + 1)).collect();
    let chain = format!("serverA: t0\n\t./serverA\n{chain}");
    assert_eq!(makefile(&chain).missing_targets, ["all", "serverB", "serverC", "aws"]);
}

#[test]
fn sources_have_prescribed_names() {
    let missing = |names: &[&str]| {
        let files: Vec<_> = names.iter().map(|name| (*name, "")).collect();
        look_at(&files).missing_sources.join(" ")
    };
    assert_eq!(missing(&["servers.c", "client.c"]), "");
    assert_eq!(missing(&["servers.c"]), "client");
    assert_eq!(missing(&["server.c", "client.c", "aws.cc"]), "serverA serverB serverC");
    assert_eq!(
        missing(&["serverA.c", "serverb.c", "ServerC.c", "AWS.c", "client.C"]),
        "aws client serverB serverC"
    );
    assert_eq!(missing(&["src/aws.c", "src/client.c", "src/servers.cpp"]), "");
    // Another language has its own habits.
    assert_eq!(missing(&["src/bin/aws.rs", "src/bin/client.rs", "servera.rs", "serverb.rs"]), "serverC");
    assert_eq!(missing(&["aws.py", "client.c", "servers.c"]), "");
}

#[test]
fn calls_that_fork_are_found_in_code_only() {
    let fork = |text: &str| look_at(&[("aws.c", text)]).fork;
    assert_eq!(fork("int main() {\n  if (!fork ()) {}\n}\n").as_deref(), Some("aws.c:2"));
    assert_eq!(fork("/* a\n b */ vfork();").as_deref(), Some("aws.c:2"));
    assert_eq!(fork("// c \\\n fork()\npthread_create(&t);").as_deref(), Some("aws.c:3"));
    assert_eq!(fork("char q = '\"';\nstd::thread t(f);").as_deref(), Some("aws.c:2"));
    assert_eq!(fork("#if 0\n#if 1\n#endif\n#else\nfork();\n#endif").as_deref(), Some("aws.c:5"));
    for none in [
        "// fork()",
        "/* fork() */",
        "/* fork()",
        "puts(\"fork() \\\" fork()\");",
        "forks(); my_fork(); int fork;",
        "#if 0\nfork();\n# endif\n",
        "",
    ] {
        assert_eq!(fork(none), None, "{none}");
    }
}

#[test]
fn an_archive_has_a_prescribed_name() {
    let bad = |name: &str| look(Path::new("/nonexistent"), Some(name)).bad_archive_name;
    assert_eq!(bad("ee450_sakulkar_session1.tar.gz"), None);
    for name in
        ["EE450_ada_session1.tar.gz", "ee450_ada_session.tar.gz", "ee450_ada_session1.tgz", "ada.tar.gz"]
    {
        let said = bad(name).unwrap();
        assert!(said.starts_with("The archive should be called ee450_yourUSCusername_session#.tar.gz"));
        assert!(said.ends_with(&format!("and is called {name}.")), "{said}");
    }
    assert!(bad("\x1b[2J").unwrap().contains("\\u{1b}[2J"));
}

#[test]
fn links_out_of_the_submission_are_not_read() {
    let root = tempfile::tempdir().unwrap();
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "make all").unwrap();
    std::os::unix::fs::symlink(secret.path(), root.path().join("README")).unwrap();
    let hand_in = look(root.path(), None);
    assert_eq!((hand_in.readme, hand_in.files), (None, vec!["README".to_owned()]));
}
