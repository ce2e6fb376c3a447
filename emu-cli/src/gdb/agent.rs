//! gdb's agent expressions: the byte code into which gdb compiles the condition of a break-point, so that it can be
//! decided here and not by a round trip for each hit. gdb manual, "The GDB Agent Expression Mechanism".
//!
//! Left out: floating point, trace state variables and what only tracepoints use.

use emu_core::machine::Machine;

use super::registers::{self, REGISTERS};

/// A program that runs longer has lost its way.
const MOST_STEPS: usize = 10_000;
/// Values on its stack.
const MOST_VALUES: usize = 256;

/// Runs a program for a processor; `None` when it does what it must not or what is left out.
pub fn run(code: &[u8], machine: &Machine, cpu: usize) -> Option<u64> {
    let mut at = 0;
    let mut stack: Vec<u64> = Vec::new();
    for _ in 0..MOST_STEPS {
        let opcode = *code.get(at)?;
        at += 1;
        let mut immediate = |bytes: usize| -> Option<u64> {
            let value = code.get(at..at + bytes)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
            at += bytes;
            Some(value)
        };
        match opcode {
            0x02..=0x0b | 0x0f..=0x11 | 0x13..=0x15 => {
                let (b, a) = (stack.pop()?, stack.pop()?);
                stack.push(binary(opcode, a, b)?);
            }
            0x0e => {
                let value = stack.pop()?;
                stack.push(u64::from(value == 0));
            }
            0x12 => {
                let value = stack.pop()?;
                stack.push(!value);
            }
            // ext, zero_ext
            0x16 | 0x2a => {
                let bits = immediate(1)?;
                let value = stack.pop()?;
                let unused = 64u64.checked_sub(bits).filter(|&unused| unused < 64)?;
                let high = value << unused;
                stack.push(if opcode == 0x16 { (high as i64 >> unused) as u64 } else { high >> unused });
            }
            0x17..=0x1a => {
                let mut bytes = [0; 8];
                let size = 1 << (opcode - 0x17);
                if machine.peek(cpu, stack.pop()?, &mut bytes[..size]) < size {
                    return None;
                }
                stack.push(u64::from_le_bytes(bytes));
            }
            0x20 => {
                let target = immediate(2)?;
                if stack.pop()? != 0 {
                    at = target as usize;
                }
            }
            0x21 => at = immediate(2)? as usize,
            0x22..=0x25 => {
                let value = immediate(1 << (opcode - 0x22))?;
                stack.push(value);
            }
            0x26 => {
                let number = immediate(2)? as usize;
                REGISTERS.get(number)?;
                stack.push(registers::value(machine, cpu, number));
            }
            0x27 => return stack.pop(),
            0x28 => stack.push(*stack.last()?),
            0x29 => {
                stack.pop()?;
            }
            0x2b => {
                let (b, a) = (stack.pop()?, stack.pop()?);
                stack.extend([b, a]);
            }
            // pick
            0x32 => {
                let depth = immediate(1)? as usize;
                let index = stack.len().checked_sub(depth + 1)?;
                stack.push(stack[index]);
            }
            // rot: the top goes below the next two
            0x33 => {
                let (c, b, a) = (stack.pop()?, stack.pop()?, stack.pop()?);
                stack.extend([c, a, b]);
            }
            _ => return None,
        }
        if stack.len() > MOST_VALUES {
            return None;
        }
    }
    None
}

fn binary(opcode: u8, a: u64, b: u64) -> Option<u64> {
    let (signed_a, signed_b) = (a as i64, b as i64);
    let shift = u32::try_from(b).ok();
    Some(match opcode {
        0x02 => a.wrapping_add(b),
        0x03 => a.wrapping_sub(b),
        0x04 => a.wrapping_mul(b),
        0x05 => signed_a.checked_div(signed_b)? as u64,
        0x06 => a.checked_div(b)?,
        0x07 => signed_a.checked_rem(signed_b)? as u64,
        0x08 => a.checked_rem(b)?,
        0x09 => shift.and_then(|b| a.checked_shl(b)).unwrap_or(0),
        0x0a => (signed_a >> shift.unwrap_or(63).min(63)) as u64,
        0x0b => shift.and_then(|b| a.checked_shr(b)).unwrap_or(0),
        0x0f => a & b,
        0x10 => a | b,
        0x11 => a ^ b,
        0x13 => u64::from(a == b),
        0x14 => u64::from(signed_a < signed_b),
        _ => u64::from(a < b),
    })
}
