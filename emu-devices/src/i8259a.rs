//! Intel 8259A programmable interrupt controller, and the cascaded pair of a PC/AT.
//!
//! Manual: Intel 231468, "Initialization Command Words", "Operation Command Words", "Interrupt Sequence";
//! the edge/level control registers (ELCR) are those of the 82371SB (PIIX3), "Interrupt Controller Registers".
//! Modelled: ICW1 to ICW4, OCW1 to OCW3, edge and level requests, fully nested and special fully nested mode,
//! rotation, special mask mode, automatic EOI, poll, default IR7, cascading.
//! Left out: MCS-80/85 mode and buffered mode; ICW1.LTIM, which the ELCR replaces in a PC.
//! Open question: the manual does not say whether ICW1 clears the in-service register; we clear it.

use emu_core::bus::{PortIo, Tick};

/// Base port of the master.
pub const MASTER: u16 = 0x20;
/// Base port of the slave.
pub const SLAVE: u16 = 0xa0;
/// ELCR of the master; the slave's is the next port.
pub const ELCR: u16 = 0x4d0;

const ICW1_INIT: u8 = 1 << 4;
const ICW1_SINGLE: u8 = 1 << 1;
const ICW1_IC4: u8 = 1 << 0;
const ICW4_AEOI: u8 = 1 << 1;
const ICW4_SFNM: u8 = 1 << 4;
const OCW3: u8 = 1 << 3;
const OCW3_POLL: u8 = 1 << 2;
/// IRQ 0, 1 and 2 are always edge-triggered.
const ELCR_MASTER: u8 = 0xf8;
/// IRQ 8 and 13 are always edge-triggered.
const ELCR_SLAVE: u8 = 0xde;
/// Input of the master that the slave drives.
const CASCADE: u8 = 2;

/// Which word the chip expects at its odd port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expect {
    #[default]
    Ocw1,
    Icw2,
    Icw3,
    Icw4,
}

/// One 8259A.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct I8259a {
    /// IRR: requests.
    irr: u8,
    /// ISR: levels in service.
    isr: u8,
    /// IMR: masked levels.
    imr: u8,
    /// Levels of the IR pins.
    lines: u8,
    /// ELCR: level-triggered inputs.
    elcr: u8,
    /// ICW1 as written.
    icw1: u8,
    /// ICW2: bits 7:3 of the vectors.
    vector_base: u8,
    /// ICW3: inputs with a slave (master) or the chip's own number (slave).
    icw3: u8,
    /// ICW4 as written.
    icw4: u8,
    expect: Expect,
    /// Level with the highest priority (the one after the lowest; 0 after ICW1).
    first: u8,
    /// Rotation in automatic EOI mode.
    rotate_on_aeoi: bool,
    /// SMM: special mask mode.
    special_mask: bool,
    /// A read of the even port gives ISR, not IRR.
    read_isr: bool,
    /// The next read is a poll.
    poll: bool,
    /// Master in the pair (pin SP/EN high).
    master: bool,
}

impl I8259a {
    fn new(master: bool) -> Self {
        Self { master, ..Self::default() }
    }

    /// Sets the level of one IR pin.
    fn set_line(&mut self, level: u8, high: bool) {
        let bit = 1 << level;
        if high {
            if self.elcr & bit != 0 || self.lines & bit == 0 {
                self.irr |= bit;
            }
            self.lines |= bit;
        } else {
            // "Interrupt Sequence": the request must stay until the first INTA, or it is lost.
            self.irr &= !bit;
            self.lines &= !bit;
        }
    }

    /// Of the levels in `set`, the one with the highest priority.
    fn highest(&self, set: u8) -> Option<u8> {
        let first = u32::from(self.first);
        let rotated = set.rotate_right(first);
        (rotated != 0).then(|| ((rotated.trailing_zeros() + first) % 8) as u8)
    }

    /// The level that INT is up for.
    fn request(&self) -> Option<u8> {
        if self.expect != Expect::Ocw1 {
            return None;
        }
        let level = self.highest(self.irr & !self.imr & self.not_in_service())?;
        if self.special_mask {
            return Some(level);
        }
        let Some(serving) = self.highest(self.isr) else { return Some(level) };
        let rank = |level: u8| level.wrapping_sub(self.first) & 7;
        (rank(level) < rank(serving) || level == serving).then_some(level)
    }

