//! `emu info --instructions`: every encoding of our instruction sets, implemented or not.

use std::fmt::Write as _;

use anyhow::Result;
use emu_core::interp::listing::{Listed, listing};
use serde::Serialize;

#[derive(Serialize)]
struct Line {
    code: String,
    instruction: &'static str,
    encoding: &'static str,
    modes: Vec<u32>,
    sets: Vec<String>,
    implemented: bool,
}

impl From<Listed> for Line {
    fn from(listed: Listed) -> Self {
        let info = listed.code.op_code();
        Self {
            code: format!("{:?}", listed.code),
            instruction: info.instruction_string(),
            encoding: info.op_code_string(),
            modes: listed.modes,
            sets: listed.code.cpuid_features().iter().map(|set| format!("{set:?}")).collect(),
            implemented: listed.implemented,
        }
    }
}

/// The list as text, with a count at its end, or as JSON.
///
/// # Errors
/// None in practice: all values can be written as JSON.
pub fn list(json: bool) -> Result<String> {
    let lines: Vec<Line> = listing().into_iter().map(Line::from).collect();
    if json {
        return Ok(serde_json::to_string_pretty(&lines)? + "\n");
    }
    let mut text = String::new();
    for line in &lines {
        let state = if line.implemented { "implemented" } else { "missing" };
        let modes = line.modes.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        let sets = line.sets.join(" ");
        writeln!(text, "{:<36} {:<52} {modes:<8} {sets:<18} {state}", line.code, line.instruction)?;
    }
    let implemented = lines.iter().filter(|line| line.implemented).count();
    writeln!(
        text,
        "{} encodings, {implemented} implemented, {} missing",
        lines.len(),
        lines.len() - implemented
    )?;
    Ok(text)
}
