//! What a channel needs of the devices on its cable.

use std::fmt::Debug;

use emu_core::bus::Tick;

use super::unit::TaskFile;
use crate::dma::DmaDirection;

/// A device on the cable: a disk, or a drive that takes packets.
pub(super) trait Drive: Debug + Send {
    /// The command block registers.
    fn file(&self) -> &TaskFile;
    /// The command block registers, for the host to write.
    fn file_mut(&mut self) -> &mut TaskFile;
    /// The Status register.
    fn status(&self) -> u8;
    /// Interrupt pending.
    fn interrupt(&self) -> bool;
    /// Status was read.
    fn clear_interrupt(&mut self);
    /// BSY.
    fn is_busy(&self) -> bool;
    /// Whether this command is heard even while BSY is set.
    fn hears_while_busy(&self, command: u8) -> bool;
    /// Writes the Command register. EXECUTE DEVICE DIAGNOSTIC is the channel's business.
    fn command(&mut self, command: u8, now: Tick);
    /// EXECUTE DEVICE DIAGNOSTIC, which both devices carry out; device 0 tells the host of its end.
    fn diagnose(&mut self, now: Tick, interrupt: bool);
    /// Power-on or RESET#.
    fn hard_reset(&mut self, now: Tick);
    /// SRST goes high: whatever was under way is given up.
    fn begin_reset(&mut self);
    /// SRST goes low.
    fn end_reset(&mut self, now: Tick);
    /// When [`advance`](Self::advance) has something to do.
    fn next_event(&self) -> Tick;
    /// Goes on with the command under way as far as `now` allows.
    fn advance(&mut self, now: Tick);
    /// The host reads one word of the data register.
    fn read_data(&mut self, now: Tick) -> u16;
    /// The host writes one word to the data register.
    fn write_data(&mut self, word: u16, now: Tick);
    /// DMARQ, with its direction.
    fn dma_request(&self) -> Option<DmaDirection>;
    /// Bytes for the host by DMA; returns how many there were.
    fn dma_take(&mut self, out: &mut [u8], now: Tick) -> usize;
    /// Bytes of the host by DMA; returns how many were taken.
    fn dma_give(&mut self, bytes: &[u8], now: Tick) -> usize;
    /// Whether answers of the backend are waited for (virtual time) or looked for (host time).
    fn set_wait_for_host(&mut self, wait: bool);
}
