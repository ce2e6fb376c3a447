//! AES-NI: single rounds of the Advanced Encryption Standard, and two steps of its key schedule.
//! SDM vol. 1, "AESNI"; SDM 2A, "AESENC" and so on; FIPS 197 for the transformations.
//!
//! The state is four columns of four bytes: byte `row + 4 * column` of the vector.

use iced_x86::Mnemonic as M;

use super::lanes::{bytes, dwords, from_bytes, from_dwords};
use super::packed::{PackedImmediate, packed, select_immediate};
use crate::interp::table::{Row, both};

packed! {
    Aesenc Vaesenc: |a, b| mix_columns(substitute(shift_rows(a, 1), &S_BOX), FORWARD) ^ b;
    Aesenclast Vaesenclast: |a, b| substitute(shift_rows(a, 1), &S_BOX) ^ b;
    Aesdec Vaesdec: |a, b| mix_columns(substitute(shift_rows(a, 3), &INVERSE_S_BOX), INVERSE) ^ b;
    Aesdeclast Vaesdeclast: |a, b| substitute(shift_rows(a, 3), &INVERSE_S_BOX) ^ b;
    Aesimc Vaesimc: |_a, b| mix_columns(b, INVERSE);
}

/// The row of AESKEYGENASSIST, which has an immediate.
pub const KEY_ROWS: &[Row] =
    &[both(M::Aeskeygenassist, M::Vaeskeygenassist, |f| select_immediate::<KeyAssist>(f))];

/// Coefficients of MixColumns, for the row itself and those below it.
const FORWARD: [u8; 4] = [2, 3, 1, 1];
/// Those of InvMixColumns.
const INVERSE: [u8; 4] = [14, 11, 13, 9];

/// Twice a polynomial, modulo x^8 + x^4 + x^3 + x + 1.
const fn double(value: u8) -> u8 {
    value << 1 ^ if value & 0x80 != 0 { 0x1b } else { 0 }
}

/// Product of two polynomials in that field.
pub(super) const fn product(mut a: u8, mut b: u8) -> u8 {
    let mut sum = 0;
    while b != 0 {
        if b & 1 != 0 {
            sum ^= a;
        }
        a = double(a);
        b >>= 1;
    }
    sum
}

/// SubBytes: the multiplicative inverse, then an affine transformation.
const S_BOX: [u8; 256] = {
    let mut table = [0x63; 256];
    // 3 generates the field's group and F6h is its inverse, so the two walk through all pairs of inverses.
    let (mut value, mut inverse) = (1u8, 1u8);
    let mut n = 0;
    while n < 255 {
        let i = inverse;
        let mixed = i ^ i.rotate_left(1) ^ i.rotate_left(2) ^ i.rotate_left(3) ^ i.rotate_left(4);
        table[value as usize] = mixed ^ 0x63;
        value = product(value, 3);
        inverse = product(inverse, 0xf6);
        n += 1;
    }
    table
};

const INVERSE_S_BOX: [u8; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        table[S_BOX[n] as usize] = n as u8;
        n += 1;
    }
    table
};

/// ShiftRows: row n moves by n columns times `step`; three steps to the left are one to the right.
fn shift_rows(v: u128, step: usize) -> u128 {
    let state = bytes(v);
    from_bytes(std::array::from_fn(|i| state[(i + 4 * step * (i % 4)) % 16]))
}

fn substitute(v: u128, table: &[u8; 256]) -> u128 {
    from_bytes(bytes(v).map(|byte| table[usize::from(byte)]))
}

fn mix_columns(v: u128, coefficients: [u8; 4]) -> u128 {
    let state = bytes(v);
    from_bytes(std::array::from_fn(|i| {
        (0..4).fold(0, |sum, n| sum ^ product(state[i / 4 * 4 + (i + n) % 4], coefficients[n]))
    }))
}

/// AESKEYGENASSIST. SDM 2A, "AESKEYGENASSIST".
struct KeyAssist;

impl PackedImmediate for KeyAssist {
    fn whole(_a: u128, b: u128, imm: u8) -> u128 {
        let v = dwords(substitute(b, &S_BOX));
        let constant = u32::from(imm);
        from_dwords([v[1], v[1].rotate_right(8) ^ constant, v[3], v[3].rotate_right(8) ^ constant])
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::Packed;
    use super::*;

    #[test]
    fn the_substitution_table_begins_as_the_standard_prints_it() {
        assert_eq!(S_BOX[..4], [0x63, 0x7c, 0x77, 0x7b]);
        assert_eq!((S_BOX[0x53], INVERSE_S_BOX[0xed]), (0xed, 0x53));
    }

    /// The first round of the example in FIPS 197, appendix B.
    #[test]
    fn a_round_gives_what_the_standard_prints() {
        let state = u128::from_be_bytes(0x193d_e3be_a0f4_e22b_9ac6_8d2a_e9f8_4808_u128.to_le_bytes());
        let key = u128::from_be_bytes(0xa0fa_fe17_8854_2cb1_23a3_3939_2a6c_7605_u128.to_le_bytes());
        let next = u128::from_be_bytes(0xa49c_7ff2_689f_352b_6b5b_ea43_026a_5049_u128.to_le_bytes());
        assert_eq!(Aesenc::whole(state, key), next);
    }

    #[test]
    fn the_last_decrypting_round_undoes_the_last_encrypting_one() {
        let state = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
        assert_eq!(Aesdeclast::whole(Aesenclast::whole(state, 0), 0), state);
    }
}
