//! Small loops in 64-bit mode: what the interpreter's parts cost. Throughput is in retired instructions.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use emu_benches::loops::{LOOPS, run};

const INSTRUCTIONS: u64 = 1_000_000;

fn loops(c: &mut Criterion) {
    let mut group = c.benchmark_group("loops");
    group.throughput(Throughput::Elements(INSTRUCTIONS)).sample_size(50);
    for each in LOOPS {
        let mut machine = each.start();
        group.bench_function(each.name, |b| b.iter(|| run(&mut machine, INSTRUCTIONS)));
    }
    group.finish();
}

criterion_group!(benches, loops);
criterion_main!(benches);
