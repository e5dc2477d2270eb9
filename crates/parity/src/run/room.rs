//! Is there memory for a run, before any of it is taken?
//!
//! The lesson: a system that promises more memory than it has ends processes when they touch it, in the middle of a
//! run, and again when they are started again. So what a run surely touches is held against what is left, first:
//! for each worker its state and the image of its last checkpoint, for each holder the parity. What is written
//! between two checkpoints comes on top, and is known to nobody yet.

use super::Error;
use std::fs;
use std::path::Path;

/// What members take.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub workers: u64,
    pub holders: u64,
    /// Bytes of a state.
    pub state: u64,
}

impl Room {
    /// # Errors
    /// [`Error::Memory`] where that is more than is left.
    pub fn check(&self) -> Result<(), Error> {
        match left() {
            Some((left, whose)) => self.check_against(left, whose),
            None => Ok(()),
        }
    }

    fn check_against(&self, left: u64, whose: &'static str) -> Result<(), Error> {
        let Room { workers, holders, state } = *self;
        let (worker, holder) = (2 * u128::from(state), u128::from(state));
        let needed = u128::from(workers) * worker + u128::from(holders) * holder;
        if needed <= u128::from(left) {
            return Ok(());
        }
        let mib = |bytes: u128| bytes.div_ceil(1 << 20) as u64;
        Err(Error::Memory {
            needed: mib(needed),
            left: left >> 20,
            whose,
            workers,
            worker: mib(worker),
            holders,
            holder: mib(holder),
        })
    }
}

/// Bytes that this process and its children may still take, and who says so; `None` where nobody does.
fn left() -> Option<(u64, &'static str)> {
    let host = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = cgroup(&own).and_then(|path| in_groups(Path::new("/sys/fs/cgroup"), path));
    let host = host.map(|left| (left, "this host has left (MemAvailable)"));
    host.into_iter().chain(group.map(|left| (left, "the control group allows (memory.max)"))).min()
}

fn available(meminfo: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The path of the control group in the unified hierarchy.
fn cgroup(own: &str) -> Option<&str> {
    own.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// The least that a group or one that it is in has left. What it caches of files can be had back.
fn in_groups(root: &Path, path: &str) -> Option<u64> {
    let inner = root.join(path);
    let groups = inner.ancestors().take_while(|group| group.starts_with(root));
    let left = |group: &Path| {
        let number = |name| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        let (most, used): (u64, u64) = (number("memory.max")?, number("memory.current")?);
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let cached = ["inactive_file ", "active_file "].iter().filter_map(|name| {
            stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        });
        Some(most.saturating_sub(used.saturating_sub(cached.sum())))
    };
    groups.filter_map(left).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_said_with_whose_it_is() {
        let room = Room { workers: 4, holders: 2, state: 100 << 20 };
        assert!(room.check_against(1000 << 20, "is left").is_ok());
        let error = room.check_against((1000 << 20) - 1, "this host has left").unwrap_err();
        assert_eq!(
            error.to_string(),
            "not enough memory: 4 workers need 200 MiB each (state and image) and 2 holders 100 MiB each (parity), 1000 \
             MiB in all and what is written between two checkpoints, and 999 MiB are all that this host has left: take a \
             smaller task, or allow it more"
        );
    }

    #[test]
    fn the_least_of_all_groups_counts() {
        let root = std::env::temp_dir().join(format!("parity-groups-{}", std::process::id()));
        let inner = root.join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let write = |path: &str, text: &str| fs::write(root.join(path), text).unwrap();
        write("a/b/memory.max", "max\n");
        write("a/b/memory.current", "5\n");
        write("a/memory.max", "1000\n");
        write("a/memory.current", "700\n");
        write("a/memory.stat", "anon 500\ninactive_file 150\nactive_file 50\n");
        assert_eq!(in_groups(&root, "a/b"), Some(500));
        write("a/b/memory.max", "100\n");
        assert_eq!(in_groups(&root, "a/b"), Some(95));
        assert_eq!(in_groups(&root, "c"), None);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(cgroup("1:cpu:/x\n0::/a/b\n"), Some("a/b"));
        assert_eq!(available("MemFree: 1 kB\nMemAvailable:   20 kB\n"), Some(20 << 10));
    }
}
