//! What lies in a folder that was taken in, never by way of a link out of it.

use super::no_wait;
use crate::limits::{ENTRIES, LOOKED_AT_BYTES};
use sha2::{Digest, Sha256};
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The innermost folder that holds all there is: archives are often of a folder, not of its content.
pub(super) fn root(into: &Path) -> io::Result<PathBuf> {
    let mut root = into.to_owned();
    loop {
        let mut entries = fs::read_dir(&root)?;
        match (entries.next().transpose()?, entries.next()) {
            (Some(only), None) if only.file_type()?.is_dir() => root = only.path(),
            _ => return Ok(root),
        }
    }
}

/// All files and links below `root`, relative to it, sorted; at most as many as a submission may have.
pub(crate) fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut seen = 0;
    let mut todo = vec![PathBuf::new()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            seen += 1;
            if seen > ENTRIES {
                break;
            }
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                todo.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The start of a file below `root` as text, whatever bytes it has; `None` if there is no such file.
/// A link is followed only to where `root` still holds it.
pub(crate) fn read_text(root: &Path, path: impl AsRef<Path>) -> Option<String> {
    let root = fs::canonicalize(root).ok()?;
    let real = fs::canonicalize(root.join(path)).ok()?;
    if !real.starts_with(&root) {
        return None;
    }
    let file = OpenOptions::new().read(true).custom_flags(no_wait()).open(real).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(LOOKED_AT_BYTES as u64).read_to_end(&mut bytes).ok()?;
    Some(decoded(&bytes))
}

/// Windows' editors write two bytes a character when they are asked for "Unicode".
fn decoded(bytes: &[u8]) -> String {
    let wide = |get: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|two| get([two[0], two[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match bytes {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// SHA-256 of all there is below `root`, the same wherever and whenever it lies there.
pub(super) fn fingerprint(root: &Path) -> io::Result<String> {
    let mut sum = Sha256::new();
    for path in files(root)? {
        let place = root.join(&path);
        let known = fs::symlink_metadata(&place)?;
        // Each part with its length before it: no two submissions give the same bytes.
        let mut part = |content: &[u8]| {
            sum.update((content.len() as u64).to_le_bytes());
            sum.update(content);
        };
        part(path.as_os_str().as_bytes());
        if known.is_symlink() {
            part(b"link");
            part(fs::read_link(&place)?.as_os_str().as_bytes());
        } else {
            part(if known.permissions().mode() & 0o111 == 0 { b"file" } else { b"tool" });
            part(&fs::read(&place)?);
        }
    }
    Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
