//! ATA: a channel (primary 1F0h/3F6h, secondary 170h/376h) with up to two devices: disks, and CD-ROM drives (ATAPI).
//!
//! Manuals: ATA/ATAPI-6 (T13 1410D) and, for what it calls obsolete (CHS, RECALIBRATE, INITIALIZE DEVICE
//! PARAMETERS), ATA-2 (X3T10 948D). For CD-ROM drives MMC-3 and SPC-3 (see `cdrom.rs` and `packet.rs`).
//! Modelled: both devices and what the standard says of an absent one; command and control block with HOB,
//! SRST and nIEN; PIO and multiword DMA transfers with their interrupts; CHS, 28 and 48-bit addresses; the general
//! feature set, power management without effect, write cache, SET MULTIPLE MODE, READ NATIVE MAX.
//! Left out: host protected area, SMART, security, queued commands, READ LONG; SLEEP is taken for STANDBY;
//! standby timers never run out; after an error in the middle of a DRQ block the good part is transferred first.
//!
//! A command takes a fixed virtual time (see [`timing`]), however fast the host is.
//! Where the standard leaves it open: registers written while BSY is set are ignored, a command written
//! while DRQ is set ends the old command, and the data register reads as 0 while DRQ is clear.

mod cdrom;
mod channel;
mod commands;
mod disk;
mod drive;
mod geometry;
mod identify;
mod packet;
mod sense;
mod transfer;
mod unit;

pub use cdrom::Cdrom;
pub use channel::AtaChannel;
pub use disk::AtaDisk;

/// How long things take, in nanoseconds of guest time.
pub mod timing {
    use emu_core::bus::Tick;

    /// A command without data.
    pub const COMMAND: Tick = 5_000;
    /// From a read command to its data.
    pub const READ: Tick = 20_000;
    /// From a block of written data to its completion.
    pub const WRITE: Tick = 20_000;
    /// Between two DRQ blocks of data that the drive holds already, or from a write command to DMA.
    pub const NEXT_BLOCK: Tick = 2_000;
    /// FLUSH CACHE.
    pub const FLUSH: Tick = 50_000;
    /// From the end of a reset until the drive is ready.
    pub const RESET: Tick = 100_000;
    /// How often a slow host is asked again, in host time.
    pub const ASK_AGAIN: Tick = 20_000;
}

/// Bits of the Status register.
mod status {
    pub const BSY: u8 = 1 << 7;
    pub const DRDY: u8 = 1 << 6;
    pub const DSC: u8 = 1 << 4;
    pub const DRQ: u8 = 1 << 3;
    pub const ERR: u8 = 1 << 0;
}

/// Bits of the Error register.
mod error {
    pub const UNC: u8 = 1 << 6;
    pub const IDNF: u8 = 1 << 4;
    pub const ABRT: u8 = 1 << 2;
    /// Diagnostic code after a reset: device passed.
    pub const PASSED: u8 = 1;
}

/// Bits of the Device register.
mod device {
    pub const LBA: u8 = 1 << 6;
    pub const DEV: u8 = 1 << 4;
    pub const HEAD: u8 = 0x0f;
}

/// Bits of the Device Control register.
mod control {
    pub const HOB: u8 = 1 << 7;
    pub const SRST: u8 = 1 << 2;
    pub const NIEN: u8 = 1 << 1;
}

#[cfg(test)]
mod cdrom_tests;
#[cfg(test)]
mod tests;
