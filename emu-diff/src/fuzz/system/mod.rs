//! Random programs of system instructions, in every mode, as a firmware image.
//!
//! An image holds many *cases*. Each finds the same tables, stacks and data (but for what it changes itself
//! beforehand), begins in real mode, virtual-8086 mode, protected mode of 16 or 32 bits at level 0, 1 or 3,
//! compatibility mode or 64-bit mode, with random control bits, segments, debug registers and a few random
//! descriptors, and runs one to four system instructions in RAM. Behind them, and wherever they may lead, lies INT3;
//! so each case ends in a handler, behind which some of what it wrote is read. A difference in one case leaves no
//! traces in the next.
//!
//! * [`places`] says where things lie, [`tables`] what stands there,
//! * [`monitor`] is the firmware around the cases, [`draw`] makes the instructions.

pub mod draw;
pub mod monitor;
#[allow(missing_docs, reason = "addresses and selectors: their names say all")]
pub mod places;
pub mod tables;

use iced_x86::IcedError;
use iced_x86::code_asm::*;

use self::draw::{Drawn, Mode, Setting};
use self::monitor::{CR0, CR4, SIZE, TOP, linear};
use self::places::*;
use super::image::{EXIT_PORT, Image};
use crate::random::Random;

/// Bytes that a case may take.
const LARGEST: usize = 2048;
/// Doublewords that are read behind a case.
const READ: usize = 20;

/// An image of up to `most` cases, in legacy mode (32) or long mode (64), from that with the number `first` on;
/// with `breakpoints` debug registers are armed in some.
///
/// # Panics
/// When the monitor cannot be assembled, which would be a fault of ours.
pub fn build(bits: u32, breakpoints: bool, first: u64, most: u64, random: &mut Random) -> Image {
    try_build(bits, breakpoints, first, most, random).expect("all of it can be assembled")
}

fn try_build(
    bits: u32,
    breakpoints: bool,
    first: u64,
    most: u64,
    random: &mut Random,
) -> Result<Image, IcedError> {
    let tables = tables::tables(bits, &monitor::handlers(), random);
    let mut image = monitor::image(bits, &tables, &tables::data(random))?;
    monitor::boot_pointer(&mut image);
    let (mut at, mut cases) = (0, 0);
    while at + LARGEST < TOP && cases < most {
        let case = Case::draw(bits, breakpoints, cases as u32, random);
        cases += 1;
        if cases <= first {
            continue;
        }
        let bytes = case.assemble(bits, linear(at))?;
        image[at..at + bytes.len()].copy_from_slice(&bytes);
        at += bytes.len();
    }
    // mov eax, 0; mov edx, port; out dx, al; jmp $
    let end = [0xb8, 0, 0, 0, 0, 0xba, EXIT_PORT as u8, 0, 0, 0, 0xee, 0xeb, 0xfe];
    image[at..at + end.len()].copy_from_slice(&end);
    debug_assert_eq!(image.len(), SIZE);
    Ok(Image { bytes: image, instructions: cases.saturating_sub(first) })
}

struct Case {
    number: u32,
    setting: Setting,
    code: u16,
    stack: (u16, u32),
    /// DS, ES, FS, GS.
    segments: [u16; 4],
    flags: u32,
    registers: [u64; 8],
    cr0: u32,
    cr4: u32,
    /// Numbers and values.
    debug: Vec<(u8, u32)>,
    writes: Vec<(u32, u32)>,
    reads: Vec<u32>,
}

fn one_of<T: Copy>(all: &[T], random: &mut Random) -> T {
    all[random.below(all.len() as u64) as usize]
}

/// Bits that are drawn into a control register: each of them one time in four.
fn some(bits: u32, random: &mut Random) -> u32 {
    bits & random.word() as u32 & random.word() as u32
}

