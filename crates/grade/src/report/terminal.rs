//! A grade on a terminal, for the TA who wants no browser.
//!
//! The lesson: colour repeats what a word or a mark says already, so that nothing is lost in a log. Text
//! is wrapped at [`WIDTH`] columns, except commands, which are there to be copied.
//!
//! Left out: the size of the terminal at hand, so that the same grade gives the same text everywhere.

use super::rows::{Mark, Part, Row, parts, rows, why};
use super::visible::{visible, visible_line};
use super::{Sum, dearest_first, exit_words, percent, phase_words, points, rule_line};
use crate::model::{Exit, Grade, Loss, Process, Shown};

/// Columns that text is wrapped at.
const WIDTH: usize = 100;
/// The column of what stands beside a label of the summary, and of a loss.
const BESIDE: usize = 13;
const BESIDE_LOSS: usize = 19;
/// Columns before a line of a screen.
const GUTTER: usize = 4;

/// The looks that text can have.
#[derive(Clone, Copy)]
enum Look {
    Plain,
    Bold,
    Dim,
    Good,
    Bad,
    Mild,
    /// A part of a line that differs.
    Marked,
}

struct Page {
    out: String,
    colour: bool,
}

impl Page {
    fn new(colour: bool) -> Self {
        Page { out: String::new(), colour }
    }

    fn paint(&self, look: Look, text: &str) -> String {
        let code = match look {
            Look::Plain => return text.to_owned(),
            Look::Bold => "1",
            Look::Dim => "2",
            Look::Good => "32",
            Look::Bad => "31",
            Look::Mild => "33",
            Look::Marked => "1;7",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn line(&mut self, look: Look, text: &str) {
        let text = self.paint(look, text);
        self.out.push_str(&text);
        self.out.push('\n');
    }

    fn heading(&mut self, text: &str) {
        self.out.push('\n');
        self.line(Look::Bold, text);
    }

    /// `label` after its own blanks, and `text` from column `at` on, wrapped.
    fn beside(&mut self, look: Look, label: &str, at: usize, text: &str) {
        let pad = at.saturating_sub(label.chars().count()).max(1);
        let mut start = format!("{}{}", self.paint(look, label), " ".repeat(pad));
        for line in wrapped(text, WIDTH - at) {
            self.line(Look::Plain, &format!("{start}{line}"));
            start = " ".repeat(at);
        }
    }
}

/// `text` in lines of at most `width` characters, cut at blanks where there are any. Never empty.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut used) = (String::new(), 0);
    for word in text.split(' ') {
        let long = word.chars().count();
        if used > 0 && used + 1 + long > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        } else if used > 0 {
            line.push(' ');
            used += 1;
        }
        for c in word.chars() {
            if used == width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += 1;
        }
    }
    lines.push(line);
    lines
}

/// One submission's grade, ready to be printed. Without `colour` there is no escape sequence in it, and
/// with it there are only those written here.
pub fn terminal(grade: &Grade, colour: bool) -> String {
    let mut page = Page::new(colour);
    page.line(Look::Bold, &visible_line(&grade.name));
    if let Some(reason) = &grade.refused {
        page.beside(Look::Bad, "  x refused", BESIDE, &visible(reason));
        return page.out;
    }
    summary(&mut page, grade);
    let (charged, strict) = dearest_first(&grade.losses);
    losses(&mut page, "Lost", &charged);
    losses(&mut page, "Lost in the strict reading only", &strict);
    list(&mut page, "Repaired", &grade.repairs);
    list(&mut page, "Noticed, not charged", &grade.remarks);
    probes(&mut page, grade);
    page.out
}

fn summary(page: &mut Page, grade: &Grade) {
    let look = if grade.losses.is_empty() { Look::Good } else { Look::Bold };
    let score = page.paint(look, &points(grade.score.lenient));
    page.line(Look::Plain, &format!("  {score} of 100, strict {}", points(grade.score.strict)));
    let mut fact = |label: &str, text: &str| page.beside(Look::Dim, &format!("  {label}"), BESIDE, text);
    if let Some(repaired) = grade.repaired {
        let (lenient, strict) = (points(repaired.lenient), points(repaired.strict));
        fact("repaired", &format!("{lenient} of 100, strict {strict}"));
    }
    let sum = Sum::of(grade).words();
    if !sum.is_empty() {
        fact("sum", &sum);
    }
    fact("phases", phase_words(grade.phase));
    if let Some((bonus, why)) = &grade.bonus {
        fact("bonus", &format!("{} by rule 15: {}", points(*bonus), visible_line(why)));
    }
    if let Some(build) = grade.build.as_ref().filter(|build| build.exit != Exit::Status(0)) {
        fact("build", &format!("{}: {}", visible_line(&build.command), exit_words(build.exit)));
    }
    fact("flake rate", &percent(grade.flake_rate));
    fact("id", &grade.id.map_or("unknown".to_owned(), |id| format!("{id:03}")));
    fact("isolation", &visible(&grade.isolation));
    fact("inputs", &format!("seed {}; graded in {:.1} s", grade.seed, grade.seconds));
}

