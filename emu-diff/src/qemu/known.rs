//! Known differences: a file of entries with a reason each.
//!
//! A line is `instruction | conditions | fields | reason`.
//!
//! * The instruction is a mnemonic, with `/16` for an operand of 16 bits if only that is meant, or `*`.
//! * Conditions stand side by side with commas between them, or `*` for none: a mode (`real`, `protected`, `v86`,
//!   `long`); `open` for a memory operand behind which nothing lies, `segment` for one that its segment does not permit,
//!   `unaligned` for 16 bytes or more that are not aligned to 16, `modifies` for one that is read and written; `delivery` when QEMU delivered an interrupt or exception;
//!   `reserved` for a page fault whose error code has RSVD without P on QEMU, `gate` for one that names a gate of the IDT
//!   by twice the vector there; `smap` for user code with CR4.SMAP set.
//! * Fields are names as the report prints them, by blanks, with `*` at the end for any rest; `general` is any general
//!   register; flags may be named one by one, as in `rflags:AF,OF`; `&` with a hexadecimal number names the bits that may
//!   differ, as in `general&20`. `fault(12,13)` stands for everything that follows when we raise exception 12 and QEMU 13; `-`
//!   in place of a number is none, `*` any or none.
//! * The reason says who is right by which document, and for which versions of QEMU that was seen.
//!
//! Lines that begin with `#` are comments.

use crate::state::{Difference, REGISTERS, flag_names};

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    mnemonic: String,
    mode: String,
    fields: Vec<String>,
    /// Who is right, and where it stands.
    pub reason: String,
}

/// What is known about an instruction that differs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// Mode before it.
    pub mode: &'static str,
    /// Bits of its first operand; 0 without one.
    pub bits: usize,
    /// QEMU delivered an interrupt or exception.
    pub delivery: bool,
    /// The exceptions that we and QEMU delivered.
    pub raised: [Option<u8>; 2],
    /// Nothing lies behind a memory operand.
    pub open: bool,
    /// A segment does not permit the access to a memory operand.
    pub segment: bool,
    /// A memory operand of 16 bytes or more is not aligned to 16.
    pub unaligned: bool,
    /// It reads and writes a memory operand.
    pub modifies: bool,
    /// The reference's error code of a page fault has RSVD without P.
    pub reserved: bool,
    /// Its error code names a gate of the IDT by twice the vector.
    pub gate: bool,
    /// CPL is 3 and CR4.SMAP is set.
    pub smap: bool,
    /// One of the machines switched tasks.
    pub task: bool,
}

/// Parses a file of them.
///
/// # Errors
/// The number of a line that is no entry.
pub fn parse(text: &str) -> Result<Vec<Known>, String> {
    let mut all = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parts: Vec<_> = line.split('|').map(str::trim).collect();
        let [mnemonic, mode, fields, reason] = parts[..] else {
            return Err(format!("line {}: expected instruction | mode | fields | reason", n + 1));
        };
        if reason.is_empty() || fields.is_empty() {
            return Err(format!("line {}: expected fields and a reason", n + 1));
        }
        all.push(Known {
            mnemonic: mnemonic.to_lowercase(),
            mode: mode.into(),
            fields: fields.split_whitespace().map(str::to_owned).collect(),
            reason: reason.into(),
        });
    }
    Ok(all)
}

impl Known {
    fn covers(&self, mnemonic: &str, conditions: &Conditions, difference: &Difference) -> bool {
        let (name, bits) = self.mnemonic.split_once('/').unwrap_or((&self.mnemonic, ""));
        (name == "*" || name == mnemonic)
            && (bits.is_empty() || bits == conditions.bits.to_string())
            && self.mode.split(',').all(|condition| conditions.hold(condition.trim()))
            && self.fields.iter().any(|pattern| matches(pattern, conditions, difference))
    }
}

impl Conditions {
    fn hold(&self, condition: &str) -> bool {
        match condition {
            "*" => true,
            "open" => self.open,
            "segment" => self.segment,
            "unaligned" => self.unaligned,
            "modifies" => self.modifies,
            "delivery" => self.delivery,
            "reserved" => self.reserved,
            "gate" => self.gate,
            "smap" => self.smap,
            mode => mode == self.mode,
        }
    }
}

