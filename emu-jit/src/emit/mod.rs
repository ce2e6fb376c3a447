//! From an analysed block to host code.
//!
//! The way through a block that meets no obstacle is emitted in one run; everything else (a memory access that misses
//! the translation cache, the taken side of a jump, exits) goes to *cold* pieces behind it. A memory access that
//! misses has its whole instruction run by the interpreter's handler, and comes back behind the translated one.

mod control;
mod fast;
mod flags;
mod memory;
mod native;
mod pages;
mod pins;
mod strings;
mod system;
mod window;
mod x87;

use dynasmrt::x64::X64Relocation;
use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, VecAssembler, dynasm};
use emu_core::cpu::eflags::OSZAPC;
use emu_core::mem::PAGE_SIZE;
use iced_x86::{Encoder, Instruction, InstructionInfoFactory, OpKind, Register};

use crate::analysis::{Guest, Kind, Want, repeats};
use crate::effects::Effect;
use crate::enter::{Place, Stretch};
use crate::frame::{GROUPS, HIGH, PAGE, PINNED, REST, ROUNDS, RUN};
use crate::groups::Way;
use crate::loops::{Loop, SOON};
use crate::mode::Mode;
use crate::pages::Slot;
use crate::thunks::Thunks;
use flags::{Source, State};
pub use memory::SLOT_MASK;
use memory::Spot;
use pins::Pins;
pub use window::WIDEST;
use window::Window;
pub use x87::NOTED;

type Assembler = VecAssembler<X64Relocation>;

/// First scratch register: addresses, the next RIP.
const R13: u8 = 13;
/// Second scratch register: values, tokens.
const R14: u8 = 14;

/// An instruction cannot be emitted as planned; the block is tried again with it left to the interpreter.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// Index of the instruction.
    pub index: usize,
}

/// Where a jump to another block of the page leaves until it is linked.
#[derive(Clone, Copy, Debug)]
pub struct LinkSite {
    /// Offset in the code of the jump's 32-bit relative operand.
    pub at: usize,
    /// The same for the jump that leaves, with RIP in R13.
    pub leave: usize,
    /// Offset in the page that it goes to.
    pub target: u16,
    /// To the careful block there.
    pub careful: bool,
}

/// A place in the code that has the handler of an instruction run.
#[derive(Clone, Copy, Debug)]
pub struct CallSite {
    /// Offset in the code of the 64-bit operand that is to be the address of the decoded instruction.
    pub at: usize,
    /// The number of the instruction in the block.
    pub index: usize,
}

/// A finished block.
#[derive(Debug)]
pub struct Emitted {
    /// Host code.
    pub code: Vec<u8>,
    /// Offset in it of the entry by way of the jump cache (R13 holds RIP).
    pub indirect: usize,
    /// Offset of the entry by a link.
    pub direct: usize,
    /// Jumps that can be linked.
    pub links: Vec<LinkSite>,
    /// Calls of handlers.
    pub calls: Vec<CallSite>,
    /// Places in code that got a slot for their page so far.
    pub places: usize,
}

/// Code that is emitted behind the block.
enum Cold {
    /// The interpreter's handler for an instruction, and back.
    CallOut { from: DynamicLabel, back: DynamicLabel, index: usize, state: State, window: Option<Window> },
    /// The taken side of a conditional jump.
    Side { from: DynamicLabel, target: i64, left: i8, index: usize, state: State },
    /// The check for a group of memory accesses failed, before the instruction had an effect. `again` makes it anew.
    Careful { from: DynamicLabel, again: Option<DynamicLabel>, stretch: Stretch, index: usize, state: State },
    /// An access of a fast loop did not meet the page that it met last.
    Recent { from: DynamicLabel, back: DynamicLabel, page: u8, size: u32, want: Want, miss: DynamicLabel },
    /// The first entry of the translation cache is not for an access.
    Second { from: DynamicLabel, back: DynamicLabel, size: u32, miss: DynamicLabel },
    /// An access did not meet the page in its slot.
    Slot {
        from: DynamicLabel,
        back: DynamicLabel,
        slot: Slot,
        size: u32,
        want: Want,
        miss: DynamicLabel,
        adds: bool,
    },
    /// The fast copy of a loop has used its budget up.
    Spent { from: DynamicLabel, state: State },
    /// The fast copy of a loop may be worth preparing.
    Prepare { from: DynamicLabel, state: State },
    /// The jump cache does not know the target in R13, and all effects have taken place.
    Miss { from: DynamicLabel },
}

