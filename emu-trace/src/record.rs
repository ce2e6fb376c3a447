//! The recorder: looks on while a machine runs, and notes what changed.

use std::collections::HashMap;

use emu_core::cpu::{Cpu, RIP};
use emu_core::interp::op::Op;
use emu_core::mem::page::FrameNumber;
use emu_core::observe::{
    Block, Code, Control, Event, Flow, Hooks, Instruction, Kind, Memory, Observer, Port, Target,
};
use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory};

use crate::effects::{bits, effects};
use crate::filter::{Filter, Trigger};
use crate::model::{REGISTERS, State, event, field};
use crate::raw::{self, access};
use crate::wide::{self, Wide};
use crate::write::Writer;

/// Numbers of blocks of code without a serial that are remembered.
const MOST_LOOSE: usize = 1 << 16;

/// A block that has numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Numbered {
    linear: u64,
    first: u32,
    count: u32,
}

/// In place of an index: no record is open.
const CLOSED: usize = usize::MAX;

/// One processor, as it was at the end of its last record.
#[derive(Clone, Debug, Default)]
struct Last {
    state: State,
    wide: Wide,
    /// It was never seen, or instructions were left out since.
    stale: bool,
    known: bool,
}

/// Where recording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    On,
    Over,
}

/// An [`Observer`] that records what it sees.
pub struct Recorder {
    writer: Writer,
    filter: Filter,
    phase: Phase,
    /// Every instruction is recorded, and nothing is waited for.
    plain: bool,
    words: Vec<u64>,
    /// Where the header of the open record is, or [`CLOSED`].
    open: usize,
    /// What its instruction may change.
    effects: u32,
    /// The same of vector and x87 registers.
    wide: u32,
    /// Accesses of the open record.
    accesses: u64,
    open_rip: u64,
    /// What happened within the instruction of the open record.
    within: Vec<(u8, [u64; 4], usize)>,
    cpus: Vec<Last>,
    current: usize,
    /// The instruction that runs is left out.
    skipping: bool,
    /// Fields may have changed.
    look: bool,
    /// By serial number of blocks.
    blocks: Vec<Numbered>,
    loose: HashMap<(u64, u64, u128), Numbered>,
    block: Numbered,
    /// What each instruction may change, by number, and the same of vector and x87 registers; as many as there are numbers.
    known: Vec<(u32, u32)>,
    /// [`Cpu::fetch_generation`] and CPL when the fields were looked at.
    context: (u64, u8),
    /// Physical page of each frame, and the version of the map that this is from.
    frames: Vec<u64>,
    map: u64,
    failed: bool,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Recorder {
    /// A recorder that hands what it sees to `writer`.
    pub fn new(writer: Writer, filter: Filter) -> Self {
        let phase = if filter.start.is_some() { Phase::Waiting } else { Phase::On };
        let mut recorder = Self {
            writer,
            filter,
            phase,
            plain: false,
            words: Vec::with_capacity(raw::FULL + raw::FULL / 8),
            open: CLOSED,
            effects: 0,
            wide: 0,
            accesses: 0,
            open_rip: 0,
            within: Vec::new(),
            cpus: Vec::new(),
            current: usize::MAX,
            skipping: false,
            look: true,
            blocks: Vec::new(),
            loose: HashMap::new(),
            block: Numbered::default(),
            known: vec![(0, 0)],
            context: (u64::MAX, 0),
            frames: Vec::new(),
            map: u64::MAX,
            failed: false,
        };
        recorder.enter_phase(phase);
        recorder
    }

    fn enter_phase(&mut self, phase: Phase) {
        self.phase = phase;
        self.plain = phase == Phase::On && self.filter.stop.is_none() && !self.filter.thins();
    }

    /// The count at which [`begin`](Self::begin) is due, if recording begins by count.
    pub fn due(&self) -> Option<u64> {
        match (self.phase, self.filter.start) {
            (Phase::Waiting, Some(Trigger::Count(count))) => Some(count),
            _ => None,
        }
    }

    /// Begins, between two runs.
    pub fn begin(&mut self, cpu: &mut Cpu) {
        self.enter_phase(Phase::On);
        cpu.set_hooks(self.hooks());
    }

    /// Has the file failed? [`finish`](Self::finish) says how.
    pub fn failed(&self) -> bool {
        self.failed || self.writer.failed()
    }

    /// Has everything so far become readable soon; between two runs.
    pub fn flush(&mut self, cpu: &Cpu) {
        self.close(cpu);
        self.send();
        self.writer.flush();
    }

    /// The same, and waits until it is.
    ///
    /// # Errors
    /// When the file cannot be written any more; [`finish`](Self::finish) says why.
    pub fn flush_and_wait(&mut self, cpu: &Cpu) -> std::io::Result<()> {
        self.close(cpu);
        self.send();
        self.writer.flush_and_wait()
    }

    /// Writes the rest.
    ///
    /// # Errors
    /// What the file's writes ran into.
    pub fn finish(mut self, cpu: &Cpu) -> std::io::Result<crate::write::Totals> {
        self.close(cpu);
        self.send();
        self.writer.finish()
    }

    fn send(&mut self) {
        if !self.words.is_empty() && !self.failed {
            self.failed = !self.writer.send(&mut self.words);
        }
        self.words.clear();
    }

    fn note(&mut self, kind: u8, data: &[u64]) {
        self.words.push(u64::from(raw::EVENT) << 32 | u64::from(kind));
        self.words.push((data.len() as u64) << 32);
        self.words.extend_from_slice(data);
    }

    /// Ends the open record.
    #[inline]
    fn close(&mut self, cpu: &Cpu) {
        let at = std::mem::replace(&mut self.open, CLOSED);
        if at == CLOSED {
            return;
        }
        let state = &mut self.cpus[self.current].state;
        let mask = self.effects & bits::REGISTERS;
        // Whether they really changed is found out by the other thread.
        let mut left = mask;
        while left != 0 {
            let number = left.trailing_zeros() as usize % REGISTERS;
            left &= left - 1;
            state.regs[number] = cpu.regs[number];
            self.words.push(cpu.regs[number]);
        }
        if self.effects & bits::FLAGS != 0 {
            state.flags = cpu.flags.get();
        }
        self.words[at] |= u64::from(mask);
        self.words[at + 1] = self.accesses << 32 | state.flags;
        if !self.within.is_empty() {
            self.tell_within();
        }
        if self.wide != 0 {
            self.tell_wide(cpu, self.wide);
        }
        if self.words.len() >= raw::FULL {
            self.send();
        }
    }

    #[cold]
    fn tell_within(&mut self) {
        for (kind, data, length) in std::mem::take(&mut self.within) {
            self.note(kind, &data[..length]);
        }
    }

    /// Tells what changed of vector and x87 registers, of those that may have.
    fn tell_wide(&mut self, cpu: &Cpu, mask: u32) {
        let mut data = Vec::new();
        self.cpus[self.current].wide.changes(cpu, mask, &mut data);
        if !data.is_empty() {
            self.note(event::VECTOR, &data);
        }
    }

    /// Begins the record of the instruction of this number, or of a delivery.
    #[inline]
    fn open(&mut self, cpu: &Cpu, id: u32) {
        self.open = self.words.len();
        self.accesses = 0;
        self.open_rip = cpu.regs[RIP];
        let resumed = self.cpus[self.current].state.flags as u32 & bits::FLAGS;
        let (effects, wide) = self.known.get(id as usize).copied().unwrap_or((bits::ALL, 0));
        (self.effects, self.wide) = (effects | resumed, wide);
        self.words.extend([u64::from(id) << 32, 0]);
    }

    /// Before a record: does the last one lead to what the processor is now?
    #[inline]
    fn caught_up(&self, cpu: &Cpu) -> bool {
        !self.look
            && self.current == cpu.number
            && self
                .cpus
                .get(self.current)
                .is_some_and(|last| !last.stale && last.state.count == cpu.instructions())
    }

    /// Before a record: tells what changed that no record showed.
    #[inline(never)]
    fn catch_up(&mut self, cpu: &Cpu) {
        let number = cpu.number;
        if self.cpus.len() <= number {
            self.cpus.resize(number + 1, Last { stale: true, ..Last::default() });
        }
        if self.current != number {
            self.current = number;
            self.look = true;
            self.note(event::CPU, &[number as u64]);
        }
        let last = &mut self.cpus[number];
        // Also what a debugger has set, or what an instruction changed that was not thought to.
        if last.stale || last.state.regs[..] != cpu.regs[..REGISTERS] {
            let gap = std::mem::replace(&mut last.stale, false) && last.known;
            last.known = true;
            self.look = true;
            let mut data = vec![0];
            for n in 0..REGISTERS {
                if last.state.regs[n] != cpu.regs[n] {
                    data[0] |= 1 << n;
                    data.push(cpu.regs[n]);
                    last.state.regs[n] = cpu.regs[n];
                }
            }
            last.state.flags = cpu.flags.get();
            data[0] |= 1 << REGISTERS;
            data.push(last.state.flags);
            if gap {
                self.note(event::GAP, &[]);
            }
            self.note(event::SYNC, &data);
            if !self.filter.no_vectors {
                self.tell_wide(cpu, wide::bits::ALL);
            }
        }
        let last = &mut self.cpus[number];
        let count = cpu.instructions();
        if last.state.count != count {
            let more = count.wrapping_sub(std::mem::replace(&mut last.state.count, count));
            self.note(event::COUNT, &[more]);
        }
        if self.look {
            self.look = false;
            self.fields(cpu);
        }
    }

    fn fields(&mut self, cpu: &Cpu) {
        let mut now = [0; field::COUNT];
        for n in 0..6 {
            now[field::SELECTOR + n] = cpu.seg[n].selector.into();
            now[field::BASE + n] = cpu.seg[n].base;
        }
        now[field::CODE_SIZE] = cpu.code_size().into();
        now[field::CPL] = cpu.cpl.into();
        (now[field::CR0], now[field::CR2], now[field::CR3]) = (cpu.cr0, cpu.cr2, cpu.cr3);
        (now[field::CR4], now[field::EFER]) = (cpu.cr4, cpu.efer);
        let old = &mut self.cpus[self.current].state.fields;
        if *old == now {
            return;
        }
        let changed = (0..field::COUNT).filter(|&n| old[n] != now[n]);
        let data: Vec<u64> = changed.flat_map(|n| [n as u64, now[n]]).collect();
        *old = now;
        self.note(event::FIELDS, &data);
    }

    /// The physical address of a frame.
    fn physical(&mut self, cpu: &Cpu, frame: FrameNumber) -> u64 {
        const UNKNOWN: u64 = u64::MAX;
        let mem = &cpu.system().mem;
        if self.map != mem.map_version() {
            self.map = mem.map_version();
            self.frames.fill(UNKNOWN);
        }
        let frame = frame as usize;
        if self.frames.len() <= frame {
            self.frames.resize(frame + 1, UNKNOWN);
        }
        if self.frames[frame] == UNKNOWN {
            // SMRAM that lies under video memory is mapped for nobody else: its frame's place in RAM stands for it.
            self.frames[frame] = mem.physical_of(frame as FrameNumber).unwrap_or(frame as u64 * 4096);
        }
        self.frames[frame]
    }

    /// Finds the numbers of a block, or gives it some.
    #[inline]
    fn enter(&mut self, cpu: &Cpu, block: &Block<'_>) {
        let context = (cpu.fetch_generation, cpu.cpl);
        self.look |= std::mem::replace(&mut self.context, context) != context;
        if let Some(last) = self.cpus.get(self.current) {
            self.look |= last.state.regs[..] != cpu.regs[..REGISTERS];
        }
        let length = block.ops.len() as u32;
        if block.serial != 0
            && let Some(&known) = self.blocks.get(block.serial as usize)
            && known.linear == block.linear
            && known.count >= length
        {
            self.block = known;
            return;
        }
        self.enter_new(cpu, block);
    }

    #[cold]
    fn enter_new(&mut self, cpu: &Cpu, block: &Block<'_>) {
        let key = match block.code {
            Code::Frame(..) => (block.linear, u64::from(block.serial) << 8, 0),
            Code::Bytes(bytes) => {
                let mut all = [0; 16];
                all[..15].copy_from_slice(&bytes);
                (block.linear, u64::from(cpu.code_size()), u128::from_le_bytes(all))
            }
        };
        let numbered = match self.loose.get(&key) {
            Some(&known) if known.count as usize >= block.ops.len() => known,
            _ => {
                let numbered = self.define(cpu, block);
                if self.loose.len() >= MOST_LOOSE {
                    self.loose.clear();
                }
                self.loose.insert(key, numbered);
                numbered
            }
        };
        if block.serial != 0 {
            let at = block.serial as usize;
            if self.blocks.len() <= at {
                self.blocks.resize(at + 1, Numbered { linear: 1, ..Numbered::default() });
            }
            self.blocks[at] = numbered;
        }
        self.block = numbered;
    }

    fn define(&mut self, cpu: &Cpu, block: &Block<'_>) -> Numbered {
        let mut bytes = vec![0; block.len()];
        block.bytes(cpu, &mut bytes);
        let physical = match block.code {
            Code::Frame(frame, offset) => self.physical(cpu, frame) + u64::from(offset),
            Code::Bytes(_) => cpu.peek_physical(block.linear).unwrap_or(0),
        };
        let code_size = cpu.code_size();
        let count = block.ops.len();
        let ip = cpu.regs[RIP];
        let numbered = Numbered { linear: block.linear, first: self.known.len() as u32, count: count as u32 };
        self.known.extend(all_effects(&bytes, block, code_size, !self.filter.no_vectors));
        let mut packed: Vec<u8> = block.ops.iter().map(|op| op.length).collect();
        packed.extend(&bytes);
        let words: Vec<u64> = packed
            .chunks(8)
            .map(|part| part.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)))
            .collect();
        let sizes = u64::from(code_size) | (count as u64) << 8 | (bytes.len() as u64) << 24;
        // A record is open while its block is new only if it was closed already: definitions stand between records.
        self.words.push(u64::from(raw::DEFINE) << 32);
        self.words.push((5 + words.len() as u64) << 32);
        self.words.extend([numbered.first.into(), block.linear, ip, physical, sizes]);
        self.words.extend(words);
        numbered
    }

    fn filtered(&mut self, cpu: &Cpu, linear: u64, code: Code) -> bool {
        let physical = match code {
            _ if self.filter.physical.is_empty() => 0,
            Code::Frame(frame, _) => self.physical(cpu, frame) | linear & 0xfff,
            Code::Bytes(_) => cpu.peek_physical(linear).unwrap_or(u64::MAX),
        };
        self.filter.passes(linear, physical, cpu.cpl, cpu.cr3, cpu.instructions())
    }

    /// Is this instruction recorded? Begins and ends recording where it is time.
    #[cold]
    fn wanted(&mut self, cpu: &mut Cpu, instruction: &Instruction<'_>) -> bool {
        if self.phase == Phase::Waiting
            && self.filter.start == Some(Trigger::Address(instruction.linear(cpu)))
        {
            self.begin(cpu);
            // The block was not told of; its RIP is that of its first instruction.
            let start = u64::from(instruction.op().start());
            cpu.regs[RIP] = cpu.regs[RIP].wrapping_sub(start);
            self.enter(cpu, instruction.block);
            cpu.regs[RIP] = cpu.regs[RIP].wrapping_add(start);
        }
        if self.phase != Phase::On {
            return false;
        }
        let due = match self.filter.stop {
            Some(Trigger::Count(count)) => cpu.instructions() >= count,
            Some(Trigger::Address(address)) => instruction.linear(cpu) == address,
            Some(Trigger::Port(_)) | None => false,
        };
        if due {
            self.end(cpu);
            return false;
        }
        self.skipping =
            self.filter.thins() && !self.filtered(cpu, instruction.linear(cpu), instruction.block.code);
        if self.skipping
            && let Some(last) = self.cpus.get_mut(cpu.number)
        {
            last.stale = true;
        }
        !self.skipping
    }

    fn end(&mut self, cpu: &mut Cpu) {
        self.close(cpu);
        self.enter_phase(Phase::Over);
        cpu.set_hooks(Hooks::NONE);
    }
}

