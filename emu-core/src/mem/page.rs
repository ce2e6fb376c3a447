//! Descriptors: what lies at a physical page ([`PhysPage`]) and what is known of a frame ([`Frame`]).

/// Number of a 4 KiB frame of the backing mapping, counted from its start.
pub type FrameNumber = u32;

/// What answers at one 4 KiB page of physical addresses. All zero is "nothing": reads give ones, writes vanish.
///
/// Bits 30:0 hold the frame that reads see, plus one; bits 61:31 the frame that writes reach, plus one; bit 63
/// says that the board answers. One word, so that a table of nothing costs no memory until it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhysPage(u64);

const WRITE_SHIFT: u32 = 31;
const FRAME_MASK: u64 = (1 << WRITE_SHIFT) - 1;

impl PhysPage {
    /// Nothing answers.
    pub const NONE: Self = Self(0);
    /// Every access goes to the board.
    pub const MMIO: Self = Self(1 << 63);

    /// Reads and writes reach `frame`.
    pub const fn ram(frame: FrameNumber) -> Self {
        Self::split(Some(frame), Some(frame))
    }

    /// Reads see `frame`, writes vanish.
    pub const fn rom(frame: FrameNumber) -> Self {
        Self::split(Some(frame), None)
    }

    /// Reads see one frame, writes reach another or vanish (the i440FX's PAM registers do this).
    pub const fn split(read: Option<FrameNumber>, write: Option<FrameNumber>) -> Self {
        const fn code(frame: Option<FrameNumber>) -> u64 {
            match frame {
                Some(frame) => (frame as u64 + 1) & FRAME_MASK,
                None => 0,
            }
        }
        Self(code(read) | code(write) << WRITE_SHIFT)
    }

    /// The word that stands for this in a table.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// From the word of a table.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// True when accesses go to the board.
    pub const fn is_mmio(self) -> bool {
        self.0 >> 63 != 0
    }

    /// Frame that reads see.
    pub const fn read_frame(self) -> Option<FrameNumber> {
        ((self.0 & FRAME_MASK) as FrameNumber).checked_sub(1)
    }

    /// Frame that writes reach.
    pub const fn write_frame(self) -> Option<FrameNumber> {
        ((self.0 >> WRITE_SHIFT & FRAME_MASK) as FrameNumber).checked_sub(1)
    }
}

/// What is known of one frame. A fast write path may exist only while the frame holds no code, is no page
/// table and is dirty already: one rule that gives self-modifying code, dirty tracking and page-table tracking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Which of the frame's 64-byte chunks hold bytes that were decoded as instructions.
    pub code: u64,
    /// Written since [`Memory::take_dirty`](super::Memory::take_dirty) last asked.
    pub dirty: bool,
}

impl Frame {
    /// True when writes need no notice taken of them.
    pub const fn fast_write(self) -> bool {
        self.code == 0 && self.dirty
    }
}

/// The chunks of a frame's code map that `size` bytes from `offset` (both within one page) touch.
pub const fn code_chunks(offset: u64, size: u64) -> u64 {
    let (first, last) = (offset >> 6, (offset + size - 1) >> 6);
    (u64::MAX >> (63 - (last - first))) << first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_exactly_the_bytes_touched() {
        assert_eq!(code_chunks(0, 1), 1);
        assert_eq!(code_chunks(63, 2), 0b11);
        assert_eq!(code_chunks(4095, 1), 1 << 63);
        assert_eq!(code_chunks(0, 4096), u64::MAX);
    }

    #[test]
    fn split_pages_read_and_write_different_frames() {
        let page = PhysPage::split(Some(7), None);
        assert_eq!((page.read_frame(), page.write_frame(), page.is_mmio()), (Some(7), None, false));
    }
}
