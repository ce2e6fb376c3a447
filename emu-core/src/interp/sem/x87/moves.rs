//! FLD, FST, FILD, FIST, FISTTP, FBLD, FBSTP, FXCH, FFREE, FINCSTP, FDECSTP.

use iced_x86::Mnemonic as M;

use super::{C1, Number, Signed, begin, operand};
use crate::cpu::{Cpu, Fallible, Width};
use crate::interp::op::{Handler, Op};
use crate::interp::sem::sse::float::Lane;
use crate::interp::table::{Form, Kind, Row, row};
use crate::softfloat::{self, F32, F64, F80, Flags, Format, Integer, Out, Rounding};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Fld, fld),
    row(M::Fild, fild),
    row(M::Fbld, |_| Some(fbld)),
    row(M::Fst, |f| fst::<false>(f)),
    row(M::Fstp, |f| fst::<true>(f)),
    row(M::Fstpnce, |_| Some(fstpnce)),
    row(M::Fist, |f| fist::<false, false>(f)),
    row(M::Fistp, |f| fist::<true, false>(f)),
    row(M::Fisttp, |f| fist::<true, true>(f)),
    row(M::Fbstp, |_| Some(fbstp)),
    row(M::Fxch, |_| Some(fxch)),
    row(M::Ffree, |_| Some(ffree::<false>)),
    row(M::Ffreep, |_| Some(ffree::<true>)),
    row(M::Fincstp, |_| Some(|cpu, op| rotate(cpu, op, 1))),
    row(M::Fdecstp, |_| Some(|cpu, op| rotate(cpu, op, 7))),
];

fn fld(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(0), f.size(0)) {
        (Kind::Reg, _) => Some(fld_register),
        (Kind::Mem, 4) => Some(fld_memory::<F32>),
        (Kind::Mem, 8) => Some(fld_memory::<F64>),
        (Kind::Mem, 10) => Some(fld_extended),
        _ => None,
    }
}

/// FLD ST(i). An empty source counts before a full stack; the manual does not say, silicon does. SDM 2A, "FLD".
fn fld_register(cpu: &mut Cpu, op: &Op) -> Fallible {
    begin(cpu, op)?;
    let i = op.reg[0];
    if cpu.st_empty(i) {
        if cpu.stack_underflow() {
            cpu.push_x87(F80::indefinite());
        }
        return Ok(());
    }
    cpu.push_checked(cpu.st(i));
    Ok(())
}

/// FLD m32fp and m64fp: only an unmasked IE keeps the value out; DE is reported with the value loaded.
fn fld_memory<F: Lane + Number>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let bits = operand::<F>(cpu, op)?.u64();
    if !cpu.st_empty(7) {
        cpu.push_checked(F80::indefinite());
        return Ok(());
    }
    let env = cpu.x87_env().extended();
    let out = softfloat::convert::<F, F80>(F::from_bits(bits), &env);
    cpu.set_condition(C1, false);
    cpu.raise_x87(&env, out.flags);
    if !env.traps(out.flags & Flags::INVALID) {
        cpu.push_x87(out.value);
    }
    Ok(())
}

/// Reads ten bytes.
fn read_ten(cpu: &mut Cpu, segment: usize, address: u64) -> Fallible<[u8; 10]> {
    cpu.linear(segment, address, 10, false)?;
    let low = cpu.read::<u64>(segment, address)?;
    let high = cpu.read::<u16>(segment, address.wrapping_add(8))?;
    Ok(F80 { sign_exponent: high, significand: low }.to_bytes())
}

/// Writes ten bytes, all or none.
fn write_ten(cpu: &mut Cpu, segment: usize, address: u64, bytes: [u8; 10]) -> Fallible {
    let value = F80::from_bytes(bytes);
    cpu.probe_write(segment, address, 10)?;
    cpu.write(segment, address, value.significand)?;
    cpu.write(segment, address.wrapping_add(8), value.sign_exponent)
}

/// FLD m80fp: any encoding, no exceptions.
fn fld_extended(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_x87()?;
    let address = op.address(cpu);
    let bytes = read_ten(cpu, op.segment(), address)?;
    cpu.note_x87_memory(op);
    cpu.push_checked(F80::from_bytes(bytes));
    Ok(())
}

