//! `emu diff`: two machines side by side.

mod bochs_process;
mod child;
mod ending;
mod engines;
mod fuzz;
mod host;
mod overlay;
mod parts;
mod programs;
mod progress;
mod qemu_process;
mod recipe;
mod reference;
mod small;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod vectors;

use anyhow::Result;

use crate::args::{Accel, Against, DiffCommand};
use crate::outcome::{Outcome, usage};
use recipe::Recipe;

/// Does what was asked for.
///
/// # Errors
/// Wrong usage, or what the host could not do.
pub fn run(what: &DiffCommand) -> Result<Outcome> {
    match what {
        DiffCommand::Fuzz(args) => fuzz::run(args),
        DiffCommand::Run(args) => {
            let recipe = Recipe::new(&args.run)?;
            match args.against {
                Against::Interp => engines::compare(&recipe, args.run.accel, Accel::Interp),
                Against::Qemu | Against::Bochs => reference::compare(&recipe, args),
                Against::Host => usage!(
                    "--against host: expected `emu diff fuzz`; the host's processor runs single instructions of user code"
                ),
                Against::Jit => engines::compare(&recipe, args.run.accel, Accel::Jit),
            }
        }
    }
}
