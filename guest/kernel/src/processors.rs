//! The other processors (SDM 3A, "Multiple-Processor (MP) Initialization"): they are started for a while, work on
//! one lock together with this one, and sleep again. The kernel itself runs on one.

use crate::{apic, cpu, paging, rtc, task, timer};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

core::arch::global_asm!(include_str!("processors.s"));

/// Additions under the lock by each processor.
pub const ROUNDS: u32 = 2000;
/// Where they start: a page of low memory that nobody uses any more.
const START_PAGE: u64 = 0x8000;
/// PAE, PGE, OSFXSR and OSXMMEXCPT.
const CR4: u64 = 1 << 5 | 1 << 7 | 3 << 9;
/// Offsets of what the start code is told, in its page.
const CR3_AT: u64 = 0xC0;
const CR4_AT: u64 = 0xC4;
const EFER_AT: u64 = 0xC8;
const ENTRY_AT: u64 = 0xD0;
const GDTR_AT: u64 = 0xD8;
const GDT_AT: u64 = 0xE0;
/// CMOS byte in which the machine's firmware interface keeps the number of processors, less one.
const CMOS_PROCESSORS: u8 = 0x5F;
const MS: u64 = 1_000_000;

#[unsafe(no_mangle)]
static PROCESSORS_STARTED: AtomicU32 = AtomicU32::new(0);
#[unsafe(no_mangle)]
static PROCESSORS_GO: AtomicU32 = AtomicU32::new(0);
#[unsafe(no_mangle)]
static PROCESSORS_ROUNDS: AtomicU32 = AtomicU32::new(ROUNDS);
#[unsafe(no_mangle)]
static PROCESSORS_LOCK: AtomicU32 = AtomicU32::new(0);
#[unsafe(no_mangle)]
static PROCESSORS_SUM: AtomicU32 = AtomicU32::new(0);
#[unsafe(no_mangle)]
static PROCESSORS_DONE: AtomicU32 = AtomicU32::new(0);

/// Root of the page tables with which they come into long mode: the kernel's, and the start page in its own place.
static ROOT: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    static processor_start: u8;
    static processor_start_end: u8;
    static processor_far_offset: u8;
    static processor_long: u8;
    fn processor_work();
}

/// How many others there should be.
pub fn expected() -> u32 {
    u32::from(rtc::memory(CMOS_PROCESSORS))
}

/// How many have come to the kernel since [`start`], and how many have finished their work.
pub fn counts() -> (u32, u32) {
    (PROCESSORS_STARTED.load(SeqCst), PROCESSORS_DONE.load(SeqCst))
}

/// INIT and two start-up messages to all others. False when there is no memory for their page tables.
pub fn start() -> bool {
    if ROOT.load(SeqCst) == 0 {
        let Some(root) = paging::new_space().filter(|&root| root < 1 << 32) else { return false };
        paging::map(root, START_PAGE, START_PAGE, paging::P | paging::W);
        ROOT.store(root, SeqCst);
    }
    for count in [&PROCESSORS_STARTED, &PROCESSORS_GO, &PROCESSORS_LOCK, &PROCESSORS_SUM, &PROCESSORS_DONE] {
        count.store(0, SeqCst);
    }
    place_start_code(ROOT.load(SeqCst));
    apic::send_init_to_others();
    sleep(10 * MS);
    for _ in 0..2 {
        apic::send_start_up_to_others((START_PAGE >> 12) as u8);
        sleep(MS);
    }
    true
}

/// Lets them work, works with them, and returns the sum that all have made.
pub fn work() -> u32 {
    PROCESSORS_GO.store(1, SeqCst);
    for _ in 0..ROUNDS {
        while PROCESSORS_LOCK.swap(1, SeqCst) != 0 {
            core::hint::spin_loop();
        }
        PROCESSORS_SUM.store(PROCESSORS_SUM.load(SeqCst) + 1, SeqCst);
        PROCESSORS_LOCK.store(0, SeqCst);
    }
    task::wait_until(timer::now_ns() + 5000 * MS, || counts().1 >= counts().0);
    PROCESSORS_SUM.load(SeqCst)
}

fn sleep(ns: u64) {
    task::wait_until(timer::now_ns() + ns, || false);
}

/// Copies the start code to its page and fills in what it needs.
fn place_start_code(root: u64) {
    let start = &raw const processor_start as u64;
    let length = &raw const processor_start_end as u64 - start;
    let page = paging::direct(START_PAGE);
    let put = |offset: u64, value: u64, bytes: usize| {
        // SAFETY: all offsets lie within the copy, which nobody else uses.
        unsafe {
            core::ptr::copy_nonoverlapping(value.to_le_bytes().as_ptr(), (page + offset) as *mut u8, bytes)
        };
    };
    // SAFETY: the code is smaller than a page, and the direct map covers the page.
    unsafe { core::ptr::copy_nonoverlapping(start as *const u8, page as *mut u8, length as usize) };
    let far_offset = &raw const processor_far_offset as u64 - start;
    put(far_offset, START_PAGE + (&raw const processor_long as u64 - start), 4);
    put(CR3_AT, root, 4);
    put(CR4_AT, CR4, 4);
    put(EFER_AT, cpu::read_msr(cpu::MSR_EFER) & !cpu::EFER_LMA, 4);
    put(ENTRY_AT, processor_work as *const () as u64, 8);
    put(GDTR_AT + 2, START_PAGE + GDT_AT, 4);
}
