//! Packed integer arithmetic, comparisons and shifts of SSE2, SSSE3 and SSE4.1, and their MMX forms.
//! SDM 2A and 2B at each.

use super::lanes::{
    bytes, from_words, map8, map16, map32, map64, qwords, signed8, signed16, signed32, words,
};
use super::packed::packed;

packed! {
    Paddb Vpaddb: |a, b| map8(a, b, u8::wrapping_add);
    Paddw Vpaddw: |a, b| map16(a, b, u16::wrapping_add);
    Paddd Vpaddd: |a, b| map32(a, b, u32::wrapping_add);
    Paddq Vpaddq: |a, b| map64(a, b, u64::wrapping_add);
    Paddsb Vpaddsb: |a, b| signed8(a, b, i8::saturating_add);
    Paddsw Vpaddsw: |a, b| signed16(a, b, i16::saturating_add);
    Paddusb Vpaddusb: |a, b| map8(a, b, u8::saturating_add);
    Paddusw Vpaddusw: |a, b| map16(a, b, u16::saturating_add);
    Psubb Vpsubb: |a, b| map8(a, b, u8::wrapping_sub);
    Psubw Vpsubw: |a, b| map16(a, b, u16::wrapping_sub);
    Psubd Vpsubd: |a, b| map32(a, b, u32::wrapping_sub);
    Psubq Vpsubq: |a, b| map64(a, b, u64::wrapping_sub);
    Psubsb Vpsubsb: |a, b| signed8(a, b, i8::saturating_sub);
    Psubsw Vpsubsw: |a, b| signed16(a, b, i16::saturating_sub);
    Psubusb Vpsubusb: |a, b| map8(a, b, u8::saturating_sub);
    Psubusw Vpsubusw: |a, b| map16(a, b, u16::saturating_sub);
    Pmullw Vpmullw: |a, b| map16(a, b, u16::wrapping_mul);
    Pmulhw Vpmulhw: |a, b| signed16(a, b, |x, y| ((i32::from(x) * i32::from(y)) >> 16) as i16);
    Pmulhuw Vpmulhuw: |a, b| map16(a, b, |x, y| ((u32::from(x) * u32::from(y)) >> 16) as u16);
    Pmulhrsw Vpmulhrsw: |a, b| signed16(a, b, |x, y| ((((i32::from(x) * i32::from(y)) >> 14) + 1) >> 1) as i16);
    Pmulld Vpmulld: |a, b| map32(a, b, u32::wrapping_mul);
    Pmuludq Vpmuludq: |a, b| map64(a, b, |x, y| (x & 0xffff_ffff) * (y & 0xffff_ffff));
    Pmuldq Vpmuldq: |a, b| map64(a, b, |x, y| (i64::from(x as i32) * i64::from(y as i32)) as u64);
    Pmaddwd Vpmaddwd: |a, b| multiply_add_words(a, b);
    Pmaddubsw Vpmaddubsw: |a, b| multiply_add_bytes(a, b);
    Pavgb Vpavgb: |a, b| map8(a, b, |x, y| (u16::from(x) + u16::from(y)).div_ceil(2) as u8);
    Pavgw Vpavgw: |a, b| map16(a, b, |x, y| (u32::from(x) + u32::from(y)).div_ceil(2) as u16);
    Psadbw Vpsadbw: |a, b| absolute_differences(a, b);
    Pminub Vpminub: |a, b| map8(a, b, u8::min);
    Pminuw Vpminuw: |a, b| map16(a, b, u16::min);
    Pminud Vpminud: |a, b| map32(a, b, u32::min);
    Pminsb Vpminsb: |a, b| signed8(a, b, i8::min);
    Pminsw Vpminsw: |a, b| signed16(a, b, i16::min);
    Pminsd Vpminsd: |a, b| signed32(a, b, i32::min);
    Pmaxub Vpmaxub: |a, b| map8(a, b, u8::max);
    Pmaxuw Vpmaxuw: |a, b| map16(a, b, u16::max);
    Pmaxud Vpmaxud: |a, b| map32(a, b, u32::max);
    Pmaxsb Vpmaxsb: |a, b| signed8(a, b, i8::max);
    Pmaxsw Vpmaxsw: |a, b| signed16(a, b, i16::max);
    Pmaxsd Vpmaxsd: |a, b| signed32(a, b, i32::max);
    Pcmpeqb Vpcmpeqb: |a, b| map8(a, b, |x, y| if x == y { u8::MAX } else { 0 });
    Pcmpeqw Vpcmpeqw: |a, b| map16(a, b, |x, y| if x == y { u16::MAX } else { 0 });
    Pcmpeqd Vpcmpeqd: |a, b| map32(a, b, |x, y| if x == y { u32::MAX } else { 0 });
    Pcmpeqq Vpcmpeqq: |a, b| map64(a, b, |x, y| if x == y { u64::MAX } else { 0 });
    Pcmpgtb Vpcmpgtb: |a, b| signed8(a, b, |x, y| -i8::from(x > y));
    Pcmpgtw Vpcmpgtw: |a, b| signed16(a, b, |x, y| -i16::from(x > y));
    Pcmpgtd Vpcmpgtd: |a, b| signed32(a, b, |x, y| -i32::from(x > y));
    Pcmpgtq Vpcmpgtq: |a, b| map64(a, b, |x, y| if x as i64 > y as i64 { u64::MAX } else { 0 });
    Pabsb Vpabsb: |_a, b| map8(b, 0, |x, _| (x as i8).unsigned_abs());
    Pabsw Vpabsw: |_a, b| map16(b, 0, |x, _| (x as i16).unsigned_abs());
    Pabsd Vpabsd: |_a, b| map32(b, 0, |x, _| (x as i32).unsigned_abs());
    Psignb Vpsignb: |a, b| signed8(a, b, |x, y| x.wrapping_mul(y.signum()));
    Psignw Vpsignw: |a, b| signed16(a, b, |x, y| x.wrapping_mul(y.signum()));
    Psignd Vpsignd: |a, b| signed32(a, b, |x, y| x.wrapping_mul(y.signum()));
    Psllw Vpsllw: |a, b| shift16(a, b, |x, n| if n < 16 { x << n } else { 0 });
    Pslld Vpslld: |a, b| shift32(a, b, |x, n| if n < 32 { x << n } else { 0 });
    Psllq Vpsllq: |a, b| shift64(a, b, |x, n| if n < 64 { x << n } else { 0 });
    Psrlw Vpsrlw: |a, b| shift16(a, b, |x, n| if n < 16 { x >> n } else { 0 });
    Psrld Vpsrld: |a, b| shift32(a, b, |x, n| if n < 32 { x >> n } else { 0 });
    Psrlq Vpsrlq: |a, b| shift64(a, b, |x, n| if n < 64 { x >> n } else { 0 });
    Psraw Vpsraw: |a, b| shift16(a, b, |x, n| (x as i16 >> n.min(15)) as u16);
    Psrad Vpsrad: |a, b| shift32(a, b, |x, n| (x as i32 >> n.min(31)) as u32);
    Pslldq Vpslldq: |a, b| if b < 16 { a << (8 * b as u32) } else { 0 };
    Psrldq Vpsrldq: |a, b| if b < 16 { a >> (8 * b as u32) } else { 0 };
    Phminposuw Vphminposuw: |_a, b| smallest_word(b);
}