impl Case {
    fn draw(bits: u32, breakpoints: bool, number: u32, random: &mut Random) -> Self {
        let (mode, size, level) = if bits == 64 {
            let size = one_of(&[64, 64, 64, 32, 16], random);
            (Mode::Long, size, one_of(&[0, 0, 3], random))
        } else {
            match random.below(8) {
                0 => (Mode::Real, 16, 0),
                1 | 2 => (Mode::Virtual, 16, 3),
                3 => (Mode::Protected, 16, one_of(&[0, 3], random)),
                _ => (Mode::Protected, 32, one_of(&[0, 0, 1, 3, 3], random)),
            }
        };
        let paragraphs = matches!(mode, Mode::Real | Mode::Virtual);
        let code = match (mode, size, level) {
            (Mode::Real | Mode::Virtual, ..) => (BASE >> 4) as u16,
            (Mode::Long, 64, 0) => selector::CODE_64,
            (Mode::Long, 64, _) => selector::USER_64,
            (_, 16, 0) => selector::CODE_16,
            (_, 16, _) => selector::USER_16,
            (_, _, 0) => selector::CODE_32,
            (_, _, 1) => selector::LEVEL_1,
            _ => selector::USER_32,
        };
        // What STACK_0 and so on have above it.
        const ROOM: u32 = 0x60;
        let (stack, top) = match level {
            _ if paragraphs => (((DATA >> 4) as u16, STACK_3 - DATA - ROOM), STACK_3 - ROOM),
            0 => ((selector::DATA, STACK_0 - ROOM), STACK_0 - ROOM),
            1 => ((selector::LEVEL_1_DATA, STACK_1 - 0x20), STACK_1 - 0x20),
            _ if random.below(4) == 0 && size != 64 => {
                ((selector::USER_SMALL, STACK_3 - DATA - ROOM), STACK_3 - ROOM)
            }
            _ => ((selector::USER_DATA, STACK_3 - ROOM), STACK_3 - ROOM),
        };
        let small = paragraphs || size == 16 || size == 32 && random.below(4) == 0;
        let data = match (paragraphs, small) {
            (true, _) => (DATA >> 4) as u16,
            (_, true) => selector::USER_SMALL,
            _ => selector::USER_DATA,
        };
        let setting =
            Setting { mode, bits: size, level, data: if small { 0 } else { DATA }, stack: top, breakpoints };
        let mut drawn = Drawn::default();
        for _ in 0..=random.below(4) {
            let before = drawn.clone();
            drawn.draw(&setting, random);
            if drawn.code.len() > CODE_SIZE - 4 {
                drawn = before;
                break;
            }
        }
        let mut writes = random_tables(bits, random);
        writes.append(&mut drawn.writes);
        let mut instructions = drawn.code;
        instructions.resize(instructions.len().next_multiple_of(4), 0xcc);
        for (n, chunk) in (0..).zip(instructions.chunks_exact(4)) {
            writes.push((CODE + 4 * n, u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]])));
        }
        let segment = |random: &mut Random| match random.below(3) {
            0 if !paragraphs => {
                one_of(&[0, selector::USER_SMALL, selector::USER_DATA, selector::USER_32], random)
            }
            0 => random.below(0x600) as u16,
            _ => data,
        };
        let registers = std::array::from_fn(|_| match random.below(5) {
            0 => random_selector(random).into(),
            1 => u64::from(DATA + 8 * random.below(16) as u32),
            2 => offset(random).into(),
            _ => super::number(random),
        });
        let mut flags = draw::flags(random) & !0x2_0100;
        flags |= if mode == Mode::Virtual { 1 << 17 } else { 0 };
        let paging_off = mode == Mode::Protected && random.below(8) == 0;
        let debug = if breakpoints && random.below(6) == 0 { random_debug(random) } else { Vec::new() };
        Self {
            number,
            setting,
            code,
            stack,
            segments: [data, segment(random), segment(random), segment(random)],
            flags,
            registers,
            // WP, AM, EM, TS, MP
            cr0: if paging_off { CR0 & 0x7fff_ffff } else { CR0 } ^ some(0x5_000e, random),
            // VME, PVI, TSD, DE, PCE, PGE, UMIP, FSGSBASE, now and then SMEP and SMAP
            cr4: CR4
                | some(0x1_098f, random)
                | if random.below(8) == 0 { some(0x30_0000, random) } else { 0 },
            debug,
            writes,
            reads: random_reads(random),
        }
    }

    fn assemble(&self, bits: u32, at: u64) -> Result<Vec<u8>, IcedError> {
        // Where the monitor goes on is known when the length of what comes before is.
        let length = self.before(bits, at, 0)?.len() as u64;
        let mut bytes = self.before(bits, at, at + length)?;
        let mut a = CodeAssembler::new(bits)?;
        for &address in &self.reads {
            if bits == 64 {
                a.mov(eax, dword_ptr(u64::from(address)))?;
            } else {
                a.mov(eax, dword_ptr(address as i32))?;
            }
        }
        bytes.extend(a.assemble(at + length)?);
        Ok(bytes)
    }

    fn before(&self, bits: u32, at: u64, next: u64) -> Result<Vec<u8>, IcedError> {
        let mut a = CodeAssembler::new(bits)?;
        let store = |a: &mut CodeAssembler, address: u32, value: u32| {
            if bits == 64 {
                a.mov(dword_ptr(u64::from(address)), value)
            } else {
                a.mov(dword_ptr(address as i32), value)
            }
        };
        a.call(monitor::restore())?;
        store(&mut a, NEXT, next as u32)?;
        store(&mut a, CASE, self.number)?;
        for &(address, value) in &self.writes {
            store(&mut a, address, value)?;
        }
        for &(number, value) in &self.debug {
            let registers_32 = [dr0, dr1, dr2, dr3, dr4, dr5, dr6, dr7];
            a.mov(eax, value)?;
            if bits == 64 {
                a.mov(registers_32[usize::from(number)], rax)?;
            } else {
                a.mov(registers_32[usize::from(number)], eax)?;
            }
        }
        if bits == 64 {
            self.enter_64(&mut a)?;
        } else if self.setting.mode == Mode::Real {
            self.enter_real(&mut a)?;
        } else {
            self.enter_32(&mut a)?;
        }
        a.assemble(at)
    }

    fn load_segments(&self, a: &mut CodeAssembler) -> Result<(), IcedError> {
        for (register, value) in [es, fs, gs, ds].into_iter().zip([1, 2, 3, 0]) {
            a.mov(eax, u32::from(self.segments[value]))?;
            a.mov(register, ax)?;
        }
        Ok(())
    }

    fn enter_64(&self, a: &mut CodeAssembler) -> Result<(), IcedError> {
        a.mov(eax, self.cr4)?;
        a.mov(cr4, rax)?;
        a.mov(eax, self.cr0)?;
        a.mov(cr0, rax)?;
        self.load_segments(a)?;
        a.push(i32::from(self.stack.0))?;
        a.push(self.stack.1 as i32)?;
        a.push(self.flags as i32)?;
        a.push(i32::from(self.code))?;
        a.push(self.entry() as i32)?;
        let registers = [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi];
        for (n, register) in registers.into_iter().enumerate().filter(|(n, _)| *n != 4) {
            a.mov(register, self.registers[n])?;
        }
        a.iretq()
    }

    /// Offset of the case's code in its segment.
    fn entry(&self) -> u32 {
        let based = self.setting.bits == 16 || self.code == selector::LEVEL_1;
        if based { CODE - BASE } else { CODE }
    }

    fn load_registers(&self, a: &mut CodeAssembler) -> Result<(), IcedError> {
        let registers = [eax, ecx, edx, ebx, esp, ebp, esi, edi];
        for (n, register) in registers.into_iter().enumerate().filter(|(n, _)| *n != 4) {
            a.mov(register, self.registers[n] as u32)?;
        }
        Ok(())
    }

    fn enter_32(&self, a: &mut CodeAssembler) -> Result<(), IcedError> {
        a.mov(eax, self.cr4)?;
        a.mov(cr4, eax)?;
        a.mov(eax, self.cr0)?;
        a.mov(cr0, eax)?;
        let push = |a: &mut CodeAssembler, value: u32| a.push(value as i32);
        if self.setting.mode == Mode::Virtual {
            for n in [3, 2, 0, 1] {
                push(a, self.segments[n].into())?;
            }
        } else {
            self.load_segments(a)?;
        }
        if self.setting.level == 0 {
            a.mov(eax, u32::from(self.stack.0))?;
            a.mov(ss, ax)?;
            a.mov(esp, self.stack.1)?;
        } else {
            push(a, self.stack.0.into())?;
            push(a, self.stack.1)?;
        }
        push(a, self.flags)?;
        push(a, self.code.into())?;
        push(a, self.entry())?;
        self.load_registers(a)?;
        a.iretd()
    }

    fn enter_real(&self, a: &mut CodeAssembler) -> Result<(), IcedError> {
        let words = [
            self.stack.1 as u16,
            self.stack.0,
            self.flags as u16,
            self.segments[0],
            self.segments[1],
            self.segments[2],
            self.segments[3],
            0,
            self.registers[0] as u16,
            (self.registers[0] >> 16) as u16,
        ];
        for (n, pair) in (0..).zip(words.chunks_exact(2)) {
            a.mov(dword_ptr((REAL + 4 * n) as i32), u32::from(pair[0]) | u32::from(pair[1]) << 16)?;
        }
        self.load_registers(a)?;
        // JMP FIRMWARE:to_real
        let mut far = vec![0xea];
        far.extend(monitor::to_real_offset().to_le_bytes());
        far.extend(selector::FIRMWARE.to_le_bytes());
        a.db(&far)
    }
}

