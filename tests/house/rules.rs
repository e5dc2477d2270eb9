//! The rules of the house, as data. An exception has a reason, or it is none.

use crate::rust::Source;

/// Most lines of a file before its test module.
pub const FILE_LINES: usize = 500;
/// Most lines of a function.
pub const FUNCTION_LINES: usize = 70;
/// A binary has less than this.
pub const DOOR_LINES: usize = 60;

/// What a room (a module at the root) never uses: other rooms, and words.
pub struct Never {
    room: &'static str,
    rooms: &'static [&'static str],
    words: &'static [&'static str],
}

const FILES: &str = "std::fs";
const CLOCKS: [&str; 2] = ["Instant", "SystemTime"];

const NEVER: &[Never] = &[
    Never {
        room: "wire",
        rooms: &["proto", "io", "sim", "config", "numbers", "screen", "event"],
        words: &[FILES, "File", CLOCKS[0], CLOCKS[1], "UdpSocket", "TcpStream"],
    },
    Never {
        room: "proto",
        rooms: &["io", "sim", "config", "numbers"],
        words: &[
            FILES,
            "File",
            CLOCKS[0],
            CLOCKS[1],
            "UdpSocket",
            "TcpStream",
            "TcpListener",
            "socket2",
            "std::thread",
            "from_system",
            "rand",
            "HashMap",
            "HashSet",
        ],
    },
    Never { room: "reduction", rooms: &["wire", "proto", "io", "sim"], words: &[] },
    Never { room: "shard", rooms: &["wire", "proto", "io", "sim"], words: &[] },
    Never { room: "numbers", rooms: &["wire", "proto", "io", "sim"], words: &[] },
    Never { room: "config", rooms: &["wire", "proto", "io", "sim"], words: &[] },
    Never { room: "io", rooms: &["sim"], words: &[] },
    Never {
        room: "sim",
        rooms: &["io", "config", "numbers"],
        words: &[CLOCKS[0], CLOCKS[1], "UdpSocket", "TcpStream", "from_system", "HashMap", "HashSet"],
    },
    Never { room: "limits", rooms: &["wire", "proto", "io", "sim", "config"], words: &[] },
    Never { room: "bin", rooms: &["wire", "proto", "sim"], words: &[] },
];

/// `src/wire/frame.rs` is in the room `wire`.
fn room_of(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split(['/', '.']).next().unwrap_or(inside)
}

/// Complaints about what the source's room never uses.
pub fn forbidden_in(source: &Source) -> Vec<String> {
    let room = room_of(&source.path);
    let mut complaints = Vec::new();
    for rule in NEVER.iter().filter(|rule| rule.room == room) {
        for (line, used) in source.rooms_used() {
            if rule.rooms.contains(&used.as_str()) {
                complaints.push(format!(
                    "{}:{line}: `{room}` never uses `{used}`: see \"Never\" in ARCHITECTURE.md",
                    source.path
                ));
            }
        }
        let instead = "its room does without: see \"Never\" in ARCHITECTURE.md";
        complaints.extend(rule.words.iter().flat_map(|word| source.find(word, instead)));
    }
    complaints
}

/// What library code has none of, and what to write in its place.
pub const CARELESS: &[(&str, &str)] = &[
    (".unwrap()", "return an error, or prove that it cannot fail and add the file to rules::PROVED"),
    (".expect(", "return an error, or prove that it cannot fail and add the file to rules::PROVED"),
    ("anyhow", "give the operation an error of its own"),
    ("println!", "only binaries print: make it an event"),
    ("eprintln!", "only binaries print: make it an event"),
    ("print!", "only binaries print: make it an event"),
    ("eprint!", "only binaries print: make it an event"),
    ("dbg!", "take it out"),
    ("todo!", "do it"),
    ("unimplemented!", "do it"),
];

/// An exception: what (a path, or `path:function`), how many (or how long) at most, and why.
pub struct Exception {
    pub what: &'static str,
    pub most: usize,
    #[allow(dead_code, reason = "for readers")]
    pub why: &'static str,
}

/// What `what` may have: its exception's number, or the rule's.
pub fn allowed(exceptions: &[Exception], what: &str, rule: usize) -> usize {
    exceptions.iter().find(|e| e.what == what).map_or(rule, |e| e.most)
}

