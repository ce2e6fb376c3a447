//! Decoded blocks, kept per physical page (frame) and code mode.
//!
//! A block is a run of instructions within one page that ends with the first one that always leaves it. A forward
//! conditional jump, which mostly is not taken, does not end it. Memory is told which bytes were decoded; when
//! they are overwritten the whole page's blocks are dropped. In a page where that happens again and again only the
//! blocks are that were changed, and blocks are short there.

use std::collections::HashMap;

use super::{CodeMode, decode};
use crate::interp::op::{ENDS_BLOCK, MAY_JUMP, Op};
use crate::mem::CodeWrite;
use crate::mem::page::FrameNumber;
use crate::mem::{Memory, PAGE_SIZE};

/// Longest block in instructions.
const MAX_BLOCK: usize = 64;
/// A block of so many ends with its next conditional jump: what follows may never run.
const ENOUGH: usize = 16;
/// Room that a page's decoded instructions get at least when they need more.
const LEAST_ROOM: usize = 8;
/// Decoded instructions kept at most; beyond it everything is dropped and decoded again.
const MAX_OPS: usize = 1 << 20;
/// Dropped frames remembered for whoever asks; beyond it the answer is "all".
const MOST_LATELY: usize = 64;

/// Times that a frame's code is dropped whole before only what changed is.
const SELDOM: u8 = 2;
/// Longest block of a frame whose code changes often.
const MAX_OFTEN: usize = 8;
/// Changes one after the other, with no block decoded between, after which a frame is taken to hold other things now.
const MAX_STREAK: u8 = 8;
/// Frames whose changes are counted at most; beyond it counting begins anew.
const MOST_CHANGES: usize = 4096;
/// The offset of a block that was dropped.
const DROPPED: u16 = u16::MAX;

/// A decoded block: its bytes and its first instruction.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: u16,
    to: u16,
    first: u16,
}

/// How often a frame's code has changed.
#[derive(Clone, Copy, Debug, Default)]
struct Changes {
    times: u8,
    streak: u8,
}

/// For each offset in a page: index of the first instruction of the block that starts there, plus one. In parts,
/// since much of a page is never run.
#[derive(Debug, Default)]
struct Starts([Option<Box<[u16; PART]>>; PAGE_SIZE as usize / PART]);

/// Offsets in a part.
const PART: usize = 256;

impl Starts {
    #[inline(always)]
    fn get(&self, offset: u64) -> Option<u16> {
        self.0.get(offset as usize / PART)?.as_ref()?[offset as usize % PART].checked_sub(1)
    }

    fn set(&mut self, offset: usize, first: u16) {
        let part = self.0[offset / PART].get_or_insert_with(|| Box::new([0; PART]));
        part[offset % PART] = first + 1;
    }

    fn remove(&mut self, offset: u16) {
        if let Some(part) = &mut self.0[usize::from(offset) / PART] {
            part[usize::from(offset) % PART] = 0;
        }
    }
}

/// The decoded instructions of one frame in one mode.
#[derive(Debug)]
pub struct CodePage {
    frame: FrameNumber,
    mode: CodeMode,
    starts: Starts,
    ops: Vec<Op>,
    spans: Vec<Span>,
    /// For the first instruction of each block: the block's serial number.
    serials: Vec<u32>,
}

impl CodePage {
    /// Where the block at `offset` has its first instruction, if it is decoded.
    #[inline(always)]
    pub fn first(&self, offset: u64) -> Option<u16> {
        self.starts.get(offset)
    }

    /// The block whose first instruction is number `first`.
    #[inline(always)]
    pub fn block(&self, first: u16) -> &[Op] {
        let ops = &self.ops[usize::from(first)..];
        &ops[..usize::from(ops[0].block)]
    }

    /// The number of the first instruction of the block at `offset`, which runs after `op`.
    #[inline(always)]
    pub fn after(&self, op: &Op, offset: u64) -> Option<u16> {
        let link = op.link.get();
        if self.ops.get(usize::from(link)).is_some_and(|next| u64::from(next.offset) == offset) {
            return Some(link);
        }
        self.first(offset).inspect(|&first| op.link.set(first))
    }

    /// The frame that the page lies in.
    #[inline(always)]
    pub fn frame(&self) -> FrameNumber {
        self.frame
    }

