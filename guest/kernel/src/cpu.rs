//! The processor: control registers, model-specific registers, CPUID, the interrupt flag.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count, CpuidResult};

/// CR0: write protect, the supervisor obeys read-only pages.
pub const CR0_WP: u64 = 1 << 16;
/// CR4: global pages.
pub const CR4_PGE: u64 = 1 << 7;
/// RFLAGS: trap flag.
pub const FLAG_TF: u64 = 1 << 8;
/// RFLAGS: interrupt flag.
pub const FLAG_IF: u64 = 1 << 9;

/// Extended feature enables.
pub const MSR_EFER: u32 = 0xC000_0080;
/// Target CS and SS of SYSCALL and SYSRET.
pub const MSR_STAR: u32 = 0xC000_0081;
/// Target RIP of SYSCALL in 64-bit mode.
pub const MSR_LSTAR: u32 = 0xC000_0082;
/// Flags that SYSCALL clears.
pub const MSR_SFMASK: u32 = 0xC000_0084;
/// Base of the local APIC and its enable bit.
pub const MSR_APIC_BASE: u32 = 0x1B;

/// EFER: SYSCALL enable.
pub const EFER_SCE: u64 = 1 << 0;
/// EFER: long mode is active.
pub const EFER_LMA: u64 = 1 << 10;
/// EFER: no-execute enable.
pub const EFER_NXE: u64 = 1 << 11;

/// CPUID; zeros for a leaf that the processor does not have.
pub fn cpuid(leaf: u32) -> CpuidResult {
    if leaf > __cpuid(leaf & 0x8000_0000).eax {
        return CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    }
    __cpuid_count(leaf, 0)
}

/// Does the processor call itself QEMU's translator (hypervisor leaf)? That one leaves some checks out for
/// speed, and the self-test must not ask it for them.
pub fn is_qemu_tcg() -> bool {
    if cpuid(1).ecx & 1 << 31 == 0 {
        return false;
    }
    let leaf = __cpuid(0x4000_0000);
    [leaf.ebx, leaf.ecx, leaf.edx]
        == [u32::from_le_bytes(*b"TCGT"), u32::from_le_bytes(*b"CGTC"), u32::from_le_bytes(*b"GTCG")]
}

/// The vector for a stack access at a non-canonical address: #SS; QEMU's translator says #GP.
pub fn non_canonical_stack_vector() -> u64 {
    if is_qemu_tcg() { crate::idt::vector::GP } else { crate::idt::vector::SS }
}

/// Does CPUID report a local APIC?
pub fn has_apic() -> bool {
    cpuid(1).edx & 1 << 9 != 0
}

/// Does CPUID report no-execute pages?
pub fn has_nx() -> bool {
    cpuid(0x8000_0001).edx & 1 << 20 != 0
}

/// Does CPUID report SYSCALL?
pub fn has_syscall() -> bool {
    cpuid(0x8000_0001).edx & 1 << 11 != 0
}

/// Does CPUID report global pages?
pub fn has_pge() -> bool {
    cpuid(1).edx & 1 << 13 != 0
}

/// Reads CR2, the address of the last page fault.
pub fn read_cr2() -> u64 {
    let value: u64;
    // SAFETY: reading has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nostack, preserves_flags)) };
    value
}

macro_rules! control_register {
    ($read:ident, $write:ident, $name:literal) => {
        /// Reads the control register.
        pub fn $read() -> u64 {
            let value: u64;
            // SAFETY: reading has no effect.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) value, options(nostack, preserves_flags)) };
            value
        }

        /// Writes the control register.
        ///
        /// # Safety
        /// The kernel must still be able to run with the new value.
        pub unsafe fn $write(value: u64) {
            // SAFETY: the caller's.
            unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
        }
    };
}

control_register!(read_cr0, write_cr0, "cr0");
control_register!(read_cr3, write_cr3, "cr3");
control_register!(read_cr4, write_cr4, "cr4");

/// RDMSR.
pub fn read_msr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: callers name only registers whose existence CPUID or the architecture guarantees.
    unsafe {
        asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// WRMSR.
///
/// # Safety
/// The kernel must still be able to run with the new value.
pub unsafe fn write_msr(msr: u32, value: u64) {
    // SAFETY: the caller's.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    }
}

/// RDTSC.
pub fn rdtsc() -> u64 {
    // SAFETY: every processor with long mode has a time-stamp counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// RFLAGS.
pub fn flags() -> u64 {
    let flags: u64;
    // SAFETY: pushes and pops one word; `nostack` is not given.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags) };
    flags
}

/// Are interrupts on?
pub fn interrupts_enabled() -> bool {
    flags() & FLAG_IF != 0
}

/// STI.
pub fn enable_interrupts() {
    // SAFETY: called only once the IDT is complete.
    unsafe { asm!("sti") };
}

/// CLI.
pub fn disable_interrupts() {
    // SAFETY: always allowed in ring 0.
    unsafe { asm!("cli") };
}

/// Sleeps until the next interrupt and comes back with interrupts on. STI holds interrupts off for one more
/// instruction, so none can slip in between and be slept through (SDM 2B, "STI").
pub fn enable_and_halt() {
    // SAFETY: as `enable_interrupts`.
    unsafe { asm!("sti", "hlt") };
}

/// Stops for good.
pub fn halt_forever() -> ! {
    loop {
        disable_interrupts();
        // SAFETY: nothing is left to be done.
        unsafe { asm!("hlt") };
    }
}

/// INVLPG: forgets the translation of one page.
pub fn invalidate_page(address: u64) {
    // SAFETY: forgetting a cached translation changes speed only.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}

/// Runs `body` with interrupts off, and puts the interrupt flag back.
pub fn without_interrupts<T>(body: impl FnOnce() -> T) -> T {
    let were_on = interrupts_enabled();
    disable_interrupts();
    let result = body();
    if were_on {
        enable_interrupts();
    }
    result
}
