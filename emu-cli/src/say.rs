//! Words to the user on standard error. Unlike `eprintln!` they never panic when nobody is there to read them.

/// Writes formatted text to standard error, as it is.
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stderr(), $($arg)*);
    }};
}

/// Writes a line `emu: ...` to standard error.
macro_rules! report {
    ($($arg:tt)*) => {
        $crate::say::say!("emu: {}\n", format_args!($($arg)*))
    };
}

pub(crate) use {report, say};