    /// Levels that their own in-service bit does not hold back.
    fn not_in_service(&self) -> u8 {
        // In special fully nested mode a slave in service is not locked out.
        let nested = if self.master && self.icw4 & ICW4_SFNM != 0 { self.icw3 } else { 0 };
        !self.isr | nested
    }

    /// INTA or poll: `level` goes into service.
    fn serve(&mut self, level: u8) {
        let bit = 1 << level;
        if self.elcr & bit == 0 {
            self.irr &= !bit;
        }
        if self.icw4 & ICW4_AEOI == 0 {
            self.isr |= bit;
        } else if self.rotate_on_aeoi {
            self.first = (level + 1) & 7;
        }
    }

    fn read(&mut self, odd: bool) -> u8 {
        if std::mem::take(&mut self.poll) {
            return match self.request() {
                Some(level) => {
                    self.serve(level);
                    0x80 | level
                }
                None => 0,
            };
        }
        match (odd, self.read_isr) {
            (true, _) => self.imr,
            (false, true) => self.isr,
            (false, false) => self.irr,
        }
    }

    fn write(&mut self, odd: bool, value: u8) {
        match (odd, value) {
            (false, _) if value & ICW1_INIT != 0 => self.initialize(value),
            (false, _) if value & OCW3 != 0 => self.ocw3(value),
            (false, _) => self.ocw2(value),
            (true, _) => self.write_odd(value),
        }
    }

    /// ICW1.
    fn initialize(&mut self, icw1: u8) {
        *self = Self {
            icw1,
            expect: Expect::Icw2,
            lines: self.lines,
            elcr: self.elcr,
            // The edge-sense circuit starts afresh; levels still stand.
            irr: self.lines & self.elcr,
            vector_base: self.vector_base,
            icw3: self.icw3,
            ..Self::new(self.master)
        };
    }

    fn write_odd(&mut self, value: u8) {
        let after_icw3 = if self.icw1 & ICW1_IC4 != 0 { Expect::Icw4 } else { Expect::Ocw1 };
        match self.expect {
            Expect::Ocw1 => self.imr = value,
            Expect::Icw2 => {
                self.vector_base = value & 0xf8;
                self.expect = if self.icw1 & ICW1_SINGLE != 0 { after_icw3 } else { Expect::Icw3 };
            }
            Expect::Icw3 => {
                self.icw3 = value;
                self.expect = after_icw3;
            }
            Expect::Icw4 => {
                self.icw4 = value;
                self.expect = Expect::Ocw1;
            }
        }
    }

    /// OCW2: R | SL | EOI | 0 | 0 | L2:L0.
    fn ocw2(&mut self, value: u8) {
        let (rotate, specific, eoi) = (value & 0x80 != 0, value & 0x40 != 0, value & 0x20 != 0);
        let named = value & 7;
        if !eoi {
            match (rotate, specific) {
                (true, true) => self.first = (named + 1) & 7,
                (rotate, false) => self.rotate_on_aeoi = rotate,
                (false, true) => {} // no operation
            }
            return;
        }
        let level = if specific {
            Some(named)
        } else {
            // "Special Mask Mode": a masked level is not cleared by a non-specific EOI.
            let hidden = if self.special_mask { self.imr } else { 0 };
            self.highest(self.isr & !hidden)
        };
        let Some(level) = level else { return };
        self.isr &= !(1 << level);
        if rotate {
            self.first = (level + 1) & 7;
        }
    }

    /// OCW3: 0 | ESMM | SMM | 0 | 1 | P | RR | RIS.
    fn ocw3(&mut self, value: u8) {
        if value & 0x40 != 0 {
            self.special_mask = value & 0x20 != 0;
        }
        if value & OCW3_POLL != 0 {
            self.poll = true;
        } else if value & 2 != 0 {
            self.read_isr = value & 1 != 0;
        }
    }

    fn set_elcr(&mut self, value: u8) {
        self.elcr = value & if self.master { ELCR_MASTER } else { ELCR_SLAVE };
        self.irr |= self.lines & self.elcr;
    }
}

/// The two 8259A of a PC/AT: the slave's INT drives IR2 of the master.
#[derive(Clone, Debug, PartialEq)]
pub struct PicPair {
    master: I8259a,
    slave: I8259a,
    /// INT of the master.
    int: bool,
}

impl Default for PicPair {
    fn default() -> Self {
        Self::new()
    }
}