fn losses(page: &mut Page, title: &str, losses: &[&Loss]) {
    if losses.is_empty() {
        return;
    }
    page.heading(&format!("{title} ({})", losses.len()));
    for loss in losses {
        let lenient = loss.lenient > 0.0;
        let (look, lost) = if lenient { (Look::Bad, loss.lenient) } else { (Look::Mild, loss.strict) };
        page.beside(look, &format!("{:>7}", format!("-{}", points(lost))), 9, &visible_line(&loss.what));
        let mut rule = format!("{}; check {}", rule_line(loss.rule), visible_line(&loss.check));
        if lenient && points(loss.lenient) != points(loss.strict) {
            rule.push_str(&format!("; -{} in the strict reading", points(loss.strict)));
        }
        for (label, text) in [
            ("rule", rule),
            ("run", visible_line(&loss.run)),
            ("expected", visible_line(&loss.expected)),
            ("actual", visible_line(&loss.actual)),
        ] {
            if !text.is_empty() {
                page.beside(Look::Dim, &format!("         {label}"), BESIDE_LOSS, &text);
            }
        }
        if !loss.again.is_empty() {
            let label = page.paint(Look::Dim, "again");
            page.line(Look::Plain, &format!("         {label}     {}", visible(&loss.again)));
        }
    }
}

fn list(page: &mut Page, title: &str, sentences: &[String]) {
    if sentences.is_empty() {
        return;
    }
    page.heading(title);
    for sentence in sentences {
        page.beside(Look::Plain, "  -", 4, &visible_line(sentence));
    }
}

fn probes(page: &mut Page, grade: &Grade) {
    if grade.probes.is_empty() {
        return;
    }
    page.heading("Beyond the assignment");
    for probe in &grade.probes {
        let (look, label) = if probe.good { (Look::Good, "  ok") } else { (Look::Mild, "  !") };
        let text = format!("{}: {}", visible_line(&probe.what), visible_line(&probe.outcome));
        page.beside(look, label, 5, &text);
    }
}

/// The terminals of one run: lines as they should be, and below those that differ what came instead,
/// with the differing characters underlined by `^`.
pub fn screens(shown: &Shown, colour: bool) -> String {
    let mut page = Page::new(colour);
    page.line(Look::Bold, &visible_line(&shown.run));
    page.line(Look::Dim, "  - expected   + actual   ~ differs, forgiven   = differs, accepted");
    for process in Process::ALL {
        if !shown.expected.contains_key(&process) && !shown.actual.contains_key(&process) {
            continue;
        }
        page.heading(process.name());
        let rows = rows(shown, process);
        if rows.is_empty() {
            page.line(Look::Dim, "    (nothing expected, nothing shown)");
        }
        for row in &rows {
            screen_row(&mut page, row);
        }
    }
    page.out
}

fn screen_row(page: &mut Page, row: &Row) {
    let (look, mark) = match row.mark {
        Mark::Same => (Look::Plain, None),
        Mark::Accepted => (Look::Dim, Some("=")),
        Mark::Forgiven => (Look::Mild, Some("~")),
        Mark::Wrong | Mark::Missing | Mark::Extra => (Look::Bad, None),
    };
    let whole = |line: &str| vec![Part { text: visible_line(line), differs: false }];
    match (&row.expected, &row.actual) {
        (Some(expected), _) if row.mark == Mark::Same => {
            screen_line(page, Look::Plain, " ", &whole(expected));
        }
        (Some(expected), Some(actual)) => {
            let (e, a) = parts(expected, actual);
            screen_line(page, Look::Good, "-", &e);
            screen_line(page, look, mark.unwrap_or("+"), &a);
        }
        (Some(expected), None) => screen_line(page, Look::Good, mark.unwrap_or("-"), &whole(expected)),
        (None, Some(actual)) => screen_line(page, look, mark.unwrap_or("+"), &whole(actual)),
        (None, None) => {}
    }
    let why = why(row);
    if !why.is_empty() {
        page.line(Look::Dim, &format!("      ({why})"));
    }
}

