//! An image or a parity that is the sum of others.

use super::frame::{Pages, source};
use crate::arena::Shadow;
use crate::code::Term;
use crate::digest::Digest;
use crate::id::Member;
use std::collections::BTreeMap;

/// What has come of the sum.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rebuild {
    sources: BTreeMap<Member, Source>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Source {
    factor: u8,
    /// The place of the next page at the earliest.
    next: u32,
    digest: Digest,
    ended: bool,
}

impl Rebuild {
    /// Nothing has come.
    pub fn new(terms: &[Term]) -> Rebuild {
        let begin = |term: &Term| {
            let factor = term.factor();
            (source(*term), Source { factor, next: 0, digest: Digest::default(), ended: false })
        };
        Rebuild { sources: terms.iter().map(begin).collect() }
    }

    /// Is this one's image part of the sum?
    pub fn needs(&self, member: Member) -> bool {
        self.sources.contains_key(&member)
    }

    /// Who is asked.
    pub fn sources(&self) -> impl Iterator<Item = Member> + '_ {
        self.sources.keys().copied()
    }

    /// Adds pages of a source.
    ///
    /// # Errors
    /// It is none, or they are not its next.
    pub fn add(&mut self, sum: &mut Shadow, from: Member, pages: &Pages) -> Result<(), String> {
        let source = self.sources.get_mut(&from).filter(|source| !source.ended);
        let source = source.ok_or_else(|| format!("{from} sends an image that it was not asked for"))?;
        for (index, page) in pages.iter() {
            if index < source.next || index >= sum.pages() {
                return Err(format!("{from} sends page {index} of its image, which is not its next"));
            }
            source.next = index + 1;
            source.digest = source.digest.plus(Digest::of_page(index, page));
            sum.add(index, page, source.factor);
        }
        Ok(())
    }

    /// A source has sent all.
    ///
    /// # Errors
    /// What has come is not what it has sent.
    pub fn end(&mut self, from: Member, digest: Digest) -> Result<(), String> {
        let source = self.sources.get_mut(&from);
        let source = source.ok_or_else(|| format!("{from} sends an image that it was not asked for"))?;
        if source.digest != digest {
            return Err(format!("the image of {from} has another checksum than its pages"));
        }
        source.ended = true;
        Ok(())
    }

    /// Have all sent all?
    pub fn is_whole(&self) -> bool {
        self.sources.values().all(|source| source.ended)
    }
}
