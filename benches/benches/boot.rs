//! The bundled kernel on the interpreter: from power-on to the prompt, and with its self-test to power-off.
//!
//! Throughput is in retired instructions without the repetitions of string instructions, so `Gelem/s` reads as
//! thousands of MIPS. A summary in words comes first.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use emu_benches::kernel::Kernel;

fn to_prompt() -> Kernel {
    let mut kernel = Kernel::power_on();
    kernel.boot();
    kernel
}

fn to_power_off() -> Kernel {
    let mut kernel = to_prompt();
    kernel.run_to_power_off("selftest; poweroff");
    kernel
}

/// The best of a few runs.
fn best(work: fn() -> Kernel) -> (Kernel, Duration) {
    let timed = || {
        let started = Instant::now();
        let kernel = work();
        (kernel, started.elapsed())
    };
    (0..5).map(|_| timed()).min_by_key(|(_, time)| *time).expect("there were five")
}

fn boot(c: &mut Criterion) {
    let mut group = c.benchmark_group("boot");
    group.sample_size(20);
    for (name, work) in [("to_prompt", to_prompt as fn() -> Kernel), ("selftest", to_power_off)] {
        let (kernel, time) = best(work);
        let (count, seconds) = (kernel.instructions(), time.as_secs_f64());
        println!(
            "boot/{name}: {:.1} ms, {:.2} million instructions, {:.0} MIPS",
            seconds * 1e3,
            count as f64 / 1e6,
            count as f64 / seconds / 1e6
        );
        group.throughput(Throughput::Elements(count));
        group.bench_function(name, |b| b.iter(work));
    }
    group.finish();
}

criterion_group!(benches, boot);
criterion_main!(benches);