/// What the emitter knows of the guest's code around one instruction.
struct Emitter<'a> {
    asm: Assembler,
    encoder: Encoder,
    block: &'a [Guest],
    mode: Mode,
    offset: u16,
    thunks: &'a Thunks,
    first_link: u64,
    calls: Vec<CallSite>,
    cold: Vec<Cold>,
    links: Vec<LinkSite>,
    state: State,
    index: usize,
    vector: bool,
    /// Where the memory operand at hand is.
    place: Spot,
    /// The loop that the block is.
    fast: Option<&'a Loop>,
    /// This is the fast copy of the loop.
    in_fast: bool,
    /// Distances that stay in registers there.
    pins: Pins,
    labels: Labels,
    /// Flags are in the frame at the start of each round of the fast copy.
    stored: bool,
    /// Where they are then.
    start: Source,
    x87: bool,
    /// Where the instruction at hand goes when it raises an exception.
    raises: Option<DynamicLabel>,
    /// Places in code that got a slot for their page.
    places: usize,
    /// Where the access at hand comes back to from a look for its page.
    back: DynamicLabel,
    /// What R13 holds, as long as nothing else passes through it.
    kept: Option<Kept>,
    /// Ways out that come back behind their instruction, so far, and before the one at hand.
    outs: [usize; 2],
    /// Where groups that did not store their distance find it.
    distances: [Option<Slot>; GROUPS],
}

/// A group's distance that R13 holds.
#[derive(Clone, Copy)]
struct Kept {
    group: u8,
    /// Where the code ends that is known to leave it there.
    end: usize,
    /// Ways out then: behind another one R13 holds anything.
    outs: usize,
}

/// Places in the code of a block.
#[derive(Clone, Copy)]
struct Labels {
    /// Out of budget before the block.
    fail: DynamicLabel,
    /// Another round.
    again: DynamicLabel,
    /// A round of the fast copy.
    fast: DynamicLabel,
    /// To the fast copy, if it can be prepared.
    prepare: DynamicLabel,
}

/// What [`emit`] makes of a block, beside the block itself.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The loop that the block is.
    pub fast: Option<&'a Loop>,
    /// The mode that it is for.
    pub mode: Mode,
    /// Offset in its page.
    pub offset: u16,
    /// The fixed pieces of code.
    pub thunks: &'a Thunks,
    /// Address where the code will lie.
    pub base: usize,
    /// Token of its first link.
    pub first_link: u64,
    /// Places in code that got a slot for their page so far.
    pub places: usize,
}

/// Emits a block.
///
/// # Errors
/// When an instruction has no such encoding after all.
pub fn emit(
    block: &[Guest],
    plan: Plan<'_>,
    factory: &mut InstructionInfoFactory,
) -> Result<Emitted, Failed> {
    let pins = plan.fast.map(|fast| Pins::of(fast, plan.mode)).unwrap_or_default();
    let mut ways = vec![pins];
    if pins.registers().next().is_some() {
        ways.push(Pins::default());
    }
    for pins in ways {
        // From round to round of the fast copy flags need not be stored, where each leaves them in the same way.
        for stored in [false, true] {
            if let Some(done) = emit_with(block, plan, pins, stored, factory)? {
                return Ok(done);
            }
        }
    }
    Err(Failed { index: 0 })
}

