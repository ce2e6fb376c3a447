//! Lines of a stream, without a copy of each.

use std::io::{self, Read};

use memchr::memchr;

/// Bytes that are read at once, if there are as many.
const BUFFER: usize = 1 << 18;

/// Reads lines.
#[derive(Debug)]
pub struct Lines<R> {
    from: R,
    /// What was read and not taken is `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where the line that was found ends, without its line feed.
    line: usize,
}

impl<R: Read> Lines<R> {
    /// Lines from here on.
    pub fn new(from: R) -> Self {
        Self { from, buffer: vec![0; BUFFER], start: 0, end: 0, line: 0 }
    }

    /// Finds the end of the next line: `Some(true)` for a whole line, `Some(false)` for one that ends with the
    /// stream, `None` behind the last one.
    ///
    /// # Errors
    /// When the stream cannot be read.
    pub fn find(&mut self) -> io::Result<Option<bool>> {
        let mut looked = 0;
        loop {
            if let Some(place) = memchr(b'\n', &self.buffer[self.start + looked..self.end]) {
                self.line = self.start + looked + place;
                return Ok(Some(true));
            }
            looked = self.end - self.start;
            if self.read()? == 0 {
                self.line = self.end;
                return Ok((self.start < self.end).then_some(false));
            }
        }
    }

    /// The line that [`find`](Self::find) found.
    pub fn found(&self) -> &[u8] {
        &self.buffer[self.start..self.line]
    }

    /// Goes on behind that line.
    pub fn take(&mut self) {
        self.start = (self.line + 1).min(self.end);
    }

    /// Goes on behind the next line if it is this one.
    ///
    /// # Errors
    /// When the stream cannot be read.
    pub fn take_equal(&mut self, line: &[u8]) -> io::Result<bool> {
        loop {
            let rest = &self.buffer[self.start..self.end];
            if let Some((next, [b'\n', ..])) = rest.split_at_checked(line.len()) {
                let equal = next == line;
                self.start += if equal { line.len() + 1 } else { 0 };
                return Ok(equal);
            }
            // Another byte stands where the line would end, or less is there.
            let short = rest.len() <= line.len();
            if !short || !line.starts_with(rest) || self.read()? == 0 {
                return Ok(false);
            }
        }
    }

    /// Reads more, and returns how much.
    fn read(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.end, 0);
        }
        loop {
            match self.from.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => {
                    let count = read?;
                    self.end += count;
                    return Ok(count);
                }
            }
        }
    }
}

/// The value of each hexadecimal digit, and 255 for what is none.
const DIGITS: [u8; 256] = {
    let mut digits = [255; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

/// A hexadecimal number, and what follows it.
pub fn hex(text: &[u8]) -> (u64, &[u8]) {
    let mut value = 0;
    for (n, byte) in text.iter().enumerate() {
        let digit = DIGITS[usize::from(*byte)];
        if digit > 15 {
            return (value, &text[n..]);
        }
        value = value << 4 | u64::from(digit);
    }
    (value, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let most = to.len().min(1);
            self.0.read(&mut to[..most])
        }
    }

    #[test]
    fn lines_come_whole_however_they_arrive() {
        let mut lines = Lines::new(Drops(b"one\ntwo\n\ntwo\ntw"));
        assert!(!lines.take_equal(b"onf").unwrap() && !lines.take_equal(b"on").unwrap());
        assert!(!lines.take_equal(b"one more").unwrap() && lines.take_equal(b"one").unwrap());
        assert_eq!((lines.find().unwrap(), lines.found()), (Some(true), &b"two"[..]));
        lines.take();
        assert!(lines.take_equal(b"").unwrap() && lines.take_equal(b"two").unwrap());
        assert!(!lines.take_equal(b"two").unwrap());
        assert_eq!((lines.find().unwrap(), lines.found()), (Some(false), &b"tw"[..]));
        lines.take();
        assert_eq!(lines.find().unwrap(), None);
    }

    #[test]
    fn a_line_may_be_longer_than_the_buffer() {
        let text = [vec![b'x'; 3 * BUFFER], b"\nrest".to_vec()].concat();
        let mut lines = Lines::new(&text[..]);
        assert_eq!(lines.find().unwrap(), Some(true));
        assert_eq!(lines.found().len(), 3 * BUFFER);
        lines.take();
        assert_eq!((lines.find().unwrap(), lines.found()), (Some(false), &b"rest"[..]));
    }
}
