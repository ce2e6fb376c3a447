//! A client of gdb's remote protocol, of our own: what the tests send is what they mean, packet by packet.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::emulator::emu;
use crate::process::Running;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts `emu` with a debugger's port that the host chooses; returns its address as well.
///
/// # Panics
/// When it does not come up.
pub fn start(arguments: &[&str], limit: Duration) -> (Running, String) {
    let mut running = Running::start(emu(["--gdb", "127.0.0.1:0"].iter().chain(arguments)), limit);
    let line = running.error_line("emu: gdb on tcp:").unwrap_or_else(|| {
        panic!("emu tells where it listens: {}", String::from_utf8_lossy(&running.errors()));
    });
    (running, line.trim_start_matches("emu: gdb on tcp:").to_owned())
}

/// The same on a Unix socket at `path`.
///
/// # Panics
/// When it does not come up.
pub fn start_unix(path: &Path, arguments: &[&str], limit: Duration) -> Running {
    let address = format!("unix:{}", path.display());
    let running = Running::start(emu(["--gdb", &address].iter().chain(arguments)), limit);
    let begun = Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < PATIENCE, "emu listens: {}", String::from_utf8_lossy(&running.errors()));
        std::thread::sleep(Duration::from_millis(5));
    }
    running
}

/// What packets travel on.
trait Line: Read + Write + std::fmt::Debug {
    /// Reads what is there at once, or says that it would have to wait.
    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()>;
}

impl Line for TcpStream {
    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.set_nonblocking(nonblocking)
    }
}

impl Line for UnixStream {
    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.set_nonblocking(nonblocking)
    }
}

/// A connection in no-acknowledgment mode.
#[derive(Debug)]
pub struct Client {
    stream: Box<dyn Line>,
    buffer: Vec<u8>,
    /// What arrived for the console.
    pub console: String,
}

impl Client {
    /// Connects and greets.
    ///
    /// # Panics
    /// When the other side does not answer as it should.
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("emu listens");
        stream.set_nodelay(true).expect("the host knows TCP");
        stream.set_read_timeout(Some(PATIENCE)).expect("the host knows TCP");
        Self::greet(Box::new(stream))
    }

    /// The same on a Unix socket.
    ///
    /// # Panics
    /// When the other side does not answer as it should.
    pub fn connect_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("emu listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("the host knows Unix sockets");
        Self::greet(Box::new(stream))
    }

    fn greet(stream: Box<dyn Line>) -> Self {
        let mut client = Self { stream, buffer: Vec::new(), console: String::new() };
        let features = client.ask("qSupported:multiprocess+;swbreak+;hwbreak+;vContSupported+");
        assert!(features.contains("PacketSize="), "{features}");
        assert_eq!(client.ask("QStartNoAckMode"), "OK");
        client
    }

    /// From now on looks for answers without ever sleeping: a processor that sleeps takes as long to wake up as
    /// several steps take. Only short packets may be sent then.
    ///
    /// # Panics
    /// When the host does not know that.
    pub fn stay_awake(&mut self) {
        self.stream.set_nonblocking(true).expect("the host knows sockets that do not wait");
    }

    /// Sends a packet.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn send(&mut self, body: &str) {
        self.stream.write_all(framed(body).as_bytes()).expect("emu listens");
    }

    /// Sends many packets at once, without waiting for an answer; `\u{3}` alone is Ctrl-C.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn send_ahead(&mut self, bodies: &[&str]) {
        let all: String =
            bodies.iter().map(|&body| if body == "\u{3}" { body.into() } else { framed(body) }).collect();
        self.stream.write_all(all.as_bytes()).expect("emu listens");
    }

    /// Sends the byte for Ctrl-C.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn interrupt(&mut self) {
        self.stream.write_all(&[3]).expect("emu listens");
    }

    /// The next packet that is not for the console.
    ///
    /// # Panics
    /// When none comes.
    pub fn packet(&mut self) -> String {
        loop {
            let packet = self.any_packet().expect("emu answers");
            match packet.strip_prefix('O') {
                Some(hex) if packet != "OK" => self.console += &String::from_utf8_lossy(&unhex(hex)),
                _ => return packet,
            }
        }
    }

    /// The next packet; `None` when the other side has closed the connection.
    pub fn any_packet(&mut self) -> Option<String> {
        let begun = Instant::now();
        loop {
            if let Some(start) = self.buffer.iter().position(|&byte| byte == b'$')
                && let Some(end) = self.buffer[start..].iter().position(|&byte| byte == b'#')
                && self.buffer.len() >= start + end + 3
            {
                let body = expand(&self.buffer[start + 1..start + end]);
                self.buffer.drain(..start + end + 3);
                return Some(body);
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(count @ 1..) => self.buffer.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock && begun.elapsed() < PATIENCE => {
                    std::thread::yield_now();
                }
                _ => return None,
            }
        }
    }

    /// Sends a packet and returns the answer.
    pub fn ask(&mut self, body: &str) -> String {
        self.send(body);
        self.packet()
    }

    /// A command to the monitor, and what it printed.
    ///
    /// # Panics
    /// When it is not accepted.
    pub fn monitor(&mut self, command: &str) -> String {
        self.console.clear();
        let hex: String = command.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(self.ask(&format!("qRcmd,{hex}")), "OK", "{command}");
        std::mem::take(&mut self.console)
    }

    /// One step of the first processor; returns the stop packet.
    pub fn step(&mut self) -> String {
        self.ask("vCont;s:p1.1;c")
    }

    /// A register by its number, as many bytes as it has, in the low ones.
    pub fn register(&mut self, number: usize) -> u64 {
        let bytes = unhex(&self.ask(&format!("p{number:x}")));
        bytes.iter().take(8).rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
    }

    /// The linear instruction pointer.
    pub fn pc(&mut self) -> u64 {
        self.register(16)
    }

    /// Bytes of memory.
    pub fn memory(&mut self, address: u64, len: usize) -> Vec<u8> {
        unhex(&self.ask(&format!("m{address:x},{len:x}")))
    }
}

fn framed(body: &str) -> String {
    let sum = body.bytes().fold(0u8, u8::wrapping_add);
    format!("${body}#{sum:02x}")
}

/// Bytes of a hexadecimal text.
pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Undoes run-length encoding: a character, `*`, and a count plus 29.
fn expand(body: &[u8]) -> String {
    let mut text = String::new();
    let mut bytes = body.iter();
    while let Some(&byte) = bytes.next() {
        if byte == b'*'
            && let (Some(last), Some(&count)) = (text.chars().last(), bytes.next())
        {
            text.extend(std::iter::repeat_n(last, usize::from(count - 29)));
        } else {
            text.push(char::from(byte));
        }
    }
    text
}
