//! Ports that exist for people who debug: the POST code at 80h, Bochs's and QEMU's debug console at E9h, and
//! QEMU's isa-debug-exit.
//!
//! E9h reads back as E9h, which is how programs find it. The exit port is wherever the board was told to put it.

/// Console output that nobody fetched is dropped beyond this many bytes.
const OUTPUT_LIMIT: usize = 1 << 20;

/// All three.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DebugPorts {
    post_code: u8,
    output: Vec<u8>,
    exit: Option<u32>,
}

impl DebugPorts {
    /// Nothing written yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Last byte written to port 80h.
    pub fn post_code(&self) -> u8 {
        self.post_code
    }

    /// Writes port 80h.
    pub fn write_post_code(&mut self, value: u8) {
        self.post_code = value;
    }

    /// Reads port E9h.
    pub fn read_console(&self) -> u8 {
        0xe9
    }

    /// Writes port E9h.
    pub fn write_console(&mut self, value: u8) {
        if self.output.len() < OUTPUT_LIMIT {
            self.output.push(value);
        }
    }

    /// Takes what was written to port E9h.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Writes the exit port (1, 2 or 4 bytes).
    pub fn write_exit(&mut self, value: u32) {
        self.exit.get_or_insert(value);
    }

    /// Takes the first value written to the exit port.
    pub fn take_exit(&mut self) -> Option<u32> {
        self.exit.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_is_found_and_keeps_its_bytes() {
        let mut ports = DebugPorts::new();
        assert_eq!(ports.read_console(), 0xe9);
        b"ok\n".iter().for_each(|&byte| ports.write_console(byte));
        assert_eq!(ports.take_output(), b"ok\n");
        (0..2 << 20).for_each(|_| ports.write_console(0));
        assert_eq!(ports.take_output().len(), 1 << 20);
    }

    #[test]
    fn the_first_exit_value_counts() {
        let mut ports = DebugPorts::new();
        ports.write_exit(0x10);
        ports.write_exit(0x20);
        assert_eq!((ports.take_exit(), ports.take_exit()), (Some(0x10), None));
    }
}
