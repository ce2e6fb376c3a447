//! Sense: why a packet command failed. SPC-3, "Sense data"; MMC-3, annex "Error reporting".

use super::error;
use crate::block::BlockError;

/// Bytes of fixed format sense data.
const SENSE_SIZE: usize = 18;

/// Sense key, additional sense code and its qualifier, and the sector that could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: u8,
    /// Additional sense code.
    pub code: u8,
    /// Its qualifier.
    pub qualifier: u8,
    /// Logical block address, where one is to blame.
    pub information: Option<u32>,
}

impl Sense {
    const fn new(key: u8, code: u8, qualifier: u8) -> Self {
        Self { key, code, qualifier, information: None }
    }

    /// No sense.
    pub const NONE: Self = Self::new(0x0, 0x00, 0x00);
    /// Not ready, medium not present, tray open.
    pub const TRAY_OPEN: Self = Self::new(0x2, 0x3a, 0x02);
    /// Medium error, unrecovered read error.
    pub const UNREADABLE: Self = Self::new(0x3, 0x11, 0x00);
    /// Illegal request, invalid command operation code.
    pub const NO_SUCH_COMMAND: Self = Self::new(0x5, 0x20, 0x00);
    /// Illegal request, logical block address out of range.
    pub const OUT_OF_RANGE: Self = Self::new(0x5, 0x21, 0x00);
    /// Illegal request, invalid field in the command packet.
    pub const INVALID_FIELD: Self = Self::new(0x5, 0x24, 0x00);
    /// Illegal request, saving parameters not supported.
    pub const NOTHING_SAVED: Self = Self::new(0x5, 0x39, 0x00);
    /// Illegal request, medium removal prevented.
    pub const LOCKED: Self = Self::new(0x5, 0x53, 0x02);
    /// Unit attention, medium may have changed.
    pub const MEDIUM_CHANGED: Self = Self::new(0x6, 0x28, 0x00);
    /// Unit attention, power on or reset.
    pub const POWERED_ON: Self = Self::new(0x6, 0x29, 0x00);

    /// The same, with the block that is to blame.
    pub fn at(self, lba: u32) -> Self {
        Self { information: Some(lba), ..self }
    }

    /// For a read that the backend could not do.
    pub fn of_read(error: BlockError, lba: u32) -> Self {
        match error {
            BlockError::Range => Self::OUT_OF_RANGE.at(lba),
            BlockError::ReadOnly | BlockError::Host => Self::UNREADABLE.at(lba),
        }
    }

    /// What the Error register shows: the sense key, and ABRT.
    pub fn error_register(self) -> u8 {
        match self.key {
            0 => 0,
            key => key << 4 | error::ABRT,
        }
    }

    /// Fixed format, current errors.
    pub fn data(self) -> [u8; SENSE_SIZE] {
        let mut data = [0; SENSE_SIZE];
        data[0] = 0x70;
        if let Some(lba) = self.information {
            data[0] |= 0x80;
            data[3..7].copy_from_slice(&lba.to_be_bytes());
        }
        data[2] = self.key;
        data[7] = (SENSE_SIZE - 8) as u8;
        data[12] = self.code;
        data[13] = self.qualifier;
        data
    }
}
