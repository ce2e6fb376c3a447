//! The SHA extensions: rounds and message schedules of SHA-1 and SHA-256.
//! SDM vol. 1, "Intel SHA Extensions"; SDM 2B, "SHA1RNDS4" and so on; FIPS 180-4 for the functions.

use iced_x86::Mnemonic as M;

use super::lanes::{dwords, from_dwords};
use super::operand::{Aligned, Source, Xmm};
use super::packed::{PackedImmediate, packed, select_immediate};
use crate::cpu::{Cpu, Fallible};
use crate::interp::op::Op;
use crate::interp::table::{Kind, Row, row};

packed! {
    Sha1nexte: |a, b| b.wrapping_add_top((a >> 96) as u32);
    Sha1msg1: |a, b| a ^ (a << 64 | b >> 64);
    Sha1msg2: |a, b| sha1_schedule(dwords(a), dwords(b));
    Sha256msg1: |a, b| sha256_schedule_first(dwords(a), b as u32);
    Sha256msg2: |a, b| sha256_schedule_second(dwords(a), dwords(b));
}

/// The rows of the instructions that have an immediate or an implicit operand.
pub const ROUND_ROWS: &[Row] = &[
    row(M::Sha1rnds4, |f| select_immediate::<Sha1Rounds>(f)),
    row(M::Sha256rnds2, |f| {
        Some(if f.kind(1) == Kind::Mem { sha256rnds2::<Aligned> } else { sha256rnds2::<Xmm<1>> })
    }),
];

/// SHA1NEXTE adds the next E to the highest doubleword.
trait Top {
    fn wrapping_add_top(self, a: u32) -> u128;
}

impl Top for u128 {
    fn wrapping_add_top(self, a: u32) -> u128 {
        self.wrapping_add(u128::from(a.rotate_left(30)) << 96)
    }
}

/// SHA1MSG2: each word needs the one before; the first one is the highest.
fn sha1_schedule(a: [u32; 4], b: [u32; 4]) -> u128 {
    let w16 = (a[3] ^ b[2]).rotate_left(1);
    let w17 = (a[2] ^ b[1]).rotate_left(1);
    let w18 = (a[1] ^ b[0]).rotate_left(1);
    let w19 = (a[0] ^ w16).rotate_left(1);
    from_dwords([w19, w18, w17, w16])
}

fn choose(x: u32, y: u32, z: u32) -> u32 {
    x & y ^ !x & z
}

fn parity(x: u32, y: u32, z: u32) -> u32 {
    x ^ y ^ z
}

fn majority(x: u32, y: u32, z: u32) -> u32 {
    x & y ^ x & z ^ y & z
}

/// A function of one stage of SHA-1.
type Mix = fn(u32, u32, u32) -> u32;

/// SHA1RNDS4: four rounds of the stage that the immediate names. E comes added to the first word.
struct Sha1Rounds;

impl PackedImmediate for Sha1Rounds {
    fn whole(a: u128, b: u128, imm: u8) -> u128 {
        const STAGES: [(Mix, u32); 4] =
            [(choose, 0x5a82_7999), (parity, 0x6ed9_eba1), (majority, 0x8f1b_bcdc), (parity, 0xca62_c1d6)];
        let (mix, constant) = STAGES[usize::from(imm & 3)];
        let [mut d, mut c, mut b_, mut a_] = dwords(a);
        let mut e = 0;
        for word in dwords(b).into_iter().rev() {
            let next =
                [a_.rotate_left(5), word, e, constant].iter().fold(mix(b_, c, d), |s, x| s.wrapping_add(*x));
            (e, d, c, b_, a_) = (d, c, b_.rotate_left(30), a_, next);
        }
        from_dwords([d, c, b_, a_])
    }
}

/// SHA256MSG1.
fn sha256_schedule_first(a: [u32; 4], next: u32) -> u128 {
    let sigma = |x: u32| x.rotate_right(7) ^ x.rotate_right(18) ^ x >> 3;
    let following = [a[1], a[2], a[3], next];
    from_dwords(std::array::from_fn(|i| a[i].wrapping_add(sigma(following[i]))))
}

/// SHA256MSG2: the upper two words need the lower two.
fn sha256_schedule_second(a: [u32; 4], b: [u32; 4]) -> u128 {
    let sigma = |x: u32| x.rotate_right(17) ^ x.rotate_right(19) ^ x >> 10;
    let low = [a[0].wrapping_add(sigma(b[2])), a[1].wrapping_add(sigma(b[3]))];
    from_dwords([low[0], low[1], a[2].wrapping_add(sigma(low[0])), a[3].wrapping_add(sigma(low[1]))])
}

/// SHA256RNDS2: two rounds; XMM0 holds the sums of words and constants.
fn sha256rnds2<S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_sse()?;
    let source = S::vector(cpu, op)?;
    let [mut f, mut e, mut b, mut a] = dwords(source);
    let [mut h, mut g, mut d, mut c] = dwords(cpu.xmm(op.reg[0]));
    for word in &dwords(cpu.xmm(0))[..2] {
        let sum1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let sum0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let first = h.wrapping_add(sum1).wrapping_add(choose(e, f, g)).wrapping_add(*word);
        let second = sum0.wrapping_add(majority(a, b, c));
        (h, g, f, e) = (g, f, e, d.wrapping_add(first));
        (d, c, b, a) = (c, b, a, first.wrapping_add(second));
    }
    cpu.set_xmm(op.reg[0], from_dwords([f, e, b, a]));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first four rounds of SHA-1 on "abc", FIPS 180-4's example: A after t = 3 down to t = 0.
    #[test]
    fn four_rounds_give_what_the_standard_prints() {
        let state = from_dwords([0x1032_5476, 0x98ba_dcfe, 0xefcd_ab89, 0x6745_2301]);
        let words = from_dwords([0, 0, 0, 0x6162_6380_u32.wrapping_add(0xc3d2_e1f0)]);
        let [d, c, b, a] = dwords(Sha1Rounds::whole(state, words, 0));
        assert_eq!([a, b], [0xcdd8_e11b, 0xa139_0f08]);
        assert_eq!([c, d].map(|x| x.rotate_left(2)), [0x8990_536d, 0x0116_fc33]);
    }
}
