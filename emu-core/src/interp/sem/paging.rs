//! INVPCID, RDPKRU, WRPKRU.

use iced_x86::Mnemonic as M;

use crate::cpu::control::{CR4_PCIDE, CR4_PKE};
use crate::cpu::{Cpu, Fallible, Fault, RAX, RCX, RDX};
use crate::interp::op::Op;
use crate::interp::table::{Row, row};
use crate::vmx::capability::{primary, secondary};
use crate::vmx::exit::reason;

/// The rows of this family.
pub const ROWS: &[Row] =
    &[row(M::Invpcid, |_| Some(invpcid)), row(M::Rdpkru, |_| Some(rdpkru)), row(M::Wrpkru, |_| Some(wrpkru))];

/// INVPCID. SDM 2A, "INVPCID".
fn invpcid(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.enabled_in_guest(secondary::INVPCID)?;
    if cpu.protected() && cpu.cpl != 0 {
        return Err(Fault::GP0);
    }
    if cpu.vmx.controls.primary(primary::INVLPG) {
        cpu.exits_with_memory(op, None, reason::INVPCID, u32::from(op.reg[0]) << 28)?;
    }
    let wide = cpu.code_size() == 64;
    let number = usize::from(op.reg[0]);
    let kind = if wide { cpu.regs[number] } else { cpu.regs[number] & 0xffff_ffff };
    let address = op.address(cpu);
    let context = cpu.read::<u64>(op.segment(), address)?;
    let linear = cpu.read::<u64>(op.segment(), op.cut_address(address.wrapping_add(8)))?;
    let wrong = context >> 12 != 0
        || kind > 3
        || kind == 0 && !cpu.canonical_register(linear)
        || kind < 2 && cpu.cr4 & CR4_PCIDE == 0 && context != 0;
    if wrong {
        return Err(Fault::GP0);
    }
    match kind {
        0 => cpu.tlb.flush_page_of(context as u16, linear),
        1 => cpu.tlb.flush_pcid(context as u16),
        2 => cpu.tlb.flush(),
        _ => cpu.tlb.flush_local(),
    }
    cpu.fetch_generation += 1;
    cpu.stop = true;
    Ok(())
}

/// Both need CR4.PKE and ECX = 0.
fn keys_allowed(cpu: &Cpu) -> Fallible {
    if cpu.cr4 & CR4_PKE == 0 {
        return Err(Fault::UD);
    }
    if cpu.regs[RCX] as u32 != 0 { Err(Fault::GP0) } else { Ok(()) }
}

/// RDPKRU. SDM 2B, "RDPKRU".
fn rdpkru(cpu: &mut Cpu, _: &Op) -> Fallible {
    keys_allowed(cpu)?;
    cpu.regs[RAX] = u64::from(cpu.pkru);
    cpu.regs[RDX] = 0;
    Ok(())
}

/// WRPKRU. SDM 2D, "WRPKRU".
fn wrpkru(cpu: &mut Cpu, _: &Op) -> Fallible {
    keys_allowed(cpu)?;
    if cpu.regs[RDX] as u32 != 0 {
        return Err(Fault::GP0);
    }
    cpu.load_pkru(cpu.regs[RAX] as u32);
    Ok(())
}