/// Files whose production part is longer than the rule allows.
pub const LONG_FILES: &[Exception] = &[];

/// Functions that are longer than the rule allows, as `path:function`.
pub const LONG_FUNCTIONS: &[Exception] = &[];

/// Files of the library with `expect` on what a comment beside it proves, and how many.
pub const PROVED: &[Exception] = &[
    Exception {
        what: "src/wire/auth.rs",
        most: 5,
        why: "the Noise pattern is a constant, and records are made with room for what is written",
    },
    Exception {
        what: "src/wire/auth/session.rs",
        most: 3,
        why: "the hash is compiled in; a handshake is opened once, and is finished when its second message is out",
    },
];

/// Files that may say `unsafe`.
pub const UNSAFE: &[Exception] = &[
    Exception {
        what: "src/reduction/kernel.rs",
        most: 0,
        why: "vector instructions behind run-time detection, tested against the portable path",
    },
    Exception {
        what: "src/numbers/simd.rs",
        most: 0,
        why: "vector instructions behind run-time detection, tested against the portable path",
    },
    Exception {
        what: "crates/parity/src/arena/memory.rs",
        most: 0,
        why: "mmap and mprotect: the type system knows no memory whose access rights change",
    },
    Exception {
        what: "crates/parity/src/arena/track/userfault.rs",
        most: 0,
        why: "ioctls of userfaultfd and the pagemap, for which no crate has safe calls",
    },
    Exception {
        what: "crates/parity/src/arena/track/signal.rs",
        most: 0,
        why: "a signal handler, and from the address of a fault to the arena that it is in",
    },
];

/// Where each dependency of the root package lives.
pub const HOMES: &[(&str, &[&str])] = &[
    ("anyhow", &["src/bin/"]),
    ("byteorder", &["src/wire/"]),
    ("crc32c", &["src/wire/"]),
    ("csv", &["src/numbers/"]),
    ("ctrlc", &["src/io/signal.rs"]),
    // Every partial and answer is one: the value that all rooms exchange.
    ("ethnum", &["src/"]),
    ("indicatif", &["src/io/console.rs"]),
    ("memchr", &["src/numbers/", "src/config.rs"]),
    ("quinn-udp", &["src/io/"]),
    ("rand", &["src/rng.rs"]),
    ("rustix", &["src/io/"]),
    // What is read from the configuration or written to the log says so where it is declared.
    ("serde", &["src/config", "src/event.rs", "src/screen.rs", "src/io/console.rs"]),
    ("serde_json", &["src/io/console.rs"]),
    ("snow", &["src/wire/auth"]),
    ("socket2", &["src/io/"]),
    // Errors are declared where they arise.
    ("thiserror", &["src/"]),
    ("toml", &["src/config"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_breach_of_every_rule_is_found() {
        for rule in NEVER {
            let path = format!("src/{}/planted.rs", rule.room);
            let root = if rule.room == "bin" { "offload" } else { "crate" };
            for room in rule.rooms {
                let found = forbidden_in(&Source::new(&path, &format!("\nuse {root}::{room}::x;\n")));
                assert_eq!(found.len(), 1, "{room} in {path}");
                assert!(found[0].starts_with(&format!("{path}:2: ")), "{}", found[0]);
            }
            for word in rule.words {
                let found = forbidden_in(&Source::new(&path, &format!("use {word};")));
                assert!(!found.is_empty(), "{word} in {path}");
            }
        }
    }

    #[test]
    fn what_is_allowed_is_not_found() {
        let text = "use crate::limits;\nuse std::net::SocketAddr;\n#[cfg(test)]\nmod tests {\n    use crate::io;\n}\n";
        assert!(forbidden_in(&Source::new("src/wire/x.rs", text)).is_empty());
        assert_eq!(room_of("src/rng.rs"), "rng");
    }

    #[test]
    fn exceptions_are_by_name() {
        let list = [Exception { what: "a", most: 9, why: "" }];
        assert_eq!((allowed(&list, "a", 5), allowed(&list, "b", 5)), (9, 5));
    }
}
