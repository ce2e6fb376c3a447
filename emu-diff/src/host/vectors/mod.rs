//! Single instructions of x87, MMX, SSE and AVX on the host's processor and on the interpreter.
//!
//! * [`cases`] makes instructions and states,
//! * [`silicon`] runs one on the host, [`guest`] on the interpreter,
//! * [`exceptions`] says what is left out, and where AMD and Intel differ.

pub mod cases;
pub mod exceptions;
pub mod guest;
#[allow(unsafe_code)] // Instructions run on the host's processor; ARCHITECTURE.md names it.
pub mod silicon;

use emu_core::cpu::{Cpu, Fault};
use emu_core::interp::table::{self, Form};
use iced_x86::{Code, CpuidFeature as C, EncodingKind, Instruction, OpKind};

use crate::float_random::Random;
use silicon::{MEMORY, Runner, State};

/// The host and the interpreter, for code of one size.
pub struct Pair {
    runner: Runner,
    cpu: Cpu,
    bits: u32,
    insn: Instruction,
    bytes: Vec<u8>,
}

impl Pair {
    /// For code of so many bits; `wide` with the YMM registers.
    ///
    /// # Panics
    /// When the process has no memory in the first 4 GiB left.
    pub fn new(wide: bool, bits: u32) -> Self {
        let mut cpu = guest::processor(bits);
        if wide {
            guest::enable_avx(&mut cpu);
        }
        let (insn, bytes) = (Instruction::default(), Vec::new());
        Self { runner: Runner::new(wide, bits), cpu, bits, insn, bytes }
    }

    /// Puts an instruction in.
    pub fn load(&mut self, insn: &Instruction, bytes: &[u8]) {
        self.runner.load(bytes);
        (self.insn, self.bytes) = (*insn, bytes.to_vec());
    }

    /// A state that suits the instruction.
    pub fn state(&self, random: &mut Random) -> Box<State> {
        self.fit(cases::state(random), random)
    }

    /// Another one with the same memory, which takes less time.
    pub fn next(&self, mut state: Box<State>, random: &mut Random) -> Box<State> {
        cases::registers(&mut state, random);
        self.fit(state, random)
    }

    fn fit(&self, mut state: Box<State>, random: &mut Random) -> Box<State> {
        if self.bits == 32 {
            state.only_32_bits();
        }
        let half = MEMORY as i64 / 2;
        cases::fit_indices(&self.insn, &mut state, (-half, half), random);
        state
    }

    /// Runs it on both. What differs, if the manual says what should come out.
    ///
    /// # Panics
    /// When the interpreter lacks it.
    pub fn compare(&mut self, before: &State) -> Vec<String> {
        let code = self.insn.code();
        if exceptions::is_undefined(code, &self.insn, before) {
            return Vec::new();
        }
        let (mut host, mut guest) = (before.clone(), before.clone());
        if exceptions::points_to_memory(code) {
            host.regs[7] = self.runner.memory(&host);
            guest.regs[7] = guest::ADDRESS;
        }
        guest.regs[guest.base] = guest::ADDRESS;
        self.runner.run(&mut host);
        let result = guest::run(&mut self.cpu, &self.bytes, self.runner.address, &mut guest);
        let mut found = differences(code, &self.insn, before, &host, &guest);
        let vector = match result {
            Ok(()) => 0,
            Err(Fault::Exception(exception)) => u64::from(exception.vector),
            Err(other) => panic!("{code:?}: {other:?}"),
        };
        if vector != host.faulted {
            found.push(format!("exception {vector}, not {}; 0 is none", host.faulted));
        }
        found
    }
}

/// Features with legacy encodings that this host has.
pub fn legacy_features() -> Vec<C> {
    let mut features = vec![C::MMX, C::SSE, C::SSE2, C::SSE3, C::SSSE3, C::SSE4_1, C::SSE4_2];
    features.extend([C::PCLMULQDQ, C::AES, C::SHA]);
    if is_x86_feature_detected!("gfni") {
        features.push(C::GFNI);
    }
    features
}

/// Features with x87 instructions. FISTTP is of SSE3, FCMOV and FCOMI of CMOV.
pub const X87: [C; 5] = [C::FPU, C::FPU287, C::FPU387, C::SSE3, C::CMOV];

/// Features with VEX encodings that this host has.
pub fn vex_features() -> Vec<C> {
    let mut features = vec![C::AVX, C::AVX2, C::FMA, C::F16C, C::AES, C::PCLMULQDQ];
    if std::arch::is_x86_feature_detected!("vaes") && std::arch::is_x86_feature_detected!("gfni") {
        features.extend([C::VAES, C::VPCLMULQDQ, C::GFNI]);
    }
    features
}

