//! The instructions of virtual-machine extensions: where their operands are. What they do stands in [`crate::vmx`].

use iced_x86::Mnemonic as M;

use crate::cpu::{Cpu, Fallible, Fault, Width};
use crate::interp::op::{Handler, Mem, Op, Operand, Reg, Source, Target};
use crate::interp::table::{Form, Kind, Row, row};
use crate::vmx::exit::reason;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Vmxon, |_| Some(Cpu::vmxon)),
    row(M::Vmxoff, |_| Some(|cpu, _| cpu.vmxoff())),
    row(M::Vmcall, |_| Some(|cpu, _| cpu.vmcall())),
    row(M::Vmclear, |_| Some(Cpu::vmclear)),
    row(M::Vmptrld, |_| Some(Cpu::vmptrld)),
    row(M::Vmptrst, |_| Some(Cpu::vmptrst)),
    row(M::Vmread, |f| {
        select(f, 0, [vmread::<u32, Reg<0>>, vmread::<u32, Mem>], [vmread::<u64, Reg<0>>, vmread::<u64, Mem>])
    }),
    row(M::Vmwrite, |f| {
        select(
            f,
            1,
            [vmwrite::<u32, Reg<1>>, vmwrite::<u32, Mem>],
            [vmwrite::<u64, Reg<1>>, vmwrite::<u64, Mem>],
        )
    }),
    row(M::Vmlaunch, |_| Some(|cpu, _| cpu.vm_enter(true))),
    row(M::Vmresume, |_| Some(|cpu, _| cpu.vm_enter(false))),
    row(M::Invept, |_| Some(Cpu::invept)),
    row(M::Invvpid, |_| Some(Cpu::invvpid)),
    // There are no VM functions, so nothing can enable it.
    row(M::Vmfunc, |_| Some(|_, _| Err(Fault::UD))),
];

/// The handler for operands of 32 or 64 bits, with operand `n` in a register or in memory.
fn select(f: &Form<'_>, n: u32, narrow: [Handler; 2], wide: [Handler; 2]) -> Option<Handler> {
    let handlers = if f.code_size == 64 { wide } else { narrow };
    Some(handlers[usize::from(f.kind(n) == Kind::Mem)])
}

/// VMREAD. SDM 3C, "VMREAD".
fn vmread<W: Width, D: Target + Operand>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.vm_access_allowed(op, D::register(op), op.reg[1], reason::VMREAD)?;
    let encoding = cpu.register::<W>(op.reg[1]).u64();
    if let Some(value) = cpu.vmread(encoding) {
        D::set(cpu, op, W::from_u64(value))?;
        cpu.vmread_done();
    }
    Ok(())
}

/// VMWRITE. SDM 3C, "VMWRITE".
fn vmwrite<W: Width, S: Source + Operand>(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.vm_access_allowed(op, S::register(op), op.reg[0], reason::VMWRITE)?;
    let value = S::get::<W>(cpu, op)?.u64();
    let encoding = cpu.register::<W>(op.reg[0]).u64();
    cpu.vmwrite(encoding, value);
    Ok(())
}
