//! Instructions that came with AVX and AVX2: moves across 128 bits, broadcasts, shifts by a count for each lane.
//! SDM 2C and 2D at each.

use iced_x86::Mnemonic as M;

use super::lanes::{dwords, from_dwords, from_qwords, map32, map64, qwords};
use super::operand::{Shared, Source, Unaligned, Xmm};
use super::packed::{Packed, PackedImmediate, packed, select, select_immediate};
use super::scheme::{Scheme, Vex};
use crate::cpu::{Cpu, Fallible, Width};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{Form, Kind, Row, row};

packed! {
    Vpsllvd: |a, b| map32(a, b, |x, n| x.checked_shl(n).unwrap_or(0));
    Vpsrlvd: |a, b| map32(a, b, |x, n| x.checked_shr(n).unwrap_or(0));
    Vpsravd: |a, b| map32(a, b, |x, n| (x as i32 >> n.min(31)) as u32);
    Vpsllvq: |a, b| map64(a, b, |x, n| if n < 64 { x << n } else { 0 });
    Vpsrlvq: |a, b| map64(a, b, |x, n| if n < 64 { x >> n } else { 0 });
}

/// The rows of the instructions that move lanes.
pub const MOVE_ROWS: &[Row] = &[
    row(M::Vpermilps, |f| within::<PermuteSingles>(f)),
    row(M::Vpermilpd, |f| within::<PermuteDoubles>(f)),
    row(M::Vperm2f128, |f| cross::<Halves>(f)),
    row(M::Vperm2i128, |f| cross::<Halves>(f)),
    row(M::Vinsertf128, |f| cross::<Insert>(f)),
    row(M::Vinserti128, |f| cross::<Insert>(f)),
    row(M::Vpermq, |f| cross::<Quadwords>(f)),
    row(M::Vpermpd, |f| cross::<Quadwords>(f)),
    row(M::Vpermd, |f| cross::<Doublewords>(f)),
    row(M::Vpermps, |f| cross::<Doublewords>(f)),
    row(M::Vextractf128, extract_form),
    row(M::Vextracti128, extract_form),
    row(M::Vbroadcastss, |f| broadcast_form::<u32>(f)),
    row(M::Vbroadcastsd, |f| broadcast_form::<u64>(f)),
    row(M::Vpbroadcastb, |f| broadcast_form::<u8>(f)),
    row(M::Vpbroadcastw, |f| broadcast_form::<u16>(f)),
    row(M::Vpbroadcastd, |f| broadcast_form::<u32>(f)),
    row(M::Vpbroadcastq, |f| broadcast_form::<u64>(f)),
    row(M::Vbroadcastf128, |_| Some(cross_lanes::<Second, Shared<Unaligned>>)),
    row(M::Vbroadcasti128, |_| Some(cross_lanes::<Second, Shared<Unaligned>>)),
];

/// VPERMILPS and VPERMILPD, by a vector or by an immediate.
fn within<O: Packed + PackedImmediate>(f: &Form<'_>) -> Option<Handler> {
    if f.kind(2) == Kind::Imm { select_immediate::<O>(f) } else { select::<O>(f) }
}

struct PermuteSingles;
struct PermuteDoubles;

impl Packed for PermuteSingles {
    fn whole(a: u128, b: u128) -> u128 {
        let (a, b) = (dwords(a), dwords(b));
        from_dwords(b.map(|index| a[(index & 3) as usize]))
    }
}

impl PackedImmediate for PermuteSingles {
    fn whole(_a: u128, b: u128, imm: u8) -> u128 {
        let b = dwords(b);
        from_dwords(std::array::from_fn(|i| b[usize::from(imm >> (2 * i) & 3)]))
    }
}

impl Packed for PermuteDoubles {
    fn whole(a: u128, b: u128) -> u128 {
        let (a, b) = (qwords(a), qwords(b));
        from_qwords(b.map(|index| a[(index >> 1 & 1) as usize]))
    }
}

impl PackedImmediate for PermuteDoubles {
    const UPPER_SHIFT: u32 = 2;

    fn whole(_a: u128, b: u128, imm: u8) -> u128 {
        let b = qwords(b);
        from_qwords([b[usize::from(imm & 1)], b[usize::from(imm >> 1 & 1)]])
    }
}

