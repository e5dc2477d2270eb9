//! What travels between the rooms of the grader.
//!
//! Everything here can be written as JSON: the agent's answers, a grade kept for resuming, `--json`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The reductions of the assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    /// The least number.
    Min,
    /// The greatest.
    Max,
    /// The sum.
    Sum,
    /// The sum of squares.
    Sos,
}

impl Function {
    /// All of them.
    pub const ALL: [Function; 4] = [Function::Min, Function::Max, Function::Sum, Function::Sos];

    /// As the client's argument.
    pub fn argument(self) -> &'static str {
        match self {
            Function::Min => "min",
            Function::Max => "max",
            Function::Sum => "sum",
            Function::Sos => "sos",
        }
    }

    /// As tables 4 to 8 print it.
    pub fn upper(self) -> &'static str {
        match self {
            Function::Min => "MIN",
            Function::Max => "MAX",
            Function::Sum => "SUM",
            Function::Sos => "SOS",
        }
    }
}

/// The five processes, in the order in which they are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Process {
    /// Backend-Server A.
    ServerA,
    /// Backend-Server B.
    ServerB,
    /// Backend-Server C.
    ServerC,
    /// The front end.
    Aws,
    /// The client.
    Client,
}

impl Process {
    /// All of them.
    pub const ALL: [Process; 5] =
        [Process::ServerA, Process::ServerB, Process::ServerC, Process::Aws, Process::Client];
    /// Those that are started once.
    pub const SERVERS: [Process; 4] =
        [Process::ServerA, Process::ServerB, Process::ServerC, Process::Aws];
    /// The backends.
    pub const BACKENDS: [Process; 3] = [Process::ServerA, Process::ServerB, Process::ServerC];

    /// The make target and the program's usual name.
    pub fn name(self) -> &'static str {
        match self {
            Process::ServerA => "serverA",
            Process::ServerB => "serverB",
            Process::ServerC => "serverC",
            Process::Aws => "aws",
            Process::Client => "client",
        }
    }

    /// The backend's letter.
    pub fn letter(self) -> Option<char> {
        match self {
            Process::ServerA => Some('A'),
            Process::ServerB => Some('B'),
            Process::ServerC => Some('C'),
            Process::Aws | Process::Client => None,
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an input is there to find out. A wrong answer is charged once for each class, not for each input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Small positive numbers, at most 300 of them: the assignment's own case.
    Ordinary,
    /// Negative numbers among few.
    Negative,
    /// Numbers or answers beyond 32 bits.
    Wide,
    /// Thousands of numbers.
    Large,
    /// What the assignment does not promise to programs: shown, never charged.
    Beyond,
}

/// One `nums.csv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Short, of `a-z0-9-`.
    pub name: String,
    /// What it is there for.
    pub class: Class,
    /// The file's content.
    pub text: String,
    /// The numbers in it; a multiple of three of them.
    pub numbers: Vec<i64>,
}

/// What a run must say, exact. Numbers are decimal, since `sos` may need more than 128 bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// How many numbers there are.
    pub count: usize,
    /// `X_A`, `X_B`, `X_C`.
    pub partials: [String; 3],
    /// `X_final`.
    pub total: String,
    /// Whether all four fit into the `long` that the assignment names; what does not is [`Class::Beyond`].
    pub fits_long: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It runs.
    Running,
    /// By itself, with this status.
    Status(i32),
    /// By this signal, which the grader did not send.
    Signal(i32),
    /// The grader ended it: it took too long.
    TimedOut,
    /// The grader ended it: it printed too much.
    TooMuchOutput,
}

/// One way that datagrams or segments went: from port to port, with how many and how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// True for TCP, false for UDP.
    pub tcp: bool,
    /// The sender's port.
    pub from: u16,
    /// The receiver's port.
    pub to: u16,
    /// Datagrams, or segments with content.
    pub packets: u64,
    /// Bytes of content.
    pub bytes: u64,
}

/// A port that a process of the submission holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bound {
    /// True for a listening TCP socket, false for UDP.
    pub tcp: bool,
    /// Its number.
    pub port: u16,
}

