//! The map from physical addresses to frames and to the board.
//!
//! RAM takes the first frames of the backing mapping; ROM images and video memory take frames behind it.
//! Whoever changes the map or what a frame may do bumps [`Memory::epoch`]; translation caches that remember
//! an older epoch are stale.
//!
//! SMRAM lies over the map for a processor in system-management mode and for nobody else. Memory holds the view of
//! the processor whose turn it is ([`Memory::set_management`]); bus masters always see the map itself.

use std::io;

use super::page::{Frame, FrameNumber, PhysPage, code_chunks};
use super::{PAGE_SIZE, Ram};

/// Physical addresses have this many bits (CPUID leaf 8000_0008h says the same).
pub const PHYSICAL_BITS: u32 = 40;

/// Why guest memory could not be set up.
#[derive(Debug)]
pub enum MemoryError {
    /// The size is not a multiple of 4 KiB, or too large.
    Size(u64),
    /// The host refused the mapping.
    Host(io::Error),
}

impl std::fmt::Display for MemoryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Size(size) => write!(f, "guest memory of {size} bytes: expected a multiple of 4096"),
            Self::Host(error) => write!(f, "the host refused guest memory: {error}"),
        }
    }
}

impl std::error::Error for MemoryError {}

/// RAM that processors in system-management mode see where all others see something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Smram {
    /// First physical address.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// The frame that lies at `start`; the others follow it.
    pub frame: FrameNumber,
    /// Data accesses reach it too, not only instruction fetches.
    pub data: bool,
}

/// Guest physical memory.
#[derive(Debug)]
pub struct Memory {
    ram: Ram,
    ram_size: u64,
    next_frame: FrameNumber,
    /// [`PhysPage`] words, each exclusive-or what [`laid`](Self::laid) says: where RAM lies as it was laid this is a
    /// table of zeros, too.
    pages: Vec<u64>,
    /// Where RAM was laid.
    stretches: [Stretch; STRETCHES],
    /// Code chunks of each frame, and whether it is dirty: tables of zeros, which cost nothing until used.
    code: Vec<u64>,
    dirty: Vec<u8>,
    /// The A20 gate.
    a20_mask: u64,
    /// The same as it counts for the processor whose turn it is.
    gate: u64,
    smram: Option<Smram>,
    /// The processor whose turn it is runs in system-management mode.
    management: bool,
    epoch: u64,
    /// Changes of the map itself, and of A20.
    maps: u64,
    /// Which bytes of each frame were decoded as instructions.
    code_bytes: ByteMaps,
    code_writes: Vec<CodeWrite>,
    /// Writes to frames with instructions since these were last dropped for it, and how often they were.
    beside: Vec<(u16, u8)>,
}

/// Frames that follow each other at physical addresses that do.
#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    /// Number of the first physical page.
    first: u64,
    /// Pages.
    len: u64,
    /// The first frame.
    frame: FrameNumber,
}

/// Stretches of RAM: below the hole under 4 GiB, and above it.
const STRETCHES: usize = 2;

/// One bit for each byte of a frame.
type ByteMap = [u64; PAGE_SIZE as usize / 64];

/// The maps of those frames that have one. There is little to be touched when the machine begins or ends, however many
/// frames it has.
#[derive(Debug)]
struct ByteMaps {
    /// By frame: number of its map, plus one.
    numbers: Vec<u32>,
    maps: Vec<ByteMap>,
    /// Numbers of maps that no frame has.
    free: Vec<u32>,
}

impl ByteMaps {
    fn new(frames: usize) -> Self {
        Self { numbers: vec![0; frames], maps: Vec::new(), free: Vec::new() }
    }

    fn get(&self, frame: FrameNumber) -> Option<&ByteMap> {
        let number = self.numbers[frame as usize].checked_sub(1)?;
        Some(&self.maps[number as usize])
    }

    /// That of a frame; of zeros, if it had none.
    fn of(&mut self, frame: FrameNumber) -> &mut ByteMap {
        let number = &mut self.numbers[frame as usize];
        if *number == 0 {
            *number = 1 + self.free.pop().unwrap_or_else(|| {
                self.maps.push([0; _]);
                self.maps.len() as u32 - 1
            });
        }
        &mut self.maps[*number as usize - 1]
    }

    fn remove(&mut self, frame: FrameNumber) {
        if let Some(number) = std::mem::take(&mut self.numbers[frame as usize]).checked_sub(1) {
            self.maps[number as usize] = [0; _];
            self.free.push(number);
        }
    }
}

