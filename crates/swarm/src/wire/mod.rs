//! The bytes between peers: is it sound, then what does it mean.
//!
//! [`handshake`] opens a connection (BEP 3), [`message`] is all that follows (BEP 3, 6, 10), [`extension`]
//! is what extended messages carry (BEP 9, 10, 11), [`discovery`] a multicast datagram (BEP 14).

pub(crate) mod compact;
pub mod discovery;
pub mod extension;
pub mod handshake;
pub mod message;

/// What another program says about itself or to us, fit for a screen: one line of at most `most` characters,
/// without anything that moves a cursor or turns the writing round.
pub(crate) fn printable(bytes: &[u8], most: usize) -> String {
    let acts =
        |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    // A character has four bytes at most: nothing is read in vain.
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * most)]);
    text.chars().take(most).map(|c| if acts(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn what_others_say_is_one_short_line() {
        assert_eq!(printable("aria2/1.36 é".as_bytes(), 40), "aria2/1.36 é");
        assert_eq!(printable(b"a\x1b[2Jb\r\nc\xff", 40), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}");
        assert_eq!(printable("x\u{202e}y\u{2066}".as_bytes(), 40), "x\u{fffd}y\u{fffd}");
        assert_eq!(printable("é".repeat(1000).as_bytes(), 5), "ééééé");
        assert_eq!(printable(&[0xff; 100], 5).chars().count(), 5);
    }
}
