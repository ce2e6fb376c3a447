//! Decoded blocks, kept per physical page (frame) and code mode.
//!
//! A block is a run of instructions within one page that ends with the first one that always leaves it. A forward
//! conditional jump, which mostly is not taken, does not end it. Memory is told which bytes were decoded; when
//! they are overwritten the whole page's blocks are dropped. In a page where that happens again and again only the
//! blocks are that were changed, and blocks are short there.
//!
//! The cache has so much room. When that is used up, pages give way: only their blocks, which are decoded again when
//! they run again. Memory still knows that their bytes were decoded, since whatever else was made
//! of them (translated code) may stay. Where most of what is decoded was decoded before, the room is too small for what
//! the guest does and is made larger; it shrinks when there is no need any more.

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
/// Room of a cache in bytes at first: of Linux's boot, which decodes 75,000 blocks, 7,000 are decoded again.
const ROOM: usize = 8 << 20;
/// The most that it may become: some 20 MB of guest code that is met once.
const MOST_ROOM: usize = 256 << 20;
/// What is made free at once is one part of so many of the room.
const PARTS: usize = 8;
/// Blocks decoded after which the room may shrink that nobody needs.
const REVIEW: u32 = 8192;
/// Times that a page is spared, on average, while room is made.
const SPARED: usize = 4;
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
    /// It gave way once.
    gone: bool,
    /// Number of the page of the same frame in another mode, plus one; 0 for none.
    other: u32,
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
        let (starts, ops, spans) = (Starts::default(), Vec::new(), Vec::new());
        Self { frame, mode, starts, ops, spans, gone: false, other: 0 }
    }

    /// Forgets its blocks.
    fn forget(&mut self) {
        (self.starts, self.ops, self.spans) = (Starts::default(), Vec::new(), Vec::new());
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
    /// By frame: number of its first page, plus one.
    index: Vec<u32>,
    pages: Vec<CodePage>,
    free: Vec<u32>,
    /// Bytes that the blocks of all pages take, and may take.
    bytes: usize,
    room: usize,
    /// The least and the most room.
    rooms: [usize; 2],
    /// Blocks decoded since room was last made, and those of them that were decoded before they gave way.
    fresh: u32,
    again: u32,
    /// Most were, the last time.
    narrow: bool,
    /// Which page gives way next.
    chance: u32,
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
        Self::with_room(ROOM, MOST_ROOM)
    }
}

impl CodeCache {
    /// A cache whose blocks take about `least` bytes at most, and up to `most` where the guest needs them.
    pub fn with_room(least: usize, most: usize) -> Self {
        Self {
            index: Vec::new(),
            pages: Vec::new(),
            free: Vec::new(),
            bytes: 0,
            room: least,
            rooms: [least, most],
            fresh: 0,
            again: 0,
            narrow: false,
            chance: 0,
            changes: HashMap::new(),
            lately: Vec::new(),
            emptied: false,
            decoded: 0,
            dropped: 0,
        }
    }

    /// The page of decoded code of `frame`, by number; made now if need be. Numbers stay good until the next
    /// [`invalidate`](Self::invalidate) or [`clear`](Self::clear).
    #[inline]
    pub fn page_of(&mut self, frame: FrameNumber, mode: CodeMode) -> u32 {
        let mut known = self.index.get(frame as usize).map_or(0, |&number| number);
        while let Some(number) = known.checked_sub(1) {
            let page = &self.pages[number as usize];
            if page.mode == mode {
                return number;
            }
            known = page.other;
        }
        self.add_page(frame, mode)
    }

    /// The page of that number.
    #[inline(always)]
    pub fn page(&self, number: u32) -> &CodePage {
        &self.pages[number as usize]
    }

    /// Decodes the block at `offset` of a page. False when its first instruction leaves the page.
    #[cold]
    pub fn decode_block(&mut self, mem: &mut Memory, page: u32, offset: usize) -> bool {
        if self.bytes > self.room || self.fresh >= REVIEW {
            self.make_room();
        }
        let page = &mut self.pages[page as usize];
        self.bytes -= page.bytes();
        if page.ops.len() + MAX_BLOCK > usize::from(u16::MAX) {
            page.forget();
        }
        let most = most_of(&mut self.changes, page.frame);
        let decoded = decode_into(page, mem, offset, most, self.decoded as u32 + 1);
        self.bytes += page.bytes();
        let Some(known) = decoded else { return false };
        self.decoded += 1;
        self.fresh += 1;
        self.again += u32::from(known && page.gone);
        true
    }

