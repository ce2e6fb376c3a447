//! A PC whose boot sector keeps one chip busy, on the interpreter: the serial port, or the disk by the BIOS.

use emu_core::interp::Interpreter;
use emu_core::machine::{Machine, Stop, TimeSource};
use emu_devices::block::MemoryDisk;
use emu_devices::pc::{Pc, PcConfig};

/// Where a boot sector counts its rounds.
const COUNT: u64 = 0x7e00;
/// Sectors that a round reads.
const SECTORS: u8 = 64;
/// Bytes that a round reads from the disk.
pub const BYTES_READ: u64 = SECTORS as u64 * 512;

/// CLD; XOR AX, AX; MOV DS, AX
const START: [u8; 5] = [0xfc, 0x31, 0xc0, 0x8e, 0xd8];
/// INC DWORD [7E00h]
const NEXT: [u8; 5] = [0x66, 0xff, 0x06, 0x00, 0x7e];

/// A boot sector that reads the first sectors of the disk to 10000h by INT 13h, function 42h, again and again.
pub fn disk_reader() -> Vec<u8> {
    let packet = 0x7c00 + 0x80u16;
    let mut code = START.to_vec();
    let again = code.len();
    code.push(0xbe); // MOV SI, packet
    code.extend(packet.to_le_bytes());
    code.extend([0xb4, 0x42, 0xcd, 0x13]); // MOV AH, 42h; INT 13h
    code.extend([0x72, 0xfe]); // JC to itself
    code.extend(NEXT);
    code.extend([0xeb, (again as u8).wrapping_sub(code.len() as u8 + 2)]);
    let mut sector = sector(&code);
    sector[0x80..0x90].copy_from_slice(&[16, 0, SECTORS, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0]);
    sector
}

/// A boot sector that sends bytes to COM1, each when there is room.
pub fn serial_writer() -> Vec<u8> {
    let mut code = START.to_vec();
    let again = code.len();
    code.extend([0xba, 0xfd, 0x03, 0xec, 0xa8, 0x20, 0x74, 0xf8]); // MOV DX, 3FDh; IN; TEST AL, 20h; JZ back
    code.extend([0xb0, b'x', 0xba, 0xf8, 0x03, 0xee]); // MOV AL, x; MOV DX, 3F8h; OUT
    code.extend(NEXT);
    code.extend([0xeb, (again as u8).wrapping_sub(code.len() as u8 + 2)]);
    sector(&code)
}

fn sector(code: &[u8]) -> Vec<u8> {
    let mut sector = code.to_vec();
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// A PC that runs such a sector.
pub struct Board {
    machine: Machine,
    /// Bytes that the serial port has sent.
    pub sent: u64,
}

impl Board {
    /// Switches it on and lets it come to its first round.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(sector: &[u8]) -> Self {
        let mut disk = sector.to_vec();
        disk.resize(1 << 20, 0x5a);
        let mut config = PcConfig { bios: emu_roms::BIOS.to_vec(), ..PcConfig::default() };
        config.disks[0] = Some(Box::new(MemoryDisk::from(disk)));
        let (pc, mem) = Pc::new(config).expect("the host has memory for a PC");
        let engine = Box::new(Interpreter::default());
        let mut board =
            Self { machine: Machine::new(mem, Box::new(pc), engine, TimeSource::Virtual), sent: 0 };
        board.rounds(1);
        board
    }

    fn count(&self) -> u64 {
        let mut count = [0; 8];
        self.machine.peek(0, COUNT, &mut count[..4]);
        u64::from_le_bytes(count)
    }

    /// Runs until the sector has gone round so many times more.
    ///
    /// # Panics
    /// When it does not, or the disk's bytes are wrong.
    pub fn rounds(&mut self, rounds: u64) {
        const SLICE: u64 = 20_000;
        let until = self.count() + rounds;
        let limit = self.machine.instructions() + 4_000_000_000;
        while self.count() < until {
            let stop = self.machine.run(self.machine.instructions() + SLICE);
            assert!(
                matches!(stop, Stop::Limit | Stop::Halted { .. }) && self.machine.instructions() < limit,
                "the sector goes round: {stop:?}"
            );
            self.sent += self.machine.with_bus::<Pc, _>(|pc, _| pc.serial_output(0)).len() as u64;
        }
    }

    /// A byte of what was read from the disk.
    pub fn read(&self, at: u64) -> u8 {
        let mut byte = [0];
        self.machine.peek(0, 0x1_0000 + at, &mut byte);
        byte[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_read_and_the_serial_port_sends() {
        let mut board = Board::start(&disk_reader());
        board.rounds(2);
        assert_eq!(
            [board.read(510), board.read(511), board.read(512), board.read(BYTES_READ - 1)],
            [0x55, 0xaa, 0x5a, 0x5a]
        );
        let mut board = Board::start(&serial_writer());
        let before = board.sent;
        board.rounds(500);
        assert!(board.sent >= before + 400, "{}", board.sent - before);
    }
}
