//! Vectors as lanes. All of it is plain integer code that the compiler turns into vector code where it can.

/// Bytes.
#[inline(always)]
pub fn bytes(v: u128) -> [u8; 16] {
    v.to_le_bytes()
}

/// Words.
#[inline(always)]
pub fn words(v: u128) -> [u16; 8] {
    std::array::from_fn(|i| (v >> (16 * i)) as u16)
}

/// Doublewords.
#[inline(always)]
pub fn dwords(v: u128) -> [u32; 4] {
    [v as u32, (v >> 32) as u32, (v >> 64) as u32, (v >> 96) as u32]
}

/// Quadwords.
#[inline(always)]
pub fn qwords(v: u128) -> [u64; 2] {
    [v as u64, (v >> 64) as u64]
}

/// The vector of these bytes.
#[inline(always)]
pub fn from_bytes(lanes: [u8; 16]) -> u128 {
    u128::from_le_bytes(lanes)
}

/// The vector of these words.
#[inline(always)]
pub fn from_words(lanes: [u16; 8]) -> u128 {
    lanes.iter().rev().fold(0, |v, &lane| v << 16 | u128::from(lane))
}

/// The vector of these doublewords.
#[inline(always)]
pub fn from_dwords(lanes: [u32; 4]) -> u128 {
    lanes.iter().rev().fold(0, |v, &lane| v << 32 | u128::from(lane))
}

/// The vector of these quadwords.
#[inline(always)]
pub fn from_qwords(lanes: [u64; 2]) -> u128 {
    u128::from(lanes[0]) | u128::from(lanes[1]) << 64
}

/// Byte by byte.
#[inline(always)]
pub fn map8(a: u128, b: u128, f: impl Fn(u8, u8) -> u8) -> u128 {
    let (a, b) = (bytes(a), bytes(b));
    from_bytes(std::array::from_fn(|i| f(a[i], b[i])))
}

/// Word by word.
#[inline(always)]
pub fn map16(a: u128, b: u128, f: impl Fn(u16, u16) -> u16) -> u128 {
    let (a, b) = (words(a), words(b));
    from_words(std::array::from_fn(|i| f(a[i], b[i])))
}

/// Doubleword by doubleword.
#[inline(always)]
pub fn map32(a: u128, b: u128, f: impl Fn(u32, u32) -> u32) -> u128 {
    let (a, b) = (dwords(a), dwords(b));
    from_dwords(std::array::from_fn(|i| f(a[i], b[i])))
}

/// Quadword by quadword.
#[inline(always)]
pub fn map64(a: u128, b: u128, f: impl Fn(u64, u64) -> u64) -> u128 {
    let (a, b) = (qwords(a), qwords(b));
    from_qwords(std::array::from_fn(|i| f(a[i], b[i])))
}

/// Signed byte by signed byte.
#[inline(always)]
pub fn signed8(a: u128, b: u128, f: impl Fn(i8, i8) -> i8) -> u128 {
    map8(a, b, |x, y| f(x as i8, y as i8) as u8)
}

/// Signed word by signed word.
#[inline(always)]
pub fn signed16(a: u128, b: u128, f: impl Fn(i16, i16) -> i16) -> u128 {
    map16(a, b, |x, y| f(x as i16, y as i16) as u16)
}

/// Signed doubleword by signed doubleword.
#[inline(always)]
pub fn signed32(a: u128, b: u128, f: impl Fn(i32, i32) -> i32) -> u128 {
    map32(a, b, |x, y| f(x as i32, y as i32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_count_from_the_low_end() {
        let v = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100;
        assert_eq!(bytes(v)[3], 3);
        assert_eq!(words(v)[7], 0x0f0e);
        assert_eq!(dwords(v)[1], 0x0706_0504);
        assert_eq!(
            [from_words(words(v)), from_dwords(dwords(v)), from_qwords(qwords(v)), from_bytes(bytes(v))],
            [v; 4]
        );
    }
}
