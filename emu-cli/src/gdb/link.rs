//! The line to gdb: where it is waited for, and a connection that is never waited for longer than a moment.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gdbstub::conn::Connection;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, recv};

use super::packets;
use crate::console::{self, Listening};
use crate::say::report;

/// How long a client that does not read keeps the emulator waiting before it is dropped.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a standing machine waits for the next packet before the main loop looks around.
pub const NAP: Duration = Duration::from_millis(10);

/// How long a machine that was just spoken to looks for the next packet before it sleeps: processors that sleep take
/// as long to wake up as several steps take.
const ALERT: Duration = Duration::from_micros(200);

/// Where gdb finds us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// HOST:PORT.
    Tcp(String),
    /// A Unix socket that we create.
    Unix(PathBuf),
}

impl Address {
    /// Parses the option's value.
    ///
    /// # Errors
    /// One sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => console::host_and_port(text)
                .map(Self::Tcp)
                .map_err(|expected| expected.replace("HOST:PORT", "HOST:PORT or unix:PATH")),
        }
    }
}

/// Whoever waits for gdb.
#[derive(Debug)]
pub enum Listener {
    /// On a TCP port.
    Tcp(TcpListener),
    /// On a Unix socket, whose file goes with it.
    Unix {
        /// The socket.
        listener: UnixListener,
        /// Its file.
        _file: Listening,
    },
}

impl Listener {
    /// Listens. With port 0 the host chooses one, which is told on standard error.
    ///
    /// # Errors
    /// When the address makes no sense or is in use.
    pub fn bind(address: &Address) -> Result<Self> {
        match address {
            Address::Tcp(address) => {
                let context = || format!("--gdb {address}");
                let listener = console::bind(address).with_context(context)?;
                listener.set_nonblocking(true).with_context(context)?;
                if address.ends_with(":0") {
                    report!("gdb on tcp:{}", listener.local_addr().with_context(context)?);
                }
                Ok(Self::Tcp(listener))
            }
            Address::Unix(path) => {
                let context = || format!("--gdb unix:{}", path.display());
                let (listener, _file) = console::bind_unix(path).with_context(context)?;
                listener.set_nonblocking(true).with_context(context)?;
                Ok(Self::Unix { listener, _file })
            }
        }
    }

    /// Whoever wants to connect now.
    ///
    /// # Errors
    /// When nobody does, or the host refuses to set the connection up.
    pub fn accept(&self) -> io::Result<Link> {
        let stream: OwnedFd = match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(false)?;
                stream.set_nodelay(true)?;
                stream.into()
            }
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(false)?;
                stream.into()
            }
        };
        set_socket_timeout(&stream, Timeout::Send, Some(PATIENCE))?;
        Ok(Link { stream: stream.into(), spoken_to: false, out: Vec::new(), addition: None })
    }
}

/// A connection.
#[derive(Debug)]
pub struct Link {
    stream: File,
    /// The last look found something.
    spoken_to: bool,
    out: Vec<u8>,
    addition: Option<&'static str>,
}

impl Link {
    /// Reads what has arrived; 0 bytes when nothing has, for a moment if `wait` is set.
    ///
    /// # Errors
    /// When the connection is gone; also when the other side has closed it.
    pub fn receive(&mut self, buffer: &mut [u8], wait: bool) -> io::Result<usize> {
        let mut count = self.look(buffer)?;
        if wait && std::mem::take(&mut self.spoken_to) {
            let begun = Instant::now();
            while count == 0 && begun.elapsed() < ALERT {
                std::thread::yield_now();
                count = self.look(buffer)?;
            }
        }
        if wait && count == 0 {
            let nap = Timespec { tv_sec: 0, tv_nsec: NAP.subsec_nanos().into() };
            // Whatever it says, the next look shows.
            let _ = poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], Some(&nap));
            count = self.look(buffer)?;
        }
        self.spoken_to |= count > 0;
        Ok(count)
    }

    /// Reads what is there.
    fn look(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match recv(&self.stream, buffer, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Err(ErrorKind::UnexpectedEof.into()),
            Ok((_, count)) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
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
