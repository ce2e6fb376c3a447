//! GFNI: bytes as elements of the field with 2^8 elements, and as vectors of bits.
//! SDM 2A, "GF2P8MULB", "GF2P8AFFINEQB", "GF2P8AFFINEINVQB".

use iced_x86::Mnemonic as M;

use super::aes::product;
use super::lanes::{from_qwords, map8, qwords};
use super::packed::{PackedImmediate, packed, select_immediate};
use crate::interp::table::{Row, both};

packed! {
    Gf2p8mulb Vgf2p8mulb: |a, b| map8(a, b, product);
}

/// The rows of the affine transformations, which have an immediate.
pub const AFFINE_ROWS: &[Row] = &[
    both(M::Gf2p8affineqb, M::Vgf2p8affineqb, |f| select_immediate::<Affine>(f)),
    both(M::Gf2p8affineinvqb, M::Vgf2p8affineinvqb, |f| select_immediate::<AffineOfInverse>(f)),
];

/// The eight bytes of `x`, each a vector of bits, times the matrix, plus a constant. Row 0 of the matrix is the highest
/// byte and gives bit 0.
fn affine(matrix: u64, x: u64, constant: u8) -> u64 {
    let rows = matrix.to_be_bytes();
    let transform = |byte: u8| {
        let bits = rows.iter().rev().fold(0, |bits, row| bits << 1 | (row & byte).count_ones() as u8 & 1);
        bits ^ constant
    };
    u64::from_le_bytes(x.to_le_bytes().map(transform))
}

struct Affine;

impl PackedImmediate for Affine {
    fn whole(a: u128, b: u128, imm: u8) -> u128 {
        let (x, matrices) = (qwords(a), qwords(b));
        from_qwords([affine(matrices[0], x[0], imm), affine(matrices[1], x[1], imm)])
    }
}

struct AffineOfInverse;

impl PackedImmediate for AffineOfInverse {
    fn whole(a: u128, b: u128, imm: u8) -> u128 {
        Affine::whole(map8(a, 0, |byte, _| inverse(byte)), b, imm)
    }
}

/// The multiplicative inverse, with 0 for 0: x to the power of 254.
fn inverse(x: u8) -> u8 {
    // 254 = 2 + 4 + 8 + ... + 128.
    let (mut power, mut result) = (x, 1);
    for _ in 0..7 {
        power = product(power, power);
        result = product(result, power);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inverse_times_the_number_is_one() {
        assert_eq!(inverse(0), 0);
        assert!((1..=255).all(|x| product(x, inverse(x)) == 1));
    }

    #[test]
    fn the_unit_matrix_changes_nothing() {
        let unit = 0x0102_0408_1020_4080;
        assert_eq!(affine(unit, 0x8877_6655_4433_2211, 0), 0x8877_6655_4433_2211);
        assert_eq!(affine(unit, 0, 0x63), 0x6363_6363_6363_6363);
    }
}
