//! Where symbolic links lead, found out on paper: before any of them is made.
//!
//! It is not enough to count the `..` in each target: `a/up -> ..` stays inside, and so does
//! `b -> a/up/..` by its text, but together they lead out. So each is followed as the kernel would.

use super::refusal::{Refusal, quoted};
use crate::limits::{LINK_HOPS, PATH_BYTES};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Refuses links of which one leads out of the folder that they are relative to, or nowhere.
pub(super) fn stay_inside(links: &HashMap<PathBuf, PathBuf>) -> Result<(), Refusal> {
    let mut sorted: Vec<_> = links.iter().collect();
    sorted.sort();
    for (path, target) in sorted {
        let (entry, to) = (quoted(path.as_os_str().as_bytes()), quoted(target.as_os_str().as_bytes()));
        match follow(path, links) {
            Way::Inside => {}
            Way::Out => return Err(Refusal::LinkOut { entry, target: to }),
            Way::Round => return Err(Refusal::LinkRound { entry, target: to }),
        }
    }
    Ok(())
}

enum Way {
    Inside,
    Out,
    Round,
}

enum Step<'a> {
    Up,
    Down(&'a OsStr),
}

/// Follows `path`, which may be a link or lie behind one.
fn follow(path: &Path, links: &HashMap<PathBuf, PathBuf>) -> Way {
    let Some(mut todo) = steps(path) else { return Way::Out };
    let mut at = PathBuf::new();
    let mut hops = 0;
    while let Some(step) = todo.pop() {
        match step {
            Step::Up => {
                if !at.pop() {
                    return Way::Out;
                }
            }
            Step::Down(name) => {
                at.push(name);
                if at.as_os_str().len() > 2 * PATH_BYTES {
                    return Way::Round;
                }
                if let Some(target) = links.get(&at) {
                    at.pop();
                    hops += 1;
                    if hops > LINK_HOPS {
                        return Way::Round;
                    }
                    let Some(more) = steps(target) else { return Way::Out };
                    todo.extend(more);
                }
            }
        }
    }
    Way::Inside
}

/// The steps of a path, the first one last; `None` for an absolute one.
fn steps(path: &Path) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    for part in path.components().rev() {
        match part {
            Component::Normal(name) => steps.push(Step::Down(name)),
            Component::ParentDir => steps.push(Step::Up),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(steps)
}
