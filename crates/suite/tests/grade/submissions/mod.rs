//! Submissions that the autograder is tried on.
//!
//! The lesson: a grader is judged as a student is. So there is one flawless submission, and all others are
//! made from it by small edits: each [`Mutant`] has one defect, and says which points that defect costs and,
//! by saying nothing else, that it costs no more. Each [`Hostile`] one attacks the grader instead.
//!
//! The C sources are beside the grader; here are the edits. Left out: submissions of real students, which
//! are not ours to publish.

mod hostile;
mod mutants;

pub use hostile::HOSTILE;
pub use mutants::MUTANTS;

use std::fs;
use std::path::{Path, PathBuf};

/// The flawless submission. Its ID ends in 319.
pub const FLAWLESS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../grade/tests/submissions/flawless");

/// A check of the grader, the document's rule, and the points that it takes in the lenient reading and in
/// the strict one. Where a tier is not reached (rules 5 to 9) they are what is missing to what is left.
pub type Costs = (&'static str, u8, f64, f64);

/// The flawless submission with one defect.
pub struct Mutant {
    /// Short, of `a-z0-9-`.
    pub name: &'static str,
    /// The defect.
    pub what: &'static str,
    /// How it is planted, in order.
    pub edits: &'static [Edit],
    /// All that it costs.
    pub loses: &'static [Costs],
}

/// The flawless submission with an attack in it.
pub struct Hostile {
    /// Short, of `a-z-`.
    pub name: &'static str,
    /// What it tries.
    pub what: &'static str,
    /// How it is planted, in order; with `@DECOY_FILE@`, `@DECOY_PORT@`, `@DECOY_PID@`, `@PID_NAMESPACE@`.
    pub edits: &'static [Edit],
}

/// What a hostile submission is aimed at. All of it belongs to the test.
pub struct Decoys {
    /// A file with a secret, in a folder that the grader has no business in.
    pub file: PathBuf,
    /// A listener's port on loopback.
    pub port: u16,
    /// A process, as the test sees its number.
    pub pid: u32,
}

/// One change to a submission's folder.
pub enum Edit {
    /// Puts `to` for every `from`, of which there is at least one.
    Replace { file: &'static str, from: &'static str, to: &'static str },
    /// Removes a file that is there.
    Remove { file: &'static str },
    /// Renames a file that is there.
    Rename { file: &'static str, to: &'static str },
    /// Writes a new file, or an old one anew.
    Write { file: &'static str, text: &'static str },
}

/// Copies the flawless submission into the folder `into`, which is made where it is missing.
pub fn flawless(into: &Path) {
    fs::create_dir_all(into).unwrap();
    for entry in fs::read_dir(FLAWLESS).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), into.join(entry.file_name())).unwrap();
    }
}

/// Makes a mutant in the folder `into`. Panics where an edit finds nothing to change: then the flawless
/// submission has changed, and the edit has to follow.
pub fn make(mutant: &Mutant, into: &Path) {
    flawless(into);
    for edit in mutant.edits {
        apply(edit, mutant.name, into, str::to_owned);
    }
}

/// Makes a hostile submission in the folder `into`, aimed at these decoys.
pub fn make_hostile(hostile: &Hostile, into: &Path, decoys: &Decoys) {
    let file = decoys.file.to_str().unwrap();
    assert!(!file.contains(['"', '\\', '\n']), "{file} does not fit between quotes in C");
    let tree = fs::read_link("/proc/self/ns/pid").unwrap();
    let aim = |text: &str| {
        text.replace("@DECOY_FILE@", file)
            .replace("@DECOY_PORT@", &decoys.port.to_string())
            .replace("@DECOY_PID@", &decoys.pid.to_string())
            .replace("@PID_NAMESPACE@", tree.to_str().unwrap())
    };
    flawless(into);
    for edit in hostile.edits {
        apply(edit, hostile.name, into, aim);
    }
}

fn apply(edit: &Edit, name: &str, folder: &Path, fill: impl Fn(&str) -> String) {
    match *edit {
        Edit::Replace { file, from, to } => {
            let path = folder.join(file);
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{name}: {file} has no `{from}`");
            fs::write(&path, text.replace(from, &fill(to))).unwrap();
        }
        Edit::Remove { file } => fs::remove_file(folder.join(file)).unwrap(),
        Edit::Rename { file, to } => fs::rename(folder.join(file), folder.join(to)).unwrap(),
        Edit::Write { file, text } => fs::write(folder.join(file), fill(text)).unwrap(),
    }
}
