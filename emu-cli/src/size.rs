//! Sizes as people write them: `640K`, `512M`, `2G`, or plain bytes.

/// Parses a number of bytes. A suffix K, M, G or T (either case, with or without `B` or `iB`) counts in powers of 1024.
///
/// # Errors
/// One sentence that says what was expected.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let shift = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err("expected a size such as 512M or 2G".into()),
    };
    if number.is_empty() {
        return Err("expected a size such as 512M or 2G".into());
    }
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "the number is too large".into())
}

/// A size in the largest unit that divides it.
pub fn show(bytes: u64) -> String {
    let units = [("G", 30), ("M", 20), ("K", 10)];
    match units.iter().find(|(_, shift)| bytes != 0 && bytes.trailing_zeros() >= *shift) {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_powers_of_1024() {
        assert_eq!(parse("512"), Ok(512));
        assert_eq!(parse("640k"), Ok(640 << 10));
        assert_eq!(parse("512M"), Ok(512 << 20));
        assert_eq!(parse("2GiB"), Ok(2 << 30));
        assert_eq!(parse("1T"), Ok(1 << 40));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "M", "-1M", "1.5G", "5X", "0x10", " 1M", "99999999999999999999", "99999999999T"] {
            assert!(parse(text).is_err(), "{text:?} was taken for a size");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_fits() {
        assert_eq!(show(256 << 20), "256M");
        assert_eq!(show(3 << 29), "1536M");
        assert_eq!(show(513), "513 bytes");
    }
}