/// Writes beside a frame's instructions that it may have before these are dropped, the first time.
const FEW_BESIDE: u16 = 64;
/// Doublings of that.
const MOST_CLEARED: u8 = 9;

/// A write that changed decoded instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeWrite {
    /// The frame.
    pub frame: FrameNumber,
    /// First byte.
    pub from: u16,
    /// The byte behind the last one.
    pub to: u16,
}

impl Memory {
    /// Sets up `ram_size` bytes of RAM and room for `extra` bytes of ROM and video memory. The map is empty.
    ///
    /// # Errors
    /// When a size is not a multiple of 4 KiB or the host refuses.
    pub fn new(ram_size: u64, extra: u64) -> Result<Self, MemoryError> {
        if ram_size == 0 || !ram_size.is_multiple_of(PAGE_SIZE) || ram_size > 1 << (PHYSICAL_BITS - 1) {
            return Err(MemoryError::Size(ram_size));
        }
        if !extra.is_multiple_of(PAGE_SIZE) || extra > 1 << 32 {
            return Err(MemoryError::Size(extra));
        }
        let total = ram_size + extra;
        let ram = Ram::new(total).map_err(MemoryError::Host)?;
        let frames = usize::try_from(total / PAGE_SIZE).map_err(|_| MemoryError::Size(total))?;
        // The first 4 GiB of addresses, and as much above them as RAM could need.
        let pages = (1 << 20) + usize::try_from(ram_size / PAGE_SIZE).unwrap_or(0);
        Ok(Self {
            ram,
            ram_size,
            next_frame: (ram_size / PAGE_SIZE) as FrameNumber,
            pages: vec![0; pages],
            stretches: [Stretch::default(); STRETCHES],
            code: vec![0; frames],
            dirty: vec![0; frames],
            a20_mask: u64::MAX,
            gate: u64::MAX,
            smram: None,
            management: false,
            epoch: 1,
            maps: 0,
            code_bytes: ByteMaps::new(frames),
            code_writes: Vec::new(),
            beside: vec![(0, 0); frames],
        })
    }

    /// A handle to the backing mapping.
    pub fn ram(&self) -> &Ram {
        &self.ram
    }

    /// Bytes of RAM (without ROM and video memory).
    pub fn ram_size(&self) -> u64 {
        self.ram_size
    }

