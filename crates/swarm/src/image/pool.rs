//! Where a pack is staged while it comes and while it is served: the pool.
//!
//! The lesson (the paper, "Staging the image tarball"): a pack cannot be unpacked as it comes, since pieces
//! come in any order and must stay to be served. So it needs a place of its own: the RAM disk first, which
//! is fast and wears nothing out, then `/tmp`, then any mounted partition with room for it and 100 MiB to
//! spare. A RAM disk says how much it may hold, not how much memory there is: both must do.
//!
//! What is chosen depends on the survey alone, so that the same host chooses the same place. Left out:
//! file systems across a network, which the swarm is there to spare.

mod mounts;

pub use mounts::{MountPoint, mount_points};

use crate::limits::POOL_SPARE_BYTES;
use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags, accessat, statvfs};
use std::cmp::Reverse;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The RAM disks that systems mount for such use.
const RAM_DISKS: [&str; 2] = ["/dev/shm", "/run/shm"];
/// File systems on disks of this host that hold large files. `overlay` is a container's root.
const DISK_FILE_SYSTEMS: [&str; 12] = [
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "reiserfs", "xfs",
    "zfs",
];

/// A directory where something could be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory.
    pub path: PathBuf,
    /// Its file system, as `st_dev` has it.
    pub device: u64,
    /// It is kept in memory (tmpfs).
    pub in_memory: bool,
    /// May we write there?
    pub writable: bool,
    /// What it has room for.
    pub free_bytes: u64,
}

/// What a choice is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The place that the user names; then no other is looked at.
    pub explicit: Option<Place>,
    /// RAM disks and `/tmp`, in the order of preference.
    pub preferred: Vec<Place>,
    /// Mounted partitions, in any order.
    pub partitions: Vec<Place>,
    /// Where the pack will be unpacked.
    pub into: Option<Place>,
    /// Memory that programs may still take (`MemAvailable`).
    pub memory_bytes: u64,
}

/// Why nothing can be staged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host's, or what the user named.
    #[error("no place to stage {}: {}; name another with --staging", Bytes(*need_bytes), list(candidates))]
    NoPool {
        /// The pack's size.
        need_bytes: u64,
        /// Each place and what it lacks.
        candidates: Vec<Lacking>,
    },
    /// The host's: there will be no room for what is unpacked.
    #[error("no room to unpack {}: {lacking}; free some, or name another place with --into", Bytes(*need_bytes))]
    NoRoom {
        /// What is unpacked.
        need_bytes: u64,
        /// The place and what it lacks.
        lacking: Lacking,
    },
    /// This machine's: a place cannot be looked at.
    #[error("cannot look at {}: {source}", path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// A place and why it will not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The place.
    pub path: PathBuf,
    /// What it lacks.
    pub lack: Lack,
}

/// What a place lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Permission, or it is read-only.
    Writable,
    /// Room.
    Room {
        /// What there is.
        free_bytes: u64,
        /// What there must be.
        need_bytes: u64,
    },
    /// Memory behind the RAM disk.
    Memory {
        /// What there is.
        free_bytes: u64,
        /// What there must be.
        need_bytes: u64,
    },
}

impl Survey {
    /// Looks at this host: at `explicit` only where it is given, and at where the pack will be unpacked.
    /// Neither needs to exist yet.
    ///
    /// # Errors
    /// One of the two, or the kernel's tables, cannot be read. Other places that cannot are left out.
    pub fn take(explicit: Option<&Path>, into: Option<&Path>) -> Result<Survey, Error> {
        let points = mount_points().map_err(|source| Error::Unreadable {
            path: PathBuf::from("/proc/self/mountinfo"),
            source,
        })?;
        let given = |path: &Path| {
            place(path, &points).map_err(|source| Error::Unreadable { path: path.to_owned(), source })
        };
        let mut preferred: Vec<Place> = RAM_DISKS
            .iter()
            .filter_map(|path| place(Path::new(path), &points).ok())
            .filter(|place| place.in_memory)
            .collect();
        preferred.extend(place(Path::new("/tmp"), &points).ok());
        let mut partitions: Vec<Place> = Vec::new();
        // Mounts cover one another, and one file system may be seen at many points: the first is enough.
        for point in points.iter().filter(|p| DISK_FILE_SYSTEMS.contains(&p.file_system.as_str())) {
            if fs::metadata(&point.path).is_ok_and(|meta| meta.is_dir() && meta.dev() == point.device)
                && let Ok(place) = place(&point.path, &points)
                && !partitions.iter().any(|other| other.device == place.device && other.writable)
            {
                partitions.push(place);
            }
        }
        Ok(Survey {
            explicit: explicit.map(given).transpose()?,
            preferred,
            partitions,
            into: into.map(given).transpose()?,
            memory_bytes: memory_bytes()
                .map_err(|source| Error::Unreadable { path: PathBuf::from("/proc/meminfo"), source })?,
        })
    }

