//! What translated code finds on its stack: the part of the processor's state that it works on, addressed from RSP.
//!
//! Guest registers live in host registers ([`PINNED`]); what did not find one, and what translated code looks at in
//! every other instruction, lies in the [`Frame`]. The entry thunk copies it from an [`Exchange`], the exit thunk
//! copies it back; in between the processor's own fields are stale, until a call out brings them up to date.

use std::mem::offset_of;

use emu_core::cpu::fault::Fault;
use emu_core::cpu::{Cpu, FS, GS, RIP};
use emu_core::engine::Calls;
use emu_core::mem::PAGE_SIZE;

use crate::jumps::{Contexts, Place};
use crate::mode::Mode;
use crate::pages::Pages;

/// Guest registers 0 to 11 and their host registers: the same ones, so that implicit operands need no moves, except
/// that RSP is the host's own and the guest's lives in R12.
pub const PINNED: [u8; 12] = [0, 1, 2, 3, 12, 5, 6, 7, 8, 9, 10, 11];

/// State on the stack of translated code.
#[derive(Debug)]
#[repr(C)]
pub struct Frame {
    /// The processor.
    pub cpu: *mut Cpu,
    /// Table of the translation cache for reads in the current context.
    pub tlb_read: usize,
    /// The same for writes.
    pub tlb_write: usize,
    /// RIP of the first byte of the page that code comes from.
    pub page: u64,
    /// Guest R12 to R15.
    pub high: [u64; 4],
    /// [`emu_core::cpu::eflags::Flags::a`].
    pub flag_a: u64,
    /// `Flags::writer` and `Flags::shift`.
    pub flag_writer: u16,
    /// Guest vector registers and MXCSR are in the host's.
    pub vectors_in: u8,
    /// The guest's x87 state is in the host's unit.
    pub x87_in: u8,
    /// FOP of the last x87 instruction that set it, with [`NOTED`](crate::emit::NOTED); 0 when the processor has it.
    pub x87_opcode: u16,
    /// Number of the segment register of its memory operand, or an earlier one's, with `NOTED`; 0 when there is none.
    pub x87_segment: u16,
    /// `Flags::b`; not beside `flag_a`, as both would be read in one piece then, and the processor waits for the two
    /// writes.
    pub flag_b: u64,
    /// Table of indirect jumps of the current context.
    pub jumps: usize,
    /// Bits of an offset in it, see [`crate::jumps`].
    pub jumps_mask: u64,
    /// Base of FS.
    pub fs_base: u64,
    /// Base of GS.
    pub gs_base: u64,
    /// For the thunks and within one instruction.
    pub spill: [u64; 2],
    /// Makes the size a multiple of 16.
    pub unused: u64,
    /// Its FIP.
    pub x87_ip: u64,
    /// Offset of its memory operand.
    pub x87_data: u64,
    /// The same while a block runs.
    pub x87_slots: [u64; 2],
}

/// The area of FXSAVE and FXRSTOR, which take half the time of XSAVE and XRSTOR although they move the vector
/// registers, too. SDM vol. 1, "FXSAVE Area".
#[repr(C, align(64))]
pub struct X87Area(pub [u8; 512]);

impl std::fmt::Debug for X87Area {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("X87Area")
    }
}

impl Default for X87Area {
    fn default() -> Self {
        Self([0; 512])
    }
}

/// What passes between the engine and translated code.
#[derive(Debug)]
#[repr(C)]
pub struct Exchange {
    /// Copied in and out.
    pub frame: Frame,
    /// Instructions that may still retire.
    pub remaining: i64,
    /// Instructions that had their handlers run.
    pub calls: Calls,
    /// Fault of the instruction that ended the stay.
    pub fault: Option<Fault>,
    /// For the thunks that bring x87 state in and out.
    pub x87: X87Area,
    /// The jump caches.
    pub contexts: Contexts,
}

impl Exchange {
    /// For a processor whose jump caches are empty; `no_target` is where their entries lead.
    pub fn new(no_target: usize) -> Self {
        Self {
            frame: Frame::default(),
            remaining: 0,
            calls: Calls::default(),
            fault: None,
            x87: X87Area::default(),
            contexts: Contexts::new(no_target),
        }
    }

    /// Code for the place where `cpu` is, if the jump cache knows it. The frame is ready for it then.
    #[inline]
    pub fn go_on(&mut self, cpu: &Cpu, mode: Mode) -> Option<usize> {
        let place = Place::of(cpu, mode);
        let jumps = self.contexts.select(place, cpu.tlb.fetches(cpu.cpl == 3));
        (self.frame.jumps, self.frame.jumps_mask) = jumps.table();
        let rip = cpu.regs[RIP];
        let code = jumps.find(rip)?;
        self.frame.page = rip.wrapping_sub(place.linear(rip) % PAGE_SIZE);
        Some(code)
    }

    /// Has the jump cache that was looked into last know the code for a RIP.
    pub fn remember(&mut self, rip: u64, code: usize) {
        let jumps = self.contexts.insert(rip, code);
        (self.frame.jumps, self.frame.jumps_mask) = jumps.table();
    }
}

/// Groups of memory accesses that one block can know the page of, see [`crate::groups`].
pub const GROUPS: usize = 8;

/// Accesses of a fast loop that remember their page.
pub const RECENT_PAGES: usize = 4;

