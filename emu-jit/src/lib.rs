//! The binary translator of emu: x86-64 host code from guest code.
//!
//! It is an engine like the interpreter and retires the same instructions with the same results. Cold code is the
//! interpreter's; what runs often is translated, block by block: the guest's own instructions, re-encoded with their
//! registers in host registers and their addresses looked up in the translation cache. Whatever has system meaning
//! calls the interpreter's handler.
//!
//! * [`analysis`], [`effects`], [`x87`], [`groups`] and [`loops`] say what is known about guest code, [`emit`] makes
//!   host code of it,
//! * [`frame`], [`thunks`] and [`mod@enter`] are the way in and out, [`exceptions`] one that the host's kernel takes,
//!   and [`code_buffer`] the memory it lies in,
//! * [`units`] and [`jumps`] find it again, and this file decides what runs next.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::useless_conversion)] // what dynasm! expands to

pub mod analysis;
pub mod code_buffer;
pub mod effects;
pub mod emit;
pub mod enter;
pub mod exceptions;
pub mod frame;
pub mod functions;
pub mod groups;
pub mod jumps;
pub mod loops;
pub mod mode;
pub mod pages;
pub mod thunks;
pub mod units;
pub mod x87;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use emu_core::cpu::{CS, Cpu, RIP};
use emu_core::decode::MAX_LENGTH;
use emu_core::engine::{Calls, Engine, Exit, Exits, Translation};
use emu_core::interp::op::Op;
use emu_core::interp::{Interpreter, fetch_frame, take_fault};
use emu_core::mem::PAGE_SIZE;
use emu_core::mem::page::FrameNumber;
use iced_x86::InstructionInfoFactory;

use analysis::{Guest, Request};
use code_buffer::CodeBuffer;
use emit::{Emitted, Plan};
use enter::enter;
use exceptions::Running;
use frame::Exchange;
use loops::Loop;
use mode::Mode;
use thunks::{AFTER_CALL, FIRST_LINK, Thunks};
use units::{Key, Place, Unit, Units};

/// Bytes of host code that are kept.
const CODE_SIZE: usize = 256 << 20;
/// More than any one block takes.
const MOST_CODE: usize = 64 << 10;
/// Bytes that a buffer must have: the longest block's and those of the thunks.
const LEAST_CODE: usize = MOST_CODE + (16 << 10);
/// Times that a place is come by before it is translated.
const HOT: u8 = 30;
/// Counters of how often places are come by.
const PLACES: usize = 1 << 18;

/// The translating engine; what is not translated is interpreted.
pub struct Translator {
    cold: Interpreter,
    code: CodeBuffer,
    thunks: Thunks,
    /// Bytes of the thunks.
    keep: usize,
    units: Units,
    heat: Box<[u16; PLACES]>,
    /// By number of processor.
    cpus: Vec<Exchange>,
    factory: InstructionInfoFactory,
    hot: u8,
    most: usize,
    /// Places in code that got a slot for their page.
    places: usize,
    /// Instructions that retired in translated code.
    retired: u64,
    entries: u64,
    exits: Exits,
    /// Host time spent translating.
    time: Duration,
    /// Where translated code is told of, for `perf`.
    map: Option<Box<dyn Write + Send>>,
}

impl std::fmt::Debug for Translator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Translator").field("code", &self.code.used()).finish_non_exhaustive()
    }
}

impl Translator {
    /// An engine with room for translated code.
    ///
    /// # Errors
    /// When the host refuses memory that can be executed.
    pub fn new() -> io::Result<Self> {
        Self::with_limits(HOT, analysis::MOST)
    }

    /// As [`new`](Self::new), but places are translated when they are come by `hot` times (1 to 255), in blocks of up
    /// to `most` instructions (1 to [`analysis::MOST`]). For tests: everything is translated at once with `hot` 1.
    ///
    /// # Errors
    /// When the host refuses memory that can be executed.
    pub fn with_limits(hot: u8, most: usize) -> io::Result<Self> {
        Self::with_room(hot, most, CODE_SIZE)
    }

