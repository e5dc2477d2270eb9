//! Bencoding: any bytes are read or refused, and a value is what it was written as. What is canonical
//! encodes to the bytes that it was; what is not encodes to as many bytes, or was refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offload_swarm::bencode::{Item, Value, parse, parse_prefix};

fuzz_target!(|input: &[u8]| {
    let Ok((value, used)) = parse_prefix(input) else {
        assert!(parse(input).is_err());
        return;
    };
    assert_eq!(value.raw(), &input[..used]);
    assert_eq!(parse(input).is_ok(), used == input.len());
    assert_eq!(parse(value.raw()), Ok(value));
    let mut sorted = true;
    let item = item(value, &mut sorted);
    let bytes = item.encode();
    assert_eq!(bytes.len(), used, "the same parts in another order");
    assert_eq!(sorted, bytes == value.raw());
});

/// The same value, to write; `sorted` is cleared where keys are out of order.
fn item(value: Value<'_>, sorted: &mut bool) -> Item {
    if let Some(list) = value.as_list() {
        return Item::List(list.map(|value| item(value, sorted)).collect());
    }
    if let Some(dict) = value.as_dict() {
        let entries: Vec<_> = dict.collect();
        *sorted &= entries.is_sorted_by(|(a, _), (b, _)| a < b);
        for (key, one) in &entries {
            assert_eq!(value.get(key), Some(*one), "a key has one value");
        }
        let entries = entries.into_iter().map(|(key, value)| (key.to_vec(), item(value, sorted)));
        return Item::Dict(entries.collect());
    }
    match (value.as_bytes(), value.as_int()) {
        (Some(bytes), None) => bytes.into(),
        (None, Some(int)) => int.into(),
        // More than 64 bits.
        (None, None) => {
            assert!(value.raw().starts_with(b"i") && value.raw().len() > 20);
            Item::Raw(value.raw().to_vec())
        }
        (Some(_), Some(_)) => panic!("a value of two kinds"),
    }
}
