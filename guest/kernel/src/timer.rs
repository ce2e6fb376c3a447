//! Time: the 8254 (Intel 231164), the time-stamp counter and the local APIC's timer.
//!
//! The 8254's frequency is the one that every PC agrees on, so the other two are measured against it: its
//! channel 2 counts down while the processor sleeps a few ticks. Nothing ever spins for long.

use crate::port::{in8, out8};
use crate::{apic, cpu, irq, task};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Frequency of the 8254's clock in Hz.
pub const PIT_HZ: u64 = 1_193_182;
/// Ticks per second in normal life.
pub const NORMAL_HZ: u64 = 250;

const CHANNEL0: u16 = 0x40;
const CHANNEL2: u16 = 0x42;
const CONTROL: u16 = 0x43;
const PORT_B: u16 = 0x61; // bit 0: gate of channel 2, bit 1: speaker, bit 5: output of channel 2

static TICKS: AtomicU64 = AtomicU64::new(0);
static PIT_TICKS: AtomicU64 = AtomicU64::new(0);
static PERIOD_NS: AtomicU64 = AtomicU64::new(0);
static TICKED_NS: AtomicU64 = AtomicU64::new(0);
/// Time-stamp counts in 2^20 nanoseconds; zero until measured.
static TSC_RATE: AtomicU64 = AtomicU64::new(0);
static TSC_START: AtomicU64 = AtomicU64::new(0);
/// Local APIC timer counts in a second; zero while it is not the source of ticks.
static APIC_HZ: AtomicU32 = AtomicU32::new(0);

/// Channel 0 as a rate generator (mode 2), the classic tick on interrupt 0.
pub fn init_pit(hz: u64) {
    let count = (PIT_HZ / hz) as u16;
    out8(CONTROL, 0x34); // channel 0, low then high byte, mode 2, binary
    out8(CHANNEL0, count as u8);
    out8(CHANNEL0, (count >> 8) as u8);
    PERIOD_NS.store(u64::from(count) * 1_000_000_000 / PIT_HZ, Relaxed);
}

/// The 8254 interrupted.
pub fn pit_interrupt() {
    PIT_TICKS.fetch_add(1, Relaxed);
    if APIC_HZ.load(Relaxed) == 0 {
        tick();
    }
}

/// One tick of whichever timer is the source.
pub fn tick() {
    TICKS.fetch_add(1, Relaxed);
    TICKED_NS.fetch_add(PERIOD_NS.load(Relaxed), Relaxed);
}

/// Ticks since the start.
pub fn ticks() -> u64 {
    TICKS.load(Relaxed)
}

/// Interrupts of the 8254 since the start.
pub fn pit_ticks() -> u64 {
    PIT_TICKS.load(Relaxed)
}

/// Length of a tick.
pub fn period_ns() -> u64 {
    PERIOD_NS.load(Relaxed)
}

/// Nanoseconds since the start: by the time-stamp counter once that has been measured.
pub fn now_ns() -> u64 {
    match TSC_RATE.load(Relaxed) {
        0 => TICKED_NS.load(Relaxed),
        rate => tsc_to_ns(cpu::rdtsc() - TSC_START.load(Relaxed), rate),
    }
}

fn tsc_to_ns(counts: u64, rate: u64) -> u64 {
    ((u128::from(counts) << 20) / u128::from(rate)) as u64
}

/// A span of time-stamp counts in nanoseconds.
pub fn tsc_span_ns(counts: u64) -> u64 {
    tsc_to_ns(counts, TSC_RATE.load(Relaxed).max(1))
}

/// Time-stamp counts in a second, in kHz.
pub fn tsc_khz() -> u64 {
    (u128::from(TSC_RATE.load(Relaxed)) * 1_000_000 >> 20) as u64
}

/// Local APIC timer counts in a second.
pub fn apic_hz() -> u32 {
    APIC_HZ.load(Relaxed)
}

/// What passed on each clock between two points: 8254 clocks, time-stamp counts, APIC timer counts, ticks.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// 8254 clocks.
    pub pit: u64,
    /// Time-stamp counts.
    pub tsc: u64,
    /// APIC timer counts, when it was free to count.
    pub apic: u64,
    /// Ticks of the kernel.
    pub ticks: u64,
}

/// Sleeps for some ticks with channel 2 of the 8254 running and tells how far every clock came. `None` when
/// the sleep outlasted channel 2's 55 ms: the host was busy; try again.
pub fn measure(ticks: u64) -> Option<Span> {
    out8(PORT_B, in8(PORT_B) & !3); // gate low, speaker off
    out8(CONTROL, 0xB0); // channel 2, low then high byte, mode 0: counts down once
    out8(CHANNEL2, 0xFF);
    out8(CHANNEL2, 0xFF);
    let use_apic = apic::present() && APIC_HZ.load(Relaxed) == 0;
    if use_apic {
        apic::timer_start_counting();
    }
    out8(PORT_B, in8(PORT_B) | 1); // gate high: it runs
    let start = sample(use_apic);
    let first = self::ticks();
    task::wait_until(u64::MAX, || self::ticks() >= first + ticks);
    let end = sample(use_apic);
    let expired = in8(PORT_B) & 0x20 != 0;
    let ticks = self::ticks() - first;
    out8(PORT_B, in8(PORT_B) & !3);
    (!expired && start.0 > end.0).then(|| Span {
        pit: u64::from(start.0 - end.0),
        tsc: end.1 - start.1,
        apic: u64::from(end.2 - start.2),
        ticks,
    })
}

fn sample(use_apic: bool) -> (u16, u64, u32) {
    cpu::without_interrupts(|| {
        out8(CONTROL, 0x80); // latch channel 2
        let tsc = cpu::rdtsc();
        let apic = if use_apic { apic::timer_counted() } else { 0 };
        let count = u16::from(in8(CHANNEL2)) | u16::from(in8(CHANNEL2)) << 8;
        (count, tsc, apic)
    })
}

/// Measures the time-stamp counter and the APIC timer, and lets the APIC timer tick if there is one.
pub fn calibrate() {
    let span = loop {
        if let Some(span) = measure(2) {
            break span;
        }
    };
    let ns = span.pit * 1_000_000_000 / PIT_HZ;
    let ticked = TICKED_NS.load(Relaxed);
    let rate = (u128::from(span.tsc) << 20) / u128::from(ns);
    TSC_RATE.store((rate as u64).max(1), Relaxed);
    // The start lies so far back that time goes on where the ticks had come to.
    let since = (u128::from(ticked) * rate >> 20) as u64;
    TSC_START.store(cpu::rdtsc().saturating_sub(since), Relaxed);
    if apic::present() {
        APIC_HZ.store((span.apic * PIT_HZ / span.pit) as u32, Relaxed);
        irq::mask(irq::line::TIMER);
        set_hz(NORMAL_HZ);
    }
}

/// Changes the rate of the tick, on whichever timer makes it.
pub fn set_hz(hz: u64) {
    match APIC_HZ.load(Relaxed) {
        0 => init_pit(hz),
        apic_hz => {
            let count = (u64::from(apic_hz) / hz).max(1) as u32;
            PERIOD_NS.store(1_000_000_000 / hz, Relaxed);
            apic::timer_periodic(count);
        }
    }
}
