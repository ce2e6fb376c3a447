//! Random programs of user code on the host's processor and on an engine: registers, flags, vectors, x87, memory and
//! every fault on the way must be equal.
//!
//! A program is a loop of slots of 16 bytes that counts down its rounds and ends at an INT3. What faults is noted and
//! goes on in the next slot, by a signal's handler on the host and by a kernel of a few lines in the guest. 64-bit
//! programs also go to 32-bit code and back, and 32-bit ones to 64-bit code, as Linux lets every process do.
//!
//! * [`draw`] makes programs whose result no two processors may see differently,
//! * [`silicon`] runs them on the host, [`guest`] on an engine,
//! * [`fpu`] is the state of x87 and vectors in both,
//! * [`trial`] compares, and makes a failure small.

pub mod draw;
pub mod fpu;
pub mod guest;
#[allow(unsafe_code)] // Programs run on the host's processor; ARCHITECTURE.md names it.
pub mod silicon;
pub mod trial;

use iced_x86::{Decoder, Formatter, IntelFormatter, Mnemonic as M};

use super::silicon::CODE32;
use crate::fuzz::places::{DATA, PAGE};
use crate::fuzz::program::SLOT;
use fpu::State;

/// Pages for code.
const CODE_PAGES: usize = 2;
/// Pages of data: two that may be written, one that may only be read. Before and behind them nothing is mapped.
const DATA_PAGES: usize = 3;
/// The last of them.
const READ_ONLY: usize = 2;
/// Address of the stack's pages.
const STACK: u64 = 0x0104_0000;
const STACK_PAGES: usize = 2;
/// Address of the page with the counter of rounds and the far pointers between code of 32 and 64 bits.
const CONTROL: u64 = 0x0106_0000;
/// Offset of the far pointers in it; each has 16 bytes.
const POINTERS: u64 = 64;
/// Instructions of the program that run at most, about.
const MOST: usize = 400;
/// Flags that are compared.
const FLAGS: u64 = super::FLAGS;

/// A program and all that it begins with.
#[derive(Clone)]
pub struct Case {
    /// 32 or 64.
    pub bits: u32,
    /// Address of the first slot.
    origin: u64,
    slots: Vec<Slot>,
    /// Pieces of code of the other size, each two slots long.
    annexes: Vec<[Vec<u8>; 2]>,
    rounds: u32,
    regs: [u64; 16],
    flags: u64,
    fpu: State,
    data: Vec<u8>,
}

#[derive(Clone)]
struct Slot {
    bytes: Vec<u8>,
    /// It gives values to flags that the one before has left undefined.
    defines: bool,
}

const NOP: u8 = 0x90;
const INT3: u8 = 0xcc;

impl Case {
    /// Instructions that the program was made of.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Has it none?
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The same without one slot, and without the one that gives values to its flags.
    #[must_use]
    pub fn without(&self, slot: usize) -> Self {
        let mut less = self.clone();
        if !less.slots[slot].defines {
            less.slots[slot].bytes = vec![NOP];
            if let Some(next) = less.slots.get_mut(slot + 1).filter(|next| next.defines) {
                next.bytes = vec![NOP];
            }
        }
        less
    }

    /// The same with so many rounds, at least one.
    #[must_use]
    pub fn with_rounds(&self, rounds: u32) -> Self {
        Self { rounds: rounds.max(1), ..self.clone() }
    }

    /// How often it goes round.
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Address of the INT3 that ends it.
    fn end(&self) -> u64 {
        self.origin + ((self.slots.len() + 2) * SLOT) as u64
    }

    fn annex(&self, n: usize) -> u64 {
        self.end() + ((1 + 2 * n) * SLOT) as u64
    }

    /// The counter, the slots, the way back, the end, and the code of the other size.
    fn code(&self) -> Vec<u8> {
        let counter = (CONTROL as u32).to_le_bytes();
        // sub dword [CONTROL], 1; jz to the end
        let mut code = if self.bits == 64 { vec![0x83, 0x2c, 0x25] } else { vec![0x83, 0x2d] };
        code.extend(counter);
        code.extend([1, 0x0f, 0x84]);
        let next = self.origin + code.len() as u64 + 4;
        code.extend((self.end().wrapping_sub(next) as u32).to_le_bytes());
        let fill = |code: &mut Vec<u8>| code.resize(code.len().next_multiple_of(SLOT), NOP);
        fill(&mut code);
        for slot in &self.slots {
            code.extend(&slot.bytes);
            fill(&mut code);
        }
        let back = -(code.len() as i32 + 5);
        code.push(0xe9);
        code.extend(back.to_le_bytes());
        fill(&mut code);
        code.push(INT3);
        fill(&mut code);
        for piece in self.annexes.iter().flatten() {
            code.extend(piece);
            fill(&mut code);
        }
        code
    }

    /// The page with the counter and the far pointers.
    fn control(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        page[..4].copy_from_slice(&(self.rounds + 1).to_le_bytes());
        for (slot, n) in self.slots.iter().zip(0u64..) {
            // From 64-bit code to an annex, or from an annex of 64-bit code to the slot behind the one that left.
            if let Some(annex) = self.annex_of(&slot.bytes) {
                let there = if self.bits == 64 {
                    (self.annex(annex), CODE32)
                } else {
                    (self.origin + (n + 2) * SLOT as u64, CODE32)
                };
                let at = POINTERS as usize + 16 * annex;
                page[at..at + 4].copy_from_slice(&(there.0 as u32).to_le_bytes());
                page[at + 4..at + 6].copy_from_slice(&there.1.to_le_bytes());
            }
        }
        page
    }

