//! What a terminal showed, against tables 4 to 8 of the assignment.
//!
//! The lesson: two texts are compared twice. First, which line is meant to be which sentence: the one that
//! is most alike, whatever its place, since backends answer in any order and the words "Backend-Server B"
//! say more about a line than its number does. Then, how they differ, mark by mark: a wrong sum, a soft
//! hyphen out of the PDF and a missing period are three different things to a student and to a policy.
//!
//! `clean` takes away what is the terminal's and make's, `tokens` reads a line as words, numbers and
//! marks, `differ` aligns two lines and names the differences. Left out: the order of lines and the time
//! between them.

mod clean;
mod differ;
mod tokens;

use crate::model::{Answer, Difference, Function, Kind, Process, Sentence};
use clean::{Cleaned, Row, clean};
use differ::{Fit, Form};
use std::cmp::Reverse;

/// Stands in an expected line for any port number, where the ID is not known; as the tables write it.
pub const ANY_PORT: &str = "<port number>";
/// Shown for empty lines, which are one difference however many there are.
const EMPTY_LINE: &str = "(an empty line)";

/// A line that should be on a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which sentence it is.
    pub sentence: Sentence,
    /// What is accepted, the table's form first. [`ANY_PORT`] in it is any port number.
    pub forms: Vec<String>,
}

/// A screen after it was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The lines that count, printable, at most [`crate::limits::SCREEN_LINES`] of them: without empty
    /// ones and without make's own.
    pub actual: Vec<String>,
    /// What is not as it should be: by expected line, then the extra ones.
    pub differences: Vec<Difference>,
    /// For each expected line its index, and the index of its actual line, if it has one.
    pub matched: Vec<(usize, Option<usize>)>,
}

/// What a process shows when it is started. `id` is the last three digits of the ID.
pub fn boot(process: Process, id: Option<u16>) -> Vec<Line> {
    let up = |letter, base| {
        let port = port(base, id);
        line(
            Sentence::BackendUp,
            format!("The Server {letter} is up and running using UDP on port {port}."),
        )
    };
    vec![match process {
        Process::ServerA => up('A', 21000),
        Process::ServerB => up('B', 22000),
        Process::ServerC => up('C', 23000),
        Process::Aws => line(Sentence::AwsUp, "The AWS is up and running.".to_owned()),
        Process::Client => line(Sentence::ClientUp, "The client is up and running.".to_owned()),
    }]
}

/// What a process shows during one job, in the order of its table. The client is started with the job.
pub fn job(process: Process, function: Function, answer: &Answer, id: Option<u16>) -> Vec<Line> {
    let [a, b, c] = &answer.partials;
    match process {
        Process::ServerA => backend_job('A', function, answer.count, a),
        Process::ServerB => backend_job('B', function, answer.count, b),
        Process::ServerC => backend_job('C', function, answer.count, c),
        Process::Aws => aws_job(function, answer, id),
        Process::Client => client_job(function, answer),
    }
}

fn backend_job(letter: char, function: Function, count: usize, partial: &str) -> Vec<Line> {
    let (function, shard) = (function.upper(), count / 3);
    vec![
        line(Sentence::BackendReceived, format!("The Server {letter} has received {shard} numbers")),
        line(
            Sentence::BackendFinished,
            format!("The Server {letter} has successfully finished the reduction {function}: {partial}"),
        ),
        line(
            Sentence::BackendSent,
            format!(
                "The Server {letter} has successfully finished sending the reduction value to AWS server."
            ),
        ),
    ]
}

fn aws_job(function: Function, answer: &Answer, id: Option<u16>) -> Vec<Line> {
    let (function, count, shard) = (function.upper(), answer.count, answer.count / 3);
    let (udp, tcp) = (port(24000, id), port(25000, id));
    let mut lines = vec![line(
        Sentence::AwsReceived,
        format!("The AWS has received {count} numbers from the client using TCP over port {tcp}"),
    )];
    // Table 7 says "sent", the example output "has sent".
    lines.extend(['A', 'B', 'C'].map(|letter| {
        Line {
            sentence: Sentence::AwsSent,
            forms: ["sent", "has sent"]
                .map(|sent| format!("The AWS {sent} {shard} numbers to Backend-Server {letter}"))
                .to_vec(),
        }
    }));
    lines.extend(['A', 'B', 'C'].into_iter().zip(&answer.partials).map(|(letter, partial)| {
        let text = format!(
            "The AWS received reduction result of {function} from Backend-Server {letter} \
             using UDP over port {udp} and it is {partial}"
        );
        line(Sentence::AwsResult, text)
    }));
    let total = &answer.total;
    lines.push(line(
        Sentence::AwsFinished,
        format!("The AWS has successfully finished the reduction {function}: {total}"),
    ));
    lines.push(line(
        Sentence::AwsAnswered,
        "The AWS has successfully finished sending the reduction value to client.".to_owned(),
    ));
    lines
}