/// The count is the low quadword, or the immediate.
fn shift16(a: u128, count: u128, f: impl Fn(u16, u64) -> u16) -> u128 {
    let count = count as u64;
    map16(a, 0, |x, _| f(x, count))
}

fn shift32(a: u128, count: u128, f: impl Fn(u32, u64) -> u32) -> u128 {
    let count = count as u64;
    map32(a, 0, |x, _| f(x, count))
}

fn shift64(a: u128, count: u128, f: impl Fn(u64, u64) -> u64) -> u128 {
    let count = count as u64;
    map64(a, 0, |x, _| f(x, count))
}

/// PMADDWD: products of signed words, added in pairs.
fn multiply_add_words(a: u128, b: u128) -> u128 {
    let product = |a: u32, b: u32| i32::from(a as i16) * i32::from(b as i16);
    map32(a, b, |x, y| product(x, y).wrapping_add(product(x >> 16, y >> 16)) as u32)
}

/// PMADDUBSW: products of unsigned by signed bytes, added in pairs with saturation.
fn multiply_add_bytes(a: u128, b: u128) -> u128 {
    let product = |a: u16, b: u16| i16::from(a as u8) * i16::from(b as i8);
    let product = |a: u16, b: u16| (i32::from(product(a, b)), i32::from(product(a >> 8, b >> 8)));
    map16(a, b, |x, y| {
        let (low, high) = product(x, y);
        (low + high).clamp(i16::MIN.into(), i16::MAX.into()) as u16
    })
}

