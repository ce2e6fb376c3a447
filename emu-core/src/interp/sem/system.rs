//! System instructions: HLT, descriptor-table and task registers, CLTS, INVLPG, MSRs, CPUID, time stamps,
//! SYSCALL and SYSENTER, SWAPGS, caches and fences.

use iced_x86::Mnemonic as M;

use crate::cpu::control::{CR0_TS, CR4_TSD, CR4_UMIP};
use crate::cpu::msr::number::{FS_BASE, KERNEL_GS_BASE};
use crate::cpu::segment::{is_null, kind};
use crate::cpu::{Cpu, Fallible, Fault, GS, LDTR, RAX, RBX, RCX, RDX, TR, TableRegister, Width};
use crate::interp::op::{Handler, Mem, Op, Operand, Reg, Source, Target};
use crate::interp::table::{Form, Kind, Row, row, widths_wide};
use crate::vmx::capability::{primary, secondary};
use crate::vmx::exit::reason;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    row(M::Hlt, |_| Some(hlt)),
    row(M::Lgdt, |f| load_table::<true>(f)),
    row(M::Lidt, |f| load_table::<false>(f)),
    row(M::Sgdt, |f| Some(if f.code_size == 64 { store_table::<true, 8> } else { store_table::<true, 4> })),
    row(M::Sidt, |f| Some(if f.code_size == 64 { store_table::<false, 8> } else { store_table::<false, 4> })),
    row(M::Lldt, |f| Some(if f.kind(0) == Kind::Reg { lldt::<Reg<0>> } else { lldt::<Mem> })),
    row(M::Ltr, |f| Some(if f.kind(0) == Kind::Reg { ltr::<Reg<0>> } else { ltr::<Mem> })),
    row(M::Sldt, |f| store_selector::<LDTR>(f)),
    row(M::Str, |f| store_selector::<TR>(f)),
    row(M::Lmsw, |f| Some(if f.kind(0) == Kind::Reg { lmsw::<Reg<0>> } else { lmsw::<Mem> })),
    row(M::Smsw, |f| match f.kind(0) {
        Kind::Reg => widths_wide!(f.size(0), |W| smsw::<W, Reg<0>>),
        _ => Some(smsw::<u16, Mem>),
    }),
    row(M::Clts, |_| Some(clts)),
    row(M::Invlpg, |_| Some(invlpg)),
    row(M::Invd, |_| Some(invd)),
    row(M::Wbinvd, |_| Some(wbinvd)),
    row(M::Rdmsr, |_| Some(rdmsr)),
    row(M::Wrmsr, |_| Some(wrmsr)),
    row(M::Cpuid, |_| Some(cpuid)),
    row(M::Rdtsc, |_| Some(rdtsc)),
    row(M::Rdtscp, |_| Some(rdtscp)),
    row(M::Rdpid, |_| Some(rdpid)),
    row(M::Syscall, |_| {
        Some(|cpu, op| {
            let next = op.next(cpu);
            cpu.syscall(next)
        })
    }),
    row(M::Sysret, |_| Some(|cpu, _| cpu.sysret(4))),
    row(M::Sysretq, |_| Some(|cpu, _| cpu.sysret(8))),
    row(M::Sysenter, |_| Some(|cpu, _| cpu.sysenter())),
    row(M::Sysexit, |_| Some(|cpu, _| cpu.sysexit(4))),
    row(M::Sysexitq, |_| Some(|cpu, _| cpu.sysexit(8))),
    row(M::Swapgs, |_| Some(swapgs)),
    row(M::Rsm, |_| Some(|cpu, _| cpu.resume())),
    row(M::Lfence, |_| Some(|_, _| Ok(()))),
    row(M::Sfence, |_| Some(|_, _| Ok(()))),
    row(M::Mfence, |_| Some(|_, _| Ok(()))),
    row(M::Clflush, |_| Some(flush_line)),
];

fn supervisor(cpu: &Cpu) -> Fallible {
    if cpu.protected() && cpu.cpl != 0 { Err(Fault::GP0) } else { Ok(()) }
}

/// Instructions that only exist in protected mode.
fn protected_only(cpu: &Cpu) -> Fallible {
    if cpu.paragraphs() { Err(Fault::UD) } else { Ok(()) }
}

/// UMIP takes SGDT, SIDT, SLDT, STR and SMSW away from user code.
fn user_may_look(cpu: &Cpu) -> Fallible {
    if cpu.cr4 & CR4_UMIP != 0 && cpu.cpl > 0 { Err(Fault::GP0) } else { Ok(()) }
}

