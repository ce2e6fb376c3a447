//! Real-mode instructions recorded on an 80286, one at a time, against the interpreter: registers, flags, memory
//! and exceptions. `EMU_SST_FILE` names another file of the same format.
//!
//! The 286 is not a 386: [`Case::on_later_processors`] lists what changed, with the manual's word on it, and says
//! what has to come out instead.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};

use emu_core::cpu::{CS, Cpu, DS, ES, RAX, RBP, RBX, RCX, RDI, RDX, RIP, RSI, RSP, SS, Segment};
use emu_core::machine::{Machine, Stop, TimeSource};
use emu_core::mem::Memory;
use emu_core::mem::page::PhysPage;
use emu_tests::{bare::NoChips, external::skip};
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use serde_json::Value;

/// The last address that real mode reaches, FFFF:FFFF, lies below.
const RAM: u64 = 0x11_0000;

/// The registers of a record, in the order of [`Registers`].
const NAMES: [&str; 14] =
    ["ax", "bx", "cx", "dx", "cs", "ss", "ds", "es", "sp", "bp", "si", "di", "ip", "flags"];
const GENERAL: [(usize, usize); 8] =
    [(0, RAX), (1, RBX), (2, RCX), (3, RDX), (8, RSP), (9, RBP), (10, RSI), (11, RDI)];
const SEGMENTS: [(usize, usize); 4] = [(4, CS), (5, SS), (6, DS), (7, ES)];
const IN_CX: usize = 2;
const IN_CS: usize = 4;
const IN_SS: usize = 5;
const IN_SP: usize = 8;
const IN_SI: usize = 10;
const IN_DI: usize = 11;
const IN_IP: usize = 12;
const IN_FLAGS: usize = 13;

type Registers = [u16; NAMES.len()];

/// One recorded instruction.
struct Case {
    title: String,
    bytes: Vec<u8>,
    mask: u16,
    before: Registers,
    memory: Vec<(u64, u8)>,
    after: Registers,
    written: Vec<(u64, u8)>,
    exception: Option<u8>,
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a number, not {value}"))
}

fn registers(value: &Value, mut start: Registers) -> Registers {
    for (name, value) in value.as_object().expect("regs is an object") {
        let n = NAMES.iter().position(|n| n == name).unwrap_or_else(|| panic!("a register, not {name}"));
        start[n] = number(value) as u16;
    }
    start
}

fn bytes_at(value: &Value) -> Vec<(u64, u8)> {
    let pairs = value.as_array().expect("ram is an array").iter();
    pairs.map(|pair| (number(&pair[0]), number(&pair[1]) as u8)).collect()
}

impl Case {
    fn parse(test: &Value) -> Self {
        let before = registers(&test["init"]["regs"], [0; NAMES.len()]);
        let mut after = registers(&test["final"]["regs"], before);
        let exception = test.get("exc").map(|e| number(&e["number"]) as u8);
        if exception.is_none() {
            after[IN_IP] = number(&test["end_ip"]) as u16;
        } else {
            // The recording ends after the handler's HLT.
            after[IN_IP] = after[IN_IP].wrapping_sub(1);
        }
        let text = |key: &str| test[key].as_str().expect("a string").to_owned();
        let bytes = text("bytes");
        let byte = |n: usize| u8::from_str_radix(&bytes[n..n + 2], 16).expect("hexadecimal");
        Self {
            title: format!("{} #{} {} ({bytes})", text("op"), test["idx"], text("name")),
            bytes: (0..bytes.len() - 2).step_by(2).map(byte).collect(),
            mask: number(&test["mask"]) as u16,
            before,
            memory: bytes_at(&test["init"]["ram"]),
            after,
            written: bytes_at(&test["final"]["ram"]),
            exception,
        }
    }

    /// A string instruction with a REP prefix: it runs to its end, which is more than one count.
    fn repeats(&self) -> bool {
        let prefix = |b: &&u8| matches!(b, 0x26 | 0x2e | 0x36 | 0x3e | 0xf0 | 0xf2 | 0xf3);
        let mut rest = self.bytes.iter().skip_while(prefix);
        let string = matches!(rest.next(), Some(0x6c..=0x6f | 0xa4..=0xa7 | 0xaa..=0xaf));
        string && self.bytes.iter().take_while(prefix).any(|b| matches!(b, 0xf2 | 0xf3))
    }
}

