//! What a pack's name says about it.

use super::Options;
use super::walk::Tree;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What an archive is compressed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Nothing: fastest where the network is.
    #[default]
    None,
    /// gzip, level 6, which any host can unpack by hand.
    Gzip,
    /// Zstandard, level 3.
    Zstd,
}

/// How a pack is made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// A tar archive; otherwise a single file as it is.
    pub archive: bool,
    /// What the archive is compressed with.
    pub compression: Compression,
    /// Sealed for recipients.
    pub sealed: bool,
}

const ENDINGS: [(&[u8], Compression); 3] =
    [(b".tar", Compression::None), (b".tar.gz", Compression::Gzip), (b".tar.zst", Compression::Zstd)];

impl Form {
    /// Reads a pack's name.
    pub fn of(file_name: &OsStr) -> Form {
        let name = file_name.as_bytes();
        let (name, sealed) = match name.strip_suffix(b".age") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let ending = ENDINGS.iter().find(|(ending, _)| name.ends_with(ending));
        let compression = ending.map_or(Compression::None, |(_, compression)| *compression);
        Form { archive: ending.is_some(), compression, sealed }
    }

    /// A file stays as it is where nothing else is asked and its own name would not be taken for another
    /// form's: `nums.csv` does, `backup.tar` is wrapped (and hidden files, among which are the store's own).
    pub(super) fn choose(tree: &Tree, options: &Options) -> Form {
        let name = OsStr::from_bytes(tree.items.first().map_or(b"", |item| &item.path));
        let own = Form::of(name);
        let plain = tree.is_file()
            && !options.archive
            && options.compression == Compression::None
            && !own.archive
            && !own.sealed
            && !name.as_bytes().starts_with(b".")
            && !name.as_bytes().ends_with(b".stamp");
        Form { archive: !plain, compression: options.compression, sealed: options.recipients.is_some() }
    }

    /// The name of the pack of the image `image`, or of the single file `own`.
    pub(super) fn file_name(&self, image: &OsStr, own: Option<&OsStr>) -> OsString {
        let mut name = match own {
            Some(own) if !self.archive => own.as_bytes().to_vec(),
            _ => image.as_bytes().to_vec(),
        };
        let ending = ENDINGS.iter().find(|(_, compression)| *compression == self.compression);
        if let Some((ending, _)) = ending.filter(|_| self.archive) {
            name.extend(*ending);
        }
        if self.sealed {
            name.extend(b".age");
        }
        OsString::from_vec(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_how_a_pack_is_made_up() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            for sealed in [false, true] {
                let form = Form { archive: true, compression, sealed };
                let name = form.file_name(OsStr::new("web"), None);
                assert_eq!(Form::of(&name), form, "{name:?}");
            }
        }
        let plain = Form { archive: false, compression: Compression::None, sealed: true };
        assert_eq!(plain.file_name(OsStr::new("web"), Some(OsStr::new("nums.csv"))), "nums.csv.age");
        assert_eq!(Form::of(OsStr::new("nums.csv.age")), plain);
        assert_eq!(Form::of(OsStr::new("nums.csv")), Form { sealed: false, ..plain });
    }
}
