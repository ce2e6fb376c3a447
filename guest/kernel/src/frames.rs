//! The physical allocator: hands out 4 KiB frames of the memory that the BIOS called usable.
//!
//! Fresh frames come from the ranges of the map in rising order; frames given back form a list whose links
//! lie in the frames themselves. So neither start-up nor memory use depends on how much memory there is.
//! The first MiB is never handed out: BIOS data, boot information and the screen live there.

use crate::boot_info::BootInfo;
use crate::irq_cell::IrqCell;
use crate::paging::{direct, kernel_end_physical};

/// Bytes in a frame.
pub const FRAME: u64 = 4096;

struct Frames {
    ranges: [(u64, u64); 16],
    count: usize,
    list: u64,
    total: u64,
    free: u64,
}

static FRAMES: IrqCell<Frames> =
    IrqCell::new(Frames { ranges: [(0, 0); 16], count: 0, list: 0, total: 0, free: 0 });

/// Takes over the usable ranges of the map.
pub fn init(info: &BootInfo) {
    let floor = kernel_end_physical();
    FRAMES.with(|frames| {
        for range in info.map().iter().filter(|range| range.kind == 1) {
            let start = range.base.max(floor).next_multiple_of(FRAME);
            let end = (range.base + range.length) / FRAME * FRAME;
            if start < end && frames.count < frames.ranges.len() {
                frames.ranges[frames.count] = (start, end);
                frames.count += 1;
                frames.total += (end - start) / FRAME;
            }
        }
        frames.ranges[..frames.count].sort_unstable();
        frames.free = frames.total;
    });
}

/// One frame with whatever was in it, or `None` when memory is used up.
pub fn alloc() -> Option<u64> {
    FRAMES.with(|frames| {
        if frames.list != 0 {
            let frame = frames.list;
            // SAFETY: frames on the list belong to the allocator; the first word is the link.
            frames.list = unsafe { *(direct(frame) as *const u64) };
            frames.free -= 1;
            return Some(frame);
        }
        frames.take_fresh()
    })
}

/// One frame full of zeros.
pub fn alloc_zeroed() -> Option<u64> {
    let frame = alloc()?;
    // SAFETY: the frame was just handed to us, and the direct map covers it.
    unsafe { core::ptr::write_bytes(direct(frame) as *mut u8, 0, FRAME as usize) };
    Some(frame)
}

/// Gives a frame back.
pub fn free(frame: u64) {
    assert!(frame != 0 && frame % FRAME == 0, "not a frame: {frame:#x}");
    FRAMES.with(|frames| {
        // SAFETY: the caller gave the frame up, so its first word is ours.
        unsafe { *(direct(frame) as *mut u64) = frames.list };
        frames.list = frame;
        frames.free += 1;
    });
}

/// Frames in all, and frames that are free.
pub fn counts() -> (u64, u64) {
    FRAMES.with(|frames| (frames.total, frames.free))
}

impl Frames {
    /// The first fresh frame of the first range that has one.
    fn take_fresh(&mut self) -> Option<u64> {
        let range = self.ranges[..self.count].iter_mut().find(|range| range.0 < range.1)?;
        let frame = range.0;
        range.0 += FRAME;
        self.free -= 1;
        Some(frame)
    }
}
