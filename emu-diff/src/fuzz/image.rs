//! A firmware image that runs random instructions, among them system instructions, for machines that are compared
//! instruction by instruction.
//!
//! It goes from the reset vector to protected mode, or on to long mode, with an IDT whose handlers go on behind the
//! instruction that faulted. Then come groups of slots of 16 bytes: a few that give registers new values, and some with
//! one random instruction each. The last instruction writes to the debug-exit port.

use emu_core::cpu::eflags;

use super::places::PAGE;
use super::shrink::Case;
use super::slots::{self, SLOT};
use crate::random::Random;

/// Bytes of the image: the most that firmware may have below 4 GiB without meeting chips.
pub const SIZE: usize = 1 << 20;
/// Port that ends the run.
pub const EXIT_PORT: u16 = 0xf4;
/// Slots with random instructions behind each group of slots that set registers.
const PER_GROUP: usize = 12;
/// Where the boot code lies in the last 64 KiB.
const BOOT: usize = 0xe000;
const TOP: usize = SIZE - 0x1_0000;
/// mov eax, 10h; mov ss, ax; mov ds, ax; mov es, ax
const FLAT: [u8; 11] = [0xb8, 0x10, 0, 0, 0, 0x8e, 0xd0, 0x8e, 0xd8, 0x8e, 0xc0];
/// mov eax, 80010033h; mov cr0, eax
const SET_CR0: [u8; 8] = [0xb8, 0x33, 0, 1, 0x80, 0x0f, 0x22, 0xc0];

/// Memory that the image uses.
pub mod places {
    /// Page tables: PML4 (or page directory), PDPT, four page directories, and a page table for `WINDOW`.
    pub const TABLES: u32 = 0x1_0000;
    /// GDT, copied from the image.
    pub const GDT: u32 = 0x2_0000;
    /// TSS.
    pub const TSS: u32 = 0x2_8000;
    /// IDT.
    pub const IDT: u32 = 0x3_0000;
    pub use crate::fuzz::places::DATA;
    /// Pages with all kinds of rights.
    pub const WINDOW: u64 = 0x60_0000;
    /// The stack's top.
    pub const STACK: u64 = 0x70_0000;
}
use places::{DATA, GDT, IDT, STACK, TABLES, TSS, WINDOW};

/// Descriptors of all kinds; the first six are what the image needs itself.
fn descriptors() -> Vec<u64> {
    let tss = u64::from(TSS);
    let mut all = vec![
        0,
        0x00cf_9b00_0000_ffff, // 08h: code, 32 bits
        0x00cf_9300_0000_ffff, // 10h: data
        0x00af_9b00_0000_ffff, // 18h: code, 64 bits
        // 20h: TSS, 67h bytes, two entries in long mode
        0x0000_8900_0000_0067 | (tss & 0xff_ffff) << 16 | (tss >> 24) << 56,
        0,
    ];
    // Data that grows up and down, code that conforms or not, readable or not, of every DPL, present or not, of small
    // limits and large.
    for access in
        [0x90, 0x91, 0x92, 0x93, 0x94, 0x96, 0x98, 0x9a, 0x9c, 0x9e, 0xf2, 0xfa, 0xb2, 0xda, 0x12, 0x1a]
    {
        all.push(0x0040_0000_0000_0fff | access << 40 | 0x50 << 16);
        all.push(0x00c0_0000_0000_0fff | access << 40);
    }
    // System descriptors: each type, present.
    for kind in 0..16 {
        all.push(0x0000_8000_0000_00ff | kind << 40 | (tss & 0xff_ffff) << 16);
    }
    all
}

/// A random selector: mostly one that names a descriptor.
pub fn selector(random: &mut Random) -> u64 {
    let count = descriptors().len() as u64;
    match random.below(10) {
        0 => random.below(4),
        1 => random.below(0x1_0000),
        2 => random.below(count + 4) << 3 | 4,
        _ => (random.below(count + 2) << 3) | (random.below(4) * random.below(2)),
    }
}

/// The image.
pub struct Image {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Random instructions in it, or programs of them.
    pub instructions: u64,
}

struct Code {
    bytes: Vec<u8>,
    bits: u32,
}