/// HLT. SDM 2A, "HLT".
fn hlt(cpu: &mut Cpu, _: &Op) -> Fallible {
    supervisor(cpu)?;
    cpu.exits_by(primary::HLT, reason::HLT)?;
    cpu.halt();
    cpu.stop = true;
    cpu.attention |= crate::cpu::attention::INTERRUPTS;
    Ok(())
}

fn invd(cpu: &mut Cpu, _: &Op) -> Fallible {
    supervisor(cpu)?;
    cpu.exits(reason::INVD)
}

fn wbinvd(cpu: &mut Cpu, _: &Op) -> Fallible {
    supervisor(cpu)?;
    cpu.exits_secondary(secondary::WBINVD, reason::WBINVD, 0)
}

fn load_table<const GDT: bool>(f: &Form<'_>) -> Option<Handler> {
    use iced_x86::Code::{Lgdt_m1632_16, Lidt_m1632_16};
    Some(match (f.code_size, f.insn.code()) {
        (64, _) => lgdt::<GDT, 8>,
        (_, Lgdt_m1632_16 | Lidt_m1632_16) => lgdt::<GDT, 3>,
        _ => lgdt::<GDT, 4>,
    })
}

/// LGDT and LIDT with a base of `BYTES` bytes. SDM 2A, "LGDT/LIDT".
fn lgdt<const GDT: bool, const BYTES: u64>(cpu: &mut Cpu, op: &Op) -> Fallible {
    supervisor(cpu)?;
    exits_on_table(cpu, op, if GDT { 2 } else { 3 })?;
    let address = op.address(cpu);
    let limit = cpu.read::<u16>(op.segment(), address)?;
    let at = op.cut_address(address.wrapping_add(2));
    let base = if BYTES == 8 {
        cpu.read::<u64>(op.segment(), at)?
    } else {
        u64::from(cpu.read::<u32>(op.segment(), at)?) & ((1 << (8 * BYTES)) - 1)
    };
    if !cpu.canonical_register(base) {
        return Err(Fault::GP0);
    }
    let table = TableRegister { base, limit };
    if GDT {
        cpu.gdtr = table;
    } else {
        cpu.idtr = table;
    }
    Ok(())
}

/// SGDT and SIDT. SDM 2B, "SGDT", "SIDT".
fn store_table<const GDT: bool, const BYTES: u64>(cpu: &mut Cpu, op: &Op) -> Fallible {
    user_may_look(cpu)?;
    exits_on_table(cpu, op, if GDT { 0 } else { 1 })?;
    let table = if GDT { cpu.gdtr } else { cpu.idtr };
    let address = op.address(cpu);
    let at = op.cut_address(address.wrapping_add(2));
    // The limit comes first: silicon tells its address when both cannot be written.
    cpu.probe_write(op.segment(), address, 2)?;
    cpu.probe_write(op.segment(), at, BYTES)?;
    cpu.write(op.segment(), address, table.limit)?;
    if BYTES == 8 {
        cpu.write(op.segment(), at, table.base)
    } else {
        cpu.write(op.segment(), at, table.base as u32)
    }
}

/// Has the instruction exit; SGDT, SIDT, LGDT and LIDT are 0 to 3.
fn exits_on_table(cpu: &mut Cpu, op: &Op, which: u32) -> Fallible {
    let wide = if cpu.code_size() == 16 { 0 } else { 1 << 11 };
    cpu.exits_with_memory(op, Some(secondary::DESCRIPTOR_TABLES), reason::GDTR_IDTR, wide | which << 28)
}

/// LLDT. SDM 2A, "LLDT".
fn lldt<S: Source + Operand>(cpu: &mut Cpu, op: &Op) -> Fallible {
    protected_only(cpu)?;
    supervisor(cpu)?;
    cpu.exits_on_selector(op, S::register(op), 2)?;
    let selector = S::get::<u16>(cpu, op)?;
    load_ldtr(cpu, selector)
}

