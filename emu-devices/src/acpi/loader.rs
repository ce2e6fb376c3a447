//! The script by which firmware puts tables into memory: it alone knows where there is room.
//!
//! Interface: the "table loader" of QEMU's firmware configuration device, which SeaBIOS and our BIOS carry out. The
//! file `etc/table-loader` is a list of commands of 128 bytes: a number, then names of files in 56 bytes each and
//! numbers, all little-endian, as each command needs them.

/// Bytes of a command, and of a file's name in it.
const COMMAND_SIZE: usize = 128;
const NAME_SIZE: usize = 56;

const ALLOCATE: u32 = 1;
const ADD_POINTER: u32 = 2;
const ADD_CHECKSUM: u32 = 3;

/// Where a file is to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Zone {
    /// Anywhere below 4 GiB.
    High = 1,
    /// Between F0000h and FFFFFh, where it is searched for.
    FSegment = 2,
}

/// The script under construction.
#[derive(Debug, Default)]
pub struct Loader(Vec<u8>);

impl Loader {
    /// Loads a file at a multiple of `align`.
    pub fn allocate(&mut self, file: &str, align: u32, zone: Zone) {
        self.command(ALLOCATE, &[&name(file), &align.to_le_bytes(), &[zone as u8]]);
    }

    /// Adds the address of the file `to` to the pointer of `size` bytes (4 or 8) at `offset` in the file `within`.
    /// Until then the pointer is an offset in `to`.
    pub fn add_pointer(&mut self, within: &str, offset: usize, size: u8, to: &str) {
        self.command(ADD_POINTER, &[&name(within), &name(to), &(offset as u32).to_le_bytes(), &[size]]);
    }

    /// Makes `length` bytes of a file from `start` on add up to zero, by the byte at `offset`.
    pub fn add_checksum(&mut self, file: &str, offset: usize, start: usize, length: usize) {
        let numbers = [offset, start, length].map(|number| (number as u32).to_le_bytes());
        self.command(ADD_CHECKSUM, &[&name(file), numbers.as_flattened()]);
    }

    fn command(&mut self, number: u32, operands: &[&[u8]]) {
        let end = self.0.len() + COMMAND_SIZE;
        self.0.extend(number.to_le_bytes());
        operands.iter().for_each(|operand| self.0.extend_from_slice(operand));
        self.0.resize(end, 0);
    }

    /// The finished script.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn name(file: &str) -> [u8; NAME_SIZE] {
    let mut field = [0; NAME_SIZE];
    let used = file.len().min(NAME_SIZE - 1);
    field[..used].copy_from_slice(&file.as_bytes()[..used]);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_laid_out_as_the_interface_says() {
        let mut loader = Loader::default();
        loader.allocate("etc/a", 64, Zone::High);
        loader.add_pointer("etc/b", 16, 4, "etc/a");
        loader.add_checksum("etc/b", 8, 0, 20);
        let bytes = loader.bytes();
        assert_eq!(bytes.len(), 3 * 128);
        assert_eq!((&bytes[..10], &bytes[60..66]), (&b"\x01\0\0\0etc/a\0"[..], &[64, 0, 0, 0, 1, 0][..]));
        let second = &bytes[128..];
        assert_eq!((&second[..9], &second[60..65]), (&b"\x02\0\0\0etc/b"[..], &b"etc/a"[..]));
        assert_eq!(second[116..122], [16, 0, 0, 0, 4, 0]);
        assert_eq!(bytes[256 + 60..256 + 73], [8, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0]);
    }
}
