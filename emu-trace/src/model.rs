//! What the writer and the reader of a trace know in common, and the one walk through a step that both take.
//!
//! [`Model::step`] guesses everything about an instruction from what came before. A [`Coder`] is asked whether each guess
//! is right: the one that writes compares and notes what was wrong, the one that reads gives back what was noted. So
//! there is one description of the format in code, and the reader follows the writer by construction.

use crate::op::{Action, Form, NONE, Source, forms};

/// Numbers of the columns of a chunk. docs/trace-format.md says what is in them.
pub mod column {
    #![allow(missing_docs)]
    pub const FLOW: usize = 0;
    pub const FLOW_IDS: usize = 1;
    pub const CODE: usize = 2;
    pub const SHAPE: usize = 3;
    pub const SHAPES: usize = 4;
    pub const REGISTERS: usize = 5;
    pub const REGISTER_VALUES: usize = 6;
    pub const FLAGS: usize = 7;
    pub const FLAGS_FULL: usize = 8;
    pub const ADDRESSES: usize = 9;
    pub const ADDRESS_VALUES: usize = 10;
    pub const PAGES: usize = 11;
    pub const PAGE_NUMBERS: usize = 12;
    pub const MEMORY: usize = 13;
    pub const MEMORY_VALUES: usize = 14;
    pub const EVENT: usize = 15;
    pub const EVENTS: usize = 16;
    pub const COUNT: usize = 17;
}

/// General registers.
pub const REGISTERS: usize = 16;
/// Number of RSP.
const RSP: usize = 4;

/// Registers beside the general ones, by number.
pub mod field {
    #![allow(missing_docs)]
    /// Selectors of ES, CS, SS, DS, FS, GS.
    pub const SELECTOR: usize = 0;
    /// Bases of the same.
    pub const BASE: usize = 6;
    pub const CODE_SIZE: usize = 12;
    pub const CPL: usize = 13;
    pub const CR0: usize = 14;
    pub const CR2: usize = 15;
    pub const CR3: usize = 16;
    pub const CR4: usize = 17;
    pub const EFER: usize = 18;
    pub const COUNT: usize = 19;
    /// Their names.
    pub const NAMES: [&str; COUNT] = [
        "es", "cs", "ss", "ds", "fs", "gs", "es.base", "cs.base", "ss.base", "ds.base", "fs.base", "gs.base",
        "code", "cpl", "cr0", "cr2", "cr3", "cr4", "efer",
    ];
}

/// One access to memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Linear address.
    pub linear: u64,
    /// Physical address.
    pub physical: u64,
    /// What was read or written.
    pub value: u64,
    /// Bytes, 1 to 8.
    pub size: u8,
    /// It was a write.
    pub write: bool,
    /// It went to a chip, or to nothing.
    pub bus: bool,
}

/// What one instruction did.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Number of the instruction in its chunk; [`DELIVERY`] for the delivery of an event.
    pub op: u32,
    /// Bit n: general register n changed.
    pub mask: u16,
    /// Their new values, where changed.
    pub regs: [u64; REGISTERS],
    /// EFLAGS afterwards.
    pub flags: u64,
    /// Its accesses to memory, in order.
    pub accesses: Vec<Access>,
}

/// The number that stands for the delivery of an interrupt or exception, in place of an instruction.
pub const DELIVERY: u32 = 0;

/// What happens between instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// One of [`event`].
    pub kind: u8,
    /// What the kind says.
    pub data: Vec<u64>,
}

/// Kinds of [`Event`].
pub mod event {
    /// Registers that changed without an instruction seen: bits (16: EFLAGS), then their values.
    pub const SYNC: u8 = 0;
    /// Fields: number and value of each.
    pub const FIELDS: u8 = 1;
    /// The count goes on by this much more than one for each instruction.
    pub const COUNT: u8 = 2;
    /// Another processor runs: its number.
    pub const CPU: u8 = 3;
    /// Delivery begins: vector, source, error code plus one or 0, RIP, whether an instruction faulted, CR2.
    pub const INTERRUPT: u8 = 4;
    /// A port: number, bytes, whether written, value.
    pub const PORT: u8 = 5;
    /// A control register or MSR was written: number (MSRs from 16 on), value.
    pub const CONTROL: u8 = 6;
    /// Instructions in between were not recorded.
    pub const GAP: u8 = 7;
    /// Vector and x87 registers changed, by the instruction before: number and words of each, see [`crate::wide`].
    pub const VECTOR: u8 = 8;
    /// The trace ends here: all that follows in the stream of steps.
    pub const END: u8 = 9;
}

