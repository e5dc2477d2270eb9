//! Sealed packs, for networks where others listen: the `age` format (age-encryption.org/v1).
//!
//! The lesson: who may read a file is decided when it is written, by public keys, so that the swarm may
//! carry it through anybody's hands. The format is the `age` program's; either side can be it.
//!
//! Sealing the same content twice gives different bytes, so a sealed pack is kept while its source stays as
//! it is: another one would be another torrent. Left out: pass phrases and SSH keys.

use crate::limits::MAX_KEY_FILE_BYTES;
use age::stream::StreamWriter;
use age::{DecryptError, Decryptor, EncryptError, Encryptor, Identity, IdentityFile, Recipient};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Why nothing was sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller's: the file of keys.
    #[error("cannot read the keys in {}: {source}", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The caller's: no public key, or something else, in the file of recipients.
    #[error(
        "{} line {line} is no X25519 recipient: one a line, as `age-keygen -y` shows it (age1...)",
        path.display()
    )]
    Recipient {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The caller's: no key in the file.
    #[error("no key in {}: `age-keygen` makes one", .0.display())]
    NoKeys(PathBuf),
    /// The machine's: nothing can be sealed.
    #[error("cannot seal: {0}")]
    Seal(#[source] Box<EncryptError>),
    /// The caller's or the sender's: it is for somebody else, or damaged.
    #[error("cannot open what is sealed: {0}")]
    Open(#[from] DecryptError),
}

/// Whom packs are sealed for.
pub struct Recipients {
    keys: Vec<age::x25519::Recipient>,
}

/// The keys that open packs.
pub struct Identities {
    keys: Vec<Box<dyn Identity + Send + Sync>>,
}

impl Recipients {
    /// Reads a recipients file of `age`: a public key a line, comments after `#`.
    ///
    /// # Errors
    /// It cannot be read, or holds something else, or nothing.
    pub fn read(path: &Path) -> Result<Recipients, Error> {
        let mut keys = Vec::new();
        for (line, text) in read_keys(path)?.lines().enumerate() {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let wrong = |_| Error::Recipient { path: path.to_owned(), line: line + 1 };
            keys.push(text.parse::<age::x25519::Recipient>().map_err(wrong)?);
        }
        if keys.is_empty() { Err(Error::NoKeys(path.to_owned())) } else { Ok(Recipients { keys }) }
    }

    /// What is written to the result goes sealed to `out`; it must be finished.
    ///
    /// # Errors
    /// The writer's.
    pub fn seal<W: Write>(&self, out: W) -> Result<StreamWriter<W>, Error> {
        let keys = self.keys.iter().map(|key| key as &dyn Recipient);
        let sealed = Encryptor::with_recipients(keys)
            .and_then(|encryptor| encryptor.wrap_output(out).map_err(EncryptError::Io));
        sealed.map_err(|e| Error::Seal(Box::new(e)))
    }

    /// The public keys as text, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.keys.iter().map(ToString::to_string).collect();
        names.sort();
        names
    }
}

impl Identities {
    /// Reads an identity file as `age-keygen` writes it.
    ///
    /// # Errors
    /// It cannot be read, or holds no key.
    pub fn read(path: &Path) -> Result<Identities, Error> {
        let wrong = |source| Error::Keys { path: path.to_owned(), source };
        let file = IdentityFile::from_buffer(read_keys(path)?.as_bytes()).map_err(wrong)?;
        let keys = file.into_identities()?;
        if keys.is_empty() { Err(Error::NoKeys(path.to_owned())) } else { Ok(Identities { keys }) }
    }

    /// The content of what is sealed. Reading it fails where the bytes were changed or cut off.
    ///
    /// # Errors
    /// It is not sealed, or not for one of these keys.
    pub fn open<R: Read>(&self, sealed: R) -> Result<impl Read + use<R>, Error> {
        let keys = self.keys.iter().map(|key| key.as_ref() as &dyn Identity);
        Ok(Decryptor::new(sealed)?.decrypt(keys)?)
    }
}

fn read_keys(path: &Path) -> Result<String, Error> {
    let wrong = |source| Error::Keys { path: path.to_owned(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(wrong)?;
    file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text).map_err(wrong)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use age::secrecy::ExposeSecret;
    use std::fs;

    fn keys(dir: &Path) -> (PathBuf, PathBuf) {
        let key = age::x25519::Identity::generate();
        let (secret, public) = (dir.join("secret"), dir.join("public"));
        fs::write(&secret, format!("# mine\n{}\n", key.to_string().expose_secret())).unwrap();
        fs::write(&public, format!("# theirs\n\n{}\n", key.to_public())).unwrap();
        (secret, public)
    }

    #[test]
    fn only_the_recipient_opens_and_only_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (secret, public) = keys(dir.path());
        let mut sealed = Vec::new();
        let mut writer = Recipients::read(&public).unwrap().seal(&mut sealed).unwrap();
        writer.write_all(&[7; 200_000]).unwrap();
        writer.finish().unwrap();

        let open = |sealed: &[u8]| {
            let mut content = Vec::new();
            let identities = Identities::read(&secret).unwrap();
            identities.open(sealed).unwrap().read_to_end(&mut content).map(|_| content)
        };
        assert_eq!(open(&sealed).unwrap(), [7; 200_000]);
        open(&sealed[..100_000]).unwrap_err();
        let middle = sealed.len() / 2;
        sealed[middle] ^= 1;
        open(&sealed).unwrap_err();

        let (stranger, _) = keys(dir.path());
        let error = Identities::read(&stranger).unwrap().open(sealed.as_slice()).err().unwrap();
        assert!(
            error.to_string().starts_with("cannot open what is sealed: No matching keys"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_key_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let recipients = |text: &str| {
            fs::write(&path, text).unwrap();
            Recipients::read(&path).err().unwrap().to_string()
        };
        assert!(recipients("\nssh-ed25519 AAAA\n").contains("keys line 2 is no X25519 recipient"));
        assert!(recipients("# nothing\n").contains("no key in"));
        assert!(matches!(Identities::read(&path), Err(Error::NoKeys(_))));
        fs::write(&path, "nonsense").unwrap();
        assert!(matches!(Identities::read(&path), Err(Error::Keys { .. })));
        assert!(matches!(Identities::read(&dir.path().join("none")), Err(Error::Keys { .. })));
    }
}
