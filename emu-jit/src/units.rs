//! Translated blocks, by frame, offset and mode, and the jumps between them that are yet to be linked.

use std::collections::HashMap;

use emu_core::interp::op::Op;
use emu_core::mem::page::FrameNumber;

use crate::code_buffer::CodeBuffer;
use crate::mode::Mode;

/// What a block is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Offset of its first instruction in the page.
    pub offset: u16,
    /// The mode it was translated for.
    pub mode: Mode,
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
    /// What its calls out run.
    pub ops: Box<[Op]>,
}

/// A jump that left translated code for want of a target.
#[derive(Clone, Copy, Debug)]
struct Link {
    site: usize,
    frame: FrameNumber,
    to: Key,
}

/// All blocks. `None` where translating is not worth it.
#[derive(Debug, Default)]
pub struct Units {
    frames: HashMap<FrameNumber, HashMap<Key, Option<Unit>>>,
    links: Vec<Link>,
    /// Blocks translated so far.
    pub translated: u64,
    /// Frames dropped because their code was overwritten.
    pub dropped: u64,
}

impl Units {
    /// The block at a place; `None` when nobody tried yet, `Some(None)` when it is not worth it.
    pub fn get(&self, frame: FrameNumber, key: Key) -> Option<Option<&Unit>> {
        self.frames.get(&frame)?.get(&key).map(Option::as_ref)
    }

    /// Remembers a block, or that there is none.
    pub fn insert(&mut self, frame: FrameNumber, key: Key, unit: Option<Unit>) {
        self.translated += u64::from(unit.is_some());
        self.frames.entry(frame).or_default().insert(key, unit);
    }

    /// Number that the next link will get.
    pub fn next_link(&self) -> u64 {
        self.links.len() as u64
    }

    /// Remembers a jump to be linked.
    pub fn add_link(&mut self, site: usize, frame: FrameNumber, to: Key) {
        self.links.push(Link { site, frame, to });
    }

    /// Links jump `number`, which was just taken, if its target is translated now.
    pub fn link(&self, number: u64, code: &mut CodeBuffer) {
        if let Some(&Link { site, frame, to }) = self.links.get(number as usize)
            && let Some(Some(unit)) = self.get(frame, to)
        {
            code.link(site, unit.direct);
        }
    }

    /// Forgets the blocks of a frame. True when there were any.
    pub fn drop_frame(&mut self, frame: FrameNumber) -> bool {
        let had = self.frames.remove(&frame).is_some();
        self.dropped += u64::from(had);
        had
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.links.clear();
    }
}
