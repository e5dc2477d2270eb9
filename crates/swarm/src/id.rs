//! The two names of BEP 3: of a torrent and of a peer. Both are 20 bytes.

use offload::rng::Rng;
use std::fmt;
use std::str::FromStr;

/// SHA-1 of a torrent's info dictionary, byte for byte as it was published.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHash(pub [u8; 20]);

/// What a peer calls itself; it proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 20]);

impl PeerId {
    /// A name of this program (BEP 20: `-OF0010-` and 12 random bytes).
    pub fn random(rng: &mut Rng) -> PeerId {
        let mut id = *b"-OF0010-............";
        rng.fill(&mut id[8..]);
        PeerId(id)
    }
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InfoHash({self})")
    }
}

impl FromStr for InfoHash {
    type Err = ();

    /// 40 hexadecimal digits.
    fn from_str(text: &str) -> Result<InfoHash, ()> {
        let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8).ok_or(());
        let bytes: &[u8; 40] = text.as_bytes().try_into().map_err(|_| ())?;
        let mut hash = [0; 20];
        for (byte, pair) in hash.iter_mut().zip(bytes.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(InfoHash(hash))
    }
}

impl fmt::Display for PeerId {
    /// Printable characters as they are, others as dots.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
        self.0.iter().try_for_each(|byte| write!(f, "{}", shown(byte)))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_info_hash_reads_what_it_shows() {
        let hash = InfoHash(std::array::from_fn(|i| (i * 13) as u8));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for wrong in ["", "00", &"g".repeat(40), &"é".repeat(20), &"0".repeat(41)] {
            assert_eq!(wrong.parse::<InfoHash>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn a_peer_says_what_program_it_is() {
        let mut rng = Rng::from_seed(1);
        let (a, b) = (PeerId::random(&mut rng), PeerId::random(&mut rng));
        assert_ne!(a, b);
        assert!(a.to_string().starts_with("-OF0010-"));
    }
}
