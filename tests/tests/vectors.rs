//! The one-line vectors under `tests/vectors/`, on both engines.

#[path = "engines_agree/machine.rs"]
#[allow(dead_code)]
mod machine;

use emu_core::cpu::RIP;
use emu_core::cpu::fpu::MXCSR_RESET;
use emu_core::engine::Engine;
use emu_core::interp::Interpreter;
use emu_diff::fuzz::places::{CODE, DATA, PAGE};
use emu_diff::state::REGISTERS;
use emu_diff::vector::{self, Vector};
use emu_jit::Translator;

/// Memory with some stretches put in.
fn memory(before: &[u8], stretches: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut all = before.to_vec();
    for (address, bytes) in stretches {
        all[(address - DATA) as usize..][..bytes.len()].copy_from_slice(bytes);
    }
    all
}

/// What is different, if anything.
fn check(engine: Box<dyn Engine>, vector: &Vector) -> Option<String> {
    let start = machine::Start {
        bits: vector.bits,
        code: vector.bytes.clone(),
        data: memory(&[0; PAGE], &vector.memory_before),
        regs: vector.before,
        vectors: [[0; 4]; 16],
        flags: vector.flags_before,
        mxcsr: MXCSR_RESET,
        control: 0x37f,
        restarts: false,
        user: false,
    };
    let mut machine = machine::machine(engine, &start);
    machine.run(1);
    let cpu = machine.cpu();
    let raised =
        cpu.fault_chain.last().map(|last| last.exception.vector).filter(|_| cpu.counters.exceptions > 0);
    if raised.is_some() || vector.fault.is_some() {
        let name = |fault: Option<u8>| fault.map_or("none".into(), |vector| format!("{vector:x}"));
        let (raised, wanted) = (name(raised), name(vector.fault));
        return (raised != wanted).then(|| format!("{vector}\n    exception {raised}, not {wanted}"));
    }
    let mut wrong = Vec::new();
    for (n, name) in REGISTERS.iter().enumerate() {
        if cpu.regs[n] != vector.after[n] {
            wrong.push(format!("{name} {:x}, not {:x}", cpu.regs[n], vector.after[n]));
        }
    }
    let flags = cpu.flags.get();
    if (flags ^ vector.flags_after) & !vector.undefined != 0 {
        wrong.push(format!("flags {flags:x}, not {:x}", vector.flags_after));
    }
    let mut data = [0; PAGE];
    cpu.system().mem.read_bytes(DATA, &mut data);
    let wanted = memory(&memory(&[0; PAGE], &vector.memory_before), &vector.memory_after);
    if let Some(at) = (0..PAGE).find(|&n| data[n] != wanted[n]) {
        wrong.push(format!("memory at {:x}: {:02x}, not {:02x}", DATA + at as u64, data[at], wanted[at]));
    }
    if cpu.regs[RIP] != CODE + vector.bytes.len() as u64 {
        wrong.push(format!("rip {:x}", cpu.regs[RIP]));
    }
    (!wrong.is_empty()).then(|| format!("{vector}\n    {}", wrong.join("; ")))
}

#[test]
fn every_vector_holds_on_every_engine() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors");
    let (mut count, mut failures) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).expect("the folder of vectors") {
        let path = entry.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("a file of vectors");
        for vector in vector::parse(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display())) {
            count += 1;
            let translator = Translator::with_limits(1, 1).expect("the host has memory");
            failures.extend(check(Box::<Interpreter>::default(), &vector));
            failures.extend(check(Box::new(translator), &vector).map(|why| format!("translator: {why}")));
        }
    }
    assert!(count >= 20, "{count} vectors");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