/// Code, as it was when it first ran in its chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// Linear address.
    pub linear: u64,
    /// RIP.
    pub ip: u64,
    /// Physical address.
    pub physical: u64,
    /// 16, 32 or 64.
    pub code_size: u32,
    /// Length of each instruction.
    pub lengths: Vec<u8>,
    /// Their bytes.
    pub bytes: Vec<u8>,
}

/// Where guesses are confirmed or corrected. All methods take what is true (when writing) and return it.
pub trait Coder {
    /// It writes: what is true is known.
    const WRITES: bool;

    /// A flag that mostly is true.
    fn hit(&mut self, column: usize, actual: bool) -> bool;
    /// A small number.
    fn byte(&mut self, column: usize, actual: u8) -> u8;
    /// A number of any size, small ones preferred.
    fn number(&mut self, column: usize, actual: u64) -> u64;
    /// Code that is new in this chunk.
    fn definition(&mut self) -> Definition;
}

/// The registers of one processor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// General registers in encoding order.
    pub regs: [u64; REGISTERS],
    /// EFLAGS.
    pub flags: u64,
    /// See [`field`].
    pub fields: [u64; field::COUNT],
    /// Instructions retired before the next one.
    pub count: u64,
}

/// A guess at a value: which of several it was the last time, and what it was.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    code: u8,
    last: u64,
    delta: u64,
}

/// What is remembered of an instruction.
#[derive(Clone, Copy, Debug, Default)]
struct Memo {
    shape: u64,
    registers: [Slot; 2],
    addresses: [Slot; 2],
    values: [Slot; 2],
    flags: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct Word {
    /// Physical address, in units of 8 bytes, plus one.
    key: u64,
    value: u64,
    /// Which bytes are known.
    valid: u8,
}

const WORDS: usize = 1 << 16;
const PAGES: usize = 1 << 12;
const FLOWS: usize = 1 << 16;

/// What accesses have shown of memory.
#[derive(Debug)]
struct Shadow {
    words: Vec<Word>,
    /// Linear page, and physical page with a bit for the bus.
    pages: Vec<(u64, u64)>,
}

/// Everything that guesses are made from. It begins anew with each chunk.
#[derive(Debug)]
pub struct Model {
    /// State of each processor.
    pub cpus: Vec<State>,
    /// The one that runs.
    pub current: usize,
    /// Instructions of the chunk so far.
    pub forms: Vec<Form>,
    /// For each: number of its definition.
    pub of: Vec<u32>,
    /// Code of the chunk so far.
    pub definitions: Vec<Definition>,
    memos: Vec<Memo>,
    memory: Shadow,
    flows: Vec<u32>,
    last: u32,
    history: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self::new(Vec::new(), 0)
    }
}

const STATUS: [u32; 6] = [0, 2, 4, 6, 7, 11];

fn pack(flags: u64) -> u8 {
    STATUS.iter().enumerate().fold(0, |packed, (n, &bit)| packed | ((flags >> bit & 1) as u8) << n)
}

fn unpack(flags: u64, packed: u8) -> u64 {
    STATUS
        .iter()
        .enumerate()
        .fold(flags, |flags, (n, &bit)| flags & !(1 << bit) | u64::from(packed >> n & 1) << bit)
}

fn zigzag(value: u64) -> u64 {
    value << 1 ^ ((value as i64) >> 63) as u64
}

fn unzigzag(value: u64) -> u64 {
    value >> 1 ^ (value & 1).wrapping_neg()
}

fn mask_of(size: u8) -> u64 {
    if size >= 8 { u64::MAX } else { (1 << (8 * size)) - 1 }
}

/// A number in a form that is small when it is close to `base`.
fn relative<C: Coder>(coder: &mut C, column: usize, base: u64, actual: u64) -> u64 {
    unzigzag(coder.number(column, zigzag(actual.wrapping_sub(base)))).wrapping_add(base)
}