/// What each instruction of a block may change; of vector and x87 registers only where they are wanted.
fn all_effects(bytes: &[u8], block: &Block<'_>, code_size: u32, vectors: bool) -> Vec<(u32, u32)> {
    let mut factory = InstructionInfoFactory::new();
    let of = |op: &Op| {
        let start = usize::from(op.start());
        let slice = &bytes[start..start + usize::from(op.length)];
        let insn = Decoder::new(code_size, slice, DecoderOptions::NONE).decode();
        let wide = if vectors { wide::written(&insn, &mut factory) } else { 0 };
        (effects(&insn, &mut factory), wide)
    };
    block.ops.iter().map(of).collect()
}

impl Observer for Recorder {
    fn hooks(&self) -> Hooks {
        match self.phase {
            Phase::Waiting => match self.filter.start {
                Some(Trigger::Port(_)) => Hooks::PORTS,
                Some(Trigger::Address(_)) => Hooks::INSTRUCTIONS,
                _ => Hooks::NONE,
            },
            Phase::On => {
                let memory = if self.filter.no_memory { Hooks::NONE } else { Hooks::MEMORY };
                memory | Hooks::INSTRUCTIONS | Hooks::BLOCKS | Hooks::PORTS | Hooks::EVENTS | Hooks::CONTROL
            }
            Phase::Over => Hooks::NONE,
        }
    }