    /// Changes with every change of the map, of A20, or of what a frame's writes must notice.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    fn map_changed(&mut self) {
        self.epoch += 1;
        self.maps += 1;
    }

    /// Takes `len` bytes (a multiple of 4 KiB) of frames behind RAM, for a ROM image or video memory.
    ///
    /// # Panics
    /// When [`Memory::new`] was not given enough `extra`.
    pub fn allocate(&mut self, len: u64) -> FrameNumber {
        let first = self.next_frame;
        self.next_frame += (len / PAGE_SIZE) as FrameNumber;
        assert!(
            self.next_frame as usize <= self.code.len(),
            "the board asked for less extra memory than it uses"
        );
        first
    }

    /// Writes bytes straight into frames, from the start of `frame` on (loading ROM images).
    pub fn fill(&mut self, frame: FrameNumber, bytes: &[u8]) {
        for (number, page) in (frame..).zip(bytes.chunks(PAGE_SIZE as usize)) {
            self.write_frame(number, 0, page);
        }
    }

    /// Lays `len` bytes of RAM, frames from `frame` on, at physical addresses from `address` on, where nothing was
    /// mapped yet. Unlike [`map`](Self::map) it takes no longer for more RAM.
    ///
    /// # Panics
    /// When RAM was laid at two places already.
    pub fn lay_ram(&mut self, address: u64, len: u64, frame: FrameNumber) {
        let free = self.stretches.iter_mut().find(|stretch| stretch.len == 0);
        *free.expect("boards have RAM in two places at most") =
            Stretch { first: address / PAGE_SIZE, len: len / PAGE_SIZE, frame };
        self.map_changed();
    }

    /// The word of a page, by its number, as RAM was laid.
    #[inline]
    fn laid(&self, number: u64) -> u64 {
        for stretch in &self.stretches {
            let page = number.wrapping_sub(stretch.first);
            if page < stretch.len {
                return PhysPage::ram(stretch.frame + page as FrameNumber).bits();
            }
        }
        PhysPage::NONE.bits()
    }

    /// Maps `len` bytes of physical addresses from `address` on; `page(n)` says what the n-th page is.
    ///
    /// Addresses above the end of the table are ignored, as on a bus where nothing answers.
    pub fn map(&mut self, address: u64, len: u64, page: impl Fn(FrameNumber) -> PhysPage) {
        let first = (address / PAGE_SIZE) as usize;
        for number in 0..(len / PAGE_SIZE) as usize {
            let laid = self.laid((first + number) as u64);
            if let Some(slot) = self.pages.get_mut(first + number) {
                *slot = page(number as FrameNumber).bits() ^ laid;
            }
        }
        self.map_changed();
    }

    /// Changes whenever physical addresses may mean other frames.
    #[inline]
    pub fn map_version(&self) -> u64 {
        self.maps
    }

    /// The lowest physical address of a page whose reads or writes reach `frame`; `None` when it is not mapped (SMRAM
    /// is not looked at). Slow for frames that do not lie where their number says.
    pub fn physical_of(&self, frame: FrameNumber) -> Option<u64> {
        let is = |number: &u64| {
            let page = self.bus_page(number * PAGE_SIZE);
            page.read_frame() == Some(frame) || page.write_frame() == Some(frame)
        };
        let own = Some(u64::from(frame)).filter(is);
        own.or_else(|| (0..self.pages.len() as u64).find(is)).map(|number| number * PAGE_SIZE)
    }

    /// What data accesses of the processor find at a physical address, after the A20 gate.
    #[inline]
    pub fn page(&self, address: u64) -> PhysPage {
        self.smram_page(address, true).unwrap_or_else(|| self.bus_page(address))
    }

    /// What instruction fetches of the processor find at a physical address, after the A20 gate.
    #[inline]
    pub fn code_page(&self, address: u64) -> PhysPage {
        self.smram_page(address, false).unwrap_or_else(|| self.bus_page(address))
    }

    #[inline]
    fn smram_page(&self, address: u64, data: bool) -> Option<PhysPage> {
        if !self.management {
            return None;
        }
        let smram = self.smram.filter(|smram| smram.data || !data)?;
        let offset = address.checked_sub(smram.start).filter(|&offset| offset < smram.len)?;
        Some(PhysPage::ram(smram.frame + (offset / PAGE_SIZE) as FrameNumber))
    }

    /// Says where SMRAM lies.
    pub fn set_smram(&mut self, smram: Option<Smram>) {
        if smram != self.smram {
            self.smram = smram;
            self.map_changed();
        }
    }

    /// The processor whose turn it is enters or leaves system-management mode, or another one gets its turn.
    /// Its own translation caches are the caller's business.
    pub fn set_management(&mut self, on: bool) {
        self.management = on;
        self.update_gate();
    }

    /// Addresses are not cut in system-management mode: the processor ignores A20M# there.
    fn update_gate(&mut self) {
        self.gate = if self.management { u64::MAX } else { self.a20_mask };
    }

    /// What bus masters find at a physical address.
    #[inline]
    pub fn bus_page(&self, address: u64) -> PhysPage {
        let number = address / PAGE_SIZE;
        self.pages
            .get(number as usize)
            .map_or(PhysPage::NONE, |&bits| PhysPage::from_bits(bits ^ self.laid(number)))
    }

    /// Opens (`true`) or closes the A20 gate: closed, address bit 20 is always 0.
    pub fn set_a20(&mut self, open: bool) {
        let mask = if open { u64::MAX } else { !(1 << 20) };
        if mask != self.a20_mask {
            self.a20_mask = mask;
            self.update_gate();
            self.map_changed();
        }
    }

    /// True when the A20 gate is open.
    pub fn a20(&self) -> bool {
        self.a20_mask == u64::MAX
    }

    /// Applies the A20 gate to an address that a processor puts on its bus.
    #[inline]
    pub fn gate_a20(&self, address: u64) -> u64 {
        address & self.gate
    }

    /// Host address of the first byte of a frame.
    #[inline]
    pub fn host_of(&self, frame: FrameNumber) -> usize {
        self.ram.host(frame as usize * PAGE_SIZE as usize)
    }

    /// What is known of a frame.
    #[inline]
    pub fn frame(&self, frame: FrameNumber) -> Frame {
        Frame { code: self.code[frame as usize], dirty: self.dirty[frame as usize] != 0 }
    }

    /// Notes that `size` bytes at `offset` of `frame` are now decoded as instructions. Writes to them will
    /// be found in [`take_code_writes`](Self::take_code_writes). True when all of them were noted before.
    pub fn mark_code(&mut self, frame: FrameNumber, offset: u64, size: u64) -> bool {
        let chunks = &mut self.code[frame as usize];
        if *chunks == 0 {
            // Fast write paths to this frame may exist and must go.
            self.epoch += 1;
        }
        *chunks |= code_chunks(offset, size);
        let bytes = self.code_bytes.of(frame);
        let mut known = true;
        for at in offset as usize..(offset + size) as usize {
            known &= bytes[at / 64] >> (at % 64) & 1 != 0;
            bytes[at / 64] |= 1 << (at % 64);
        }
        known
    }

    /// Notes that `frame` holds no decoded instructions any more.
    pub fn clear_code(&mut self, frame: FrameNumber) {
        self.code[frame as usize] = 0;
        self.code_bytes.remove(frame);
    }

    /// Writes bytes to a frame, within it, and notes that. Decoded instructions count as written only where their bytes
    /// change: data beside code is no code, and some guests write the same code again and again.
    pub fn write_frame(&mut self, frame: FrameNumber, offset: u64, bytes: &[u8]) {
        let host = self.host_of(frame) + offset as usize;
        let size = bytes.len() as u64;
        if size != 0 && self.code[frame as usize] & code_chunks(offset, size) != 0 {
            self.write_code(frame, offset as usize, bytes);
        }
        if self.code[frame as usize] != 0 {
            self.note_beside(frame);
        }
        self.ram.write_slice(host, bytes);
        self.dirty[frame as usize] = 1;
    }

    /// Counts writes to a frame with decoded instructions. Where there are many the instructions had better go: a frame
    /// that became data would have slow writes for ever. Each time it takes more of them, for one that is both.
    fn note_beside(&mut self, frame: FrameNumber) {
        let (count, cleared) = &mut self.beside[frame as usize];
        *count += 1;
        if *count == FEW_BESIDE << *cleared {
            (*count, *cleared) = (0, (*cleared + 1).min(MOST_CLEARED));
            self.code_writes.push(CodeWrite { frame, from: 0, to: PAGE_SIZE as u16 });
        }
    }

    /// Notes which decoded instructions a write is about to change.
    fn write_code(&mut self, frame: FrameNumber, offset: usize, bytes: &[u8]) {
        let Some(code) = self.code_bytes.get(frame) else { return };
        let host = self.host_of(frame);
        let (mut from, mut to) = (u16::MAX, 0);
        for (piece, start) in bytes.chunks(64).zip((offset..).step_by(64)) {
            let mut before = [0; 64];
            self.ram.read_slice(host + start, &mut before[..piece.len()]);
            for ((new, old), at) in piece.iter().zip(before).zip(start..) {
                if code[at / 64] >> (at % 64) & 1 != 0 && *new != old {
                    (from, to) = (from.min(at as u16), at as u16 + 1);
                }
            }
        }
        if to == 0 {
            return;
        }
        match self.code_writes.last_mut() {
            Some(write) if write.frame == frame && from <= write.to && write.from <= to => {
                (write.from, write.to) = (write.from.min(from), write.to.max(to));
            }
            _ => self.code_writes.push(CodeWrite { frame, from, to }),
        }
    }

    /// True when decoded instructions were written since the last [`take_code_writes`](Self::take_code_writes).
    #[inline]
    pub fn has_code_writes(&self) -> bool {
        !self.code_writes.is_empty()
    }

    /// What was overwritten of decoded instructions since the last call.
    pub fn take_code_writes(&mut self) -> Vec<CodeWrite> {
        std::mem::take(&mut self.code_writes)
    }

    /// Numbers of the frames written since the last call, in ascending order.
    pub fn take_dirty(&mut self) -> Vec<FrameNumber> {
        let mut dirty = Vec::new();
        for (number, flag) in self.dirty.iter_mut().enumerate() {
            // Looking before writing keeps the pages of a table of zeros unused.
            if *flag != 0 {
                *flag = 0;
                dirty.push(number as FrameNumber);
            }
        }
        self.epoch += 1;
        dirty
    }

    /// Reads physical memory as a bus master does: RAM and ROM only, ones where nothing (or a chip) lies.
    pub fn read_bytes(&self, address: u64, out: &mut [u8]) {
        for_each_page(address, out.len(), |at, range| {
            let out = &mut out[range];
            match self.bus_page(at).read_frame() {
                Some(frame) => self.ram.read_slice(self.host_of(frame) + (at % PAGE_SIZE) as usize, out),
                None => out.fill(0xff),
            }
        });
    }

    /// Writes physical memory as a bus master does: RAM only; what goes elsewhere vanishes.
    pub fn write_bytes(&mut self, address: u64, bytes: &[u8]) {
        for_each_page(address, bytes.len(), |at, range| {
            self.write_page(self.bus_page(at), at % PAGE_SIZE, &bytes[range]);
        });
    }

    /// Writes to RAM as the processor sees it, within one page; what goes elsewhere vanishes.
    pub fn write_own(&mut self, address: u64, bytes: &[u8]) {
        self.write_page(self.page(address), address % PAGE_SIZE, bytes);
    }

    fn write_page(&mut self, page: PhysPage, offset: u64, bytes: &[u8]) {
        if let Some(frame) = page.write_frame() {
            self.write_frame(frame, offset, bytes);
        }
    }
}

