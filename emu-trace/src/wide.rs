//! Registers wider than the general ones: vectors, x87 and MMX, and what governs them.
//!
//! A trace holds their changes as [`event::VECTOR`](crate::model::event::VECTOR), behind the instruction: a register's number
//! and its words, again and again. FOP, FIP and FDP are left out.

use emu_core::cpu::Cpu;
use iced_x86::{CpuidFeature, Instruction, InstructionInfoFactory, Mnemonic, OpAccess};

/// Number of the low 128 bits of vector register 0 (XMM0); 16 of them.
pub const XMM: usize = 0;
/// Number of bits 255:128 of vector register 0; 16 of them.
pub const YMM_HIGH: usize = 16;
/// Number of physical x87 register R0, whose significand is an MMX register; 8 of them.
pub const R: usize = 32;
/// The x87 unit's control word (bits 15:0), status word with TOP (31:16), and which registers are not empty (39:32).
pub const X87: usize = 40;
/// MXCSR.
pub const MXCSR: usize = 41;
/// How many numbers there are.
pub const COUNT: usize = 42;

/// Words that a register has in an event.
pub fn words(number: usize) -> usize {
    if number < X87 { 2 } else { 1 }
}

/// What an instruction may change, as far as its bytes tell: bit n for vector register n, and these.
pub mod bits {
    /// The x87 unit.
    pub const X87: u32 = 1 << 16;
    /// MXCSR.
    pub const MXCSR: u32 = 1 << 17;
    /// Everything.
    pub const ALL: u32 = 0xffff | X87 | MXCSR;
}

/// What `insn` may change of these registers.
pub fn written(insn: &Instruction, factory: &mut InstructionInfoFactory) -> u32 {
    use CpuidFeature as C;
    use Mnemonic as M;
    if matches!(
        insn.mnemonic(),
        M::Fxrstor
            | M::Fxrstor64
            | M::Xrstor
            | M::Xrstor64
            | M::Xrstors
            | M::Xrstors64
            | M::Vzeroall
            | M::Vzeroupper
    ) {
        return bits::ALL;
    }
    let mut mask = 0;
    for feature in insn.cpuid_features() {
        mask |= match feature {
            C::FPU | C::FPU287 | C::FPU387 | C::MMX => bits::X87,
            // Comparisons and conversions into general registers raise exception flags, too.
            C::SSE | C::SSE2 | C::SSE3 | C::SSE4_1 | C::AVX | C::AVX2 | C::FMA | C::F16C => bits::MXCSR,
            _ => 0,
        };
    }
    for used in factory.info(insn).used_registers() {
        let register = used.register();
        if matches!(used.access(), OpAccess::None | OpAccess::Read | OpAccess::CondRead) {
            continue;
        }
        if register.is_vector_register() && register.number() < YMM_HIGH {
            mask |= 1 << register.number();
        } else if register.is_mm() || register.is_st() {
            mask |= bits::X87;
        }
    }
    mask
}

/// A register's words.
fn read(cpu: &Cpu, number: usize) -> [u64; 2] {
    let fpu = &cpu.fpu;
    match number {
        XMM..YMM_HIGH => [fpu.vectors[number][0], fpu.vectors[number][1]],
        YMM_HIGH..R => [fpu.vectors[number - YMM_HIGH][2], fpu.vectors[number - YMM_HIGH][3]],
        R..X87 => [fpu.regs[number - R].significand, fpu.regs[number - R].sign_exponent.into()],
        X87 => {
            let words = u64::from(fpu.control) | u64::from(fpu.status_word()) << 16;
            [words | u64::from(fpu.valid) << 32, 0]
        }
        _ => [fpu.mxcsr.into(), 0],
    }
}

/// These registers of a processor, as they were told last.
#[derive(Clone, Debug)]
pub struct Wide([[u64; 2]; COUNT]);

impl Default for Wide {
    fn default() -> Self {
        Self([[0; 2]; COUNT])
    }
}

impl Wide {
    /// Adds what has changed of the registers in a mask to the data of an event.
    pub fn changes(&mut self, cpu: &Cpu, mask: u32, data: &mut Vec<u64>) {
        let mut left = mask & 0xffff;
        while left != 0 {
            let number = left.trailing_zeros() as usize;
            left &= left - 1;
            self.change(cpu, XMM + number, data);
            self.change(cpu, YMM_HIGH + number, data);
        }
        if mask & bits::X87 != 0 {
            let before = data.len();
            (R..X87).for_each(|number| self.change(cpu, number, data));
            if data.len() != before {
                // Whoever reads the event alone learns which of them is ST(0).
                self.0[X87] = [u64::MAX; 2];
            }
            self.change(cpu, X87, data);
        }
        if mask & bits::MXCSR != 0 {
            self.change(cpu, MXCSR, data);
        }
    }