/// What LLDT checks and loads.
///
/// # Errors
/// #GP, #NP with the selector, #PF; LDTR stays as it was then.
pub fn load_ldtr(cpu: &mut Cpu, selector: u16) -> Fallible {
    if is_null(selector) {
        cpu.seg[LDTR] = Cpu::null(selector, 0);
        return Ok(());
    }
    if selector & 4 != 0 {
        return Err(Fault::gp(selector));
    }
    let descriptor = cpu.descriptor(selector, Fault::gp(selector))?;
    let rights = descriptor.rights();
    if rights.code_or_data() || rights.kind() != kind::LDT {
        return Err(Fault::gp(selector));
    }
    if !rights.present() {
        return Err(Fault::np(selector));
    }
    let high = if cpu.long_mode() { cpu.descriptor_high(&descriptor, selector)? } else { 0 };
    let mut segment = descriptor.segment(selector);
    segment.rights = rights;
    segment.base |= high;
    canonical_base(cpu, segment.base, selector)?;
    cpu.seg[LDTR] = segment;
    Ok(())
}

/// In 64-bit mode the base of an LDT or a TSS has to be canonical. AMD APM vol. 3, "LLDT", "LTR".
fn canonical_base(cpu: &Cpu, base: u64, selector: u16) -> Fallible {
    if cpu.long_mode() && !cpu.canonical_register(base) { Err(Fault::gp(selector)) } else { Ok(()) }
}

/// LTR. SDM 2A, "LTR".
fn ltr<S: Source + Operand>(cpu: &mut Cpu, op: &Op) -> Fallible {
    protected_only(cpu)?;
    supervisor(cpu)?;
    cpu.exits_on_selector(op, S::register(op), 3)?;
    let selector = S::get::<u16>(cpu, op)?;
    load_tr(cpu, selector)
}

/// What LTR checks and loads; the descriptor becomes busy.
///
/// # Errors
/// #GP, #NP with the selector, #PF; TR stays as it was then.
pub fn load_tr(cpu: &mut Cpu, selector: u16) -> Fallible {
    if is_null(selector) {
        return Err(Fault::GP0);
    }
    let descriptor = cpu.available_tss(selector)?;
    let long = cpu.long_mode();
    if long && descriptor.rights().kind() != kind::TSS_AVAILABLE {
        return Err(Fault::gp(selector));
    }
    let high = if long { cpu.descriptor_high(&descriptor, selector)? } else { 0 };
    canonical_base(cpu, descriptor.segment(selector).base | high, selector)?;
    cpu.write_system(descriptor.address + 5, 1, (descriptor.raw >> 40 | 2) & 0xff)?;
    let mut segment = descriptor.segment(selector);
    segment.rights = crate::cpu::Rights(descriptor.rights().0 | 2);
    segment.base |= high;
    cpu.seg[TR] = segment;
    Ok(())
}

fn store_selector<const REGISTER: usize>(f: &Form<'_>) -> Option<Handler> {
    match f.kind(0) {
        Kind::Reg => widths_wide!(f.size(0), |W| sldt::<W, Reg<0>, REGISTER>),
        _ => Some(sldt::<u16, Mem, REGISTER>),
    }
}

/// SLDT and STR. SDM 2B at each.
fn sldt<W: Width, D: Target + Operand, const REGISTER: usize>(cpu: &mut Cpu, op: &Op) -> Fallible {
    protected_only(cpu)?;
    user_may_look(cpu)?;
    cpu.exits_on_selector(op, D::register(op), if REGISTER == LDTR { 0 } else { 1 })?;
    let selector = u64::from(cpu.seg[REGISTER].selector);
    D::set(cpu, op, W::from_u64(selector))
}

/// LMSW: sets PE, MP, EM and TS, and cannot clear PE. SDM 2A, "LMSW".
fn lmsw<S: Source + Operand>(cpu: &mut Cpu, op: &Op) -> Fallible {
    supervisor(cpu)?;
    let image = u64::from(S::get::<u16>(cpu, op)?) & 15;
    let linear = cpu.operand_linear(op.segment(), op.address(cpu));
    let memory = S::register(op).is_none().then_some(linear);
    let image = cpu.guest_lmsw(image, memory)?;
    let value = cpu.cr0 & !14 | image;
    cpu.write_cr0(value)
}

/// SMSW. SDM 2B, "SMSW".
fn smsw<W: Width, D: Target>(cpu: &mut Cpu, op: &Op) -> Fallible {
    user_may_look(cpu)?;
    let value = W::from_u64(cpu.guest_control_read(0, cpu.cr0));
    D::set(cpu, op, value)
}

/// CLTS. SDM 2A, "CLTS".
fn clts(cpu: &mut Cpu, _: &Op) -> Fallible {
    supervisor(cpu)?;
    if cpu.guest_clts()? {
        cpu.cr0 &= !CR0_TS;
    }
    Ok(())
}

