//! What one run shows: its values, what broke, and how far it came.
//!
//! A wrong line is seldom an error of its own. A wrong X_B makes AWS's line for B wrong, then X_final, then
//! the client's line. So the values are followed the way they go, and only the first wrong one is noted.

use super::Judged;
use super::values::{Reading, Shown, Values, differs};
use super::words::{backend, numbers, phase, table, value};
use crate::model::{Difference, Exit, Function, Kind, Process, Sentence};
use std::collections::BTreeSet;

/// One kind of error. What is the same symptom is charged once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Symptom {
    /// The run did not come to its end; then nothing that is missing is an error of its own.
    Broken,
    /// A backend's X_i is wrong.
    Map(Function),
    /// X_i are wrong, but right for another way to divide the numbers.
    Shards(Function),
    /// X_final is wrong, and no X_i.
    Reduce(Function),
    /// AWS credits right results to wrong backends.
    Attribution,
    /// A line is not as in the tables, and nothing above explains it.
    Screen(Kind, Sentence),
}

impl Symptom {
    /// The phase that it is an error of.
    pub(super) fn phase(self) -> u8 {
        match self {
            Symptom::Map(_) | Symptom::Shards(_) => 2,
            Symptom::Broken | Symptom::Reduce(_) | Symptom::Attribution => 3,
            Symptom::Screen(_, sentence) => phase(sentence),
        }
    }

    /// Whether a run with it is not right: anything but how lines are written.
    pub(super) fn is_wrong(self) -> bool {
        !matches!(self, Symptom::Screen(kind, _) if !matches!(kind, Kind::WrongValue | Kind::MissingLine))
    }
}

/// A symptom with its evidence.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Noted {
    /// What it is.
    pub symptom: Symptom,
    /// For the student, one sentence.
    pub what: String,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub actual: String,
}

/// How a run broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// A process printed without end.
    Flood(Process),
    /// A process died of a signal.
    Crash(Process, i32),
    /// The client waited until its time was up.
    Hang,
    /// The job ended without a result.
    Unfinished,
}

impl Break {
    /// Its name in checks.
    pub(super) fn check(self) -> &'static str {
        match self {
            Break::Flood(_) => "flood",
            Break::Crash(..) => "crash",
            Break::Hang => "hang",
            Break::Unfinished => "unfinished",
        }
    }

    /// For the student, without a period.
    pub(super) fn what(self) -> String {
        match self {
            Break::Flood(process) => format!("{process} printed without end and was stopped"),
            Break::Crash(process, signal) => format!("{process} died of {}", signal_name(signal)),
            Break::Hang => "the client still waited for its result when its time was up".to_owned(),
            Break::Unfinished => "the job ended without a result".to_owned(),
        }
    }
}

/// The signals that programs die of by themselves.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}

/// What holds for all runs of a submission.
pub(super) struct Setting {
    /// Whether all four servers came up.
    pub up: bool,
    /// Ports that are wrong and charged as such, so that a line which names them truly is not wrong too.
    pub charged_ports: BTreeSet<u16>,
    /// Functions whose results are the same for inputs that differ.
    pub hard_coded: BTreeSet<Function>,
}

/// One run, understood.
pub(super) struct Read<'a> {
    /// The run.
    pub judged: &'a Judged,
    /// How it is cited.
    pub label: String,
    /// Its values.
    pub values: Values,
    /// How it broke off.
    pub broken: Option<Break>,
    /// What is wrong with it, each once.
    pub notes: Vec<Noted>,
    /// The last phase that it did.
    pub reached: u8,
    /// The wire shows that the client sent the numbers to AWS by TCP, or is not known.
    pub tcp: bool,
    /// The wire shows that AWS sent the numbers to the backends by UDP, or is not known.
    pub udp: bool,
}

impl<'a> Read<'a> {
    /// Understands one run; `tcp` and `udp` say what the wire shows.
    pub(super) fn new(
        judged: &'a Judged,
        label: String,
        setting: &Setting,
        (tcp, udp): (bool, bool),
    ) -> Read<'a> {
        let values = Values::of(judged);
        let broken = broken(judged, &values);
        let notes = notes(judged, &values, broken, &setting.charged_ports);
        let function = judged.round.function;
        let mapped = values.mapped(function);
        let sent = setting.up && sent(judged);
        let hard_coded = setting.hard_coded.contains(&function);
        // What the wire and the client show holds, whatever the servers keep to themselves.
        let watched = judged.round.flows.is_some() && setting.up && tcp && udp;
        let delivered = watched && !hard_coded && matches!(values.received, Shown::Right(_));
        let reached = if delivered {
            3
        } else if !(tcp && (mapped || sent)) {
            0
        } else if !(mapped && udp) || hard_coded {
            1
        } else if !values.reduced(function) {
            2
        } else {
            3
        };
        Read { judged, label, values, broken, notes, reached, tcp, udp }
    }

    /// Whether all its values are right and it came to its end.
    pub(super) fn right(&self) -> bool {
        !self.notes.iter().any(|noted| noted.symptom.is_wrong())
    }

    /// The note of a symptom.
    pub(super) fn note(&self, symptom: Symptom) -> Option<&Noted> {
        self.notes.iter().find(|noted| noted.symptom == symptom)
    }
}

