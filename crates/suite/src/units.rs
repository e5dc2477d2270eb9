//! Sizes and rates as people write them: `606MB`, `64MiB`, `500KB/s`, `100Mbit/s`.

/// Bytes: a number and, if need be, K, M, G or T (powers of 1,000; with an i, of 1,024) and B.
pub fn bytes(text: &str) -> Result<u64, String> {
    scaled(text, text.strip_suffix(['B', 'b']).unwrap_or(text), 1.0)
}

/// Bytes a second: a size and, if need be, `/s`; or bits a second, as links are sold: `1Gbit/s`.
pub fn rate(text: &str) -> Result<u64, String> {
    let amount = text.strip_suffix("/s").unwrap_or(text);
    match amount.strip_suffix("bit") {
        Some(bits) => scaled(text, bits, 1.0 / 8.0),
        None => bytes(amount),
    }
}

fn scaled(text: &str, amount: &str, unit: f64) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no amount: write it as 500KB, 64MiB or 100Mbit/s");
    let end = amount.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(amount.len());
    let (number, prefix) = amount.split_at(end);
    let factor = match prefix.trim() {
        "" => 1.0,
        "K" | "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        _ => return Err(wrong()),
    };
    let value = number.parse::<f64>().map_err(|_| wrong())? * factor * unit;
    if value < 9e18 { Ok(value.round() as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (text, amount) in [
            ("0", 0),
            ("7", 7),
            ("500KB", 500_000),
            ("64MiB", 64 << 20),
            ("2.1GB", 2_100_000_000),
            ("1 T", 1_000_000_000_000),
        ] {
            assert_eq!(bytes(text), Ok(amount), "{text}");
        }
        for (text, amount) in
            [("500KB/s", 500_000), ("100Mbit/s", 12_500_000), ("1Gbit", 125_000_000), ("1M", 1_000_000)]
        {
            assert_eq!(rate(text), Ok(amount), "{text}");
        }
        for text in ["", "B", "-1", "1X", "1e99", "1.2.3", "99999999999999999999", "MB", "1Mbit/h"] {
            assert!(bytes(text).is_err() && rate(text).is_err(), "{text}");
        }
    }
}
