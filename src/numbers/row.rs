//! One row, the careful way: the csv crate reads it, then it must be one 64-bit integer.
//!
//! The lesson: being lenient about form (blanks, quotes, a plus sign, CRLF) and strict about meaning are
//! two different steps. A row is always one physical line: a quoted field that would go on in the next
//! line is an error of this one, so that the line numbers of errors are those that an editor shows.

use crate::limits::MAX_ROW_BYTES;
use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};
use std::fmt;
use std::io;

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Anything that is not an integer.
    #[error("\"{0}\" is not an integer")]
    NotInteger(Shown),
    /// An integer, but no `i64`.
    #[error("\"{0}\" is outside the signed 64-bit range, -9223372036854775808 to 9223372036854775807")]
    OutOfRange(Shown),
    /// Nothing, or nothing but blanks, and it is not the end of the file.
    #[error("the line is empty; an integer is expected")]
    Empty,
    /// More fields than one.
    #[error("the line has {0} columns; one is expected")]
    Columns(usize),
    /// More bytes than an integer can reasonably have.
    #[error("the line is longer than {MAX_ROW_BYTES} bytes; an integer is expected")]
    TooLong,
}

/// Text from a file, safe to put on a terminal: at most 40 characters, and nothing in it but printable ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(String);

const MAX_SHOWN_CHARS: usize = 40;

impl Shown {
    /// Escapes control characters, quotes and bytes that are not UTF-8, and cuts what is long.
    pub fn new(bytes: &[u8]) -> Shown {
        let mut text = String::new();
        let mut chars = 0;
        for chunk in bytes.utf8_chunks() {
            let valid = chunk.valid().chars().map(|c| c.escape_debug().to_string());
            let invalid = chunk.invalid().iter().map(|b| format!("\\x{b:02x}"));
            for part in valid.chain(invalid) {
                chars += part.chars().count();
                if chars > MAX_SHOWN_CHARS {
                    return Shown(text + "...");
                }
                text.push_str(&part);
            }
        }
        Shown(text)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads rows of any form. It is worth keeping: to build a csv reader costs as much as a hundred rows.
pub struct Parser {
    reader: Option<Reader<Line>>,
    record: ByteRecord,
}

impl Default for Parser {
    fn default() -> Self {
        Parser { reader: None, record: ByteRecord::new() }
    }
}

impl Parser {
    /// The integer that is in `line`, the bytes between two line feeds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(&mut self, line: &[u8]) -> Result<i64, Problem> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > MAX_ROW_BYTES {
            return Err(Problem::TooLong);
        }
        let line = trim(line);
        if line.is_empty() {
            return Err(Problem::Empty);
        }
        let not_integer = || Problem::NotInteger(Shown::new(line));
        // The csv crate would skip it at the start of what it reads; it may only start a file.
        if line.starts_with(crate::numbers::table::BOM) {
            return Err(not_integer());
        }
        if !self.read_record(line) {
            return Err(not_integer());
        }
        if self.record.len() != 1 {
            return Err(Problem::Columns(self.record.len()));
        }
        // The csv crate takes `"5"6` as 56. With a quote at both ends, a quote inside stays in the field.
        if line.starts_with(b"\"") && !line.ends_with(b"\"") {
            return Err(not_integer());
        }
        integer(trim(&self.record[0]))
    }

    /// Has the csv crate read `line`, which holds no line feed, as one record; false where the record does
    /// not end with the line.
    fn read_record(&mut self, line: &[u8]) -> bool {
        let mut reader = self.reader.take().unwrap_or_else(|| {
            ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                // A carriage return inside a line is a character like others; the last one is gone.
                .terminator(Terminator::Any(b'\n'))
                .buffer_capacity(MAX_ROW_BYTES + 1)
                .from_reader(Line::default())
        });
        reader.get_mut().set(line);
        let whole = matches!(reader.read_byte_record(&mut self.record), Ok(true))
            && !reader.get_ref().asked_for_more;
        if whole {
            // A reader that has met the end would not read on; such a one is given up.
            self.reader = Some(reader);
        }
        whole
    }
}

/// Lends the csv reader one line after another.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    given: usize,
    asked_for_more: bool,
}

impl Line {
    fn set(&mut self, line: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
        self.given = 0;
    }
}

impl io::Read for Line {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = io::Read::read(&mut &self.bytes[self.given..], buf)?;
        self.given += n;
        self.asked_for_more |= n == 0;
        Ok(n)
    }
}

/// An optional sign, then digits.
fn integer(field: &[u8]) -> Result<i64, Problem> {
    let digits = field.strip_prefix(b"-").or(field.strip_prefix(b"+")).unwrap_or(field);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Problem::NotInteger(Shown::new(field)));
    }
    let text = str::from_utf8(field).map_err(|_| Problem::NotInteger(Shown::new(field)))?;
    // The form is right, so that only the range can be wrong.
    text.parse().map_err(|_| Problem::OutOfRange(Shown::new(field)))
}