/// Says by one byte which of `candidates` it is: 0 for the one it was the last time here. 0xff: none, and its
/// difference from `base` follows.
#[inline]
fn choose<C: Coder>(
    coder: &mut C,
    columns: (usize, usize),
    slot: &mut Slot,
    count: u8,
    candidate: impl Fn(u8) -> Option<u64>,
    base: u64,
    actual: u64,
) -> u64 {
    let usual = if slot.code < count { candidate(slot.code) } else { None };
    let code = if !C::WRITES || usual == Some(actual) {
        0
    } else {
        (0..count).find(|&n| candidate(n) == Some(actual)).map_or(0xff, |n| n + 1)
    };
    let value = match coder.byte(columns.0, code) {
        0 => usual.unwrap_or_default(),
        0xff => relative(coder, columns.1, base, actual),
        n => {
            slot.code = n - 1;
            if n <= count { candidate(n - 1).unwrap_or_default() } else { 0 }
        }
    };
    slot.delta = value.wrapping_sub(slot.last);
    slot.last = value;
    value
}

impl Model {
    /// A model at the start of a chunk.
    pub fn new(cpus: Vec<State>, current: usize) -> Self {
        let delivery = Form {
            start: 0,
            length: 0,
            flags: true,
            leaves: true,
            address: None,
            pushes: 0,
            size: 8,
            high: 0,
            action: Action::Move,
            source: Source::Unknown,
            stored: Source::Unknown,
            next: 0,
        };
        Self {
            cpus,
            current,
            forms: vec![delivery],
            of: vec![0],
            definitions: vec![Definition::default()],
            memos: vec![Memo::default()],
            memory: Shadow { words: vec![Word::default(); WORDS], pages: vec![(u64::MAX, 0); PAGES] },
            flows: vec![0; FLOWS],
            last: DELIVERY,
            history: 0,
        }
    }

    /// Forgets everything but the processors' states: a new chunk begins.
    pub fn restart(&mut self) {
        self.forms.truncate(1);
        self.of.truncate(1);
        self.definitions.truncate(1);
        self.memos.clear();
        self.memos.push(Memo::default());
        self.memory.words.fill(Word::default());
        self.memory.pages.fill((u64::MAX, 0));
        self.flows.fill(0);
        (self.last, self.history) = (DELIVERY, 0);
    }

    /// The processor that runs.
    pub fn state(&mut self) -> &mut State {
        if self.cpus.len() <= self.current {
            self.cpus.resize(self.current + 1, State::default());
        }
        &mut self.cpus[self.current]
    }

    /// Takes code in; returns the number of its first instruction.
    pub fn define(&mut self, definition: Definition) -> u32 {
        let first = self.forms.len() as u32;
        let new = forms(&definition.bytes, &definition.lengths, definition.code_size, definition.ip);
        self.of.extend(std::iter::repeat_n(self.definitions.len() as u32, new.len()));
        self.memos.extend(new.iter().map(|_| Memo::default()));
        self.forms.extend(new);
        self.definitions.push(definition);
        first
    }

    fn flow_slot(&self) -> usize {
        let key = (u64::from(self.last) << 32 ^ self.history).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (key >> 48) as usize % FLOWS
    }

    fn flow<C: Coder>(&mut self, coder: &mut C, actual: u32) -> u32 {
        let leaves = self.forms[self.last as usize].leaves;
        let slot = self.flow_slot();
        let guess = if leaves { self.flows[slot] } else { self.last + 1 };
        let next = if coder.hit(column::FLOW, guess == actual) {
            guess
        } else {
            coder.number(column::FLOW_IDS, actual.into()) as u32
        };
        if next as usize >= self.forms.len() {
            let definition = coder.definition();
            self.define(definition);
        }
        // A damaged file may name what is not there.
        let next = next.min(self.forms.len() as u32 - 1);
        if leaves {
            self.flows[slot] = next;
            self.history = self.history << 7 ^ u64::from(next);
        }
        self.last = next;
        next
    }

    /// Codes one step; `step` holds it when writing, and afterwards in any case.
    pub fn step<C: Coder>(&mut self, coder: &mut C, step: &mut Step) {
        step.op = self.flow(coder, step.op);
        self.state();
        let (form, memo) = (&self.forms[step.op as usize], &mut self.memos[step.op as usize]);
        shape(coder, step, memo);
        let state = &mut self.cpus[self.current];
        let mut read = None;
        for n in 0..step.accesses.len() {
            let before = n.checked_sub(1).map(|n| step.accesses[n]);
            let slot = n.min(1);
            let access = &mut step.accesses[n];
            address(coder, access, state, form, &mut memo.addresses[slot], before);
            self.memory.page(coder, access);
            self.memory.value(coder, access, state, form, &mut memo.values[slot], read);
            if !access.write {
                read = Some(access.value);
            }
        }
        let mut slot = 0;
        for number in set_bits(step.mask) {
            let new = step.regs[number];
            step.regs[number] = register(coder, number, new, state, form, &mut memo.registers[slot], read);
            slot = 1;
        }
        let old = state.flags;
        step.flags = if form.flags { flags(coder, old, step.flags, &mut memo.flags) } else { old };
        for number in set_bits(step.mask) {
            state.regs[number] = step.regs[number];
        }
        state.flags = step.flags;
        if step.op != DELIVERY {
            state.count += 1;
        }
    }

