//! Intel 82371SB (PIIX3) ISA bridge, 00:01.0: where PCI interrupts go.
//!
//! Manual: Intel 290550, "PCI to ISA/EIO Bridge Registers".
//! Modelled: PIRQ route control; the other registers hold what is written.
//! Left out: XBCS (the ROM is never writable), the timers and events of SMI# generation, motherboard IRQ steering.

use super::config::{ConfigSpace, Identity, STATUS_MEDIUM, header};
use super::{Changed, PciFunction};

const IORT: u8 = 0x4c;
const XBCS: u8 = 0x4e;
const PIRQRCA: u8 = 0x60;
const PIRQRCD: u8 = 0x63;
const TOM: u8 = 0x69;
const MBIRQ0: u8 = 0x70;
const MBDMA: u8 = 0x76;
const PCSC: u8 = 0x78;
const APICBASE: u8 = 0x80;
const DLC: u8 = 0x82;
const SMICNTL: u8 = 0xa0;

/// A route register: interrupt routing is off.
const NOT_ROUTED: u8 = 1 << 7;
/// IRQ 0, 1, 2, 8 and 13 cannot be routed to.
const ROUTABLE: u16 = 0b1101_1110_1111_1000;

/// The function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piix3 {
    config: ConfigSpace,
}

impl Piix3 {
    pub(super) fn new() -> Self {
        let identity = Identity { vendor: 0x8086, device: 0x7000, revision: 0, class: 0x06_0100 };
        let mut config = ConfigSpace::new(identity);
        config.set16(header::COMMAND, 0x0007);
        config.allow(header::COMMAND, &[0x08]);
        config.set16(header::STATUS, STATUS_MEDIUM);
        config.set8(header::HEADER_TYPE, 0x80); // one of several functions
        config.set8(IORT, 0x4d);
        config.allow(IORT, &[0xff]);
        config.set16(XBCS, 0x0003);
        config.allow(XBCS, &[0xff, 0x01]);
        config.set32(PIRQRCA, 0x8080_8080);
        config.allow(PIRQRCA, &[0x8f; 4]);
        config.set8(TOM, 0x02);
        config.allow(TOM, &[0xfe, 0x05, 0x80]);
        config.set8(MBIRQ0, 0x80);
        config.allow(MBIRQ0, &[0xef]);
        config.set16(MBDMA, 0x0c0c);
        config.allow(MBDMA, &[0x8f; 2]);
        config.set8(PCSC, 0x02);
        config.allow(PCSC, &[0xff; 2]);
        config.allow(APICBASE, &[0x7f]);
        config.allow(DLC, &[0x0f]);
        config.set8(SMICNTL, 0x08);
        config.allow(SMICNTL, &[0x1f, 0, 0xff, 0, 0xff, 0xff, 0xff, 0xff]);
        config.set8(0xa8, 0x0f); // FTMR, fast-off timer
        config.allow(0xa8, &[0xff, 0, 0xff, 0, 0xff, 0, 0xff]);
        Self { config }
    }

    /// The ISA interrupt that PIRQA# to PIRQD# (0 to 3) is steered to, if any.
    pub fn route(&self, pirq: u8) -> Option<u8> {
        let route = self.config.get8(PIRQRCA + (pirq & 3));
        let irq = route & 0x0f;
        (route & NOT_ROUTED == 0 && ROUTABLE >> irq & 1 != 0).then_some(irq)
    }
}

impl PciFunction for Piix3 {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_write(&mut self, register: u8, value: u8) -> Changed {
        let before = self.config.get8(register);
        self.config.write(register, value);
        let routing = matches!(register, PIRQRCA..=PIRQRCD) && self.config.get8(register) != before;
        Changed { routing, ..Changed::default() }
    }

    fn reset(&mut self) {
        *self = Self::new();
    }
}
