//! Chips and the board.

#![forbid(unsafe_code)]

pub mod ata;
pub mod block;
pub mod dma;
pub mod fw_cfg;
pub mod pci;
pub mod vga;
