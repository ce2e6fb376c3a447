//! One random system instruction with operands that make it do all kinds of things, in code of any mode.

use super::places::*;
use crate::random::Random;

/// Mode of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Real mode.
    Real,
    /// Virtual-8086 mode.
    Virtual,
    /// Protected mode.
    Protected,
    /// 64-bit or compatibility mode.
    Long,
}

/// How a case begins.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its mode.
    pub mode: Mode,
    /// Size of its code: 16, 32, 64.
    pub bits: u32,
    /// CPL.
    pub level: u8,
    /// Offset of [`DATA`] in the segment that DS holds.
    pub data: u32,
    /// Linear address of the stack's top.
    pub stack: u32,
    /// Breakpoints may be set.
    pub breakpoints: bool,
}

/// Instructions and what they find in memory.
#[derive(Clone, Debug, Default)]
pub struct Drawn {
    /// The instructions.
    pub code: Vec<u8>,
    /// Doublewords: linear address and value.
    pub writes: Vec<(u32, u32)>,
}

fn one_of<T: Copy>(all: &[T], random: &mut Random) -> T {
    all[random.below(all.len() as u64) as usize]
}

/// Registers that may be written: not the stack pointer.
fn register(random: &mut Random) -> u8 {
    one_of(&[0, 1, 2, 3, 5, 6, 7], random)
}

/// A random image of the flags.
pub fn flags(random: &mut Random) -> u32 {
    let bit = |n: u32, one_in: u64, random: &mut Random| u32::from(random.below(one_in) == 0) << n;
    let status = random.word() as u32 & 0x8d5;
    // TF, IF, DF, NT, RF, VM, AC, VIF, VIP, ID
    let others = [(8, 8), (9, 2), (10, 4), (14, 6), (16, 8), (17, 8), (18, 5), (19, 4), (20, 6), (21, 4)];
    let level = one_of(&[0, 0, 1, 3, 3], random) << 12;
    others.into_iter().fold(status | level | 2, |flags, (n, one_in)| flags | bit(n, one_in, random))
}

