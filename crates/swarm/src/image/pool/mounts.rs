//! What is mounted where: /proc/self/mountinfo (proc(5)).

use crate::limits::MAX_MOUNTINFO_BYTES;
use rustix::fs::makedev;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// Where.
    pub path: PathBuf,
    /// `st_dev` of what is in it.
    pub device: u64,
    /// Its type: `ext4`, `tmpfs`, ...
    pub file_system: String,
}

/// What is mounted, in the order in which it was.
///
/// # Errors
/// /proc is not mounted.
pub fn mount_points() -> io::Result<Vec<MountPoint>> {
    let mut text = Vec::new();
    File::open("/proc/self/mountinfo")?.take(MAX_MOUNTINFO_BYTES).read_to_end(&mut text)?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`, where the fields before the dash may
/// be more or fewer.
fn parse(line: &[u8]) -> Option<MountPoint> {
    let mut fields = line.split(|byte| *byte == b' ');
    let numbers = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = numbers.split_once(':')?;
    let device = makedev(major.parse().ok()?, minor.parse().ok()?);
    let path = PathBuf::from(OsString::from_vec(unescaped(fields.nth(1)?)));
    fields.find(|field| *field == b"-")?;
    let file_system = String::from_utf8_lossy(fields.next()?).into_owned();
    Some(MountPoint { path, device, file_system })
}

/// Space, tab, line feed and backslash stand as `\040` and the like.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = field;
    while let Some((first, others)) = rest.split_first() {
        let code = match rest {
            [b'\\', code @ ..] => code.get(..3).and_then(|code| std::str::from_utf8(code).ok()),
            _ => None,
        };
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = &rest[4..];
            }
            None => {
                plain.push(*first);
                rest = others;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_nonsense_is_not() {
        let line = br"36 35 98:0 /mnt1 /mnt\040two\134 rw,noatime master:1 - ext3 /dev/root rw";
        let path = PathBuf::from("/mnt two\\");
        let expected = MountPoint { path, device: makedev(98, 0), file_system: "ext3".to_owned() };
        assert_eq!(parse(line), Some(expected));
        for wrong in ["", "1 2 3 4", "36 35 98:x / /mnt - ext3", "36 35 98:0 / /mnt rw master:1"] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(mount_points().unwrap().iter().any(|point| point.path == *"/"));
    }
}
