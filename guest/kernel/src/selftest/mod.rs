//! The self-test: checks inside the guest of everything that the kernel stands on. One file per subject;
//! each has a list of named checks. Prints `ok NAME` or `FAIL NAME: why` and a count at the end.

use crate::{power, println};
use core::fmt::{self, Write};

mod compute;
mod context;
mod devices;
mod disk;
mod exceptions;
mod memory;
mod modes;
mod pages;
mod processors;
mod ring3;
mod time;

/// Why a check failed: a short text without a heap.
pub struct Why {
    text: [u8; 120],
    length: usize,
}

impl Why {
    /// Formats the reason; what is too long is cut.
    pub fn new(arguments: fmt::Arguments<'_>) -> Self {
        let mut why = Self { text: [0; 120], length: 0 };
        // `write_str` below never fails.
        let _ = why.write_fmt(arguments);
        why
    }
}

impl Write for Why {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes().filter(u8::is_ascii) {
            if let Some(place) = self.text.get_mut(self.length) {
                *place = byte;
                self.length += 1;
            }
        }
        Ok(())
    }
}

/// What a check returns.
pub type Outcome = Result<(), Why>;

/// A check and its name.
pub type Check = (&'static str, fn() -> Outcome);

/// Ends a check with a reason unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($reason:tt)*) => {
        if !$condition {
            return Err($crate::selftest::Why::new(format_args!($($reason)*)));
        }
    };
}
pub(crate) use ensure;

/// The command `selftest [--exit]`.
pub fn command(arguments: &str) {
    let lists = [
        modes::CHECKS,
        pages::CHECKS,
        exceptions::CHECKS,
        ring3::CHECKS,
        time::CHECKS,
        context::CHECKS,
        devices::CHECKS,
        disk::CHECKS,
        memory::CHECKS,
        compute::CHECKS,
        processors::CHECKS,
    ];
    let (mut good, mut failed) = (0u32, 0u32);
    for (name, check) in lists.into_iter().flatten() {
        match check() {
            Ok(()) => {
                good += 1;
                println!("ok {name}");
            }
            Err(why) => {
                failed += 1;
                println!("FAIL {name}: {}", core::str::from_utf8(&why.text[..why.length]).unwrap_or("?"));
            }
        }
    }
    println!("selftest: {good} ok, {failed} failed");
    if arguments == "--exit" {
        crate::serial::flush();
        power::debug_exit(failed.min(0x7E) as u8);
    }
}