/// Without the blanks (space and tab) around it.
fn trim(bytes: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let Some(start) = bytes.iter().position(|b| !blank(b)) else { return &[] };
    let end = bytes.iter().rposition(|b| !blank(b)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &[u8]) -> Result<i64, String> {
        Parser::default().parse(line).map_err(|problem| problem.to_string())
    }

    #[test]
    fn forms_that_are_accepted() {
        for (line, want) in [
            ("5", 5),
            ("-5", -5),
            ("+5", 5),
            ("-0", 0),
            ("  5\t", 5),
            ("5\r", 5),
            ("\"5\"", 5),
            (" \"5\" ", 5),
            ("\" -5\t\"", -5),
            ("\"+5\"\r", 5),
            ("00000000000000000000000000000000000000000000000000000000000000007", 7),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("-0009223372036854775808", i64::MIN),
        ] {
            assert_eq!(parse(line.as_bytes()), Ok(want), "{line:?}");
        }
    }

    #[test]
    fn forms_that_are_not() {
        let wide = "outside the signed 64-bit range, -9223372036854775808 to 9223372036854775807";
        for (line, want) in [
            (&b"12a"[..], r#""12a" is not an integer"#.to_owned()),
            (b"1.5", r#""1.5" is not an integer"#.to_owned()),
            (b"1e3", r#""1e3" is not an integer"#.to_owned()),
            (b"1_000", r#""1_000" is not an integer"#.to_owned()),
            (b"0x10", r#""0x10" is not an integer"#.to_owned()),
            (b"- 5", r#""- 5" is not an integer"#.to_owned()),
            (b"-", r#""-" is not an integer"#.to_owned()),
            (b"+", r#""+" is not an integer"#.to_owned()),
            (b"+-5", r#""+-5" is not an integer"#.to_owned()),
            (b"--5", r#""--5" is not an integer"#.to_owned()),
            (b"5 6", r#""5 6" is not an integer"#.to_owned()),
            (b"number", r#""number" is not an integer"#.to_owned()),
            (b"5\r6", r#""5\r6" is not an integer"#.to_owned()),
            (b"5\r\r", r#""5\r" is not an integer"#.to_owned()),
            (b"5\0", r#""5\0" is not an integer"#.to_owned()),
            (b"\xff5", r#""\xff5" is not an integer"#.to_owned()),
            (b"\x1b[31m5", r#""\u{1b}[31m5" is not an integer"#.to_owned()),
            (b"\xef\xbb\xbf5", r#""\u{feff}5" is not an integer"#.to_owned()),
            ("\u{665}".as_bytes(), "\"\u{665}\" is not an integer".to_owned()),
            (b"\"\"", r#""" is not an integer"#.to_owned()),
            (b"\"5", r#""\"5" is not an integer"#.to_owned()),
            (b"\"", r#""\"" is not an integer"#.to_owned()),
            (b"\"5\"6", r#""\"5\"6" is not an integer"#.to_owned()),
            (b"\"5\"6\"", r#""56\"" is not an integer"#.to_owned()),
            (b"\"5\"\"6\"", r#""5\"6" is not an integer"#.to_owned()),
            (b"5\"6\"", r#""5\"6\"" is not an integer"#.to_owned()),
            (b"9223372036854775808", format!("\"9223372036854775808\" is {wide}")),
            (b"-9223372036854775809", format!("\"-9223372036854775809\" is {wide}")),
            (b"", "the line is empty; an integer is expected".to_owned()),
            (b" \t\r", "the line is empty; an integer is expected".to_owned()),
            (b"5,6", "the line has 2 columns; one is expected".to_owned()),
            (b"5,", "the line has 2 columns; one is expected".to_owned()),
            (b"a,\"b\",c", "the line has 3 columns; one is expected".to_owned()),
        ] {
            assert_eq!(parse(line), Err(want), "{:?}", line.escape_ascii().to_string());
        }
    }

    #[test]
    fn length_is_bounded_before_anything_is_read() {
        let mut line = vec![b'0'; MAX_ROW_BYTES];
        assert_eq!(parse(&line), Ok(0));
        line.push(b'\r');
        assert_eq!(parse(&line), Ok(0));
        line[MAX_ROW_BYTES] = b'0';
        assert_eq!(
            parse(&line),
            Err("the line is longer than 4096 bytes; an integer is expected".into())
        );
    }

    #[test]
    fn shown_text_is_cut() {
        let digits = "1".repeat(41);
        assert_eq!(Shown::new(&digits.as_bytes()[..40]).to_string(), "1".repeat(40));
        assert_eq!(Shown::new(digits.as_bytes()).to_string(), "1".repeat(40) + "...");
        assert_eq!(Shown::new(&[0xff; 11]).to_string(), "\\xff".repeat(10) + "...");
    }

    proptest! {
        /// What one line leaves in the reader never reaches the next.
        #[test]
        fn a_kept_parser_is_as_good_as_a_new_one(
            lines in prop::collection::vec("[-+0-9\", \t\ra\u{feff}]{0,9}", 1..20)
        ) {
            let mut kept = Parser::default();
            for line in &lines {
                prop_assert_eq!(kept.parse(line.as_bytes()), Parser::default().parse(line.as_bytes()));
            }
        }
    }
}