/// An operation on 256 bits whose lanes cross the middle.
trait Cross {
    fn apply(a: [u128; 2], b: [u128; 2], imm: u8) -> [u128; 2];
}

/// The second operand as it is.
struct Second;
/// VPERM2F128.
struct Halves;
/// VINSERTF128.
struct Insert;
/// VPERMQ.
struct Quadwords;
/// VPERMD: the first operand has the indices.
struct Doublewords;

impl Cross for Second {
    fn apply(_a: [u128; 2], b: [u128; 2], _imm: u8) -> [u128; 2] {
        b
    }
}

impl Cross for Halves {
    fn apply(a: [u128; 2], b: [u128; 2], imm: u8) -> [u128; 2] {
        let all = [a[0], a[1], b[0], b[1]];
        [imm, imm >> 4].map(|field| if field & 8 != 0 { 0 } else { all[usize::from(field & 3)] })
    }
}

impl Cross for Insert {
    fn apply(a: [u128; 2], b: [u128; 2], imm: u8) -> [u128; 2] {
        if imm & 1 == 0 { [b[0], a[1]] } else { [a[0], b[0]] }
    }
}

impl Cross for Quadwords {
    fn apply(_a: [u128; 2], b: [u128; 2], imm: u8) -> [u128; 2] {
        let lane = |i: u32| {
            let from = usize::from(imm >> (2 * i) & 3);
            qwords(b[from / 2])[from % 2]
        };
        [from_qwords([lane(0), lane(1)]), from_qwords([lane(2), lane(3)])]
    }
}

impl Cross for Doublewords {
    fn apply(a: [u128; 2], b: [u128; 2], _imm: u8) -> [u128; 2] {
        let b = b.map(dwords);
        a.map(|indices| {
            from_dwords(dwords(indices).map(|index| b[(index >> 2 & 1) as usize][(index & 3) as usize]))
        })
    }
}

fn cross<C: Cross>(f: &Form<'_>) -> Option<Handler> {
    let at = f.source();
    Some(match (f.kind(at), f.size(at), at) {
        (Kind::Mem, 16, _) => cross_lanes::<C, Shared<Unaligned>>,
        (Kind::Mem, ..) => cross_lanes::<C, Unaligned>,
        (_, _, 1) => cross_lanes::<C, Xmm<1>>,
        _ => cross_lanes::<C, Xmm<2>>,
    })
}

fn cross_lanes<C: Cross, S: Source>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_avx()?;
    let b = S::pieces::<2>(cpu, op)?;
    let a = Vex::first::<2>(cpu, op);
    Vex::store(cpu, op, C::apply(a, b, op.imm as u8));
    Ok(())
}

fn extract_form(f: &Form<'_>) -> Option<Handler> {
    Some(if f.kind(0) == Kind::Mem { extract_to_memory } else { extract_to_register })
}

/// VEXTRACTF128. SDM 2C, "VEXTRACTF128".
fn extract_to_register(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_avx()?;
    let half = cpu.pieces::<2>(op.reg[1])[(op.imm & 1) as usize];
    Vex::store(cpu, op, [half]);
    Ok(())
}

fn extract_to_memory(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_avx()?;
    let half = cpu.pieces::<2>(op.reg[1])[(op.imm & 1) as usize];
    let address = op.address(cpu);
    cpu.write_vex_vector(op.segment(), address, half)
}

fn broadcast_form<W: Width>(f: &Form<'_>) -> Option<Handler> {
    Some(match (f.kind(1), f.size(0)) {
        (Kind::Mem, 16) => broadcast::<W, Unaligned, 1>,
        (Kind::Mem, _) => broadcast::<W, Unaligned, 2>,
        (_, 16) => broadcast::<W, Xmm<1>, 1>,
        _ => broadcast::<W, Xmm<1>, 2>,
    })
}

/// VPBROADCASTB and so on. SDM 2D, "VPBROADCAST".
fn broadcast<W: Width, S: Source, const N: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_avx()?;
    let value = S::low::<W>(cpu, op)?;
    let piece = u128::MAX / u128::from(W::MASK) * u128::from(value.u64());
    Vex::store(cpu, op, [piece; N]);
    Ok(())
}
