//! Known differences: a file of entries with a reason each.
//!
//! A line is `instruction | conditions | fields | reason`.
//!
//! * The instruction is a mnemonic, with `/16` for an operand of 16 bits if only that is meant, or `*`.
//! * Conditions stand side by side with commas between them, or `*` for none: a mode (`real`, `protected`, `v86`,
//!   `long`), and names of [`conditions::NAMES`](super::conditions::NAMES).
//! * Fields are names as the report prints them, by blanks, with `*` at the end for any rest; `general` is any general
//!   register; flags may be named one by one, as in `rflags:AF,OF`; `&` with a hexadecimal number names the bits that
//!   may differ, as in `general&20`; `ones(rax)` says that ours has ones where QEMU's has zeros. `fault(12,13)`
//!   stands for everything that follows when we raise exception 12 and QEMU 13; `-` in place of a number is none, `*`
//!   any or none.
//! * The reason says who is right by which document, and for which versions of QEMU that was seen.
//!
//! Lines that begin with `#` are comments.

use super::conditions::{Conditions, NAMES};
use crate::state::{Difference, REGISTERS, flag_names};

/// Conditions that are no more than a mode.
const MODES: [&str; 5] = ["*", "real", "protected", "v86", "long"];

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    mnemonic: String,
    mode: String,
    fields: Vec<String>,
    /// Who is right, and where it stands.
    pub reason: String,
}

/// Parses a file of them.
///
/// # Errors
/// The number of a line that is no entry, or has a condition that does not exist.
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
        let exists = |name: &str| MODES.contains(&name) || NAMES.iter().any(|(known, _)| *known == name);
        if let Some(unknown) = mode.split(',').map(str::trim).find(|name| !exists(name)) {
            return Err(format!("line {}: there is no condition {unknown}", n + 1));
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
        condition == "*" || condition == self.mode || self.holds.contains(&condition)
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
            || conditions.task
            // A fault of virtual-8086 mode takes away the data segments.
            || conditions.holds.contains(&"vm") && matches!(field, "es" | "ds" | "fs" | "gs");
        return is(ours, conditions.raised[0]) && is(theirs, conditions.raised[1]) && follows;
    }
    if let Some(flags) = pattern.strip_prefix("rflags:") {
        let allowed: Vec<_> = flags.split(',').collect();
        return field == "rflags"
            && flag_names(difference.ours ^ difference.theirs)
                .split(' ')
                .all(|name| allowed.contains(&name));
    }
    if let Some(inner) = pattern.strip_prefix("ones(").and_then(|rest| rest.strip_suffix(')')) {
        return difference.theirs & !difference.ours == 0 && matches(inner, conditions, difference);
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
        let faults = Conditions { raised: [Some(12), Some(13)], ..any.clone() };
        assert!(matches("fault(12,13)", &faults, &rip) && matches("fault(12,*)", &faults, &rip));
        assert!(!matches("fault(12,-)", &faults, &rip) && !matches("fault(13,13)", &faults, &rip));
        assert!(!matches("fault(12,13)", &faults, &bit), "neither instruction wrote a register");
        assert!(matches("fault(12,13)", &Conditions { task: true, ..faults }, &bit), "a task gate loads all");
        assert!(parse("lar | long | rax").is_err());
        assert!(parse("lar | lnog | rax | a reason").is_err());
        let ones = |ours, theirs| Difference { field: "rax".into(), ours, theirs };
        assert!(matches("ones(rax)", &any, &ones(0xff, 0)) && !matches("ones(rax)", &any, &ones(0xf0, 0x0f)));
    }
}