/// Is the form one of these, in code of so many bits, and can it be compared?
pub fn is_subject(code: Code, encoding: EncodingKind, bits: u32, features: &[C]) -> bool {
    let info = code.op_code();
    info.is_instruction()
        && !exceptions::is_waiting(code)
        && (if bits == 64 { info.mode64() } else { info.mode32() })
        && info.encoding() == encoding
        && code.cpuid_features().iter().all(|f| features.contains(f))
        && !exceptions::is_not_for_this_test(code)
}

/// Is it in the instruction table?
pub fn is_implemented(insn: &Instruction, bits: u32) -> bool {
    let form = Form { insn, code_size: bits };
    table::handler(&form).is_some()
}

/// What differs between two states after an instruction.
pub fn differences(
    code: Code,
    insn: &Instruction,
    before: &State,
    host: &State,
    guest: &State,
) -> Vec<String> {
    let mut found = Vec::new();
    let base = host.base;
    let pointer = |n: usize| n == 7 && exceptions::points_to_memory(code);
    for n in (0..15).filter(|&n| n != 4 && n != base && !pointer(n)) {
        if host.regs[n] != guest.regs[n] {
            found.push(format!("r{n}: {:x}, not {:x}", guest.regs[n], host.regs[n]));
        }
    }
    if (host.flags ^ guest.flags) & 0x8d5 & !exceptions::undefined_flags(code, before, guest) != 0 {
        found.push(format!("flags: {:x}, not {:x}", guest.flags, host.flags));
    }
    let word = |s: &State, at: usize| u16::from_le_bytes([s.fx[at], s.fx[at + 1]]);
    let skip_x87 = exceptions::leaves_x87_alone(code, insn) || exceptions::fault_enters_mmx(code, host);
    for (name, at) in [("FCW", 0), ("FSW", 2), ("abridged tags", 4), ("MXCSR", 24)] {
        let mask = if at == 2 { !exceptions::undefined_status(code, before, guest) } else { !0 };
        if (word(host, at) ^ word(guest, at)) & mask != 0 && !(skip_x87 && at < 24) {
            found.push(format!(
                "{name}: {:04x}, not {:04x}; before {:04x}",
                word(guest, at),
                word(host, at),
                word(before, at)
            ));
        }
    }
    for n in 0..24 {
        let (name, at, len) = if n < 8 { ("st", 32 + 16 * n, 10) } else { ("xmm", 32 + 16 * n, 16) };
        let (h, g) = (&host.fx[at..at + len], &guest.fx[at..at + len]);
        if h != g && !(skip_x87 && n < 8) && !exceptions::close_enough(code, insn, before, h, g) {
            let show = |b: &[u8]| b.iter().rev().map(|b| format!("{b:02x}")).collect::<String>();
            found.push(format!(
                "{name}{}: {}, not {}; before {}",
                n % 8 + n / 16 * 8,
                show(g),
                show(h),
                show(&before.fx[at..at + len])
            ));
        }
    }
    for (n, (h, g)) in host.high.iter().zip(&guest.high).enumerate() {
        if h != g && !exceptions::close_enough(code, insn, before, h, g) {
            let show = |b: &[u8]| b.iter().rev().map(|b| format!("{b:02x}")).collect::<String>();
            found.push(format!("upper ymm{n}: {}, not {}", show(g), show(h)));
        }
    }
    let field = |s: &State, at: usize| u32::from_le_bytes(s.env[at..at + 4].try_into().unwrap());
    // On AMD's processors a task switch by the host's kernel loses the pointers.
    if exceptions::notes_pointers(code) && host.faulted == 0 && field(host, 12) != 0 {
        let opcode = |s: &State| field(s, 16) >> 16 & 0x7ff;
        if (field(host, 12), opcode(host)) != (field(guest, 12), opcode(guest)) {
            found.push(format!(
                "FIP and FOP: {:x?}, not {:x?}",
                (field(guest, 12), opcode(guest)),
                (field(host, 12), opcode(host))
            ));
        }
        // Addresses of memory differ between host and guest, the offset in it does not.
        let offset = |s: &State| field(s, 20).wrapping_sub(s.regs[base] as u32);
        if insn.op0_kind() == OpKind::Memory && offset(host) != offset(guest) {
            found.push(format!("FDP: {:x}, not {:x}", offset(guest), offset(host)));
        }
    }
    if host.memory != guest.memory {
        let at = (0..host.memory.len()).find(|&i| host.memory[i] != guest.memory[i]).unwrap();
        let show = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let range = at & !15..(at & !15) + 32;
        found.push(format!(
            "memory at {at:x}: {}, not {}",
            show(&guest.memory[range.clone()]),
            show(&host.memory[range])
        ));
    }
    found
}
