//! The ways to notice a write, and which of them this machine has.
//!
//! The lesson: whether a mechanism works cannot be read off a version number. A kernel may have the call and a
//! sandbox forbid it, so each is tried on a few pages.

use super::{Error, Frozen, Live, Shadow};
use crate::limits::PAGE_BYTES;
use std::fmt;
use std::str::FromStr;

/// How writes are noticed. The costs are of a virtual machine of 2026.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// The kernel notes them by itself (userfaultfd's `WP_ASYNC`, read by `PAGEMAP_SCAN`; Linux 6.7): about 1 us
    /// a page.
    UserfaultAsync,
    /// A page is write-protected by userfaultfd and the first write is a SIGBUS, whose handler lets the page be
    /// written (Linux 5.14): about 5 us.
    UserfaultSignal,
    /// The same by mprotect and SIGSEGV, which every Unix has: about 15 us, and mappings, of which the kernel
    /// gives a process only so many.
    Protect,
    /// Nothing notices: the arena is compared with the shadow. Free to write, and 0.4 to 1 us for every page of
    /// the arena, dirty or not, in the pause and whenever dirty pages are counted.
    Compare,
}

impl Mechanism {
    /// All of them, the best first.
    pub const ALL: [Mechanism; 4] =
        [Mechanism::UserfaultAsync, Mechanism::UserfaultSignal, Mechanism::Protect, Mechanism::Compare];

    /// What a user calls it.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::UserfaultAsync => "userfaultfd-async",
            Mechanism::UserfaultSignal => "userfaultfd-signal",
            Mechanism::Protect => "mprotect",
            Mechanism::Compare => "compare",
        }
    }

    /// Tries each on a few pages, and says why where it does not work.
    pub fn available() -> [(Mechanism, Result<(), Error>); 4] {
        Mechanism::ALL.map(|mechanism| (mechanism, mechanism.tried()))
    }

    /// The first one that works.
    pub fn best() -> Mechanism {
        let works = |mechanism: &Mechanism| mechanism.tried().is_ok();
        Mechanism::ALL.into_iter().find(works).unwrap_or(Mechanism::Compare)
    }

    fn tried(self) -> Result<(), Error> {
        let (mut live, mut shadow) = (Live::new(3, self)?, Shadow::new(3)?);
        let mut frozen = Frozen::default();
        // The second write comes after a freeze, and to a page that was written before.
        for value in [1, 2] {
            live.bytes_mut()[PAGE_BYTES] = value;
            frozen = live.freeze(&shadow, frozen)?;
            if frozen.pages() != [1] {
                return Err(Error::Unnoticed { mechanism: self });
            }
            frozen = shadow.advance(frozen).into_spare();
        }
        Ok(())
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mechanism {
    type Err = Error;

    fn from_str(name: &str) -> Result<Mechanism, Error> {
        let mut all = Mechanism::ALL.into_iter();
        all.find(|mechanism| mechanism.name() == name)
            .ok_or_else(|| Error::Unknown { name: name.to_owned() })
    }
}