/// PSADBW: sum of absolute differences of the bytes of each quadword.
fn absolute_differences(a: u128, b: u128) -> u128 {
    map64(a, b, |x, y| {
        x.to_le_bytes().iter().zip(y.to_le_bytes()).map(|(&x, y)| u64::from(x.abs_diff(y))).sum()
    })
}

/// PHMINPOSUW: the smallest word and its index.
fn smallest_word(v: u128) -> u128 {
    let (index, value) =
        words(v).into_iter().enumerate().min_by_key(|&(_, word)| word).expect("there are eight words");
    u128::from(value) | (index as u128) << 16
}

/// MPSADBW: eight sums of four absolute differences. SDM 2B, "MPSADBW".
pub fn block_differences(a: u128, b: u128, imm: u8) -> u128 {
    let (a, b) = (bytes(a), bytes(b));
    let (first, block) = (usize::from(imm >> 2 & 1) * 4, usize::from(imm & 3) * 4);
    from_words(std::array::from_fn(|i| {
        (0..4).map(|j| u16::from(a[first + i + j].abs_diff(b[block + j]))).sum()
    }))
}

/// PCLMULQDQ: product without carries of the quadwords that the immediate picks. SDM 2B, "PCLMULQDQ".
pub fn carryless_product(a: u128, b: u128, imm: u8) -> u128 {
    let a = qwords(a)[usize::from(imm & 1)];
    let b = u128::from(qwords(b)[usize::from(imm >> 4 & 1)]);
    (0..64).filter(|i| a >> i & 1 != 0).fold(0, |product, i| product ^ b << i)
}

#[cfg(test)]
mod tests {
    use super::super::packed::Packed;
    use super::*;

    #[test]
    fn saturation_stops_at_the_ends_of_the_range() {
        assert_eq!(Paddsb::half(0x7f80, 0x01ff), 0x7f80);
        assert_eq!(Psubusw::half(0x0001_ffff, 0x0002_0001), 0xfffe);
        assert_eq!(Pmaddubsw::half(0xffff, 0x7f7f), 0x7fff);
        assert_eq!(Pmaddwd::half(0x8000_8000, 0x8000_8000), 0x8000_0000);
    }

    #[test]
    fn a_shift_by_more_than_the_lane_clears_it_or_leaves_the_sign() {
        assert_eq!(Psllw::half(0xffff, 16), 0);
        assert_eq!(Psrlq::half(u64::MAX, 1 << 40), 0);
        assert_eq!(Psrad::half(0x8000_0000_4000_0000, 200), 0xffff_ffff_0000_0000);
        assert_eq!(Psrldq::whole(u128::MAX, 15), 0xff);
    }

    #[test]
    fn the_smallest_word_comes_with_its_first_index() {
        assert_eq!(Phminposuw::whole(0, 0x0009_0003_0008_0003_0007_0006_0005_0004), 0x4_0003);
    }

    #[test]
    fn a_carryless_product_is_a_product_of_polynomials() {
        // (x + 1)^2 = x^2 + 1
        assert_eq!(carryless_product(3, 3, 0), 5);
        assert_eq!(carryless_product(3 << 64, 3, 1), 5);
    }
}
