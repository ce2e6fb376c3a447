//! The instructions that ran last, as text.

use std::collections::VecDeque;
use std::fmt;

use emu_core::cpu::{CS, Cpu, RIP};
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};

use crate::last_page::LastPage;

/// More bytes than any instruction has.
const LONGEST: usize = 15;

/// An instruction where it lies.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// Retired instructions before it.
    pub count: u64,
    /// CS selector.
    pub cs: u16,
    /// Its offset.
    pub rip: u64,
    /// 16, 32 or 64.
    pub bits: u32,
    bytes: [u8; LONGEST],
    length: u8,
}

impl Place {
    /// The next instruction of `cpu`, whose count is `count`. Nothing about the machine changes.
    pub fn of(cpu: &Cpu, count: u64) -> Self {
        Self::seen_by(&mut LastPage::default(), cpu, count)
    }

    /// The same, for whoever looks at one after the other.
    pub fn seen_by(page: &mut LastPage, cpu: &Cpu, count: u64) -> Self {
        let (rip, bits) = (cpu.regs[RIP], cpu.code_size());
        let linear = cpu.seg[CS].base.wrapping_add(rip) & cpu.linear_mask;
        let mut place = Self { count, cs: cpu.seg[CS].selector, rip, bits, ..Self::default() };
        place.length = page.read(cpu, linear, &mut place.bytes) as u8;
        place
    }

    /// Its opcode behind the prefixes of all modes, up to two bytes, and whether a repeat prefix (F2h, F3h) is among
    /// those. Of code that is not in memory it is zeros.
    pub fn opcode(&self) -> ([u8; 2], bool) {
        let bytes = &self.bytes[..usize::from(self.length)];
        let prefix = |byte: &u8| {
            let rex = self.bits == 64 && byte & 0xf0 == 0x40;
            rex || matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
        };
        let count = bytes.iter().take_while(|byte| prefix(byte)).count();
        let byte = |n: usize| bytes.get(count + n).copied().unwrap_or(0);
        ([byte(0), byte(1)], bytes[..count].iter().any(|byte| byte & 0xfe == 0xf2))
    }

    /// The instruction; an invalid one when its bytes could not be read.
    pub fn instruction(&self) -> Instruction {
        let bytes = &self.bytes[..usize::from(self.length)];
        Decoder::with_ip(self.bits, bytes, self.rip, DecoderOptions::NONE).decode()
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        let length = self.instruction().len().max(1).min(usize::from(self.length));
        &self.bytes[..length]
    }

    /// Its disassembly.
    pub fn text(&self) -> String {
        if self.length == 0 {
            return "(not in memory)".into();
        }
        let mut text = String::new();
        IntelFormatter::new().format(&self.instruction(), &mut text);
        text
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<_> = self.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        write!(
            f,
            "{:>12}  {:04x}:{:016x}  {:<30}  {}",
            self.count,
            self.cs,
            self.rip,
            bytes.join(" "),
            self.text()
        )
    }
}

/// The last places, oldest first.
#[derive(Clone, Debug)]
pub struct Recent {
    places: VecDeque<Place>,
    most: usize,
}

impl Recent {
    /// Room for so many.
    pub fn new(most: usize) -> Self {
        Self { places: VecDeque::with_capacity(most + 1), most }
    }

    /// Adds one.
    pub fn push(&mut self, place: Place) {
        if self.places.len() == self.most {
            self.places.pop_front();
        }
        self.places.push_back(place);
    }

    /// The last one.
    pub fn last(&self) -> Option<&Place> {
        self.places.back()
    }
}

impl fmt::Display for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.places.iter().try_for_each(|place| writeln!(f, "{place}"))
    }
}
