//! Decoded blocks, kept per physical page (frame) and code mode.
//!
//! A block is a run of instructions within one page that ends with the first one that always leaves it. A forward
//! conditional jump, which mostly is not taken, does not end it. Memory is told which bytes were decoded; when
//! they are overwritten the whole page's blocks are dropped. In a page where that happens again and again only the
//! blocks are that were changed, and blocks are short there.
//!
//! The cache has so much room. When that is used up, pages go that nobody came to lately: only their blocks, which are
//! decoded again when they run again. Memory still knows that their bytes were decoded, since whatever else was made
//! of them (translated code) may stay.

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
/// Elements that a page's lists get room for at least when they need more.
const LEAST_ROOM: usize = 4;
/// Room of a cache in bytes, if nobody says otherwise: that of half a million instructions.
const ROOM: usize = 24 << 20;
/// To so much it grows at most: that of 20 MB of code.
const MOST_ROOM: usize = 256 << 20;
/// What is made free at once is one part of so many of the room.
const MAKES_FREE: usize = 8;
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

/// A decoded block: its bytes, its first instruction and its serial number.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: u16,
    to: u16,
    first: u16,
    serial: u32,
}

/// How often a frame's code has changed.
#[derive(Clone, Copy, Debug, Default)]
struct Changes {
    times: u8,
    streak: u8,
}

/// For each offset in a page: index of the first instruction of the block that starts there, plus one. In parts,
/// since much of a page is never run.
#[derive(Debug)]
struct Starts {
    /// Where in `firsts` each part is; 0 where no block starts.
    parts: [u8; PAGE_SIZE as usize / PART],
    /// The first one, if there is any, stands for parts without blocks.
    firsts: Vec<[u16; PART]>,
}

/// Offsets in a part.
const PART: usize = 32;

impl Default for Starts {
    fn default() -> Self {
        Self { parts: [0; PAGE_SIZE as usize / PART], firsts: Vec::new() }
    }
}

impl Starts {
    #[inline(always)]
    fn get(&self, offset: u64) -> Option<u16> {
        let part = *self.parts.get(offset as usize / PART)?;
        self.firsts.get(usize::from(part))?[offset as usize % PART].checked_sub(1)
    }

    fn set(&mut self, offset: usize, first: u16) {
        let part = &mut self.parts[offset / PART];
        if *part == 0 {
            let none = usize::from(self.firsts.is_empty());
            reserve(&mut self.firsts, 1 + none);
            self.firsts.resize(self.firsts.len() + 1 + none, [0; PART]);
            *part = self.firsts.len() as u8 - 1;
        }
        self.firsts[usize::from(*part)][offset % PART] = first + 1;
    }

    fn remove(&mut self, offset: u16) {
        let part = usize::from(self.parts[usize::from(offset) / PART]);
        if part != 0 {
            self.firsts[part][usize::from(offset) % PART] = 0;
        }
    }
}

/// Makes room for more elements. Doubling would leave a third of all memory for decoded code empty.
fn reserve<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact((list.len() / 4).max(LEAST_ROOM));
    }
}