    /// The same with room for `size` bytes of code, at least as much as the longest block and the fixed pieces take.
    ///
    /// # Errors
    /// When the host refuses memory that can be executed.
    pub fn with_room(hot: u8, most: usize, size: usize) -> io::Result<Self> {
        exceptions::install();
        let mut code = CodeBuffer::new(size.max(LEAST_CODE))?;
        let thunks = thunks::emit(&mut code, enter::callees(), is_x86_feature_detected!("avx"));
        Ok(Self {
            cold: Interpreter::default(),
            keep: code.used(),
            code,
            thunks,
            units: Units::default(),
            heat: vec![0; PLACES].into_boxed_slice().try_into().expect("the length is right"),
            cpus: Vec::new(),
            factory: InstructionInfoFactory::new(),
            hot,
            places: 0,
            retired: 0,
            entries: 0,
            exits: Exits::default(),
            time: Duration::ZERO,
            map: None,
            most: most.clamp(1, analysis::MOST),
        })
    }

    /// Writes to `map` where translated code lies, in the form that Linux `perf` reads from `/tmp/perf-PID.map`: a
    /// line with address, size (both hexadecimal) and name for each block, whose name is the linear address of its
    /// guest code.
    ///
    /// # Errors
    /// When `map` cannot be written now. Later on it is given up at the first failure.
    pub fn write_map(&mut self, mut map: Box<dyn Write + Send>) -> io::Result<()> {
        writeln!(map, "{:x} {:x} emu_thunks", self.code.next() - self.keep, self.keep)?;
        map.flush()?;
        self.map = Some(map);
        Ok(())
    }

    /// Forgets blocks whose code was overwritten, with the interpreter.
    fn drop_overwritten(&mut self) {
        if !self.cold.has_dropped() {
            return;
        }
        match self.cold.take_dropped() {
            Some(writes) => {
                let mut any = false;
                for write in writes {
                    any |= self.units.drop_written(write);
                }
                if any {
                    self.clear_jumps();
                }
            }
            None => self.forget(),
        }
    }

    fn clear_jumps(&mut self) {
        self.cpus.iter_mut().for_each(|exchange| exchange.contexts.clear());
    }

    /// Forgets all translated code.
    fn forget(&mut self) {
        self.units.clear();
        self.clear_jumps();
        self.code.truncate(self.keep);
    }

    /// Host code for the place where `cpu` is, if it is worth running.
    #[inline]
    fn ready(&mut self, cpu: &mut Cpu) -> Option<usize> {
        if !cpu.runs_translated() {
            return None;
        }
        let mode = Mode::of(cpu);
        let exchange = &mut self.cpus[cpu.number];
        if let Some(code) = exchange.go_on(cpu, mode) {
            return Some(code);
        }
        self.find(cpu, mode, false)
    }

    /// The same, by way of the page and the heat of the place.
    fn find(&mut self, cpu: &mut Cpu, mode: Mode, careful: bool) -> Option<usize> {
        let rip = cpu.regs[RIP];
        let linear = cpu.seg[CS].base.wrapping_add(rip) & cpu.linear_mask;
        if mode.size() == 64 && near_the_gap(linear) {
            return None;
        }
        // The interpreter looks for break-points.
        if cpu.must_step(linear) {
            return None;
        }
        let serial = cpu.tlb.fetches(cpu.cpl == 3).serial();
        // A fault is the interpreter's to raise.
        let frame = fetch_frame(cpu, linear).ok()??;
        if cpu.must_step_frame(frame) {
            return None;
        }
        let offset = (linear % PAGE_SIZE) as u16;
        let key = Key { offset, mode, careful };
        let (len, code) = match self.units.get(frame, key) {
            Some(Place::Unit(unit)) => (unit.len, unit.indirect),
            _ => self.make(cpu, frame, key, linear)?,
        };
        if cpu.attention != 0 || cpu.tlb.fetches(cpu.cpl == 3).serial() != serial {
            return None;
        }
        if u64::from(len - 1).wrapping_add(rip) > cpu.fetch_limit {
            return None;
        }
        let exchange = &mut self.cpus[cpu.number];
        exchange.frame.page = rip.wrapping_sub(u64::from(offset));
        if !careful {
            exchange.remember(rip, code);
        }
        Some(code)
    }

