//! Clocks against each other, and the ways of interrupts. Hosts are noisy: ten per cent and some tries.

use super::{Check, Outcome, ensure};
use crate::idt::vector;
use crate::irq::{self, line};
use crate::timer::{self, PIT_HZ, Span};
use crate::{apic, cpu, rtc, task};

const TRIES: usize = 6;

pub const CHECKS: &[Check] = &[
    ("irq.by_8259", by_8259),
    ("irq.by_io_apic", by_io_apic),
    ("irq.to_self", to_self),
    ("irq.task_priority", task_priority),
    ("timer.tick_rate", || rates(timer::NORMAL_HZ, 8)),
    ("timer.tick_rate_1000", tick_rate_1000),
    ("timer.tsc_rate", tsc_rate),
    ("timer.tsc_rises", tsc_rises),
    ("timer.sleep", sleep),
    ("timer.clock_second", clock_second),
];

fn sleep_ms(ms: u64) {
    task::wait_until(timer::now_ns() + ms * 1_000_000, || false);
}

/// Is `value` within ten per cent of `target`, or within `slack`?
fn near(value: u64, target: u64, slack: u64) -> bool {
    value.abs_diff(target) <= (target / 10).max(slack)
}

/// The first ticks after power-on came by the 8259 pair.
fn by_8259() -> Outcome {
    let (pic, _, _) = irq::totals();
    ensure!(pic >= 2, "{pic} interrupts");
    ensure!(!irq::by_apic() || crate::pic::masks() == 0xFFFF, "masks {:#x}", crate::pic::masks());
    Ok(())
}

/// The 8254 still counts; unmasked at the I/O APIC's input 2 it interrupts again, and masked it stops.
fn by_io_apic() -> Outcome {
    if !irq::by_apic() {
        return Ok(());
    }
    let before = timer::pit_ticks();
    irq::unmask(line::TIMER);
    let came = task::wait_until(timer::now_ns() + 2_000_000_000, || timer::pit_ticks() >= before + 4);
    irq::mask(line::TIMER);
    ensure!(came, "{} interrupts in two seconds", timer::pit_ticks() - before);
    let stopped_at = timer::pit_ticks();
    sleep_ms(20);
    ensure!(timer::pit_ticks() <= stopped_at + 1, "masked, yet {} more", timer::pit_ticks() - stopped_at);
    Ok(())
}

fn to_self() -> Outcome {
    if !irq::by_apic() {
        return Ok(());
    }
    let before = irq::from_self();
    apic::send_to_self(vector::SELF);
    let came = task::wait_until(timer::now_ns() + 1_000_000_000, || irq::from_self() == before + 1);
    ensure!(came, "{} arrived", irq::from_self() - before);
    Ok(())
}

/// An interrupt whose class is not above the task priority waits until that drops.
fn task_priority() -> Outcome {
    if !irq::by_apic() {
        return Ok(());
    }
    let before = irq::from_self();
    apic::set_task_priority((vector::SELF >> 4) as u32);
    apic::send_to_self(vector::SELF);
    for _ in 0..1000 {
        core::hint::spin_loop();
    }
    let early = irq::from_self() - before;
    apic::set_task_priority(0);
    let came = task::wait_until(timer::now_ns() + 1_000_000_000, || irq::from_self() == before + 1);
    ensure!(early == 0 && came, "{early} early, {} in all", irq::from_self() - before);
    Ok(())
}

fn measured(ticks: u64, good: impl Fn(&Span) -> bool) -> Result<(), Option<Span>> {
    let mut last = None;
    for _ in 0..TRIES {
        last = timer::measure(ticks);
        if last.as_ref().is_some_and(&good) {
            return Ok(());
        }
    }
    Err(last)
}

/// Ticks against the 8254's second channel.
fn rates(hz: u64, ticks: u64) -> Outcome {
    // Being off by one tick is no error: the measurement starts anywhere between two ticks.
    let good = |span: &Span| near(span.ticks * PIT_HZ, span.pit * hz, PIT_HZ * 5 / 4);
    if let Err(span) = measured(ticks, good) {
        ensure!(false, "{span:?} at {hz} Hz");
    }
    Ok(())
}

fn tick_rate_1000() -> Outcome {
    timer::set_hz(1000);
    let outcome = rates(1000, 30);
    timer::set_hz(timer::NORMAL_HZ);
    outcome
}

fn tsc_rate() -> Outcome {
    let good = |span: &Span| near(timer::tsc_span_ns(span.tsc), span.pit * 1_000_000_000 / PIT_HZ, 100_000);
    if let Err(span) = measured(6, good) {
        ensure!(false, "{span:?} at {} kHz", timer::tsc_khz());
    }
    Ok(())
}

fn tsc_rises() -> Outcome {
    let mut last = cpu::rdtsc();
    for _ in 0..1000 {
        let now = cpu::rdtsc();
        ensure!(now >= last, "{last} was followed by {now}");
        last = now;
    }
    Ok(())
}

fn sleep() -> Outcome {
    let start = timer::now_ns();
    sleep_ms(20);
    let slept = timer::now_ns() - start;
    ensure!((20_000_000..2_000_000_000).contains(&slept), "20 ms took {slept} ns");
    Ok(())
}

/// One second of the battery clock, between two of its update interrupts, by the time-stamp counter.
fn clock_second() -> Outcome {
    rtc::set_update_interrupt(true);
    let next = || {
        let before = rtc::updates().0;
        task::wait_until(timer::now_ns() + 3_000_000_000, || rtc::updates().0 > before).then(rtc::updates)
    };
    let mut outcome = Err(super::Why::new(format_args!("no update interrupt in three seconds")));
    let mut last = next();
    for _ in 0..4 {
        let (Some(first), Some(second)) = (last, next()) else { break };
        let ns = timer::tsc_span_ns(second.1 - first.1);
        if second.0 == first.0 + 1 && near(ns, 1_000_000_000, 0) {
            outcome = Ok(());
            break;
        }
        outcome = Err(super::Why::new(format_args!("{} seconds took {ns} ns", second.0 - first.0)));
        last = Some(second);
    }
    rtc::set_update_interrupt(false);
    outcome
}