/// The decoded instructions of one frame in one mode.
#[derive(Debug)]
pub struct CodePage {
    frame: FrameNumber,
    mode: CodeMode,
    starts: Starts,
    ops: Vec<Op>,
    /// In the order of their first instructions.
    spans: Vec<Span>,
    /// Somebody came to it since there was last need of room.
    used: bool,
    /// It had blocks that had to make room for others.
    gave_way: bool,
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
        let span = self.spans.binary_search_by_key(&first, |span| span.first);
        span.map_or(0, |at| self.spans[at].serial)
    }

    fn new(frame: FrameNumber, mode: CodeMode) -> Self {
        let starts = Starts::default();
        Self { frame, mode, starts, ops: Vec::new(), spans: Vec::new(), used: true, gave_way: false }
    }

    /// Forgets its blocks.
    fn forget(&mut self) {
        *self = Self::new(self.frame, self.mode);
    }

    /// Bytes of memory that its blocks take.
    fn bytes(&self) -> usize {
        self.ops.capacity() * size_of::<Op>()
            + self.spans.capacity() * size_of::<Span>()
            + self.starts.firsts.capacity() * size_of::<[u16; PART]>()
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
#[derive(Debug)]
pub struct CodeCache {
    /// By frame and mode: index into `pages`, plus one.
    index: Vec<u32>,
    pages: Vec<CodePage>,
    free: Vec<u32>,
    /// Bytes that the blocks of all pages take, and may take.
    bytes: usize,
    room: usize,
    /// The page whose turn it is to go.
    next: usize,
    /// Blocks that were decoded since there was last need of room, and those of them in pages that had given way.
    lately_decoded: [u32; 2],
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

impl Default for CodeCache {
    fn default() -> Self {
        Self::with_room(ROOM)
    }
}

impl CodeCache {
    /// A cache whose blocks take about so many bytes at most.
    pub fn with_room(room: usize) -> Self {
        Self {
            index: Vec::new(),
            pages: Vec::new(),
            free: Vec::new(),
            bytes: 0,
            room,
            next: 0,
            lately_decoded: [0; 2],
            changes: HashMap::new(),
            lately: Vec::new(),
            emptied: false,
            decoded: 0,
            dropped: 0,
        }
    }

    /// Gives it the room that a cache has which serves all of a machine's code.
    pub fn widen(&mut self) {
        self.room = self.room.max(ROOM);
    }

    /// The page of decoded code of `frame`, by number; made now if need be. Numbers stay good until the next
    /// [`invalidate`](Self::invalidate) or [`clear`](Self::clear).
    #[inline]
    pub fn page_of(&mut self, frame: FrameNumber, mode: CodeMode) -> u32 {
        let key = frame as usize * CodeMode::COUNT + mode.index();
        match self.index.get(key) {
            Some(&number) if number != 0 => {
                self.pages[number as usize - 1].used = true;
                number - 1
            }
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
        if self.bytes > self.room && !self.grow() {
            self.make_room();
        }
        let page = &mut self.pages[page as usize];
        self.bytes -= page.bytes();
        if page.ops.len() + MAX_BLOCK > usize::from(u16::MAX) {
            page.forget();
        }
        let done =
            decode_into(page, mem, offset, most_of(&mut self.changes, page.frame), self.decoded as u32 + 1);
        self.bytes += page.bytes();
        let again = page.gave_way;
        self.decoded += u64::from(done);
        self.lately_decoded[0] += 1;
        self.lately_decoded[1] += u32::from(again);
        done
    }

    /// Takes twice as much room when most of what is decoded had been decoded before: more code runs again and again
    /// than fits. False when it is enough.
    fn grow(&mut self) -> bool {
        let [all, again] = std::mem::take(&mut self.lately_decoded);
        let grows = again > all / 2 && self.room < MOST_ROOM;
        if grows {
            self.room = (2 * self.room).min(MOST_ROOM);
        }
        grows
    }

    #[cold]
    fn add_page(&mut self, key: usize, frame: FrameNumber, mode: CodeMode) -> u32 {
        grow_zeros(&mut self.index, key + CodeMode::COUNT);
        let fresh = CodePage::new(frame, mode);
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

    /// Forgets the blocks of pages that nobody came to lately, but keeps the pages' numbers. Those of frames whose code
    /// changes are kept if others can go: they say what a write changes.
    fn make_room(&mut self) {
        let enough = self.room - self.room / MAKES_FREE;
        let count = self.pages.len();
        for turn in 0..3 * count {
            if self.bytes <= enough {
                return;
            }
            self.next = (self.next + 1) % count;
            let page = &mut self.pages[self.next];
            let changes = turn < 2 * count && self.changes.contains_key(&page.frame);
            if !std::mem::take(&mut page.used) && !changes {
                self.bytes -= page.bytes();
                page.forget();
                (page.used, page.gave_way) = (false, true);
            }
        }
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
                self.bytes -= page.bytes();
                page.forget();
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
        (self.bytes, self.next) = (0, 0);
    }
}

/// Longest block to be decoded in a frame now.
fn most_of(changes: &mut HashMap<FrameNumber, Changes>, frame: FrameNumber) -> usize {
    match changes.get_mut(&frame) {
        Some(changes) => {
            changes.streak = 0;
            if changes.times < SELDOM { MAX_BLOCK } else { MAX_OFTEN }
        }
        None => MAX_BLOCK,
    }
}

/// Decodes the block at `offset` of a page, of `most` instructions at most. False when its first instruction leaves
/// the page.
fn decode_into(page: &mut CodePage, mem: &mut Memory, offset: usize, most: usize, serial: u32) -> bool {
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
        reserve(&mut page.ops, 1);
        page.ops.push(op);
        if last {
            break;
        }
    }
    let len = page.ops.len() - first;
    if len == 0 {
        return false;
    }
    mem.mark_code(page.frame, offset as u64, at as u64);
    page.ops[first].block = len as u8;
    page.ops[first].offset = offset as u16;
    page.starts.set(offset, first as u16);
    reserve(&mut page.spans, 1);
    page.spans.push(Span { from: offset as u16, to: (offset + at) as u16, first: first as u16, serial });
    true
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

    /// Memory whose 64 frames are full of one-byte blocks, and a cache with room for the blocks of a few.
    fn narrow() -> (Memory, CodeCache) {
        let mut mem = Memory::new(0x40000, 0).unwrap();
        mem.map(0, 0x40000, PhysPage::ram);
        mem.write_bytes(0, &[0xf4; 0x40000]);
        (mem, CodeCache::with_room(100_000))
    }

    /// Has the blocks of a frame decoded that are not; says how many these were.
    fn visit(cache: &mut CodeCache, mem: &mut Memory, frame: FrameNumber) -> u64 {
        let before = cache.decoded;
        let page = cache.page_of(frame, CodeMode::LONG);
        for offset in (0..4096).step_by(16) {
            if cache.page(page).first(offset).is_none() {
                assert!(cache.decode_block(mem, page, offset as usize));
            }
        }
        cache.decoded - before
    }

    #[test]
    fn pages_that_nobody_comes_to_make_room_for_others() {
        let (mut mem, mut cache) = narrow();
        for frame in 0..64 {
            assert_eq!(visit(&mut cache, &mut mem, frame), 256);
            assert!(cache.bytes < 120_000, "{} bytes", cache.bytes);
            assert_eq!(cache.bytes, cache.pages.iter().map(CodePage::bytes).sum::<usize>());
            // Frame 0 is come by again and again.
            let again = visit(&mut cache, &mut mem, 0);
            assert!(again == 0 || frame < 2, "{again} blocks again after frame {frame}");
        }
        assert_eq!(visit(&mut cache, &mut mem, 20), 256, "the blocks of a page that went are decoded again");
        assert!(!cache.has_dropped(), "nothing else is to be dropped for want of room");
        assert_ne!(mem.frame(21).code, 0, "writes to what was decoded are noticed whether or not it is kept");
        mem.write_bytes(0x15000, &[0x90]);
        cache.invalidate(&mut mem);
        assert_eq!(cache.take_dropped().map(|writes| writes[0].frame), Some(21));
    }

    #[test]
    fn frames_whose_code_changes_keep_their_blocks() {
        let (mut mem, mut cache) = narrow();
        visit(&mut cache, &mut mem, 1);
        mem.write_bytes(0x1000, &[0x90]);
        cache.invalidate(&mut mem);
        (1..64).for_each(|frame| _ = visit(&mut cache, &mut mem, frame));
        assert_eq!(visit(&mut cache, &mut mem, 1), 0);
        assert_eq!(visit(&mut cache, &mut mem, 2), 256);
    }

    #[test]
    fn a_watched_machine_gets_more_room() {
        let (mut mem, mut cache) = narrow();
        cache.widen();
        for _ in 0..2 {
            (0..64).for_each(|frame| _ = visit(&mut cache, &mut mem, frame));
        }
        assert_eq!(cache.decoded, 64 * 256);
    }

    #[test]
    fn code_that_runs_again_and_again_gets_more_room() {
        let (mut mem, mut cache) = narrow();
        (0..64).for_each(|frame| _ = visit(&mut cache, &mut mem, frame));
        assert_eq!(cache.room, 100_000, "what runs once needs no more");
        for _ in 0..6 {
            (0..64).for_each(|frame| _ = visit(&mut cache, &mut mem, frame));
        }
        assert!((400_000..2_000_000).contains(&cache.room), "{} bytes", cache.room);
        assert_eq!((0..64).map(|frame| visit(&mut cache, &mut mem, frame)).sum::<u64>(), 0);
    }

    #[test]
    fn blocks_are_found_by_their_first_bytes_and_have_serial_numbers() {
        let (mut mem, mut cache) = narrow();
        let page = cache.page_of(3, CodeMode::LONG);
        let offsets = [0x800, 0, 0xfff, 0x7ff, 0x81f, 0x820];
        for offset in offsets {
            assert!(cache.decode_block(&mut mem, page, offset));
        }
        let page = cache.page(page);
        let found = (0..5000).filter(|&offset| page.first(offset).is_some()).count();
        assert_eq!(found, offsets.len());
        for (serial, offset) in (1..).zip(offsets) {
            let first = page.first(offset as u64).unwrap();
            assert_eq!((page.block(first)[0].offset, page.serial(first)), (offset as u16, serial));
        }
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
