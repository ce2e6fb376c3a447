//! Translated blocks, by frame, offset and mode, and the jumps between them that are yet to be linked.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use emu_core::decode::cache::grow_zeros;
use emu_core::interp::op::Op;
use emu_core::mem::CodeWrite;
use emu_core::mem::PAGE_SIZE;
use emu_core::mem::page::FrameNumber;

use crate::code_buffer::CodeBuffer;
use crate::mode::Mode;

/// What a block is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Offset of its first instruction in the page.
    pub offset: u16,
    /// The mode it was translated for.
    pub mode: Mode,
    /// Each of its memory accesses is checked by itself: it takes over where a check for several failed.
    pub careful: bool,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mode = u64::from(self.mode.word());
        state.write_u64(u64::from(self.offset) | mode << 16 | u64::from(self.careful) << 32);
    }
}

impl Key {
    /// May one check serve several memory accesses of the block?
    pub fn merges(self) -> bool {
        !self.careful && self.mode.is_linked()
    }
}

/// A translated block.
#[derive(Debug)]
pub struct Unit {
    /// Host address of the entry by way of the jump cache, with RIP in R13.
    pub indirect: usize,
    /// Host address of the entry from a block of the same page.
    pub direct: usize,
    /// Guest bytes.
    pub len: u16,
    /// It is one instruction.
    pub single: bool,
    /// What its calls out run, where the code expects it.
    pub called: Box<[Op]>,
}

/// Frames are told apart by how often their code changed up to so many doublings of the patience with them.
const MOST_PATIENCE: u8 = 6;
/// Frames whose changes are counted at most; beyond it counting begins anew.
const MOST_CHANGES: usize = 4096;
/// Links that there is room for at least when there is need of more.
const LEAST_LINKS: usize = 1024;

/// A jump that left translated code for want of a target. There are many: two in each block with a conditional jump.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// Offsets in the memory for code.
    site: u32,
    leave: u32,
    frame: FrameNumber,
    to: Key,
}

const _: () = assert!(size_of::<Link>() <= 20);

/// What is known about a place.
#[derive(Debug)]
pub enum Place {
    /// A block.
    Unit(Unit),
    /// One instruction, or a loop, that goes on in the next page: a block for each frame that was found there. It is
    /// entered by way of the jump cache only, which knows both pages.
    Crossing(Vec<(FrameNumber, Option<Unit>)>),
}

