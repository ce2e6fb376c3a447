//! Which VEX prefixes, opcodes and operands are instructions at all: #UD or not, on the host's processor and on the
//! interpreter, for every opcode of every map with each combination of the prefix's fields.

use emu_core::cpu::Fault;
use emu_core::decode::{CodeMode, decode};
use iced_x86::{Code, Decoder, DecoderOptions, EncodingKind};

use super::host::{BASE, Runner, State};
use super::{guest, vex_features};

/// Vector of #UD.
const INVALID: u64 = 6;
/// What fills up: an instruction without effect, or an immediate.
const NOP: u8 = 0x90;

/// The fields of a three-byte VEX prefix, and the form of the operand.
#[derive(Clone, Copy, Debug)]
struct Fields {
    map: u8,
    prefix: u8,
    opcode: u8,
    long: bool,
    wide: bool,
    /// The register that vvvv names; 0 is the code of none.
    register: u8,
    memory: bool,
}

impl Fields {
    fn bytes(self) -> Vec<u8> {
        // Memory is [r14]: VEX.B and rm = 6. Registers are 1 and 2.
        let (b, modrm) = if self.memory { (0, 0x0e) } else { (0x20, 0xca) };
        let second = 0xc0 | b | self.map;
        let third =
            u8::from(self.wide) << 7 | !self.register << 3 & 0x78 | u8::from(self.long) << 2 | self.prefix;
        vec![0xc4, second, third, self.opcode, modrm, NOP, NOP, NOP, NOP]
    }
}

/// All combinations for the maps that exist, a few for some that do not.
fn all_fields() -> impl Iterator<Item = Fields> {
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 31].into_iter().flat_map(|map| {
        (0..=255u8).flat_map(move |opcode| {
            (0..64u8).filter(move |n| (1..=3).contains(&map) || n & 0b11_1100 == 0).map(move |n| Fields {
                map,
                prefix: n & 3,
                opcode,
                long: n & 4 != 0,
                wide: n & 8 != 0,
                register: if n & 16 != 0 { 3 } else { 0 },
                memory: n & 32 != 0,
            })
        })
    })
}

/// Is it an instruction that this test is not about?
fn is_elsewhere(code: Code) -> bool {
    code != Code::INVALID
        && (code.op_code().encoding() != EncodingKind::VEX
            || !code.cpuid_features().iter().all(|f| vex_features().contains(f)))
}

/// VPERMQ and VPERMPD by an immediate with VEX.W clear: AMD's processors ignore W, the manual's opcode column demands
/// it.
fn is_valid_on_amd_only(bytes: &[u8]) -> bool {
    matches!(bytes, [0xc4, map, third, 0 | 1, ..] if map & 0x1f == 3 && third & 0x87 == 0x05)
}

struct Validity {
    runner: Runner,
    cpu: emu_core::cpu::Cpu,
    failures: Vec<String>,
    valid: usize,
    invalid: usize,
}

impl Validity {
    fn new() -> Self {
        let mut cpu = guest::processor(64);
        guest::enable_avx(&mut cpu);
        Self { runner: Runner::new(true, 64), cpu, failures: Vec::new(), valid: 0, invalid: 0 }
    }

    fn compare(&mut self, bytes: &[u8]) {
        let insn = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
        if is_elsewhere(insn.code()) {
            return;
        }
        let bytes = if insn.is_invalid() { bytes } else { &bytes[..insn.len()] };
        // All zero but what keeps every instruction harmless: MXCSR, and RDI for VMASKMOVDQU.
        let mut before = State::default();
        before.fx[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        before.memory[..4].copy_from_slice(&0x1f80u32.to_le_bytes());
        let (mut host, mut guest) = (before.clone(), before);
        self.runner.load(bytes);
        host.regs[7] = host.memory.as_ptr() as u64;
        self.runner.run(&mut host);
        guest.regs[7] = guest::ADDRESS;
        guest.regs[BASE] = guest::ADDRESS;
        let op = decode(bytes, CodeMode::LONG, 0).unwrap();
        let result = if insn.is_invalid() {
            (op.run)(&mut self.cpu, &op)
        } else {
            guest::run(&mut self.cpu, bytes, self.runner.address, &mut guest)
        };
        let refused = result == Err(Fault::UD);
        if refused && is_valid_on_amd_only(bytes) {
            return;
        }
        if result == Err(Fault::Unimplemented) || refused != (host.faulted == INVALID) {
            self.failures.push(format!("{bytes:02x?} {:?}: {result:?}, not {}", insn.code(), host.faulted));
        }
        if refused {
            self.invalid += 1;
        } else {
            self.valid += 1;
        }
    }

    fn finish(self, least_valid: usize, least_invalid: usize) {
        println!("{} valid, {} invalid", self.valid, self.invalid);
        let shown = &self.failures[..self.failures.len().min(60)];
        assert!(self.failures.is_empty(), "{} failures:\n{}", self.failures.len(), shown.join("\n"));
        assert!(self.valid >= least_valid && self.invalid >= least_invalid);
    }
}

fn host_has_avx2() -> bool {
    let has = std::arch::is_x86_feature_detected!("avx2");
    if !has {
        println!("SKIPPED: the host has no AVX2");
    }
    has
}

#[test]
fn fields_of_the_vex_prefix_are_checked_alike() {
    if !host_has_avx2() {
        return;
    }
    let mut validity = Validity::new();
    for fields in all_fields() {
        validity.compare(&fields.bytes());
    }
    validity.finish(3500, 40000);
}

#[test]
fn prefixes_before_vex_are_checked_alike() {
    if !host_has_avx2() {
        return;
    }
    let mut validity = Validity::new();
    // vpaddd xmm1, xmm2, xmm3; the same with three bytes; vmovups xmm1, [r14]; vzeroupper
    let all: [&[u8]; 4] = [
        &[0xc5, 0xe9, 0xfe, 0xcb],
        &[0xc4, 0xe1, 0x69, 0xfe, 0xcb],
        &[0xc4, 0xc1, 0x78, 0x10, 0x0e],
        &[0xc5, 0xf8, 0x77],
    ];
    let prefixes = [0x66, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x67].into_iter().chain(0x40..0x50);
    for prefix in prefixes {
        for bytes in all {
            validity.compare(&[&[prefix], bytes].concat());
            // A REX prefix that is not the last one counts for nothing.
            validity.compare(&[&[prefix, 0x2e], bytes].concat());
        }
    }
    validity.finish(20, 60);
}
