//! `--hash-every N --hash-log FILE`: one line every N retired instructions.

use std::fs::File;
use std::io::{self, BufWriter, Write};

/// Writes the log, and knows when its next line is due.
#[derive(Debug)]
pub struct HashLog<W: Write = BufWriter<File>> {
    every: u64,
    due: u64,
    out: W,
}

impl HashLog {
    /// A log with its first line at `every` instructions.
    pub fn new(every: u64, file: File) -> Self {
        Self::over(every, BufWriter::new(file))
    }
}

impl<W: Write> HashLog<W> {
    fn over(every: u64, out: W) -> Self {
        Self { every, due: every, out }
    }

    /// The instruction count of the next line.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// Writes the line for `count` instructions, when it is due.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn line(&mut self, count: u64, rip: u64, hash: u64) -> io::Result<()> {
        if count != self.due {
            return Ok(());
        }
        self.due = self.due.saturating_add(self.every);
        writeln!(self.out, "{count:016x} {rip:016x} {hash:016x}")
    }

    /// Writes what is still buffered.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_fixed_width_and_come_every_n() {
        let mut log = HashLog::over(1000, Vec::new());
        assert_eq!(log.due(), 1000);
        log.line(999, 0, 0).unwrap();
        log.line(1000, 0x7c00, u64::MAX).unwrap();
        log.line(2000, 0xffff_fff0, 1).unwrap();
        let text = String::from_utf8(log.out).unwrap();
        assert_eq!(
            text,
            "00000000000003e8 0000000000007c00 ffffffffffffffff\n\
             00000000000007d0 00000000fffffff0 0000000000000001\n"
        );
    }
}
