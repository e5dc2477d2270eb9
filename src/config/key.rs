//! The shared secret, and the file that holds it.
//!
//! A secret that others can read is none, so such a file is refused. Whatever goes wrong, the error
//! gives the command that mends it and never a digit of the key. What is left out: passphrases (32
//! random bytes need no stretching) and several keys at once.

use super::{Error, open, read_text};
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A secret of 32 bytes that all processes of an installation share.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// A key from elsewhere than a file. It has to be random: nothing is derived from a weak one.
    pub fn new(bytes: [u8; 32]) -> Key {
        Key(bytes)
    }

    /// Reads 64 hexadecimal digits, with white space around them or not.
    ///
    /// # Errors
    /// When the file is missing, readable by group or others, or holds anything else.
    pub fn read(path: &Path) -> Result<Key, Error> {
        let refuse = |reason: String| Error::KeyFile { path: path.to_owned(), reason };
        let unreadable = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => {
                refuse(format!("it does not exist; make it with: {}", recipe(path)))
            }
            _ => refuse(e.to_string()),
        };
        let file = open(path).map_err(unreadable)?;
        // The mode of the very file that is read, whatever happens to its name meanwhile.
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(refuse(format!(
                "its mode {:03o} opens it to group or others; make it yours alone with: chmod 600 {}",
                mode & 0o777,
                quoted(path)
            )));
        }
        let text = read_text(file).map_err(unreadable)?;
        parse(text.trim()).map(Key).ok_or_else(|| {
            refuse(format!(
                "it does not hold 64 hexadecimal digits; make a new one with: {}",
                recipe(path)
            ))
        })
    }

    /// The secret itself.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The command that makes a key file.
pub fn recipe(path: &Path) -> String {
    let path = quoted(path);
    format!(r"head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \n' > {path} && chmod 600 {path}")
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

fn parse(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair.map(|d| char::from(d).to_digit(16));
        *byte = (high? * 16 + low?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Folder;
    use super::*;

    const DIGITS: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

    #[test]
    fn a_key_is_64_digits_with_white_space_around() {
        let folder = Folder::new();
        for text in [DIGITS.to_owned(), format!("{DIGITS}\n"), format!("\n \t{DIGITS} \r\n\n")] {
            for mode in [0o600, 0o400] {
                let key = Key::read(&folder.write("k", &text, mode)).unwrap();
                assert_eq!(key.bytes().to_vec(), (0..32).collect::<Vec<u8>>());
            }
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", Some(Key::new([7; 32]))), "Some(Key(..))");
    }

    #[test]
    fn what_is_no_key_is_refused_without_showing_it() {
        let folder = Folder::new();
        let signed = format!("+1{}", "a".repeat(62));
        let split = format!("{} {}", &DIGITS[..32], &DIGITS[32..]);
        for text in ["", &DIGITS[1..], &DIGITS.replace('0', "g"), &signed, &split, &DIGITS.repeat(2)] {
            let path = folder.write("k", text, 0o600);
            let message = Key::read(&path).unwrap_err().to_string();
            let path = path.display();
            assert_eq!(
                message,
                format!(
                    "key file {path}: it does not hold 64 hexadecimal digits; make a new one with: \
                     head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \\n' > {path} && chmod 600 {path}"
                )
            );
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let folder = Folder::new();
        for (mode, shown) in [(0o640, "640"), (0o604, "604"), (0o620, "620"), (0o601, "601")] {
            let path = folder.write("my key", DIGITS, mode);
            assert_eq!(
                Key::read(&path).unwrap_err().to_string(),
                format!(
                    "key file {0}: its mode {shown} opens it to group or others; make it yours alone \
                     with: chmod 600 '{0}'",
                    path.display()
                )
            );
        }
    }

    #[test]
    fn a_missing_key_says_how_to_make_one_and_a_directory_is_none() {
        let folder = Folder::new();
        let path = folder.0.join("k");
        let shown = path.display();
        assert_eq!(
            Key::read(&path).unwrap_err().to_string(),
            format!(
                "key file {shown}: it does not exist; make it with: head -c 32 /dev/urandom | od -An \
                 -vtx1 | tr -d ' \\n' > {shown} && chmod 600 {shown}"
            )
        );
        let message = Key::read(&folder.0).unwrap_err().to_string();
        assert_eq!(message, format!("key file {}: it is not a file", folder.0.display()));
    }

    #[test]
    fn the_recipe_makes_a_key_that_is_accepted_whatever_the_path() {
        let folder = Folder::new();
        let path = folder.0.join("it's a key");
        let shell = std::process::Command::new("sh").arg("-c").arg(recipe(&path)).status();
        assert!(shell.unwrap().success());
        assert_ne!(Key::read(&path).unwrap().bytes(), &[0; 32]);
    }
}