impl PicPair {
    /// Two chips in power-on state (which the manual leaves open: here all registers are 0).
    pub fn new() -> Self {
        Self { master: I8259a::new(true), slave: I8259a::new(false), int: false }
    }

    /// Sets the level of an IRQ line, 0 to 15 (2 is the cascade and has no line).
    pub fn set_irq(&mut self, irq: u8, high: bool) {
        match irq {
            CASCADE => {}
            0..8 => self.master.set_line(irq, high),
            _ => self.slave.set_line(irq & 7, high),
        }
        self.settle();
    }

    /// INT, the line towards the processor.
    #[inline]
    pub fn int(&self) -> bool {
        self.int
    }

    /// Both INTA cycles: gives the vector. Without a request it is that of IR7, and nothing is in service.
    pub fn acknowledge(&mut self) -> u8 {
        let level = self.master.request();
        if let Some(level) = level {
            self.master.serve(level);
        }
        let vector = match level {
            None => self.master.vector_base | 7,
            Some(CASCADE) => {
                let level = self.slave.request();
                if let Some(level) = level {
                    self.slave.serve(level);
                }
                // The slave's INT falls with INTA and rises again for what is left.
                self.master.set_line(CASCADE, false);
                self.slave.vector_base | level.unwrap_or(7)
            }
            Some(level) => self.master.vector_base | level,
        };
        self.settle();
        vector
    }

    fn settle(&mut self) {
        self.master.set_line(CASCADE, self.slave.request().is_some());
        self.int = self.master.request().is_some();
    }
}

impl PortIo for PicPair {
    fn read8(&mut self, port: u16, _now: Tick) -> u8 {
        let value = match port {
            ELCR => return self.master.elcr,
            0x4d1 => return self.slave.elcr,
            _ if port & 0x80 == 0 => self.master.read(port & 1 != 0),
            _ => self.slave.read(port & 1 != 0),
        };
        self.settle(); // a poll puts a level into service
        value
    }

