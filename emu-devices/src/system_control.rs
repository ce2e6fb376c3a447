//! The small control ports of a PC: 61h (timer 2 and speaker), 92h (A20 and fast reset), CF9h (reset).
//!
//! Manual: 82371SB (PIIX3), "NMI Status and Control Register", "Port 92 Register", "Reset Control Register".
//! Modelled: GATE 2, speaker data, the read-back of OUT 2 and of the refresh toggle, A20, both ways to reset.
//! Left out: parity and channel-check NMIs (nothing here raises them); a soft reset through CF9h is a hard one.

/// Bits of port 61h that software writes: GATE 2, speaker, parity and channel-check disable.
const PORT_61_WRITABLE: u8 = 0x0f;
const PORT_61_GATE2: u8 = 1 << 0;
const PORT_61_REFRESH: u8 = 1 << 4;
const PORT_61_OUT2: u8 = 1 << 5;
const PORT_92_RESET: u8 = 1 << 0;
const PORT_92_A20: u8 = 1 << 1;
const CF9_RESET_CPU: u8 = 1 << 2;
const CF9_WRITABLE: u8 = 0x0e;

/// The registers behind these ports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SystemControl {
    port_61: u8,
    port_92: u8,
    cf9: u8,
    reset_request: bool,
}

impl SystemControl {
    /// After reset: everything 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// True once after the guest asked for a reset.
    pub fn take_reset(&mut self) -> bool {
        std::mem::take(&mut self.reset_request)
    }

    /// Reads port 61h.
    pub fn read_61(&self, refresh: bool, out2: bool) -> u8 {
        self.port_61 | if refresh { PORT_61_REFRESH } else { 0 } | if out2 { PORT_61_OUT2 } else { 0 }
    }

    /// Writes port 61h; gives the level of GATE 2.
    pub fn write_61(&mut self, value: u8) -> bool {
        self.port_61 = value & PORT_61_WRITABLE;
        value & PORT_61_GATE2 != 0
    }

    /// Reads port 92h, where bit 1 tells how the A20 gate stands.
    pub fn read_92(&self, a20: bool) -> u8 {
        self.port_92 | if a20 { PORT_92_A20 } else { 0 }
    }

    /// Writes port 92h; gives how the A20 gate is to stand.
    pub fn write_92(&mut self, value: u8) -> bool {
        // The processor is reset by a rising bit 0.
        self.reset_request |= value & !self.port_92 & PORT_92_RESET != 0;
        self.port_92 = value & PORT_92_RESET;
        value & PORT_92_A20 != 0
    }

    /// Reads CF9h.
    pub fn read_cf9(&self) -> u8 {
        self.cf9
    }

    /// Writes CF9h.
    pub fn write_cf9(&mut self, value: u8) {
        self.reset_request |= value & !self.cf9 & CF9_RESET_CPU != 0;
        self.cf9 = value & CF9_WRITABLE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_61_keeps_four_bits_and_shows_the_timer() {
        let mut control = SystemControl::new();
        assert!(control.write_61(0xff));
        assert_eq!(control.read_61(false, false), 0x0f);
        assert_eq!(control.read_61(true, true), 0x3f);
        assert!(!control.write_61(0xfe));
    }

    #[test]
    fn port_92_resets_on_a_rising_bit_and_moves_a20() {
        let mut control = SystemControl::new();
        assert!(control.write_92(0x02));
        assert!(!control.take_reset());
        assert!(!control.write_92(0x01));
        assert!(control.take_reset());
        control.write_92(0x01);
        assert!(!control.take_reset());
    }

    #[test]
    fn cf9_resets_when_bit_2_rises() {
        let mut control = SystemControl::new();
        control.write_cf9(0x02);
        assert!(!control.take_reset());
        control.write_cf9(0x06);
        assert!(control.take_reset());
        assert_eq!(control.read_cf9(), 0x06);
    }
}
