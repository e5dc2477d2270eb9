//! How one line differs from what it should be.
//!
//! The pieces of both lines are aligned at least cost, as `diff` aligns lines, and each step of the
//! alignment names what it means to a reader.

use super::ANY_PORT;
use super::clean::Row;
use super::tokens::{self, Sort, Token, Tokens};
use crate::model::Kind;
use std::collections::BTreeSet;

/// What a pair of words costs that differ in case only.
const CASE: u32 = 1;
/// What a wrong number or reduction type costs: less than one too few and one too many.
const WRONG: u32 = 3;
/// Likeness is counted in thousandths.
const SAME: u32 = 1000;
/// Below this, a line is another sentence rather than the same one in other words.
const ALIKE: u32 = 550;

/// An accepted form of an expected line, read once for all lines that it is compared with.
pub(super) struct Form {
    text: String,
    tokens: Tokens,
    weight: u32,
}

/// How a line fits a form.
#[derive(Debug)]
pub(super) struct Fit {
    /// How it differs; none if it is as it should be.
    pub(super) kinds: BTreeSet<Kind>,
    /// In thousandths.
    pub(super) likeness: u32,
}

/// One step of an alignment: indexes into the form's and the line's pieces.
enum Step {
    Pair(usize, usize),
    Missing(usize),
    Extra(usize),
}

impl Form {
    pub(super) fn new(text: &str) -> Form {
        let tokens = tokens::of_form(text);
        let weight = weight(&tokens.list);
        Form { text: text.to_owned(), tokens, weight }
    }

    /// How `row` differs, or `None` where it is another sentence.
    pub(super) fn fit(&self, row: &Row) -> Option<Fit> {
        let mut kinds = BTreeSet::new();
        if row.joined {
            kinds.insert(Kind::WhiteSpace);
        }
        // A form with an open port is not what any screen should show.
        if row.text == self.text && !self.text.contains(ANY_PORT) {
            return Some(Fit { kinds, likeness: SAME });
        }
        let (text, look_alike) = tokens::plain(&row.text);
        if look_alike {
            kinds.insert(Kind::LookAlike);
        }
        let mut actual = tokens::tokens(&text);
        actual.list = self.apart(actual.list);
        let both = self.weight + weight(&actual.list);
        let likeness = |cost: u32| SAME - SAME * cost.min(both) / both.max(1);
        // What one has more than the other is missing or extra, however they are aligned.
        if likeness(self.weight.abs_diff(both - self.weight)) < ALIKE {
            return None;
        }
        let (cost, steps) = align(&self.tokens.list, &actual.list);
        let likeness = likeness(cost);
        if likeness < ALIKE {
            return None;
        }
        self.classify(&actual, &steps, &mut kinds);
        Some(Fit { kinds, likeness })
    }

    /// Takes words apart that should be several, such as `BackendServer` and `ServerA`: what is missing
    /// between them is then a mark or white space, not a word.
    fn apart(&self, actual: Vec<Token>) -> Vec<Token> {
        let words: Vec<&str> =
            self.tokens.list.iter().filter(|t| t.is_word()).map(|t| t.lower.as_str()).collect();
        let mut out = Vec::with_capacity(actual.len());
        for token in actual {
            let known = words.contains(&token.lower.as_str());
            let run = if known || !token.text.is_ascii() { None } else { run_of(&words, &token.lower) };
            let Some(run) = run else {
                out.push(token);
                continue;
            };
            let (mut rest, mut gap) = (token.text.as_str(), token.gap);
            for word in run {
                let (piece, after) = rest.split_at(word.len());
                out.extend(tokens::tokens(&format!("{gap}{piece}")).list);
                (rest, gap) = (after, String::new());
            }
        }
        out
    }

    /// Names what each step means.
    fn classify(&self, actual: &Tokens, steps: &[Step], kinds: &mut BTreeSet<Kind>) {
        let (form, line) = (&self.tokens.list, &actual.list);
        // White space is compared between pieces that both lines have next to each other: beside a missing
        // hyphen it is the hyphen that is missing.
        let mut adjacent = true;
        for step in steps {
            match *step {
                Step::Pair(e, a) => {
                    kinds.extend(pair_kind(&form[e], &line[a]));
                    if (adjacent && form[e].gap != line[a].gap) || is_odd(&line[a].gap) {
                        kinds.insert(Kind::WhiteSpace);
                    }
                }
                Step::Missing(e) => {
                    kinds.insert(missing_kind(form, e));
                }
                Step::Extra(a) => {
                    kinds.insert(extra_kind(line, a));
                    if is_odd(&line[a].gap) {
                        kinds.insert(Kind::WhiteSpace);
                    }
                }
            }
            adjacent = matches!(step, Step::Pair(..));
        }
        if !actual.end.is_empty() {
            kinds.insert(Kind::WhiteSpace);
        }
    }
}