impl Code {
    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }

    /// A load of an immediate into a general register.
    fn load(&mut self, register: u8, value: u64) {
        if self.bits == 64 {
            self.raw(&[0x48 | register >> 3, 0xb8 | register & 7]).raw(&value.to_le_bytes());
        } else {
            self.raw(&[0xb8 | register & 7]).raw(&(value as u32).to_le_bytes());
        }
    }

    /// PUSH and POPF.
    fn flags(&mut self, value: u64) {
        self.raw(&[0x68]).raw(&(value as u32).to_le_bytes()).raw(&[0x9d]);
    }

    /// MOV dword [address], value with 32-bit addressing.
    fn store(&mut self, address: u32, value: u32) {
        self.raw(&[0xc7, 0x05]).raw(&address.to_le_bytes()).raw(&value.to_le_bytes());
    }
}

/// Linear address of an offset in the image.
fn linear(offset: usize) -> u64 {
    (1 << 32) - SIZE as u64 + offset as u64
}

/// Builds an image of up to `most` random instructions for code of 32 or 64 bits; with `vectors` also those of x87,
/// MMX, SSE and AVX.
pub fn build(bits: u32, vectors: bool, most: u64, random: &mut Random) -> Image {
    let mut image = frame(bits);
    let mut at = 0;
    let mut instructions = 0;
    while at + 64 * SLOT < TOP && instructions < most {
        let setup = registers(bits, random);
        image[at..at + setup.len()].copy_from_slice(&setup);
        at += setup.len().next_multiple_of(SLOT);
        for _ in 0..PER_GROUP {
            let bytes = slots::draw(bits, vectors, linear(at), random);
            image[at..at + bytes.len()].copy_from_slice(&bytes);
            at += SLOT;
            instructions += 1;
        }
    }
    end(&mut image, at);
    Image { bytes: image, instructions }
}

/// Builds an image that runs one instruction with the registers and memory of each of these cases, in code of 32 or
/// 64 bits. Returns also where the instruction lies for each; those for which there is no room are left out.
pub fn of_cases(bits: u32, instruction: &[u8], cases: &[Case]) -> (Image, Vec<u64>) {
    let mut image = frame(bits);
    let (mut at, mut places) = (0, Vec::new());
    for case in cases {
        let setup = case_setup(bits, case);
        let start = at + setup.len().next_multiple_of(SLOT);
        if start + 16 * SLOT > TOP {
            break;
        }
        image[at..at + setup.len()].copy_from_slice(&setup);
        image[start..start + instruction.len()].copy_from_slice(instruction);
        places.push(linear(start));
        at = start + SLOT;
    }
    end(&mut image, at);
    (Image { bytes: image, instructions: places.len() as u64 }, places)
}

/// The image without slots.
fn frame(bits: u32) -> Vec<u8> {
    let mut image = vec![0x90; SIZE];
    let handlers = [(TOP + 0x100, handler(bits, false)), (TOP + 0x140, handler(bits, true))];
    for (at, code) in &handlers {
        image[*at..at + code.len()].copy_from_slice(code);
    }
    let gdt: Vec<u8> = descriptors().iter().flat_map(|d| d.to_le_bytes()).collect();
    image[TOP + 0x1000..][..gdt.len()].copy_from_slice(&gdt);
    let limit = gdt.len() as u16 - 1;
    let pointer = |base: u64| [&limit.to_le_bytes()[..], &(base as u32).to_le_bytes(), &[0; 4]].concat();
    image[TOP + 0x200..][..10].copy_from_slice(&pointer(linear(TOP + 0x1000)));
    image[TOP + 0x210..][..10].copy_from_slice(&pointer(u64::from(GDT)));
    let idt_limit: u16 = if bits == 64 { 0xfff } else { 0x7ff };
    let idt = [&idt_limit.to_le_bytes()[..], &IDT.to_le_bytes(), &[0; 4]].concat();
    image[TOP + 0x220..][..10].copy_from_slice(&idt);

    // Reset: a jump within the last 64 KiB, then to protected mode.
    let back = (BOOT as i32 - 0xfff3) as i16;
    image[SIZE - 16..SIZE - 13].copy_from_slice(&[0xe9, back as u8, (back >> 8) as u8]);
    let mut real = Code { bytes: vec![0xfa], bits: 16 };
    real.raw(&[0x2e, 0x66, 0x0f, 0x01, 0x16]).raw(&0x200u16.to_le_bytes()); // lgdt cs:[200h]
    real.raw(&[0x0f, 0x20, 0xc0, 0x66, 0x83, 0xc8, 0x01, 0x0f, 0x22, 0xc0]); // cr0 |= 1
    real.raw(&[0x66, 0xea]).raw(&(linear(TOP + BOOT + 0x100) as u32).to_le_bytes()).raw(&[8, 0]);
    image[TOP + BOOT..][..real.bytes.len()].copy_from_slice(&real.bytes);
    let boot = protected(bits, gdt.len() as u32, &handlers);
    image[TOP + BOOT + 0x100..][..boot.len()].copy_from_slice(&boot);

    image
}