    /// Bytes and host code of a place that is not known yet, once it is come by often enough, or that lies in two
    /// pages.
    fn make(&mut self, cpu: &mut Cpu, frame: FrameNumber, key: Key, linear: u64) -> Option<(u16, usize)> {
        if self.units.get(frame, key).is_none() {
            let heat = &mut self.heat[heat_of(frame, key)];
            *heat = heat.saturating_add(1);
            if *heat < self.hot.into() || *heat < u16::from(self.hot) << self.units.patience(frame) {
                return None;
            }
            *heat = 0;
            let began = Instant::now();
            self.translate(cpu, frame, key, linear);
            self.time += began.elapsed();
        }
        if let Some(Place::Crossing(known)) = self.units.get(frame, key) {
            let beyond = frame_beyond(cpu, linear, known)?;
            if known.iter().all(|(other, _)| *other != beyond) {
                let began = Instant::now();
                self.translate_crossing(cpu, frame, key, linear, beyond);
                self.time += began.elapsed();
            }
        }
        let unit = match self.units.get(frame, key)? {
            Place::Unit(unit) => unit,
            Place::Crossing(known) => {
                let beyond = frame_beyond(cpu, linear, known)?;
                known.iter().find(|(other, _)| *other == beyond)?.1.as_ref()?
            }
        };
        Some((unit.len, unit.indirect))
    }

    #[cold]
    fn translate(&mut self, cpu: &mut Cpu, frame: FrameNumber, key: Key, linear: u64) {
        if !self.code.has_room(MOST_CODE) {
            self.forget();
        }
        let (offset, features) = (usize::from(key.offset), cpu.model.features);
        let mem = &mut cpu.system_mut().mem;
        let mut bytes = [0; PAGE_SIZE as usize];
        mem.ram().read_slice(mem.host_of(frame), &mut bytes);
        let (units, most) = (&self.units, self.most);
        let hot = |offset| units.get(frame, Key { offset, ..key }).is_some();
        let request = Request { offset, mode: key.mode, features, most, merge: key.merges() };
        let block = analysis::block(&bytes, request, hot, &mut self.factory);
        let Some(last) = block.last() else {
            self.units.start_crossing(frame, key);
            return;
        };
        let at_end = offset + usize::from(last.op.end) + MAX_LENGTH > PAGE_SIZE as usize;
        if at_end && !last.ends() && key.merges() && self.translate_loop_across(cpu, frame, key, linear) {
            return;
        }
        let mem = &mut cpu.system_mut().mem;
        mem.mark_code(frame, offset as u64, last.op.end.into());
        cpu.note_memory_changes();
        let unit = self.emit(block, frame, key, linear, key.merges());
        self.units.insert(frame, key, unit);
    }

    /// Translates the loop that begins at a place and goes on in the next page, if there is one and the processor has
    /// been in that page. Else it had better not be looked at: that would show in the page tables.
    fn translate_loop_across(&mut self, cpu: &mut Cpu, frame: FrameNumber, key: Key, linear: u64) -> bool {
        /// Bytes of the next page that are looked at.
        const AHEAD: usize = 512;
        let Some(beyond) = known_beyond(cpu, linear) else { return false };
        let (offset, features) = (usize::from(key.offset), cpu.model.features);
        let mem = &mut cpu.system_mut().mem;
        let mut bytes = [0; PAGE_SIZE as usize + AHEAD];
        let (first, second) = bytes.split_at_mut(PAGE_SIZE as usize);
        mem.ram().read_slice(mem.host_of(frame), first);
        mem.ram().read_slice(mem.host_of(beyond), second);
        let request = Request { offset, mode: key.mode, features, most: self.most, merge: true };
        let block = analysis::block(&bytes, request, |_| false, &mut self.factory);
        let end = block.last().map_or(0, |last| u64::from(last.op.end));
        let room = PAGE_SIZE - offset as u64;
        if end <= room || Loop::of(&block, key.mode, key.offset).is_none() {
            return false;
        }
        mem.mark_code(frame, offset as u64, room);
        mem.mark_code(beyond, 0, end - room);
        cpu.note_memory_changes();
        let unit = self.emit(block, frame, key, linear, true);
        self.units.insert_crossing(frame, key, beyond, Some(unit));
        true
    }

