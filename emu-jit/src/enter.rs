//! Into translated code and back out of it: the one place where host code of our own making is called, and where it
//! calls back.
//!
//! This is one of the places with `unsafe`. What makes it sound: the code between the thunks only touches its stack
//! frame, the [`Cpu`] that the frame names (which the caller of [`enter`] borrows exclusively all the while), guest
//! memory through entries of the translation cache, and the tables of the engine.

use emu_core::cpu::eflags::{OF, Writer};
use emu_core::cpu::{Cpu, Fault, RIP};
use emu_core::interp::op::{Op, WRITES_RIP};
use emu_core::mem::PAGE_SIZE;

use crate::frame::{Exchange, StackFrame};
use crate::functions;
use crate::mode::Mode;
use crate::thunks::Callees;

/// Where a call out comes from, packed into 32 bits: offset of the block in its page, instructions of the block,
/// index of the instruction, whether its flags are wanted as LAHF and SETO leave them, and whether it is a repeated
/// string instruction, behind which the block may go on although it writes RIP, one that needs the x87 state, or one
/// behind which other code may be needed than before.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Place(pub u32);

impl Place {
    /// Bit: see [`with_x87`](Self::with_x87).
    pub const X87: u32 = 1 << 29;

    /// Packs.
    pub fn new(offset: u16, count: usize, index: usize, split: bool) -> Self {
        debug_assert!(offset < 4096 && count < 256 && index < count);
        Self(u32::from(offset) | (count as u32) << 12 | (index as u32) << 20 | u32::from(split) << 31)
    }

    fn offset(self) -> u64 {
        u64::from(self.0 & 0xfff)
    }

    fn count(self) -> u64 {
        u64::from(self.0 >> 12 & 0xff)
    }

    fn index(self) -> u32 {
        self.0 >> 20 & 0xff
    }

    /// The same place, of a repeated string instruction.
    pub fn repeating(self) -> Self {
        Self(self.0 | 1 << 30)
    }

    /// The same place, of an instruction whose handler must find the x87 state in the processor.
    pub fn with_x87(self) -> Self {
        Self(self.0 | Self::X87)
    }

    /// The same place, of an instruction that ends its block whatever its handler says.
    pub fn last(self) -> Self {
        Self(self.0 | 1 << 28)
    }

    fn is_last(self) -> bool {
        self.0 >> 28 & 1 != 0
    }

    fn repeats(self) -> bool {
        self.0 >> 30 & 1 != 0
    }

    fn split(self) -> bool {
        self.0 >> 31 != 0
    }
}

/// What a check for a group of memory accesses wanted, packed into 32 bits: distance of the access from the start of
/// the stretch, length of the stretch, size of the access, and whether it is to be written.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Stretch(pub u32);

impl Stretch {
    /// Packs.
    pub fn new(below: u32, span: u32, size: u32, write: bool) -> Self {
        debug_assert!(below < 1 << 10 && span < 1 << 12 && size < 64, "groups are short");
        Self(below | span << 10 | size << 22 | u32::from(write) << 28)
    }

    /// Length of the stretch in bytes.
    pub fn span(self) -> u32 {
        self.0 >> 10 & 0xfff
    }
}

/// The functions that thunks call.
pub fn callees() -> Callees {
    Callees {
        call_out: call_out as *const () as usize,
        flags: flags as *const () as usize,
        settle_carry: settle_carry as *const () as usize,
        bring_in: bring_in as *const () as usize,
        function: functions::compute as *const () as usize,
    }
}

/// Runs translated code at `code` until it leaves. Returns its token.
pub fn enter(exchange: &mut Exchange, cpu: &mut Cpu, thunk: usize, code: usize, remaining: i64) -> u64 {
    exchange.frame.cpu = cpu;
    exchange.frame.vectors_in = 0;
    exchange.frame.x87_in = 0;
    (exchange.frame.x87_opcode, exchange.frame.x87_segment) = (0, 0);
    exchange.frame.load(cpu);
    // SAFETY: `thunk` is the entry thunk of a code buffer that outlives the call, with this signature.
    let thunk: extern "sysv64" fn(*mut Exchange, usize, i64) -> u64 = unsafe { std::mem::transmute(thunk) };
    let token = thunk(exchange, code, remaining);
    exchange.frame.store(cpu);
    token
}

/// What `call_out` returns when the block goes on.
pub const GOES_ON: u64 = 0;
/// What it returns when control leaves translated code. Everything else is the address of the code to go on with.
pub const LEAVES: u64 = 1;

