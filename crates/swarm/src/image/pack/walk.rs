//! All that is in a tree, in the order of the pack, as it is at this moment.

use super::Error;
use crate::image::archive::Moment;
use crate::image::pool::{self, MountPoint};
use crate::limits::{MAX_ENTRIES, MAX_TREE_DEPTH};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

/// Time stamps are as coarse as the kernel's tick, 10 ms at most; two of them, to be sure.
const RACY: Duration = Duration::from_millis(20);
/// File systems that the kernel makes up; their content is another host's own.
const KERNEL_FILE_SYSTEMS: [&str; 22] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

/// Part of the source that is not in the pack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct Skipped {
    /// What.
    pub path: PathBuf,
    /// Why.
    pub why: Why,
}

/// Why part of a source is not packed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// A socket: its program is not in the pack.
    #[error("a socket is not packed")]
    Socket,
    /// A file system of the kernel's, of this type.
    #[error("the content of a {0} is not packed")]
    KernelFileSystem(String),
    /// An extended attribute that may not be read.
    #[error("its attribute {0} cannot be read")]
    Attribute(String),
}

/// A source, sorted by the bytes of its names: a directory precedes what is in it, and nothing is between,
/// because GNU tar takes a directory for complete once it sees something else.
pub(super) struct Tree {
    root: PathBuf,
    pub items: Vec<Item>,
    pub skipped: Vec<Skipped>,
}

pub(super) struct Item {
    /// Below the source; `.` for itself, or the name of a single file.
    pub path: Vec<u8>,
    pub meta: Meta,
}

/// What a stat says and a stamp holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub dev: u64,
    pub ino: u64,
    /// Type and permissions.
    pub mode: u32,
    pub links: u64,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    pub disk_bytes: u64,
    pub mtime: (i64, i64),
    pub ctime: (i64, i64),
}

/// The order of paths: a slash ends a name, so it comes before whatever goes on.
fn names_first(path: &[u8]) -> impl Iterator<Item = u8> {
    path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte })
}

impl Meta {
    pub fn of(meta: &Metadata) -> Meta {
        // A directory's size is its file system's affair.
        let size = if meta.is_dir() { 0 } else { meta.size() };
        Meta {
            dev: meta.dev(),
            ino: meta.ino(),
            mode: meta.mode(),
            links: meta.nlink(),
            uid: meta.uid(),
            gid: meta.gid(),
            rdev: meta.rdev(),
            size,
            disk_bytes: meta.blocks() * 512,
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    pub fn mtime(&self) -> Moment {
        Moment { seconds: self.mtime.0, nanos: self.mtime.1 as u32 }
    }

    /// Is this the same content? Blocks are not compared: they are given late.
    pub fn is_same(&self, other: &Meta) -> bool {
        Meta { disk_bytes: 0, ..*self } == Meta { disk_bytes: 0, ..*other }
    }
}

/// Opens a directory that was seen before. Somebody may have put another, or a link, in its path or that of
/// one above it since: what lies there is not the tree's.
fn open_directory(place: &Path, seen: &Meta) -> Result<File, Error> {
    let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits() as i32;
    let opened = File::options().read(true).custom_flags(flags).open(place);
    let directory = match opened {
        Err(e)
            if [Errno::LOOP, Errno::NOTDIR]
                .map(Errno::raw_os_error)
                .map(Some)
                .contains(&e.raw_os_error()) =>
        {
            return Err(Error::Changed(place.to_owned()));
        }
        other => other.map_err(|source| Error::Source { path: place.to_owned(), source })?,
    };
    let meta =
        directory.metadata().map_err(|source| Error::Source { path: place.to_owned(), source })?;
    match (meta.dev(), meta.ino()) == (seen.dev, seen.ino) {
        true => Ok(directory),
        false => Err(Error::Changed(place.to_owned())),
    }
}

impl Tree {
    /// Lists what is at `root`, a canonical path.
    pub fn walk(root: &Path) -> Result<Tree, Error> {
        let unreadable = |path: &Path, source| Error::Source { path: path.to_owned(), source };
        let meta = fs::symlink_metadata(root).map_err(|e| unreadable(root, e))?;
        let mut tree = Tree { root: root.to_owned(), items: Vec::new(), skipped: Vec::new() };
        let name = match root.file_name() {
            Some(name) if meta.is_file() => name.as_bytes().to_vec(),
            _ if meta.is_dir() => b".".to_vec(),
            _ => return Err(Error::Neither(root.to_owned())),
        };
        tree.items.push(Item { path: name, meta: Meta::of(&meta) });
        let mut waiting = Vec::new();
        if meta.is_dir() {
            waiting.push((Vec::new(), 1, Meta::of(&meta)));
        }
        let mounts =
            pool::mount_points().map_err(|e| unreadable(Path::new("/proc/self/mountinfo"), e))?;
        while let Some((path, depth, seen)) = waiting.pop() {
            let place = root.join(OsStr::from_bytes(&path));
            if depth > MAX_TREE_DEPTH {
                let limit = MAX_TREE_DEPTH as u64;
                return Err(Error::TooMuch { path: place, what: "directories in one another", limit });
            }
            let directory = open_directory(&place, &seen)?;
            let children = fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()));
            for child in children.map_err(|e| unreadable(&place, e))? {
                let child = child.map_err(|e| unreadable(&place, e))?;
                let mut path = path.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend(child.file_name().as_bytes());
                // This does not follow symbolic links.
                let meta =
                    child.metadata().map_err(|e| unreadable(&place.join(child.file_name()), e))?;
                if tree.add(&path, &meta, seen.dev, &mounts)? {
                    waiting.push((path, depth + 1, Meta::of(&meta)));
                }
            }
        }
        // The root stays first, whatever its name.
        tree.items[1..].sort_unstable_by(|a, b| names_first(&a.path).cmp(names_first(&b.path)));
        Ok(tree)
    }