/// How the outcome on a 386 and later relates to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    /// Nothing: it is as recorded.
    Nothing,
    /// A 286 raises interrupt 13 when an instruction is longer than 10 bytes; the limit is 15 bytes since the 386.
    /// SDM 3B, "Architecture Compatibility", "Instruction Length". Such a case says nothing.
    TooLong,
    /// A 286 in real-address mode raises interrupt 13 for each violation of a segment limit; since the 386 it is
    /// interrupt 12 when the segment is SS. SDM 2, "PUSH" and all others, "Real-Address Mode Exceptions".
    StackFault,
    /// A 286 leaves the registers of a string instruction advanced by the iteration that faulted; since the 386 a
    /// fault leaves them as that iteration found them. SDM 3A, "Exception Classifications".
    Restarted,
}

impl Case {
    /// Rewrites the record to what a 386 and later do, and says why.
    fn on_later_processors(&mut self) -> Change {
        let Some(13) = self.exception else { return Change::Nothing };
        if self.bytes.len() > 10 {
            return Change::TooLong;
        }
        let insn = Decoder::new(16, &self.bytes, DecoderOptions::NONE).decode();
        let mut change = Change::Nothing;
        let index = |register: usize| self.before[register];
        let mut in_stack = match (insn.is_string_instruction(), memory_segment(&insn)) {
            (true, _) => false,
            (false, Some(segment)) => segment == Register::SS,
            (false, None) => insn.is_stack_instruction(),
        };
        // POP to memory reads the stack first.
        in_stack |= insn.mnemonic() == Mnemonic::Pop && index(IN_SP) == 0xffff;
        if insn.is_string_instruction() {
            change = Change::Restarted;
            let compares = matches!(insn.mnemonic(), Mnemonic::Cmpsb | Mnemonic::Cmpsw);
            // All but CMPS have counted the iteration that faulted.
            let left = self.after[IN_CX] + u16::from(!compares);
            let done = if self.repeats() { index(IN_CX) - left } else { 0 };
            let width = insn.memory_size().size() as u16;
            let step = if index(IN_FLAGS) & 0x400 != 0 { width.wrapping_neg() } else { width };
            self.after[IN_CX] = index(IN_CX) - done;
            for (register, kinds) in [
                (IN_SI, [OpKind::MemorySegSI, OpKind::MemorySegSI]),
                (IN_DI, [OpKind::MemoryESDI, OpKind::MemorySegDI]),
            ] {
                if insn.op_kinds().any(|kind| kinds.contains(&kind)) {
                    self.after[register] = index(register).wrapping_add(step.wrapping_mul(done));
                }
            }
            in_stack = insn.memory_segment() == Register::SS
                && insn.op_kinds().any(|kind| kind == OpKind::MemorySegSI)
                && self.after[IN_SI] == 0xffff;
        }
        if in_stack {
            change = Change::StackFault;
            let vector =
                |n: u64| self.memory.iter().find(|(at, _)| *at == 4 * 12 + n).map_or(0, |(_, byte)| *byte);
            self.after[IN_IP] = u16::from_le_bytes([vector(0), vector(1)]);
            self.after[IN_CS] = u16::from_le_bytes([vector(2), vector(3)]);
        }
        change
    }
}

/// Segment of the memory operand that ModR/M names.
fn memory_segment(insn: &Instruction) -> Option<Register> {
    insn.op_kinds().any(|kind| kind == OpKind::Memory).then(|| insn.memory_segment())
}

fn load(cpu: &mut Cpu, case: &Case) {
    cpu.reset();
    cpu.idtr.limit = 0x3ff;
    for (from, to) in GENERAL {
        cpu.regs[to] = u64::from(case.before[from]);
    }
    for (from, to) in SEGMENTS {
        cpu.seg[to] = Segment::real(case.before[from]);
    }
    cpu.regs[RIP] = u64::from(case.before[IN_IP]);
    cpu.flags.set(u64::from(case.before[IN_FLAGS] & 0x0fff | 2));
    cpu.update_mode();
    for &(address, value) in &case.memory {
        cpu.system_mut().mem.write_bytes(address, &[value]);
    }
    cpu.note_memory_changes();
}