    /// Translates an instruction that ends in the frame `beyond`.
    #[cold]
    fn translate_crossing(
        &mut self,
        cpu: &mut Cpu,
        frame: FrameNumber,
        key: Key,
        linear: u64,
        beyond: FrameNumber,
    ) {
        if !self.code.has_room(MOST_CODE) {
            self.forget();
        }
        let (offset, features) = (usize::from(key.offset), cpu.model.features);
        let mem = &mut cpu.system_mut().mem;
        let mut bytes = [0; PAGE_SIZE as usize + MAX_LENGTH];
        let (first, second) = bytes.split_at_mut(PAGE_SIZE as usize);
        mem.ram().read_slice(mem.host_of(frame), first);
        mem.ram().read_slice(mem.host_of(beyond), second);
        let request = Request { offset, mode: key.mode, features, most: 1, merge: false };
        let block = analysis::block(&bytes, request, |_| false, &mut self.factory);
        let unit = match block.last() {
            Some(only) => {
                let len = u64::from(only.op.end);
                let room = PAGE_SIZE - offset as u64;
                mem.mark_code(frame, offset as u64, room);
                mem.mark_code(beyond, 0, len.saturating_sub(room).max(1));
                cpu.note_memory_changes();
                Some(self.emit(block, frame, key, linear, false))
            }
            None => None,
        };
        self.units.insert_crossing(frame, key, beyond, unit);
    }

    /// Makes host code of a block.
    fn emit(
        &mut self,
        mut block: Vec<Guest>,
        frame: FrameNumber,
        key: Key,
        linear: u64,
        merge: bool,
    ) -> Unit {
        let first_link = FIRST_LINK + self.units.next_link();
        let mut emitted = loop {
            let fast = if merge { Loop::of(&block, key.mode, key.offset) } else { None };
            let plan = Plan {
                fast: fast.as_ref(),
                mode: key.mode,
                offset: key.offset,
                thunks: &self.thunks,
                base: self.code.next(),
                first_link,
                places: self.places,
            };
            match emit::emit(&block, plan, &mut self.factory) {
                Ok(emitted) => break emitted,
                Err(failed) => analysis::demote(&mut block, failed.index, key.mode, merge),
            }
        };
        self.places = emitted.places;
        let called = called(&block, &mut emitted);
        let start = self.code.range().start;
        let at = self.code.push(&emitted.code);
        if let Some(map) = &mut self.map
            && writeln!(map, "{at:x} {:x} guest_{linear:x}", emitted.code.len()).is_err()
        {
            self.map = None;
        }
        for link in &emitted.links {
            let to = Key { offset: link.target, mode: key.mode, careful: link.careful };
            self.units.add_link(at - start + link.at, at - start + link.leave, frame, to);
        }
        Unit {
            indirect: at + emitted.indirect,
            direct: at + emitted.direct,
            len: block[block.len() - 1].op.end,
            single: block.len() == 1,
            called,
        }
    }

    /// Runs translated code. `Some` when the run must stop.
    fn run_code(&mut self, cpu: &mut Cpu, code: usize) -> Option<Exit> {
        let before = cpu.retired;
        let exchange = &mut self.cpus[cpu.number];
        let remaining = (cpu.deadline - cpu.retired) as i64;
        // The entry by way of the jump cache works out the page from RIP.
        let token = enter(exchange, cpu, self.thunks.enter, code, remaining);
        self.entries += 1;
        if token == AFTER_CALL {
            self.exits.handler += 1;
            self.retired += cpu.retired - before;
            let fault = exchange.fault.take()?;
            return take_fault(cpu, fault);
        }
        cpu.retired = cpu.deadline.wrapping_sub(exchange.remaining as u64);
        self.retired += cpu.retired - before;
        if token >= FIRST_LINK {
            self.exits.unlinked += 1;
            if self.units.link(token - FIRST_LINK, self.thunks.by_cache, &mut self.code) {
                return self.go_carefully(cpu);
            }
        } else if cpu.retired == before {
            // The block does not fit in before the deadline.
            self.exits.no_room += 1;
            return self.cold.step(cpu);
        } else {
            self.exits.unknown += 1;
        }
        None
    }
}

impl Translator {
    /// Goes on at an instruction whose group of memory accesses could not be checked at once. The block there has to be
    /// a careful one: an ordinary one would fail in the same way.
    #[cold]
    fn go_carefully(&mut self, cpu: &mut Cpu) -> Option<Exit> {
        // A loop may have come to the deadline with its last round.
        if cpu.retired >= cpu.deadline {
            return None;
        }
        match self.find(cpu, Mode::of(cpu), true) {
            Some(code) => self.run_code(cpu, code),
            None if cpu.attention != 0 => None,
            None => self.cold.step(cpu),
        }
    }
}