impl Drawn {
    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.code.extend(bytes);
        self
    }

    /// Prefix for an operand size.
    fn sized(&mut self, s: &Setting, size: u32) -> &mut Self {
        match (s.bits, size) {
            (64, 64) => self.raw(&[0x48]),
            (16, 32) | (32 | 64, 16) => self.raw(&[0x66]),
            _ => self,
        }
    }

    /// MOV register, immediate.
    fn load(&mut self, s: &Setting, register: u8, value: u64) {
        if s.bits == 64 && value >> 32 != 0 {
            self.raw(&[0x48, 0xb8 | register]).raw(&value.to_le_bytes());
        } else if s.bits == 16 && value >> 16 == 0 {
            self.raw(&[0xb8 | register]).raw(&(value as u16).to_le_bytes());
        } else {
            self.sized(s, 32).raw(&[0xb8 | register]).raw(&(value as u32).to_le_bytes());
        }
    }

    /// ModR/M of a memory operand without registers.
    fn absolute(&mut self, s: &Setting, field: u8, offset: u32) {
        match s.bits {
            16 => self.raw(&[field << 3 | 6]).raw(&(offset as u16).to_le_bytes()),
            32 => self.raw(&[field << 3 | 5]).raw(&offset.to_le_bytes()),
            _ => self.raw(&[field << 3 | 4, 0x25]).raw(&offset.to_le_bytes()),
        };
    }

    /// Writes words of a size, one behind the other, from a linear address on.
    fn memory(&mut self, at: u32, size: u32, words: &[u64]) {
        let mut bytes = Vec::new();
        for word in words {
            bytes.extend(&word.to_le_bytes()[..size as usize / 8]);
        }
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        for (n, chunk) in (0..).zip(bytes.chunks_exact(4)) {
            self.writes.push((at + 4 * n, u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]])));
        }
    }

    fn operand_size(s: &Setting, random: &mut Random) -> u32 {
        if s.bits == 64 { one_of(&[16, 32, 64, 64], random) } else { one_of(&[16, 32], random) }
    }

    /// Draws one more.
    pub fn draw(&mut self, s: &Setting, random: &mut Random) {
        let size = Self::operand_size(s, random);
        let slot = 8 * random.below(8) as u32;
        let (r, other) = (register(random), register(random));
        match random.below(36) {
            0..=2 => {
                self.load(s, r, random_selector(random).into());
                let segment = one_of(&[0, 2, 3, 4, 5, 0, 3, 2, 1], random);
                self.raw(&[0x8e, 0xc0 | segment << 3 | r]);
            }
            3 => self.pop_segment(s, random),
            4 => {
                self.far_pointer(s, slot, size, random);
                let wide = s.bits == 64;
                let opcode: &[u8] = match random.below(5) {
                    0 if !wide => &[0xc4],
                    1 if !wide => &[0xc5],
                    n => [&[0x0f, 0xb2][..], &[0x0f, 0xb4], &[0x0f, 0xb5]][n as usize % 3],
                };
                self.sized(s, size).raw(opcode).absolute(s, r, s.data + slot);
            }
            5 | 6 if s.bits != 64 => {
                let (selector, to) = (random_selector(random), offset(random));
                self.sized(s, size).raw(&[one_of(&[0xea, 0x9a], random)]);
                self.raw(&to.to_le_bytes()[..size as usize / 8]).raw(&selector.to_le_bytes());
            }
            5..=7 => {
                self.far_pointer(s, slot, size, random);
                self.sized(s, size).raw(&[0xff]).absolute(s, one_of(&[3, 5], random), s.data + slot);
            }
            8 => {
                self.frame(s, size, false, random);
                let with_count = random.below(3) == 0;
                self.sized(s, size);
                if with_count {
                    self.raw(&[0xca, 4, 0])
                } else {
                    self.raw(&[0xcb])
                };
            }
            9..=11 => {
                self.frame(s, size, true, random);
                self.sized(s, size).raw(&[0xcf]);
            }
            12 | 13 => {
                let vector = one_of(&[32, 33, 34, 35, 36, 37, 38, 39, 0, 1, 3, 8, 13, 14, 40, 47], random);
                self.raw(&[0xcd, vector]);
            }
            14 => match random.below(4) {
                0 => _ = self.raw(&[0xcc]),
                1 => _ = self.raw(&[0xce]),
                2 if s.bits != 64 => self.sized(s, size).raw(&[0x62]).absolute(s, r, s.data + slot),
                _ => _ = self.raw(&[0x0f, 0x0b]),
            },
            15 => {
                self.load(s, r, random_selector(random).into());
                self.raw(&[0x0f, 0x00, 0xc0 | one_of(&[2, 3], random) << 3 | r]);
            }
            16 => {
                let field = one_of(&[0, 1], random);
                if random.below(2) == 0 {
                    self.sized(s, size).raw(&[0x0f, 0x00, 0xc0 | field << 3 | r]);
                } else {
                    self.raw(&[0x0f, 0x00]).absolute(s, field, s.data + slot);
                }
            }
            17 | 18 => {
                self.load(s, r, random_selector(random).into());
                match random.below(4) {
                    0 => _ = self.raw(&[0x0f, 0x00, 0xe0 | r]),
                    1 => _ = self.raw(&[0x0f, 0x00, 0xe8 | r]),
                    n => _ = self.sized(s, size).raw(&[0x0f, n as u8, 0xc0 | other << 3 | r]),
                }
            }
            19 if s.bits != 64 => _ = self.raw(&[0x63, 0xc0 | other << 3 | r]),
            19 | 20 => {
                let field = one_of(&[0, 1], random);
                self.raw(&[0x0f, 0x01]).absolute(s, field, s.data + slot);
            }
            // DS may hold anything later.
            21 if self.code.is_empty() => self.table_register(s, random),
            22 => {
                if random.below(2) == 0 {
                    self.sized(s, size).raw(&[0x0f, 0x01, 0xe0 | r]);
                } else {
                    // LMSW: PE is set in any case but real mode's.
                    let pe = u64::from(s.mode != Mode::Real);
                    self.load(s, r, random.word() & 0xe | pe);
                    self.raw(&[0x0f, 0x01, 0xf0 | r]);
                }
            }
            23 | 24 => self.control_register(s, r, random),
            25 => {
                let number = one_of(&[0, 1, 2, 3, 4, 6, 7, 7], random);
                if random.below(2) == 0 {
                    let value = match number {
                        0..=3 => u64::from(one_of(&[CODE + 3, CODE + 0x400, DATA + slot, WINDOW], random)),
                        _ if !s.breakpoints => random.word() & 0xffff_0300,
                        _ => random.word() & if random.below(4) == 0 { u64::MAX } else { 0xffff_03ff },
                    };
                    self.load(s, r, if s.bits == 64 { value } else { value & 0xffff_ffff });
                    self.raw(&[0x0f, 0x23, 0xc0 | number << 3 | r]);
                } else {
                    self.raw(&[0x0f, 0x21, 0xc0 | number << 3 | r]);
                }
            }
            26 => _ = self.raw(&[one_of(&[0xfa, 0xfb, 0xfc, 0xfd, 0xf5, 0x9c, 0x9e, 0x9f], random)]),
            27 | 28 => {
                self.load(s, r, flags(random).into());
                if s.bits == 16 && size == 32 {
                    self.raw(&[0x66]);
                }
                self.raw(&[0x50 | r]);
                self.sized(s, if s.bits == 64 && size == 32 { 64 } else { size }).raw(&[0x9d]);
            }
            29 => {
                self.load(s, 2, one_of(&[0x80, 0x40, 0x3, 0xff, 0xed], random));
                let opcode = one_of(&[0xe4, 0xe5, 0xe6, 0xe7, 0xec, 0xed, 0xee, 0xef], random);
                self.raw(&[opcode]);
                if opcode < 0xe8 {
                    self.raw(&[one_of(&[0x80, 0xed, 0x7f], random)]);
                }
            }
            30 => self.fast_call(s, random),
            31 => self.model_specific(s, random),
            32 => self.paging(s, r, slot, random),
            33 | 34 => self.access(s, size, r, slot, random),
            _ => {
                // PUSHA, POPA, ENTER, LEAVE, PUSH and POP of memory, RET, an indirect jump
                let at = s.data + slot;
                match random.below(8) {
                    0 => _ = self.sized(s, size).raw(&[0x60]),
                    1 => _ = self.sized(s, size).raw(&[0x61]),
                    2 => _ = self.sized(s, size).raw(&[0xc8, 8, 0, one_of(&[0, 1, 3], random)]),
                    3 => _ = self.sized(s, size).raw(&[0xc9]),
                    4 => self.sized(s, size).raw(&[0xff]).absolute(s, 6, at),
                    5 => self.sized(s, size).raw(&[0x8f]).absolute(s, 0, at),
                    6 => {
                        self.memory(s.stack, size, &[offset(random).into()]);
                        self.sized(s, size).raw(&[0xc3]);
                    }
                    _ => {
                        self.memory(DATA + slot, size, &[offset(random).into()]);
                        self.sized(s, size).raw(&[0xff]).absolute(s, one_of(&[2, 4], random), at);
                    }
                }
            }
        }
    }

    fn pop_segment(&mut self, s: &Setting, random: &mut Random) {
        // PUSH imm
        self.raw(&[0x68]);
        let selector = u32::from(random_selector(random));
        self.raw(&selector.to_le_bytes()[..if s.bits == 16 { 2 } else { 4 }]);
        let codes: [&[u8]; 5] = [&[0x07], &[0x17], &[0x1f], &[0x0f, 0xa1], &[0x0f, 0xa9]];
        self.raw(one_of(&codes, random));
    }

    /// Offset and selector in the data.
    fn far_pointer(&mut self, s: &Setting, slot: u32, size: u32, random: &mut Random) {
        let mut to = u64::from(offset(random));
        if s.bits == 64 && size == 64 && random.below(6) == 0 {
            to |= 1 << 47;
        }
        let mut bytes = to.to_le_bytes()[..size as usize / 8].to_vec();
        bytes.extend(random_selector(random).to_le_bytes());
        bytes.resize(12, 0);
        for (n, chunk) in (0..).zip(bytes.chunks_exact(4)) {
            let value = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
            self.writes.push((DATA + slot + 4 * n, value));
        }
    }

    /// What RETF or IRET pops.
    fn frame(&mut self, s: &Setting, size: u32, with_flags: bool, random: &mut Random) {
        let likely =
            [selector::USER_32, selector::USER_16, selector::USER_64, selector::CODE_32, selector::CODE_16];
        let data = [selector::USER_DATA, selector::USER_SMALL, selector::DATA, 0];
        let pick = |likely: &[u16], random: &mut Random| -> u64 {
            if random.below(2) == 0 { one_of(likely, random).into() } else { random_selector(random).into() }
        };
        let mut frame = vec![offset(random).into(), pick(&likely, random)];
        if with_flags {
            frame.push(flags(random).into());
        }
        let mut stack = u64::from(one_of(&[STACK_3 - 0x20, STACK_3 - DATA - 0x20, STACK_0 - 0x20], random));
        if s.bits == 64 && random.below(12) == 0 {
            stack |= 1 << 50;
        }
        frame.push(stack);
        frame.push(pick(&data, random));
        for _ in 0..4 {
            frame.push(random_selector(random).into());
        }
        self.memory(s.stack, size, &frame);
    }

    /// LGDT and LIDT of tables that handlers can still be reached by.
    fn table_register(&mut self, s: &Setting, random: &mut Random) {
        let gdt = random.below(2) == 0;
        // Where no other operand lies.
        let slot = if gdt { 0x48 } else { 0x58 };
        let (base, limits): (u32, &[u32]) = match (s.mode, gdt) {
            (_, true) => (GDT, &[GDT_SIZE - 1, 0x9f, 0xffff]),
            (Mode::Real, false) => (0, &[0x3ff, 0x4b]),
            (Mode::Long, false) => (IDT, &[VECTORS * 16 - 1, 0x11f]),
            (_, false) => (IDT, &[VECTORS * 8 - 1, 0x8f]),
        };
        self.writes.push((DATA + slot, one_of(limits, random) | base << 16));
        self.writes.push((DATA + slot + 4, base >> 16));
        self.writes.push((DATA + slot + 8, 0));
        self.sized(s, Self::operand_size(s, random)).raw(&[0x0f, 0x01]);
        self.absolute(s, if gdt { 2 } else { 3 }, s.data + slot);
    }

    fn control_register(&mut self, s: &Setting, r: u8, random: &mut Random) {
        let number = one_of(&[0, 0, 2, 3, 4, 4, if s.bits == 64 { 8 } else { 7 }, 1, 5], random);
        let rex: &[u8] = if number == 8 { &[0x44] } else { &[] };
        if random.below(2) == 0 {
            self.raw(rex).raw(&[0x0f, 0x20, 0xc0 | (number & 7) << 3 | r]);
            return;
        }
        let paging = s.mode != Mode::Real;
        let value = match number {
            // MP, EM, TS, NE, WP, AM, and combinations that are refused. PE and PG stay, or are refused.
            0 => {
                let bits = random.word() & 0x5_002e | 0x10;
                let refused = one_of(&[0, 0, 0, 0, 0x2000_0000, 0x6000_0000, 0x4000_0000], random);
                let on = match (paging, random.below(10)) {
                    (true, 0) => 0x8000_0000,
                    (true, _) => 0x8000_0001,
                    (false, 0) => 0x8000_0000,
                    (false, _) => 0,
                };
                bits | refused | on
            }
            3 => {
                u64::from(if s.mode == Mode::Long { PML4 } else { PDPT_PAE }) | one_of(&[0, 0x18, 8], random)
            }
            4 => {
                let keep = if random.below(12) == 0 { 0 } else { 0x4_0620 };
                keep | match random.below(6) {
                    0 => 1 << random.below(32),
                    _ => random.word() & 0x31_09ff,
                }
            }
            8 => random.below(20),
            _ => random.word() & 0xffff_ffff,
        };
        self.load(s, r, value);
        self.raw(rex).raw(&[0x0f, 0x22, 0xc0 | (number & 7) << 3 | r]);
    }

    fn fast_call(&mut self, s: &Setting, random: &mut Random) {
        match random.below(4) {
            0 => _ = self.raw(&[0x0f, 0x34]),
            1 => {
                self.load(s, 2, offset(random).into());
                self.load(s, 1, (STACK_3 - 0x20).into());
                self.sized(s, if s.bits == 64 && random.below(2) == 0 { 64 } else { s.bits.min(32) });
                self.raw(&[0x0f, 0x35]);
            }
            2 => _ = self.raw(&[0x0f, 0x05]),
            _ => {
                self.load(s, 1, offset(random).into());
                if s.bits == 64 {
                    // MOV R11D, imm
                    self.raw(&[0x41, 0xbb]).raw(&flags(random).to_le_bytes());
                }
                self.sized(s, if s.bits == 64 && random.below(2) == 0 { 64 } else { s.bits.min(32) });
                self.raw(&[0x0f, 0x07]);
            }
        }
    }

    fn model_specific(&mut self, s: &Setting, random: &mut Random) {
        let all: [&[u8]; 16] = [
            &[0x0f, 0x31],
            &[0x0f, 0x01, 0xf9],
            &[0x0f, 0xa2],
            &[0x0f, 0x32],
            &[0x0f, 0x30],
            &[0x0f, 0x01, 0xf8],
            &[0x0f, 0x01, 0xd0],
            &[0x0f, 0x06],
            &[0x0f, 0x09],
            &[0x0f, 0x01, 0xca],
            &[0x0f, 0x01, 0xcb],
            &[0xf3, 0x0f, 0xae, 0xc0],
            &[0xf3, 0x0f, 0xae, 0xd8],
            &[0x0f, 0xae, 0xf0],
            &[0x0f, 0xff],
            &[0x0f, 0x08],
        ];
        let which = random.below(all.len() as u64) as usize;
        if matches!(which, 3 | 4) {
            // SYSENTER_CS and so on, EFER without LME, one that nobody has.
            let number =
                one_of(&[0x174, 0x175, 0x176, 0xc000_0081, 0xc000_0082, 0xc000_0100, 0x1234_5678], random);
            self.load(s, 1, number);
            self.load(s, 0, one_of(&[selector::CODE_32.into(), u64::from(CODE) + 0x400, 0], random));
            self.load(s, 2, 0);
        }
        self.raw(all[which]);
    }

    /// A change of a page's entry, perhaps its invalidation, and an access.
    fn paging(&mut self, s: &Setting, r: u8, slot: u32, random: &mut Random) {
        let page = random.below(8) as u32;
        let at = WINDOW + 0x1000 * page + slot;
        if s.data == DATA && s.level == 0 && s.bits != 16 {
            let entry = TABLE + 8 * (WINDOW / 0x1000 + page);
            let value = (WINDOW + 0x1000 * page) | one_of(&[0, 1, 3, 5, 7, 7, 0x67, 0x107], random);
            self.raw(&[0xc7]).absolute(s, 0, entry);
            self.raw(&value.to_le_bytes());
            if random.below(4) != 0 {
                self.raw(&[0x0f, 0x01]).absolute(s, 7, at);
            }
        }
        self.raw(&[one_of(&[0x8b, 0x89, 0x01], random)]).absolute(s, r, at);
    }

    /// A load, store, addition or exchange by way of any segment, at its edges too.
    fn access(&mut self, s: &Setting, size: u32, r: u8, slot: u32, random: &mut Random) {
        let prefix: &[u8] = one_of(&[&[][..], &[0x26], &[0x2e], &[0x36], &[0x64], &[0x65]], random);
        let last = if s.bits == 16 { 0xffff } else { 0x4fff };
        let at = one_of(&[s.data + slot, s.data + slot, slot, 0x7e, 0xff, last, 0x4ffd], random);
        let opcode = one_of(&[0x8b, 0x89, 0x01, 0x87, 0x8a], random);
        self.raw(prefix).sized(s, size).raw(&[opcode]).absolute(s, r, at);
    }
}
