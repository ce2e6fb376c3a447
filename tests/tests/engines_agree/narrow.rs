//! Random programs of 16-bit code, in segments with a base and a limit: jumps of every kind, the stack, and whatever
//! else 16 bits make of the bytes of other instructions.

use emu_diff::fuzz::cases::encoding;
use emu_diff::fuzz::program::SLOT;
use emu_tests::random::Random;
use iced_x86::Code;

const NOP: u8 = 0x90;

/// Draws the code, which begins at offset 0 of its segment.
pub fn draw(codes: &[Code], random: &mut Random) -> Vec<Vec<u8>> {
    let length = 4 + random.below(40) as usize;
    (0..length)
        .map(|at| {
            let mut bytes = slot(at + 1, length + 1, codes, random);
            if random.below(6) == 0 {
                bytes.insert(0, [0x66, 0x67, 0x26, 0x2e, 0x36][random.below(5) as usize]);
            }
            bytes.truncate(SLOT);
            bytes
        })
        .collect()
}

/// The bytes of the whole: an empty slot, the others, and back.
pub fn code(slots: &[Vec<u8>]) -> Vec<u8> {
    let mut code = vec![NOP; SLOT];
    for slot in slots {
        code.extend(slot);
        code.resize(code.len().next_multiple_of(SLOT), NOP);
    }
    code.push(0xe9);
    code.extend((-(code.len() as i16) - 2).to_le_bytes());
    code
}

/// What slot `at` of so many holds.
fn slot(at: usize, count: usize, codes: &[Code], random: &mut Random) -> Vec<u8> {
    let ahead = random.below((count - at).min(4) as u64) as usize;
    let [low, high] = (((at + 1 + ahead) * SLOT) as u16).to_le_bytes();
    let byte = random.word() as u8;
    let over = (ahead * SLOT + SLOT - 2) as u8;
    match random.below(20) {
        0..=3 => loop {
            let code = codes[random.below(codes.len() as u64) as usize];
            if let Some(e) = encoding(code, 32, random)
                && e.bytes.len() < SLOT
            {
                return e.bytes;
            }
        },
        // ADD to CMP of registers and memory.
        4..=6 => vec![byte & 0x38 | random.below(4) as u8, random.word() as u8, random.below(64) as u8, 0],
        7 => vec![0x50 | byte & 7],
        8 => vec![0x58 | [0, 1, 2, 5, 7][random.below(5) as usize]],
        9 => [vec![0x6a, byte], vec![0x68, byte, low], vec![0xff, 0x77, byte & 0x7f]]
            [random.below(3) as usize]
            .clone(),
        10 | 11 => vec![0x70 | byte & 15, over],
        12 => vec![0xeb, over],
        13 => vec![0xe8, (SLOT - 3) as u8, 0], // CALL the next slot
        14 => vec![0x68, low, high, 0xc3],     // PUSH; RET
        15 => vec![0x68, low, high, 0xc2, byte & 6, 0], // PUSH; RET imm16
        16 => vec![0xb8, low, high, 0xff, [0xe0, 0xd0][usize::from(byte & 1)]], // MOV AX; JMP or CALL AX
        // MOV [40h], target; JMP or CALL [40h].
        17 => vec![0xc7, 0x06, 0x40, 0, low, high, 0xff, [0x26, 0x16][usize::from(byte & 1)], 0x40, 0],
        // MOV CX; DEC CX and JNZ to it, or ADD AX, CX and LOOP.
        18 if byte & 32 != 0 => vec![0xb9, byte & 31 | 1, 0, 0x49, 0x75, 0xfd],
        18 => vec![0xb9, byte & 31 | 1, 0, 0x01, 0xc8, 0xe2, 0xfc],
        _ => [
            vec![0x9c],
            vec![0x60],
            vec![0x61],
            vec![0xc8, byte & 15, 0, 0],
            vec![0xc9],
            vec![0xe2, 0],
            vec![0xe3, over],
            vec![0x0f, 0x80 | byte & 15, (SLOT - 4) as u8, 0],
        ][random.below(8) as usize]
            .clone(),
    }
}
