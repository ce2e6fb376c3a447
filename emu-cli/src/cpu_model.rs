//! `--cpu`: which processor the machine has.

use std::io::{self, Write};

use anyhow::{Context, Result};
use emu_core::cpu::model::feature::ENTRIES;
use emu_core::cpu::model::{Feature, MODELS, Model, parse};

use crate::outcome::Outcome;

/// What `--cpu` says.
#[derive(Clone, Debug)]
pub enum CpuSpec {
    /// Tell what there is.
    Help,
    /// This processor.
    Model(Box<Chosen>),
}

/// A processor.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The model, with its features as they were asked for.
    pub model: Model,
    /// Features that went with another, which they need.
    dropped: Vec<(Feature, Feature)>,
}

impl CpuSpec {
    /// Reads the option's value.
    ///
    /// # Errors
    /// A line on what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if matches!(text, "help" | "?") {
            return Ok(Self::Help);
        }
        let (model, dropped) = parse(text).map_err(|error| error.to_string())?;
        Ok(Self::Model(Box::new(Chosen { model, dropped })))
    }
}

impl Chosen {
    /// A line for the user when more is missing than was taken away.
    pub fn note(&self) -> Option<String> {
        let (_, first) = self.dropped.first()?;
        let dropped: Vec<&str> = self.dropped.iter().map(|(feature, _)| feature.name()).collect();
        let what = if dropped.len() == 1 { "needs it and is" } else { "need it and are" };
        Some(format!("--cpu: without {first}: {} {what} left out too", dropped.join(", ")))
    }
}

/// Prints models and features.
///
/// # Errors
/// When standard output cannot be written.
pub fn list() -> Result<Outcome> {
    let mut text = String::from("Models:\n");
    for model in MODELS {
        text += &format!("  {:<10} {}\n", model.name, model.about);
    }
    text += "\nFeatures, to add with +NAME and take away with -NAME (in brackets: what a feature needs):\n";
    let words = ENTRIES.iter().map(|entry| {
        let needs: Vec<&str> = entry.needs.iter().map(|need| need.name()).collect();
        if needs.is_empty() { entry.name.to_owned() } else { format!("{} ({})", entry.name, needs.join(" ")) }
    });
    let mut column = 0;
    for word in words {
        if column + word.len() + 2 > 100 {
            text += "\n";
            column = 0;
        }
        text += if column == 0 { "  " } else { ", " };
        text += &word;
        column += word.len() + 2;
    }
    text += "\n";
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Outcome::OutputClosed),
        result => result.map(|()| Outcome::Done).context("standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_with_a_feature_is_said_in_a_line() {
        let Ok(CpuSpec::Model(cpu)) = CpuSpec::parse("pentium3,-fxsr") else { panic!("a model") };
        assert_eq!(cpu.note().as_deref(), Some("--cpu: without fxsr: sse needs it and is left out too"));
        let Ok(CpuSpec::Model(cpu)) = CpuSpec::parse("max") else { panic!("a model") };
        assert_eq!(cpu.note(), None);
        assert!(matches!(CpuSpec::parse("help"), Ok(CpuSpec::Help)));
    }
}
