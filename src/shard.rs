//! Shards: N numbers cut into k contiguous ranges, in order, whose sizes differ by at most one.
//!
//! Where N is no multiple of k, the earlier shards have one more; where N < k, the last ones are empty.
//! For k = 3 and N a multiple of 3 this is the assignment's "first N/3 to A, next N/3 to B, last N/3
//! to C". What is left out: shards weighted by what a backend can do.

use std::ops::Range;

/// The k shards of the numbers `0..count`.
///
/// ```
/// assert_eq!(offload::shard::shards(8, 3), [0..3, 3..6, 6..8]);
/// ```
///
/// # Panics
/// When `k` is 0: no shards cover anything. A configuration has at least one backend.
pub fn shards(count: u64, k: usize) -> Vec<Range<u64>> {
    assert!(k >= 1, "numbers are cut into at least one shard");
    let (each, one_more) = (count / k as u64, count % k as u64);
    // At most count/k * k + count % k = count: no overflow.
    let start = |i: u64| i * each + i.min(one_more);
    (0..k as u64).map(|i| start(i)..start(i + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(count: u64, k: usize) {
        let shards = shards(count, k);
        assert_eq!(shards.len(), k);
        assert_eq!((shards[0].start, shards[k - 1].end), (0, count), "covers {count} by {k}");
        assert!(shards.iter().all(|s| s.start <= s.end));
        assert!(shards.windows(2).all(|w| w[0].end == w[1].start), "contiguous: {count} by {k}");
        let sizes: Vec<u64> = shards.iter().map(|s| s.end - s.start).collect();
        assert!(sizes.is_sorted_by(|a, b| a >= b), "earlier ones larger: {count} by {k}");
        assert!(sizes[0] - sizes[k - 1] <= 1, "differ by at most one: {count} by {k}");
    }

    proptest! {
        #[test]
        fn shards_cover_exactly_and_evenly(count: u64, small in 0u64..600, k in 1usize..300) {
            check(count, k);
            check(small, k);
            check(u64::MAX - small, k);
        }
    }

    #[test]
    fn as_the_assignment_has_it() {
        assert_eq!(shards(300, 3), [0..100, 100..200, 200..300]);
        assert_eq!(shards(1, 3), [0..1, 1..1, 1..1]);
        assert_eq!(shards(2, 3), [0..1, 1..2, 2..2]);
        assert_eq!(shards(0, 2), [0..0, 0..0]);
        assert_eq!(shards(u64::MAX, 1), std::slice::from_ref(&(0..u64::MAX)));
        check(u64::MAX, 256);
    }

    #[test]
    #[should_panic(expected = "at least one shard")]
    fn no_shards_are_refused() {
        shards(1, 0);
    }
}
