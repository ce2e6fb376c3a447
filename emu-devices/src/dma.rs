//! The DMA handshake between a drive and whoever masters the bus for it: DMARQ, DMACK and the data between.

use emu_core::bus::Tick;

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmaDirection {
    /// From the drive into memory.
    ToMemory,
    /// From memory to the drive.
    FromMemory,
}

/// A device that asks for DMA. Bytes cross in words, so every length is even.
pub trait DmaDevice {
    /// DMARQ: the direction while the device wants to transfer, `None` while it does not.
    fn dma_request(&self) -> Option<DmaDirection>;
    /// Takes bytes from the device; returns how many there were.
    fn dma_take(&mut self, out: &mut [u8], now: Tick) -> usize;
    /// Gives bytes to the device; returns how many it took.
    fn dma_give(&mut self, bytes: &[u8], now: Tick) -> usize;
    /// INTRQ.
    fn interrupt(&self) -> bool;
}
