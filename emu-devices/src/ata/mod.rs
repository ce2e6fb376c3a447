//! ATA: a channel with up to two disks (register protocol, PIO; DMA through [`crate::dma`]).

mod channel;
mod disk;

pub use channel::AtaChannel;
pub use disk::AtaDisk;
