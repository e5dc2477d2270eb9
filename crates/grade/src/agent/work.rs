//! The folder that a submission is built and run in, and the processes that come of it.

use super::{MARK, Settings};
use nix::unistd::{Gid, Pid, Uid, chown};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Libraries of SunOS that Linux has in its C library.
const SUN_LIBRARIES: [&str; 4] = ["socket", "nsl", "resolv", "xnet"];
/// An archive with nothing in it, as ar(5) describes it.
const EMPTY_ARCHIVE: &[u8] = b"!<arch>\n";

/// Makes `to` an exact copy of `from`; whatever was in `to` is gone.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    empty(to)?;
    copy_into(from, to)
}

/// Removes what is in a folder. What is busy or forbidden is the submission's own doing, and stays.
fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let _stays =
            if entry.file_type()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
    Ok(())
}

fn copy_into(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fs::create_dir_all(&target)?;
            copy_into(&path, &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&path)?, &target)?;
        } else {
            fs::copy(&path, &target)?;
            let mode = fs::metadata(&path)?.permissions().mode() | 0o600;
            fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

/// Puts an empty library into `folder` for each SunOS library that the Makefile of `work` links and this
/// system lacks; returns their names.
pub fn stand_ins(work: &Path, folder: &Path) -> io::Result<Vec<String>> {
    fs::create_dir_all(folder)?;
    let makefile = ["GNUmakefile", "makefile", "Makefile"]
        .iter()
        .find_map(|name| fs::read(work.join(name)).ok())
        .unwrap_or_default();
    let makefile = String::from_utf8_lossy(&makefile);
    let wanted = |name: &&&str| {
        let flag = format!("-l{name}");
        makefile.split_whitespace().any(|word| word == flag)
    };
    let names: Vec<String> =
        SUN_LIBRARIES.iter().filter(wanted).map(|name| (*name).to_owned()).collect();
    for name in &names {
        // The linker looks here last: a real library of that name wins.
        fs::write(folder.join(format!("lib{name}.a")), EMPTY_ARCHIVE)?;
    }
    Ok(names)
}

/// Makes everything in `folder` the user's.
pub fn give(folder: &Path, uid: u32) -> io::Result<()> {
    let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)));
    chown(folder, user, group)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give(&entry.path(), uid)?;
        } else if entry.file_type()?.is_file() {
            chown(&entry.path(), user, group)?;
        }
    }
    Ok(())
}

/// What a program of the submission finds in its environment: as little as a login on nunki would give.
pub fn environment(settings: &Settings) -> Vec<(String, String)> {
    let work = settings.work.display().to_string();
    let stand_ins = settings.stand_ins.display().to_string();
    [
        ("HOME", work.as_str()),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("LANG", "C.UTF-8"),
        ("TERM", "dumb"),
        ("USER", "student"),
        ("LIBRARY_PATH", &stand_ins),
        (MARK, &settings.mark),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn processes() -> impl Iterator<Item = Pid> {
    let me = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // 1 holds the namespace together.
    pids.filter(move |pid| *pid != me && *pid != 1).map(|pid| Pid::from_raw(pid as i32))
}

/// Processes that carry `mark` in their environment, as all children of an agent do.
pub fn marked(mark: &str) -> Vec<Pid> {
    let entry = format!("{MARK}={mark}");
    let carries = |pid: &Pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|b| *b == 0).any(|word| word == entry.as_bytes())
    };
    processes().filter(carries).collect()
}

/// What the processes that `of` names hold in memory together.
pub fn resident_bytes(of: impl Fn(Pid) -> bool) -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let resident = |pid: Pid| -> Option<u64> {
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let mut words = statm.split_whitespace();
        let (resident, shared) =
            (words.nth(1)?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?);
        Some(resident.saturating_sub(shared) * PAGE_BYTES)
    };
    processes().filter(|pid| of(*pid)).filter_map(resident).sum()
}