/// Puts the end behind the last slot.
fn end(image: &mut [u8], at: usize) {
    // mov eax, 0; mov edx, port; out dx, al; jmp $. Again behind it, for a trap in its middle.
    let end = [0xb8, 0, 0, 0, 0, 0xba, EXIT_PORT as u8, 0, 0, 0, 0xee, 0xeb, 0xfe];
    for n in 0..4 {
        image[at + n * SLOT..][..end.len()].copy_from_slice(&end);
    }
}

/// Handlers: drop the error code, round RIP up to the next slot, clear TF, return.
fn handler(bits: u32, error: bool) -> Vec<u8> {
    match (bits, error) {
        // and qword [rsp], -16; add qword [rsp], 16; and dword [rsp + 16], ~TF; iretq
        (64, false) => vec![
            0x48, 0x83, 0x24, 0x24, 0xf0, 0x48, 0x83, 0x04, 0x24, 16, 0x81, 0x64, 0x24, 16, 0xff, 0xfe, 0xff,
            0xff, 0x48, 0xcf,
        ],
        (64, true) => [&[0x48, 0x83, 0xc4, 8][..], &handler(64, false)].concat(),
        (_, false) => vec![
            0x83, 0x24, 0x24, 0xf0, 0x83, 0x04, 0x24, 16, 0x81, 0x64, 0x24, 8, 0xff, 0xfe, 0xff, 0xff, 0xcf,
        ],
        (_, true) => [&[0x83, 0xc4, 4][..], &handler(32, false)].concat(),
    }
}

/// Vectors that push an error code.
fn has_error(vector: u32) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21)
}

/// Protected mode: tables, then on to the slots.
fn protected(bits: u32, gdt: u32, handlers: &[(usize, Vec<u8>); 2]) -> Vec<u8> {
    let mut c = Code { bytes: Vec::new(), bits: 32 };
    // ds, es, ss = 10h; esp
    c.raw(&[0xb8, 0x10, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0x8e, 0xe0, 0x8e, 0xe8]);
    c.load(4, STACK);
    // Copy the GDT: esi, edi, ecx; rep movsb; lgdt
    c.load(6, linear(TOP + 0x1000));
    c.load(7, GDT.into());
    c.load(1, gdt.into());
    c.raw(&[0xf3, 0xa4]);
    c.raw(&[0x0f, 0x01, 0x15]).raw(&(linear(TOP + 0x210) as u32).to_le_bytes());
    // IDT
    for vector in 0..32 {
        let to = linear(handlers[usize::from(has_error(vector))].0) as u32;
        let selector: u32 = if bits == 64 { 0x18 } else { 8 };
        let size = if bits == 64 { 16 } else { 8 };
        c.store(IDT + vector * size, to & 0xffff | selector << 16);
        c.store(IDT + vector * size + 4, to & 0xffff_0000 | 0x8e00);
    }
    c.raw(&[0x0f, 0x01, 0x1d]).raw(&(linear(TOP + 0x220) as u32).to_le_bytes());
    // TSS: a stack for ring 0, no I/O bitmap.
    c.store(TSS + 4, STACK as u32);
    c.store(TSS + 0x64, 0x0068_0000);
    // Page directories for 4 GiB in large pages: edi, eax, ecx; loop: mov [edi], eax; mov [edi+4], 0; add
    let directory = TABLES + 0x2000;
    c.load(7, directory.into());
    c.load(0, 0xe7);
    c.load(1, 2048);
    c.raw(&[0x89, 0x07, 0xc7, 0x47, 4, 0, 0, 0, 0, 0x83, 0xc7, 8, 5, 0, 0, 0x20, 0, 0xe2, 0xed]);
    c.store(TABLES, (TABLES + 0x1000) | 7);
    for n in 0..4 {
        let rights = if bits == 64 { 7 } else { 1 };
        c.store(TABLES + 0x1000 + 8 * n, (directory + 0x1000 * n) | rights);
    }
    // The window: each page with other rights; not present, read-only, supervisor, reserved bits.
    let window = TABLES + 0x6000;
    c.store(directory + 8 * (WINDOW >> 21) as u32, window | 7);
    for n in 0..8u32 {
        let rights = [7, 5, 3, 1, 0, 6, 0x67, 0x87][n as usize];
        c.store(window + 8 * n, (WINDOW as u32 + 0x1000 * n) | rights);
        let high = if n == 7 { 0x8_0000 } else { 0 };
        c.store(window + 8 * n + 4, high);
    }
    // Fill the rest of the window's table as it was: edi = window + 64, eax = address | 67h, ecx = 504
    c.load(7, u64::from(window) + 64);
    c.load(0, (WINDOW + 0x8000) | 0x67);
    c.load(1, 504);
    c.raw(&[0x89, 0x07, 0xc7, 0x47, 4, 0, 0, 0, 0, 0x83, 0xc7, 8, 5, 0, 0x10, 0, 0, 0xe2, 0xed]);
    // CR4: PAE, OSFXSR, OSXMMEXCPT; CR3; CR0: PG, WP, NE, MP
    c.load(0, 0x620);
    c.raw(&[0x0f, 0x22, 0xe0]);
    c.load(0, if bits == 64 { TABLES } else { TABLES + 0x1000 }.into());
    c.raw(&[0x0f, 0x22, 0xd8]);
    if bits == 64 {
        c.load(1, 0xc000_0080);
        c.raw(&[0x0f, 0x32, 0x0d, 0, 9, 0, 0, 0x0f, 0x30]); // EFER: LME, NXE
    }
    c.load(0, 0x8001_0033);
    c.raw(&[0x0f, 0x22, 0xc0]);
    let here = TOP + BOOT + 0x100 + c.bytes.len();
    let after = linear(here + 7) as u32;
    c.raw(&[0xea]).raw(&after.to_le_bytes()).raw(&[if bits == 64 { 0x18 } else { 8 }, 0]);
    // ltr 20h; fninit; jmp to the first slot
    c.raw(&[0x66, 0xb8, 0x20, 0, 0x0f, 0x00, 0xd8, 0xdb, 0xe3]);
    let here = TOP + BOOT + 0x100 + c.bytes.len() + 5;
    c.raw(&[0xe9]).raw(&(-(here as i32)).to_le_bytes());
    c.bytes
}

