//! A dataset's name: numbers that lie at the backends already, so that only their name need travel.
//!
//! The name is the info-hash of the torrent that brings them (BEP 3): 20 bytes that say which content, not
//! where it is. Who has the same name has the same numbers, in the same order. What is left out: how they
//! get to a backend (`crates/swarm`); to this package the name is opaque.

use std::fmt;

/// Which dataset.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Id(pub [u8; 20]);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_as_torrents_are() {
        let mut id = Id([0xa0; 20]);
        id.0[19] = 0x07;
        assert_eq!(id.to_string(), "a0".repeat(19) + "07");
        assert_eq!(format!("{id:?}"), id.to_string());
    }
}
