//! The mutants, from the wire to the hand-in.
//!
//! A defect is charged once, by the first rule that it breaks: what follows from it elsewhere costs nothing.
//! A defect that no rule names costs nothing at all, and such mutants are here too.

use super::Edit::{Remove, Rename, Replace, Write};
use super::{Costs, Edit, Mutant};

/// Rule 11.
const PORTS: &[Costs] = &[("ports", 11, 10.0, 10.0)];
/// Rule 5: 5 points are left of 100.
const NO_COMPILE: &[Costs] = &[("compile", 5, 95.0, 95.0)];
/// Rule 6: 10 are left.
const NO_TASK: &[Costs] = &[("no-task", 6, 90.0, 90.0)];
/// Rule 7: 35 are left.
const PHASE_1_ONLY: &[Costs] = &[("phase2", 7, 65.0, 65.0)];
/// Rule 7, for what shows the lines of all phases.
const NO_UDP: &[Costs] = &[("wire.no-udp", 7, 65.0, 65.0)];
/// Rule 8: 75 are left.
const PHASES_1_AND_2: &[Costs] = &[("phase3", 8, 25.0, 25.0)];
/// Rule 10, and then nothing compiles: rule 5 leaves 5, whatever else is lost.
const NO_MAKEFILE: &[Costs] = &[("makefile.missing", 10, 15.0, 15.0), ("compile", 5, 95.0, 95.0)];
/// Differences that the lenient reading forgives.
const WHITE_SPACE: &[Costs] = &[("screen.white-space", 12, 0.0, 5.0)];
/// One that no reading forgives.
const PUNCTUATION: &[Costs] = &[("screen.punctuation", 12, 5.0, 5.0)];

/// Two paragraphs of the README.
const README_F: &str = concat!(
    "f. Format of all the messages exchanged (integers are 64 bits unless said otherwise):\n",
    "   client to AWS, TCP:      name of the function (4 bytes, \"SUM\" and a zero), count, the numbers\n",
    "   AWS to client, TCP:      the result (128 bits)\n",
    "   AWS to backend, UDP:     job, count of the third, position, count in this datagram (at most 1000),\n",
    "                            name of the function (8 bytes), the numbers\n",
    "   backend to AWS, UDP:     job, numbers that arrived, 1 if the result is there, the result (128 bits)\n",
    "\n",
);
const README_G: &str = concat!(
    "g. Idiosyncrasies: all programs must run on machines with the same byte order. The project fails with more\n",
    "   than 3,000,000 numbers, and a sum of squares is exact below 2^127 only.\n",
    "\n",
);

const fn mutant(
    name: &'static str,
    what: &'static str,
    edits: &'static [Edit],
    loses: &'static [Costs],
) -> Mutant {
    Mutant { name, what, edits, loses }
}

const fn replace(file: &'static str, from: &'static str, to: &'static str) -> Edit {
    Replace { file, from, to }
}