/// Runs the one instruction, a repeated one to its end.
fn run(machine: &mut Machine, case: &Case) -> Stop {
    let exceptions = machine.stats().exceptions;
    loop {
        let stop = machine.run(machine.instructions() + 1);
        let again = case.repeats()
            && stop == Stop::Limit
            && machine.stats().exceptions == exceptions
            && machine.rip() == u64::from(case.before[IN_IP]);
        if !again {
            return stop;
        }
    }
}

/// What is not as recorded; empty when all is.
fn differences(machine: &Machine, case: &Case, stop: &Stop) -> String {
    let mut report = String::new();
    let cpu = machine.cpu();
    let mut check = |what: &str, got: u64, want: u16, mask: u16| {
        if (got ^ u64::from(want)) & u64::from(mask) != 0 {
            let _ = write!(report, " {what} {got:04x}, recorded {want:04x};");
        }
    };
    for (n, register) in GENERAL {
        check(NAMES[n], cpu.regs[register], case.after[n], 0xffff);
    }
    for (n, register) in SEGMENTS {
        check(NAMES[n], u64::from(cpu.seg[register].selector), case.after[n], 0xffff);
    }
    check("ip", cpu.regs[RIP], case.after[IN_IP], 0xffff);
    check("flags", cpu.flags.get(), case.after[IN_FLAGS], case.mask & 0x0fff);
    // The FLAGS image that an exception pushed: bits 15:12 and undefined flags are in it too.
    let image = u64::from(case.after[IN_SS]) * 16 + u64::from(case.after[IN_SP].wrapping_add(4));
    for &(address, want) in &case.written {
        let mut got = [0];
        cpu.system().mem.read_bytes(address, &mut got);
        let mask = match address.checked_sub(image) {
            Some(0) if case.exception.is_some() => case.mask.to_le_bytes()[0],
            Some(1) if case.exception.is_some() => case.mask.to_le_bytes()[1] & 15,
            _ => 0xff,
        };
        check(&format!("[{address:05x}]"), got[0].into(), want.into(), mask.into());
    }
    if !matches!(stop, Stop::Limit | Stop::Halted { .. }) {
        let _ = write!(report, " {stop:?}");
    }
    report
}

/// The file, or `None` when the test was skipped.
fn file() -> Option<PathBuf> {
    let path = match std::env::var_os("EMU_SST_FILE") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/sst286-sample.json.gz"),
    };
    if !path.is_file() {
        skip(&format!("no recorded 286 instructions at {} (set EMU_SST_FILE)", path.display()));
        return None;
    }
    Some(path)
}

fn cases(path: &Path) -> Vec<Case> {
    let mut data = Vec::new();
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    flate2::read::MultiGzDecoder::new(file)
        .read_to_end(&mut data)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let json: Value = serde_json::from_slice(&data).expect("JSON");
    json["tests"].as_array().expect("an array of tests").iter().map(Case::parse).collect()
}

#[test]
fn instructions_end_as_a_286_recorded_them() {
    let Some(path) = file() else { return };
    let mut mem = Memory::new(RAM, 0).expect("the host has memory");
    mem.map(0, RAM, PhysPage::ram);
    mem.set_a20(true);
    let engine = emu_tests::engine::engine();
    let mut machine = Machine::new(mem, Box::new(NoChips), engine, TimeSource::Virtual);
    let mut cases = cases(&path);
    assert!(!cases.is_empty(), "{} holds tests", path.display());
    let (mut changes, mut failures) = (BTreeMap::<Change, usize>::new(), Vec::new());
    for case in &mut cases {
        let change = case.on_later_processors();
        *changes.entry(change).or_default() += 1;
        load(machine.cpu_mut(), case);
        let stop = run(&mut machine, case);
        let report = differences(&machine, case, &stop);
        if !report.is_empty() && change != Change::TooLong {
            failures.push(format!("{} ({change:?}):{report}", case.title));
        }
        // Zeroes again for the next one.
        for &(address, _) in case.memory.iter().chain(&case.written) {
            machine.cpu_mut().system_mut().mem.write_bytes(address, &[0]);
        }
    }
    println!("{} cases: {changes:?}", cases.len());
    let shown = failures.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {} differ:\n{shown}", failures.len(), cases.len());
}
