//! `--gdb` by a client of our own: what stops, where, and that nothing of it changes the run.

mod catches;
mod connections;
mod stops;

use std::time::Duration;

/// For each emulator.
const LIMIT: Duration = Duration::from_secs(120);
