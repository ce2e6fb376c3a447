//! Ports and memory for programs that test a processor or its interrupt controllers; they come with the debug-exit
//! port.
//!
//! Their places are those of QEMU's device of the name pc-testdev, which KVM's unit tests use. Modelled: a latch of 32
//! bits at ports E0h to E3h; E4h to E7h take a page's address and ignore it, as there is nothing to flush; writing to
//! port 2000h + N drives ISA interrupt line N high or low; 64 KiB of memory at FF000000h that is reached through the
//! device, so that no instruction can take it for RAM.

/// Physical address and length of the memory.
pub const MEMORY: u64 = 0xff00_0000;
/// Bytes of it.
pub const MEMORY_SIZE: u64 = 64 << 10;
const LATCH: u16 = 0xe0;
const FLUSH: u16 = 0xe4;
const LINES: u16 = 0x2000;
const LINE_COUNT: u16 = 16;

/// The device.
#[derive(Clone, PartialEq, Eq)]
pub struct TestDevice {
    latch: [u8; 4],
    /// Levels of the interrupt lines that it drives.
    lines: u16,
    memory: Vec<u8>,
}

impl std::fmt::Debug for TestDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestDevice")
            .field("latch", &self.latch)
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}

impl Default for TestDevice {
    fn default() -> Self {
        Self::new()
    }
}

impl TestDevice {
    /// All zeros.
    pub fn new() -> Self {
        Self { latch: [0; 4], lines: 0, memory: vec![0; MEMORY_SIZE as usize] }
    }

    /// Levels of the ISA interrupt lines that it drives.
    pub fn lines(&self) -> u16 {
        self.lines
    }

    /// IN; `None` where it has no port.
    pub fn port_read(&self, port: u16, size: u8) -> Option<u32> {
        match port {
            LATCH..FLUSH => {
                let from = usize::from(port - LATCH);
                let bytes = self.latch[from..].iter().take(size.into());
                Some(bytes.rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte)))
            }
            FLUSH..=0xe7 => Some(0),
            _ => None,
        }
    }

    /// OUT; false where it has no port.
    pub fn port_write(&mut self, port: u16, size: u8, value: u32) -> bool {
        match port {
            LATCH..FLUSH => {
                let from = usize::from(port - LATCH);
                for (byte, new) in self.latch[from..].iter_mut().zip(value.to_le_bytes()).take(size.into()) {
                    *byte = new;
                }
                true
            }
            FLUSH..=0xe7 => true,
            _ => match port.checked_sub(LINES) {
                Some(line) if line < LINE_COUNT => {
                    self.lines = self.lines & !(1 << line) | u16::from(value != 0) << line;
                    true
                }
                _ => false,
            },
        }
    }

    /// Reads the memory. Accesses do not cross pages, so they end within it.
    pub fn memory_read(&self, offset: u64, size: u8) -> u64 {
        let bytes = self.memory[offset as usize..].iter().take(size.into());
        bytes.rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
    }

    /// Writes the memory.
    pub fn memory_write(&mut self, offset: u64, size: u8, value: u64) {
        for (byte, new) in
            self.memory[offset as usize..].iter_mut().zip(value.to_le_bytes()).take(size.into())
        {
            *byte = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latch_keeps_its_bytes() {
        let mut device = TestDevice::new();
        assert!(device.port_write(0xe0, 4, 0x1234_5678) && device.port_write(0xe1, 1, 0xab));
        assert_eq!(device.port_read(0xe0, 4), Some(0x1234_ab78));
        assert_eq!(device.port_read(0xe2, 2), Some(0x1234));
        assert_eq!((device.port_read(0xe3, 1), device.port_read(0xe8, 1)), (Some(0x12), None));
    }

    #[test]
    fn lines_stay_as_they_were_driven() {
        let mut device = TestDevice::new();
        assert!(device.port_write(0x200e, 4, 1) && device.port_write(0x2003, 1, 1));
        assert_eq!(device.lines(), 0x4008);
        assert!(device.port_write(0x200e, 1, 0));
        assert_eq!(device.lines(), 0x0008);
        assert!(!device.port_write(0x2010, 1, 1), "there are sixteen");
    }

    #[test]
    fn the_memory_remembers() {
        let mut device = TestDevice::new();
        device.memory_write(0xfff8, 8, 0x0123_4567_89ab_cdef);
        device.memory_write(0xfff9, 2, 0);
        assert_eq!(device.memory_read(0xfff8, 8), 0x0123_4567_8900_00ef);
        assert_eq!(device.memory_read(0xffff, 1), 0x01);
    }
}
