//! The bootstrap bundle: the `offload` command itself, for hosts that have nothing yet.
//!
//! The lesson (the paper's "boel_binaries"): what stages an image must run before there is a system, so it
//! is one program that needs no other file: no libraries, no loader. The loader's name stands in an ELF
//! program header (PT_INTERP); where that is absent the kernel starts the program by itself.
//!
//! Left out: building it. `tar` and `gzip`, which every rescue system has, unpack the bundle.

use super::pack::{self, Compression, Options, Packed, Progress};
use crate::limits::MAX_PROGRAM_HEADERS;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

const PT_INTERP: u64 = 3;
const ET_EXEC: u64 = 2;
const ET_DYN: u64 = 3;

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller's: it cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The program.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The caller's: it would not run elsewhere.
    #[error("{} cannot be the bootstrap program: {why}", path.display())]
    Unfit {
        /// The program.
        path: PathBuf,
        /// Why.
        why: Unfit,
    },
    /// Packing failed.
    #[error(transparent)]
    Pack(#[from] pack::Error),
}

/// Why a file is no program that runs by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Not a file.
    #[error("it is no file")]
    NoFile,
    /// Not executable.
    #[error("nobody may execute it: chmod +x")]
    Mode,
    /// No ELF, or a damaged one.
    #[error("it is no sound ELF executable")]
    NotElf,
    /// It needs a loader and libraries.
    #[error("it is linked dynamically: take offload-static, which `make static` builds")]
    Dynamic,
}

/// Packs the static program at `executable` into the directory `to`, as [`pack::pack`] does.
///
/// # Errors
/// See [`Error`].
pub fn pack(executable: &Path, to: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Packed, Error> {
    check(executable)?;
    let options = Options { compression: Compression::Gzip, archive: true, recipients: None };
    Ok(pack::pack(executable, to, &options, progress)?)
}

fn check(path: &Path) -> Result<(), Error> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    let unfit = |why| Error::Unfit { path: path.to_owned(), why };
    let meta = path.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(unfit(Unfit::NoFile));
    }
    let file = File::open(path).map_err(unreadable)?;
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(unfit(Unfit::Mode));
    }
    match needs_loader(&file) {
        Ok(Some(false)) => Ok(()),
        Ok(Some(true)) => Err(unfit(Unfit::Dynamic)),
        Ok(None) => Err(unfit(Unfit::NotElf)),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(unfit(Unfit::NotElf)),
        Err(e) => Err(unreadable(e)),
    }
}

/// Does this executable name a loader? `None` where it is none.
fn needs_loader(file: &File) -> io::Result<Option<bool>> {
    let mut head = [0; 64];
    // The shortest header is 52 bytes, and a program has more than 64.
    file.read_exact_at(&mut head, 0)?;
    let (wide, big) = (head[4] == 2, head[5] == 2);
    if !head.starts_with(b"\x7fELF") || !matches!(head[4], 1 | 2) || !matches!(head[5], 1 | 2) {
        return Ok(None);
    }
    // Field offsets of the two classes (elf(5)): type, entry, program headers, their size and number.
    let (entry, table, entry_bytes, count) = if wide {
        (number(&head[24..32], big), number(&head[32..40], big), &head[54..56], &head[56..58])
    } else {
        (number(&head[24..28], big), number(&head[28..32], big), &head[42..44], &head[44..46])
    };
    let (entry_bytes, count) = (number(entry_bytes, big), number(count, big));
    let kind = number(&head[16..18], big);
    // A library is ET_DYN, too, but starts nowhere.
    let starts = matches!(kind, ET_EXEC | ET_DYN) && entry != 0;
    let fits = (1..=u64::from(MAX_PROGRAM_HEADERS)).contains(&count)
        && entry_bytes == if wide { 56 } else { 32 };
    if !starts || !fits {
        return Ok(None);
    }
    for index in 0..count {
        let Some(at) = table.checked_add(index * entry_bytes).filter(|at| *at < 1 << 62) else {
            return Ok(None);
        };
        let mut kind = [0; 4];
        file.read_exact_at(&mut kind, at)?;
        if number(&kind, big) == PT_INTERP {
            return Ok(Some(true));
        }
    }
    Ok(Some(false))
}

fn number(field: &[u8], big: bool) -> u64 {
    let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    if big { field.iter().fold(0, add) } else { field.iter().rev().fold(0, add) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// An executable of one program header.
    fn elf(program_header: u8, kind: u8) -> Vec<u8> {
        let mut elf = vec![0; 64 + 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[16] = kind;
        elf[25] = 0x10;
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64] = program_header;
        elf
    }

    #[test]
    fn only_what_runs_by_itself_is_bundled() {
        let dir = tempfile::tempdir().unwrap();
        let (program, to) = (dir.path().join("offload"), dir.path().join("store/bootstrap"));
        let bundle = |content: &[u8], mode| {
            let _ = fs::remove_file(&program);
            fs::write(&program, content).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
            pack(&program, &to, &mut |_| {})
        };
        let why = |content: &[u8], mode| match bundle(content, mode) {
            Err(Error::Unfit { why, .. }) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(&elf(3, 2), 0o755), Unfit::Dynamic);
        assert_eq!(why(&elf(1, 2), 0o644), Unfit::Mode);
        assert_eq!(why(b"#!/bin/sh\n", 0o755), Unfit::NotElf);
        assert_eq!(why(&elf(1, 2)[..63], 0o755), Unfit::NotElf);
        assert_eq!(why(&elf(1, 1), 0o755), Unfit::NotElf, "an object file");
        let mut far = elf(1, 2);
        far[32..40].fill(0xff);
        assert_eq!(why(&far, 0o755), Unfit::NotElf);
        assert!(matches!(
            pack(dir.path(), &to, &mut |_| {}),
            Err(Error::Unfit { why: Unfit::NoFile, .. })
        ));
        assert!(matches!(pack(&to.join("none"), &to, &mut |_| {}), Err(Error::Unreadable { .. })));

        let packed = bundle(&elf(1, 2), 0o755).unwrap();
        assert_eq!((packed.entries, packed.file), (1, to.join("bootstrap.tar.gz")));
    }

    #[test]
    fn a_program_of_this_system_is_dynamic() {
        assert!(matches!(check(Path::new("/bin/sh")), Err(Error::Unfit { why: Unfit::Dynamic, .. })));
    }
}
