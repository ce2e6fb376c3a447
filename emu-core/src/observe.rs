//! Hooks: somebody who looks on while instructions run (traces, debuggers, tools in Rust).
//!
//! A machine has at most one [`Observer`]. It says which [`Hooks`] it wants; one that is not wanted costs nothing:
//!
//! * [`Hooks::PORTS`], [`Hooks::EVENTS`] and [`Hooks::CONTROL`] are asked for where such a thing happens, which is slow
//!   anyway, and both engines go on as they are;
//! * [`Hooks::BLOCKS`], [`Hooks::INSTRUCTIONS`] and [`Hooks::MEMORY`] have the interpreter's loop run in a second
//!   instance that calls the observer, in place of either engine. For memory all accesses take the slow path meanwhile
//!   ([`Context::Watched`]), which looks into the same translation cache that the fast path uses. So an observed run
//!   fills the same translations, sets the same accessed bits and retires the same instructions as one that is not.
//!
//! A hook gets the processor to look at. It may stop the run ([`Cpu::request_stop`], or [`Flow::Stop`] before an
//! instruction) and change which hooks are set ([`Cpu::set_hooks`]); neither changes what the guest does.

use std::any::Any;
use std::ops::BitOr;

use iced_x86::{Decoder, DecoderOptions};

use crate::cpu::interrupt::Source;
use crate::cpu::{Cpu, Fallible, Fault, RIP, attention};
use crate::decode::MAX_LENGTH;
use crate::interp::op::Op;
use crate::mem::PAGE_SIZE;
use crate::mem::page::FrameNumber;
use crate::mmu::tlb::Context;

/// A set of hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hooks(u8);

impl Hooks {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// [`Observer::instruction`].
    pub const INSTRUCTIONS: Self = Self(1 << 0);
    /// [`Observer::block`].
    pub const BLOCKS: Self = Self(1 << 1);
    /// [`Observer::memory`].
    pub const MEMORY: Self = Self(1 << 2);
    /// [`Observer::port`].
    pub const PORTS: Self = Self(1 << 3);
    /// [`Observer::event`].
    pub const EVENTS: Self = Self(1 << 4);
    /// [`Observer::control`].
    pub const CONTROL: Self = Self(1 << 5);

    /// Are all of these set?
    #[inline(always)]
    pub const fn has(self, hooks: Self) -> bool {
        self.0 & hooks.0 == hooks.0
    }

    /// Is any set that the observed loop is needed for?
    #[inline(always)]
    pub const fn need_loop(self) -> bool {
        self.0 & (Self::INSTRUCTIONS.0 | Self::BLOCKS.0 | Self::MEMORY.0) != 0
    }
}

