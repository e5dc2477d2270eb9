//! Datasets and checkpoints: a course program that is to use them becomes the `offload` command beside it.
//!
//! The five programs know nothing of torrents or parity, so that they stay small. Where `offload.toml` or a
//! `nums.csv.torrent` asks for a dataset, or `offload.toml` for checkpoints, the process replaces itself, before
//! it has shown anything, by `offload client` or `offload backend`, which shows the same screens. What is left
//! out: datasets and checkpoints.

use super::roles::Error;
use crate::config::Config;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The numbers of a client.
pub const NUMBERS: &str = "nums.csv";
/// What stands for them where a dataset is to be staged.
pub const TORRENT: &str = "nums.csv.torrent";
const COMMAND: &str = "offload";

/// The dataset that this process is to use: as configured, or the torrent in one of these places. A client
/// that has numbers there uses them, unless a dataset is configured.
pub fn dataset(config: &Config, places: &[PathBuf], has_numbers: bool) -> Option<String> {
    let first = |name: &str| places.iter().map(|place| place.join(name)).find(|path| path.exists());
    let numbers = if has_numbers { first(NUMBERS) } else { None };
    let beside = || first(TORRENT).filter(|_| numbers.is_none());
    config.dataset.clone().or_else(|| beside().map(|path| path.display().to_string()))
}

/// Becomes `offload client FUNCTION` where a dataset is to be used; else nothing happens.
///
/// # Errors
/// When it is to be used and that command is not there.
pub fn hand_over_client(config: &Config, places: &[PathBuf], function: &str) -> Result<(), Error> {
    let wanted = dataset(config, places, true).map(|dataset| format!("the dataset {dataset}"));
    hand_over(wanted, places, &["client", &function.to_lowercase()])
}

/// Becomes `offload backend NAME` where a dataset is to be used, or checkpoints are to be taken; else nothing
/// happens.
///
/// # Errors
/// When it is to be used and that command is not there.
pub fn hand_over_backend(config: &Config, places: &[PathBuf], name: &str) -> Result<(), Error> {
    let checkpoint = || config.checkpoint.then(|| "checkpoint = true".to_owned());
    let wanted = dataset(config, places, false).map(|dataset| format!("the dataset {dataset}"));
    hand_over(wanted.or_else(checkpoint), places, &["backend", name])
}

fn hand_over(wanted: Option<String>, places: &[PathBuf], args: &[&str]) -> Result<(), Error> {
    let Some(wanted) = wanted else { return Ok(()) };
    // The first place is beside the binary.
    let command = places.first().map_or(Path::new(""), PathBuf::as_path).join(COMMAND);
    let source = Command::new(&command).args(args).exec();
    Err(Error::NoCommand { wanted, command, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FILE_NAME;
    use std::fs;

    fn configured(here: &Path, toml: &str) -> Config {
        fs::write(here.join(FILE_NAME), toml).unwrap();
        Config::load(&[here.to_owned()]).unwrap()
    }

    #[test]
    fn what_is_configured_comes_first_then_a_clients_numbers_then_the_torrent() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (here, there) = (here.path(), there.path());
        let places = [here.to_owned(), there.to_owned()];
        let config = Config::load(&[]).unwrap();
        assert_eq!(dataset(&config, &places, true), None);
        assert_eq!(dataset(&config, &places, false), None);
        fs::write(there.join(TORRENT), "d").unwrap();
        let torrent = Some(there.join(TORRENT).display().to_string());
        assert_eq!(dataset(&config, &places, true), torrent);
        fs::write(here.join(NUMBERS), "1\n").unwrap();
        assert_eq!(dataset(&config, &places, true), None);
        assert_eq!(dataset(&config, &places, false), torrent);
        let config = configured(here, "dataset = \"big.torrent\"");
        let big = Some(here.join("big.torrent").display().to_string());
        assert_eq!(dataset(&config, &places, true), big);
        assert_eq!(dataset(&config, &places, false), big);
    }

    #[test]
    fn without_the_command_one_line_says_what_to_do() {
        let here = tempfile::tempdir().unwrap();
        let config = configured(here.path(), "dataset = \"big.torrent\"");
        let places = [here.path().to_owned()];
        for outcome in
            [hand_over_client(&config, &places, "SUM"), hand_over_backend(&config, &places, "A")]
        {
            let text = outcome.unwrap_err().to_string();
            assert!(text.contains("big.torrent") && text.contains("make suite"), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
        let config = configured(here.path(), "checkpoint = true");
        let text = hand_over_backend(&config, &places, "A").unwrap_err().to_string();
        assert!(text.contains("checkpoint = true") && text.contains("make suite"), "{text}");
        assert!(hand_over_client(&config, &places, "SUM").is_ok());
        let plain = Config::load(&[]).unwrap();
        assert!(hand_over_backend(&plain, &places, "A").is_ok());
        assert!(hand_over_client(&plain, &places, "SUM").is_ok());
    }
}