/// The four servers being started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// What each terminal showed until it was quiet.
    pub screens: BTreeMap<Process, String>,
    /// How each stood then.
    pub exits: BTreeMap<Process, Exit>,
    /// Those that `make NAME` did not start, so that the built program was run itself.
    pub by_hand: Vec<Process>,
    /// What was bound then.
    pub bound: Vec<Bound>,
}

/// One client run, with what every terminal showed from its start until all was quiet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// The input's name.
    pub case: String,
    /// Its class.
    pub class: Class,
    /// The client's argument.
    pub function: Function,
    /// Counted from 0.
    pub repeat: usize,
    /// What each terminal showed, as it came.
    pub screens: BTreeMap<Process, String>,
    /// How each process stood at the end.
    pub exits: BTreeMap<Process, Exit>,
    /// What went over the wire; `None` where it could not be watched.
    pub flows: Option<Vec<Flow>>,
    /// How long it took.
    pub ms: u64,
}

/// Something done that the assignment leaves open: shown, charged only where the policy says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Short, of `a-z-`: `foo`, `no-argument`, `missing-file`, `no-final-newline`, `second-client`, `restart`.
    pub name: String,
    /// What was done, for people.
    pub what: String,
    /// What came of it, for people.
    pub outcome: String,
    /// Whether that is what a careful program does.
    pub good: bool,
}

/// What the compiler said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The command.
    pub command: String,
    /// Its output, cut where it is endless.
    pub output: String,
    /// How it ended.
    pub exit: Exit,
    /// The programs that were there afterwards.
    pub programs: Vec<Process>,
    /// SunOS libraries that were answered with empty stand-ins.
    pub stand_ins: Vec<String>,
}

/// What was handed in, before anything ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandIn {
    /// The README's name, if there is one.
    pub readme: Option<String>,
    /// Which of the points a to h the README addresses, in order.
    pub points: [bool; 8],
    /// The Makefile's name, if there is one: `Makefile` or `makefile`.
    pub makefile: Option<String>,
    /// Names that look like a Makefile but that make does not read.
    pub misnamed_makefile: Option<String>,
    /// Targets of `all serverA serverB serverC aws` that the Makefile lacks.
    pub missing_targets: Vec<String>,
    /// Whether the programs' targets are phony, or not files that `make all` makes.
    pub phony: bool,
    /// Prescribed sources that are not there (`aws`, `client`, `serverA` ...).
    pub missing_sources: Vec<String>,
    /// All files, relative to the root, sorted.
    pub files: Vec<String>,
    /// What the archive's name should have been like, where it is not; `None` for a folder too.
    pub bad_archive_name: Option<String>,
    /// A fork-like call in the sources, comments aside: `file:line`.
    pub fork: Option<String>,
}

/// How a line differs from the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A number in it is wrong.
    WrongValue,
    /// It is not there.
    MissingLine,
    /// No table has it.
    ExtraLine,
    /// Other words.
    Wording,
    /// Other case, of the reduction type.
    TypeCase,
    /// Other case, of anything else.
    Case,
    /// Punctuation other than a final period.
    Punctuation,
    /// White space, or a final period too many or too few.
    WhiteSpace,
    /// Characters that look like others, such as the soft hyphen from the PDF.
    LookAlike,
}

impl Kind {
    /// Whether the lenient reading ignores it.
    pub fn forgiven(self) -> bool {
        matches!(self, Kind::TypeCase | Kind::WhiteSpace)
    }
}

/// Which sentence of the tables, for all backends the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sentence {
    /// Tables 4 to 6: "The Server A is up and running ..."
    BackendUp,
    /// `The Server A has received <count> numbers`
    BackendReceived,
    /// `The Server A has successfully finished the reduction ...`
    BackendFinished,
    /// `The Server A has successfully finished sending ...`
    BackendSent,
    /// Table 7: "The AWS is up and running."
    AwsUp,
    /// `The AWS has received <count> numbers from the client ...`
    AwsReceived,
    /// `The AWS sent <count> numbers to Backend-Server <i>`
    AwsSent,
    /// `The AWS received reduction result of ...`
    AwsResult,
    /// `The AWS has successfully finished the reduction ...`
    AwsFinished,
    /// `The AWS has successfully finished sending ...`
    AwsAnswered,
    /// Table 8: "The client is up and running."
    ClientUp,
    /// `The client has sent the reduction type ...`
    ClientSentType,
    /// `The client has sent <count> numbers to AWS`
    ClientSentNumbers,
    /// `The client has received reduction ...`
    ClientReceived,
    /// None of them.
    Other,
}

