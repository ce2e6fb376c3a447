//! The line to gdb: a TCP connection that is never waited for longer than a moment.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::packets;
use gdbstub::conn::Connection;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a client that does not read keeps the emulator waiting before it is dropped.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a standing machine waits for the next packet before the main loop looks around.
pub const NAP: Duration = Duration::from_millis(10);

/// How long a machine that was just spoken to looks for the next packet before it sleeps: processors that sleep take as long to wake
/// up as several steps take.
const ALERT: Duration = Duration::from_micros(200);

/// A connection.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    /// The last look found something.
    spoken_to: bool,
    out: Vec<u8>,
    addition: Option<&'static str>,
}

impl Link {
    /// Takes over a connection that was accepted.
    ///
    /// # Errors
    /// When the host refuses to set it up.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(NAP))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, spoken_to: false, out: Vec::new(), addition: None })
    }

    /// Reads what has arrived; 0 bytes when nothing has, for a moment if `wait` is set.
    ///
    /// # Errors
    /// When the connection is gone; also when the other side has closed it.
    pub fn receive(&mut self, buffer: &mut [u8], wait: bool) -> io::Result<usize> {
        if !wait && !self.has_arrived() {
            return Ok(0);
        }
        if wait && std::mem::take(&mut self.spoken_to) {
            let begun = Instant::now();
            while !self.has_arrived() && begun.elapsed() < ALERT {
                std::thread::yield_now();
            }
        }
        match self.stream.read(buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.spoken_to = true;
                Ok(count)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn has_arrived(&self) -> bool {
        poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], Some(&Timespec::default())) == Ok(1)
    }

    /// Adds this to the end of the next packet that is sent.
    pub fn add_to_next(&mut self, text: &'static str) {
        self.addition = Some(text);
    }

    /// Sends text for gdb's console, while the guest runs.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.answer(&format!("O{hex}"))
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn answer(&mut self, body: &str) -> io::Result<()> {
        let sum = packets::checksum(body.as_bytes());
        self.out.extend(format!("${body}#{sum:02x}").bytes());
        self.flush()
    }
}

impl Connection for Link {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.out.push(byte);
        Ok(())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(text) = self.addition.take()
            && let Some(start) = self.out.iter().position(|&byte| byte == b'$')
            && let Some(end) = self.out.iter().rposition(|&byte| byte == b'#')
        {
            self.out.truncate(end);
            self.out.extend_from_slice(text.as_bytes());
            let sum = packets::checksum(&self.out[start + 1..]);
            self.out.extend(format!("#{sum:02x}").bytes());
        }
        Write::write_all(&mut self.stream, &self.out)?;
        self.out.clear();
        Ok(())
    }
}
