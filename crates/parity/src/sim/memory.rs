//! Memory that can be copied: for worlds that fork.

use crate::arena::{Error, Frozen, Shadow};
use crate::limits::PAGE_BYTES;
use crate::proto::work::Memory;
use std::fmt;
use std::sync::Arc;

/// Pages in one piece. What was written is found by comparing all.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Plain(Arc<[u8]>);

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Plain {
    /// Pages of zeros.
    pub fn new(pages: u32) -> Plain {
        Plain(vec![0; pages as usize * PAGE_BYTES].into())
    }

    fn dirty(&self, shadow: &Shadow) -> Vec<u32> {
        let pages = (0..).zip(self.0.as_chunks::<PAGE_BYTES>().0);
        pages.filter(|(index, page)| *page != shadow.page(*index)).map(|(index, _)| index).collect()
    }
}

impl Memory for Plain {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        Arc::make_mut(&mut self.0)
    }

    fn dirty_pages(&mut self, shadow: &Shadow) -> Result<Option<u32>, Error> {
        Ok(Some(self.dirty(shadow).len() as u32))
    }

    fn freeze(&mut self, shadow: &Shadow, _spare: Frozen) -> Result<Frozen, Error> {
        let pages = self.dirty(shadow);
        let copies = pages.iter().map(|index| self.0.as_chunks().0[*index as usize]).collect();
        Ok(Frozen::from_pages(pages, copies))
    }

    fn restore(&mut self, shadow: &Shadow, _also: &[u32]) -> Result<(), Error> {
        for index in self.dirty(shadow) {
            Arc::make_mut(&mut self.0).as_chunks_mut().0[index as usize] = *shadow.page(index);
        }
        Ok(())
    }
}
