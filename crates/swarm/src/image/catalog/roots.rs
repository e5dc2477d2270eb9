//! The directories whose content may be published.

use super::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// Directories outside which nothing is published, however a path leads there.
#[derive(Clone, Debug)]
pub struct Roots(Vec<PathBuf>);

impl Roots {
    /// These directories.
    ///
    /// # Errors
    /// When one of them is none, or cannot be reached.
    pub fn new(directories: &[PathBuf]) -> Result<Roots, Error> {
        let full = |path: &PathBuf| {
            let full = fs::canonicalize(path).map_err(|e| Error::file(path, &e))?;
            let no = || Error::File { path: path.clone(), reason: "it is not a directory".to_owned() };
            if full.is_dir() { Ok(full) } else { Err(no()) }
        };
        directories.iter().map(full).collect::<Result<_, _>>().map(Roots)
    }

    /// The path with all links resolved, where that is below one of the directories or one itself. What is
    /// packed is read from the path returned, so that a link changed meanwhile leads nowhere else.
    ///
    /// # Errors
    /// [`Error::Outside`], or the path cannot be reached.
    pub fn admit(&self, path: &Path) -> Result<PathBuf, Error> {
        let full = fs::canonicalize(path).map_err(|e| Error::file(path, &e))?;
        if self.0.iter().any(|root| full.starts_with(root)) {
            return Ok(full);
        }
        let roots = self.0.iter().map(|root| root.display().to_string()).collect::<Vec<_>>();
        Err(Error::Outside { path: full, roots: roots.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_outside_the_roots_is_admitted() {
        let folder = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(folder.path()).unwrap();
        let at = |path: &str| base.join(path);
        for path in ["images/web", "images2", "secret"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        symlink("../secret", at("images/out")).unwrap();
        symlink("web", at("images/in")).unwrap();
        let roots = Roots::new(&[at("images")]).unwrap();
        assert_eq!(roots.admit(&at("images/web")), Ok(at("images/web")));
        assert_eq!(roots.admit(&at("images/in")), Ok(at("images/web")), "links inside are resolved");
        assert_eq!(roots.admit(&at("images/../images/web")), Ok(at("images/web")));
        for path in ["images2", "images/out", "images/../secret", "."] {
            let message = roots.admit(&at(path)).unwrap_err().to_string();
            assert!(message.contains("outside the directories that are published"), "{message}");
            assert!(message.contains(&at("images").display().to_string()), "{message}");
        }
        assert!(roots.admit(&at("gone")).unwrap_err().to_string().contains("No such file"));
        assert!(Roots::new(&[]).unwrap().admit(&at("images")).is_err(), "no roots, nothing");
        fs::write(at("file"), "").unwrap();
        assert!(Roots::new(&[at("file")]).is_err() && Roots::new(&[at("gone")]).is_err());
    }
}