    /// The annex that this slot goes to.
    fn annex_of(&self, bytes: &[u8]) -> Option<usize> {
        if self.bits == 64 {
            let at = u32::from_le_bytes(bytes.strip_prefix(&[0xff, 0x2c, 0x25])?.try_into().ok()?);
            return Some((u64::from(at) - CONTROL - POINTERS) as usize / 16);
        }
        let [0xea, to @ .., _, _] = bytes else { return None };
        let to = u64::from(u32::from_le_bytes(to.try_into().ok()?));
        (0..self.annexes.len()).find(|&n| self.annex(n) == to)
    }

    /// Is there a CMPS?
    fn compares_strings_at(&self, rip: u64) -> bool {
        let code = self.code();
        let bytes = rip.checked_sub(self.origin).and_then(|at| code.get(at as usize..)).unwrap_or_default();
        let insn = Decoder::with_ip(self.bits, bytes, rip, 0).decode();
        insn.is_string_instruction() && matches!(insn.mnemonic(), M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq)
    }

    /// The program as text.
    pub fn listing(&self) -> String {
        let mut text =
            format!("{} rounds, registers {:x?}, flags {:x}\n", self.rounds, self.regs, self.flags);
        let code = self.code();
        for (n, slot) in code.chunks(SLOT).enumerate() {
            let at = self.origin + (n * SLOT) as u64;
            let other = at > self.end();
            let bits = if other { 96 - self.bits } else { self.bits };
            for insn in Decoder::with_ip(bits, slot, at, 0) {
                if insn.code() != iced_x86::Code::Nopd {
                    let mut line = String::new();
                    IntelFormatter::new().format(&insn, &mut line);
                    let from = (insn.ip() - at) as usize;
                    text += &format!("  {:x}: {line}   {:02x?}\n", insn.ip(), &slot[from..from + insn.len()]);
                }
            }
        }
        text
    }
}

/// An exception on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raised {
    /// Its vector.
    pub vector: u8,
    /// Its error code.
    pub error: u64,
    /// CR2 of a page fault, 0 otherwise.
    pub cr2: u64,
    /// Offset of the instruction; behind it for a trap.
    pub rip: u64,
}

/// Everything after the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The exceptions in their order.
    pub raised: Vec<Raised>,
    /// General registers in encoding order.
    pub regs: [u64; 16],
    /// Selector of the code segment and offset behind the INT3.
    pub rip: (u16, u64),
    /// RFLAGS.
    pub flags: u64,
    /// x87 and vectors.
    pub fpu: State,
    /// Code, data, stack, and the page with the counter.
    pub memory: Vec<(u64, Vec<u8>)>,
}

/// What differs between the host and a guest.
pub fn differences(case: &Case, host: &End, guest: &End) -> Vec<String> {
    let mut found = Vec::new();
    for n in 0..host.raised.len().max(guest.raised.len()) {
        let (h, g) = (host.raised.get(n), guest.raised.get(n));
        let same = match (h, g) {
            // Linux hides the details of page faults at kernel addresses.
            (Some(h), Some(g)) if h.vector == 14 && h.cr2 >= 0x7fff_ffff_f000 => {
                (h.vector, h.rip) == (g.vector, g.rip)
            }
            // Both operands fault: AMD reads the one at ES:DI first.
            (Some(h), Some(g)) if h.rip == g.rip && case.compares_strings_at(h.rip) => {
                [h, g].iter().all(|raised| matches!(raised.vector, 13 | 14 | 17))
            }
            _ => h == g,
        };
        if !same {
            found.push(format!("exception {n}: {g:x?}, not {h:x?}"));
            break;
        }
    }
    if host.rip != guest.rip {
        found.push(format!("end: {:x?}, not {:x?}", guest.rip, host.rip));
    }
    for n in 0..16 {
        if host.regs[n] != guest.regs[n] {
            found.push(format!("r{n}: {:x}, not {:x}", guest.regs[n], host.regs[n]));
        }
    }
    if (host.flags ^ guest.flags) & FLAGS != 0 {
        found.push(format!("flags: {:x}, not {:x}", guest.flags & FLAGS, host.flags & FLAGS));
    }
    found.extend(host.fpu.differences(&guest.fpu));
    for ((at, h), (_, g)) in host.memory.iter().zip(&guest.memory) {
        if h == g {
            continue;
        }
        if let Some(n) = (0..h.len()).find(|&n| h[n] != g[n]) {
            let end = h.len().min(n + 16);
            found.push(format!(
                "memory at {:x}: {:02x?}, not {:02x?}",
                at + n as u64,
                &g[n..end],
                &h[n..end]
            ));
        }
    }
    found
}

/// The parts of memory that programs use: address and bytes.
fn parts(case: &Case) -> [(u64, usize); 4] {
    [
        (case.origin, case.code().len()),
        (DATA, DATA_PAGES * PAGE),
        (STACK, STACK_PAGES * PAGE),
        (CONTROL, PAGE),
    ]
}