    fn block(&mut self, cpu: &mut Cpu, block: &Block<'_>) {
        self.close(cpu);
        self.enter(cpu, block);
    }

    fn instruction(&mut self, cpu: &mut Cpu, instruction: &Instruction<'_>) -> Flow {
        self.close(cpu);
        if !self.plain && !self.wanted(cpu, instruction) {
            return Flow::Go;
        }
        if !self.caught_up(cpu) {
            self.catch_up(cpu);
        }
        self.open(cpu, self.block.first + instruction.index as u32);
        self.look = self.effects & bits::FIELDS != 0;
        self.cpus[self.current].state.count += 1;
        Flow::Go
    }

    fn memory(&mut self, cpu: &mut Cpu, seen: &Memory) {
        if self.open == CLOSED {
            return;
        }
        let page = match seen.target {
            Target::Frame(frame) => self.physical(cpu, frame),
            Target::Bus(physical) => physical & !0xfff | access::BUS,
        };
        let write = if seen.kind == Kind::Write { access::WRITE } else { 0 };
        self.words.extend([seen.linear, seen.value, page | write | u64::from(seen.size)]);
        self.accesses += 1;
    }

    fn port(&mut self, cpu: &mut Cpu, seen: &Port) {
        if self.phase == Phase::Waiting && seen.kind == Kind::Write {
            if self.filter.start == Some(Trigger::Port(seen.port)) {
                self.begin(cpu);
            }
            return;
        }
        if self.open != CLOSED {
            let write = u64::from(seen.kind == Kind::Write);
            self.within.push((
                event::PORT,
                [seen.port.into(), seen.size.into(), write, seen.value.into()],
                4,
            ));
        }
        if seen.kind == Kind::Write && self.filter.stop == Some(Trigger::Port(seen.port)) {
            self.end(cpu);
        }
    }

