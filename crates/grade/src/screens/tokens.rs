//! A line as words, numbers and marks, each with the white space before it.

use super::ANY_PORT;

/// What a token is, and by that how much it says about which sentence a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// Letters.
    Word,
    /// One letter, such as a backend's.
    Letter,
    /// `min`, `max`, `sum` or `sos`, in any case.
    Type,
    /// A number with its sign.
    Number,
    /// [`ANY_PORT`].
    AnyPort,
    /// One character of anything else.
    Mark,
}

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) sort: Sort,
    pub(super) text: String,
    pub(super) lower: String,
    /// The white space before it.
    pub(super) gap: String,
}

/// A line in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) list: Vec<Token>,
    /// The white space at the end.
    pub(super) end: String,
}

impl Token {
    fn new(sort: Sort, text: String, gap: String) -> Token {
        let lower = text.to_lowercase();
        Token { sort, text, lower, gap }
    }

    fn word(text: String, gap: String) -> Token {
        let sort = match text.to_lowercase().as_str() {
            "min" | "max" | "sum" | "sos" => Sort::Type,
            lower if lower.chars().count() == 1 => Sort::Letter,
            _ => Sort::Word,
        };
        Token::new(sort, text, gap)
    }

    /// How much it says: "Backend-Server B" more than the number beside it, which may be what is wrong.
    pub(super) fn weight(&self) -> u32 {
        match self.sort {
            Sort::Letter => 12,
            Sort::Word => 8,
            Sort::Type | Sort::Number | Sort::AnyPort => 4,
            Sort::Mark => 1,
        }
    }

    pub(super) fn is_word(&self) -> bool {
        matches!(self.sort, Sort::Word | Sort::Letter | Sort::Type)
    }
}

/// The pieces of a line as it should be.
pub(super) fn of_form(form: &str) -> Tokens {
    let mut pieces = form.split(ANY_PORT);
    let mut tokens = tokens(pieces.next().unwrap_or_default());
    for piece in pieces {
        let gap = std::mem::take(&mut tokens.end);
        tokens.list.push(Token::new(Sort::AnyPort, ANY_PORT.to_owned(), gap));
        let rest = self::tokens(piece);
        tokens.list.extend(rest.list);
        tokens.end = rest.end;
    }
    tokens
}

/// The pieces of a line as it was.
pub(super) fn tokens(line: &str) -> Tokens {
    let chars: Vec<char> = line.chars().collect();
    let mut list = Vec::new();
    let mut gap = String::new();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if c.is_whitespace() {
            gap.push(c);
            at += 1;
            continue;
        }
        let glued = at > 0 && chars[at - 1].is_alphanumeric();
        let rest = &chars[at..];
        let gap = std::mem::take(&mut gap);
        let number = number_len(rest, glued);
        let token = if number > 0 {
            Token::new(Sort::Number, rest[..number].iter().collect(), gap)
        } else if c.is_alphabetic() {
            Token::word(rest.iter().take_while(|c| c.is_alphabetic()).collect(), gap)
        } else {
            Token::new(Sort::Mark, c.to_string(), gap)
        };
        at += token.text.chars().count();
        list.push(token);
    }
    Tokens { list, end: gap }
}

/// How many characters of a number the text begins with: sign, digits (also in groups of three), decimals
/// and exponent as C and C++ print them. `glued`: a letter or digit is right before it, so that a hyphen
/// is no sign.
fn number_len(text: &[char], glued: bool) -> usize {
    let digits = |from: usize| text[from..].iter().take_while(|c| c.is_ascii_digit()).count();
    let at = |i: usize| text.get(i).copied();
    let sign = usize::from(!glued && matches!(at(0), Some('-' | '+')));
    let mut end = sign + digits(sign);
    if end == sign {
        return 0;
    }
    while end - sign <= 3 || at(end - 4) == Some(',') {
        if at(end) != Some(',') || digits(end + 1) != 3 {
            break;
        }
        end += 4;
    }
    if at(end) == Some('.') {
        let decimals = digits(end + 1);
        end += if decimals > 0 { 1 + decimals } else { 0 };
    }
    if matches!(at(end), Some('e' | 'E')) {
        let signed = usize::from(matches!(at(end + 1), Some('-' | '+')));
        let exponent = if end + 1 + signed <= text.len() { digits(end + 1 + signed) } else { 0 };
        end += if exponent > 0 { 1 + signed + exponent } else { 0 };
    }
    end
}

/// A number's value in one form, whatever its zeros, plus sign and commas; `None` where it is no integer.
pub(super) fn value(number: &str) -> Option<String> {
    let digits = number.trim_start_matches(['-', '+']).replace(',', "");
    let (whole, decimals) = digits.split_once('.').unwrap_or((&digits, ""));
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || decimals.bytes().any(|b| b != b'0') {
        return None;
    }
    match whole.trim_start_matches('0') {
        "" => Some("0".to_owned()),
        whole if number.starts_with('-') => Some(format!("-{whole}")),
        whole => Some(whole.to_owned()),
    }
}

