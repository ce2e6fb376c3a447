//! CLC, STC, CMC, CLD, STD, CLI, STI, LAHF, SAHF, SALC, CLAC, STAC.

use iced_x86::Mnemonic as M;

use crate::cpu::{Cpu, Fallible, Fault, RAX, attention, eflags};
use crate::interp::op::{HIGH_BYTE, Op};
use crate::interp::table::{Row, row};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Clc, |_| Some(|cpu, _| carry(cpu, 0))),
    row(M::Stc, |_| Some(|cpu, _| carry(cpu, eflags::CF))),
    row(M::Cmc, |_| {
        Some(|cpu, _| {
            let flipped = cpu.flags.arithmetic() ^ eflags::CF;
            cpu.flags.set_arithmetic(flipped);
            Ok(())
        })
    }),
    row(M::Cld, |_| Some(|cpu, _| put(cpu, eflags::DF, false))),
    row(M::Std, |_| Some(|cpu, _| put(cpu, eflags::DF, true))),
    row(M::Cli, |_| Some(cli)),
    row(M::Sti, |_| Some(sti)),
    row(M::Lahf, |_| Some(lahf)),
    row(M::Sahf, |_| Some(sahf)),
    row(M::Salc, |_| Some(salc)),
    row(M::Clac, |_| Some(|cpu, _| access_check(cpu, false))),
    row(M::Stac, |_| Some(|cpu, _| access_check(cpu, true))),
];

fn carry(cpu: &mut Cpu, value: u64) -> Fallible {
    cpu.flags.set_some(eflags::CF, value);
    Ok(())
}

fn put(cpu: &mut Cpu, flag: u64, on: bool) -> Fallible {
    cpu.flags.put(flag, on);
    Ok(())
}

fn may_change_if(cpu: &Cpu) -> bool {
    !cpu.protected() || cpu.cpl <= cpu.iopl()
}

/// CLI. SDM 2A, "CLI".
fn cli(cpu: &mut Cpu, _: &Op) -> Fallible {
    if !may_change_if(cpu) {
        return cpu.change_virtual_if(false);
    }
    cpu.flags.put(eflags::IF, false);
    Ok(())
}

/// STI: interrupts stay off for one more instruction when they were off. SDM 2B, "STI".
fn sti(cpu: &mut Cpu, _: &Op) -> Fallible {
    if !may_change_if(cpu) {
        return cpu.change_virtual_if(true);
    }
    if cpu.flags.system() & eflags::IF == 0 {
        cpu.flags.put(eflags::IF, true);
        cpu.inhibit_at = cpu.instructions() + 1;
        cpu.attention |= attention::INTERRUPTS;
        cpu.stop = true;
    }
    Ok(())
}

/// LAHF. SDM 2A, "LAHF".
fn lahf(cpu: &mut Cpu, _: &Op) -> Fallible {
    let flags = cpu.flags.get() as u8;
    cpu.set_register(HIGH_BYTE, flags);
    Ok(())
}

/// SAHF. SDM 2B, "SAHF".
fn sahf(cpu: &mut Cpu, _: &Op) -> Fallible {
    let image = u64::from(cpu.register::<u8>(HIGH_BYTE));
    cpu.flags.set_some(eflags::OSZAPC & 0xff, image);
    Ok(())
}

/// SALC: AL = CF ? FFh : 0; undocumented, in every processor's 16- and 32-bit modes.
fn salc(cpu: &mut Cpu, _: &Op) -> Fallible {
    let value = if cpu.flags.carry() { 0xffu8 } else { 0 };
    cpu.set_register(RAX as u8, value);
    Ok(())
}

/// CLAC and STAC. SDM 2A, "CLAC"; SDM 2B, "STAC".
fn access_check(cpu: &mut Cpu, on: bool) -> Fallible {
    if cpu.cpl != 0 {
        return Err(Fault::UD);
    }
    cpu.flags.put(eflags::AC, on);
    cpu.update_context();
    Ok(())
}
