//! Test vectors, one a line: `bits | bytes | disassembly | before => after`.
//!
//! Registers that are not named are zero before, and as before after. Memory is not part of a vector, so it is for
//! instructions whose operands are registers. `rip` after is counted from the instruction, without it the next one is
//! meant; `undefined` names flags that are not compared.

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};

use crate::state::REGISTERS;

/// One vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    /// 32 or 64.
    pub bits: u32,
    /// The instruction.
    pub bytes: Vec<u8>,
    /// General registers before.
    pub before: [u64; 16],
    /// RFLAGS before.
    pub flags_before: u64,
    /// General registers after.
    pub after: [u64; 16],
    /// RFLAGS after.
    pub flags_after: u64,
    /// Flags that are not compared.
    pub undefined: u64,
}

/// Reads a file of vectors; lines that begin with `#` are comments.
///
/// # Errors
/// The number of a line that is no vector, and why.
pub fn parse(text: &str) -> Result<Vec<Vector>, String> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(n, line)| parse_line(line).map_err(|why| format!("line {}: {why}", n + 1)))
        .collect()
}

fn parse_line(line: &str) -> Result<Vector, String> {
    let parts: Vec<_> = line.split('|').map(str::trim).collect();
    let [bits, bytes, _, change] = parts[..] else {
        return Err("expected bits | bytes | disassembly | before => after".into());
    };
    let bits = match bits {
        "32" => 32,
        "64" => 64,
        _ => return Err("expected 32 or 64 bits".into()),
    };
    let bytes = bytes
        .split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).map_err(|_| format!("{byte}: expected a byte")))
        .collect::<Result<Vec<_>, _>>()?;
    let (before, after) = change.split_once("=>").ok_or("expected before => after")?;
    let mut vector = Vector {
        bits,
        bytes,
        before: [0; 16],
        flags_before: 2,
        after: [0; 16],
        flags_after: 2,
        undefined: 0,
    };
    read(before, &mut vector.before, &mut vector.flags_before, &mut vector.undefined)?;
    (vector.after, vector.flags_after) = (vector.before, vector.flags_before);
    read(after, &mut vector.after, &mut vector.flags_after, &mut vector.undefined)?;
    Ok(vector)
}

fn read(text: &str, regs: &mut [u64; 16], flags: &mut u64, undefined: &mut u64) -> Result<(), String> {
    for part in text.split_whitespace() {
        let (name, value) = part.split_once('=').ok_or(format!("{part}: expected name=value"))?;
        let value =
            u64::from_str_radix(value, 16).map_err(|_| format!("{part}: expected a hexadecimal value"))?;
        match (name, REGISTERS.iter().position(|register| *register == name)) {
            ("flags", _) => *flags = value,
            ("undefined", _) => *undefined = value,
            (_, Some(n)) => regs[n] = value,
            _ => return Err(format!("{name}: expected a general register, flags or undefined")),
        }
    }
    Ok(())
}

impl std::fmt::Display for Vector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes: Vec<_> = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let insn = Decoder::new(self.bits, &self.bytes, DecoderOptions::NONE).decode();
        let mut text = String::new();
        IntelFormatter::new().format(&insn, &mut text);
        write!(f, "{} | {} | {text} |", self.bits, bytes.join(" "))?;
        for (name, value) in REGISTERS.iter().zip(self.before).filter(|(_, value)| *value != 0) {
            write!(f, " {name}={value:x}")?;
        }
        write!(f, " flags={:x} =>", self.flags_before)?;
        for (n, name) in REGISTERS.iter().enumerate().filter(|&(n, _)| self.after[n] != self.before[n]) {
            write!(f, " {name}={:x}", self.after[n])?;
        }
        write!(f, " flags={:x}", self.flags_after)?;
        if self.undefined != 0 {
            write!(f, " undefined={:x}", self.undefined)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_read_as_it_is_written() {
        let line = "64 | 01 c8 | add eax,ecx | rax=7fffffff rcx=1 flags=2 => rax=80000000 flags=896";
        let vector = parse(line).unwrap().remove(0);
        assert_eq!((vector.after[0], vector.after[1], vector.flags_after), (0x8000_0000, 1, 0x896));
        assert_eq!(vector.to_string(), line);
        assert!(parse("64 | 01 c8 | add | eax=1 => ").unwrap_err().starts_with("line 1"));
    }
}