    /// A number that no other block has had, for the block whose first instruction is number `first`.
    #[inline(always)]
    pub fn serial(&self, first: u16) -> u32 {
        self.serials[usize::from(first)]
    }

    fn forget(&mut self) {
        self.starts = Starts::default();
        self.ops = Vec::new();
        self.spans = Vec::new();
        self.serials = Vec::new();
    }

    /// Drops the blocks that have bytes between two offsets. True when there were any.
    fn drop_blocks(&mut self, from: u16, to: u16) -> bool {
        let before = self.spans.len();
        let Self { starts, ops, spans, .. } = self;
        spans.retain(|span| {
            let hit = span.from < to && from < span.to;
            if hit {
                ops[usize::from(span.first)].offset = DROPPED;
                starts.remove(span.from);
            }
            !hit
        });
        spans.len() < before
    }
}

/// The cache of decoded blocks. One serves all processors of a machine.
#[derive(Debug, Default)]
pub struct CodeCache {
    /// By frame and mode: index into `pages`, plus one.
    index: Vec<u32>,
    pages: Vec<CodePage>,
    free: Vec<u32>,
    total_ops: usize,
    changes: HashMap<FrameNumber, Changes>,
    /// Where blocks were dropped since somebody asked.
    lately: Vec<CodeWrite>,
    /// All blocks were dropped since somebody asked.
    emptied: bool,
    /// Blocks decoded so far, for statistics.
    pub decoded: u64,
    /// Times that blocks were dropped because they were overwritten, for statistics.
    pub dropped: u64,
}

impl CodeCache {
    /// The page of decoded code of `frame`, by number; made now if need be. Numbers stay good until the next
    /// [`invalidate`](Self::invalidate) or [`clear`](Self::clear).
    #[inline]
    pub fn page_of(&mut self, frame: FrameNumber, mode: CodeMode) -> u32 {
        let key = frame as usize * CodeMode::COUNT + mode.index();
        match self.index.get(key) {
            Some(&number) if number != 0 => number - 1,
            _ => self.add_page(key, frame, mode),
        }
    }

    /// The page of that number.
    #[inline(always)]
    pub fn page(&self, number: u32) -> &CodePage {
        &self.pages[number as usize]
    }

    /// Decodes the block at `offset` of a page. False when its first instruction leaves the page.
    #[cold]
    pub fn decode_block(&mut self, mem: &mut Memory, page: u32, offset: usize) -> bool {
        if self.total_ops > MAX_OPS {
            self.empty_pages(mem);
        }
        let page = &mut self.pages[page as usize];
        if page.ops.len() + MAX_BLOCK > usize::from(u16::MAX) {
            self.total_ops -= page.ops.len();
            page.forget();
        }
        let most = match self.changes.get_mut(&page.frame) {
            Some(changes) => {
                changes.streak = 0;
                if changes.times < SELDOM { MAX_BLOCK } else { MAX_OFTEN }
            }
            None => MAX_BLOCK,
        };
        let mut bytes = [0; MAX_BLOCK * super::MAX_LENGTH];
        let length = (most * super::MAX_LENGTH).min(PAGE_SIZE as usize - offset);
        let bytes = &mut bytes[..length];
        mem.ram().read_slice(mem.host_of(page.frame) + offset, bytes);
        let first = page.ops.len();
        let mut at = 0;
        while at < bytes.len() && page.ops.len() - first < most {
            let rest = &bytes[at..bytes.len().min(at + super::MAX_LENGTH)];
            let Ok(op) = decode(rest, page.mode, at as u16) else { break };
            at = usize::from(op.end);
            let enough = op.flags & MAY_JUMP != 0 && page.ops.len() - first >= ENOUGH;
            let last = enough || op.flags & ENDS_BLOCK != 0;
            if page.ops.len() == page.ops.capacity() {
                // Doubling would leave a third of all memory for decoded code empty.
                page.ops.reserve_exact((page.ops.len() / 4).max(LEAST_ROOM));
                page.serials.reserve_exact(page.ops.capacity() - page.serials.len());
            }
            page.ops.push(op);
            if last {
                break;
            }
        }
        let len = page.ops.len() - first;
        if len == 0 {
            return false;
        }
        self.decoded += 1;
        self.total_ops += len;
        mem.mark_code(page.frame, offset as u64, at as u64);
        page.ops[first].block = len as u8;
        page.ops[first].offset = offset as u16;
        page.starts.set(offset, first as u16);
        page.spans.push(Span { from: offset as u16, to: (offset + at) as u16, first: first as u16 });
        page.serials.resize(page.ops.len(), 0);
        page.serials[first] = self.decoded as u32;
        true
    }