    fn event(&mut self, cpu: &mut Cpu, seen: &Event) {
        let faulted = self.open != CLOSED && self.open_rip == cpu.regs[RIP];
        self.close(cpu);
        if self.skipping || self.phase != Phase::On {
            return;
        }
        use emu_core::cpu::interrupt::Source as From;
        let source = match seen.source {
            From::External => 0,
            From::Exception => 1,
            From::Software | From::SoftwareException => 2,
            From::Privileged => 3,
        };
        let faulted = faulted && source == 1;
        if self.cpus.get(cpu.number).is_none_or(|last| last.stale) || self.current != cpu.number {
            return;
        }
        if source != 2 && source != 3 {
            self.catch_up(cpu);
        }
        let code = seen.error.map_or(0, |error| u64::from(error) + 1);
        let address = if seen.vector == 14 { cpu.fault_address } else { 0 };
        let rip = cpu.regs[RIP];
        self.note(event::INTERRUPT, &[seen.vector.into(), source, code, rip, u64::from(faulted), address]);
        self.open(cpu, raw::DELIVERY);
        self.look = true;
    }

    fn control(&mut self, cpu: &mut Cpu, register: Control, value: u64) {
        let _ = cpu;
        if self.open == CLOSED {
            return;
        }
        let number = match register {
            Control::Cr(number) => u64::from(number),
            Control::Msr(number) => u64::from(number) + 16,
        };
        self.within.push((event::CONTROL, [number, value, 0, 0], 2));
        self.look = true;
    }

    fn leave(&mut self, cpu: &mut Cpu) {
        self.close(cpu);
    }
}