/// A whole program.
const fn program(file: &'static str, text: &'static str) -> Edit {
    Write { file, text }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    // Ports.
    mutant(
        "aws-udp-ephemeral",
        "AWS binds no UDP port: the backends answer to whatever port it got",
        &[replace(
            "aws.c",
            "int udp = bound(SOCK_DGRAM, AWS_UDP);",
            "int udp = socket(AF_INET, SOCK_DGRAM, 0);",
        )],
        PORTS,
    ),
    mutant(
        "aws-udp-sends-ephemeral",
        "AWS receives at its UDP port, but sends from an ephemeral one: only the wire shows it",
        &[
            replace("aws.c", "static wide x[3];", "static wide x[3];\nstatic int other;"),
            replace("aws.c", "sendto(udp, &c,", "sendto(other, &c,"),
            replace(
                "aws.c",
                "int udp = bound(SOCK_DGRAM, AWS_UDP);",
                "int udp = bound(SOCK_DGRAM, AWS_UDP);\n    other = socket(AF_INET, SOCK_DGRAM, 0);",
            ),
            replace(
                "backend.h",
                "int function = lookup(c.name);",
                "from.sin_port = htons(AWS_UDP);\n        int function = lookup(c.name);",
            ),
        ],
        PORTS,
    ),
    mutant(
        "aws-tcp-port",
        "AWS listens on TCP port 26319",
        &[replace("common.h", "#define AWS_TCP 25319", "#define AWS_TCP 26319")],
        PORTS,
    ),
    mutant(
        "server-b-port",
        "Backend B is on port 22329, which is another ID's",
        &[replace("common.h", "#define PORT_B 22319", "#define PORT_B 22329")],
        PORTS,
    ),
    mutant(
        "client-static-port",
        "the client's port is static, where table 3 wants a dynamic one",
        &[
            replace(
                "client.c",
                "int aws = socket(AF_INET, SOCK_STREAM, 0);",
                "int aws = bound(SOCK_STREAM, 26319);\n    struct linger none = {.l_onoff = 1};",
            ),
            // Without it the port could not be had again for a minute.
            replace(
                "client.c",
                "    close(aws);",
                "    setsockopt(aws, SOL_SOCKET, SO_LINGER, &none, sizeof none);\n    close(aws);",
            ),
        ],
        PORTS,
    ),
    // Which numbers go to which backend, and which result came from which.
    mutant(
        "shards-swapped",
        "backend A gets the second third, B the first",
        &[replace(
            "aws.c",
            "numbers + i * third, third",
            "numbers + (i == 2 ? 2 : 1 - i) * third, third",
        )],
        &[("shards", 12, 5.0, 5.0)],
    ),
    mutant(
        "first-third-to-all",
        "all backends get the first third",
        &[replace("aws.c", "numbers + i * third, third", "numbers, third")],
        &[("shards", 12, 5.0, 5.0)],
    ),
    mutant(
        "round-robin",
        "the numbers are dealt out in turn",
        &[
            replace(
                "aws.c",
                "    long third = count / 3;\n",
                "    long third = count / 3;\n    static int64_t dealt[MOST];\n    \
                 for (long k = 0; k < count; k++)\n        dealt[k % 3 * third + k / 3] = numbers[k];\n",
            ),
            replace("aws.c", "numbers + i * third, third", "dealt + i * third, third"),
        ],
        &[("shards", 12, 5.0, 5.0)],
    ),
    mutant(
        "arrival-order",
        "results are credited to A, B, C in the order in which they come, and A is slow",
        &[
            replace("aws.c", "x[i] = reply.x;", "x[done[0] + done[1] + done[2] - 1] = reply.x;"),
            replace(
                "backend.h",
                "reply.done = 1;",
                "reply.done = 1;\n        if (letter == 'A')\n            usleep(100000);",
            ),
        ],
        &[("attribution", 12, 5.0, 5.0)],
    ),
    // What is computed.
    mutant(
        "truncation-32",
        "results are 32 bits wide",
        &[replace("common.h", "typedef __int128 wide;", "typedef int wide;")],
        &[("wide", 12, 5.0, 5.0)],
    ),
    mutant(
        "min-from-zero",
        "the least number is looked for from 0",
        &[replace("backend.h", "function == MIN || function == MAX ? n[0]", "function == MAX ? n[0]")],
        &[("map.min", 12, 5.0, 5.0)],
    ),
    mutant(
        "max-from-zero",
        "the greatest number is looked for from 0, which shows where all are negative",
        &[replace("backend.h", "function == MIN || function == MAX ? n[0]", "function == MIN ? n[0]")],
        &[("negative", 12, 5.0, 5.0)],
    ),
    mutant(
        "sum-16-bit",
        "the backends' sums wrap at 16 bits",
        &[replace("backend.h", "case SUM: x += n[i];", "case SUM: x = (short)(x + n[i]);")],
        &[("map.sum", 12, 5.0, 5.0)],
    ),
    mutant(
        "square-of-sum",
        "the backends square the sum instead of summing squares",
        &[
            replace("backend.h", "x = (unsigned __int128)x + (wide)n[i] * n[i];", "x += n[i];"),
            replace("backend.h", "    return x;", "    return function == SOS ? x * x : x;"),
        ],
        &[("map.sos", 12, 5.0, 5.0)],
    ),
    mutant(
        "server-b-screen",
        "Backend B shows one more than the sum that it sends, so that the total is right",
        &[replace(
            "backend.h",
            "decimal(reply.x));",
            "decimal(reply.x + (letter == 'B' && function == SUM)));",
        )],
        &[("map.sum", 12, 5.0, 5.0)],
    ),
    mutant(
        "reduce-min-takes-a",
        "AWS takes A's least number for that of all",
        &[replace("aws.c", "case MIN: total = x[i] < total ? x[i] : total; break;", "case MIN: break;")],
        &[("reduce.min", 12, 5.0, 5.0)],
    ),
    mutant(
        "reduce-forgets-c",
        "AWS adds A and B only",
        &[replace("aws.c", "(unsigned __int128)total + x[i]", "total + (i == 1 ? x[i] : 0)")],
        &[("reduce.sum", 12, 5.0, 5.0), ("reduce.sos", 12, 5.0, 5.0)],
    ),
    mutant(
        "no-udp",
        "AWS computes everything itself and prints all lines; the backends hear nothing",
        &[
            replace("aws.c", "#include \"common.h\"", "#include \"backend.h\""),
            replace("aws.c", "share(udp, i, function, ", "x[i] = map(function, "),
            replace("aws.c", "    while (!done[0] || !done[1] || !done[2])\n        hear(udp);\n", ""),
        ],
        NO_UDP,
    ),
    mutant(
        "numbers-not-sent",
        "AWS tells the backends how many numbers there are, and they read them from nums.csv",
        &[
            replace(
                "aws.c",
                "size_t bytes = offsetof(struct chunk, numbers) + c.count * sizeof *numbers;",
                "size_t bytes = offsetof(struct chunk, numbers);",
            ),
            replace("backend.h", "bytes != head + c.count * 8", "bytes != head"),
            replace(
                "backend.h",
                "        if (c.first == reply.have) {\n",
                "        if (c.first == reply.have) {\n            \
                 FILE *file = fopen(\"nums.csv\", \"r\");\n            char line[64];\n            \
                 long before = (letter - 'A') * c.total + c.first;\n            \
                 for (long k = -before; k < c.count; k++)\n                \
                 if (fgets(line, sizeof line, file) != NULL && k >= 0)\n                    \
                 c.numbers[k] = strtol(line, NULL, 10);\n            fclose(file);\n",
            ),
        ],
        NO_UDP,
    ),
    mutant(
        "hard-coded",
        "the backends answer for the course's sample, whatever the numbers are",
        &[replace(
            "backend.h",
            "reply.x = map(function, numbers, c.total);",
            "static const long known[3][FUNCTIONS] = {{100, 988, 50553, 32681443},\n            \
             {108, 998, 58962, 41636580}, {102, 975, 53747, 36324977}};\n        \
             reply.x = known[letter - 'A'][function];",
        )],
        &[("hard-coded", 7, 65.0, 65.0)],
    ),
    mutant(
        "tcp-short-read",
        "AWS takes what one recv gives for all numbers",
        &[replace(
            "aws.c",
            "    if (!recv_all(client, numbers, count * sizeof *numbers))",
            "    memset(numbers, 0, count * sizeof *numbers);\n    \
             if (recv(client, numbers, count * sizeof *numbers, 0) <= 0)",
        )],
        &[("large", 12, 5.0, 5.0)],
    ),
    mutant(
        "crash-at-1024",
        "AWS has room for 1,024 numbers and crashes beyond",
        &[replace(
            "aws.c",
            "    if (function < 0 || count < 3",
            "    if (count > 1024)\n        abort();\n    if (function < 0 || count < 3",
        )],
        &[("large", 12, 5.0, 5.0)],
    ),
    // What the screens show.
    mutant(
        "received-count",
        "the backends show one more number than they received",
        &[replace("backend.h", "letter, (long)c.total);", "letter, (long)c.total + 1);")],
        &[("screen.wrong-value.backend-received", 12, 5.0, 5.0)],
    ),
    mutant(
        "sent-count",
        "AWS shows the count of all numbers where it sent a third",
        &[replace("aws.c", "Backend-Server %c\", third,", "Backend-Server %c\", (long)count,")],
        &[("screen.wrong-value.aws-sent", 12, 5.0, 5.0)],
    ),
    mutant(
        "tcp-port-shown",
        "AWS shows its UDP port where it received over TCP",
        &[replace("aws.c", "(long)count, AWS_TCP);", "(long)count, AWS_UDP);")],
        &[("screen.wrong-value.aws-received", 12, 5.0, 5.0)],
    ),
    mutant(
        "result-port-shown",
        "AWS shows the backend's port in the lines about results",
        &[replace("aws.c", "'A' + i, AWS_UDP,", "'A' + i, PORT_A + 1000 * i,")],
        &[("screen.wrong-value.aws-result", 12, 5.0, 5.0)],
    ),
    mutant(
        "type-lower-case",
        "the reduction type is shown as typed",
        &[replace(
            "common.h",
            "\"MIN\", \"MAX\", \"SUM\", \"SOS\"",
            "\"min\", \"max\", \"sum\", \"sos\"",
        )],
        &[("screen.type-case", 12, 0.0, 5.0)],
    ),
    mutant(
        "other-case",
        "the client's boot line has a capital too many",
        &[replace("client.c", "The client is up", "The Client is up")],
        &[("screen.case", 12, 5.0, 5.0)],
    ),
    mutant(
        "wording",
        "AWS has finished, but not successfully",
        &[replace("aws.c", "has successfully finished the reduction", "has finished the reduction")],
        &[("screen.wording.aws-finished", 12, 5.0, 5.0)],
    ),
    mutant(
        "soft-hyphen",
        "Backend-Server with the soft hyphen of the PDF",
        &[replace("aws.c", "Backend-Server", "Backend\u{ad}Server")],
        &[("screen.look-alike", 12, 5.0, 5.0)],
    ),
    mutant(
        "no-hyphen",
        "Backend Server without a hyphen",
        &[replace("aws.c", "Backend-Server", "Backend Server")],
        PUNCTUATION,
    ),
    mutant(
        "brackets",
        "AWS shows the count in the document's brackets",
        &[replace("aws.c", "The AWS sent %ld numbers", "The AWS sent <%ld> numbers")],
        PUNCTUATION,
    ),
    mutant(
        "no-final-period",
        "AWS's boot line has no period",
        &[replace("aws.c", "The AWS is up and running.", "The AWS is up and running")],
        WHITE_SPACE,
    ),
    mutant(
        "final-period",
        "the client's last line has a period",
        &[replace("client.c", "reduction %s: %s\"", "reduction %s: %s.\"")],
        WHITE_SPACE,
    ),
    mutant(
        "double-space",
        "two spaces where one belongs",
        &[replace("aws.c", "The AWS sent %ld", "The AWS  sent %ld")],
        WHITE_SPACE,
    ),
    mutant(
        "blank-lines",
        "an empty line after every line",
        &[replace("common.h", "putchar('\\n');", "printf(\"\\n\\n\");")],
        WHITE_SPACE,
    ),
    mutant(
        "debug-lines",
        "AWS shows a line that no table has",
        &[replace(
            "aws.c",
            "        serve(udp, client);",
            "        say(\"DEBUG accepted socket %d\", client);\n        serve(udp, client);",
        )],
        &[("screen.extra-line", 12, 0.0, 5.0)],
    ),
    mutant(
        "missing-line",
        "the client never shows how many numbers it sent",
        &[replace(
            "client.c",
            "    say(\"The client has sent %ld numbers to AWS\", (long)count);\n",
            "",
        )],
        &[("screen.missing-line.client-sent-numbers", 12, 5.0, 5.0)],
    ),
    mutant(
        "has-sent",
        "AWS `has sent`, as in the document's example",
        &[replace("aws.c", "The AWS sent %ld", "The AWS has sent %ld")],
        &[],
    ),
    mutant(
        "block-buffered",
        "the servers' output stays in a buffer until they are ended",
        &[
            replace("common.h", "    fflush(stdout);\n", ""),
            replace(
                "common.h",
                "    int yes = 1, s =",
                "    static char buffer[4 << 20];\n    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);\n    \
                 int yes = 1, s =",
            ),
        ],
        &[
            ("screen.missing-line.backend-up", 12, 5.0, 5.0),
            ("screen.missing-line.backend-received", 12, 5.0, 5.0),
            ("screen.missing-line.backend-finished", 12, 5.0, 5.0),
            ("screen.missing-line.backend-sent", 12, 5.0, 5.0),
            ("screen.missing-line.aws-up", 12, 5.0, 5.0),
            ("screen.missing-line.aws-received", 12, 5.0, 5.0),
            ("screen.missing-line.aws-sent", 12, 5.0, 5.0),
            ("screen.missing-line.aws-result", 12, 5.0, 5.0),
            ("screen.missing-line.aws-finished", 12, 5.0, 5.0),
            ("screen.missing-line.aws-answered", 12, 5.0, 5.0),
        ],
    ),
    // How far it gets.
    mutant(
        "phase-1-only",
        "AWS receives the numbers and hangs up",
        &[replace("aws.c", "    struct timeval now;\n", "    return;\n    struct timeval now;\n")],
        PHASE_1_ONLY,
    ),
    mutant(
        "phases-1-and-2",
        "the backends compute and send nothing; AWS and the client wait for ever",
        &[
            replace(
                "backend.h",
                "        sendto(udp, &reply, sizeof reply, 0, (struct sockaddr *)&from, length);\n",
                "",
            ),
            replace(
                "backend.h",
                "        say(\"The Server %c has successfully finished sending the reduction value to AWS server.\", letter);\n",
                "",
            ),
        ],
        PHASES_1_AND_2,
    ),
    mutant(
        "phases-1-and-2-polite",
        "the backends compute and send nothing; AWS hangs up",
        &[
            replace(
                "backend.h",
                "        sendto(udp, &reply, sizeof reply, 0, (struct sockaddr *)&from, length);\n",
                "",
            ),
            replace(
                "backend.h",
                "        say(\"The Server %c has successfully finished sending the reduction value to AWS server.\", letter);\n",
                "",
            ),
            replace("aws.c", "    while (!done[0]", "    return;\n    while (!done[0]"),
        ],
        PHASES_1_AND_2,
    ),
    mutant(
        "exits-at-once",
        "all programs end at once without a word",
        &[
            program("serverA.c", "int main(void) { return 0; }\n"),
            program("serverB.c", "int main(void) { return 0; }\n"),
            program("serverC.c", "int main(void) { return 0; }\n"),
            program("aws.c", "int main(void) { return 0; }\n"),
            program("client.c", "int main(void) { return 0; }\n"),
        ],
        NO_TASK,
    ),
    mutant(
        "crashes-at-once",
        "all programs crash before their first line",
        &[
            replace("serverA.c", "    int udp =", "    abort();\n    int udp ="),
            replace("serverB.c", "    int udp =", "    abort();\n    int udp ="),
            replace("serverC.c", "    int udp =", "    abort();\n    int udp ="),
            replace("aws.c", "    struct timeval second", "    abort();\n    struct timeval second"),
            replace("client.c", "    int function =", "    abort();\n    int function ="),
        ],
        NO_TASK,
    ),
    mutant(
        "syntax-error",
        "serverC.c lacks a semicolon",
        &[replace("serverC.c", "PORT_C);", "PORT_C)")],
        NO_COMPILE,
    ),
    mutant(
        "missing-include",
        "netdb.h is not included, as some systems allow",
        &[replace("common.h", "#include <netdb.h>\n", "")],
        NO_COMPILE,
    ),
    // The Makefile.
    mutant("no-makefile", "there is no Makefile", &[Remove { file: "Makefile" }], NO_MAKEFILE),
    mutant(
        "makefile-txt",
        "the Makefile is called Makefile.txt",
        &[Rename { file: "Makefile", to: "Makefile.txt" }],
        NO_MAKEFILE,
    ),
    mutant(
        "makefile-small",
        "the Makefile is called makefile, which make reads as well",
        &[Rename { file: "Makefile", to: "makefile" }],
        &[],
    ),
    mutant(
        "no-target",
        "the Makefile has no target serverC",
        &[
            replace("Makefile", "\nserverC:\n\t@./serverC\n", ""),
            replace(
                "Makefile",
                ".PHONY: all serverA serverB serverC aws",
                ".PHONY: all serverA serverB aws",
            ),
        ],
        &[("makefile.target", 12, 5.0, 5.0)],
    ),
    mutant(
        "no-phony",
        "the targets are not phony: `make serverA` says that serverA is up to date",
        &[replace("Makefile", ".PHONY: all serverA serverB serverC aws\n", "")],
        &[("makefile.phony", 12, 5.0, 5.0)],
    ),
    mutant(
        "compile-rules",
        "the targets compile the programs and start none",
        &[Write {
            file: "Makefile",
            text: "all: serverA serverB serverC aws client\n\n\
                   serverA: serverA.c\n\tgcc -o serverA serverA.c\n\n\
                   serverB: serverB.c\n\tgcc -o serverB serverB.c\n\n\
                   serverC: serverC.c\n\tgcc -o serverC serverC.c\n\n\
                   aws: aws.c\n\tgcc -o aws aws.c\n\n\
                   client: client.c\n\tgcc -o client client.c\n",
        }],
        &[("makefile.phony", 12, 5.0, 5.0)],
    ),
    mutant(
        "sunos",
        "the programs are linked with the libraries of SunOS",
        &[replace("Makefile", ".c\n", ".c -lsocket -lnsl -lresolv\n")],
        &[],
    ),
    // The README and the names.
    mutant(
        "no-readme",
        "there is no README",
        &[Remove { file: "README" }],
        &[("readme.missing", 10, 15.0, 15.0)],
    ),
    mutant(
        "readme-txt",
        "the README is called readme.txt",
        &[Rename { file: "README", to: "readme.txt" }],
        &[],
    ),
    mutant(
        "readme-without-f-and-g",
        "the README says nothing about messages and idiosyncrasies",
        &[replace("README", README_F, ""), replace("README", README_G, "")],
        &[("readme.f", 0, 1.0, 1.0), ("readme.g", 0, 1.0, 1.0)],
    ),
    mutant(
        "source-name",
        "serverA.c is called server_a.c",
        &[
            Rename { file: "serverA.c", to: "server_a.c" },
            replace("Makefile", "serverA.c", "server_a.c"),
            replace("README", "serverA.c ", "server_a.c"),
        ],
        &[("source-names", 0, 1.0, 1.0)],
    ),
    // What the assignment leaves open.
    mutant(
        "exit-255",
        "the client ends with status 255 when all went well",
        &[replace("client.c", "    close(aws);\n    return 0;", "    close(aws);\n    return 255;")],
        &[],
    ),
    mutant(
        "single-shot",
        "all servers end after one job",
        &[
            replace(
                "backend.h",
                "AWS server.\", letter);\n",
                "AWS server.\", letter);\n        return;\n",
            ),
            replace("aws.c", "        close(client);\n", "        close(client);\n        return 0;\n"),
        ],
        &[],
    ),
    mutant(
        "fork",
        "AWS forks for each client, which earns a bonus that 100 points have no room for",
        &[
            replace("aws.c", "#include \"common.h\"", "#include \"common.h\"\n#include <sys/wait.h>"),
            replace(
                "aws.c",
                "        serve(udp, client);\n        close(client);\n",
                "        if (fork() == 0) {\n            close(tcp);\n            serve(udp, client);\n            \
                 exit(0);\n        }\n        close(client);\n        \
                 while (waitpid(-1, NULL, WNOHANG) > 0)\n            ;\n",
            ),
        ],
        &[],
    ),
    mutant(
        "flaky",
        "AWS hangs up on every 17th client without a word: never on most runs of the same kind",
        &[replace(
            "aws.c",
            "        serve(udp, client);",
            "        static int clients;\n        if (++clients % 17 != 0)\n            serve(udp, client);",
        )],
        &[],
    ),
    mutant(
        "no-final-newline-hangs",
        "the client waits for ever for the newline after the last number",
        &[replace(
            "client.c",
            "        errno = 0;",
            "        while (strchr(line, '\\n') == NULL)\n            \
             clearerr(file), sleep(1), fgets(line, sizeof line, file);\n        errno = 0;",
        )],
        &[],
    ),
    mutant(
        "crashes-on-foo",
        "the client crashes on a function that there is not, or none",
        &[replace("client.c", "    if (function < 0) {", "    if (function < 0) {\n        abort();")],
        &[],
    ),
    mutant(
        "crashes-without-file",
        "the client crashes where there is no nums.csv",
        &[replace("client.c", "    if (file == NULL)\n        die(\"nums.csv\");\n", "")],
        &[],
    ),
    mutant(
        "no-reuseaddr",
        "AWS cannot be started again for a minute after a job",
        &[replace("common.h", "if (type == SOCK_STREAM)", "if (type < 0)")],
        &[],
    ),
];
