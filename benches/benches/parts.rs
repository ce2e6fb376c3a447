//! Parts of the emulator: decoding, the first run of code on both engines (decoding, and on the translator translating), the serial port and
//! reads of the disk by the BIOS. Throughput in bytes of guest code, and in bytes that the guest moved.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use emu_benches::board::{self, Board};
use emu_benches::code;
use emu_benches::loops::ENGINES;
use emu_core::decode::{CodeMode, decode};
use emu_core::machine::Machine;
use emu_jit::Translator;

/// Rounds through a program after which the translator has translated all of it.
const WARM: u64 = 40;
/// Bytes that the serial port sends in a sample.
const SERIAL: u64 = 2000;

fn decode_all(program: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < program.len() {
        let Ok(op) = decode(&program[at..program.len().min(at + 15)], CodeMode::LONG, 0) else { break };
        at += usize::from(black_box(op).end);
        count += 1;
    }
    count
}

fn parts(c: &mut Criterion) {
    let mut group = c.benchmark_group("parts");
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    let program = code::program();
    assert_eq!(decode_all(&program) as u64, code::ROUND, "every instruction is decoded");

    group.throughput(Throughput::Bytes(program.len() as u64));
    group.bench_function("decode", |b| b.iter(|| decode_all(&program)));
    group.bench_function("first_run/interp", |b| {
        b.iter_batched(ENGINES[0].1, |engine| code::rounds(engine, &program, 1), BatchSize::PerIteration);
    });
    // Translated when it is come by the first time.
    let eager = || Box::new(Translator::with_limits(1, 64).expect("the host lets code be executed"));
    group.bench_function("first_run/translation", |b| {
        b.iter_batched(
            eager,
            |engine| -> Machine { code::rounds(engine, &program, 2) },
            BatchSize::PerIteration,
        );
    });
    for (name, engine) in ENGINES {
        group.bench_function(format!("until_warm/{name}"), |b| {
            b.iter_batched(engine, |engine| code::rounds(engine, &program, WARM), BatchSize::PerIteration);
        });
    }

    let mut disk = Board::start(&board::disk_reader());
    group.throughput(Throughput::Bytes(board::BYTES_READ));
    group.bench_function("disk_read", |b| b.iter(|| disk.rounds(1)));
    let mut serial = Board::start(&board::serial_writer());
    group.throughput(Throughput::Bytes(SERIAL));
    group.bench_function("serial", |b| b.iter(|| serial.rounds(SERIAL)));
    group.finish();
}

criterion_group!(benches, parts);
criterion_main!(benches);
