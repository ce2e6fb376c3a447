//! Decoded blocks, kept per physical page (frame) and code size.
//!
//! A block is a run of instructions within one page that ends with the first one that may leave it. Memory
//! is told which bytes were decoded; when they are overwritten the whole page's blocks are dropped.

use super::decode;
use crate::interp::op::{ENDS_BLOCK, Op};
use crate::mem::page::FrameNumber;
use crate::mem::{Memory, PAGE_SIZE};

/// Longest block in instructions.
const MAX_BLOCK: usize = 64;
/// Decoded instructions kept at most; beyond it everything is dropped and decoded again.
const MAX_OPS: usize = 1 << 20;

/// The decoded instructions of one frame in one code size.
#[derive(Debug)]
struct CodePage {
    frame: FrameNumber,
    /// For each offset: index of the block that starts there, plus one.
    starts: Box<[u16; PAGE_SIZE as usize]>,
    /// First instruction and number of instructions.
    blocks: Vec<(u32, u16)>,
    ops: Vec<Op>,
}

/// The cache of decoded blocks. One serves all processors of a machine.
#[derive(Debug, Default)]
pub struct CodeCache {
    /// By frame and code size: index into `pages`, plus one.
    index: Vec<u32>,
    pages: Vec<CodePage>,
    free: Vec<u32>,
    total_ops: usize,
    /// Blocks decoded so far, for statistics.
    pub decoded: u64,
    /// Pages dropped because their code was overwritten, for statistics.
    pub dropped: u64,
}

/// Row of a code size in the index.
fn size_index(code_size: u32) -> usize {
    code_size as usize / 32
}

impl CodeCache {
    /// The block at `offset` of `frame`, decoded now if need be. `None` when its first instruction leaves the page.
    #[inline]
    pub fn block(
        &mut self,
        mem: &mut Memory,
        frame: FrameNumber,
        offset: usize,
        code_size: u32,
    ) -> Option<&[Op]> {
        let key = frame as usize * 3 + size_index(code_size);
        if let Some(&page) = self.index.get(key)
            && page != 0
            && let Some(page) = self.pages.get(page as usize - 1)
        {
            let start = page.starts[offset & (PAGE_SIZE as usize - 1)];
            if start != 0 {
                let (first, len) = page.blocks[usize::from(start) - 1];
                // Borrowing twice keeps the fast path free of the decoder.
                let page = &self.pages[self.index[key] as usize - 1];
                return page.ops.get(first as usize..first as usize + usize::from(len));
            }
        }
        self.decode_block(mem, frame, offset, code_size)
    }

    #[cold]
    fn decode_block(
        &mut self,
        mem: &mut Memory,
        frame: FrameNumber,
        offset: usize,
        code_size: u32,
    ) -> Option<&[Op]> {
        let mut bytes = [0; PAGE_SIZE as usize];
        mem.ram().read_slice(mem.host_of(frame), &mut bytes);
        let mut ops = Vec::new();
        let mut at = offset;
        while at < bytes.len() && ops.len() < MAX_BLOCK {
            let Ok(op) =
                decode(&bytes[at..bytes.len().min(at + super::MAX_LENGTH)], code_size, (at - offset) as u16)
            else {
                break;
            };
            at = offset + usize::from(op.end);
            let ends = op.flags & ENDS_BLOCK != 0;
            ops.push(op);
            if ends {
                break;
            }
        }
        if ops.is_empty() {
            return None;
        }
        self.decoded += 1;
        mem.mark_code(frame, offset as u64, (at - offset) as u64);
        if self.total_ops + ops.len() > MAX_OPS {
            self.clear(mem);
            mem.mark_code(frame, offset as u64, (at - offset) as u64);
        }
        self.total_ops += ops.len();
        let page = self.page(frame, code_size);
        let (first, len) = (page.ops.len(), ops.len());
        page.ops.append(&mut ops);
        page.blocks.push((first as u32, len as u16));
        page.starts[offset] = page.blocks.len() as u16;
        Some(&page.ops[first..first + len])
    }

    fn page(&mut self, frame: FrameNumber, code_size: u32) -> &mut CodePage {
        let key = frame as usize * 3 + size_index(code_size);
        if self.index.len() <= key {
            self.index.resize(key + 3, 0);
        }
        if self.index[key] == 0 {
            let fresh = CodePage {
                frame,
                starts: Box::new([0; PAGE_SIZE as usize]),
                blocks: Vec::new(),
                ops: Vec::new(),
            };
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
        }
        let number = self.index[key] as usize - 1;
        &mut self.pages[number]
    }

    /// Drops the blocks of frames whose code was overwritten.
    pub fn invalidate(&mut self, mem: &mut Memory) {
        for frame in mem.take_code_writes() {
            self.dropped += 1;
            for key in frame as usize * 3..frame as usize * 3 + 3 {
                let Some(slot) = self.index.get_mut(key) else { continue };
                let number = std::mem::take(slot);
                if number != 0 {
                    let page = &mut self.pages[number as usize - 1];
                    debug_assert_eq!(page.frame, frame, "the index names a page of another frame");
                    self.total_ops -= page.ops.len();
                    page.blocks = Vec::new();
                    page.ops = Vec::new();
                    self.free.push(number - 1);
                }
            }
            mem.clear_code(frame);
        }
    }

    /// Drops everything.
    pub fn clear(&mut self, mem: &mut Memory) {
        for page in self.pages.drain(..) {
            mem.clear_code(page.frame);
        }
        self.index.clear();
        self.free.clear();
        self.total_ops = 0;
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

    #[test]
    fn a_block_ends_with_its_jump_and_is_decoded_once() {
        // nop; jmp $; nop
        let mut mem = memory(&[0x90, 0xeb, 0xfe, 0x90]);
        let mut cache = CodeCache::default();
        assert_eq!(cache.block(&mut mem, 1, 0, 32).unwrap().len(), 2);
        assert_eq!(cache.block(&mut mem, 1, 0, 32).unwrap().len(), 2);
        assert_eq!(cache.decoded, 1);
        cache.block(&mut mem, 1, 0, 16);
        assert_eq!(cache.decoded, 2);
    }

    #[test]
    fn overwriting_code_drops_the_page() {
        let mut mem = memory(&[0x90, 0xeb, 0xfe]);
        let mut cache = CodeCache::default();
        cache.block(&mut mem, 1, 0, 32);
        mem.write_bytes(0x1000, &[0xf4]);
        cache.invalidate(&mut mem);
        assert_eq!(cache.block(&mut mem, 1, 0, 32).unwrap().len(), 1);
        assert_eq!(cache.dropped, 1);
    }

    #[test]
    fn an_instruction_across_the_page_end_is_not_cached() {
        let mut mem = memory(&[]);
        mem.write_bytes(0x1ffe, &[0x90, 0xb8, 1, 0, 0, 0]);
        let mut cache = CodeCache::default();
        assert_eq!(cache.block(&mut mem, 1, 0xffe, 32).unwrap().len(), 1);
        assert!(cache.block(&mut mem, 1, 0xfff, 32).is_none());
    }
}
