//! Reads Rust source as far as house rules need it: no parser, but comments, strings and tests do not
//! count.

/// A source file's production part, with comments and literals blanked out; lines stay where they were.
pub struct Source {
    pub path: String,
    code: String,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        // A test module in a file of its own is called tests.rs.
        let text = if path.ends_with("/tests.rs") { String::new() } else { blank(text) };
        Source { path: path.to_owned(), code: production(&text).to_owned() }
    }

    pub fn production_lines(&self) -> usize {
        self.code.trim_end().lines().count()
    }

    /// Complaints about every occurrence of `what` as a word of its own.
    pub fn find(&self, what: &str, instead: &str) -> Vec<String> {
        let places = words(&self.code, what);
        places.map(|at| format!("{}:{}: {what} here: {instead}", self.path, self.line(at))).collect()
    }

    /// Where a dependency is named first, as in `use name::` or `name::function`.
    pub fn first_use_of(&self, dependency: &str) -> Option<usize> {
        let path = format!("{}::", dependency.replace('-', "_"));
        let first = words(&self.code, &path).find(|&at| !self.code[..at].ends_with("::"));
        first.map(|at| self.line(at))
    }

    /// The rooms (modules at the root) that are named, each with its line.
    pub fn rooms_used(&self) -> Vec<(usize, String)> {
        let root = if self.path.starts_with("src/bin/") { "offload::" } else { "crate::" };
        let mut used = Vec::new();
        for at in words(&self.code, root) {
            self.rooms_at(at + root.len(), &mut used);
        }
        for at in words(&self.code, "super::") {
            let mut rest = &self.code[at..];
            let mut up = 0;
            while let Some(after) = rest.strip_prefix("super::") {
                (rest, up) = (after, up + 1);
            }
            // From the second `super` of a row on, the row was read already.
            if up == self.depth() && !self.code[..at].ends_with("super::") {
                self.rooms_at(self.code.len() - rest.len(), &mut used);
            }
        }
        used
    }

    /// How many modules lie between this one and the root, itself included.
    fn depth(&self) -> usize {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        inside.trim_end_matches("/mod").split('/').count()
    }

    /// What stands behind `crate::`: one name, or several in braces.
    fn rooms_at(&self, at: usize, used: &mut Vec<(usize, String)>) {
        let rest = &self.code[at..];
        let Some(group) = rest.strip_prefix('{') else {
            used.push((self.line(at), identifier(rest).to_owned()));
            return;
        };
        let (mut depth, mut first) = (0, true);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => return,
                '}' => depth -= 1,
                ',' if depth == 0 => first = true,
                c if first && !c.is_whitespace() => {
                    used.push((self.line(at + 1 + i), identifier(&group[i..]).to_owned()));
                    first = false;
                }
                _ => {}
            }
        }
    }

    pub fn functions(&self) -> Vec<Function> {
        words(&self.code, "fn ").filter_map(|at| self.function_at(at)).collect()
    }

    /// `None` for a declaration without a body, and for the type `fn (..)`.
    fn function_at(&self, at: usize) -> Option<Function> {
        let name = identifier(self.code[at + 3..].trim_start());
        let open = at + self.code[at..].find(['{', ';'])?;
        if name.is_empty() || self.code[open..].starts_with(';') {
            return None;
        }
        let mut depth = 0;
        let close = self.code[open..].char_indices().find_map(|(i, c)| {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            (depth == 0).then_some(open + i)
        })?;
        let (line, last) = (self.line(at), self.line(close));
        Some(Function { name: name.to_owned(), line, lines: last - line + 1 })
    }

    fn line(&self, at: usize) -> usize {
        1 + self.code[..at].matches('\n').count()
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn identifier(text: &str) -> &str {
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

/// Where `what` stands and is not a part of a longer word.
fn words<'a>(code: &'a str, what: &'a str) -> impl Iterator<Item = usize> + 'a {
    let (starts, ends) = (what.starts_with(is_word), what.ends_with(is_word));
    code.match_indices(what).map(|(at, _)| at).filter(move |&at| {
        let before = code[..at].chars().next_back().is_some_and(is_word);
        let behind = code[at + what.len()..].chars().next().is_some_and(is_word);
        !(starts && before || ends && behind)
    })
}

/// What comes before the test module.
fn production(code: &str) -> &str {
    let mut from = 0;
    while let Some(at) = code[from..].find("#[cfg(test)]") {
        let behind = code[from + at + "#[cfg(test)]".len()..].trim_start();
        if behind.starts_with("mod ") {
            return &code[..from + at];
        }
        from += at + 1;
    }
    code
}

/// The same text with comments, strings and characters replaced by blanks; line feeds stay.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = out.ends_with(is_word);
        let (length, keep) = match c {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
            '/' if rest.starts_with("/*") => (block_comment(rest), false),
            '"' => (string(rest), false),
            'r' | 'b' | 'c' if !word && literal(rest).is_some() => (literal(rest).unwrap_or(1), false),
            '\'' => character(rest).map_or((1, true), |length| (length, false)),
            c => (c.len_utf8(), true),
        };
        let (piece, behind) = rest.split_at(length);
        if keep {
            out.push_str(piece);
        } else {
            out.extend(piece.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }));
        }
        rest = behind;
    }
    out
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// Length of the string literal that `text` begins with.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return i + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of a literal with a prefix: `b".."`, `b'.'`, `c".."`, `r".."`, `br#".."#`.
fn literal(text: &str) -> Option<usize> {
    let quoted = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - quoted.len();
    if let Some(raw) = quoted.strip_prefix('r') {
        let open = raw.trim_start_matches('#');
        let close = format!("\"{}", "#".repeat(raw.len() - open.len()));
        let body = open.strip_prefix('"')?;
        return Some(text.len() - body.len() + body.find(&close)? + close.len());
    }
    match (prefix, quoted.chars().next()?) {
        (1, '"') => Some(1 + string(quoted)),
        (1, '\'') => Some(1 + character(quoted)?),
        _ => None,
    }
}