/// Hashes small numbers by one multiplication.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }
    fn write_u8(&mut self, n: u8) {
        self.write_u64(n.into());
    }
    fn write_u16(&mut self, n: u16) {
        self.write_u64(n.into());
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(n.into());
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(23) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A map whose keys are hashed so.
pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<Fold>>;

/// The places of each frame.
#[derive(Debug, Default)]
struct Frames {
    /// Numbers of their places by frame, plus one.
    numbers: Vec<u32>,
    places: Vec<Map<Key, Place>>,
}

impl Frames {
    fn get(&self, frame: FrameNumber) -> Option<&Map<Key, Place>> {
        let number = self.numbers.get(frame as usize)?.checked_sub(1)?;
        Some(&self.places[number as usize])
    }

    fn get_mut(&mut self, frame: FrameNumber) -> Option<&mut Map<Key, Place>> {
        let number = self.numbers.get(frame as usize)?.checked_sub(1)?;
        Some(&mut self.places[number as usize])
    }

    /// Those of a frame, none yet if it had none.
    fn of(&mut self, frame: FrameNumber) -> &mut Map<Key, Place> {
        let frame = frame as usize;
        grow_zeros(&mut self.numbers, frame + 1);
        if self.numbers[frame] == 0 {
            self.places.push(Map::default());
            self.numbers[frame] = self.places.len() as u32;
        }
        &mut self.places[self.numbers[frame] as usize - 1]
    }

    fn clear(&mut self) {
        self.numbers.clear();
        self.places.clear();
    }
}

/// All blocks.
#[derive(Debug, Default)]
pub struct Units {
    frames: Frames,
    /// Frames and offsets of instructions that end in a frame.
    ends: Map<FrameNumber, Vec<(FrameNumber, Key)>>,
    links: Vec<Link>,
    /// How often frames were dropped.
    changes: Map<FrameNumber, u8>,
    /// Blocks translated so far.
    pub translated: u64,
    /// Frames dropped because their code was overwritten.
    pub dropped: u64,
}

impl Units {
    /// What is known about a place; `None` when nobody tried yet.
    pub fn get(&self, frame: FrameNumber, key: Key) -> Option<&Place> {
        self.frames.get(frame)?.get(&key)
    }

    /// Remembers a block.
    pub fn insert(&mut self, frame: FrameNumber, key: Key, unit: Unit) {
        self.translated += 1;
        self.frames.of(frame).insert(key, Place::Unit(unit));
    }

    /// Remembers that the instruction at a place goes on in the next page.
    pub fn start_crossing(&mut self, frame: FrameNumber, key: Key) {
        self.frames.of(frame).insert(key, Place::Crossing(Vec::new()));
    }

    /// Remembers the block of an instruction that ends in the frame `beyond`.
    pub fn insert_crossing(&mut self, frame: FrameNumber, key: Key, beyond: FrameNumber, unit: Option<Unit>) {
        self.translated += u64::from(unit.is_some());
        self.ends.entry(beyond).or_default().push((frame, key));
        let place = self.frames.of(frame).entry(key).or_insert(Place::Crossing(Vec::new()));
        if let Place::Crossing(units) = place {
            units.push((beyond, unit));
        }
    }

    /// Number that the next link will get.
    pub fn next_link(&self) -> u64 {
        self.links.len() as u64
    }

    /// Remembers a jump to be linked, by the offsets of its operands in the memory for code.
    pub fn add_link(&mut self, site: usize, leave: usize, frame: FrameNumber, to: Key) {
        if self.links.len() == self.links.capacity() {
            // Doubling would leave more of it empty.
            self.links.reserve_exact((self.links.len() / 4).max(LEAST_LINKS));
        }
        self.links.push(Link { site: site as u32, leave: leave as u32, frame, to });
    }

    /// Links jump `number`, which was just taken, if its target is translated now; `by_cache` is the thunk that looks
    /// into the jump cache. Says whether it leads to a careful block.
    pub fn link(&self, number: u64, by_cache: usize, code: &mut CodeBuffer) -> bool {
        let Some(&Link { site, leave, frame, to }) = self.links.get(number as usize) else { return false };
        let start = code.range().start;
        match self.get(frame, to) {
            Some(Place::Unit(unit)) => code.link(start + site as usize, unit.direct),
            // Which block that is depends on the next page, too.
            Some(Place::Crossing(_)) => code.link(start + leave as usize, by_cache),
            None => {}
        }
        to.careful
    }

    /// Forgets the blocks of a frame whose code was overwritten, if translated code was. True when there were any.
    pub fn drop_written(&mut self, write: CodeWrite) -> bool {
        let CodeWrite { frame, from, to } = write;
        let hit = |(key, place): (&Key, &Place)| {
            let end = match place {
                Place::Unit(unit) => key.offset + unit.len,
                Place::Crossing(_) => PAGE_SIZE as u16,
            };
            key.offset < to && from < end
        };
        let here = self.frames.get(frame).is_some_and(|places| places.iter().any(hit));
        if !here && !self.ends.contains_key(&frame) {
            return false;
        }
        if let Some(places) = self.frames.get_mut(frame) {
            places.clear();
        }
        for (first, key) in self.ends.remove(&frame).unwrap_or_default() {
            if let Some(places) = self.frames.get_mut(first) {
                places.remove(&key);
            }
        }
        self.dropped += 1;
        if self.changes.len() == MOST_CHANGES {
            self.changes.clear();
        }
        let times = self.changes.entry(frame).or_default();
        *times = times.saturating_add(1);
        true
    }

    /// How many times to double the number of runs after which code of this frame is translated: it may change again.
    pub fn patience(&self, frame: FrameNumber) -> u8 {
        self.changes.get(&frame).map_or(0, |times| (times - 1).min(MOST_PATIENCE))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.ends.clear();
        self.links.clear();
    }
}