/// The frame on the stack, followed by the way back to its exchange and what one block notes for itself.
#[derive(Debug)]
#[repr(C)]
pub struct StackFrame {
    /// The live frame.
    pub frame: Frame,
    /// Where it came from.
    pub exchange: *mut Exchange,
    /// Host minus guest address of the page that a group of accesses lies in.
    pub distances: [u64; GROUPS],
    /// The pages that user code met last.
    pub pages: Pages,
    /// The bytes around a seam between pages: the last ones of one page and the first ones of the next.
    pub window: [u8; 2 * crate::emit::WIDEST as usize],
    /// Host addresses of the two halves, and bytes of each.
    pub halves: [u64; 3],
    /// While a slot there is filled: the offset in the page.
    pub within: u64,
    /// While the fast copy of a loop runs: guest and host address of the page that an access met last.
    pub recent: [[u64; 2]; RECENT_PAGES],
    /// The same: instructions that may retire after it.
    pub rest: i64,
    /// While the fast copy of a loop is prepared: rounds that it may run. After a look for a page: whether it was in
    /// vain.
    pub run: i64,
    /// Rounds of a loop until its fast copy is tried.
    pub rounds: u64,
    /// The host's x87 unit is not as functions expect it.
    pub x87_used: u64,
    /// Operand of the last shift, from which its flags can be worked out.
    pub shifted: u64,
}

/// Bytes of stack that the entry thunk takes; with six saved registers and the return address a multiple of 16.
pub const STACK: i32 = {
    let size = size_of::<StackFrame>() as i32;
    if size % 16 == 8 { size } else { size + 8 }
};

// A load whose address differs from a recent store's by a multiple of 4096 waits for it on some processors.
const _: () = assert!(STACK <= 4096);

/// Bytes that are copied in and out, a multiple of 16.
pub const COPIED: i32 = size_of::<Frame>() as i32;
const _: () = assert!(COPIED % 16 == 0 && COPIED <= 256);
// As far as displacements of one byte go.
const _: () = assert!(SPILL < 128);

macro_rules! offsets {
    ($($name:ident = $field:expr;)*) => {$(
        #[allow(missing_docs)]
        pub const $name: i32 = $field as i32;
    )*};
}

offsets! {
    CPU = offset_of!(Frame, cpu);
    TLB_READ = offset_of!(Frame, tlb_read);
    TLB_WRITE = offset_of!(Frame, tlb_write);
    PAGE = offset_of!(Frame, page);
    HIGH = offset_of!(Frame, high);
    FLAG_A = offset_of!(Frame, flag_a);
    FLAG_B = offset_of!(Frame, flag_b);
    FLAG_WRITER = offset_of!(Frame, flag_writer);
    VECTORS_IN = offset_of!(Frame, vectors_in);
    X87_IN = offset_of!(Frame, x87_in);
    X87_OPCODE = offset_of!(Frame, x87_opcode);
    X87_SEGMENT = offset_of!(Frame, x87_segment);
    X87_IP = offset_of!(Frame, x87_ip);
    X87_DATA = offset_of!(Frame, x87_data);
    X87_SLOTS = offset_of!(Frame, x87_slots);
    X87_AREA = offset_of!(Exchange, x87);
    JUMPS = offset_of!(Frame, jumps);
    JUMPS_MASK = offset_of!(Frame, jumps_mask);
    FS_BASE = offset_of!(Frame, fs_base);
    GS_BASE = offset_of!(Frame, gs_base);
    SPILL = offset_of!(Frame, spill);
    EXCHANGE = offset_of!(StackFrame, exchange);
    DISTANCES = offset_of!(StackFrame, distances);
    PAGES = offset_of!(StackFrame, pages);
    WINDOW = offset_of!(StackFrame, window);
    HALVES = offset_of!(StackFrame, halves);
    WITHIN = offset_of!(StackFrame, within);
    RECENT = offset_of!(StackFrame, recent);
    REST = offset_of!(StackFrame, rest);
    RUN = offset_of!(StackFrame, run);
    ROUNDS = offset_of!(StackFrame, rounds);
    X87_USED = offset_of!(StackFrame, x87_used);
    SHIFTED = offset_of!(StackFrame, shifted);
    REMAINING = offset_of!(Exchange, remaining);
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            cpu: std::ptr::null_mut(),
            tlb_read: 0,
            tlb_write: 0,
            page: 0,
            high: [0; 4],
            flag_a: 0,
            flag_b: 0,
            flag_writer: 0,
            vectors_in: 0,
            x87_in: 0,
            x87_opcode: 0,
            x87_segment: 0,
            x87_ip: 0,
            x87_data: 0,
            x87_slots: [0; 2],
            jumps: 0,
            jumps_mask: 0,
            fs_base: 0,
            gs_base: 0,
            spill: [0; 2],
            unused: 0,
        }
    }
}

impl Frame {
    /// Takes over what calls out may have changed.
    pub fn load(&mut self, cpu: &Cpu) {
        (self.tlb_read, self.tlb_write) = cpu.tlb.tables(cpu.context);
        self.flag_a = cpu.flags.a;
        self.flag_b = cpu.flags.b;
        self.flag_writer = cpu.flags.shift << 8 | cpu.flags.writer as u16;
        self.fs_base = cpu.seg[FS].base;
        self.gs_base = cpu.seg[GS].base;
    }

    /// Gives the processor back what translated code changed.
    pub fn store(&self, cpu: &mut Cpu) {
        cpu.flags.set_operands(
            self.flag_a,
            self.flag_b,
            self.flag_writer as u8,
            (self.flag_writer >> 8) as u8,
        );
    }
}