/// Whether the client says that it sent the numbers, and AWS that it has them.
fn sent(judged: &Judged) -> bool {
    let client = differs(judged, Process::Client, Sentence::ClientSentNumbers);
    let aws = differs(judged, Process::Aws, Sentence::AwsReceived);
    // The port in AWS's line is another question.
    let count = |line: &str| numbers(line).first().copied();
    let wrong = |d: &Difference| d.kind == Kind::MissingLine || count(&d.actual) != count(&d.expected);
    !client.chain(aws).any(wrong)
}

/// How the run broke off, the first cause.
fn broken(judged: &Judged, values: &Values) -> Option<Break> {
    let exits = &judged.round.exits;
    let by =
        |cause: fn(Exit) -> bool| exits.iter().find(|(_, exit)| cause(**exit)).map(|(p, e)| (*p, *e));
    if let Some((process, _)) = by(|exit| exit == Exit::TooMuchOutput) {
        return Some(Break::Flood(process));
    }
    if let Some((process, Exit::Signal(signal))) = by(|exit| matches!(exit, Exit::Signal(_))) {
        return Some(Break::Crash(process, signal));
    }
    // A client that has its result may wait to be ended: the assignment allows it. One that shows some
    // number where AWS never had a result has none.
    let never =
        || differs(judged, Process::Aws, Sentence::AwsFinished).any(|d| d.kind == Kind::MissingLine);
    if values.received != Shown::Missing && !(values.received.is_wrong() && never()) {
        return None;
    }
    if exits.get(&Process::Client) == Some(&Exit::TimedOut) {
        return Some(Break::Hang);
    }
    // Where only the client's line is missing, it is that line that is missing.
    let missing = judged.differences.iter().filter(|d| d.kind == Kind::MissingLine);
    missing.into_iter().any(|d| d.process != Process::Client).then_some(Break::Unfinished)
}

/// What is wrong with a run, each symptom once, first causes only.
fn notes(
    judged: &Judged,
    values: &Values,
    broken: Option<Break>,
    charged_ports: &BTreeSet<u16>,
) -> Vec<Noted> {
    let mut notes: Vec<Noted> = Vec::new();
    if let Some(broken) = broken {
        notes.push(broken_note(judged, broken));
    }
    for d in &judged.differences {
        let consequence = matches!(d.kind, Kind::WrongValue | Kind::MissingLine | Kind::ExtraLine);
        if broken.is_some() && consequence {
            continue;
        }
        // A line with other words has other marks too: one error.
        let words = |other: &Difference| {
            other.kind == Kind::Wording && other.process == d.process && other.actual == d.actual
        };
        let marks = !consequence && d.kind != Kind::Wording;
        if marks && judged.differences.iter().any(words) {
            continue;
        }
        let symptom = match d.kind {
            Kind::WrongValue => wrong_value(judged.round.function, values, d, charged_ports),
            kind => Some(Symptom::Screen(kind, d.sentence)),
        };
        if let Some(symptom) = symptom
            && !notes.iter().any(|noted| noted.symptom == symptom)
        {
            notes.push(noted(symptom, d, Some(values)));
        }
    }
    notes
}

/// The error behind a wrong number in a line; none, where another line has it already.
fn wrong_value(
    function: Function,
    values: &Values,
    d: &Difference,
    charged_ports: &BTreeSet<u16>,
) -> Option<Symptom> {
    let itself = Some(Symptom::Screen(Kind::WrongValue, d.sentence));
    let same_value = value(&d.actual).is_some() && value(&d.actual) == value(&d.expected);
    let reading = values.reading(function).unwrap_or(Reading::Wrong);
    let divided = matches!(reading, Reading::FirstToAll | Reading::Divided);
    let maps_wrong = values.own.iter().any(|own| own.is_wrong());
    let aws_wrong = !values.swapped() && values.aws.iter().any(|aws| aws.is_wrong());
    match d.sentence {
        _ if only_port_differs(d, charged_ports) => None,
        Sentence::BackendFinished if same_value => itself,
        Sentence::BackendFinished if divided => Some(Symptom::Shards(function)),
        Sentence::BackendFinished => Some(Symptom::Map(function)),
        Sentence::BackendReceived | Sentence::AwsSent if divided && maps_wrong => None,
        Sentence::AwsResult => {
            let index = backend(&d.actual).or_else(|| backend(&d.expected));
            let own = index.map(|index| values.own[index]);
            if values.swapped() {
                Some(Symptom::Attribution)
            } else if !same_value && own.is_some_and(|own| !matches!(own, Shown::Right(_))) {
                // Where the backend shows nothing, its result is judged by what AWS shows.
                (own == Some(Shown::Missing)).then_some(Symptom::Map(function))
            } else {
                itself
            }
        }
        Sentence::AwsFinished | Sentence::ClientReceived if same_value => itself,
        Sentence::AwsFinished | Sentence::ClientReceived if maps_wrong || aws_wrong => None,
        Sentence::AwsFinished => Some(Symptom::Reduce(function)),
        Sentence::ClientReceived => Some(Symptom::Reduce(function)),
        _ => itself,
    }
}

