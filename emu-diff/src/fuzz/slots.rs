//! One random instruction for a slot of a firmware image: user instructions that stay within the data, and system
//! instructions with operands that make them do all kinds of things.

use iced_x86::{Code, Decoder, EncodingKind, InstructionInfoFactory};

use super::cases::encoding;
use super::program::{codes, fits};
use crate::random::Random;

/// Bytes of a slot.
pub const SLOT: usize = 16;

thread_local! {
    static CODES: Vec<Code> = codes();
}

/// Draws one for code of so many bits at this address; with `vectors` also one of x87, MMX, SSE and AVX.
pub fn draw(bits: u32, vectors: bool, at: u64, random: &mut Random) -> Vec<u8> {
    loop {
        let bytes = if random.below(2) == 0 { system(bits, random) } else { user(bits, vectors, random) };
        let insn = Decoder::with_ip(bits, &bytes, at, 0).decode();
        // Outside 64-bit code VEX.B and the highest bit of VEX.vvvv mean nothing (our host test); QEMU 7.2 takes the one
        // for a bit of the register's number, Bochs 2.7 the other.
        let high = |at: usize| bytes[at + 1] & 0x20 == 0 || bytes[at + 2] & 0x40 == 0;
        let vex_high = bits == 32
            && insn.code().op_code().encoding() == EncodingKind::VEX
            && bytes.iter().position(|byte| *byte == 0xc4).is_some_and(high);
        let usable = !insn.is_invalid() && !insn.is_ip_rel_memory_operand() && bytes.len() <= SLOT;
        if usable && (vectors || !vex_high) {
            return bytes;
        }
    }
}

/// General registers, flags and memory are all that it reads or writes.
fn integer(code: Code) -> bool {
    code.cpuid_features().iter().all(|feature| {
        let name = format!("{feature:?}");
        !["FPU", "MMX", "SSE", "SSSE", "AVX", "FMA", "F16C"].iter().any(|start| name.starts_with(start))
    })
}

fn user(bits: u32, vectors: bool, random: &mut Random) -> Vec<u8> {
    let mut factory = InstructionInfoFactory::new();
    CODES.with(|codes| {
        loop {
            let code = codes[random.below(codes.len() as u64) as usize];
            if (vectors || integer(code))
                && let Some(e) = encoding(code, bits, random)
                && e.bytes.len() <= SLOT
                && fits(&e.insn, &mut factory)
            {
                return e.bytes;
            }
        }
    })
}

/// ModR/M with a register operand that may be written (RAX, RCX, RDX, RBP, RDI), and this in the other field.
fn register(field: u8, random: &mut Random) -> u8 {
    0xc0 | field << 3 | [0, 1, 2, 5, 7][random.below(5) as usize]
}

/// ModR/M with the memory operand [RBX], and this in the other field.
fn memory(field: u8) -> u8 {
    field << 3 | 3
}

/// A prefix that changes the operand size, or none.
fn size(bits: u32, random: &mut Random) -> Vec<u8> {
    match random.below(3) {
        0 => vec![0x66],
        1 if bits == 64 => vec![0x48],
        _ => vec![],
    }
}

fn system(bits: u32, random: &mut Random) -> Vec<u8> {
    let field = random.below(8) as u8;
    let writable = [0, 1, 2, 5, 7][random.below(5) as usize];
    let mut bytes = Vec::new();
    match random.below(24) {
        // LAR, LSL
        0..=2 => {
            bytes = size(bits, random);
            bytes.extend([0x0f, 2 + random.below(2) as u8, register(writable, random)]);
        }
        // SLDT, STR, LLDT, VERR, VERW
        3 | 4 => bytes.extend([0x0f, 0, register([0, 1, 2, 4, 5][random.below(5) as usize], random)]),
        5 => bytes.extend([0x0f, 0, memory([0, 1, 2, 4, 5][random.below(5) as usize])]),
        // LTR
        6 => bytes.extend([0x0f, 0, register(3, random)]),
        // SMSW, LMSW
        7 => {
            bytes = size(bits, random);
            bytes.extend([0x0f, 1, register(4, random)]);
        }
        8 => bytes.extend([0x0f, 1, register(6, random)]),
        // SGDT, SIDT, INVLPG
        9 => bytes.extend([0x0f, 1, memory([0, 1, 7][random.below(3) as usize])]),
        // A load of a segment register; flat data again where code depends on it.
        10..=12 => {
            let segment = [0, 3, 4, 5][random.below(4) as usize];
            bytes.extend([0x8e, register(segment, random)]);
            match segment {
                0 if bits == 32 => bytes.extend([0x6a, 0x10, 0x07]),
                3 if bits == 32 => bytes.extend([0x6a, 0x10, 0x1f]),
                _ => {}
            }
        }
        // A store of one
        13 => {
            bytes = size(bits, random);
            bytes.extend([0x8c, register(random.below(6) as u8, random)]);
        }
        // PUSH and POP of FS and GS
        14 => bytes.extend([0x0f, [0xa0, 0xa1, 0xa8, 0xa9][random.below(4) as usize]]),
        // MOV from control registers and debug registers, to CR2, to DR0 to DR3 and DR6
        15 => bytes.extend([0x0f, 0x20, register([0, 2, 3, 4, field][random.below(5) as usize], random)]),
        16 => bytes.extend([0x0f, 0x21, register(field, random)]),
        17 => bytes.extend([0x0f, 0x22, register(2, random)]),
        18 => bytes.extend([0x0f, 0x23, register([0, 1, 2, 3, 6][random.below(5) as usize], random)]),
        // PUSHF, CLC to STD without STI. POPF of what lies on the stack turns on too much at once.
        19 => {
            bytes = size(bits, random);
            bytes.push(0x9c);
        }
        20 => bytes.push([0xf5, 0xf8, 0xf9, 0xfa, 0xfc, 0xfd][random.below(6) as usize]),
        // INT n, INT3, INTO, INT1
        21 => match random.below(4) {
            0 => bytes.push(0xcc),
            1 => bytes.push(0xce),
            2 => bytes.push(0xf1),
            // Vectors whose handlers expect no error code, and vectors without a gate.
            _ => {
                bytes.extend([0xcd, [0, 1, 3, 4, 5, 6, 7, 9, 16, 19, 32, 36, 200][random.below(13) as usize]])
            }
        },
        // CLTS, WBINVD, RDTSCP, XGETBV, SWAPGS, CPUID, RDPMC, RDMSR
        22 => bytes.extend(
            [
                &[0x0f, 0x06][..],
                &[0x0f, 0x09],
                &[0x0f, 0x01, 0xf9],
                &[0x0f, 0x01, 0xd0],
                &[0x0f, 0x01, 0xf8],
                &[0x0f, 0xa2],
                &[0x0f, 0x33],
                &[0x0f, 0x32],
            ][random.below(8) as usize],
        ),
        // ARPL (MOVSXD in 64-bit code), BOUND in 32-bit code, UD2, accesses by way of the window's pages
        _ => match random.below(4) {
            0 => bytes.extend([0x63, register(writable, random)]),
            1 if bits == 32 => bytes.extend([0x62, memory(writable)]),
            2 => bytes.extend([0x0f, 0x0b]),
            _ => {
                let op = [0x8b, 0x89, 0x01, 0x87][random.below(4) as usize];
                // [disp32], with a SIB byte, which means the same in both modes
                bytes.extend([op, 0x04 | writable << 3, 0x25]);
                bytes.extend(
                    (super::image::places::WINDOW as u32 + random.below(0x8000) as u32).to_le_bytes(),
                );
            }
        },
    }
    bytes
}
