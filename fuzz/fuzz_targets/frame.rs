//! TCP frames: whatever the bytes and wherever the stream is cut, the decoder says the same, and what it
//! has decoded encodes to the bytes that it was.
//!
//! The first byte is a seed for the cuts; the rest is the stream. The memory bound is libFuzzer's
//! `-malloc_limit_mb`, set in `scripts/fuzz.sh`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offload::limits::{FRAME_HEADER_BYTES, FRAME_NUMBERS_BYTES, MAX_CONTROL_BODY_BYTES};
use offload::wire::Defect;
use offload::wire::frame::{Decoder, Frame, Item, encode_data, widen};

/// A frame with the bytes it was made of, numbers put together.
#[derive(Debug, PartialEq)]
enum Whole {
    Control { frame: Frame, bytes: Vec<u8> },
    Data { first: u64, count: u64, width: u8, numbers: Vec<u8>, bytes: Vec<u8> },
}

struct Decoded {
    frames: Vec<Whole>,
    defect: Option<Defect>,
    idle: bool,
}

fuzz_target!(|input: &[u8]| {
    let Some((&seed, stream)) = input.split_first() else { return };
    let whole = decode(stream, usize::MAX, 0);
    let cut = decode(stream, 1 + usize::from(seed % 40), seed);
    assert_eq!(whole.frames, cut.frames);
    assert_eq!(whole.defect, cut.defect);
    assert_eq!(whole.idle, cut.idle);
    for frame in &whole.frames {
        check(frame);
    }
});

/// Feeds `stream` in pieces of about `step` bytes, as `seed` has it.
fn decode(stream: &[u8], step: usize, seed: u8) -> Decoded {
    let (mut decoder, mut frames, mut chance) = (Decoder::default(), Vec::new(), u32::from(seed));
    let (mut at, mut frame_at) = (0, 0);
    while at < stream.len() {
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let piece = step.saturating_add((chance >> 24) as usize % 7).min(stream.len() - at);
        let mut left = &stream[at..at + piece];
        loop {
            let before = left.len();
            let item = match decoder.next(&mut left) {
                Ok(item) => item,
                Err(defect) => return Decoded { frames, defect: Some(defect), idle: false },
            };
            at += before - left.len();
            match item {
                None => break,
                Some(Item::Frame(frame)) => {
                    let bytes = stream[frame_at..at].to_vec();
                    frames.push(Whole::Control { frame, bytes });
                    frame_at = at;
                }
                Some(Item::Data { first, count, width }) => {
                    assert!(count > 0 && count * u64::from(width) <= FRAME_NUMBERS_BYTES as u64);
                    let bytes = stream[frame_at..at].to_vec();
                    frames.push(Whole::Data { first, count, width, numbers: Vec::new(), bytes });
                    frame_at = at;
                }
                Some(Item::Numbers(slice)) => {
                    let Some(Whole::Data { count, width, numbers, bytes, .. }) = frames.last_mut()
                    else {
                        panic!("numbers outside a DATA frame");
                    };
                    assert!(!slice.is_empty());
                    numbers.extend_from_slice(slice);
                    bytes.extend_from_slice(slice);
                    assert!(numbers.len() as u64 <= *count * u64::from(*width));
                    frame_at = at;
                }
            }
        }
        assert!(left.is_empty(), "a decoder that wants more has taken all there is");
    }
    Decoded { idle: decoder.is_idle(), frames, defect: None }
}

fn check(frame: &Whole) {
    let mut again = Vec::new();
    match frame {
        Whole::Control { frame, bytes } => {
            assert!(bytes.len() <= FRAME_HEADER_BYTES + MAX_CONTROL_BODY_BYTES as usize);
            frame.encode(&mut again);
            // A reason that is long or not printable is shown otherwise than it came.
            let body = &bytes[FRAME_HEADER_BYTES..];
            match frame {
                Frame::Error { reason: text }
                | Frame::Notice { text }
                | Frame::Abort { reason: text } => {
                    assert!(!text.chars().any(char::is_control));
                    if text.as_bytes() == body {
                        assert_eq!(again, *bytes);
                    }
                }
                _ => assert_eq!(again, *bytes),
            }
            let mut left = &again[..];
            assert!(matches!(Decoder::default().next(&mut left), Ok(Some(Item::Frame(_)))));
            assert!(left.is_empty());
        }
        Whole::Data { first, count, width, numbers, bytes } => {
            let mut values = Vec::new();
            widen(
                *width,
                &numbers[..numbers.len() / usize::from(*width) * usize::from(*width)],
                &mut values,
            );
            if values.len() as u64 != *count || first.checked_add(*count).is_none() {
                return; // The stream ends within it, or its indices leave u64: `proto` refuses those.
            }
            encode_data(*first, &values, &mut again);
            let fits = |bits: u32| values.iter().all(|v| v << (64 - bits) >> (64 - bits) == *v);
            let least = [8, 16, 32].into_iter().find(|bits| fits(*bits)).unwrap_or(64) / 8;
            if u32::from(*width) == least && values.len() <= FRAME_NUMBERS_BYTES / 8 {
                assert_eq!(again, *bytes);
            }
            let mut back = Vec::new();
            for frame in decode(&again, usize::MAX, 0).frames {
                let Whole::Data { width, numbers, first: at, .. } = frame else { panic!("{frame:?}") };
                assert_eq!(at, first + back.len() as u64);
                widen(width, &numbers, &mut back);
            }
            assert_eq!(back, values);
        }
    }
}
