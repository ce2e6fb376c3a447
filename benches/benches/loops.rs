//! Loops in 64-bit mode on both engines: what each kind of guest code costs. Throughput is in retired instructions, of which an iteration of
//! a repeated string instruction is one, so `Gelem/s` reads as thousands of MIPS. Before a loop is timed its results on both
//! engines are compared.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use emu_benches::loops::{ENGINES, LOOPS, run};

const INSTRUCTIONS: u64 = 1_000_000;

fn loops(c: &mut Criterion) {
    let mut group = c.benchmark_group("loops");
    group.throughput(Throughput::Elements(INSTRUCTIONS)).sample_size(20);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    for each in LOOPS {
        each.check(INSTRUCTIONS);
        for (engine, make) in ENGINES {
            let mut machine = each.start(make());
            let name = format!("{}/{engine}", each.name);
            group.bench_function(name, |b| b.iter(|| run(&mut machine, INSTRUCTIONS)));
        }
    }
    group.finish();
}

criterion_group!(benches, loops);
criterion_main!(benches);