    /// All places in the order in which they are tried: an interrupted staging left its pieces in one.
    pub fn candidates(&self) -> Vec<&Place> {
        if let Some(explicit) = &self.explicit {
            return vec![explicit];
        }
        let mut partitions: Vec<&Place> = self.partitions.iter().collect();
        partitions.sort_by_key(|place| (Reverse(place.free_bytes), &place.path));
        self.preferred.iter().chain(partitions).collect()
    }

    /// The pool for `pack_bytes` bytes that are still to come, where `unpacked_bytes` more will be taken by
    /// what is unpacked; both count where they share a file system, or memory.
    ///
    /// # Errors
    /// [`Error::NoRoom`] where it cannot be unpacked whatever the pool, else [`Error::NoPool`].
    pub fn choose(&self, pack_bytes: u64, unpacked_bytes: u64) -> Result<&Path, Error> {
        if let Some(into) = &self.into
            && let Some(lack) = self.lack(into, unpacked_bytes, unpacked_bytes)
        {
            let lacking = Lacking { path: into.path.clone(), lack };
            return Err(Error::NoRoom { need_bytes: unpacked_bytes, lacking });
        }
        let mut candidates = Vec::new();
        for place in self.candidates() {
            let shares = |same: fn(&Place, &Place) -> bool| match &self.into {
                Some(into) if same(into, place) => unpacked_bytes,
                _ => 0,
            };
            let need = pack_bytes.saturating_add(POOL_SPARE_BYTES);
            let room = need.saturating_add(shares(|a, b| a.device == b.device));
            let memory = need.saturating_add(shares(|a, b| a.in_memory && b.in_memory));
            match self.lack(place, room, memory) {
                None => return Ok(&place.path),
                Some(lack) => candidates.push(Lacking { path: place.path.clone(), lack }),
            }
        }
        Err(Error::NoPool { need_bytes: pack_bytes, candidates })
    }

    fn lack(&self, place: &Place, room: u64, memory: u64) -> Option<Lack> {
        if !place.writable {
            Some(Lack::Writable)
        } else if place.free_bytes < room {
            Some(Lack::Room { free_bytes: place.free_bytes, need_bytes: room })
        } else if place.in_memory && self.memory_bytes < memory {
            Some(Lack::Memory { free_bytes: self.memory_bytes, need_bytes: memory })
        } else {
            None
        }
    }
}

/// Looks at `path`, or at what of it exists.
fn place(path: &Path, points: &[MountPoint]) -> io::Result<Place> {
    let absolute = std::path::absolute(path)?;
    let mut there = absolute.as_path();
    let meta = loop {
        match (fs::metadata(there), there.parent()) {
            (Err(e), Some(parent)) if e.kind() == io::ErrorKind::NotFound => there = parent,
            (meta, _) => break meta?,
        }
    };
    let room = statvfs(there)?;
    let device = meta.dev();
    let file_system = points.iter().find(|point| point.device == device);
    let access = accessat(CWD, there, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    Ok(Place {
        path: path.to_owned(),
        device,
        in_memory: file_system.is_some_and(|p| p.file_system == "tmpfs" || p.file_system == "ramfs"),
        writable: meta.is_dir() && access.is_ok() && !room.f_flag.contains(StatVfsMountFlags::RDONLY),
        free_bytes: room.f_bavail.saturating_mul(room.f_frsize),
    })
}

/// `MemAvailable` of /proc/meminfo.
fn memory_bytes() -> io::Result<u64> {
    let mut text = String::new();
    fs::File::open("/proc/meminfo")?.take(64 << 10).read_to_string(&mut text)?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib =
        line.and_then(|rest| rest.trim().strip_suffix(" kB")).and_then(|kib| kib.parse::<u64>().ok());
    // A kernel before 2014 does not say; then it is the RAM disk's word alone.
    Ok(kib.map_or(u64::MAX, |kib| kib.saturating_mul(1024)))
}

fn list(candidates: &[Lacking]) -> String {
    let shown: Vec<_> = candidates.iter().map(ToString::to_string).collect();
    if shown.is_empty() { "nothing is mounted".to_owned() } else { shown.join(", ") }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.lack {
            Lack::Writable => write!(f, "{path} is not writable"),
            Lack::Room { free_bytes, need_bytes } => {
                write!(f, "{path} has {} free of {}", Bytes(free_bytes), Bytes(need_bytes))
            }
            Lack::Memory { free_bytes, need_bytes } => {
                write!(
                    f,
                    "{path} is in memory, of which {} are free of {}",
                    Bytes(free_bytes),
                    Bytes(need_bytes)
                )
            }
        }
    }
}