    /// Codes whether something happens before the next step, and what; applies it.
    pub fn event<C: Coder>(&mut self, coder: &mut C, actual: Option<&Event>) -> Option<Event> {
        if coder.hit(column::EVENT, actual.is_none()) {
            return None;
        }
        let kind = coder.byte(column::EVENTS, actual.map_or(0, |event| event.kind));
        let length =
            coder.number(column::EVENTS, actual.map_or(0, |event| event.data.len() as u64)).min(1 << 10);
        let number = |n: u64| {
            coder.number(
                column::EVENTS,
                actual.and_then(|event| event.data.get(n as usize)).copied().unwrap_or(0),
            )
        };
        let event = Event { kind, data: (0..length).map(number).collect() };
        self.apply(&event);
        Some(event)
    }

    fn apply(&mut self, event: &Event) {
        match event.kind {
            event::SYNC => {
                let mut values = event.data.iter().copied();
                let mask = values.next().unwrap_or(0);
                let state = self.state();
                for number in 0..=REGISTERS {
                    if mask >> number & 1 != 0
                        && let Some(value) = values.next()
                    {
                        *state.regs.get_mut(number).unwrap_or(&mut state.flags) = value;
                    }
                }
            }
            event::FIELDS => {
                let state = self.state();
                for pair in event.data.chunks_exact(2) {
                    if let Some(field) = state.fields.get_mut(pair[0] as usize) {
                        *field = pair[1];
                    }
                }
            }
            event::COUNT => {
                let state = self.state();
                state.count = state.count.wrapping_add(event.data.first().copied().unwrap_or(0));
            }
            event::CPU => self.current = event.data.first().copied().unwrap_or(0).min(255) as usize,
            _ => {}
        }
    }
}

/// Which registers change, and how many accesses of what kind there are.
fn shape<C: Coder>(coder: &mut C, step: &mut Step, memo: &mut Memo) {
    const MANY: u64 = 15;
    let kind = |access: &Access| u64::from(access.size.wrapping_sub(1) & 7) | u64::from(access.write) << 3;
    let few = step.accesses.len() <= 8;
    let count = if few { step.accesses.len() as u64 } else { MANY };
    let mut shape = u64::from(step.mask) | count << 16;
    if few {
        for (n, access) in step.accesses.iter().enumerate() {
            shape |= kind(access) << (20 + 4 * n);
        }
    }
    if !coder.hit(column::SHAPE, shape == memo.shape) {
        memo.shape = coder.number(column::SHAPES, shape);
    }
    let shape = memo.shape;
    step.mask = shape as u16;
    let count = shape >> 16 & 15;
    let count = if count == MANY {
        coder.number(column::SHAPES, step.accesses.len() as u64).min(1 << 24) as usize
    } else {
        count.min(8) as usize
    };
    step.accesses.resize(count, Access::default());
    for (n, access) in step.accesses.iter_mut().enumerate() {
        let kind = if count > 8 {
            u64::from(coder.byte(column::SHAPES, kind(access) as u8))
        } else {
            shape >> (20 + 4 * n) & 15
        };
        (access.size, access.write) = ((kind & 7) as u8 + 1, kind & 8 != 0);
    }
}

/// The numbers of the registers in a mask.
pub(crate) fn set_bits(mut mask: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let number = (mask != 0).then(|| mask.trailing_zeros() as usize % REGISTERS)?;
        mask &= mask - 1;
        Some(number)
    })
}

impl Shadow {
    fn page<C: Coder>(&mut self, coder: &mut C, access: &mut Access) {
        let number = access.linear >> 12;
        let known = &mut self.pages[number as usize % PAGES];
        let actual = access.physical >> 12 << 1 | u64::from(access.bus);
        if !coder.hit(column::PAGES, *known == (number, actual)) {
            *known = (number, relative(coder, column::PAGE_NUMBERS, known.1, actual));
        }
        access.physical = known.1 >> 1 << 12 | access.linear & 0xfff;
        access.bus = known.1 & 1 != 0;
    }

