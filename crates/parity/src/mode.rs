//! The schemes that can be compared, by name.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How checkpoints of several workers fit together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// J. S. Plank's: all freeze until no message is in transit, and go on once all are checkpointed. Nothing
    /// is logged.
    Plank,
    /// The paper's, to the letter: each on its own, back to its own last checkpoint, messages by the tables.
    /// It loses messages and takes some twice; it is here to be studied.
    Enhanced,
    /// Ours: nobody freezes, all go back to the same checkpoint, and every message is taken once.
    #[default]
    Offload,
}

impl Mode {
    /// All of them, the oldest first.
    pub const ALL: [Mode; 3] = [Mode::Plank, Mode::Enhanced, Mode::Offload];

    /// As users write it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Plank => "n+1",
            Mode::Enhanced => "enhanced",
            Mode::Offload => "offload",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(name: &str) -> Result<Mode, String> {
        let found = Mode::ALL.into_iter().find(|mode| mode.name() == name);
        found.ok_or_else(|| format!("there is no mode {name}: it is n+1, enhanced or offload"))
    }
}
