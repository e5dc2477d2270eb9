//! The hostile submissions.
//!
//! Should nothing shut them in, they still do no harm: each is bounded in processes, bytes and seconds, and
//! aimed at what the test made for it. Each attack comes in two places: in backend A, which then goes on as
//! the flawless one does, and in `make all`, before anything is compiled.

use super::{Edit, Hostile};

/// One attack in both places.
macro_rules! attack {
    ($name:literal, $file:literal, $what:literal) => {
        [
            Hostile {
                name: concat!($name, "-in-server"),
                what: concat!($what, ", in backend A after its boot line"),
                edits: &[
                    Edit::Write { file: "attack.h", text: attack!($file) },
                    Edit::Replace {
                        file: "serverA.c",
                        from: "#include \"backend.h\"\n",
                        to: "#include \"backend.h\"\n#include \"attack.h\"\n",
                    },
                    Edit::Replace {
                        file: "serverA.c",
                        from: "    backend(udp, 'A');\n",
                        to: "    attack();\n    backend(udp, 'A');\n",
                    },
                ],
            },
            Hostile {
                name: concat!($name, "-in-make"),
                what: concat!($what, ", in `make all`"),
                edits: &[
                    Edit::Write { file: "attack.h", text: attack!($file) },
                    Edit::Write { file: "attack.c", text: attack!("attack.c") },
                    Edit::Replace {
                        file: "Makefile",
                        from: "all:\n",
                        to: "all:\n\tgcc -Wall -o attack attack.c\n\t-./attack\n",
                    },
                ],
            },
        ]
    };
    ($file:literal) => {
        include_str!(concat!("../../../../grade/tests/submissions/hostile/", $file))
    };
}

const ATTACKS: [[Hostile; 2]; 10] = [
    attack!("fork-bomb", "fork_bomb.h", "200 children, 15 seconds each"),
    attack!("endless-output", "endless_output.h", "64 MiB of output"),
    attack!("memory-hog", "memory_hog.h", "touches up to 4 GiB"),
    attack!("sleeper", "sleeper.h", "sleeps 30 seconds and ignores SIGTERM, SIGHUP and SIGINT"),
    attack!("writer", "writer.h", "writes over the decoy file and into /tmp, /etc and the home folder"),
    attack!("reader", "reader.h", "prints the decoy file"),
    attack!("connector", "connector.h", "connects to the decoy port"),
    attack!("killer", "killer.h", "kills the decoy process, its parent and all that it sees"),
    attack!("daemon", "daemon.h", "leaves a daemon that sleeps 20 seconds and ignores SIGTERM"),
    attack!("escapes", "escapes.h", "prints terminal escape sequences, HTML and no UTF-8"),
];

/// All of them.
pub const HOSTILE: &[Hostile] = ATTACKS.as_flattened();
