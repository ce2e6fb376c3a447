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

/// A device on a channel of the ISA bus's DMA controller. It transfers byte by byte.
pub trait IsaDmaDevice {
    /// DREQ: the direction while the device wants to transfer, `None` while it does not.
    fn dma_request(&self) -> Option<DmaDirection>;
    /// DACK and IOR: takes a byte from the device; returns how many there were.
    fn dma_take(&mut self, out: &mut [u8], now: Tick) -> usize;
    /// DACK and IOW: gives a byte to the device; returns how many it took.
    fn dma_give(&mut self, bytes: &[u8], now: Tick) -> usize;
    /// TC: the byte just transferred was the last one.
    fn terminal_count(&mut self, now: Tick);
}