/// One line that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// On whose terminal.
    pub process: Process,
    /// Which sentence.
    pub sentence: Sentence,
    /// In what way; a line may have several.
    pub kind: Kind,
    /// The line as it should be; empty for an extra one.
    pub expected: String,
    /// The line as it was; empty for a missing one.
    pub actual: String,
}

/// The document's rules by number, as in "Grading Criteria"; 0 is the hand-in's "Submission Rules".
pub type Rule = u8;

/// Points lost, or not won.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// The document's rule.
    pub rule: Rule,
    /// What was checked, short and stable: `map.sum`, `wire.aws-port`, `screen.wording.aws-sent`.
    pub check: String,
    /// Points, positive, in the lenient reading; 0 where only the strict one charges it.
    pub lenient: f64,
    /// Points, positive, in the strict reading.
    pub strict: f64,
    /// What is wrong, one sentence for the student.
    pub what: String,
    /// Which run shows it: `n300/sum, run 1 of 5`, or what was looked at.
    pub run: String,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub actual: String,
    /// One shell command that shows it again.
    pub again: String,
}

/// The score of one reading.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// With white space, final period and case of the type ignored.
    pub lenient: f64,
    /// The document to the letter.
    pub strict: f64,
}

/// Expected and actual screens of one run side by side, for the reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Which run: `n300/sum, run 1 of 5`.
    pub run: String,
    /// What each terminal should have shown.
    pub expected: BTreeMap<Process, Vec<String>>,
    /// What it showed.
    pub actual: BTreeMap<Process, Vec<String>>,
    /// The differences.
    pub differences: Vec<Difference>,
}

/// How one input and function fared over all repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fared {
    /// The input.
    pub case: String,
    /// Its class, after [`Answer::fits_long`].
    pub class: Class,
    /// The function.
    pub function: Function,
    /// How many of the runs were right (all values, in the lenient reading).
    pub right: usize,
    /// How many there were.
    pub runs: usize,
}

/// Everything about one submission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grade {
    /// The archive's or folder's name.
    pub name: String,
    /// Where it was taken from, for commands that show something again.
    pub path: String,
    /// Why it could not be taken in at all; then all that follows is empty.
    pub refused: Option<String>,
    /// As handed in.
    pub score: Score,
    /// As repaired, where `--repair` was asked for and anything was repaired.
    pub repaired: Option<Score>,
    /// Each repair, one sentence.
    pub repairs: Vec<String>,
    /// Highest phase that works: 0 to 3.
    pub phase: u8,
    /// Bonus points given (rule 15) and why.
    pub bonus: Option<(f64, String)>,
    /// What was lost.
    pub losses: Vec<Loss>,
    /// What was noticed and not charged, one sentence each.
    pub remarks: Vec<String>,
    /// What was tried beyond the assignment.
    pub probes: Vec<Probe>,
    /// What was handed in.
    pub hand_in: HandIn,
    /// The build, if there was one.
    pub build: Option<Build>,
    /// Over all runs.
    pub fared: Vec<Fared>,
    /// Part of the runs that went other than the majority of their kind, 0 to 1.
    pub flake_rate: f64,
    /// The last three digits of the ID, as found from the ports or given.
    pub id: Option<u16>,
    /// Screens worth showing: the boot, a good run, and one for each loss that has one.
    pub shown: Vec<Shown>,
    /// How well it was shut in, and what is weaker where it was not.
    pub isolation: String,
    /// The seed of the inputs.
    pub seed: u64,
    /// How long grading took.
    pub seconds: f64,
}
