//! Memory as each case finds it.

use super::places::*;
use crate::random::Random;

/// Where handlers lie: the stub of vector n is at `stubs + 8 * n`.
pub struct Handlers {
    /// Of the first stub, in the monitor's own mode.
    pub stubs: u32,
    /// Of the task of double faults.
    pub double_fault: u32,
}

/// A stretch of memory, by absolute address.
pub struct Memory {
    start: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Memory {
    fn new(start: u32, end: u32) -> Self {
        Self { start, bytes: vec![0; (end - start) as usize] }
    }

    fn put(&mut self, address: u32, bytes: &[u8]) {
        let at = (address - self.start) as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn word(&mut self, address: u32, value: u16) {
        self.put(address, &value.to_le_bytes());
    }

    fn dword(&mut self, address: u32, value: u32) {
        self.put(address, &value.to_le_bytes());
    }

    fn quadword(&mut self, address: u32, value: u64) {
        self.put(address, &value.to_le_bytes());
    }
}

/// From [`TABLES`] to [`TABLES_END`].
pub fn tables(bits: u32, handlers: &Handlers, random: &mut Random) -> Memory {
    let mut m = Memory::new(TABLES, TABLES_END);
    for (n, value) in descriptors(bits, random).into_iter().enumerate() {
        m.quadword(GDT + 8 * n as u32, value);
    }
    for n in 0..LDT_SIZE / 8 {
        m.quadword(LDT + 8 * n, random_descriptor(random));
    }
    if bits == 64 {
        long_gates(&mut m, handlers);
        long_tss(&mut m);
    } else {
        legacy_gates(&mut m, handlers);
        legacy_tss(&mut m, handlers);
    }
    // Interrupt redirection, I/O permissions, and the byte behind them.
    for n in 0x68..TSS_LIMIT {
        m.put(TSS + n, &[if random.below(2) == 0 { 0 } else { random.word() as u8 }]);
    }
    m.put(TSS + TSS_LIMIT, &[0xff]);
    for n in (STACK_0 - 0x80..STACK_1).step_by(4) {
        m.dword(n, random.word() as u32);
    }
    m
}

/// From [`DATA`] to [`DATA_END`].
pub fn data(random: &mut Random) -> Memory {
    let mut m = Memory::new(DATA, DATA_END);
    for n in (DATA..DATA_END).step_by(8) {
        m.quadword(n, crate::fuzz::number(random));
    }
    m
}

fn descriptors(bits: u32, random: &mut Random) -> Vec<u64> {
    let flat = |access, flags| descriptor(0, 0xfffff, access, flags);
    let based = |access, flags| descriptor(BASE, 0x4fff, access, flags);
    let long = bits == 64;
    let mut all = vec![
        0,
        flat(0x9b, 0xc),
        flat(0x93, 0xc),
        if long { flat(0x9b, 0xa) } else { descriptor(0xf_0000, 0xffff, 0x9b, 0) },
        descriptor(TSS, TSS_LIMIT, 0x89, 0),
        if long { 0 } else { descriptor(0, 0xffff, 0x93, 0) },
        descriptor(LDT, LDT_SIZE - 1, 0x82, 0),
        0,
        flat(0xfb, 0xc),
        flat(0xf3, 0xc),
        based(0x9b, 0),
        based(0xfb, 0),
        descriptor(DATA, 0xfff, 0xf3, 0),
        flat(0xfb, if long { 0xa } else { 0xc }),
        based(0xbb, 4),
        flat(0xb3, 0xc),
        flat(0xf3, 0xc),
        descriptor(TSS_32, 0x67, 0x89, 0),
        if long { 0 } else { descriptor(TSS_16, 0x2b, 0x81, 0) },
        descriptor(TSS_DOUBLE_FAULT, 0x67, 0x89, 0),
        flat(0x9f, if long { 0xa } else { 0xc }),
        based(0x9b, 4),
        // A call gate each for 16 and 32 bits (64 bits: one of 16 bytes), and a task gate.
        if long {
            gate(0xec, selector::CODE_64, CODE + 0x400, 0)
        } else {
            gate(0xe4, selector::CODE_16, 0x4400, 1)
        },
        if long { 0 } else { gate(0xec, selector::BASED_32, 0x4400, 2) },
        gate(0xe5, selector::TSS_32, 0, 0),
        // A call gate to level 1, one that is not present.
        gate(0xec, selector::LEVEL_1, 0x4400, 3),
        gate(0x6c, selector::CODE_32, CODE + 0x400, 0),
        // Not present; data that grows down; code that cannot be read.
        flat(0x13, 0xc),
        descriptor(DATA, 0x7f, 0xf7, 4),
        flat(0xf9, 0xc),
    ];
    debug_assert_eq!(all.len() * 8, usize::from(selector::RANDOM));
    all.resize_with((GDT_SIZE / 8) as usize, || random_descriptor(random));
    all
}

fn legacy_gates(m: &mut Memory, handlers: &Handlers) {
    for vector in 0..FREE_VECTOR {
        let access = if matches!(vector, 3 | 4) { 0xee } else { 0x8e };
        m.quadword(IDT + 8 * vector, gate(access, selector::CODE_32, handlers.stubs + 8 * vector, 0));
    }
    m.quadword(IDT + 8 * 8, gate(0x85, selector::TSS_DOUBLE_FAULT, 0, 0));
    let free = [
        gate(0xe6, selector::CODE_16, 0x4400, 0),
        gate(0xe7, selector::CODE_16, 0x4400, 0),
        gate(0xe5, selector::TSS_32, 0, 0),
        gate(0x6e, selector::CODE_32, CODE + 0x400, 0),
        gate(0xee, selector::CONFORMING, CODE + 0x400, 0),
        gate(0xef, selector::LEVEL_1, 0x4400, 0),
        gate(0xee, 0, CODE + 0x400, 0),
        gate(0xee, selector::DATA, CODE + 0x400, 0),
    ];
    for (n, value) in (FREE_VECTOR..).zip(free) {
        m.quadword(IDT + 8 * n, value);
    }
}

fn long_gates(m: &mut Memory, handlers: &Handlers) {
    for vector in 0..FREE_VECTOR {
        let access = if matches!(vector, 3 | 4) { 0xee } else { 0x8e };
        // Double faults have a stack of their own.
        let ist = u8::from(vector == 8);
        m.quadword(IDT + 16 * vector, gate(access, selector::CODE_64, handlers.stubs + 8 * vector, ist));
    }
    let free = [
        gate(0xee, selector::CODE_64, CODE + 0x400, 2),
        gate(0xef, selector::CODE_64, CODE + 0x400, 0),
        gate(0xe5, selector::TSS_32, 0, 0),
        gate(0x6e, selector::CODE_64, CODE + 0x400, 0),
        gate(0xee, selector::CONFORMING, CODE + 0x400, 0),
        gate(0xef, selector::CODE_32, CODE + 0x400, 0),
        gate(0xee, 0, CODE + 0x400, 0),
        gate(0xee, selector::DATA, CODE + 0x400, 0),
    ];
    for (n, value) in (FREE_VECTOR..).zip(free) {
        m.quadword(IDT + 16 * n, value);
    }
}

fn long_tss(m: &mut Memory) {
    for (offset, stack) in
        [(4, STACK_0), (12, STACK_1), (20, STACK_1), (0x24, MONITOR_STACK), (0x2c, STACK_0)]
    {
        m.dword(TSS + offset, stack);
    }
    m.word(TSS + 0x66, 0x88);
}

fn legacy_tss(m: &mut Memory, handlers: &Handlers) {
    for tss in [TSS, TSS_32, TSS_DOUBLE_FAULT] {
        let stacks =
            [(4, STACK_0, selector::DATA), (12, STACK_1, selector::LEVEL_1_DATA), (20, STACK_1, 0x82)];
        for (offset, stack, segment) in stacks {
            m.dword(tss + offset, stack);
            m.dword(tss + offset + 4, segment.into());
        }
        m.dword(tss + 0x1c, PDPT_PAE);
        m.word(tss + 0x66, 0x88);
    }
    let tasks = [
        (TSS_32, CODE + 0x400, selector::USER_32, selector::USER_DATA, STACK_3),
        (TSS_DOUBLE_FAULT, handlers.double_fault, selector::CODE_32, selector::DATA, MONITOR_STACK),
    ];
    for (tss, eip, code, data, stack) in tasks {
        m.dword(tss + 0x20, eip);
        m.dword(tss + 0x24, 2);
        m.dword(tss + 0x38, stack);
        for register in 0..6 {
            let value = if register == 1 { code } else { data };
            m.dword(tss + 0x48 + 4 * register, value.into());
        }
    }
    m.dword(TSS_32 + 0x60, selector::LDT.into());
    for (offset, value) in [
        (0x2, STACK_0 as u16),
        (0x4, selector::DATA),
        (0xe, 0x4400),
        (0x10, 2),
        (0x1a, 0x100),
        (0x22, selector::USER_SMALL),
        (0x24, selector::USER_16),
        (0x26, selector::USER_SMALL),
        (0x28, selector::USER_SMALL),
        (0x2a, selector::LDT),
    ] {
        m.word(TSS_16 + offset, value);
    }
}
