//! FNINIT, FNCLEX, FNOP, FNENI, FNDISI, FNSETPM, FLDCW, FNSTCW, FNSTSW, WAIT, EMMS.

use iced_x86::Mnemonic as M;

use crate::cpu::control::{CR0_EM, CR0_TS};
use crate::cpu::fpu::{STATUS_B, STATUS_ES};
use crate::cpu::{Cpu, Fallible, Fault, RAX};
use crate::interp::op::{Handler, Op};
use crate::interp::sem::sse::state::update_summary;
use crate::interp::table::{Form, Kind, Row, row};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Fninit, |_| Some(fninit)),
    row(M::Fnclex, |_| Some(fnclex)),
    row(M::Fnop, |_| Some(super::begin)),
    // Of the 8087 and the 80287: without effect since. SDM 3B, "FENI and FDISI", "FSETPM".
    row(M::Fneni, |_| Some(|cpu, _| check_no_wait(cpu))),
    row(M::Fndisi, |_| Some(|cpu, _| check_no_wait(cpu))),
    row(M::Fnsetpm, |_| Some(|cpu, _| check_no_wait(cpu))),
    row(M::Fldcw, |_| Some(fldcw)),
    row(M::Fnstcw, |_| Some(fnstcw)),
    row(M::Fnstsw, fnstsw_form),
    row(M::Wait, |_| Some(|cpu, _| cpu.check_wait())),
    row(M::Emms, |_| Some(emms)),
];

/// The check of instructions that do not wait for pending errors.
pub fn check_no_wait(cpu: &Cpu) -> Fallible {
    if cpu.cr0 & (CR0_EM | CR0_TS) != 0 { Err(Fault::NM) } else { Ok(()) }
}

/// Takes a control word: bit 6 is always one, the other reserved bits zero. An engine that runs x87 instructions with
/// all exceptions masked looks again when one is not.
pub fn load_control(cpu: &mut Cpu, word: u16) {
    cpu.fpu.control = word & 0x1f3f | 0x40;
    cpu.stop |= word & 0x3f != 0x3f;
}

/// FNINIT. SDM 2A, "FINIT/FNINIT".
fn fninit(cpu: &mut Cpu, _: &Op) -> Fallible {
    check_no_wait(cpu)?;
    cpu.fpu.init();
    cpu.update_ferr();
    Ok(())
}

/// FNCLEX. SDM 2A, "FCLEX/FNCLEX".
fn fnclex(cpu: &mut Cpu, _: &Op) -> Fallible {
    check_no_wait(cpu)?;
    cpu.fpu.status &= !(0x7f | STATUS_ES | STATUS_B);
    cpu.update_ferr();
    Ok(())
}

/// FLDCW: an exception that is flagged and now unmasked becomes pending. SDM 2A, "FLDCW".
fn fldcw(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.check_x87()?;
    let address = op.address(cpu);
    let word = cpu.read::<u16>(op.segment(), address)?;
    load_control(cpu, word);
    update_summary(cpu);
    Ok(())
}

/// FNSTCW. SDM 2A, "FSTCW/FNSTCW".
fn fnstcw(cpu: &mut Cpu, op: &Op) -> Fallible {
    check_no_wait(cpu)?;
    let address = op.address(cpu);
    cpu.write(op.segment(), address, cpu.fpu.control)
}

fn fnstsw_form(f: &Form<'_>) -> Option<Handler> {
    Some(if f.kind(0) == Kind::Mem { fnstsw_memory } else { fnstsw_ax })
}

/// FNSTSW. SDM 2A, "FSTSW/FNSTSW".
fn fnstsw_memory(cpu: &mut Cpu, op: &Op) -> Fallible {
    check_no_wait(cpu)?;
    let address = op.address(cpu);
    cpu.write(op.segment(), address, cpu.fpu.status_word())
}

fn fnstsw_ax(cpu: &mut Cpu, _: &Op) -> Fallible {
    check_no_wait(cpu)?;
    cpu.set_register(RAX as u8, cpu.fpu.status_word());
    Ok(())
}

/// EMMS: all registers empty. SDM 2A, "EMMS".
fn emms(cpu: &mut Cpu, _: &Op) -> Fallible {
    cpu.check_mmx()?;
    cpu.fpu.top = 0;
    cpu.fpu.valid = 0;
    Ok(())
}