    fn value<C: Coder>(
        &mut self,
        coder: &mut C,
        access: &mut Access,
        state: &State,
        form: &Form,
        slot: &mut Slot,
        read: Option<u64>,
    ) {
        let columns = (column::MEMORY, column::MEMORY_VALUES);
        let mask = mask_of(access.size);
        let known = self.known(access.physical, access.size);
        let base = known.unwrap_or(slot.last);
        let (last, delta, size) = (slot.last, slot.delta, access.size);
        access.value = if access.write {
            let candidate = |n| match n {
                0 => value_of(form.stored, state, form, read).map(|value| value & mask),
                1 => value_of(form.source, state, form, read)
                    .zip(read)
                    .map(|(source, old)| act(form.action, old, source, size) & mask),
                2 => read.map(|value| value & mask),
                3 => known,
                4 => Some(last & mask),
                5 => Some(last.wrapping_add(delta) & mask),
                6 => Some(0),
                7 => Some(state.flags & mask),
                n => state.regs.get(usize::from(n) - 8).map(|register| register & mask),
            };
            choose(coder, columns, slot, 8 + REGISTERS as u8, candidate, base, access.value)
        } else {
            let candidate = |n| match n {
                0 => known,
                1 => Some(last),
                2 => Some(last.wrapping_add(delta) & mask),
                _ => Some(0),
            };
            choose(coder, columns, slot, 4, candidate, base, access.value)
        };
        self.remember(access.physical, access.size, access.value);
    }

    /// What is known to lie in memory.
    #[inline]
    fn known(&self, physical: u64, size: u8) -> Option<u64> {
        let (at, shift) = (physical >> 3, physical & 7);
        let word = |at: u64| self.words[at as usize % WORDS];
        let low = word(at);
        let wanted = ((1u32 << size) - 1) << shift;
        if low.key != at + 1 || u32::from(low.valid) & wanted & 0xff != wanted & 0xff {
            return None;
        }
        let mut value = low.value >> (8 * shift);
        if wanted >> 8 != 0 {
            let high = word(at + 1);
            if high.key != at + 2 || u32::from(high.valid) & wanted >> 8 != wanted >> 8 {
                return None;
            }
            value |= high.value << (64 - 8 * shift);
        }
        Some(value & mask_of(size))
    }

    #[inline]
    fn remember(&mut self, physical: u64, size: u8, value: u64) {
        let (at, shift) = (physical >> 3, physical & 7);
        if shift + u64::from(size) > 8 {
            self.remember_two(physical, size, value);
            return;
        }
        let word = &mut self.words[at as usize % WORDS];
        if word.key != at + 1 {
            *word = Word { key: at + 1, value: 0, valid: 0 };
        }
        let mask = mask_of(size) << (8 * shift);
        word.value = word.value & !mask | value << (8 * shift) & mask;
        word.valid |= (((1u32 << size) - 1) << shift) as u8;
    }

    /// The same for bytes of two words.
    #[cold]
    fn remember_two(&mut self, physical: u64, size: u8, value: u64) {
        let (at, shift) = (physical >> 3, physical & 7);
        let bytes = ((1u32 << size) - 1) << shift;
        let bits = u128::from(mask_of(size)) << (8 * shift);
        let value = u128::from(value) << (8 * shift);
        for (n, half) in [0, 64].into_iter().enumerate() {
            let valid = (bytes >> (8 * n)) as u8;
            if valid == 0 {
                continue;
            }
            let key = at + n as u64;
            let word = &mut self.words[key as usize % WORDS];
            if word.key != key + 1 {
                *word = Word { key: key + 1, value: 0, valid: 0 };
            }
            word.value = word.value & !((bits >> half) as u64) | (value >> half) as u64;
            word.valid |= valid;
        }
    }
}

fn address<C: Coder>(
    coder: &mut C,
    access: &mut Access,
    state: &State,
    form: &Form,
    slot: &mut Slot,
    before: Option<Access>,
) {
    let rsp = state.regs[RSP];
    let stack = state.fields[field::BASE + 2];
    let near = before.map(|before| before.linear.wrapping_add(before.size.into()));
    let (last, delta) = (slot.last, slot.delta);
    let size = u64::from(access.size);
    let candidate = |n| match n {
        0 => form.address.map(|address| effective(state, &address).1),
        1 => Some(rsp.wrapping_sub(size).wrapping_add(stack)),
        2 => Some(rsp.wrapping_add(stack)),
        3 => near,
        4 => before.map(|before| before.linear.wrapping_sub(size)),
        5 => Some(last.wrapping_add(delta)),
        6 => Some(last),
        _ => before.map(|before| before.linear),
    };
    let base = near.unwrap_or(slot.last);
    let columns = (column::ADDRESSES, column::ADDRESS_VALUES);
    access.linear = choose(coder, columns, slot, 8, candidate, base, access.linear);
}