/// `None` when the fast copy does not begin with the flags as it leaves them (with `stored` it does), or needs the
/// registers that `pins` takes.
fn emit_with(
    block: &[Guest],
    plan: Plan<'_>,
    pins: Pins,
    stored: bool,
    factory: &mut InstructionInfoFactory,
) -> Result<Option<Emitted>, Failed> {
    let mut asm = Assembler::new(plan.base);
    let labels = Labels {
        fail: asm.new_dynamic_label(),
        again: asm.new_dynamic_label(),
        fast: asm.new_dynamic_label(),
        prepare: asm.new_dynamic_label(),
    };
    let mut emitter = Emitter {
        asm,
        encoder: Encoder::new(64),
        block,
        mode: plan.mode,
        offset: plan.offset,
        thunks: plan.thunks,
        first_link: plan.first_link,
        calls: Vec::new(),
        cold: Vec::new(),
        links: Vec::new(),
        state: State::default(),
        index: 0,
        vector: block.iter().any(|guest| guest.vector),
        place: Spot::R13,
        fast: plan.fast,
        in_fast: false,
        pins,
        labels,
        stored,
        start: Source::Frame,
        x87: block.iter().any(|guest| guest.x87),
        raises: None,
        places: plan.places,
        back: labels.fail,
        kept: None,
        outs: [0; 2],
        distances: [None; GROUPS],
    };
    let (indirect, direct) = emitter.entry();
    emitter.body()?;
    emitter.emit_cold()?;
    let mut copy = 0..0;
    if let Some(fast) = plan.fast {
        copy.start = emitter.asm.offset().0;
        if !emitter.fast_copy(&fast.block)? {
            return Ok(None);
        }
        copy.end = emitter.asm.offset().0;
        if pins.registers().next().is_some() && emitter.comes_back() {
            return Ok(None);
        }
        emitter.emit_cold()?;
    }
    let (links, calls, places) = (emitter.links, emitter.calls, emitter.places);
    let code = emitter.asm.finalize().map_err(|_| Failed { index: 0 })?;
    if !pins.hold_in(&code[copy], factory) {
        return Ok(None);
    }
    Ok(Some(Emitted { code, indirect, direct, links, calls, places }))
}

impl<'a> Emitter<'a> {
    fn entry(&mut self) -> (usize, usize) {
        let count = self.block.len() as i8;
        let offset = i32::from(self.offset);
        let fail = self.labels.fail;
        // Out of budget: the interpreter finishes.
        dynasm!(self.asm
            ; .arch x64
            ; =>fail
            ; add r15, BYTE count
            ; mov r13, [BYTE rsp + PAGE as i8]
            ; lea r13, [r13 + offset]
        );
        self.cut_rip();
        dynasm!(self.asm
            ; .arch x64
            ; xor r14d, r14d
            ; jmp extern self.thunks.leave
        );
        let indirect = self.asm.offset().0;
        dynasm!(self.asm
            ; .arch x64
            ; lea r13, [r13 - offset]
            ; mov [BYTE rsp + PAGE as i8], r13
        );
        let direct = self.asm.offset().0;
        if self.prepares() {
            dynasm!(self.asm; .arch x64; mov DWORD [rsp + ROUNDS], self.turns(SOON));
        }
        dynasm!(self.asm
            ; .arch x64
            ; =>self.labels.again
            ; sub r15, BYTE count
            ; js =>fail
        );
        if self.vector {
            let (load, body) = (self.asm.new_dynamic_label(), self.asm.new_dynamic_label());
            dynasm!(self.asm
                ; .arch x64
                ; cmp BYTE [BYTE rsp + crate::frame::VECTORS_IN as i8], 0
                ; jne =>body
                ; =>load
                ; call extern self.thunks.vectors_in
                ; =>body
            );
        }
        if self.x87 {
            let body = self.asm.new_dynamic_label();
            dynasm!(self.asm
                ; .arch x64
                ; cmp BYTE [BYTE rsp + crate::frame::X87_IN as i8], 0
                ; jne =>body
                ; call extern self.thunks.x87_in
                ; =>body
            );
        }
        (indirect, direct)
    }

    /// Cuts RIP in R13 to 32 bits outside 64-bit code.
    fn cut_rip(&mut self) {
        if self.mode.size() != 64 {
            dynasm!(self.asm; .arch x64; mov r13d, r13d);
        }
    }