impl BitOr for Hooks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What happens after [`Observer::instruction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The instruction runs.
    Go,
    /// The run ends before it, with [`crate::engine::Exit::Observed`].
    Stop,
}

/// Where the bytes of code lie.
#[derive(Clone, Copy, Debug)]
pub enum Code {
    /// At an offset of a frame, within which they end.
    Frame(FrameNumber, u16),
    /// An instruction that crosses a page, or was fetched from a chip.
    Bytes([u8; MAX_LENGTH]),
}

/// A run of instructions that is about to begin. The first one is where RIP points; how many of them run depends on
/// jumps, faults and events.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Linear address of the first instruction.
    pub linear: u64,
    /// Its instructions.
    pub ops: &'a [Op],
    /// Where their bytes lie.
    pub code: Code,
    /// The same number means the same bytes in the same code size at the same place of physical memory, though `ops`
    /// may be cut short. 0: this one has no number.
    pub serial: u32,
}

impl Block<'_> {
    /// Bytes of all its instructions together.
    pub fn len(&self) -> usize {
        self.ops.last().map_or(0, |op| usize::from(op.end))
    }

    /// True when it holds no instruction, which never happens.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Copies its bytes to `out`, as many as there are ([`len`](Self::len)) and have room.
    pub fn bytes(&self, cpu: &Cpu, out: &mut [u8]) {
        let count = out.len().min(self.len());
        match self.code {
            Code::Frame(frame, offset) => {
                let mem = &cpu.system().mem;
                mem.ram().read_slice(mem.host_of(frame) + usize::from(offset), &mut out[..count]);
            }
            Code::Bytes(bytes) => out[..count].copy_from_slice(&bytes[..count]),
        }
    }
}

/// An instruction that is about to run: number `index` of `block`.
#[derive(Clone, Copy, Debug)]
pub struct Instruction<'a> {
    /// The block that it belongs to.
    pub block: &'a Block<'a>,
    /// Its place in the block.
    pub index: usize,
}

impl Instruction<'_> {
    /// Its decoded form.
    pub fn op(&self) -> &Op {
        &self.block.ops[self.index]
    }

    /// Its linear address.
    pub fn linear(&self, cpu: &Cpu) -> u64 {
        self.block.linear.wrapping_add(u64::from(self.op().start())) & cpu.linear_mask
    }

    /// Decodes it with iced: for its text, its operands and everything else that iced knows.
    pub fn decode(&self, cpu: &Cpu) -> iced_x86::Instruction {
        let (start, length) = (usize::from(self.op().start()), usize::from(self.op().length));
        let mut bytes = vec![0; start + length];
        self.block.bytes(cpu, &mut bytes);
        Decoder::with_ip(cpu.code_size(), &bytes[start..], cpu.regs[RIP], DecoderOptions::NONE).decode()
    }
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

/// Where an access to memory went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To RAM or ROM: this frame ([`crate::mem::Memory::physical_of`] knows its address).
    Frame(FrameNumber),
    /// To a chip, or to nothing, at this physical address.
    Bus(u64),
}

/// An access to memory that took place, by an instruction or by the processor on its own account (descriptors, TSS,
/// stacks of interrupts; not page walks and not instruction fetches). Accesses of more than 8 bytes come as several,
/// and those that cross a page as one for each page.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Linear address.
    pub linear: u64,
    /// Where it went.
    pub target: Target,
    /// Bytes, 1 to 8.
    pub size: u8,
    /// Read or write.
    pub kind: Kind,
    /// What was read or written, zero-extended.
    pub value: u64,
}

/// An access to a port that took place.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// Port number.
    pub port: u16,
    /// Bytes: 1, 2 or 4.
    pub size: u8,
    /// Read (IN) or write (OUT).
    pub kind: Kind,
    /// What was read or written, zero-extended.
    pub value: u32,
}

/// An interrupt or exception that is about to be delivered; RIP is what the handler returns to.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Its vector.
    pub vector: u8,
    /// Where it comes from.
    pub source: Source,
    /// The error code that is pushed.
    pub error: Option<u16>,
}

/// A register whose new value changes how the processor works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// CR0, CR3 or CR4.
    Cr(u8),
    /// A model-specific register.
    Msr(u32),
}

/// Somebody who looks on. What is not overridden does nothing.
pub trait Observer: Any {
    /// The hooks that it wants when it is set; [`Cpu::set_hooks`] changes them later.
    fn hooks(&self) -> Hooks;

    /// Before a block.
    fn block(&mut self, cpu: &mut Cpu, block: &Block<'_>) {
        let _ = (cpu, block);
    }

    /// Before an instruction, whose RIP `cpu` shows. Each iteration of a repeated string instruction is one, unless the
    /// run of them is told here once (when [`Hooks::MEMORY`] is not set).
    fn instruction(&mut self, cpu: &mut Cpu, instruction: &Instruction<'_>) -> Flow {
        let _ = (cpu, instruction);
        Flow::Go
    }

    /// After an access to memory.
    fn memory(&mut self, cpu: &mut Cpu, access: &Memory) {
        let _ = (cpu, access);
    }

    /// After an access to a port.
    fn port(&mut self, cpu: &mut Cpu, access: &Port) {
        let _ = (cpu, access);
    }

    /// Before an interrupt or exception is delivered.
    fn event(&mut self, cpu: &mut Cpu, event: &Event) {
        let _ = (cpu, event);
    }

    /// When the processor's turn ends, where several take turns.
    fn leave(&mut self, cpu: &mut Cpu) {
        let _ = cpu;
    }

    /// After a control register or MSR was written.
    fn control(&mut self, cpu: &mut Cpu, register: Control, value: u64) {
        let _ = (cpu, register, value);
    }
}

impl Cpu {
    /// Does the interpreter's observed loop run the code?
    #[inline(always)]
    pub fn observed(&self) -> bool {
        self.hooks.need_loop()
    }

    /// Sets hooks, from the next instruction on. They stay set when the processor's turn ends.
    pub fn set_hooks(&mut self, hooks: Hooks) {
        self.system_mut().hooks = hooks;
        self.hooks = hooks;
        self.update_context();
        self.attention |= attention::INTERRUPTS;
        self.stop = true;
    }

    /// Ends the run with [`crate::engine::Exit::Observed`] as soon as the running instruction has retired.
    pub fn request_stop(&mut self) {
        self.attention |= attention::STOP;
        self.stop = true;
    }

    /// Calls the observer, if there is one.
    #[cold]
    #[inline(never)]
    pub fn observe<R>(&mut self, call: impl FnOnce(&mut dyn Observer, &mut Self) -> R) -> Option<R> {
        self.observe_often(call)
    }

    /// The same, where an observed run comes by all the time.
    #[inline(always)]
    fn observe_often<R>(&mut self, call: impl FnOnce(&mut dyn Observer, &mut Self) -> R) -> Option<R> {
        let mut observer = self.system_mut().observer.take()?;
        let result = call(&mut *observer, self);
        self.system_mut().observer = Some(observer);
        Some(result)
    }

    /// Tells of an access to physical memory within one page, when somebody wants to know.
    #[inline]
    pub(crate) fn tell_memory(&mut self, linear: u64, physical: u64, size: u64, kind: Kind, value: u64) {
        if self.hooks.has(Hooks::MEMORY) {
            let mem = &self.system().mem;
            let physical = mem.gate_a20(physical);
            let page = mem.page(physical);
            let frame = if kind == Kind::Read { page.read_frame() } else { page.write_frame() };
            let target = frame.map_or(Target::Bus(physical), Target::Frame);
            self.tell(&Memory { linear, target, size: size as u8, kind, value });
        }
    }

    fn tell(&mut self, access: &Memory) {
        self.observe_often(|observer, cpu| observer.memory(cpu, access));
    }

    /// Tells of a write to a control register or MSR.
    #[inline]
    pub(crate) fn tell_control(&mut self, register: Control, value: u64) {
        if self.hooks.has(Hooks::CONTROL) {
            self.observe(|observer, cpu| observer.control(cpu, register, value));
        }
    }

    /// While memory is observed: reads as the fast path would have done, had it not been closed.
    #[inline]
    pub(crate) fn read_observed(&mut self, linear: u64, size: u64) -> Option<u64> {
        if !self.hooks.has(Hooks::MEMORY) {
            return None;
        }
        let host = self.hit(linear, size, false)?;
        let value = match size {
            1 => u64::from(self.ram.load::<u8>(host)),
            2 => u64::from(self.ram.load::<u16>(host)),
            4 => u64::from(self.ram.load::<u32>(host)),
            _ => self.ram.load::<u64>(host),
        };
        self.tell_at(host, linear, size, Kind::Read, value);
        Some(value)
    }

    /// The same for a write; false when the fast path would have missed.
    #[inline]
    pub(crate) fn write_observed(&mut self, linear: u64, size: u64, value: u64) -> bool {
        if !self.hooks.has(Hooks::MEMORY) {
            return false;
        }
        let Some(host) = self.hit(linear, size, true) else { return false };
        self.ram.write_slice(host, &value.to_le_bytes()[..size as usize]);
        self.tell_at(host, linear, size, Kind::Write, value);
        true
    }

    /// While memory is observed: would the fast path write here?
    #[inline]
    pub(crate) fn writable_observed(&self, linear: u64, size: u64) -> bool {
        self.hooks.has(Hooks::MEMORY) && self.hit(linear, size, true).is_some()
    }

    fn tell_at(&mut self, host: usize, linear: u64, size: u64, kind: Kind, value: u64) {
        let target = Target::Frame(self.ram.frame_at(host));
        self.tell(&Memory { linear, target, size: size as u8, kind, value });
    }

    /// Host address of an access that the translation cache knows in the context that permissions alone give.
    fn hit(&self, linear: u64, size: u64, write: bool) -> Option<usize> {
        if self.permissions == Context::Watched {
            return None;
        }
        let tlb = &self.tlb;
        let entry =
            if write { tlb.write(self.permissions, linear) } else { tlb.read(self.permissions, linear) };
        let within = linear.wrapping_sub(entry.tag);
        (within <= PAGE_SIZE - size).then_some((entry.host + within) as usize)
    }

    /// Calls the hooks for an instruction of a block of which RIP is the start.
    ///
    /// # Errors
    /// [`Fault::Stopped`] when the run is to end before it.
    #[inline]
    pub(crate) fn tell_instruction(&mut self, block: &Block<'_>, index: usize) -> Fallible {
        if index == 0 && self.hooks.has(Hooks::BLOCKS) {
            self.observe_often(|observer, cpu| observer.block(cpu, block));
        }
        if !self.hooks.has(Hooks::INSTRUCTIONS) {
            return Ok(());
        }
        let start = self.regs[RIP];
        let here = start.wrapping_add(u64::from(block.ops[index].start()));
        self.regs[RIP] = if self.linear_mask == u64::MAX { here } else { here & 0xffff_ffff };
        let instruction = Instruction { block, index };
        let flow = self.observe_often(|observer, cpu| observer.instruction(cpu, &instruction));
        self.regs[RIP] = start;
        if flow == Some(Flow::Stop) { Err(Fault::Stopped) } else { Ok(()) }
    }
}

/// Several observers in the place of one.
#[derive(Default)]
pub struct Team(Vec<(Box<dyn Observer>, Hooks)>);

impl Team {
    /// Takes one more in.
    pub fn add(&mut self, observer: Box<dyn Observer>) {
        let hooks = observer.hooks();
        self.0.push((observer, hooks));
    }

    /// Is nobody left?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first that is a `T`.
    pub fn find<T: Observer>(&mut self) -> Option<&mut T> {
        self.0.iter_mut().find_map(|(observer, _)| (&mut **observer as &mut dyn Any).downcast_mut())
    }

    /// Takes the first out that is a `T`.
    pub fn remove<T: Observer>(&mut self) -> Option<Box<T>> {
        let at = self.0.iter().position(|(observer, _)| (&**observer as &dyn Any).is::<T>())?;
        (self.0.remove(at).0 as Box<dyn Any>).downcast().ok()
    }

    /// Calls those that want a hook, and notes when one wants others from now on.
    #[inline]
    fn each(&mut self, cpu: &mut Cpu, hook: Hooks, mut call: impl FnMut(&mut dyn Observer, &mut Cpu)) {
        if let [(observer, hooks)] = &mut self.0[..] {
            // Alone: its hooks are those of the processor.
            call(&mut **observer, cpu);
            *hooks = cpu.hooks;
            return;
        }
        let before = cpu.hooks;
        let mut changed = false;
        for (observer, hooks) in &mut self.0 {
            if hooks.has(hook) {
                cpu.hooks = *hooks;
                call(&mut **observer, cpu);
                changed |= cpu.hooks != *hooks;
                *hooks = cpu.hooks;
            }
        }
        cpu.hooks = before;
        if changed {
            cpu.set_hooks(self.all());
        }
    }

    fn all(&self) -> Hooks {
        self.0.iter().fold(Hooks::NONE, |all, (_, hooks)| all | *hooks)
    }
}

impl Observer for Team {
    fn hooks(&self) -> Hooks {
        self.all()
    }

    fn block(&mut self, cpu: &mut Cpu, block: &Block<'_>) {
        self.each(cpu, Hooks::BLOCKS, |observer, cpu| observer.block(cpu, block));
    }

    fn instruction(&mut self, cpu: &mut Cpu, instruction: &Instruction<'_>) -> Flow {
        let mut flow = Flow::Go;
        self.each(cpu, Hooks::INSTRUCTIONS, |observer, cpu| {
            if observer.instruction(cpu, instruction) == Flow::Stop {
                flow = Flow::Stop;
            }
        });
        flow
    }

    fn memory(&mut self, cpu: &mut Cpu, access: &Memory) {
        self.each(cpu, Hooks::MEMORY, |observer, cpu| observer.memory(cpu, access));
    }

    fn port(&mut self, cpu: &mut Cpu, access: &Port) {
        self.each(cpu, Hooks::PORTS, |observer, cpu| observer.port(cpu, access));
    }

    fn event(&mut self, cpu: &mut Cpu, event: &Event) {
        self.each(cpu, Hooks::EVENTS, |observer, cpu| observer.event(cpu, event));
    }

    fn leave(&mut self, cpu: &mut Cpu) {
        self.each(cpu, Hooks::NONE, |observer, cpu| observer.leave(cpu));
    }

    fn control(&mut self, cpu: &mut Cpu, register: Control, value: u64) {
        self.each(cpu, Hooks::CONTROL, |observer, cpu| observer.control(cpu, register, value));
    }
}
