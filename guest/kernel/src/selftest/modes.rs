//! The modes that the machine came through. The boot stages looked at each while they were in it and left
//! what they saw (boot_info.rs); here it is judged.

use super::{Check, Outcome, ensure};
use crate::{boot_info, cpu, gdt};
use core::arch::asm;

const PE: u32 = 1;
const WP: u32 = 1 << 16;
const PG: u32 = 1 << 31;

pub const CHECKS: &[Check] = &[
    ("boot.loader", loader),
    ("boot.memory_map", memory_map),
    ("boot.a20", a20),
    ("mode.real", real),
    ("mode.protected16", protected16),
    ("mode.protected32", protected32),
    ("mode.segment_limit", segment_limit),
    ("mode.paging32", paging32),
    ("mode.long", long),
    ("mode.cpuid", cpuid),
];

fn loader() -> Outcome {
    let info = boot_info::get();
    ensure!(info.drive >= 0x80, "booted from drive {:#x}", info.drive);
    ensure!(matches!(info.load_method, 1 | 2), "load method {}", info.load_method);
    Ok(())
}

fn memory_map() -> Outcome {
    let map = boot_info::get().map();
    ensure!(map.len() >= 2, "{} entries", map.len());
    let usable = |address: u64| {
        map.iter().any(|r| r.kind == 1 && (r.base..r.base + r.length).contains(&address))
            && !map.iter().any(|r| r.kind != 1 && (r.base..r.base + r.length).contains(&address))
    };
    ensure!(usable(0x1000) && usable(0x10_0000), "low memory or 1 MiB is not usable");
    ensure!(!usable(0xF_0000) && !usable(0xFFFF_FFF0), "the BIOS itself is called usable");
    Ok(())
}

/// The gate is open, by whichever method; and if it could be closed, opening it was needed.
fn a20() -> Outcome {
    let info = boot_info::get();
    let methods = if info.a20_closed == 1 { 2..=4 } else { 1..=1 };
    ensure!(methods.contains(&info.a20_method), "method {}, closed {}", info.a20_method, info.a20_closed);
    Ok(())
}

fn real() -> Outcome {
    let info = boot_info::get();
    ensure!(info.real_cr0 & (PE | PG) == 0, "CR0 was {:#x}", info.real_cr0);
    ensure!(info.real_checks == 0b111, "checks {:#b}", info.real_checks);
    Ok(())
}

fn protected16() -> Outcome {
    let info = boot_info::get();
    ensure!(info.pm16_cr0 & (PE | PG) == PE, "CR0 was {:#x}", info.pm16_cr0);
    ensure!(info.pm16_checks == 0b111, "checks {:#b}", info.pm16_checks);
    Ok(())
}

fn protected32() -> Outcome {
    let info = boot_info::get();
    ensure!(info.pm32_cr0 & (PE | PG) == PE, "CR0 was {:#x}", info.pm32_cr0);
    ensure!(info.pm32_checks & 0b1011 == 0b1011, "checks {:#b}", info.pm32_checks);
    Ok(())
}

/// An access beyond a data segment's limit was refused. QEMU's translator does not look at limits.
fn segment_limit() -> Outcome {
    let seen = boot_info::get().pm32_checks & 0b0100 != 0;
    ensure!(seen || cpu::is_qemu_tcg(), "no #GP beyond the limit");
    Ok(())
}

fn paging32() -> Outcome {
    let info = boot_info::get();
    ensure!(info.paging32_cr0 & (PE | PG | WP) == PE | PG | WP, "CR0 was {:#x}", info.paging32_cr0);
    ensure!(info.paging32_checks == 0b11_1111, "checks {:#b}", info.paging32_checks);
    Ok(())
}

fn long() -> Outcome {
    let info = boot_info::get();
    ensure!(info.long_cr0 & (PE | PG) == PE | PG, "CR0 was {:#x}", info.long_cr0);
    ensure!(info.long_cr4 & 1 << 5 != 0, "CR4 was {:#x}", info.long_cr4);
    ensure!(info.long_efer & 0x500 == 0x500, "EFER was {:#x}", info.long_efer);
    ensure!(cpu::read_msr(cpu::MSR_EFER) & cpu::EFER_LMA != 0, "EFER.LMA is clear");
    // LAR shows the L bit of our own code segment; only a 64-bit register holds this sum.
    let (rights, cs, sum): (u64, u64, u64);
    // SAFETY: reads the descriptor's rights and adds two numbers.
    unsafe {
        asm!("mov {cs:x}, cs", "lar {rights:e}, {cs:e}", "mov {sum}, 0x7FFFFFFF0", "add {sum}, {sum}",
            cs = inout(reg) 0u64 => cs, rights = inout(reg) 0u64 => rights, sum = out(reg) sum);
    }
    ensure!(cs == u64::from(gdt::KERNEL_CODE) && rights & 1 << 21 != 0, "CS {cs:#x}, rights {rights:#x}");
    ensure!(sum == 0xF_FFFF_FFE0, "64-bit sum {sum:#x}");
    Ok(())
}

/// What compiled code and this kernel rely on is reported.
fn cpuid() -> Outcome {
    let features = cpu::cpuid(1).edx;
    for (bit, name) in
        [(0, "FPU"), (4, "TSC"), (5, "MSR"), (6, "PAE"), (8, "CX8"), (15, "CMOV"), (24, "FXSR"), (26, "SSE2")]
    {
        ensure!(features >> bit & 1 != 0, "CPUID does not report {name}");
    }
    ensure!(cpu::has_syscall(), "CPUID does not report SYSCALL");
    Ok(())
}
