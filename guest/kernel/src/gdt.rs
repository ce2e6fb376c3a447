//! Segments: what is left of them in 64-bit mode, and the task state segment with its stacks.
//!
//! The order of the user segments is SYSRET's: with STAR 63:48 = 0x18 it loads SS = 0x20 and CS = 0x28.

use crate::irq_cell::IrqCell;
use core::arch::asm;
use core::cell::UnsafeCell;

/// Kernel code.
pub const KERNEL_CODE: u16 = 0x08;
/// Kernel data.
pub const KERNEL_DATA: u16 = 0x10;
/// What STAR holds for SYSRET: user data follows at +8 (selector 0x23 with RPL 3), user code at +16 (0x2B).
pub const SYSRET_BASE: u16 = 0x18;
/// The task state segment; its descriptor is 16 bytes long.
pub const TSS: u16 = 0x30;
/// A data segment that is not present, for the self-test.
pub const NOT_PRESENT: u16 = 0x40;

/// IST entries: interrupts and most exceptions; double fault; NMI; machine check and stack fault.
pub const IST_COMMON: u8 = 1;
/// Double fault.
pub const IST_DOUBLE_FAULT: u8 = 2;
/// Non-maskable interrupt.
pub const IST_NMI: u8 = 3;
/// Stack fault and machine check.
pub const IST_STACK_FAULT: u8 = 4;

#[repr(C, packed)]
struct TaskState {
    reserved0: u32,
    rsp: [u64; 3],
    reserved1: u64,
    ist: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    io_map_base: u16,
}

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; 8192]>);

// SAFETY: only the processor writes here, when it takes an interrupt.
unsafe impl Sync for Stack {}

static STACKS: [Stack; 4] = [const { Stack(UnsafeCell::new([0; 8192])) }; 4];

static TASK_STATE: IrqCell<TaskState> = IrqCell::new(TaskState {
    reserved0: 0,
    rsp: [0; 3],
    reserved1: 0,
    ist: [0; 7],
    reserved2: 0,
    reserved3: 0,
    io_map_base: size_of::<TaskState>() as u16, // beyond the limit: no port is open to ring 3
});

static GDT: IrqCell<[u64; 9]> = IrqCell::new([
    0,
    0x00AF_9B00_0000_FFFF, // kernel code, L = 1
    0x00CF_9300_0000_FFFF, // kernel data
    0x00CF_FB00_0000_FFFF, // 32-bit user code: unused, but SYSRET's arithmetic counts it
    0x00CF_F300_0000_FFFF, // user data
    0x00AF_FB00_0000_FFFF, // user code, L = 1
    0,                     // TSS, filled in by `init`
    0,
    0x00CF_1300_0000_FFFF, // data, P = 0
]);

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Loads the tables and all segment registers.
pub fn init() {
    let state = TASK_STATE.with(|state| {
        for (i, stack) in STACKS.iter().enumerate() {
            state.ist[i] = stack.0.get() as u64 + size_of::<Stack>() as u64;
        }
        &raw const *state as u64
    });
    let limit = size_of::<TaskState>() as u64 - 1;
    let table = GDT.with(|gdt| {
        // "TSS Descriptor in 64-bit mode": type 9, available; the base is spread over four fields.
        gdt[6] = limit | (state & 0xFF_FFFF) << 16 | 0x89 << 40 | (state >> 24 & 0xFF) << 56;
        gdt[7] = state >> 32;
        TablePointer { limit: size_of::<[u64; 9]>() as u16 - 1, base: gdt.as_ptr() as u64 }
    });
    // SAFETY: the table is a static and stays; its code and data segments are flat, as those in use.
    unsafe {
        asm!(
            "lgdt [{table}]",
            "mov ds, {data:e}",
            "mov es, {data:e}",
            "mov ss, {data:e}",
            "mov fs, {zero:e}",
            "mov gs, {zero:e}",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "ltr {tss:x}",
            table = in(reg) &raw const table,
            data = in(reg) u64::from(KERNEL_DATA),
            zero = in(reg) 0u64,
            code = in(reg) u64::from(KERNEL_CODE),
            tss = in(reg) u64::from(TSS),
            scratch = out(reg) _,
        );
    }
}

/// Says where the stack of ring 0 starts when ring 3 is interrupted. Our gates all use an IST stack and the
/// entry code moves on from there, but the field is kept right for whoever looks.
pub fn set_kernel_stack(top: u64) {
    TASK_STATE.with(|state| state.rsp[0] = top);
}