/// A line in pieces of the page's width, each with its own underlining, so that both stay together.
fn screen_line(page: &mut Page, look: Look, mark: &str, parts: &[Part]) {
    let chars: Vec<(char, bool)> =
        parts.iter().flat_map(|part| part.text.chars().map(|c| (c, part.differs))).collect();
    let mut start = page.paint(look, &format!("  {mark} "));
    if chars.is_empty() {
        page.line(Look::Plain, &start);
    }
    for piece in chars.chunks(WIDTH - GUTTER) {
        let painted: String = piece
            .chunk_by(|x, y| x.1 == y.1)
            .map(|run| {
                let text: String = run.iter().map(|(c, _)| *c).collect();
                let marked = run.first().is_some_and(|(_, differs)| *differs);
                page.paint(if marked { Look::Marked } else { look }, &text)
            })
            .collect();
        page.line(Look::Plain, &format!("{start}{painted}"));
        start = " ".repeat(GUTTER);
        let carets: String = piece.iter().map(|(_, differs)| if *differs { '^' } else { ' ' }).collect();
        if carets.contains('^') {
            page.line(Look::Plain, &format!("{start}{}", carets.trim_end()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn without_colour_nothing_acts_on_the_terminal() {
        for grade in sample::all() {
            let shown = grade.shown.iter().map(|shown| screens(shown, false)).collect::<String>();
            for c in format!("{}{shown}", terminal(&grade, false)).chars() {
                assert!(c == '\n' || !c.is_control(), "{c:?} in the report of {}", grade.name);
                assert_ne!(c, '\u{202e}');
            }
        }
    }

    /// Colour is what this module wrote and nothing else: without it the text is the same.
    #[test]
    fn colour_only_paints() {
        let own = regex::Regex::new("\x1b\\[[0-9;]*m").unwrap();
        for grade in sample::all() {
            let coloured = terminal(&grade, true);
            assert!(coloured.contains("\x1b["));
            assert_eq!(own.replace_all(&coloured, ""), terminal(&grade, false));
            for shown in &grade.shown {
                assert_eq!(own.replace_all(&screens(shown, true), ""), screens(shown, false));
            }
        }
    }

    #[test]
    fn lines_fit_the_page_except_commands() {
        for grade in sample::all() {
            let shown = grade.shown.iter().map(|shown| screens(shown, false)).collect::<String>();
            for line in terminal(&grade, false).lines().skip(1).filter(|line| !line.contains(" again  "))
            {
                assert!(line.chars().count() <= WIDTH, "{line}");
            }
            let sides =
                shown.lines().filter(|line| line.starts_with("    ") || line.starts_with("  + "));
            sides.for_each(|line| assert!(line.chars().count() <= WIDTH, "{line}"));
        }
    }

    #[test]
    fn a_loss_is_told_with_its_evidence() {
        let text = terminal(&sample::careless(), false);
        assert!(text.starts_with("ee450_tommy_session2.tar.gz\n  68 of 100, strict 60.5\n"), "{text}");
        let port = "
    -10  AWS sends its datagrams from a port that the system chose.
         rule      rule 11 (port numbers); check wire.aws-port
         run       n300/sum, run 1 of 5
         expected  UDP from 24319 to 21319
         actual    UDP from 51822 to 21319
         again     offload grade submissions/ee450_tommy_session2.tar.gz --seed 7 --show wire.aws-port
";
        assert!(text.contains(port), "{text}");
        for line in [
            "  repaired   83 of 100, strict 75.5\n",
            "  sum        100 - 32 lost = 68\n",
            "  flake rate 5 %\n",
            "Lost (4)\n    -15  There is no Makefile",
            "check hand-in.readme; -2.5 in the strict reading\n",
            "Lost in the strict reading only (2)\n     -5  The reduction type is printed in lower case.\n",
            "  !  ./client foo: received reduction foo: 0\n",
            "  - Makefile.txt was renamed to Makefile.\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_refusal_says_why_and_no_more() {
        let text = terminal(&sample::refused(), false);
        let want = "bomb.tar.gz\n  x refused  bomb.tar.gz: unpacks to more than 100 times its size; ask for a new one\n";
        assert_eq!(text, want);
    }

    #[test]
    fn differing_characters_are_underlined() {
        let text = screens(&sample::bad_run(), false);
        let client = "
client
    The client is up and running.
  - The client has sent the reduction type MIN to AWS.
                                           ^^^
  ~ The client has sent the reduction type min to AWS.
                                           ^^^
      (case of the reduction type: forgiven in the lenient reading)
    The client has sent 30 numbers to AWS
  - The client has received reduction MIN: -998
                                           ^^^^
  + The client has received reduction MIN: 0
                                           ^
      (wrong value)
";
        assert!(text.ends_with(client), "{text}");
        assert!(
            text.contains("\n  + debug: got 30 numbers, first = -12\n      (extra line)\n"),
            "{text}"
        );
    }

    #[test]
    fn text_is_wrapped_at_blanks_where_it_can_be() {
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(wrapped("ab cd ef", 5), ["ab cd", "ef"]);
        assert_eq!(wrapped("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrapped("a abcdef", 5), ["a", "abcde", "f"]);
    }
}