    /// Cuts the target of a jump in R13 to the width of code.
    fn cut_target(&mut self) {
        match self.mode.size() {
            16 => dynasm!(self.asm; .arch x64; movzx r13d, r13w),
            _ => self.cut_rip(),
        }
    }

    fn body(&mut self) -> Result<(), Failed> {
        let mut next = 0;
        (self.kept, self.distances) = (None, [None; GROUPS]);
        while next < self.block.len() {
            let index = next;
            self.index = index;
            self.outs[1] = self.outs[0];
            let guest = &self.block[index];
            let together = self.stack_run(index);
            next += together;
            match guest.kind {
                _ if together > 1 => self.several_on_stack(index, together)?,
                Kind::Native => self.native(guest)?,
                Kind::Nothing => {}
                Kind::Push => self.push(guest)?,
                Kind::PushMemory => self.push_memory(guest)?,
                Kind::PushFlags => self.push_flags(guest)?,
                Kind::Pop => self.pop(guest)?,
                Kind::Leave => self.leave_frame(guest)?,
                Kind::Branch if index + 1 == self.block.len() && self.fast.is_some() => {
                    self.branch_back(guest);
                    self.back();
                    return Ok(());
                }
                Kind::Jump if self.fast.is_some() => self.back(),
                Kind::Branch => self.branch(guest),
                Kind::Loop => self.branch_by_count(guest),
                Kind::CallOut => self.call_out(index),
                _ => self.last(guest)?,
            }
        }
        let last = &self.block[self.block.len() - 1];
        if !last.ends() {
            // The block is full, or the page is.
            let next = i64::from(self.offset) + i64::from(last.op.end);
            self.state_to_frame();
            self.jump_to(next, false);
        }
        Ok(())
    }

    /// Does the handler of an instruction take the x87 state back from the host's unit?
    fn takes_x87(&self, index: usize) -> bool {
        let guest = &self.block[index];
        guest.kind == Kind::Last || crate::x87::touches(&guest.insn)
    }

    fn place(&self, index: usize) -> Place {
        let guest = &self.block[index];
        let split =
            matches!(guest.effect, Effect::Whole(_) | Effect::Partial(_) | Effect::Varies) && guest.live != 0;
        let place = Place::new(self.offset, self.block.len(), index, split);
        let place = if repeats(&guest.insn) { place.repeating() } else { place };
        let place = if guest.kind == Kind::Last { place.last() } else { place };
        if self.takes_x87(index) { place.with_x87() } else { place }
    }

    /// Has the interpreter's handler run an instruction, in the middle of the block.
    fn call_out(&mut self, index: usize) {
        self.state_to_frame();
        if !self.system(index) && !self.x87_function(index) && !self.repeated(index) {
            self.call_handler(index);
        }
        self.state = State::default();
    }

    fn call_handler(&mut self, index: usize) {
        let place = self.place(index).0 as i32;
        self.give_back();
        dynasm!(self.asm
            ; .arch x64
            ; mov r13d, place
            ; mov r14, QWORD 0
        );
        self.calls.push(CallSite { at: self.asm.offset().0 - size_of::<u64>(), index });
        dynasm!(self.asm; .arch x64; call extern self.thunks.call_out);
        if self.in_fast && self.prepares() {
            dynasm!(self.asm; .arch x64; sub r15, [rsp + REST]);
        }
        self.vectors_back();
        if self.x87 && self.takes_x87(index) {
            dynasm!(self.asm; .arch x64; call extern self.thunks.x87_in);
        }
    }

    /// Brings the vector registers in again after a call.
    fn vectors_back(&mut self) {
        if self.vector {
            dynasm!(self.asm; .arch x64; call extern self.thunks.vectors_in);
        }
    }

    /// Does control come back from a cold piece that is yet to be emitted?
    fn comes_back(&self) -> bool {
        self.cold
            .iter()
            .any(|piece| !matches!(piece, Cold::Side { .. } | Cold::Spent { .. } | Cold::Miss { .. }))
    }