/// FBLD. SDM 2A, "FBLD".
fn fbld(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_x87()?;
    let address = op.address(cpu);
    let bytes = read_ten(cpu, op.segment(), address)?;
    cpu.note_x87_memory(op);
    cpu.push_checked(softfloat::from_bcd(bytes));
    Ok(())
}

fn fild(f: &Form<'_>) -> Option<Handler> {
    match f.size(0) {
        2 => Some(fild_memory::<u16>),
        4 => Some(fild_memory::<u32>),
        8 => Some(fild_memory::<u64>),
        _ => None,
    }
}

/// FILD: exact. SDM 2A, "FILD".
fn fild_memory<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let value = operand::<Signed<W>>(cpu, op)?.i64();
    let env = cpu.x87_env().extended();
    let out = softfloat::from_integer::<F80>(value < 0, value.unsigned_abs(), &env);
    cpu.push_checked(out.value);
    Ok(())
}

fn fst<const POP: bool>(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(0), f.size(0)) {
        (Kind::Reg, _) => Some(fst_register::<POP>),
        (Kind::Mem, 4) => Some(fst_memory::<F32, POP>),
        (Kind::Mem, 8) => Some(fst_memory::<F64, POP>),
        (Kind::Mem, 10) => Some(fstp_extended),
        _ => None,
    }
}

/// FST ST(i). SDM 2A, "FST/FSTP".
fn fst_register<const POP: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    begin(cpu, op)?;
    let value = if cpu.st_empty(0) {
        if !cpu.stack_underflow() {
            return Ok(());
        }
        F80::indefinite()
    } else {
        cpu.set_condition(C1, false);
        cpu.st(0)
    };
    cpu.set_st(op.reg[0], value);
    if POP {
        cpu.pop_x87();
    }
    Ok(())
}

/// FSTPNCE (undocumented): FSTP ST(i) that stores nothing when ST(0) is empty, and says nothing.
fn fstpnce(cpu: &mut Cpu, op: &Op) -> Fallible {
    begin(cpu, op)?;
    cpu.set_condition(C1, false);
    if !cpu.st_empty(0) {
        cpu.set_st(op.reg[0], cpu.st(0));
    }
    cpu.pop_x87();
    Ok(())
}

/// Stores a converted ST(0): not when IE, OE or UE is unmasked. Memory is written before any state changes.
fn store<W: Width, const POP: bool>(
    cpu: &mut Cpu,
    op: &Op,
    indefinite: W,
    convert: impl FnOnce(&Cpu) -> Out<W>,
) -> Fallible {
    cpu.check_x87()?;
    let empty = cpu.st_empty(0);
    let out = if empty {
        Out { value: indefinite, flags: Flags::INVALID, rounded_up: false }
    } else {
        convert(cpu)
    };
    let env = cpu.x87_env();
    let stores = !env.traps(out.flags & !(Flags::PRECISION | Flags::DENORMAL));
    let address = op.address(cpu);
    if stores {
        cpu.write(op.segment(), address, out.value)?;
    } else {
        // Silicon: faults of the memory operand come before the exception that stops the store.
        cpu.probe_write(op.segment(), address, W::BYTES)?;
    }
    cpu.note_x87_memory(op);
    if empty {
        cpu.stack_underflow();
    } else {
        cpu.raise_x87(&env, out.flags);
        cpu.set_condition(C1, out.rounded_up);
    }
    if stores && POP {
        cpu.pop_x87();
    }
    Ok(())
}

fn fst_memory<F: Lane, const POP: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let bits = |value: F| F::Bits::from_u64(value.bits());
    store::<F::Bits, POP>(cpu, op, bits(F::indefinite()), |cpu| {
        let out = softfloat::convert::<F80, F>(cpu.st(0), &cpu.x87_env());
        Out { value: bits(out.value), flags: out.flags, rounded_up: out.rounded_up }
    })
}

