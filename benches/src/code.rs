//! Guest code that is long rather than hot: what decoding and translating it cost.

use emu_core::cpu::RBX;
use emu_core::engine::Engine;
use emu_core::machine::Machine;

use crate::lab;
use crate::loops::run;

/// Functions in the program.
const FUNCTIONS: u32 = 2000;
/// Instructions of a round through all of them: a call, three and a return each, and the jump back.
pub const ROUND: u64 = FUNCTIONS as u64 * 5 + 1;

/// A program that calls 2000 different functions one after the other, for ever.
pub fn program() -> Vec<u8> {
    // ADD EBX, n; XOR EAX, n; LEA RCX, [RBX+RAX*2+n]; RET
    let function = |n: u32| {
        let n = n.to_le_bytes();
        [&[0x81, 0xc3], &n[..], &[0x35], &n, &[0x48, 0x8d, 0x8c, 0x43], &n, &[0xc3]].concat()
    };
    let length = function(0).len() as u32;
    let calls = 5 * FUNCTIONS;
    let mut code = Vec::new();
    for n in 0..FUNCTIONS {
        let to = calls + 5 + n * length;
        code.push(0xe8);
        code.extend((to - (5 * n + 5)).to_le_bytes());
    }
    code.push(0xe9);
    code.extend((calls + 5).wrapping_neg().to_le_bytes());
    (0..FUNCTIONS).for_each(|n| code.extend(function(n)));
    code
}

/// Runs so many rounds of the program from its start.
///
/// # Panics
/// When the sum that it leaves is not the right one.
pub fn rounds(engine: Box<dyn Engine>, program: &[u8], count: u64) -> Machine {
    let mut machine = lab::machine(engine, program, true);
    run(&mut machine, count * ROUND);
    let sum = u64::from(FUNCTIONS * (FUNCTIONS - 1) / 2);
    assert_eq!(machine.cpu().regs[RBX], (count * sum) & 0xffff_ffff, "the sum of all functions' numbers");
    machine
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loops::ENGINES;

    #[test]
    fn the_program_sums_up_on_both_engines() {
        let program = program();
        ENGINES.iter().for_each(|(_, engine)| drop(rounds(engine(), &program, 40)));
    }
}
