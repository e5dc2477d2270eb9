//! The project's own files: all but what `.gitignore` names.

use std::path::{Path, PathBuf};

/// A text file, by its path from the root.
pub struct File {
    pub path: String,
    pub text: String,
}

impl File {
    /// `None` where it is not there or no text.
    pub fn read(at: &Path, path: &str) -> Option<File> {
        Some(File { path: path.to_owned(), text: std::fs::read_to_string(at).ok()? })
    }
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file, in the order of paths.
pub fn read_tree() -> Vec<File> {
    let ignored = std::fs::read_to_string(root().join(".gitignore")).expect(".gitignore");
    let ignored: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('/')).collect();
    let mut found = Vec::new();
    walk(&root(), "", &ignored, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(dir: &Path, prefix: &str, ignored: &[&str], found: &mut Vec<File>) {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    for entry in entries.flatten() {
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if path == ".git" || ignored.contains(&path.as_str()) || path.ends_with(".log") {
            continue;
        }
        if entry.path().is_dir() {
            walk(&entry.path(), &format!("{path}/"), ignored, found);
        } else {
            found.extend(File::read(&entry.path(), &path));
        }
    }
}
