//! Plain rows by AVX-512, eight at a time. The only unsafe code of `numbers`.
//!
//! The lesson: what costs is not arithmetic but not knowing. Rows differ in length and sign, and a branch
//! on either is guessed wrong too often. So the ends of all rows in a window are found first, 64 bytes a
//! step; then each row is loaded so that its **last** digit has a fixed place, and what comes before its
//! first digit is masked away. From there on all rows are the same, and one test at the end of eight rows
//! says whether they were all plain. Where they were not, the portable path takes these eight: it knows
//! which of them is the first that is not.
//!
//! Left out: processors without AVX-512 VBMI2 (before Ice Lake and Zen 4) and other architectures. They take
//! the portable path, at about twice the time.

/// As [`super::plain::parse`]; `None` where this processor cannot.
#[cfg(not(target_arch = "x86_64"))]
pub fn parse(_bytes: &[u8], _out: &mut Vec<i64>) -> Option<usize> {
    None
}

#[cfg(target_arch = "x86_64")]
pub use x86_64::parse;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use crate::numbers::plain::parse_portable;
    use std::arch::x86_64::*;

    /// As [`super::super::plain::parse`]; `None` where this processor cannot.
    pub fn parse(bytes: &[u8], out: &mut Vec<i64>) -> Option<usize> {
        let able = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vbmi2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt");
        // SAFETY: the function needs nothing but the features that it names, all of which were just found.
        able.then(|| unsafe { parse_avx512(bytes, out) })
    }

    /// Bytes that are searched for line feeds before the rows in them are converted. Whole blocks; enough
    /// that the rows at its end that are no eight any more (and are searched again) count for little.
    const WINDOW: usize = 32 * BLOCK;
    /// Bytes of a vector.
    const BLOCK: usize = 64;
    /// Bytes loaded for a row, up to its last digit.
    const ROW: usize = 32;
    /// Rows converted at a time.
    const ROWS: usize = 8;

    /// Where the rows of a window end: after a first entry, which is where the row before the window ends
    /// (one before its start, wrapping), the offset of each line feed.
    type Ends = [u16; 1 + WINDOW];

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi2,bmi1,bmi2,popcnt")]
    fn parse_avx512(bytes: &[u8], out: &mut Vec<i64>) -> usize {
        // A row is loaded with what is before it, so the first rows go another way.
        let mut at = parse_portable(&bytes[..bytes.len().min(2 * ROW)], out);
        let mut ends: Ends = [0; 1 + WINDOW];
        ends[0] = u16::MAX;
        while at > ROW {
            let window = &bytes[at..];
            let rows = find_ends(&window[..window.len().min(WINDOW)], &mut ends) / ROWS * ROWS;
            if rows == 0 {
                break;
            }
            out.reserve(rows);
            let crlf = bytes[at - 2] == b'\r';
            for first in (0..rows).step_by(ROWS) {
                let Some(ends) = ends[first..].first_chunk() else { break };
                let converted = if crlf {
                    convert::<true>(bytes, at, ends)
                } else {
                    convert::<false>(bytes, at, ends)
                };
                match converted {
                    Some(numbers) => out.extend_from_slice(&numbers),
                    None => {
                        let start = at + usize::from(ends[0].wrapping_add(1));
                        let end = at + usize::from(ends[ROWS]) + 1;
                        let taken = parse_portable(&bytes[start..end], out);
                        if start + taken < end {
                            return start + taken;
                        }
                    }
                }
            }
            at += usize::from(ends[rows]) + 1;
        }
        // Fewer rows than eight, or long ones.
        at + parse_portable(&bytes[at..], out)
    }

    /// Writes the offsets of the line feeds in the whole blocks of `window` behind the first entry of
    /// `ends`, and returns how many there are.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,popcnt")]
    fn find_ends(window: &[u8], ends: &mut Ends) -> usize {
        let line_feed = _mm512_set1_epi8(b'\n' as i8);
        let mut iota = [0; BLOCK];
        for (i, place) in iota.iter_mut().enumerate() {
            *place = i as u8;
        }
        let iota = load(&iota);
        let mut count = 0;
        for (i, block) in window.as_chunks::<BLOCK>().0.iter().enumerate() {
            let mask = _mm512_cmpeq_epi8_mask(load(block), line_feed);
            // The places of the line feeds, side by side; what follows them is overwritten by the next.
            let places = _mm512_maskz_compress_epi8(mask, iota);
            let base = _mm512_set1_epi16((i * BLOCK) as i16);
            let low = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(places));
            let high = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(places, 1));
            let Some(slots) = ends[1 + count..].first_chunk_mut() else { break };
            store(slots, [_mm512_add_epi16(low, base), _mm512_add_epi16(high, base)]);
            count += mask.count_ones() as usize;
        }
        count
    }

    /// The numbers in eight rows, if all are plain. `ends` says where the row before them and where they
    /// end, from `at`, which is over [`ROW`]; with `CRLF`, each ends with a carriage return too.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,bmi1,bmi2")]
    fn convert<const CRLF: bool>(
        bytes: &[u8],
        at: usize,
        ends: &[u16; ROWS + 1],
    ) -> Option<[i64; ROWS]> {
        let zero = _mm512_set1_epi8(b'0' as i8);
        let minus = _mm512_set1_epi8(b'-' as i8);
        let mut lengths = 0;
        let mut odd = 0;
        let mut negative: u8 = 0;
        let mut largest = _mm512_setzero_si512();
        let mut fours = [_mm512_setzero_si512(); ROWS / 2];
        for (pair, fours) in fours.iter_mut().enumerate() {
            let (low, low_len) = row::<CRLF>(bytes, at, ends[2 * pair], ends[2 * pair + 1])?;
            let (high, high_len) = row::<CRLF>(bytes, at, ends[2 * pair + 1], ends[2 * pair + 2])?;
            lengths |= low_len | high_len;
            let text = load_two(low, high);
            // The bytes of each row, at the upper end of each half.
            let all = u64::from(upper(low_len)) | u64::from(upper(high_len)) << 32;
            // A minus sign that is the first of them.
            let sign = _mm512_cmpeq_epi8_mask(text, minus) & all & !(all << 1);
            let digits = all ^ sign;
            // Each half must have 1 to 19 digits.
            odd |= (digits & 0x8000_1fff_8000_1fff) ^ 0x8000_0000_8000_0000;
            negative |= u8::from(sign as u32 != 0) << (2 * pair);
            negative |= u8::from(sign >> 32 != 0) << (2 * pair + 1);
            let values = _mm512_maskz_sub_epi8(digits, text, zero);
            largest = _mm512_max_epu8(largest, values);
            // Digits to pairs, pairs to fours: the upper half of a half has the lower 16 digits.
            let pairs = _mm512_maddubs_epi16(values, _mm512_set1_epi16(0x01_0a));
            *fours = _mm512_madd_epi16(pairs, _mm512_set1_epi32(0x0001_0064));
        }
        // Fours to eights to sixteens. A sixteen of row n is called h(n) if it has the upper digits (3 at
        // most), l(n) if the lower; the order within a vector is h0 h2 l0 l2 h1 h3 l1 l3.
        let sixteens = |a, b| {
            let eights = _mm512_madd_epi16(_mm512_packus_epi32(a, b), _mm512_set1_epi32(0x0001_2710));
            let upper = _mm512_mul_epu32(eights, _mm512_set1_epi64(100_000_000));
            _mm512_add_epi64(upper, _mm512_srli_epi64(eights, 32))
        };
        let a = sixteens(fours[0], fours[1]);
        let b = sixteens(fours[2], fours[3]);
        let high = _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 4, 1, 5, 8, 12, 9, 13), b);
        let low = _mm512_permutex2var_epi64(a, _mm512_setr_epi64(2, 6, 3, 7, 10, 14, 11, 15), b);
        // 19 digits are below 2^64, so that this is exact without a sign.
        let high = _mm512_mullo_epi64(high, _mm512_set1_epi64(10_000_000_000_000_000));
        let value = _mm512_add_epi64(high, low);
        let most = _mm512_set1_epi64(i64::MAX);
        let most = _mm512_mask_add_epi64(most, negative, most, _mm512_set1_epi64(1));
        let out_of_range = _mm512_cmpgt_epu64_mask(value, most);
        let no_digits = _mm512_cmpgt_epu8_mask(largest, _mm512_set1_epi8(9));
        if lengths >= ROW as u32 || odd | no_digits | u64::from(out_of_range) != 0 {
            return None;
        }
        let number = _mm512_mask_sub_epi64(value, negative, _mm512_setzero_si512(), value);
        let mut numbers = [0; ROWS];
        store_numbers(&mut numbers, number);
        Some(numbers)
    }

    /// The bytes up to the last one of a row, and the length of the row. `before` and `end` are where the row
    /// before it and where it ends, from `at`. `None` where a carriage return is wanted and there is none.
    #[inline(always)]
    fn row<const CRLF: bool>(
        bytes: &[u8],
        at: usize,
        before: u16,
        end: u16,
    ) -> Option<(&[u8; ROW], u32)> {
        let start = u32::from(before.wrapping_add(1));
        let end = u32::from(end);
        let text = bytes.get(..at + end as usize)?;
        if CRLF {
            let text = text.strip_suffix(b"\r")?;
            // An empty row, whose carriage return is the one before it, has a huge length.
            return Some((text.last_chunk()?, end.wrapping_sub(1).wrapping_sub(start)));
        }
        Some((text.last_chunk()?, end - start))
    }

    /// The upper `len` (below 32) bits.
    #[inline(always)]
    fn upper(len: u32) -> u32 {
        ((u64::from(u32::MAX) << 32) >> (len % 64)) as u32
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(bytes: &[u8; BLOCK]) -> __m512i {
        // SAFETY: reads 64 bytes of any alignment, and the array has them.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load_two(low: &[u8; ROW], high: &[u8; ROW]) -> __m512i {
        // SAFETY: each reads 32 bytes of any alignment, and each array has them.
        let (low, high) = unsafe {
            (_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast()))
        };
        _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(slots: &mut [u16; BLOCK], [low, high]: [__m512i; 2]) {
        let (first, second) = slots.split_at_mut(BLOCK / 2);
        // SAFETY: each writes 64 bytes of any alignment, and each half is 32 slots of 2 bytes.
        unsafe {
            _mm512_storeu_si512(first.as_mut_ptr().cast(), low);
            _mm512_storeu_si512(second.as_mut_ptr().cast(), high);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store_numbers(numbers: &mut [i64; ROWS], vector: __m512i) {
        // SAFETY: writes 64 bytes of any alignment, and the array is 8 numbers of 8 bytes.
        unsafe { _mm512_storeu_si512(numbers.as_mut_ptr().cast(), vector) }
    }
}
