//! Intel 82441FX host bridge (PMC), 00:00.0: which part of the first megabyte is DRAM.
//!
//! Manual: Intel 290549, "PCI Configuration Space Mapped Registers".
//! Modelled: PAM0 to PAM6 and SMRAM; the DRAM timing and row-boundary registers hold what is written.
//! Left out: ECC, error reporting, the hole at 15 MiB.

use super::config::{ConfigSpace, Identity, STATUS_FAST_MEDIUM, header};
use super::{Changed, PciFunction};

const DRAMC: u8 = 0x57;
const PAM0: u8 = 0x59;
const PAM6: u8 = 0x5f;
const SMRAM: u8 = 0x72;

/// Read enable and write enable of the lower half of a PAM register.
const READ: u8 = 1 << 0;
const WRITE: u8 = 1 << 1;

/// SMRAM open, closed, locked, enabled.
const D_OPEN: u8 = 1 << 6;
const D_CLS: u8 = 1 << 5;
const D_LCK: u8 = 1 << 4;
const G_SMRAME: u8 = 1 << 3;

/// One region of PAM0 to PAM6, between C0000h and FFFFFh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PamRegion {
    /// First address.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
    /// Reads go to DRAM (else to the ROM behind PCI).
    pub read: bool,
    /// Writes go to DRAM (else they vanish on PCI).
    pub write: bool,
}

/// The chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I440fx {
    config: ConfigSpace,
}

impl I440fx {
    pub(super) fn new() -> Self {
        let identity = Identity { vendor: 0x8086, device: 0x1237, revision: 2, class: 0x06_0000 };
        let mut config = ConfigSpace::new(identity);
        // Memory access and bus mastering cannot be switched off.
        config.set16(header::COMMAND, 0x0006);
        config.allow(header::COMMAND, &0x0140u16.to_le_bytes());
        config.set16(header::STATUS, STATUS_FAST_MEDIUM);
        config.allow(header::LATENCY_TIMER, &[0xf8]);
        // PMCCFG, DETURBO, DRAMC, DRAMT; PAM0 has only an upper half; row boundaries; hole, MTT, CLT.
        config.set8(DRAMC, 0x01);
        config.allow(0x50, &[0xff; 9]);
        config.allow(PAM0, &[0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33]);
        config.allow(0x60, &[0xff; 9]);
        config.allow(0x70, &[0xff; 2]);
        config.set8(SMRAM, 0x02);
        config.allow(SMRAM, &[D_OPEN | D_CLS | D_LCK | G_SMRAME]);
        Self { config }
    }

    /// The 13 regions of PAM0 to PAM6, in ascending order: twelve of 16 KiB from C0000h on, and 64 KiB at F0000h.
    pub fn pam(&self) -> [PamRegion; 13] {
        std::array::from_fn(|number| {
            // PAM1 to PAM6 hold two regions each, the lower one in the lower half; PAM0 holds the last one.
            let (register, shift) = match number {
                12 => (PAM0, 4),
                _ => (PAM0 + 1 + (number / 2) as u8, 4 * (number % 2)),
            };
            let bits = self.config.get8(register) >> shift;
            PamRegion {
                start: 0xc_0000 + 0x4000 * number as u32,
                len: if number == 12 { 0x1_0000 } else { 0x4000 },
                read: bits & READ != 0,
                write: bits & WRITE != 0,
            }
        })
    }

    /// A0000h to BFFFFh is DRAM for everyone, not only in system-management mode.
    pub fn smram_open(&self) -> bool {
        self.config.get8(SMRAM) & (D_OPEN | D_CLS | G_SMRAME) == D_OPEN | G_SMRAME
    }

    /// A0000h to BFFFFh is DRAM in system-management mode.
    pub fn smram_enabled(&self) -> bool {
        self.config.get8(SMRAM) & G_SMRAME != 0
    }

    /// There, only instruction fetches reach it.
    pub fn smram_closed_to_data(&self) -> bool {
        self.config.get8(SMRAM) & D_CLS != 0
    }
}

impl PciFunction for I440fx {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_write(&mut self, register: u8, value: u8) -> Changed {
        let before = self.config.get8(register);
        self.config.write(register, value);
        if register == SMRAM && before & D_LCK == 0 && value & D_LCK != 0 {
            // Locked until reset: closed, and only "closed to data" can still be changed.
            self.config.set8(SMRAM, self.config.get8(SMRAM) & !D_OPEN);
            self.config.allow(SMRAM, &[D_CLS]);
        }
        let memory = matches!(register, PAM0..=PAM6 | SMRAM) && self.config.get8(register) != before;
        Changed { memory, ..Changed::default() }
    }

    fn reset(&mut self) {
        *self = Self::new();
    }
}