    #[inline]
    fn change(&mut self, cpu: &Cpu, number: usize, data: &mut Vec<u64>) {
        let now = read(cpu, number);
        if self.0[number] != now {
            self.0[number] = now;
            data.push(number as u64);
            data.extend(&now[..words(number)]);
        }
    }
}

/// A register's new value in an event, by the name that text shows and `last-value` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `xmm0`, `ymm0h` (bits 255:128), `st0` (by TOP), `fctrl`, `fstat`, `fvalid`, `mxcsr`.
    pub name: String,
    /// Its value.
    pub value: u128,
    /// Its bytes.
    pub size: usize,
}

/// The changes that an event's data tells; what cannot be is left out.
pub fn changes(data: &[u64]) -> Vec<Change> {
    let mut parts = Vec::new();
    let mut rest = data;
    while let Some((&number, tail)) = rest.split_first() {
        let Some(number) = usize::try_from(number).ok().filter(|&number| number < COUNT) else { break };
        let Some((value, tail)) = tail.split_at_checked(words(number)) else { break };
        let high = value.get(1).copied().unwrap_or(0);
        parts.push((number, u128::from(high) << 64 | u128::from(value[0])));
        rest = tail;
    }
    let control = parts.iter().find(|&&(number, _)| number == X87).map_or(0, |&(_, value)| value);
    let top = (control >> 27 & 7) as usize;
    let mut changes = Vec::new();
    let mut add = |name: String, value, size| changes.push(Change { name, value, size });
    for (number, value) in parts {
        match number {
            XMM..YMM_HIGH => add(format!("xmm{number}"), value, 16),
            YMM_HIGH..R => add(format!("ymm{}h", number - YMM_HIGH), value, 16),
            R..X87 => add(format!("st{}", (number - R + 8 - top) % 8), value, 10),
            X87 => {
                add("fctrl".into(), value & 0xffff, 2);
                add("fstat".into(), value >> 16 & 0xffff, 2);
                add("fvalid".into(), value >> 32 & 0xff, 1);
            }
            _ => add("mxcsr".into(), value, 4),
        }
    }
    changes
}

/// Is there a register of this name?
pub fn is_name(name: &str) -> bool {
    let numbered = |prefix: &str, end: &str, most: usize| {
        let number = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(end));
        number.is_some_and(|digits| (0..most).any(|n| digits == n.to_string()))
    };
    numbered("xmm", "", 16)
        || numbered("ymm", "h", 16)
        || numbered("st", "", 8)
        || matches!(name, "fctrl" | "fstat" | "fvalid" | "mxcsr")
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions};

    fn of(bytes: &[u8]) -> u32 {
        let insn = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
        written(&insn, &mut InstructionInfoFactory::new())
    }

    #[test]
    fn what_may_change_follows_from_the_bytes() {
        assert_eq!(of(&[0x48, 0x01, 0xc8]), 0, "add rax, rcx");
        assert_eq!(of(&[0x0f, 0x58, 0xca]), 1 << 1 | bits::MXCSR, "addps xmm1, xmm2");
        assert_eq!(of(&[0xc5, 0xf4, 0x58, 0xda]) & 0xffff, 1 << 3, "vaddps ymm3, ymm1, ymm2");
        assert_eq!(of(&[0x0f, 0x2e, 0xca]), bits::MXCSR, "ucomiss xmm1, xmm2");
        assert_eq!(of(&[0xd9, 0xe8]), bits::X87, "fld1");
        assert_eq!(of(&[0x0f, 0xfc, 0xca]), bits::X87, "paddb mm1, mm2");
        assert_eq!(of(&[0x0f, 0x77]), bits::X87, "emms");
        assert_eq!(of(&[0x0f, 0xae, 0x08]), bits::ALL, "fxrstor [rax]");
        assert_eq!(of(&[0x0f, 0x11, 0x00]) & 0xffff, 0, "movups [rax], xmm0");
    }

    #[test]
    fn an_event_names_what_changed() {
        let data = [1, 0x11, 0x22, 18, 3, 0, 39, 1 << 63, 0x3fff, 40, 0x80_3800_037f, 41, 0x1f80];
        let names: Vec<(String, u128)> =
            changes(&data).into_iter().map(|change| (change.name, change.value)).collect();
        let expected = [
            ("xmm1", 0x22 << 64 | 0x11),
            ("ymm2h", 3),
            ("st0", 0x3fff << 64 | 1 << 63),
            ("fctrl", 0x37f),
            ("fstat", 0x3800),
            ("fvalid", 0x80),
            ("mxcsr", 0x1f80),
        ];
        assert_eq!(names, expected.map(|(name, value)| (name.to_owned(), value)));
        assert!(names.iter().all(|(name, _)| is_name(name)));
        assert!(!is_name("xmm16") && !is_name("st01") && !is_name("rax"));
        assert!(changes(&[99, 1]).is_empty() && changes(&[0, 1]).is_empty(), "a damaged file");
    }
}