/// The instructions whose handlers a block calls, with their addresses put into its code. They are at most half of
/// all.
fn called(block: &[Guest], emitted: &mut Emitted) -> Box<[Op]> {
    let mut numbers: Vec<usize> = emitted.calls.iter().map(|call| call.index).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let ops: Box<[Op]> = numbers.iter().map(|&number| block[number].op.clone()).collect();
    for call in &emitted.calls {
        let op = &raw const ops[numbers.partition_point(|&number| number < call.index)] as u64;
        emitted.code[call.at..call.at + 8].copy_from_slice(&op.to_le_bytes());
    }
    ops
}

/// Which counter says how often a place was come by. Those of places that lie together do so, too.
fn heat_of(frame: FrameNumber, key: Key) -> usize {
    /// Places at so few bytes from each other share one.
    const BYTES: usize = 4;
    let page = (frame as usize).wrapping_mul(0x9e37_79b1) ^ usize::from(key.careful);
    page.wrapping_add(usize::from(key.offset) / BYTES) % PLACES
}

/// The frame of the page after that of `linear`, if the processor has fetched from it lately.
fn known_beyond(cpu: &Cpu, linear: u64) -> Option<FrameNumber> {
    let next = (linear | (PAGE_SIZE - 1)).wrapping_add(1) & cpu.linear_mask;
    let physical = cpu.tlb.fetches(cpu.cpl == 3).find(next)?;
    let mem = &cpu.system().mem;
    mem.code_page(mem.gate_a20(physical)).read_frame()
}

/// The same for a place that goes on there. A single instruction is fetched from both pages in any case.
fn frame_beyond(
    cpu: &mut Cpu,
    linear: u64,
    known: &[(FrameNumber, Option<units::Unit>)],
) -> Option<FrameNumber> {
    let single = known.iter().all(|(_, unit)| unit.as_ref().is_none_or(|unit| unit.single));
    match known_beyond(cpu, linear) {
        None if single => {
            let next = (linear | (PAGE_SIZE - 1)).wrapping_add(1) & cpu.linear_mask;
            fetch_frame(cpu, next).ok()?
        }
        found => found,
    }
}

/// May a near jump from here reach an address that is not canonical? There the interpreter checks each.
fn near_the_gap(linear: u64) -> bool {
    const REACH: u64 = 1 << 33;
    [47, 56].iter().any(|&bit| {
        let low = 1u64 << bit;
        linear.wrapping_sub(low - REACH) < REACH || linear.wrapping_add(low).wrapping_add(REACH) < 2 * REACH
    })
}

impl Engine for Translator {
    fn name(&self) -> &'static str {
        "jit"
    }

    fn run(&mut self, cpu: &mut Cpu, until: u64) -> Exit {
        self.cold.begin(cpu);
        let _running = Running::new(self.code.range());
        while self.cpus.len() <= cpu.number {
            self.cpus.push(Exchange::new(self.thunks.no_target));
        }
        loop {
            if (cpu.attention != 0 || cpu.retired >= cpu.deadline)
                && let Some(exit) = self.cold.attend(cpu, until)
            {
                return exit;
            }
            self.drop_overwritten();
            let code = if cpu.attention == 0 && !cpu.observed() { self.ready(cpu) } else { None };
            let exit = match code {
                _ if cpu.observed() => self.cold.step_observed(cpu),
                Some(code) => self.run_code(cpu, code),
                // Translating may have changed what is to be looked at.
                None if cpu.attention & !emu_core::cpu::attention::TRAP != 0 => None,
                None => self.cold.step(cpu),
            };
            if exit.is_some() {
                return exit.unwrap_or(Exit::Limit);
            }
        }
    }

    fn clear(&mut self, cpu: &mut Cpu) {
        self.cold.clear(cpu);
        self.forget();
    }

    fn counters(&self) -> (u64, u64) {
        let (blocks, dropped) = self.cold.counters();
        (blocks + self.units.translated, dropped)
    }

    fn translation(&self) -> Option<Translation> {
        let mut calls = Calls::default();
        for exchange in &self.cpus {
            calls.same_block += exchange.calls.same_block;
            calls.next_block += exchange.calls.next_block;
            calls.left += exchange.calls.left;
        }
        Some(Translation {
            blocks: self.units.translated,
            code_bytes: self.code.used() as u64,
            time: self.time,
            instructions: self.retired,
            entries: self.entries,
            exits: self.exits,
            calls,
        })
    }
}