/// Up to three descriptors, gates or fields of a TSS that are other than in the tables.
fn random_tables(bits: u32, random: &mut Random) -> Vec<(u32, u32)> {
    let mut writes = Vec::new();
    for _ in 0..random.below(4) {
        let value = random_descriptor(random);
        let halves = [value as u32, (value >> 32) as u32];
        match random.below(5) {
            0 | 1 => {
                let first = u64::from(selector::RANDOM / 8);
                let at = GDT + 8 * (first + random.below(u64::from(GDT_SIZE / 8) - first)) as u32;
                writes.extend([(at, halves[0]), (at + 4, halves[1])]);
            }
            2 => {
                let at = LDT + 8 * random.below(u64::from(LDT_SIZE / 8)) as u32;
                writes.extend([(at, halves[0]), (at + 4, halves[1])]);
            }
            3 => {
                let vector = FREE_VECTOR + random.below(u64::from(VECTORS - FREE_VECTOR)) as u32;
                let at = IDT + vector * if bits == 64 { 16 } else { 8 };
                writes.extend([(at, halves[0]), (at + 4, halves[1])]);
            }
            _ => {
                let (field, value) = match random.below(4) {
                    0 => (0x48 + 4 * random.below(6) as u32, random_selector(random).into()),
                    1 => (0x24, draw::flags(random)),
                    2 => (0x64, 0x88_0000 | random.below(2) as u32),
                    _ => (0x60, random_selector(random).into()),
                };
                writes.push((TSS_32 + field, value));
            }
        }
    }
    writes
}