fn matches(pattern: &str, conditions: &Conditions, difference: &Difference) -> bool {
    let field = difference.field.as_str();
    if let Some(vectors) = pattern.strip_prefix("fault(").and_then(|rest| rest.strip_suffix(')')) {
        let is = |wanted: &str, raised: Option<u8>| match wanted {
            "*" => true,
            "-" => raised.is_none(),
            number => raised.is_some_and(|raised| raised.to_string() == number),
        };
        let (ours, theirs) = vectors.split_once(',').unwrap_or((vectors, ""));
        let follows = matches!(field, "rip" | "rsp" | "cpl" | "cr2" | "error")
            || field == "rflags"
            || ["cs", "ss"].iter().any(|start| field.starts_with(start))
            || conditions.raised.contains(&None)
            || conditions.task;
        return is(ours, conditions.raised[0]) && is(theirs, conditions.raised[1]) && follows;
    }
    if let Some(flags) = pattern.strip_prefix("rflags:") {
        let allowed: Vec<_> = flags.split(',').collect();
        return field == "rflags"
            && flag_names(difference.ours ^ difference.theirs)
                .split(' ')
                .all(|name| allowed.contains(&name));
    }
    if let Some((field, bits)) = pattern.split_once('&') {
        let bits = u64::from_str_radix(bits, 16).unwrap_or(0);
        return (difference.ours ^ difference.theirs) & !bits == 0 && matches(field, conditions, difference);
    }
    match pattern.strip_suffix('*') {
        Some(start) => field.starts_with(start),
        None if pattern == "general" => REGISTERS.contains(&field),
        None => field == pattern,
    }
}

/// The entry that explains all these differences; `None` when some is not explained.
pub fn explain<'a>(
    known: &'a [Known],
    mnemonic: &str,
    conditions: &Conditions,
    differences: &[Difference],
) -> Option<&'a Known> {
    let mut found = None;
    for difference in differences {
        found = Some(known.iter().find(|entry| entry.covers(mnemonic, conditions, difference))?);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_explains_its_fields_and_no_others() {
        let known =
            parse("# a comment\nlar | long | rax rflags:ZF,AF | SDM 2A, \"LAR\"; QEMU 7.2\n").unwrap();
        let mode = |mode| Conditions { mode, ..Conditions::default() };
        let rax = Difference { field: "rax".into(), ours: 1, theirs: 2 };
        let zf = Difference { field: "rflags".into(), ours: 0x46, theirs: 0x06 };
        let cf = Difference { field: "rflags".into(), ours: 0x47, theirs: 0x06 };
        assert!(explain(&known, "lar", &mode("long"), &[rax.clone(), zf.clone()]).is_some());
        assert!(explain(&known, "lar", &mode("long"), &[rax.clone(), cf]).is_none());
        assert!(explain(&known, "lar", &mode("real"), std::slice::from_ref(&rax)).is_none());
        assert!(explain(&known, "lsl", &mode("long"), &[rax]).is_none());
        let bit = Difference { field: "rcx".into(), ours: 0x23, theirs: 3 };
        let any = Conditions::default();
        assert!(matches("general&20", &any, &bit) && !matches("r*&10", &any, &bit));
        let rip = Difference { field: "rip".into(), ours: 1, theirs: 2 };
        assert!(!matches("general", &any, &rip));
        let faults = Conditions { raised: [Some(12), Some(13)], ..any };
        assert!(matches("fault(12,13)", &faults, &rip) && matches("fault(12,*)", &faults, &rip));
        assert!(!matches("fault(12,-)", &faults, &rip) && !matches("fault(13,13)", &faults, &rip));
        assert!(!matches("fault(12,13)", &faults, &bit), "neither instruction wrote a register");
        assert!(matches("fault(12,13)", &Conditions { task: true, ..faults }, &bit), "a task gate loads all");
        assert!(parse("lar | long | rax").is_err());
    }
}