/// Offset and linear address of a memory operand.
pub fn effective(state: &State, address: &crate::op::Address) -> (u64, u64) {
    let register = |number: u8| if number == NONE { 0 } else { state.regs[usize::from(number & 15)] };
    let offset = register(address.base)
        .wrapping_add(register(address.index) << address.shift)
        .wrapping_add(address.displacement)
        & address.mask;
    let base =
        if address.segment == NONE { 0 } else { state.fields[field::BASE + usize::from(address.segment)] };
    (offset, base.wrapping_add(offset))
}

fn value_of(source: Source, state: &State, form: &Form, read: Option<u64>) -> Option<u64> {
    match source {
        Source::Unknown => None,
        Source::Register(number, size, high) => {
            Some(state.regs[usize::from(number & 15)] >> high & mask_of(size))
        }
        Source::Constant(value) => Some(value),
        Source::Memory(_) => read,
        Source::Address => form.address.map(|address| effective(state, &address).0),
    }
}

fn act(action: Action, old: u64, source: u64, size: u8) -> u64 {
    let bits = 8 * u32::from(size.clamp(1, 8));
    let count = source as u32 & if bits == 64 { 63 } else { 31 };
    let sign = |value: u64, bits: u32| ((value << (64 - bits)) as i64 >> (64 - bits)) as u64;
    match action {
        Action::Move => source,
        Action::Sign(from) => sign(source, 8 * u32::from(from.clamp(1, 8))),
        Action::Add => old.wrapping_add(source),
        Action::Sub => old.wrapping_sub(source),
        Action::And => old & source,
        Action::Or => old | source,
        Action::Xor => old ^ source,
        Action::Shl => old << count,
        Action::Shr => (old & mask_of(size)) >> count,
        Action::Sar => (sign(old, bits) as i64 >> count) as u64,
        Action::Mul => old.wrapping_mul(source),
        Action::Not => !old,
        Action::Neg => old.wrapping_neg(),
    }
}

/// A register with a value written to so many bytes of it.
fn fit(old: u64, value: u64, size: u8, high: u8) -> u64 {
    match size {
        4 => value & 0xffff_ffff,
        1 | 2 => {
            let mask = mask_of(size);
            old & !(mask << high) | (value & mask) << high
        }
        _ => value,
    }
}

fn register<C: Coder>(
    coder: &mut C,
    number: usize,
    actual: u64,
    state: &State,
    form: &Form,
    slot: &mut Slot,
    read: Option<u64>,
) -> u64 {
    let old = state.regs[number];
    let fit = |value: u64| fit(old, value, form.size, form.high);
    let (last, delta) = (slot.last, slot.delta);
    let candidate = |n| match n {
        0 => value_of(form.source, state, form, read)
            .map(|source| fit(act(form.action, old >> form.high, source, form.size))),
        1 => Some(old.wrapping_add(delta)),
        2 => Some(last),
        3 => read.map(fit),
        4 => read,
        5 => Some(0),
        n => state.regs.get(usize::from(n) - 6).copied(),
    };
    let columns = (column::REGISTERS, column::REGISTER_VALUES);
    let value = choose(coder, columns, slot, 6 + REGISTERS as u8, candidate, old, actual);
    // The usual difference is that of the register from itself before, not from the last time.
    slot.delta = value.wrapping_sub(old);
    value
}

fn flags<C: Coder>(coder: &mut C, old: u64, actual: u64, last: &mut u8) -> u64 {
    const FULL: u8 = 0x80;
    let packed = pack(actual);
    let code = if unpack(old, packed) == actual { packed ^ *last } else { FULL };
    match coder.byte(column::FLAGS, code) {
        FULL => {
            let flags = old ^ coder.number(column::FLAGS_FULL, actual ^ old);
            *last = pack(flags);
            flags
        }
        code => {
            *last ^= code & 0x3f;
            unpack(old, *last)
        }
    }
}