/// FSTP m80fp: any encoding, no exceptions but that of an empty stack.
fn fstp_extended(cpu: &mut Cpu, op: &Op) -> Fallible {
    store_ten(cpu, op, F80::indefinite().to_bytes(), |cpu| Out {
        value: cpu.st(0).to_bytes(),
        flags: Flags::NONE,
        rounded_up: false,
    })
}

/// FBSTP. SDM 2A, "FBSTP".
fn fbstp(cpu: &mut Cpu, op: &Op) -> Fallible {
    let indefinite = softfloat::to_bcd(F80::indefinite(), &cpu.x87_env()).value;
    store_ten(cpu, op, indefinite, |cpu| softfloat::to_bcd(cpu.st(0), &cpu.x87_env()))
}

fn store_ten(
    cpu: &mut Cpu,
    op: &Op,
    indefinite: [u8; 10],
    convert: impl FnOnce(&Cpu) -> Out<[u8; 10]>,
) -> Fallible {
    cpu.check_x87()?;
    let empty = cpu.st_empty(0);
    let out = if empty {
        Out { value: indefinite, flags: Flags::INVALID, rounded_up: false }
    } else {
        convert(cpu)
    };
    let env = cpu.x87_env();
    let stores = !env.traps(out.flags & Flags::INVALID);
    let address = op.address(cpu);
    if stores {
        write_ten(cpu, op.segment(), address, out.value)?;
    } else {
        cpu.probe_write(op.segment(), address, 10)?;
    }
    cpu.note_x87_memory(op);
    if empty {
        cpu.stack_underflow();
    } else {
        cpu.raise_x87(&env, out.flags);
        cpu.set_condition(C1, out.rounded_up);
    }
    if stores {
        cpu.pop_x87();
    }
    Ok(())
}

fn fist<const POP: bool, const TRUNCATE: bool>(f: &Form<'_>) -> Option<Handler> {
    match f.size(0) {
        2 => Some(fist_memory::<u16, POP, TRUNCATE>),
        4 => Some(fist_memory::<u32, POP, TRUNCATE>),
        8 => Some(fist_memory::<u64, POP, TRUNCATE>),
        _ => None,
    }
}

/// FIST, FISTP, FISTTP. SDM 2A, "FIST/FISTP".
fn fist_memory<W: Width, const POP: bool, const TRUNCATE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let to = Integer { bits: W::BITS, signed: true };
    store::<W, POP>(cpu, op, W::from_u64(to.indefinite()), |cpu| {
        let env = cpu.x87_env();
        let env = if TRUNCATE { env.with_rounding(Rounding::Zero) } else { env };
        let out = softfloat::to_integer(cpu.st(0), to, &env);
        Out { value: W::from_u64(out.value), flags: out.flags, rounded_up: out.rounded_up }
    })
}

/// FXCH: an empty register counts as the indefinite when IE is masked. SDM 2A, "FXCH".
fn fxch(cpu: &mut Cpu, op: &Op) -> Fallible {
    begin(cpu, op)?;
    let i = op.reg[1];
    cpu.set_condition(C1, false);
    let empty = [cpu.st_empty(0), cpu.st_empty(i)];
    if empty != [false, false] && !cpu.stack_underflow() {
        return Ok(());
    }
    let value = |n: u8, empty: bool| if empty { F80::indefinite() } else { cpu.st(n) };
    let (first, second) = (value(0, empty[0]), value(i, empty[1]));
    cpu.set_st(0, second);
    cpu.set_st(i, first);
    Ok(())
}

/// FFREE; FFREEP (undocumented) also pops. SDM 2A, "FFREE".
fn ffree<const POP: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    begin(cpu, op)?;
    cpu.set_condition(C1, false);
    cpu.free_st(op.reg[0]);
    if POP {
        cpu.pop_x87();
    }
    Ok(())
}

/// FINCSTP and FDECSTP. SDM 2A, "FINCSTP".
fn rotate(cpu: &mut Cpu, op: &Op, by: u8) -> Fallible {
    begin(cpu, op)?;
    cpu.set_condition(C1, false);
    cpu.fpu.top = (cpu.fpu.top + by) & 7;
    Ok(())
}
