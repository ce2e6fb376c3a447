//! Test vectors, one a line: `bits | bytes | disassembly | before => after`.
//!
//! Registers that are not named are zero before, and as before after. `m1020800=00ff` are bytes of memory from linear
//! address 1020800h on, within the page at 1020000h ([`DATA`]); what is not named is zero before, and as before
//! after. The next instruction is meant after it; `undefined` names flags that are not compared. `fault=e` in place
//! of what is after it means exception 14, and nothing else changed.

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};

use crate::fuzz::places::{DATA, PAGE};
use crate::state::REGISTERS;

/// Stretches of memory: linear address and bytes.
pub type Stretches = Vec<(u64, Vec<u8>)>;

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
    /// Memory before.
    pub memory_before: Stretches,
    /// General registers after.
    pub after: [u64; 16],
    /// RFLAGS after.
    pub flags_after: u64,
    /// Memory that is different after.
    pub memory_after: Stretches,
    /// Flags that are not compared.
    pub undefined: u64,
    /// The exception that it raises; then only that is compared.
    pub fault: Option<u8>,
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
        memory_before: Vec::new(),
        after: [0; 16],
        flags_after: 2,
        memory_after: Vec::new(),
        undefined: 0,
        fault: None,
    };
    let v = &mut vector;
    let after = match after.trim().strip_prefix("fault=") {
        Some(fault) => {
            let vector =
                u8::from_str_radix(fault, 16).map_err(|_| format!("{fault}: expected an exception"))?;
            v.fault = Some(vector);
            ""
        }
        None => after,
    };
    read(before, &mut v.before, &mut v.flags_before, &mut v.memory_before, &mut v.undefined)?;
    (v.after, v.flags_after) = (v.before, v.flags_before);
    read(after, &mut v.after, &mut v.flags_after, &mut v.memory_after, &mut v.undefined)?;
    Ok(vector)
}

/// `1020800=00ff` behind the letter that tells memory.
fn stretch(name: &str, value: &str) -> Option<(u64, Vec<u8>)> {
    let address = u64::from_str_radix(name, 16).ok()?;
    let digits: Option<Vec<u32>> = value.chars().map(|digit| digit.to_digit(16)).collect();
    let bytes: Vec<u8> =
        digits?.chunks(2).map(|pair| pair.iter().fold(0, |all, d| all << 4 | *d as u8)).collect();
    let inside = address >= DATA && address + bytes.len() as u64 <= DATA + PAGE as u64;
    (inside && value.len().is_multiple_of(2)).then_some((address, bytes))
}

fn read(
    text: &str,
    regs: &mut [u64; 16],
    flags: &mut u64,
    memory: &mut Stretches,
    undefined: &mut u64,
) -> Result<(), String> {
    for part in text.split_whitespace() {
        let (name, value) = part.split_once('=').ok_or(format!("{part}: expected name=value"))?;
        if let Some(address) = name.strip_prefix('m') {
            memory.push(stretch(address, value).ok_or(format!("{part}: expected bytes in the data page"))?);
            continue;
        }
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
        write!(f, " flags={:x}", self.flags_before)?;
        write_memory(f, &self.memory_before)?;
        write!(f, " =>")?;
        if let Some(fault) = self.fault {
            return write!(f, " fault={fault:x}");
        }
        for (n, name) in REGISTERS.iter().enumerate().filter(|&(n, _)| self.after[n] != self.before[n]) {
            write!(f, " {name}={:x}", self.after[n])?;
        }
        write!(f, " flags={:x}", self.flags_after)?;
        write_memory(f, &self.memory_after)?;
        if self.undefined != 0 {
            write!(f, " undefined={:x}", self.undefined)?;
        }
        Ok(())
    }
}

fn write_memory(f: &mut std::fmt::Formatter<'_>, memory: &Stretches) -> std::fmt::Result {
    memory.iter().try_for_each(|(address, bytes)| {
        write!(f, " m{address:x}=")?;
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    })
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
        let line =
            "32 | 01 08 | add [eax],ecx | rax=1020800 rcx=1 flags=2 m1020800=ff00 => flags=12 m1020801=01";
        assert_eq!(parse(line).unwrap().remove(0).to_string(), line);
        let line = "64 | f7 f1 | div ecx | rax=1 flags=2 => fault=0";
        assert_eq!(parse(line).unwrap().remove(0).to_string(), line);
        assert!(parse("32 | 01 08 | add | m1021000=00 => ").is_err());
        assert!(parse("64 | 01 c8 | add | eax=1 => ").unwrap_err().starts_with("line 1"));
    }
}