/// Splits a physical range at page boundaries: calls back with each part's address and its range of bytes.
fn for_each_page(address: u64, len: usize, mut each: impl FnMut(u64, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < len {
        let at = address.wrapping_add(done as u64);
        let part = ((PAGE_SIZE - at % PAGE_SIZE) as usize).min(len - done);
        each(at, done..done + part);
        done += part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let mut mem = Memory::new(0x10000, 0x2000).unwrap();
        mem.map(0, 0x10000, PhysPage::ram);
        mem
    }

    #[test]
    fn frames_have_maps_of_their_own_and_new_ones_after_they_lost_them() {
        let mut maps = ByteMaps::new(8);
        for frame in [3, 5, 7] {
            maps.of(frame)[0] = frame.into();
        }
        maps.remove(5);
        maps.remove(4);
        assert_eq!(
            [3, 4, 5, 7].map(|frame| maps.get(frame).map(|map| map[0])),
            [Some(3), None, None, Some(7)]
        );
        assert_eq!((maps.of(1)[0], maps.of(2)[0]), (0, 0));
        assert_eq!(maps.maps.len(), 4, "the map that 5 had serves again");
    }

    #[test]
    fn a_bus_master_sees_ones_where_nothing_answers() {
        let mem = memory();
        let mut out = [0; 4];
        mem.read_bytes(0xfffe, &mut out);
        assert_eq!(out, [0, 0, 0xff, 0xff]);
        mem.read_bytes(0xffff_ffff_ffff_fffe, &mut out);
        assert_eq!(out, [0xff, 0xff, 0, 0]);
    }

    #[test]
    fn many_writes_beside_code_drop_it_and_more_are_needed_each_time() {
        let mut mem = Memory::new(0x4000, 0).unwrap();
        mem.map(0, 0x4000, PhysPage::ram);
        let whole = CodeWrite { frame: 1, from: 0, to: PAGE_SIZE as u16 };
        for few in [FEW_BESIDE, 2 * FEW_BESIDE] {
            mem.mark_code(1, 0x40, 4);
            (1..few).for_each(|n| mem.write_frame(1, 0x800, &[n as u8]));
            assert!(!mem.has_code_writes(), "{few}");
            mem.write_frame(1, 0x800, &[0]);
            assert_eq!(mem.take_code_writes(), [whole]);
            mem.clear_code(1);
            mem.write_frame(1, 0x800, &[1]);
            assert!(!mem.has_code_writes(), "data alone is not counted");
        }
    }

    #[test]
    fn writes_that_change_code_are_told_by_the_byte() {
        let mut mem = memory();
        mem.mark_code(1, 0x40, 4);
        mem.write_bytes(0x1000, &[1]);
        mem.write_bytes(0x1044, &[1]);
        mem.write_bytes(0x1043, &[0]);
        assert!(!mem.has_code_writes(), "beside the code, and the same byte again");
        mem.write_bytes(0x1043, &[1]);
        mem.write_bytes(0x1042, &[0, 2]);
        assert_eq!(mem.take_code_writes(), [CodeWrite { frame: 1, from: 0x43, to: 0x44 }]);
        mem.write_bytes(0x103f, &[9; 4]);
        assert_eq!(mem.take_code_writes(), [CodeWrite { frame: 1, from: 0x40, to: 0x43 }]);
        mem.clear_code(1);
        mem.write_bytes(0x1040, &[5; 4]);
        assert!(!mem.has_code_writes());
    }

    #[test]
    fn a_long_write_tells_of_code_from_the_first_change_to_the_last() {
        let mut mem = memory();
        mem.mark_code(1, 0x40, 0x400);
        let mut bytes = [0; 0x300];
        (bytes[0x0f], bytes[0x11], bytes[0x210]) = (1, 1, 1);
        mem.write_bytes(0x1030, &bytes);
        assert_eq!(mem.take_code_writes(), [CodeWrite { frame: 1, from: 0x41, to: 0x241 }]);
    }

    #[test]
    fn ram_that_was_laid_can_be_mapped_over_and_back() {
        let mut mem = Memory::new(0x8000, 0x1000).unwrap();
        mem.lay_ram(0, 0x6000, 0);
        mem.lay_ram(1 << 32, 0x2000, 6);
        let at = |mem: &Memory, address| mem.bus_page(address);
        assert_eq!((at(&mem, 0x5fff), at(&mem, 0x6000)), (PhysPage::ram(5), PhysPage::NONE));
        let above = [at(&mem, (1 << 32) - 1), at(&mem, 1 << 32), at(&mem, (1 << 32) + 0x1000)];
        assert_eq!(above, [PhysPage::NONE, PhysPage::ram(6), PhysPage::ram(7)]);
        assert_eq!(at(&mem, (1 << 32) + 0x2000), PhysPage::NONE);
        mem.map(0x2000, 0x5000, |n| if n == 0 { PhysPage::NONE } else { PhysPage::MMIO });
        assert_eq!((at(&mem, 0x1000), at(&mem, 0x2000)), (PhysPage::ram(1), PhysPage::NONE));
        assert!(at(&mem, 0x3000).is_mmio() && at(&mem, 0x6fff).is_mmio());
        mem.map(0x3000, 0x1000, |_| PhysPage::ram(3));
        assert_eq!(at(&mem, 0x3000), PhysPage::ram(3));
        assert_eq!((mem.physical_of(3), mem.physical_of(7)), (Some(0x3000), Some((1 << 32) + 0x1000)));
        assert_eq!(mem.physical_of(2), None);
    }

    #[test]
    fn rom_keeps_its_contents() {
        let mut mem = memory();
        let frame = mem.allocate(0x1000);
        mem.fill(frame, &[0x55]);
        mem.map(0xff000, 0x1000, |n| PhysPage::rom(frame + n));
        mem.write_bytes(0xff000, &[0xaa]);
        let mut out = [0];
        mem.read_bytes(0xff000, &mut out);
        assert_eq!(out, [0x55]);
    }

    #[test]
    fn smram_is_there_in_management_mode_only_and_not_for_bus_masters() {
        let mut mem = memory();
        mem.map(0x3000, 0x2000, |_| PhysPage::MMIO);
        let smram = Smram { start: 0x3000, len: 0x2000, frame: 3, data: true };
        let epoch = mem.epoch();
        mem.set_smram(Some(smram));
        assert_ne!(mem.epoch(), epoch);
        assert!(mem.page(0x3000).is_mmio() && mem.code_page(0x4fff).is_mmio());
        mem.set_management(true);
        assert_eq!((mem.page(0x4fff), mem.code_page(0x3000)), (PhysPage::ram(4), PhysPage::ram(3)));
        assert_eq!((mem.page(0x2fff), mem.page(0x5000)), (PhysPage::ram(2), PhysPage::ram(5)));
        assert!(mem.bus_page(0x3000).is_mmio());
        mem.set_smram(Some(Smram { data: false, ..smram }));
        assert!(mem.page(0x3000).is_mmio());
        assert_eq!(mem.code_page(0x3000), PhysPage::ram(3));
    }

    #[test]
    fn management_mode_ignores_the_a20_gate() {
        let mut mem = memory();
        mem.set_a20(false);
        assert_eq!(mem.gate_a20(0x10_1234), 0x1234);
        mem.set_management(true);
        assert_eq!((mem.gate_a20(0x10_1234), mem.a20()), (0x10_1234, false));
        mem.set_management(false);
        assert_eq!(mem.gate_a20(0x10_1234), 0x1234);
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        assert!(Memory::new(0, 0).is_err());
        assert!(Memory::new(4097, 0).is_err());
    }

    #[test]
    fn dirty_frames_are_told_once() {
        let mut mem = memory();
        mem.write_bytes(0x2fff, &[1, 2]);
        assert_eq!(mem.take_dirty(), [2, 3]);
        assert!(mem.take_dirty().is_empty());
    }
}