    #[cold]
    fn add_page(&mut self, key: usize, frame: FrameNumber, mode: CodeMode) -> u32 {
        grow_zeros(&mut self.index, key + CodeMode::COUNT);
        let starts = Starts::default();
        let fresh = CodePage { frame, mode, starts, ops: Vec::new(), spans: Vec::new(), serials: Vec::new() };
        let number = match self.free.pop() {
            Some(number) => {
                self.pages[number as usize] = fresh;
                number
            }
            None => {
                self.pages.push(fresh);
                (self.pages.len() - 1) as u32
            }
        };
        self.index[key] = number + 1;
        number
    }

    /// Were any blocks dropped since the last call of [`take_dropped`](Self::take_dropped)?
    #[inline]
    pub fn has_dropped(&self) -> bool {
        self.emptied || !self.lately.is_empty()
    }

    /// Where blocks were dropped since the last call, `None` when all were.
    pub fn take_dropped(&mut self) -> Option<Vec<CodeWrite>> {
        let lately = std::mem::take(&mut self.lately);
        (!std::mem::take(&mut self.emptied)).then_some(lately)
    }

    /// Forgets all blocks but keeps the pages and their numbers.
    fn empty_pages(&mut self, mem: &mut Memory) {
        self.emptied = true;
        for page in &mut self.pages {
            page.forget();
            mem.clear_code(page.frame);
        }
        self.total_ops = 0;
    }

    /// Drops the blocks that were overwritten.
    pub fn invalidate(&mut self, mem: &mut Memory) {
        for write in mem.take_code_writes() {
            self.dropped += 1;
            if self.changes.len() == MOST_CHANGES {
                self.changes.clear();
            }
            let changes = self.changes.entry(write.frame).or_default();
            let whole = write.from == 0 && write.to == PAGE_SIZE as u16;
            let often = !whole && changes.times >= SELDOM && changes.streak < MAX_STREAK;
            if often && drop_blocks(&self.index, &mut self.pages, write) {
                changes.streak += 1;
                self.tell(write);
            } else {
                *changes = Changes { times: changes.times.saturating_add(1), streak: 0 };
                self.drop_frame(write.frame);
                mem.clear_code(write.frame);
                self.tell(CodeWrite { from: 0, to: PAGE_SIZE as u16, ..write });
            }
        }
    }

    fn tell(&mut self, write: CodeWrite) {
        if self.lately.len() < MOST_LATELY {
            self.lately.push(write);
        } else {
            self.emptied = true;
        }
    }

    fn drop_frame(&mut self, frame: FrameNumber) {
        for key in keys(frame) {
            let Some(slot) = self.index.get_mut(key) else { continue };
            let number = std::mem::take(slot);
            if number != 0 {
                let page = &mut self.pages[number as usize - 1];
                self.total_ops -= page.ops.len();
                page.ops = Vec::new();
                page.spans = Vec::new();
                page.serials = Vec::new();
                self.free.push(number - 1);
            }
        }
    }

    /// Drops everything.
    pub fn clear(&mut self, mem: &mut Memory) {
        self.emptied = true;
        for page in self.pages.drain(..) {
            mem.clear_code(page.frame);
        }
        self.index.clear();
        self.free.clear();
        self.total_ops = 0;
    }
}

/// Where the index has the pages of a frame.
fn keys(frame: FrameNumber) -> std::ops::Range<usize> {
    let first = frame as usize * CodeMode::COUNT;
    first..first + CodeMode::COUNT
}

/// Drops what a write changed, in all modes. False when there is no such block.
fn drop_blocks(index: &[u32], pages: &mut [CodePage], write: CodeWrite) -> bool {
    let numbers = keys(write.frame).filter_map(|key| index.get(key)?.checked_sub(1));
    numbers.fold(false, |any, number| pages[number as usize].drop_blocks(write.from, write.to) | any)
}