    #[cold]
    fn add_page(&mut self, frame: FrameNumber, mode: CodeMode) -> u32 {
        grow_zeros(&mut self.index, frame as usize + 1);
        let mut fresh = CodePage::new(frame, mode);
        let first = &mut self.index[frame as usize];
        fresh.other = *first;
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
        *first = number + 1;
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

    /// Forgets blocks until there is room again, or makes the room larger: when it was too small twice in a row.
    ///
    /// Pages are taken by chance: of code that comes round and round and does not fit, some stays so, while nothing
    /// would if the oldest went. (To spare those that somebody came to lately was tried: Linux boots with as many blocks
    /// decoded again.) Frames whose code changes are spared: their blocks say what a write changes. Memory is not told
    /// and numbers stay.
    #[cold]
    fn make_room(&mut self) {
        let (fresh, again) = (std::mem::take(&mut self.fresh), std::mem::take(&mut self.again));
        let [least, most] = self.rooms;
        let narrow = again > fresh - fresh / 4;
        if std::mem::replace(&mut self.narrow, narrow) && narrow && self.room < most {
            self.room = (2 * self.room).min(most);
            return;
        }
        if again < fresh / PARTS as u32 {
            self.room = (self.room / 2).max(least);
        }
        let enough = self.room - self.room / PARTS;
        let count = self.pages.len();
        for turn in 0.. {
            if self.bytes <= enough {
                return;
            }
            // All numbers come, in an order that seems to have none.
            self.chance = self.chance.wrapping_mul(0x915f_77f5).wrapping_add(1);
            let page = &mut self.pages[((u64::from(self.chance) * count as u64) >> 32) as usize];
            if turn >= SPARED * count || !self.changes.contains_key(&page.frame) {
                self.bytes -= page.bytes();
                page.forget();
                page.gone = true;
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
        let mut known = self.index.get_mut(frame as usize).map_or(0, std::mem::take);
        while let Some(number) = known.checked_sub(1) {
            let page = &mut self.pages[number as usize];
            self.bytes -= page.bytes();
            page.forget();
            known = std::mem::take(&mut page.other);
            self.free.push(number);
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
        self.bytes = 0;
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

/// Decodes the block at `offset` of a page, of `most` instructions at most. Says whether its bytes were decoded before;
/// `None` when its first instruction leaves the page.
fn decode_into(
    page: &mut CodePage,
    mem: &mut Memory,
    offset: usize,
    most: usize,
    serial: u32,
) -> Option<bool> {
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
        return None;
    }
    let known = mem.mark_code(page.frame, offset as u64, at as u64);
    page.ops[first].block = len as u8;
    page.ops[first].offset = offset as u16;
    page.starts.set(offset, first as u16);
    reserve(&mut page.spans, 1);
    page.spans.push(Span { from: offset as u16, to: (offset + at) as u16, first: first as u16, serial });
    Some(known)
}

/// Drops what a write changed, in all modes. False when there is no such block.
fn drop_blocks(index: &[u32], pages: &mut [CodePage], write: CodeWrite) -> bool {
    let mut any = false;
    let mut known = index.get(write.frame as usize).map_or(0, |&number| number);
    while let Some(number) = known.checked_sub(1) {
        let page = &mut pages[number as usize];
        any |= page.drop_blocks(write.from, write.to);
        known = page.other;
    }
    any
}

/// Makes a table of zeros so long at least. Firmware runs from the frame with the highest number, so a table by
/// frames has its full length from the first instruction on; what is not used of it is to cost neither time nor
/// memory.
pub fn grow_zeros(table: &mut Vec<u32>, length: usize) {
    if table.len() < length {
        /// Entries in a page of the host.
        const PIECE: usize = 1024;
        // Such zeros are pages that the host has not touched yet; `resize` would write them.
        let mut longer = vec![0; length.max(2 * table.len())];
        let pieces = longer.chunks_mut(PIECE).zip(table.chunks(PIECE));
        pieces.filter(|(_, old)| old.iter().any(|&n| n != 0)).for_each(|(new, old)| {
            new[..old.len()].copy_from_slice(old);
        });
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

    /// Memory whose 128 frames are full of one-byte blocks, and a cache with room for the blocks of a few.
    fn narrow() -> (Memory, CodeCache) {
        let mut mem = Memory::new(0x80000, 0).unwrap();
        mem.map(0, 0x80000, PhysPage::ram);
        mem.write_bytes(0, &[0xf4; 0x80000]);
        (mem, CodeCache::with_room(100_000, 100_000))
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
    fn pages_make_room_for_others() {
        let (mut mem, mut cache) = narrow();
        for frame in 0..64 {
            assert_eq!(visit(&mut cache, &mut mem, frame), 256);
            assert!(cache.bytes < 125_000, "{} bytes", cache.bytes);
            assert_eq!(cache.bytes, cache.pages.iter().map(CodePage::bytes).sum::<usize>());
        }
        assert_eq!(cache.room, 100_000);
        let gone = (1..64).filter(|&frame| cache.pages[frame as usize].ops.is_empty()).count();
        assert!(gone > 40, "{gone} of 64 pages gave way");
        let frame = (1..64).find(|&frame| cache.pages[frame as usize].ops.is_empty()).unwrap();
        assert_ne!(
            mem.frame(frame).code,
            0,
            "writes to what was decoded are noticed whether or not it is kept"
        );
        assert_eq!(
            visit(&mut cache, &mut mem, frame),
            256,
            "the blocks of a page that went are decoded again"
        );
        assert!(!cache.has_dropped(), "nothing else is to be dropped for want of room");
        mem.write_bytes(u64::from(frame) << 12, &[0x90]);
        cache.invalidate(&mut mem);
        assert_eq!(cache.take_dropped().map(|writes| writes[0].frame), Some(frame));
    }

    #[test]
    fn of_code_that_comes_round_and_does_not_fit_some_stays() {
        let (mut mem, mut cache) = narrow();
        let round = |cache: &mut CodeCache, mem: &mut Memory| -> u64 {
            (0..6).map(|frame| visit(cache, mem, frame)).sum()
        };
        assert_eq!(round(&mut cache, &mut mem), 6 * 256);
        let again: u64 = (0..100).map(|_| round(&mut cache, &mut mem)).sum();
        let all = 100 * 6 * 256;
        assert!((all / 10..all / 4 * 3).contains(&again), "{again} of {all} blocks again");
    }

    #[test]
    fn where_much_is_decoded_again_there_is_more_room_while_it_lasts() {
        let (mut mem, _) = narrow();
        let mut cache = CodeCache::with_room(100_000, 10_000_000);
        let mut round = |cache: &mut CodeCache, frames: std::ops::Range<FrameNumber>| -> u64 {
            frames.map(|frame| visit(cache, &mut mem, frame)).sum()
        };
        let again: u64 = (0..20).map(|_| round(&mut cache, 0..32)).sum();
        assert!(again < 8 * 32 * 256, "{again} blocks in 20 rounds of {}", 32 * 256);
        assert_eq!(round(&mut cache, 0..32), 0, "it fits now");
        let room = cache.room;
        assert!(room < 2_000_000, "{room} bytes for 32 pages");
        round(&mut cache, 32..128);
        assert!(cache.room < room, "code that is new is no reason to keep as much");
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
    fn a_frame_has_blocks_in_several_modes() {
        let (mut mem, mut cache) = narrow();
        let modes = [16, 32, 64].map(|size| CodeMode { size, ..CodeMode::LONG });
        let pages = modes.map(|mode| cache.page_of(7, mode));
        assert!(pages.iter().all(|&page| cache.decode_block(&mut mem, page, 0)));
        assert_eq!(modes.map(|mode| cache.page_of(7, mode)), pages);
        mem.write_bytes(0x7000, &[0x90]);
        cache.invalidate(&mut mem);
        for mode in modes {
            let page = cache.page_of(7, mode);
            assert_eq!(cache.page(page).first(0), None);
        }
        assert_eq!(cache.pages.len(), 3);
    }

    #[test]
    fn a_table_that_grows_keeps_what_is_in_it() {
        let mut table = Vec::new();
        for n in 1..20 {
            grow_zeros(&mut table, n * 700);
            table[n * 700 - 1] = n as u32;
        }
        let filled: Vec<_> = table.iter().enumerate().filter(|(_, n)| **n != 0).collect();
        assert!(filled.iter().zip(1..).all(|(&(at, &n), m)| n == m && at == 700 * m as usize - 1));
        assert_eq!(filled.len(), 19);
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
