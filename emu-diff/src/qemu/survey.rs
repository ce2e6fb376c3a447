//! What CPUID gives on the reference: firmware that asks for all leaves, and its log.

use std::io::Read;

use emu_core::cpu::{RAX, RBX, RCX, RDX};

use super::log::Log;
use crate::lockstep::Answers;
use crate::lockstep::step::{LogError, Steps};

/// The port whose write ends the run.
pub const EXIT_PORT: u16 = 0xf4;
/// Bytes of one question: MOV EAX, MOV ECX, CPUID.
const QUESTION: usize = 14;
const SIZE: usize = 0x1_0000;
const RESET: usize = SIZE - 16;

/// Leaves whose answer depends on the subleaf.
pub const WITH_SUBLEAVES: [u32; 11] = [4, 7, 0xb, 0xd, 0x10, 0x12, 0x14, 0x18, 0x1d, 0x1f, 0x8000_001d];
/// Subleaves of those that are asked for.
const SUBLEAVES: u32 = 32;

fn leaves() -> Vec<(u32, u32)> {
    let all = (0..=0x20).chain(0x4000_0000..=0x4000_0001).chain(0x8000_0000..=0x8000_0021);
    let subleaves = |leaf: u32| if WITH_SUBLEAVES.contains(&leaf) { SUBLEAVES } else { 1 };
    all.flat_map(|leaf| (0..subleaves(leaf)).map(move |subleaf| (leaf, subleaf))).collect()
}

/// The firmware.
pub fn image() -> Vec<u8> {
    let mut code = Vec::new();
    for (leaf, subleaf) in leaves() {
        code.extend([0x66, 0xb8]);
        code.extend(leaf.to_le_bytes());
        code.extend([0x66, 0xb9]);
        code.extend(subleaf.to_le_bytes());
        code.extend([0x0f, 0xa2]);
    }
    // mov dx, EXIT_PORT; out dx, al; jmp $
    code.extend([0xba, EXIT_PORT as u8, (EXIT_PORT >> 8) as u8, 0xee, 0xeb, 0xfe]);
    code.resize(SIZE, 0xcc);
    // jmp 0, in the segment of the reset vector
    code[RESET..RESET + 3].copy_from_slice(&[0xe9, 0x0d, 0x00]);
    code
}

/// What the log of its run says.
///
/// # Errors
/// When the log cannot be read or understood.
pub fn answers<R: Read>(log: R) -> Result<Answers, LogError> {
    let (mut log, mut answers) = (Log::new(log), Answers::new());
    let leaves = leaves();
    while let Some(step) = log.take()? {
        let regs = step.state.regs;
        let rip = step.state.rip as usize;
        if rip > 0
            && rip.is_multiple_of(QUESTION)
            && let Some(&leaf) = leaves.get(rip / QUESTION - 1)
        {
            answers.insert(leaf, [RAX, RBX, RCX, RDX].map(|n| regs[n] as u32));
        }
    }
    Ok(answers)
}
