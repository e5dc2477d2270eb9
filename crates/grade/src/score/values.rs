//! The values of one run, and how they hang together.

use super::Judged;
use super::words::{backend, reduce, value};
use crate::model::{Difference, Function, Kind, Process, Sentence};
use ethnum::I256;

/// A value on a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// As it should be.
    Right(I256),
    /// Another number.
    Other(I256),
    /// The line is there, but no number is in it.
    Unclear,
    /// There is no such line.
    Missing,
}

impl Shown {
    /// The number, right or not.
    pub(super) fn number(self) -> Option<I256> {
        match self {
            Shown::Right(number) | Shown::Other(number) => Some(number),
            Shown::Unclear | Shown::Missing => None,
        }
    }

    /// Whether the line is there and its number is wrong.
    pub(super) fn is_wrong(self) -> bool {
        matches!(self, Shown::Other(_) | Shown::Unclear)
    }
}

/// How the backends' results compare with the exact ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// All are right.
    Right,
    /// All have the first third's.
    FirstToAll,
    /// They are wrong, and together right: the numbers were divided in another way.
    Divided,
    /// Anything else.
    Wrong,
}

/// The values of one run.
#[derive(Clone, Debug)]
pub(super) struct Values {
    /// X_i as the backends show them.
    pub own: [Shown; 3],
    /// X_i as AWS shows them.
    pub aws: [Shown; 3],
    /// X_final at the client.
    pub received: Shown,
    partials: Option<[I256; 3]>,
    total: Option<I256>,
}

impl Values {
    /// Reads them off the differences: what does not differ is exact.
    pub(super) fn of(judged: &Judged) -> Values {
        let [a, b, c] = judged.answer.partials.each_ref().map(|partial| partial.parse::<I256>().ok());
        let total = judged.answer.total.parse().ok();
        let own = Process::BACKENDS.map(|process| shown(judged, process, Sentence::BackendFinished));
        Values {
            own,
            aws: aws_results(judged),
            received: shown(judged, Process::Client, Sentence::ClientReceived),
            partials: a.zip(b).zip(c).map(|((a, b), c)| [a, b, c]),
            total,
        }
    }

    /// X_i as the backends show them, or AWS where a backend shows none.
    pub(super) fn results(&self) -> Option<[I256; 3]> {
        let result = |i: usize| match self.own[i] {
            Shown::Missing => self.aws[i].number(),
            shown => shown.number(),
        };
        Some([result(0)?, result(1)?, result(2)?])
    }

    fn aws_results(&self) -> Option<[I256; 3]> {
        Some([self.aws[0].number()?, self.aws[1].number()?, self.aws[2].number()?])
    }

    /// How the results compare with the exact ones; `None` where some are not shown at all.
    pub(super) fn reading(&self, function: Function) -> Option<Reading> {
        let (results, partials) = (self.results()?, self.partials?);
        Some(if results == partials {
            Reading::Right
        } else if results == [partials[0]; 3] {
            Reading::FirstToAll
        } else if reduce(function, &results) == self.total {
            Reading::Divided
        } else {
            Reading::Wrong
        })
    }

    /// Whether the backends did their work, if perhaps not all of it well.
    pub(super) fn mapped(&self, function: Function) -> bool {
        let right = self.results().zip(self.partials).map_or(0, |(results, partials)| {
            results.iter().zip(partials).filter(|(result, partial)| *result == partial).count()
        });
        self.reading(function).is_some_and(|reading| reading != Reading::Wrong) || right >= 2
    }

    /// Whether the client shows what follows from the partial results.
    pub(super) fn reduced(&self, function: Function) -> bool {
        let Some(received) = self.received.number() else { return false };
        let follows = |results: Option<[I256; 3]>| {
            results.is_some_and(|results| reduce(function, &results) == Some(received))
        };
        Some(received) == self.total || follows(self.results()) || follows(self.aws_results())
    }

    /// Whether AWS has all results, but under other backends than those that show them.
    pub(super) fn swapped(&self) -> bool {
        let (Some(partials), Some(mut aws)) = (self.partials, self.aws_results()) else { return false };
        let mut sorted = partials;
        let differ = aws != partials && self.own.iter().all(|own| matches!(own, Shown::Right(_)));
        aws.sort_unstable();
        sorted.sort_unstable();
        differ && aws == sorted
    }
}

/// What is wrong with a process's line or lines of one kind, if it is a value or all of it.
pub(super) fn differs(
    judged: &Judged,
    process: Process,
    sentence: Sentence,
) -> impl Iterator<Item = &Difference> {
    judged.differences.iter().filter(move |d| {
        d.process == process
            && d.sentence == sentence
            && matches!(d.kind, Kind::WrongValue | Kind::MissingLine)
    })
}

/// The value that a process shows in its only line of a kind.
fn shown(judged: &Judged, process: Process, sentence: Sentence) -> Shown {
    let exact = match sentence {
        Sentence::BackendFinished => {
            let index = Process::BACKENDS.iter().position(|backend| *backend == process);
            index.map_or(&judged.answer.total, |index| &judged.answer.partials[index])
        }
        _ => &judged.answer.total,
    };
    let Ok(exact) = exact.parse::<I256>() else { return Shown::Unclear };
    match differs(judged, process, sentence).next() {
        None => Shown::Right(exact),
        Some(d) if d.kind == Kind::MissingLine => Shown::Missing,
        Some(d) => compare(exact, value(&d.actual)),
    }
}

fn compare(exact: I256, actual: Option<I256>) -> Shown {
    match actual {
        None => Shown::Unclear,
        Some(number) if number == exact => Shown::Right(exact),
        Some(number) => Shown::Other(number),
    }
}

/// What AWS shows under each backend's name.
fn aws_results(judged: &Judged) -> [Shown; 3] {
    let exact = judged.answer.partials.each_ref().map(|partial| partial.parse::<I256>().ok());
    let mut results = exact.map(|exact| exact.map_or(Shown::Unclear, Shown::Right));
    let different: Vec<_> = differs(judged, Process::Aws, Sentence::AwsResult).collect();
    for d in &different {
        if let Some(index) = backend(&d.expected) {
            results[index] = Shown::Missing;
        }
    }
    for d in different.iter().filter(|d| d.kind == Kind::WrongValue) {
        let index = backend(&d.actual).or_else(|| backend(&d.expected));
        if let Some((index, exact)) = index.and_then(|index| Some((index, exact[index]?))) {
            results[index] = compare(exact, value(&d.actual));
        }
    }
    results
}
