//! The local APIC and the I/O APIC (SDM 3A, "Advanced Programmable Interrupt Controller"; 82093AA sheet).

use crate::idt::vector;
use crate::{cpu, paging};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

const LOCAL_DEFAULT: u64 = 0xFEE0_0000;
const IO_DEFAULT: u64 = 0xFEC0_0000;

const ID: u64 = 0x20;
const VERSION: u64 = 0x30;
const TASK_PRIORITY: u64 = 0x80;
const EOI: u64 = 0xB0;
const SPURIOUS: u64 = 0xF0;
const ERROR_STATUS: u64 = 0x280;
const INTERRUPT_COMMAND: u64 = 0x300;
const LVT_TIMER: u64 = 0x320;
const LVT_LINT0: u64 = 0x350;
const LVT_LINT1: u64 = 0x360;
const LVT_ERROR: u64 = 0x370;
const INITIAL_COUNT: u64 = 0x380;
const CURRENT_COUNT: u64 = 0x390;
const DIVIDE: u64 = 0x3E0;

const MASKED: u32 = 1 << 16;
const PERIODIC: u32 = 1 << 17;
const SOFTWARE_ENABLE: u32 = 1 << 8;
const SHORTHAND_SELF: u32 = 1 << 18;
const SHORTHAND_OTHERS: u32 = 3 << 18;
const ASSERT: u32 = 1 << 14;
const DELIVER_NMI: u32 = 4 << 8;
const DELIVER_INIT: u32 = 5 << 8;
const DELIVER_START_UP: u32 = 6 << 8;

const IO_VERSION: u8 = 1;
const IO_REDIRECTION: u8 = 0x10;

/// Addresses of the mapped registers; zero while there is no APIC.
static LOCAL: AtomicU64 = AtomicU64::new(0);
static IO: AtomicU64 = AtomicU64::new(0);

fn read(register: u64) -> u32 {
    // SAFETY: `LOCAL` is a device page mapped by `find`.
    unsafe { ((LOCAL.load(Relaxed) + register) as *const u32).read_volatile() }
}

fn write(register: u64, value: u32) {
    // SAFETY: as in `read`.
    unsafe { ((LOCAL.load(Relaxed) + register) as *mut u32).write_volatile(value) };
}

/// The I/O APIC shows one register at a time: its number goes to offset 0, its value is at 0x10.
fn io_read(register: u8) -> u32 {
    let base = IO.load(Relaxed);
    // SAFETY: `IO` is a device page mapped by `find`.
    unsafe {
        (base as *mut u32).write_volatile(u32::from(register));
        ((base + 0x10) as *const u32).read_volatile()
    }
}

fn io_write(register: u8, value: u32) {
    let base = IO.load(Relaxed);
    // SAFETY: as in `io_read`.
    unsafe {
        (base as *mut u32).write_volatile(u32::from(register));
        ((base + 0x10) as *mut u32).write_volatile(value);
    }
}

/// Looks for both APICs at their default places. Their version registers tell whether something is there:
/// an integrated local APIC says 1xh, an I/O APIC has at least 16 inputs, and an empty bus reads all ones.
pub fn find() -> bool {
    if !cpu::has_apic() || cpu::read_msr(cpu::MSR_APIC_BASE) & 0xF_FFFF_F800 != LOCAL_DEFAULT | 1 << 11 {
        return false;
    }
    LOCAL.store(paging::map_device(LOCAL_DEFAULT), Relaxed);
    IO.store(paging::map_device(IO_DEFAULT), Relaxed);
    let (local, io) = versions();
    let found = local & 0xF0 == 0x10 && (15..240).contains(&(io >> 16 & 0xFF)) && io != u32::MAX;
    if !found {
        LOCAL.store(0, Relaxed);
    }
    found
}

/// Is the APIC in use?
pub fn present() -> bool {
    LOCAL.load(Relaxed) != 0
}

/// The version registers of the local and the I/O APIC.
pub fn versions() -> (u32, u32) {
    (read(VERSION), io_read(IO_VERSION))
}

/// Inputs of the I/O APIC.
pub fn inputs() -> u32 {
    (io_read(IO_VERSION) >> 16 & 0xFF) + 1
}

/// Switches the local APIC on, with everything masked.
pub fn init() {
    write(TASK_PRIORITY, 0);
    write(LVT_TIMER, MASKED);
    write(LVT_LINT0, MASKED); // the 8259's line: no longer wanted
    write(LVT_LINT1, DELIVER_NMI);
    write(LVT_ERROR, MASKED);
    write(SPURIOUS, SOFTWARE_ENABLE | vector::SPURIOUS as u32);
    write(ERROR_STATUS, 0);
    write(EOI, 0);
    for input in 0..inputs() as u8 {
        io_write(IO_REDIRECTION + 2 * input, MASKED);
        io_write(IO_REDIRECTION + 2 * input + 1, read(ID) & 0xFF00_0000); // destination: this processor
    }
}

/// The I/O APIC input of an ISA interrupt: the same number, but the PIT is wired to input 2.
fn input_of(irq: u8) -> u8 {
    if irq == 0 { 2 } else { irq }
}

/// Lets an ISA interrupt through: edge triggered, active high, fixed delivery.
pub fn unmask(irq: u8) {
    io_write(IO_REDIRECTION + 2 * input_of(irq), vector::IOAPIC as u32 + u32::from(irq));
}

/// Masks an ISA interrupt.
pub fn mask(irq: u8) {
    io_write(IO_REDIRECTION + 2 * input_of(irq), MASKED);
}

/// End of interrupt.
pub fn end_of_interrupt() {
    write(EOI, 0);
}

/// Lets the timer count down from the top without interrupting, at the bus clock divided by 16.
pub fn timer_start_counting() {
    write(DIVIDE, 0b0011);
    write(LVT_TIMER, MASKED | vector::APIC_TIMER as u32);
    write(INITIAL_COUNT, u32::MAX);
}

/// How far the timer has counted since `timer_start_counting`.
pub fn timer_counted() -> u32 {
    u32::MAX - read(CURRENT_COUNT)
}

/// Interrupts every `count` steps of the clock.
pub fn timer_periodic(count: u32) {
    write(DIVIDE, 0b0011);
    write(LVT_TIMER, PERIODIC | vector::APIC_TIMER as u32);
    write(INITIAL_COUNT, count);
}

/// Sends an interrupt to this processor ("Interrupt Command Register", shorthand "self").
pub fn send_to_self(vector: u64) {
    write(INTERRUPT_COMMAND, SHORTHAND_SELF | vector as u32);
}

/// Sends INIT to all other processors: they wait for a start-up message then.
pub fn send_init_to_others() {
    write(INTERRUPT_COMMAND, SHORTHAND_OTHERS | ASSERT | DELIVER_INIT);
}

/// Sends all others a start-up message: they begin at page `page` of low memory.
pub fn send_start_up_to_others(page: u8) {
    write(INTERRUPT_COMMAND, SHORTHAND_OTHERS | ASSERT | DELIVER_START_UP | u32::from(page));
}

/// Sets the task priority: interrupts of this class (vector bits 7:4) and lower have to wait.
pub fn set_task_priority(class: u32) {
    write(TASK_PRIORITY, class << 4);
}