/// Breakpoints on the case's code and data, and DR7; general detection now and then.
fn random_debug(random: &mut Random) -> Vec<(u8, u32)> {
    let mut all: Vec<_> = (0..4)
        .map(|n: u8| {
            (n, one_of(&[CODE, CODE + 2, CODE + 5, DATA, DATA + 8, STACK_0 - 0x64, STACK_3 - 0x64], random))
        })
        .collect();
    // Execution has no length; data is written, or read and written, and aligned.
    let kind =
        |n: u32| if all[n as usize].1 < TABLES { 0 } else { one_of(&[0xd, 0xf, 1, 3], &mut random.clone()) };
    let lengths = (0..4).fold(0, |all, n| all | kind(n) << (16 + 4 * n));
    let general = if random.below(8) == 0 { 0x2000 } else { 0 };
    all.push((7, lengths | random.below(0x400) as u32 | general | 0x400));
    all
}

/// What is read behind a case.
fn random_reads(random: &mut Random) -> Vec<u32> {
    (0..READ)
        .map(|_| {
            let (from, to) = one_of(
                &[
                    (GDT, GDT + GDT_SIZE),
                    (LDT, LDT + LDT_SIZE),
                    (TSS_32, TSS_32 + 0x68),
                    (TSS_16, TSS_16 + 0x2c),
                    (TSS, TSS + 0x68),
                    (STACK_0 - 0x80, STACK_0),
                    (STACK_0 - 0x80, STACK_0),
                    (STACK_1 - 0x40, STACK_1),
                    (DATA, DATA + 0x48),
                    (STACK_3 - 0x80, STACK_3),
                ],
                random,
            );
            from + 4 * random.below(u64::from(to - from) / 4) as u32
        })
        .collect()
}