    /// The cold way of the instruction at hand: to be jumped to, and to come back from.
    fn way_out(&mut self) -> (DynamicLabel, DynamicLabel) {
        let (from, back) = (self.asm.new_dynamic_label(), self.asm.new_dynamic_label());
        self.cold.push(Cold::CallOut { from, back, index: self.index, state: self.state, window: None });
        self.outs[0] += 1;
        (from, back)
    }

    /// Tells [`crate::exceptions`] where the host's instruction that follows goes when it raises one.
    fn mark(&mut self) {
        if let Some(from) = self.raises.take() {
            dynasm!(self.asm; .arch x64; nop DWORD [=>from]);
        }
    }

    /// Where the instruction at hand goes when the check for its group fails.
    fn careful_exit(&mut self, stretch: Stretch) -> DynamicLabel {
        let from = self.asm.new_dynamic_label();
        // Some have a value in the spill slots by now.
        let spills =
            matches!(self.block[self.index].kind, Kind::CallIndirect | Kind::PushMemory | Kind::PushFlags);
        let again = (!spills).then(|| self.asm.new_dynamic_label());
        if let Some(again) = again {
            dynasm!(self.asm; .arch x64; =>again);
        }
        self.cold.push(Cold::Careful { from, again, stretch, index: self.index, state: self.state });
        from
    }

    /// The way out of an instruction whose access is checked for itself, and labels that nobody jumps to otherwise.
    fn way_out_of(&mut self, way: Way) -> (DynamicLabel, DynamicLabel) {
        if matches!(way, Way::Checked | Way::Recent { .. }) {
            return self.way_out();
        }
        (self.asm.new_dynamic_label(), self.asm.new_dynamic_label())
    }

    fn emit_cold(&mut self) -> Result<(), Failed> {
        while let Some(piece) = self.cold.pop() {
            match piece {
                Cold::CallOut { from, back, index, state, window } => {
                    dynasm!(self.asm; .arch x64; =>from);
                    if let Some(window) = window {
                        self.by_window(window, index, back)?;
                    }
                    self.state = state;
                    self.state_to_frame();
                    let guest = &self.block[index];
                    self.call_handler(index);
                    if guest.kind == Kind::Native && guest.read_later != 0 {
                        self.load_flags();
                    }
                    dynasm!(self.asm; .arch x64; jmp =>back);
                }
                // The other side of a jump within a loop follows it, and needs no check.
                Cold::Side { from, target, index, state, .. }
                    if !self.mode.is_linked() && !self.block[index].turns =>
                {
                    dynasm!(self.asm; .arch x64; =>from);
                    self.state = state;
                    self.state_to_frame();
                    self.jump_checked(target, index);
                }
                Cold::Side { from, target, left, state, .. } => {
                    dynasm!(self.asm; .arch x64; =>from);
                    self.state = state;
                    self.state_to_frame();
                    if left != 0 {
                        dynasm!(self.asm; .arch x64; add r15, BYTE left);
                    }
                    self.give_back();
                    self.jump_to(target, false);
                }
                Cold::Careful { from, again, stretch, index, state } => {
                    dynasm!(self.asm; .arch x64; =>from);
                    if let Some(again) = again {
                        let last = PAGE_SIZE as i32 - stretch.span() as i32;
                        let crosses = self.asm.new_dynamic_label();
                        let stretch = stretch.0 as i32;
                        dynasm!(self.asm
                            ; .arch x64
                            ; add r13, [r14]
                            ; mov r14d, r13d
                            ; and r14d, PAGE_SIZE as i32 - 1
                            ; cmp r14d, last
                            ; ja =>crosses
                            ; mov r14, r13
                            ; mov r13d, stretch
                            ; call extern self.thunks.bring_in
                        );
                        self.vectors_back();
                        dynasm!(self.asm; .arch x64; cmp QWORD [rsp + RUN], 0; je =>again; =>crosses);
                    }
                    self.state = state;
                    self.state_to_frame();
                    let left = (self.block.len() - index) as i8;
                    let start = i64::from(self.offset) + i64::from(self.block[index].op.start());
                    dynasm!(self.asm; .arch x64; add r15, BYTE left);
                    self.give_back();
                    self.jump_to(start, true);
                }
                Cold::Recent { from, back, page, size, want, miss } => {
                    dynasm!(self.asm; .arch x64; =>from);
                    self.other_page(page, size, want, miss);
                    dynasm!(self.asm; .arch x64; jmp =>back);
                }
                Cold::Second { from, back, size, miss } => {
                    dynasm!(self.asm; .arch x64; =>from);
                    self.second_entry(size, miss);
                    dynasm!(self.asm; .arch x64; jmp =>back);
                }
                Cold::Slot { from, back, slot, size, want, miss, adds } => {
                    dynasm!(self.asm; .arch x64; =>from);
                    self.fill_slot(slot, size, want, miss, adds);
                    dynasm!(self.asm; .arch x64; jmp =>back);
                }
                Cold::Spent { from, state } => self.spent(from, state),
                Cold::Prepare { from, state } => self.prepare(from, state)?,
                Cold::Miss { from } => {
                    dynasm!(self.asm
                        ; .arch x64
                        ; =>from
                        ; xor r14d, r14d
                        ; jmp extern self.thunks.leave
                    );
                }
            }
        }
        Ok(())
    }