/// Bytes as a person reads them.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.0 as f64 / (1 << 20) as f64;
        if mib < 1024.0 { write!(f, "{mib:.1} MiB") } else { write!(f, "{:.1} GiB", mib / 1024.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn place(path: &str, device: u64, free_mib: u64) -> Place {
        let in_memory = path.contains("shm");
        Place { path: path.into(), device, in_memory, writable: true, free_bytes: free_mib * MIB }
    }

    fn host() -> Survey {
        Survey {
            explicit: None,
            preferred: vec![place("/dev/shm", 1, 4000), place("/tmp", 2, 2000)],
            partitions: vec![place("/", 2, 2000), place("/data", 3, 9000), place("/a", 4, 9000)],
            into: None,
            memory_bytes: 3000 * MIB,
        }
    }

    #[track_caller]
    fn check(survey: &Survey, mib: u64, unpacked_mib: u64, expected: &str) {
        let chosen = survey.choose(mib * MIB, unpacked_mib * MIB);
        assert_eq!(chosen.map_or_else(|e| e.to_string(), |path| path.display().to_string()), expected);
    }

    #[test]
    fn the_ram_disk_comes_first_then_tmp_then_the_emptiest_partition() {
        check(&host(), 2900, 0, "/dev/shm");
        check(&host(), 1000, 0, "/dev/shm");
        let little_memory = Survey { memory_bytes: 1099 * MIB, ..host() };
        check(&little_memory, 1000, 0, "/tmp");
        check(&little_memory, 1901, 0, "/a");
        let shown: Vec<_> = host().candidates().iter().map(|p| p.path.display().to_string()).collect();
        assert_eq!(shown, ["/dev/shm", "/tmp", "/a", "/data", "/"]);
    }

    #[test]
    fn what_each_place_lacks_is_told() {
        let mut survey = host();
        survey.partitions.truncate(1);
        survey.partitions[0].writable = false;
        check(
            &survey,
            3000,
            0,
            "no place to stage 2.9 GiB: /dev/shm is in memory, of which 2.9 GiB are free of 3.0 GiB, \
             /tmp has 2.0 GiB free of 3.0 GiB, / is not writable; name another with --staging",
        );
    }

    #[test]
    fn the_users_choice_is_the_only_one() {
        let survey = Survey { explicit: Some(place("/mine", 9, 500)), ..host() };
        check(&survey, 400, 0, "/mine");
        check(
            &survey,
            401,
            0,
            "no place to stage 401.0 MiB: /mine has 500.0 MiB free of 501.0 MiB; name another with --staging",
        );
    }

    #[test]
    fn what_is_unpacked_counts_where_it_goes() {
        let survey = Survey { into: Some(place("/tmp/image", 2, 2000)), ..host() };
        check(&survey, 100, 2000, "/dev/shm");
        check(
            &survey,
            100,
            2001,
            "no room to unpack 2.0 GiB: /tmp/image has 2.0 GiB free of 2.0 GiB; free some, or name \
             another place with --into",
        );
        let survey = Survey { memory_bytes: 0, ..survey };
        check(&survey, 900, 1000, "/tmp");
        check(&survey, 901, 1000, "/a");
    }

    #[test]
    fn memory_holds_what_is_staged_and_what_is_unpacked_there() {
        let survey = Survey { into: Some(place("/dev/shm/image", 1, 4000)), ..host() };
        check(&survey, 900, 2000, "/dev/shm");
        check(&survey, 901, 2000, "/tmp");
    }

    #[test]
    fn this_host_can_be_surveyed() {
        let dir = tempfile::tempdir().unwrap();
        let (pool, into) = (dir.path().join("not/yet"), dir.path().join("image"));
        let survey = Survey::take(Some(&pool), Some(&into)).unwrap();
        assert_eq!(survey.choose(1, 1).unwrap(), pool);
        assert!(survey.into.is_some_and(|into| into.writable && into.free_bytes > 0));
        assert!(survey.memory_bytes > 0 && !survey.preferred.is_empty());
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let survey = Survey::take(Some(&file), None).unwrap();
        assert!(survey.choose(1, 0).unwrap_err().to_string().contains("file is not writable"));
    }
}