/// Length of a character literal; `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let inner = &text[1..];
    if let Some(escape) = inner.strip_prefix('\\') {
        // The character behind the backslash may itself be a quote.
        let first = escape.chars().next()?.len_utf8();
        return Some(2 + first + escape[first..].find('\'')? + 1);
    }
    let first = inner.chars().next()?.len_utf8();
    inner[first..].starts_with('\'').then_some(1 + first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("src/wire/x.rs", text)
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        let text = "//! x.unwrap()\nfn a() { \"x.unwrap()\"; r#\"\"x.unwrap()\"#; '\"'; b'\\''; }\n/* .unwrap()\n */ x.unwrap();\n#[cfg(test)]\nmod tests { y.unwrap() }\n";
        let found = source(text).find(".unwrap()", "do not");
        assert_eq!(found, ["src/wire/x.rs:4: .unwrap() here: do not"]);
        assert_eq!(source(text).production_lines(), 4);
    }

    #[test]
    fn lifetimes_are_no_characters() {
        let text = "fn a<'a>(x: &'a str) -> &'a str { todo!() }";
        assert_eq!(source(text).find("todo!", "").len(), 1);
    }

    #[test]
    fn a_test_only_item_is_not_the_end_of_production() {
        let text = "#[cfg(test)]\nfn helper() {}\nfn a() { todo!() }\n#[cfg(test)]\nmod tests {}\n";
        assert_eq!(source(text).find("todo!", "").len(), 1);
    }

    #[test]
    fn words_are_whole() {
        assert!(source("an_unsafe_name(); unsafely();").find("unsafe", "").is_empty());
        assert!(source("eprintln!()").find("println!", "").is_empty());
        assert_eq!(source("x;\nunsafe { }").find("unsafe", "").len(), 1);
    }

    #[test]
    fn rooms_are_found_however_they_are_named() {
        let used = |path: &str, text: &str| Source::new(path, text).rooms_used();
        let text = "use crate::io::x;\nuse crate::{\n    sim::{a, io},\n    limits,\n};\nlet y = crate::proto::z();";
        let rooms = [(1, "io"), (3, "sim"), (4, "limits"), (6, "proto")];
        assert_eq!(used("src/wire/x.rs", text), rooms.map(|(line, room)| (line, room.to_owned())));
        assert_eq!(used("src/wire.rs", "use super::io;"), [(1, "io".to_owned())]);
        assert_eq!(used("src/wire/mod.rs", "use super::io;"), [(1, "io".to_owned())]);
        assert_eq!(used("src/wire/x.rs", "use super::io;"), []);
        assert_eq!(used("src/wire/x.rs", "use super::super::io;"), [(1, "io".to_owned())]);
        assert_eq!(used("src/bin/aws.rs", "use offload::io;"), [(1, "io".to_owned())]);
    }

    #[test]
    fn functions_are_measured() {
        let text =
            "trait T { fn none(&self); }\nfn one() {}\nfn three<F: Fn()>(f: F) {\n    if x { y }\n}\n";
        let function = |name: &str, line, lines| Function { name: name.to_owned(), line, lines };
        assert_eq!(source(text).functions(), [function("one", 2, 1), function("three", 3, 3)]);
    }

    #[test]
    fn a_dependency_is_named_at_the_start_of_a_path() {
        let text = "use crate::toml::x;\nmytoml::y();\nlet z = toml::from_str();";
        assert_eq!(source(text).first_use_of("toml"), Some(3));
        assert_eq!(source("use quinn_udp::Transmit;").first_use_of("quinn-udp"), Some(1));
        assert_eq!(source("// toml::x").first_use_of("toml"), None);
    }
}
