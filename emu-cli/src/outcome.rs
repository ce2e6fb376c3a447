//! How a run can end, and the exit status that says so.

use std::fmt;

/// Why the program ends, when nothing went wrong on the host's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was nothing to run, or it was done (`emu info`, `--help`).
    Done,
    /// The guest switched itself off.
    PowerOff,
    /// The user quit (Ctrl-A X, or the monitor's `quit`).
    Quit,
    /// `--no-reboot`, and the guest reset itself or met a triple fault.
    Reset,
    /// `--max-insns` was reached.
    InstructionLimit,
    /// `--timeout` was reached.
    Timeout,
    /// The guest wrote this value to the debug-exit port.
    DebugExit(u32),
    /// `emu diff` found a difference.
    Different,
    /// Whoever reads our standard output has gone away.
    OutputClosed,
    /// A signal asked us to end.
    Signal(i32),
}

/// Exit status of a failure of the host: a file, a socket, memory.
pub const STATUS_HOST: i32 = 1;
/// Exit status of wrong usage.
pub const STATUS_USAGE: i32 = 2;

impl Outcome {
    /// The exit status. A signal's is what shells show for it.
    pub fn status(self) -> i32 {
        match self {
            Self::Done | Self::PowerOff | Self::Quit => 0,
            Self::OutputClosed => STATUS_HOST,
            Self::Reset => 3,
            Self::InstructionLimit => 4,
            Self::Different => 5,
            Self::Timeout => 124,
            Self::DebugExit(value) => (value << 1 | 1) as u8 as i32,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// An error in how the program was called.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Ends a function with a [`Usage`] error.
macro_rules! usage {
    ($($arg:tt)*) => {
        return Err($crate::outcome::Usage(format!($($arg)*)).into())
    };
}
pub(crate) use usage;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_exit_value_is_shifted_and_made_odd() {
        assert_eq!(Outcome::DebugExit(0).status(), 1);
        assert_eq!(Outcome::DebugExit(0x10).status(), 33);
        assert_eq!(Outcome::DebugExit(0xff).status(), 255);
        assert_eq!(Outcome::DebugExit(0xffff_ffff).status(), 255);
    }
}
