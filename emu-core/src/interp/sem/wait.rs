//! MONITOR, MWAIT, PAUSE, RDPMC, RDRAND, RDSEED, and the instructions on caches and serialization that have nothing to
//! do here beyond their checks.

use iced_x86::{Code, Mnemonic as M, Register};

use crate::cpu::{CS, Cpu, DS, ES, FS, Fallible, Fault, GS, RAX, RCX, RDX, SS, Width, attention, eflags};
use crate::interp::op::{Handler, Mem, Op, Source};
use crate::interp::table::{Form, Row, row, widths_wide};
use crate::vmx::capability::{primary, secondary};
use crate::vmx::exit::reason;
use crate::vmx::information;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Monitor, monitor_form),
    row(M::Mwait, |_| Some(mwait)),
    row(M::Pause, |_| Some(pause)),
    row(M::Rdpmc, |_| Some(rdpmc)),
    row(M::Rdrand, |f| widths_wide!(f.size(0), |W| random::<W, false>)),
    row(M::Rdseed, |f| widths_wide!(f.size(0), |W| random::<W, true>)),
    row(M::Clflushopt, |_| Some(|cpu, op| Mem::get::<u8>(cpu, op).map(|_| ()))),
    row(M::Clwb, |_| Some(|cpu, op| Mem::get::<u8>(cpu, op).map(|_| ()))),
    // All memory here is as persistent as it ever gets. Intel, "Instruction Set Extensions Programming Reference" of
    // 2014 to 2016, "PCOMMIT".
    row(M::Pcommit, |_| Some(|_, _| Ok(()))),
    row(M::Cldemote, |_| Some(|_, _| Ok(()))),
    row(M::Serialize, |_| {
        Some(|cpu, _| {
            cpu.stop = true;
            Ok(())
        })
    }),
    row(M::Wbnoinvd, |_| {
        Some(|cpu, _| {
            if cpu.protected() && cpu.cpl != 0 {
                return Err(Fault::GP0);
            }
            cpu.exits_secondary(secondary::WBINVD, reason::WBINVD, 0)
        })
    }),
];

fn monitor_form(f: &Form<'_>) -> Option<Handler> {
    match f.insn.code() {
        Code::Monitorw => Some(monitor_in::<u16>(f)),
        Code::Monitord => Some(monitor_in::<u32>(f)),
        _ => Some(monitor_in::<u64>(f)),
    }
}

fn monitor_in<A: Width>(f: &Form<'_>) -> Handler {
    match f.insn.segment_prefix() {
        Register::ES => monitor::<A, ES>,
        Register::CS => monitor::<A, CS>,
        Register::SS => monitor::<A, SS>,
        Register::FS => monitor::<A, FS>,
        Register::GS => monitor::<A, GS>,
        _ => monitor::<A, DS>,
    }
}

/// Both are for CPL 0, and only while IA32_MISC_ENABLE says so.
fn waiting_allowed(cpu: &Cpu) -> Fallible {
    let user = cpu.protected() && cpu.cpl != 0;
    if user || !cpu.has_monitor() { Err(Fault::UD) } else { Ok(()) }
}

/// PAUSE: whoever spins leaves its turn to the processor that it waits for. When all others sleep its own begins anew,
/// as if it had come back from them.
fn pause(cpu: &mut Cpu, _: &Op) -> Fallible {
    cpu.exits_by(primary::PAUSE, reason::PAUSE)?;
    if cpu.processors > 1 && cpu.others_sleep() {
        cpu.turn_began = cpu.instructions() + 1;
    } else if cpu.processors > 1 {
        cpu.attention |= attention::PAUSE;
        cpu.stop = true;
    }
    Ok(())
}

/// MONITOR: checked like a byte load. SDM 2B, "MONITOR".
fn monitor<A: Width, const SEGMENT: usize>(cpu: &mut Cpu, _: &Op) -> Fallible {
    waiting_allowed(cpu)?;
    cpu.exits_by(primary::MONITOR, reason::MONITOR)?;
    if cpu.regs[RCX] as u32 != 0 {
        return Err(Fault::GP0);
    }
    let address = cpu.register::<A>(RAX as u8).u64();
    cpu.read::<u8>(SEGMENT, address)?;
    let linear = cpu.linear(SEGMENT, address, 1, false)?;
    cpu.arm_monitor(linear)
}

/// MWAIT: ECX bit 0 lets a masked interrupt end the wait. SDM 2B, "MWAIT".
fn mwait(cpu: &mut Cpu, _: &Op) -> Fallible {
    waiting_allowed(cpu)?;
    let armed = u64::from(cpu.monitor.is_armed());
    cpu.exits_qualified(primary::MWAIT, reason::MWAIT, armed)?;
    let hints = cpu.regs[RCX] as u32;
    if hints > 1 {
        return Err(Fault::GP0);
    }
    cpu.wait(hints & 1 != 0);
    cpu.stop = true;
    cpu.attention |= attention::INTERRUPTS;
    Ok(())
}

/// RDPMC. SDM 2B, "RDPMC".
fn rdpmc(cpu: &mut Cpu, _: &Op) -> Fallible {
    let allowed = cpu.cr4 & crate::cpu::control::CR4_PCE != 0 || !cpu.protected() || cpu.cpl == 0;
    if allowed {
        cpu.exits_by(primary::RDPMC, reason::RDPMC)?;
    }
    let number = cpu.regs[RCX] as u32 as usize;
    let value = cpu.performance_counter(number).filter(|_| allowed).ok_or(Fault::GP0)?;
    cpu.regs[RAX] = value & 0xffff_ffff;
    cpu.regs[RDX] = value >> 32;
    Ok(())
}

/// RDRAND and RDSEED: numbers never run out. SDM 2B, "RDRAND".
fn random<W: Width, const SEED: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let (control, why) =
        if SEED { (secondary::RDSEED, reason::RDSEED) } else { (secondary::RDRAND, reason::RDRAND) };
    cpu.exits_secondary(control, why, information::random(op.reg[0], W::BYTES))?;
    let value = cpu.next_random();
    cpu.set_register(op.reg[0], W::from_u64(value));
    cpu.flags.set_some(eflags::OSZAPC, eflags::CF);
    Ok(())
}
