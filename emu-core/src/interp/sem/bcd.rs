//! DAA, DAS, AAA, AAS, AAM, AAD. SDM 2A at each; none exists in 64-bit mode.

use iced_x86::Mnemonic as M;

use crate::cpu::eflags::{AF, CF, OF, sign_zero_parity};
use crate::cpu::{Cpu, Fallible, Fault, RAX};
use crate::interp::op::{HIGH_BYTE, Op};
use crate::interp::table::{Row, row};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Daa, |_| Some(decimal_adjust::<false>)),
    row(M::Das, |_| Some(decimal_adjust::<true>)),
    row(M::Aaa, |_| Some(ascii_adjust::<false>)),
    row(M::Aas, |_| Some(ascii_adjust::<true>)),
    row(M::Aam, |_| Some(aam)),
    row(M::Aad, |_| Some(aad)),
];

/// DAA and DAS. OF is undefined; silicon sets it as the last addition or subtraction would.
fn decimal_adjust<const SUBTRACT: bool>(cpu: &mut Cpu, _: &Op) -> Fallible {
    let flags = cpu.flags.arithmetic();
    let old: u8 = cpu.register(RAX as u8);
    let (mut value, mut new) = (old, 0);
    let adjust = |value: u8, by: u8| if SUBTRACT { value.wrapping_sub(by) } else { value.wrapping_add(by) };
    if old & 15 > 9 || flags & AF != 0 {
        let carried = if SUBTRACT { value < 6 } else { value > 0xf9 };
        value = adjust(value, 6);
        new |= AF | if flags & CF != 0 || carried { CF } else { 0 };
    }
    if old > 0x99 || flags & CF != 0 {
        value = adjust(value, 0x60);
        new |= CF;
    }
    let overflow = if SUBTRACT { old & !value } else { !old & value } & 0x80 != 0;
    let overflow = if overflow { OF } else { 0 };
    cpu.set_register(RAX as u8, value);
    cpu.flags.set_arithmetic(new | sign_zero_parity(value) | overflow);
    Ok(())
}

/// AAA and AAS. OF, SF, ZF and PF are undefined; silicon clears OF and takes the others from AL.
fn ascii_adjust<const SUBTRACT: bool>(cpu: &mut Cpu, _: &Op) -> Fallible {
    let flags = cpu.flags.arithmetic();
    let ax: u16 = cpu.register(RAX as u8);
    let adjust = ax & 15 > 9 || flags & AF != 0;
    let value = match (adjust, SUBTRACT) {
        (false, _) => ax,
        (true, false) => ax.wrapping_add(0x106),
        (true, true) => ax.wrapping_sub(0x106),
    };
    let value = value & 0xff0f;
    cpu.set_register(RAX as u8, value);
    cpu.flags.set_arithmetic(if adjust { AF | CF } else { 0 } | sign_zero_parity(value as u8));
    Ok(())
}

/// AAM: AL divided by the immediate.
fn aam(cpu: &mut Cpu, op: &Op) -> Fallible {
    let (al, base) = (cpu.register::<u8>(RAX as u8), op.imm as u8);
    if base == 0 {
        return Err(Fault::DE);
    }
    cpu.set_register(HIGH_BYTE, al / base);
    cpu.set_register(RAX as u8, al % base);
    cpu.flags.set_arithmetic(sign_zero_parity(al % base));
    Ok(())
}

/// AAD: AH times the immediate plus AL. OF, AF and CF are undefined; silicon clears them on Intel.
fn aad(cpu: &mut Cpu, op: &Op) -> Fallible {
    let (al, ah) = (cpu.register::<u8>(RAX as u8), cpu.register::<u8>(HIGH_BYTE));
    let value = al.wrapping_add(ah.wrapping_mul(op.imm as u8));
    cpu.set_register(RAX as u8, u16::from(value));
    cpu.flags.set_arithmetic(sign_zero_parity(value));
    Ok(())
}