fn client_job(function: Function, answer: &Answer) -> Vec<Line> {
    let (function, Answer { count, total, .. }) = (function.upper(), answer);
    let mut lines = boot(Process::Client, None);
    lines.extend([
        line(
            Sentence::ClientSentType,
            format!("The client has sent the reduction type {function} to AWS."),
        ),
        line(Sentence::ClientSentNumbers, format!("The client has sent {count} numbers to AWS")),
        line(Sentence::ClientReceived, format!("The client has received reduction {function}: {total}")),
    ]);
    lines
}

fn line(sentence: Sentence, form: String) -> Line {
    Line { sentence, forms: vec![form] }
}

fn port(base: u32, id: Option<u16>) -> String {
    id.map_or(ANY_PORT.to_owned(), |id| (base + u32::from(id)).to_string())
}

/// Compares what `process` showed with what it should have shown.
///
/// A screen is bytes from a stranger: escape sequences and control characters are dropped, and what is
/// beyond [`crate::limits`] is not looked at.
pub fn compare(process: Process, expected: &[Line], screen: &str) -> Compared {
    let Cleaned { rows, empty } = clean(process, screen);
    let best = assign(expected, &rows);
    let mut differences = Vec::new();
    let mut matched = Vec::with_capacity(expected.len());
    let mut extra = vec![true; rows.len()];
    for (i, line) in expected.iter().enumerate() {
        let mut differ = |kind, expected: &str, actual: &str| {
            let (expected, actual) = (expected.to_owned(), actual.to_owned());
            differences.push(Difference { process, sentence: line.sentence, kind, expected, actual });
        };
        match &best[i] {
            Some(Match { actual, form, fit }) => {
                extra[*actual] = false;
                for kind in &fit.kinds {
                    differ(*kind, &line.forms[*form], &rows[*actual].text);
                }
            }
            None => differ(Kind::MissingLine, line.forms.first().map_or("", String::as_str), ""),
        }
        matched.push((i, best[i].as_ref().map(|found| found.actual)));
    }
    let mut other = |kind, actual: &str| {
        let (expected, actual) = (String::new(), actual.to_owned());
        differences.push(Difference { process, sentence: Sentence::Other, kind, expected, actual });
    };
    for (row, _) in rows.iter().zip(&extra).filter(|(_, extra)| **extra) {
        other(Kind::ExtraLine, &row.text);
    }
    if empty {
        other(Kind::WhiteSpace, EMPTY_LINE);
    }
    Compared { actual: rows.into_iter().map(|row| row.text).collect(), differences, matched }
}

/// An actual line that an expected one was given.
struct Match {
    actual: usize,
    form: usize,
    fit: Fit,
}

/// Gives every expected line the actual one that fits best: exact ones first, then those that differ in
/// dress only, then the most alike; among equals the earlier.
fn assign(expected: &[Line], rows: &[Row]) -> Vec<Option<Match>> {
    let mut pairs = Vec::new();
    for (i, line) in expected.iter().enumerate() {
        let forms: Vec<Form> = line.forms.iter().map(|form| Form::new(form)).collect();
        for (actual, row) in rows.iter().enumerate() {
            let fits = forms.iter().enumerate().filter_map(|(form, f)| Some((form, f.fit(row)?)));
            if let Some((form, fit)) = fits.min_by_key(|(form, fit)| (rank(fit), fit.kinds.len(), *form))
            {
                pairs.push((i, Match { actual, form, fit }));
            }
        }
    }
    pairs.sort_by_key(|(i, found)| (rank(&found.fit), *i, found.actual));
    let mut best: Vec<Option<Match>> = expected.iter().map(|_| None).collect();
    let mut taken = vec![false; rows.len()];
    for (i, found) in pairs {
        if best[i].is_none() && !taken[found.actual] {
            taken[found.actual] = true;
            best[i] = Some(found);
        }
    }
    best
}

/// Less is better.
fn rank(fit: &Fit) -> (u8, Reverse<u32>) {
    let other_content = fit.kinds.iter().any(|kind| matches!(kind, Kind::WrongValue | Kind::Wording));
    let class = if fit.kinds.is_empty() { 0 } else { 1 + u8::from(other_content) };
    (class, Reverse(fit.likeness))
}

#[cfg(test)]
mod tests;
