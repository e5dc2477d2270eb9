//! Which of the points a to h a README addresses.

use regex::Regex;

/// Words of which one is enough, for the points a to h. A is also addressed by a name near the top.
const WORDS: [&str; 8] = [
    r"(?im)\b(full|student|my|your)?\s*name\b\W+\w|\bauthor\b\W+\w|\bi am\s+\w|\bwritten by\s+\w",
    r"(?im)(^|[^\d./-])(\d(-?\d){6,9})($|[^\d./-])|\bid\b\W{1,20}(\w+\W)?[\w-]*\d{3}",
    r"(?i)\bwhat\s+(i|we)\b|\bi\s?'?(ha)?ve\b|\bi\s+\w+ed\b|\b(done|did)\b|\bimplement|\bcompleted?\b|\baccomplish|\bphase\s*\d|\boverview|\bsummary|\bdescription|\bin this (assignment|project)|\bthis (assignment|project|program) |\bsimulat",
    r"(?i)\b(aws|client|servers?|server\s?[abc#]|server_[abc]|backend)\.(c|cc|cpp|h)\b",
    r"(?i)\bmake\b|\./\w|\bhow to\b|\bto (run|compile|execute)\b|\bcompil|\bexecut|\bg\+\+|\bgcc\b|\brun (the|my|this|it)\b",
    r"(?i)\bformats?\b|\bmessages?\b[^.\n]{0,40}\b(exchang|sent|between|are|is)|\bexchang\w+|\bprotocol\b|\bstruct\b|\bdelimit",
    r"(?i)\bidiosyn|\blimit(s|ed|ation)|\bfail|\bassum|\bbugs?\b|\bconstrain|\brestrict|\bconditions?\b|\bcrash|\bnot work|\bworks? (only|for all|fine|in all|under)|\bno (known )?(errors?|issues?|problems?)|\bexceed|\bat most\b|\bknown\b",
    r"(?i)\breus|\bre-us|\bbeej|\bborrow|\bno code\b|\b(taken|copied|adapted|adopted|used) from\b|\bfrom (the )?(internet|web|textbook|tutorial|book)|\bown code\b|\bby myself\b|\bon my own\b|\breferenc|\boriginal\b|\bother people'?s? code",
];
/// Capitalised words at the top of a README that are nobody's name.
const TITLES: &[&str] = &[
    "about",
    "all",
    "amazon",
    "and",
    "assignment",
    "backend",
    "class",
    "code",
    "computer",
    "course",
    "description",
    "ee",
    "fall",
    "file",
    "files",
    "final",
    "full",
    "how",
    "id",
    "introduction",
    "makefile",
    "map",
    "me",
    "name",
    "network",
    "networking",
    "networks",
    "number",
    "overview",
    "phase",
    "program",
    "programming",
    "project",
    "read",
    "readme",
    "reduce",
    "report",
    "section",
    "server",
    "servers",
    "service",
    "services",
    "session",
    "socket",
    "sockets",
    "source",
    "student",
    "summary",
    "the",
    "this",
    "to",
    "unix",
    "usc",
    "user",
    "web",
    "what",
    "your",
];
/// Lines at the top that may hold a name without saying so.
const TOP_LINES: usize = 10;

/// Which points a README with this text addresses, from a to h.
pub(crate) fn points(text: &str) -> [bool; 8] {
    if cannot_be_read(text) {
        // A PDF or a Word file: its reader is a person, who is not to be forestalled.
        return [true; 8];
    }
    let labelled = labelled(text);
    // A date has as many digits as an ID.
    let dateless = Regex::new(r"\b(19|20)\d\d-\d\d?-\d\d?\b").map(|date| date.replace_all(text, " "));
    let text = dateless.as_deref().unwrap_or(text);
    let mut points = [false; 8];
    for (at, words) in WORDS.iter().enumerate() {
        points[at] = labelled[at] || Regex::new(words).is_ok_and(|words| words.is_match(text));
    }
    points[0] |= text.lines().filter(|line| !line.trim().is_empty()).take(TOP_LINES).any(has_name);
    points
}

fn cannot_be_read(text: &str) -> bool {
    text.starts_with("%PDF") || text.contains('\0')
}

/// Which letters from a to h label a line with text behind, before the next label.
fn labelled(text: &str) -> [bool; 8] {
    let mut found = [false; 8];
    let Ok(label) = Regex::new(r"^[\s#*>_-]*[\(\[]?([a-hA-H])\s?[.)\]:][*_]*(.*)$") else {
        return found;
    };
    let mut now = None;
    for line in text.lines() {
        let behind = match label.captures(line) {
            Some(parts) => {
                let letter = parts[1].bytes().next().unwrap_or(b'a').to_ascii_lowercase();
                now = Some(usize::from(letter - b'a'));
                parts.get(2).map_or("", |rest| rest.as_str()).to_owned()
            }
            None => line.to_owned(),
        };
        if let Some(point) = now {
            found[point] |= behind.chars().any(char::is_alphanumeric);
        }
    }
    found
}

/// Whether two words side by side look like a person's name.
fn has_name(line: &str) -> bool {
    let words: Vec<&str> = line.split(|c: char| !c.is_alphabetic() && !"'-.".contains(c)).collect();
    words.windows(2).any(|two| two.iter().all(|word| is_name(word)))
}

fn is_name(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphabetic());
    word.chars().count() > 1
        && word.chars().next().is_some_and(char::is_uppercase)
        && !TITLES.contains(&word.to_lowercase().as_str())
}