    fn write8(&mut self, port: u16, value: u8, _now: Tick) {
        match port {
            ELCR => self.master.set_elcr(value),
            0x4d1 => self.slave.set_elcr(value),
            _ if port & 0x80 == 0 => self.master.write(port & 1 != 0, value),
            _ => self.slave.write(port & 1 != 0, value),
        }
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a BIOS sets the pair up: vectors 08h and 70h, nothing masked.
    fn pair() -> PicPair {
        with_icw4(1)
    }

    fn with_icw4(icw4: u8) -> PicPair {
        let mut pic = PicPair::new();
        for (port, value) in [(0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, icw4), (0x21, 0)] {
            pic.write8(port, value, 0);
        }
        for (port, value) in [(0xa0, 0x11), (0xa1, 0x70), (0xa1, 0x02), (0xa1, 1), (0xa1, 0)] {
            pic.write8(port, value, 0);
        }
        pic
    }

    fn isr(pic: &mut PicPair, port: u16) -> u8 {
        pic.write8(port, 0x0b, 0);
        pic.read8(port, 0)
    }

    #[test]
    fn ir0_outranks_ir1_and_holds_it_back_until_eoi() {
        let mut pic = pair();
        pic.set_irq(1, true);
        pic.set_irq(0, true);
        assert_eq!(pic.acknowledge(), 0x08);
        assert!(!pic.int());
        pic.write8(0x20, 0x20, 0);
        assert!(pic.int());
        assert_eq!(pic.acknowledge(), 0x09);
    }

    #[test]
    fn a_slave_request_sets_both_in_service_bits() {
        let mut pic = pair();
        pic.set_irq(14, true);
        assert_eq!(pic.acknowledge(), 0x76);
        assert_eq!((isr(&mut pic, 0x20), isr(&mut pic, 0xa0)), (0x04, 0x40));
        pic.write8(0xa0, 0x20, 0);
        pic.write8(0x20, 0x20, 0);
        assert_eq!((isr(&mut pic, 0x20), isr(&mut pic, 0xa0)), (0, 0));
        assert!(!pic.int());
    }

    #[test]
    fn a_request_that_goes_away_gives_the_default_vector_and_no_service() {
        let mut pic = pair();
        pic.set_irq(3, true);
        pic.set_irq(3, false);
        assert!(!pic.int());
        assert_eq!(pic.acknowledge(), 0x0f);
        assert_eq!(isr(&mut pic, 0x20), 0);
    }

    #[test]
    fn an_edge_is_taken_once_and_a_level_again_after_eoi() {
        let mut pic = pair();
        pic.write8(0x4d1, 0xff, 0);
        assert_eq!(pic.read8(0x4d1, 0), 0xde);
        pic.set_irq(5, true);
        pic.set_irq(11, true);
        assert_eq!(pic.acknowledge(), 0x73);
        pic.write8(0xa0, 0x20, 0);
        pic.write8(0x20, 0x20, 0);
        assert_eq!(pic.acknowledge(), 0x73, "still high and level-triggered, and it outranks IR5");
        pic.set_irq(11, false);
        pic.write8(0xa0, 0x20, 0);
        pic.write8(0x20, 0x20, 0);
        assert_eq!(pic.acknowledge(), 0x0d);
        pic.write8(0x20, 0x20, 0);
        assert!(!pic.int(), "IR5 is still high, but an edge counts once");
    }

    #[test]
    fn rotation_on_specific_eoi_makes_the_level_the_lowest() {
        let mut pic = pair();
        pic.set_irq(4, true);
        assert_eq!(pic.acknowledge(), 0x0c);
        pic.write8(0x20, 0xe4, 0);
        pic.set_irq(3, true);
        pic.set_irq(5, true);
        assert_eq!(pic.acknowledge(), 0x0d, "IR5 comes first after rotation");
    }

    #[test]
    fn set_priority_command_names_the_lowest() {
        let mut pic = pair();
        pic.write8(0x20, 0xc5, 0);
        pic.set_irq(0, true);
        pic.set_irq(6, true);
        assert_eq!(pic.acknowledge(), 0x0e);
    }

    #[test]
    fn special_mask_lets_lower_levels_through() {
        let mut pic = pair();
        pic.set_irq(1, true);
        pic.acknowledge();
        pic.set_irq(6, true);
        assert!(!pic.int());
        pic.write8(0x21, 0x02, 0);
        pic.write8(0x20, 0x68, 0);
        assert_eq!(pic.acknowledge(), 0x0e);
        pic.write8(0x20, 0x20, 0);
        assert_eq!(isr(&mut pic, 0x20), 0x02, "the masked level keeps its in-service bit");
    }

    #[test]
    fn automatic_eoi_leaves_nothing_in_service() {
        let mut pic = with_icw4(3);
        pic.set_irq(0, true);
        assert_eq!(pic.acknowledge(), 0x08);
        assert_eq!(isr(&mut pic, 0x20), 0);
    }

    #[test]
    fn special_fully_nested_mode_lets_a_higher_slave_request_in() {
        for (icw4, expected) in [(0x01, false), (0x11, true)] {
            let mut pic = with_icw4(icw4);
            pic.set_irq(12, true);
            assert_eq!(pic.acknowledge(), 0x74);
            pic.set_irq(8, true);
            assert_eq!(pic.int(), expected);
        }
    }

    #[test]
    fn a_poll_reads_the_level_and_serves_it() {
        let mut pic = pair();
        pic.set_irq(6, true);
        pic.write8(0x20, 0x0c, 0);
        assert_eq!(pic.read8(0x20, 0), 0x86);
        assert_eq!(isr(&mut pic, 0x20), 0x40);
        pic.write8(0x20, 0x0c, 0);
        assert_eq!(pic.read8(0x20, 0) & 0x80, 0);
    }

    #[test]
    fn icw1_clears_the_mask_and_old_edges() {
        let mut pic = pair();
        pic.write8(0x21, 0xff, 0);
        pic.set_irq(7, true);
        pic.write8(0x20, 0x11, 0);
        for value in [0x20, 0x04, 0x01] {
            pic.write8(0x21, value, 0);
        }
        assert_eq!(pic.read8(0x21, 0), 0);
        assert!(!pic.int(), "IR7 must go low and high again");
        pic.set_irq(7, false);
        pic.set_irq(7, true);
        assert_eq!(pic.acknowledge(), 0x27);
    }

    #[test]
    fn a_vanished_slave_request_gives_the_slaves_default_vector() {
        let mut pic = pair();
        pic.set_irq(10, true);
        // The line falls between the master's INTA and the slave's.
        pic.slave.set_line(2, false);
        assert_eq!(pic.acknowledge(), 0x77);
        assert_eq!((isr(&mut pic, 0x20), isr(&mut pic, 0xa0)), (0x04, 0));
    }
}