/// The line with plain characters for those that look like them, and whether there were any.
///
/// Screens copied out of the assignment's PDF bring its soft hyphens; editors bring dashes and quotes.
pub(super) fn plain(line: &str) -> (String, bool) {
    let chars: Vec<char> = line.chars().collect();
    let mut out = String::with_capacity(line.len());
    for (i, c) in chars.iter().copied().enumerate() {
        let next = chars.get(i + 1).copied().unwrap_or(' ');
        match c {
            // What a lone byte of another encoding becomes; a hyphen only where one may be.
            '\u{fffd}' if next == '\u{fffd}' => out.push(c),
            '\u{ad}' | '\u{fffd}' => {
                let before = out.trim_end_matches('\u{fffd}').chars().next_back().unwrap_or(' ');
                let between = before.is_alphabetic() && next.is_alphabetic();
                if before == '-' || (next == '-' && before.is_alphabetic()) {
                    out.truncate(out.trim_end_matches('\u{fffd}').len());
                } else if between || c == '\u{ad}' {
                    out.truncate(out.trim_end_matches('\u{fffd}').len());
                    out.push('-');
                } else {
                    out.push(c);
                }
            }
            '\u{2010}'..='\u{2015}' | '\u{2043}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' => out.push('-'),
            '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => out.push(' '),
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
            }
            '\u{2018}'..='\u{201b}' => out.push('\''),
            '\u{201c}'..='\u{201f}' => out.push('"'),
            '\u{2026}' => out.push_str("..."),
            // ASCII in the width of a Chinese character.
            '\u{ff01}'..='\u{ff5e}' => {
                out.extend(char::from_u32(u32::from(c) - 0xff01 + u32::from('!')));
            }
            c => out.push(c),
        }
    }
    let changed = out != line;
    (out, changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces with a bar between them; a gap is a dot for each character.
    fn pieces(line: &str) -> String {
        let list: Vec<String> = tokens(line)
            .list
            .iter()
            .map(|token| format!("{}{}", ".".repeat(token.gap.chars().count()), token.text))
            .collect();
        list.join("|")
    }

    #[test]
    fn lines_fall_into_words_numbers_and_marks() {
        for (line, expected) in [
            ("Backend-Server A", "Backend|-|Server|.A"),
            ("reduction SUM: -3003.", "reduction|.SUM|:|.-3003|."),
            ("port21319", "port|21319"),
            ("SUM:-5", "SUM|:|-5"),
            ("x-5 5-6 +7", "x|-|5|.5|-|6|.+7"),
            ("<30> [sum]", "<|30|>|.[|sum|]"),
            ("1,000 1,00 1000,000", "1,000|.1|,|00|.1000|,|000"),
            ("12.50 5.53747e+06 5e 5e+", "12.50|.5.53747e+06|.5|e|.5|e|+"),
            ("-", "-"),
        ] {
            assert_eq!(pieces(line), expected, "{line}");
        }
        assert_eq!(tokens("a \t").end, " \t");
    }

    #[test]
    fn a_port_may_be_left_open() {
        let tokens = of_form("on port <port number>.");
        let sorts: Vec<Sort> = tokens.list.iter().map(|token| token.sort).collect();
        assert_eq!(sorts, [Sort::Word, Sort::Word, Sort::AnyPort, Sort::Mark]);
        assert_eq!(tokens.list[2].gap, " ");
    }

    #[test]
    fn values_do_not_depend_on_dress() {
        for (number, expected) in [
            ("1000", Some("1000")),
            ("+1,000.00", Some("1000")),
            ("-007", Some("-7")),
            ("-0", Some("0")),
            ("12.5", None),
            ("1e3", None),
        ] {
            assert_eq!(value(number).as_deref(), expected, "{number}");
        }
    }

    #[test]
    fn look_alikes_become_what_they_look_like() {
        for (line, expected) in [
            ("Backend\u{ad}Server", "Backend-Server"),
            ("Backend-\u{ad}Server", "Backend-Server"),
            ("Backend\u{ad}-Server", "Backend-Server"),
            ("Backend\u{fffd}Server", "Backend-Server"),
            ("Backend\u{fffd}\u{fffd}Server", "Backend-Server"),
            ("Backend\u{2011}Server\u{a0}A", "Backend-Server A"),
            ("it is \u{2212}5", "it is -5"),
            ("\u{201c}The\u{200b} AWS\u{201d}", "\"The AWS\""),
            ("ＡＷＳ：", "AWS:"),
            ("numbers\u{fffd}\u{fffd}", "numbers\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(plain(line).0, expected);
        }
        assert_eq!(plain("Backend-Server A"), ("Backend-Server A".to_owned(), false));
    }
}
