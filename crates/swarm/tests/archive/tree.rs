//! A tree with one of everything, and a tree as text to compare.

use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes a file with holes and `pages` pages of data in it.
pub fn make_sparse(path: &Path, size: u64, pages: u64) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for page in 0..pages {
        file.write_all_at(&[(page % 200) as u8 + 1; 4096], (page * 5 + 1) * 4096).unwrap();
    }
}

/// Makes the same tree, its entries in one order or the reverse.
pub fn make_tree(root: &Path, reversed: bool) {
    let long = ["long/", &"x".repeat(180), "/", &"y".repeat(200)].concat();
    let mut files: Vec<(&OsStr, Vec<u8>)> = vec![
        ("etc/passwd".as_ref(), b"root:x:0:0".to_vec()),
        ("etc-before-slash".as_ref(), vec![]),
        ("usr/bin/program".as_ref(), (0..300_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect()),
        ("zeros".as_ref(), vec![0; 20_000]),
        (long.as_ref(), b"long".to_vec()),
        (OsStr::from_bytes(b"not-\xff-text\n"), b"bytes".to_vec()),
    ];
    if reversed {
        files.reverse();
    }
    for (name, content) in &files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
    }
    fs::create_dir_all(root.join("empty/inner")).unwrap();
    make_sparse(&root.join("sparse"), 1_000_001, 30);
    make_sparse(&root.join("sparse-to-the-end"), 24_576, 1);
    symlink("../nowhere/ünicode", root.join("usr/dangling")).unwrap();
    symlink("x".repeat(300), root.join("usr/long")).unwrap();
    symlink("/etc", root.join("absolute")).unwrap();
    fs::hard_link(root.join("usr/bin/program"), root.join("usr/bin/again")).unwrap();
    fs::hard_link(root.join("usr/dangling"), root.join("usr/dangling2")).unwrap();
    mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    for (name, value) in
        [("user.note", &b"two\nlines\0"[..]), ("user.a=b%", b""), ("user.zz", &[7; 2000])]
    {
        xattr::set(root.join("etc/passwd"), name, value).unwrap();
    }
    xattr::set(root.join("etc"), "user.directory", b"yes").unwrap();
    let mut modes = vec![("usr/bin/program", 0o711), ("empty/inner", 0o500), ("fifo", 0o606)];
    if is_root() {
        make_privileged(root);
        // Only root may keep the first two; GNU tar needs it to set attributes on the third.
        modes.extend([("usr/bin/program", 0o4711), ("empty", 0o2751), ("etc/passwd", 0o400)]);
    }
    for (name, mode) in modes {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    set_times(root);
}

fn make_privileged(root: &Path) {
    let device = |name: &str, kind, major, minor| {
        let device = rustix::fs::makedev(major, minor);
        mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o660), device).unwrap();
    };
    device("null", FileType::CharacterDevice, 1, 3);
    device("high", FileType::CharacterDevice, 511, 1_000_000);
    device("disk", FileType::BlockDevice, 8, 17);
    std::os::unix::fs::chown(root.join("usr/bin/program"), Some(12), Some(3_000_000)).unwrap();
    std::os::unix::fs::lchown(root.join("usr/dangling"), Some(4_000_000_000), Some(7)).unwrap();
    std::os::unix::fs::chown(root.join("empty"), Some(1000), Some(1000)).unwrap();
    // CAP_NET_RAW, permitted and effective (capabilities(7): version 2).
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr::set(root.join("etc-before-slash"), "security.capability", &capability).unwrap();
    // A POSIX ACL: user::rw, user:12:r, group::r, mask::r, other::- (acl(5)).
    let entries =
        [(1u16, 6u16, u32::MAX), (2, 4, 12), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        acl.extend(tag.to_le_bytes());
        acl.extend(rights.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    xattr::set(root.join("zeros"), "system.posix_acl_access", &acl).unwrap();
}

/// Gives each entry its own time, the inner ones first.
fn set_times(root: &Path) {
    let mut paths: Vec<PathBuf> = snapshot(root).into_keys().map(|name| root.join(name)).collect();
    paths.sort();
    for (index, path) in paths.iter().enumerate().rev() {
        let before_1970 = path.ends_with("etc-before-slash");
        let offset = Duration::new(1_000_000_000 + index as u64, 123_456_789 - index as u32);
        let time =
            if before_1970 { UNIX_EPOCH - Duration::from_millis(1500) } else { UNIX_EPOCH + offset };
        let since = time.duration_since(UNIX_EPOCH);
        let (seconds, nanos) =
            since.map_or((-2, 500_000_000), |t| (t.as_secs() as i64, t.subsec_nanos().into()));
        let times = rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
            last_modification: rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanos },
        };
        rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// What one entry shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    stat: String,
    mtime: (i64, i64),
    content: Vec<u8>,
    xattrs: Vec<(OsString, Vec<u8>)>,
    same_as: Option<PathBuf>,
}

impl Shown {
    /// Keeps what the simplest archives hold.
    pub fn forget_fine(&mut self) {
        self.mtime.1 = 0;
        self.xattrs.clear();
    }
}

/// All entries below `root`, itself included, by path.
pub fn snapshot(root: &Path) -> BTreeMap<PathBuf, Shown> {
    let mut found = BTreeMap::new();
    let mut first = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(name) = waiting.pop() {
        let path = root.join(&name);
        let path = if name.as_os_str().is_empty() { root.to_owned() } else { path };
        let meta = fs::symlink_metadata(&path).unwrap();
        let mut same_as = None;
        if meta.is_dir() {
            let mut children: Vec<_> = fs::read_dir(&path)
                .unwrap()
                .map(|child| name.join(child.unwrap().file_name()))
                .collect();
            children.sort();
            waiting.extend(children.into_iter().rev());
        } else {
            same_as = first.insert(meta.ino(), name.clone());
        }
        let kind = meta.file_type();
        let content = if kind.is_file() {
            fs::read(&path).unwrap()
        } else if kind.is_symlink() {
            fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else {
            assert!(kind.is_dir() || kind.is_fifo() || kind.is_char_device() || kind.is_block_device());
            Vec::new()
        };
        let mut xattrs: Vec<_> = xattr::list(&path)
            .unwrap()
            .map(|key| (key.clone(), xattr::get(&path, &key).unwrap().unwrap()))
            .collect();
        xattrs.sort();
        let stat = format!("{:o} {} {} {:x}", meta.mode(), meta.uid(), meta.gid(), meta.rdev());
        let mtime = (meta.mtime(), meta.mtime_nsec());
        found.insert(name, Shown { stat, mtime, content, xattrs, same_as });
    }
    found
}