/// Neither nothing nor one space.
fn is_odd(gap: &str) -> bool {
    !matches!(gap, "" | " ")
}

/// What is wrong with a piece that is at its place.
fn pair_kind(expected: &Token, actual: &Token) -> Option<Kind> {
    if expected.sort == Sort::AnyPort {
        return (!is_port(&actual.text)).then_some(Kind::WrongValue);
    }
    if expected.text == actual.text {
        return None;
    }
    if expected.sort == Sort::Number {
        let (expected, actual) = (tokens::value(&expected.text), tokens::value(&actual.text));
        let same = expected.is_some() && expected == actual;
        return Some(if same { Kind::Punctuation } else { Kind::WrongValue });
    }
    match (expected.lower == actual.lower, expected.sort == Sort::Type) {
        (true, true) => Some(Kind::TypeCase),
        (true, false) => Some(Kind::Case),
        (false, _) => Some(Kind::WrongValue),
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port.to_string() == text)
}

/// What it is called that a piece is not there.
fn missing_kind(form: &[Token], at: usize) -> Kind {
    let last = at + 1 == form.len();
    let of_port = at > 0 && form[at - 1].lower == "port";
    match form[at].sort {
        Sort::Mark if form[at].text == "." && last => Kind::WhiteSpace,
        Sort::Mark => Kind::Punctuation,
        Sort::Number if !of_port => Kind::WrongValue,
        _ => Kind::Wording,
    }
}

/// What it is called that a piece is there.
fn extra_kind(line: &[Token], at: usize) -> Kind {
    let periods = line[at..].iter().all(|token| token.text == ".");
    match line[at].sort {
        Sort::Mark if periods => Kind::WhiteSpace,
        Sort::Mark => Kind::Punctuation,
        _ => Kind::Wording,
    }
}

/// The words, one after the other in `words`, that `joined` is made of; at least two.
fn run_of<'w>(words: &'w [&'w str], joined: &str) -> Option<&'w [&'w str]> {
    (0..words.len()).find_map(|from| {
        let mut rest = joined;
        let mut to = from;
        while let Some(after) = words.get(to).and_then(|word| rest.strip_prefix(word)) {
            (rest, to) = (after, to + 1);
        }
        (rest.is_empty() && to - from >= 2).then(|| &words[from..to])
    })
}

fn weight(tokens: &[Token]) -> u32 {
    tokens.iter().map(Token::weight).sum()
}

/// What it costs to take one for the other, where that can be at all.
fn cost(expected: &Token, actual: &Token) -> Option<u32> {
    let number = actual.sort == Sort::Number;
    match expected.sort {
        Sort::AnyPort => number.then(|| if is_port(&actual.text) { 0 } else { WRONG }),
        Sort::Number => number.then(|| if expected.text == actual.text { 0 } else { WRONG }),
        Sort::Mark => (expected.text == actual.text).then_some(0),
        _ if expected.text == actual.text => Some(0),
        _ if expected.lower == actual.lower => Some(CASE),
        Sort::Type if actual.sort == Sort::Type => Some(WRONG),
        _ => None,
    }
}

/// The cheapest way from one list to the other, by the table of Wagner and Fischer.
fn align(expected: &[Token], actual: &[Token]) -> (u32, Vec<Step>) {
    let width = actual.len() + 1;
    let mut table = vec![0; (expected.len() + 1) * width];
    for (a, token) in actual.iter().enumerate() {
        table[a + 1] = table[a] + token.weight();
    }
    for (e, left) in expected.iter().enumerate() {
        let (above, row) = (e * width, (e + 1) * width);
        table[row] = table[above] + left.weight();
        for (a, right) in actual.iter().enumerate() {
            let without = (table[above + a + 1] + left.weight()).min(table[row + a] + right.weight());
            let with = cost(left, right).map_or(u32::MAX, |cost| table[above + a] + cost);
            table[row + a + 1] = with.min(without);
        }
    }
    let (mut e, mut a) = (expected.len(), actual.len());
    let total = table[e * width + a];
    let mut steps = Vec::with_capacity(e + a);
    while e > 0 || a > 0 {
        let here = table[e * width + a];
        let pair = (e > 0 && a > 0).then(|| cost(&expected[e - 1], &actual[a - 1])).flatten();
        if pair.is_some_and(|cost| table[(e - 1) * width + a - 1] + cost == here) {
            (e, a) = (e - 1, a - 1);
            steps.push(Step::Pair(e, a));
        } else if e > 0 && table[(e - 1) * width + a] + expected[e - 1].weight() == here {
            e -= 1;
            steps.push(Step::Missing(e));
        } else {
            a -= 1;
            steps.push(Step::Extra(a));
        }
    }
    steps.reverse();
    (total, steps)
}