/// INVLPG. SDM 2A, "INVLPG".
fn invlpg(cpu: &mut Cpu, op: &Op) -> Fallible {
    supervisor(cpu)?;
    let linear = cpu.seg[op.segment()].base.wrapping_add(op.address(cpu)) & cpu.linear_mask;
    cpu.exits_qualified(primary::INVLPG, reason::INVLPG, linear)?;
    cpu.flush_page(linear);
    Ok(())
}

/// CLFLUSH: checked like a byte load. SDM 2A, "CLFLUSH".
fn flush_line(cpu: &mut Cpu, op: &Op) -> Fallible {
    Mem::get::<u8>(cpu, op).map(|_| ())
}

fn set_edx_eax(cpu: &mut Cpu, value: u64) {
    cpu.regs[RAX] = value & 0xffff_ffff;
    cpu.regs[RDX] = value >> 32;
}

/// RDMSR. SDM 2B, "RDMSR".
fn rdmsr(cpu: &mut Cpu, _: &Op) -> Fallible {
    supervisor(cpu)?;
    cpu.exits_on_msr(false)?;
    let number = cpu.regs[RCX] as u32;
    let value = cpu.read_msr(number)?;
    set_edx_eax(cpu, value);
    Ok(())
}

/// WRMSR. SDM 2D, "WRMSR".
fn wrmsr(cpu: &mut Cpu, _: &Op) -> Fallible {
    supervisor(cpu)?;
    cpu.exits_on_msr(true)?;
    let number = cpu.regs[RCX] as u32;
    let value = cpu.regs[RDX] << 32 | cpu.regs[RAX] & 0xffff_ffff;
    // The block may go on behind a new base.
    cpu.stop |= !(FS_BASE..=KERNEL_GS_BASE).contains(&number);
    cpu.write_msr(number, value)?;
    cpu.note_msr_write(number, value);
    Ok(())
}

const APIC_BASE: u32 = 0x1b;
const APIC_ENABLE: u64 = 1 << 11;
const LEAF1_APIC: u32 = 1 << 9;

/// CPUID. SDM 2A, "CPUID".
fn cpuid(cpu: &mut Cpu, _: &Op) -> Fallible {
    cpu.exits(reason::CPUID)?;
    let leaf = cpu.regs[RAX] as u32;
    let [a, b, c, mut d] = cpu.cpuid(leaf, cpu.regs[RCX] as u32);
    // A local APIC that is switched off is not reported. SDM 3A, "Presence of the Local APIC".
    if leaf == 1 && cpu.read_msr(APIC_BASE).is_ok_and(|base| base & APIC_ENABLE == 0) {
        d &= !LEAF1_APIC;
    }
    cpu.regs[RAX] = u64::from(a);
    cpu.regs[RBX] = u64::from(b);
    cpu.regs[RCX] = u64::from(c);
    cpu.regs[RDX] = u64::from(d);
    Ok(())
}

fn time_stamp_allowed(cpu: &Cpu) -> Fallible {
    if cpu.cr4 & CR4_TSD != 0 && cpu.protected() && cpu.cpl != 0 { Err(Fault::GP0) } else { Ok(()) }
}

/// RDTSC. SDM 2B, "RDTSC".
fn rdtsc(cpu: &mut Cpu, _: &Op) -> Fallible {
    time_stamp_allowed(cpu)?;
    cpu.exits_by(primary::RDTSC, reason::RDTSC)?;
    let value = cpu.tsc();
    set_edx_eax(cpu, value);
    Ok(())
}

/// RDTSCP. SDM 2B, "RDTSCP".
fn rdtscp(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.enabled_in_guest(secondary::RDTSCP)?;
    time_stamp_allowed(cpu)?;
    cpu.exits_by(primary::RDTSC, reason::RDTSCP)?;
    rdtsc(cpu, op)?;
    cpu.regs[RCX] = cpu.msrs.tsc_aux;
    Ok(())
}

/// RDPID. SDM 2B, "RDPID".
fn rdpid(cpu: &mut Cpu, op: &Op) -> Fallible {
    cpu.enabled_in_guest(secondary::RDTSCP)?;
    cpu.regs[usize::from(op.reg[0])] = cpu.msrs.tsc_aux;
    Ok(())
}

/// SWAPGS. SDM 2B, "SWAPGS".
fn swapgs(cpu: &mut Cpu, _: &Op) -> Fallible {
    if cpu.cpl != 0 {
        return Err(Fault::GP0);
    }
    std::mem::swap(&mut cpu.seg[GS].base, &mut cpu.msrs.kernel_gs_base);
    Ok(())
}
