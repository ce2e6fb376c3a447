//! Port I/O: the IN and OUT instructions.

use core::arch::asm;

macro_rules! port_io {
    ($read:ident, $write:ident, $type:ty, $register:tt) => {
        /// Reads the port.
        pub fn $read(port: u16) -> $type {
            let value: $type;
            // SAFETY: IN touches no memory. What the device does is the caller's business, and all
            // callers are drivers that own their ports.
            unsafe {
                asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value,
                    options(nostack, preserves_flags));
            }
            value
        }

        /// Writes the port.
        pub fn $write(port: u16, value: $type) {
            // SAFETY: as for reading; no driver here starts a DMA transfer.
            unsafe {
                asm!(concat!("out dx, ", $register), in("dx") port, in($register) value,
                    options(nostack, preserves_flags));
            }
        }
    };
}

port_io!(in8, out8, u8, "al");
port_io!(in16, out16, u16, "ax");
port_io!(in32, out32, u32, "eax");

/// REP INSW: fills the buffer from a 16-bit port.
pub fn read_words(port: u16, buffer: &mut [u16]) {
    // SAFETY: exactly `len` words of the buffer are written.
    unsafe {
        asm!("rep insw", in("dx") port, inout("rcx") buffer.len() => _,
            inout("rdi") buffer.as_mut_ptr() => _, options(nostack, preserves_flags));
    }
}

/// REP OUTSW: writes the buffer to a 16-bit port.
pub fn write_words(port: u16, buffer: &[u16]) {
    // SAFETY: exactly `len` words of the buffer are read.
    unsafe {
        asm!("rep outsw", in("dx") port, inout("rcx") buffer.len() => _,
            inout("rsi") buffer.as_ptr() => _, options(nostack, preserves_flags, readonly));
    }
}

/// A short pause for old chips: port 80h belongs to POST codes and takes a bus cycle to write.
pub fn settle() {
    out8(0x80, 0);
}