    /// Adds one entry; true where it is a directory to look into.
    fn add(
        &mut self,
        path: &[u8],
        meta: &Metadata,
        dev: u64,
        mounts: &[MountPoint],
    ) -> Result<bool, Error> {
        let place = self.root.join(OsStr::from_bytes(path));
        if meta.file_type().is_socket() {
            self.skipped.push(Skipped { path: place, why: Why::Socket });
            return Ok(false);
        }
        if self.items.len() as u64 >= MAX_ENTRIES {
            return Err(Error::TooMuch { path: self.root.clone(), what: "entries", limit: MAX_ENTRIES });
        }
        self.items.push(Item { path: path.to_vec(), meta: Meta::of(meta) });
        let kernel = (meta.is_dir() && meta.dev() != dev)
            .then(|| mounts.iter().find(|mount| mount.device == meta.dev()))
            .flatten()
            .filter(|mount| KERNEL_FILE_SYSTEMS.contains(&mount.file_system.as_str()));
        if let Some(mount) = kernel {
            let why = Why::KernelFileSystem(mount.file_system.clone());
            self.skipped.push(Skipped { path: place, why });
            // Not even its times, which are those of the last boot, nor its inode's number.
            if let Some(item) = self.items.last_mut() {
                item.meta = Meta { ino: 0, size: 0, mtime: (0, 0), ctime: (0, 0), ..item.meta };
            }
        }
        Ok(meta.is_dir() && kernel.is_none())
    }

    pub fn path_of(&self, item: &Item) -> PathBuf {
        if item.path == b"." || self.is_file() {
            return self.root.clone();
        }
        self.root.join(OsStr::from_bytes(&item.path))
    }

    pub fn is_file(&self) -> bool {
        self.items.first().is_some_and(|item| item.path != b".")
    }

    pub fn content_bytes(&self) -> u64 {
        self.items
            .iter()
            .filter(|item| item.meta.mode & 0o170_000 == 0o100_000)
            .map(|i| i.meta.size)
            .sum()
    }

    /// Waits until a later write to any file must give it a new time.
    pub fn settle(&self) {
        let newest = self.items.iter().map(|item| item.meta.ctime).max().unwrap_or_default();
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(newest.0), u32::try_from(newest.1)) else {
            return;
        };
        let newest = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        // A time to come says nothing about ticks: some clock was wrong.
        if let Ok(age) = SystemTime::now().duration_since(newest) {
            thread::sleep(RACY.saturating_sub(age));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_directory_that_is_swapped_in_the_middle_of_a_walk_is_not_looked_into() {
        let here = tempfile::tempdir().unwrap();
        let at = |name: &str| here.path().join(name);
        for name in ["tree/above/below", "other/below"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        let place = at("tree/above/below");
        let seen = Meta::of(&fs::symlink_metadata(&place).unwrap());
        assert!(open_directory(&place, &seen).is_ok());
        // Another directory by a link above it, a link in its own place, and a file.
        fs::rename(at("tree/above"), at("away")).unwrap();
        symlink(at("other"), at("tree/above")).unwrap();
        assert!(matches!(open_directory(&place, &seen), Err(Error::Changed(_))));
        fs::remove_dir(at("other/below")).unwrap();
        symlink(at("away/below"), at("other/below")).unwrap();
        assert!(matches!(open_directory(&place, &seen), Err(Error::Changed(_))));
        fs::remove_file(at("other/below")).unwrap();
        fs::write(at("other/below"), "").unwrap();
        assert!(matches!(open_directory(&place, &seen), Err(Error::Changed(_))));
    }
}