    /// Loads the arithmetic flags from the frame into the host's. Changes both scratch registers.
    fn load_flags(&mut self) {
        dynasm!(self.asm; .arch x64; call extern self.thunks.load_flags);
    }

    /// Host register that holds guest register `number`, if one does.
    fn pinned(number: u8) -> Option<u8> {
        PINNED.get(usize::from(number)).copied()
    }

    /// Frame offset of a guest register that is not pinned.
    fn high(number: u8) -> i32 {
        HIGH + 8 * (i32::from(number) - 12)
    }

    /// Guest register `number` in a host register: its own, or `scratch`, loaded. Keeps the host's flags.
    fn in_register(&mut self, number: u8, scratch: u8) -> u8 {
        Self::pinned(number).unwrap_or_else(|| {
            dynasm!(self.asm; .arch x64; mov Rq(scratch), [BYTE rsp + Self::high(number) as i8]);
            scratch
        })
    }

    /// Encodes an instruction as it stands.
    fn encode(&mut self, insn: &Instruction) -> Result<(), Failed> {
        let failed = Failed { index: self.index };
        self.encoder.set_buffer(Vec::with_capacity(16));
        self.encoder.encode(insn, 0).map_err(|_| failed)?;
        let bytes = self.encoder.take_buffer();
        let names = |n| insn.op_kind(n) == OpKind::Register && Self::number(insn.op_register(n)) == R13;
        if (0..insn.op_count()).any(|n| names(n) && insn.op_register(n).is_gpr()) {
            self.asm.extend(&bytes);
        } else {
            self.keeping(|emitter| emitter.asm.extend(&bytes));
        }
        Ok(())
    }

    /// Emits code that leaves R13 alone.
    fn keeping(&mut self, emit: impl FnOnce(&mut Self)) {
        let start = self.asm.offset().0;
        emit(self);
        let end = self.asm.offset().0;
        self.kept = self.kept.filter(|kept| kept.end == start).map(|kept| Kept { end, ..kept });
    }

    /// Does R13 hold a group's distance?
    fn keeps(&self, group: u8) -> bool {
        let now = Kept { group, end: self.asm.offset().0, outs: self.outs[0] };
        self.kept.is_some_and(|kept| (kept.group, kept.end, kept.outs) == (now.group, now.end, now.outs))
    }

    /// Number of a general register, whatever its width.
    fn number(register: Register) -> u8 {
        register.full_register().number() as u8
    }

    /// Are the host's flags good for reading `mask`?
    fn host_has(&self, mask: u64) -> bool {
        self.state.host & mask == mask & OSZAPC
    }
}