/// Makes a table of zeros so long at least. Firmware runs from the frame with the highest number, so a table by
/// frames has its full length from the first instruction on; what is not used of it is to cost neither time nor
/// memory.
pub fn grow_zeros(table: &mut Vec<u32>, length: usize) {
    if table.len() < length {
        // Such zeros are pages that the host has not touched yet; `resize` would write them.
        let mut longer = vec![0; length.max(2 * table.len())];
        longer[..table.len()].copy_from_slice(table);
        *table = longer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::page::PhysPage;

    fn memory(code: &[u8]) -> Memory {
        let mut mem = Memory::new(0x4000, 0).unwrap();
        mem.map(0, 0x4000, PhysPage::ram);
        mem.write_bytes(0x1000, code);
        mem
    }

    /// Instructions in the block at `offset` of frame 1, decoded if need be.
    fn block_len(cache: &mut CodeCache, mem: &mut Memory, offset: usize, size: u32) -> Option<usize> {
        let page = cache.page_of(1, CodeMode { size, flat: false, ..CodeMode::LONG });
        let decoded = cache.page(page).first(offset as u64).is_some();
        if !decoded && !cache.decode_block(mem, page, offset) {
            return None;
        }
        let page = cache.page(page);
        page.first(offset as u64).map(|first| page.block(first).len())
    }

    #[test]
    fn a_block_ends_with_its_jump_and_is_decoded_once() {
        // nop; jmp $; nop
        let mut mem = memory(&[0x90, 0xeb, 0xfe, 0x90]);
        let mut cache = CodeCache::default();
        assert_eq!(block_len(&mut cache, &mut mem, 0, 32), Some(2));
        assert_eq!(block_len(&mut cache, &mut mem, 0, 32), Some(2));
        assert_eq!(cache.decoded, 1);
        block_len(&mut cache, &mut mem, 0, 16);
        assert_eq!(cache.decoded, 2);
    }

    #[test]
    fn overwriting_code_drops_the_page() {
        let mut mem = memory(&[0x90, 0xeb, 0xfe]);
        let mut cache = CodeCache::default();
        block_len(&mut cache, &mut mem, 0, 32);
        mem.write_bytes(0x1000, &[0xf4]);
        cache.invalidate(&mut mem);
        assert_eq!(block_len(&mut cache, &mut mem, 0, 32), Some(1));
        assert_eq!(cache.dropped, 1);
    }

    #[test]
    fn where_code_changes_often_the_blocks_beside_it_stay() {
        // nop; jmp $ twice, and in between a byte that nobody decodes
        let mut mem = memory(&[0x90, 0xeb, 0xfe, 0, 0x90, 0xeb, 0xfe]);
        let mut cache = CodeCache::default();
        for round in 1..=20 {
            block_len(&mut cache, &mut mem, 0, 32);
            block_len(&mut cache, &mut mem, 4, 32);
            let before = cache.decoded;
            mem.write_bytes(0x1000, &[if round % 2 == 0 { 0x90 } else { 0x40 }, 0xeb, 0xfe, round]);
            cache.invalidate(&mut mem);
            assert_eq!(block_len(&mut cache, &mut mem, 0, 32), Some(2));
            block_len(&mut cache, &mut mem, 4, 32);
            let again = if round <= SELDOM { 2 } else { 1 };
            assert_eq!(cache.decoded - before, again, "round {round}");
        }
        assert_eq!(cache.dropped, 20);
    }

    #[test]
    fn a_frame_that_holds_data_now_is_left_alone_after_a_while() {
        let mut mem = memory(&[0x90; 4096]);
        let mut cache = CodeCache::default();
        for _ in 0..SELDOM {
            block_len(&mut cache, &mut mem, 0, 32);
            mem.write_bytes(0x1000, &[0x40]);
            mem.write_bytes(0x1000, &[0x90]);
            cache.invalidate(&mut mem);
        }
        for offset in 0..64 {
            block_len(&mut cache, &mut mem, offset * 16, 32);
        }
        for offset in 0..64 {
            mem.write_bytes(0x1000 + offset * 16, &[0xcc]);
            cache.invalidate(&mut mem);
        }
        assert_eq!(mem.frame(1).code, 0);
        assert!(cache.dropped < 16);
    }

    #[test]
    fn an_instruction_across_the_page_end_is_not_cached() {
        let mut mem = memory(&[]);
        mem.write_bytes(0x1ffe, &[0x90, 0xb8, 1, 0, 0, 0]);
        let mut cache = CodeCache::default();
        assert_eq!(block_len(&mut cache, &mut mem, 0xffe, 32), Some(1));
        assert_eq!(block_len(&mut cache, &mut mem, 0xfff, 32), None);
    }
}
