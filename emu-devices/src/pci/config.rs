//! Configuration space: 256 bytes, and which of their bits the host may change.

/// Command register: the function answers on its I/O ports.
pub const COMMAND_IO: u16 = 1 << 0;
/// Command register: the function answers on its memory.
pub const COMMAND_MEMORY: u16 = 1 << 1;
/// Command register: the function may master the bus.
pub const COMMAND_MASTER: u16 = 1 << 2;

/// Offsets of the header (PCI 2.1, "Configuration Space Organization").
pub mod header {
    #![allow(missing_docs, reason = "the names are the specification's")]

    pub const VENDOR_ID: u8 = 0x00;
    pub const DEVICE_ID: u8 = 0x02;
    pub const COMMAND: u8 = 0x04;
    pub const STATUS: u8 = 0x06;
    pub const REVISION_ID: u8 = 0x08;
    pub const LATENCY_TIMER: u8 = 0x0d;
    pub const HEADER_TYPE: u8 = 0x0e;
    pub const BASE_ADDRESS: u8 = 0x10;
    pub const SUBSYSTEM_VENDOR_ID: u8 = 0x2c;
    pub const SUBSYSTEM_ID: u8 = 0x2e;
    pub const EXPANSION_ROM: u8 = 0x30;
    pub const INTERRUPT_LINE: u8 = 0x3c;
    pub const INTERRUPT_PIN: u8 = 0x3d;
}

/// Bits of the Status register: fast back-to-back capable, DEVSEL# timing medium.
pub const STATUS_FAST_MEDIUM: u16 = 0x0280;
/// The same without fast back-to-back.
pub const STATUS_MEDIUM: u16 = 0x0200;

/// What tells one function from another.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Vendor ID and Device ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision ID.
    pub revision: u8,
    /// Base class, sub-class and programming interface.
    pub class: u32,
}

/// The registers of one function. Bits are read-only unless made writable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSpace {
    bytes: [u8; 256],
    writable: [u8; 256],
}

impl ConfigSpace {
    /// A header of type 0 whose bits are all read-only but the interrupt line.
    pub fn new(identity: Identity) -> Self {
        let mut space = Self { bytes: [0; 256], writable: [0; 256] };
        space.set16(header::VENDOR_ID, identity.vendor);
        space.set16(header::DEVICE_ID, identity.device);
        space.set32(header::REVISION_ID, identity.class << 8 | u32::from(identity.revision));
        // What QEMU's functions have where the chip has nothing of its own.
        space.set16(header::SUBSYSTEM_VENDOR_ID, 0x1af4);
        space.set16(header::SUBSYSTEM_ID, 0x1100);
        space.allow(header::INTERRUPT_LINE, &[0xff]);
        space
    }

    /// One byte.
    pub fn get8(&self, register: u8) -> u8 {
        self.bytes[usize::from(register)]
    }

    /// Two bytes.
    pub fn get16(&self, register: u8) -> u16 {
        u16::from_le_bytes([self.get8(register), self.get8(register.wrapping_add(1))])
    }

    /// Four bytes.
    pub fn get32(&self, register: u8) -> u32 {
        u32::from(self.get16(register)) | u32::from(self.get16(register.wrapping_add(2))) << 16
    }

    /// Sets one byte, whether the host may or not.
    pub fn set8(&mut self, register: u8, value: u8) {
        self.bytes[usize::from(register)] = value;
    }

    /// Sets two bytes.
    pub fn set16(&mut self, register: u8, value: u16) {
        self.set(register, &value.to_le_bytes());
    }

    /// Sets four bytes.
    pub fn set32(&mut self, register: u8, value: u32) {
        self.set(register, &value.to_le_bytes());
    }

    fn set(&mut self, register: u8, bytes: &[u8]) {
        for (offset, byte) in (register..=0xff).zip(bytes) {
            self.set8(offset, *byte);
        }
    }

    /// Lets the host change the bits that are 1 in `mask`, from `register` on.
    pub fn allow(&mut self, register: u8, mask: &[u8]) {
        for (offset, bits) in (register..=0xff).zip(mask) {
            self.writable[usize::from(offset)] = *bits;
        }
    }

    /// The host writes one byte.
    pub fn write(&mut self, register: u8, value: u8) {
        let (byte, mask) = (&mut self.bytes[usize::from(register)], self.writable[usize::from(register)]);
        *byte = *byte & !mask | value & mask;
    }

    /// The Command register.
    pub fn command(&self) -> u16 {
        self.get16(header::COMMAND)
    }

    /// Makes base-address register `number` (0 to 5) a range of `size` bytes (a power of two) in 32-bit memory.
    pub fn memory_bar(&mut self, number: u8, size: u32, prefetchable: bool) {
        let register = header::BASE_ADDRESS + 4 * number;
        self.set32(register, u32::from(prefetchable) << 3);
        self.allow(register, &(!(size - 1) & !0xf).to_le_bytes());
    }

    /// Where the memory of register `register` (a base address or the expansion ROM) answers: nowhere while
    /// decoding is off, at 0, or where a host that asks for the size leaves it for a moment (the top of 4 GiB).
    pub fn memory_base(&self, register: u8, size: u32) -> Option<u64> {
        let base = self.get32(register) & !(size - 1);
        let answers = self.command() & COMMAND_MEMORY != 0 && base != 0 && base.checked_add(size).is_some();
        answers.then_some(u64::from(base))
    }
}