/// Whether the only other number in a line is a port that is wrong and truly used.
pub(super) fn only_port_differs(d: &Difference, charged_ports: &BTreeSet<u16>) -> bool {
    let (expected, actual) = (numbers(&d.expected), numbers(&d.actual));
    let mut different = expected.iter().zip(&actual).filter(|(expected, actual)| expected != actual);
    let port = different.next().and_then(|(_, actual)| u16::try_from(*actual).ok());
    expected.len() == actual.len()
        && different.next().is_none()
        && port.is_some_and(|port| charged_ports.contains(&port))
}

fn broken_note(judged: &Judged, broken: Break) -> Noted {
    let mut what = format!("The run did not come to its end: {}.", broken.what());
    if let Some(d) = first_missing(judged) {
        what += &format!(" The first line that is missing is {}'s.", d.process);
    }
    let expected = first_missing(judged).map(|d| d.expected.clone());
    Noted {
        symptom: Symptom::Broken,
        what,
        expected: expected.unwrap_or_else(|| "a run that comes to its end".to_owned()),
        actual: broken.what(),
    }
}

/// The first line that is missing in the order in which a job shows them.
pub(super) fn first_missing(judged: &Judged) -> Option<&Difference> {
    let order = |sentence| match sentence {
        Sentence::BackendUp | Sentence::AwsUp => 0,
        Sentence::ClientUp => 1,
        Sentence::ClientSentType => 2,
        Sentence::ClientSentNumbers => 3,
        Sentence::AwsReceived => 4,
        Sentence::AwsSent => 5,
        Sentence::BackendReceived => 6,
        Sentence::BackendFinished => 7,
        Sentence::BackendSent => 8,
        Sentence::AwsResult => 9,
        Sentence::AwsFinished => 10,
        Sentence::AwsAnswered => 11,
        Sentence::ClientReceived => 12,
        Sentence::Other => 13,
    };
    let missing = judged.differences.iter().filter(|d| d.kind == Kind::MissingLine);
    missing.min_by_key(|d| order(d.sentence))
}

/// A symptom with the line that shows it.
pub(super) fn noted(symptom: Symptom, d: &Difference, values: Option<&Values>) -> Noted {
    let process = d.process;
    let what = match symptom {
        Symptom::Broken => "The run did not come to its end.".to_owned(),
        Symptom::Map(function) => {
            format!("{process} shows a wrong result of {}.", function.upper())
        }
        Symptom::Shards(function)
            if values.and_then(|values| values.reading(function)) == Some(Reading::FirstToAll) =>
        {
            "All three backends work on the first third of the numbers.".to_owned()
        }
        Symptom::Shards(_) => {
            "The numbers are not divided into their first, second and last third: the \
                               partial results are wrong and yet make the right total."
                .to_owned()
        }
        Symptom::Reduce(function) => {
            format!("X_final of {} is wrong although X_A, X_B and X_C are right.", function.upper())
        }
        Symptom::Attribution => "AWS shows right results under the wrong backends.".to_owned(),
        Symptom::Screen(kind, _) => screen_text(kind, process),
    };
    let or = |line: &str, instead: &str| if line.is_empty() { instead } else { line }.to_owned();
    Noted {
        symptom,
        what,
        expected: or(&d.expected, "(no such line)"),
        actual: or(&d.actual, "(the line is missing)"),
    }
}

fn screen_text(kind: Kind, process: Process) -> String {
    let table = table(process);
    match kind {
        Kind::WrongValue => format!("A number or name in a line of {process} (table {table}) is wrong."),
        Kind::MissingLine => format!("{process} does not show a line of table {table}."),
        Kind::ExtraLine => {
            format!("{process} shows lines that table {table} does not have; the document forbids more.")
        }
        Kind::Wording => format!("{process} words a line otherwise than table {table}."),
        Kind::TypeCase => {
            format!("{process} shows the reduction type in another case than table {table}.")
        }
        Kind::Case => format!("{process} shows a line in another case than table {table}."),
        Kind::Punctuation => format!("{process} punctuates a line otherwise than table {table}."),
        Kind::WhiteSpace => {
            format!("{process} has other white space or another final period than table {table}.")
        }
        Kind::LookAlike => format!(
            "{process} shows characters that only look like those of table {table}, such as the soft hyphen \
             that is copied from the PDF."
        ),
    }
}