/// Runs the handler of an instruction that is not translated, or whose memory access needs a closer look. The second
/// spill slot says how many instructions may still retire, beside the block's own when it goes on.
extern "sysv64" fn call_out(stack: &mut StackFrame, op: &Op, place: Place, remaining: i64) -> u64 {
    let frame = &mut stack.frame;
    // SAFETY: `enter` put the address of the processor there, which it borrows exclusively until the thunk returns; no
    // other reference to it is in use.
    let cpu = unsafe { &mut *frame.cpu };
    frame.store(cpu);
    let start = frame.page.wrapping_add(place.offset());
    cpu.regs[RIP] = if cpu.linear_mask == u64::MAX { start } else { start & 0xffff_ffff };
    let before = cpu.deadline.wrapping_sub((remaining as u64).wrapping_add(place.count()));
    cpu.retired = before;
    cpu.done = place.index();
    cpu.stop = false;
    let next = op.next(cpu);
    let result = (op.run)(cpu, op);
    // A repeated string instruction has retired more than one.
    let remaining = remaining.wrapping_sub(cpu.retired.wrapping_sub(before) as i64);
    let behind = if op.flags & WRITES_RIP == 0 {
        !place.is_last()
    } else {
        place.repeats() && cpu.regs[RIP] == next && remaining >= 0
    };
    // SAFETY: the entry thunk put the address of the exchange there, which lives on the engine's side of the call and
    // is not looked at before the thunk returns.
    let exchange = unsafe { &mut *stack.exchange };
    if result.is_ok() && behind && !cpu.stop {
        exchange.calls.same_block += 1;
        if place.split() {
            split(cpu);
        }
        cpu.done = 0;
        frame.spill[1] = remaining as u64;
        frame.load(cpu);
        stack.pages.look(cpu);
        return GOES_ON;
    }
    let retired = match result {
        Err(Fault::Jumped) => true,
        Err(_) => {
            cpu.regs[RIP] = cpu.regs[RIP].wrapping_add(u64::from(op.start()));
            false
        }
        Ok(()) => {
            if op.flags & WRITES_RIP == 0 {
                cpu.regs[RIP] = next;
            }
            true
        }
    };
    cpu.done = 0;
    cpu.retired += u64::from(place.index()) + u64::from(retired);
    // The x87 state goes out before CS may change, which tells where its last instruction was.
    let x87_in = frame.x87_in != 0;
    if let Err(fault) = result
        && fault != Fault::Jumped
        && let Err(fault) = if x87_in { Err(fault) } else { take_exception(cpu, fault) }
    {
        exchange.fault = Some(fault);
        exchange.calls.left += 1;
        frame.load(cpu);
        return LEAVES;
    }
    let code = if x87_in { LEAVES } else { go_on(exchange, cpu) };
    if code == LEAVES {
        exchange.calls.left += 1;
    } else {
        exchange.calls.next_block += 1;
        (frame.jumps, frame.jumps_mask) = (exchange.frame.jumps, exchange.frame.jumps_mask);
        frame.page = exchange.frame.page;
        frame.spill[1] = cpu.deadline - cpu.retired;
    }
    frame.load(cpu);
    stack.pages.look(cpu);
    code
}

/// Delivers the exception of an instruction that did not complete, as the engine would.
fn take_exception(cpu: &mut Cpu, fault: Fault) -> Result<(), Fault> {
    let Fault::Exception(exception) = fault else { return Err(fault) };
    if cpu.catches_exceptions() {
        return Err(fault);
    }
    // A delivered fault counts as one.
    cpu.retired += 1;
    cpu.deliver_exception(exception)
}

/// The code to go on with after an instruction that ended its block, if nothing else is to be done first.
fn go_on(exchange: &mut Exchange, cpu: &mut Cpu) -> u64 {
    if cpu.attention != 0 && !cpu.settle() || cpu.retired >= cpu.deadline || !cpu.runs_translated() {
        return LEAVES;
    }
    exchange.go_on(cpu, Mode::of(cpu)).map_or(LEAVES, |code| code as u64)
}

/// The arithmetic flags as LAHF and SETO leave them in AX.
fn as_split(cpu: &Cpu) -> u64 {
    let flags = cpu.flags.arithmetic();
    (flags & 0xd5) << 8 | u64::from(flags & OF != 0)
}

fn split(cpu: &mut Cpu) {
    let a = as_split(cpu);
    cpu.flags.set_operands(a, u64::MAX, Writer::Split as u8, 0);
}

/// What `load_flags` loads.
extern "sysv64" fn flags(stack: &mut StackFrame) -> u64 {
    // SAFETY: as in `call_out`.
    let cpu = unsafe { &mut *stack.frame.cpu };
    stack.frame.store(cpu);
    as_split(cpu)
}

/// Makes the flags one of the forms that have the carry in bit 0 of their second operand.
extern "sysv64" fn settle_carry(stack: &mut StackFrame) {
    // SAFETY: as in `call_out`.
    let cpu = unsafe { &mut *stack.frame.cpu };
    stack.frame.store(cpu);
    stack.frame.flag_b = u64::from(cpu.flags.carry());
}

/// Brings the page of a stretch into the translation cache for the access that is about to be made in it. Returns 0
/// when the check will not fail again.
extern "sysv64" fn bring_in(stack: &mut StackFrame, linear: u64, stretch: Stretch) -> u64 {
    // SAFETY: as in `call_out`.
    let cpu = unsafe { &mut *stack.frame.cpu };
    let Stretch(packed) = stretch;
    let (below, span) = (u64::from(packed & 0x3ff), u64::from(stretch.span()));
    let (size, write) = (u64::from(packed >> 22 & 0x3f), packed >> 28 & 1 != 0);
    let linear = linear & cpu.linear_mask;
    let access = linear.wrapping_add(below);
    // Accesses that may want to be aligned are looked at first by their handlers.
    let within = linear % PAGE_SIZE + span <= PAGE_SIZE && (size < 16 || access.is_multiple_of(size));
    let failed = !(within && cpu.bring_in(access, write));
    stack.pages.look(cpu);
    u64::from(failed)
}