/// Slots that give registers new values: RBX, RSI, R13 point to data, RSP to the stack, segments to flat data.
fn registers(bits: u32, random: &mut Random) -> Vec<u8> {
    let mut c = Code { bytes: Vec::new(), bits };
    let put = |c: &mut Code, part: &[u8]| {
        c.raw(part);
        let length = c.bytes.len().next_multiple_of(SLOT);
        c.bytes.resize(length, 0x90);
    };
    put(&mut c, &FLAT);
    put(&mut c, &SET_CR0);
    for register in 0..if bits == 64 { 16 } else { 8 } {
        let value = match register {
            3 | 6 | 13 => data_address(random),
            4 => STACK - 0x100 - 16 * random.below(16),
            _ if random.below(4) == 0 => selector(random),
            _ => super::number(random),
        };
        let mut part = Code { bytes: Vec::new(), bits };
        part.load(register, value);
        put(&mut c, &part.bytes);
    }
    // Arithmetic flags, sometimes DF, AC and IOPL
    c.flags(2 | random.word() & if random.below(4) == 0 { 0x4_3cd5 } else { 0x8d5 });
    put(&mut c, &[]);
    c.bytes
}

/// Gives memory and registers the values of a case; segments are flat.
fn case_setup(bits: u32, case: &Case) -> Vec<u8> {
    let mut c = Code { bytes: Vec::new(), bits };
    c.raw(&FLAT).raw(&SET_CR0);
    // The data page: cld; edi, ecx, eax; rep stosd; then what is not zero in it
    c.raw(&[0xfc]);
    c.load(7, DATA);
    c.load(1, PAGE as u64 / 4);
    c.load(0, 0);
    c.raw(&[0xf3, 0xab]);
    for (word, bytes) in (0u32..).zip(case.data.as_chunks::<4>().0).filter(|(_, bytes)| **bytes != [0; 4]) {
        // mov dword [disp32], imm32, with a SIB byte, which means the same in both modes
        c.raw(&[0xc7, 0x04, 0x25]).raw(&(DATA as u32 + 4 * word).to_le_bytes()).raw(bytes);
    }
    c.load(4, STACK);
    c.flags(case.before.flags & !eflags::TF);
    for (register, value) in (0u8..).zip(case.before.regs).take(if bits == 64 { 16 } else { 8 }) {
        c.load(register, value);
    }
    c.bytes
}

/// An address in the data, in the window, or at an edge.
fn data_address(random: &mut Random) -> u64 {
    match random.below(8) {
        0 => WINDOW + random.below(0x8000),
        1 => DATA + 0x1000 - random.below(16),
        _ => DATA + 0x800 + 16 * random.below(16),
    }
}
