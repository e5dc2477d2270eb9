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

/// All processes but this one and the first.
fn processes() -> impl Iterator<Item = Pid> {
    let me = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // 1 holds the namespace together.
    pids.filter(move |pid| *pid != me && *pid != 1).map(|pid| Pid::from_raw(pid as i32))
}

/// The processes that have `ancestor` above them.
pub fn descendants(ancestor: Pid) -> Vec<Pid> {
    let parents: Vec<(Pid, Pid)> = processes().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(above) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

fn parent(pid: Pid) -> Option<Pid> {
    number(&status(pid), "PPid:").map(|number| Pid::from_raw(number as i32))
}

/// What the kernel says of a process; nothing of one that is gone.
fn status(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default()
}

/// One number of a process's status.
fn number(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What processes hold in memory together, shared memory counted for each that has touched it.
pub fn resident_bytes(of: &[Pid]) -> u64 {
    let kib = |pid: &Pid| {
        let status = status(*pid);
        ["RssAnon:", "RssShmem:"].iter().filter_map(|name| number(&status, name)).sum::<u64>()
    };
    of.iter().map(kib).sum::<u64>() << 10
}

/// Whether a compiler is at work among these.
pub fn compiles(of: &[Pid]) -> bool {
    const COMPILERS: [&str; 10] =
        ["cc1", "cc1plus", "as", "ld", "collect2", "gcc", "g++", "cc", "c++", "clang"];
    let name = |pid: &Pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    of.iter().any(|pid| COMPILERS.contains(&name(pid).trim()))
}
