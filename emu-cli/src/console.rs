//! Back ends of the serial ports: where a port's bytes go to and come from.
//!
//! A socket listens and serves one client at a time. What the guest sends while nobody is connected, or faster than
//! the client reads, is lost, as on a serial line without flow control.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::events::Event;
use crate::say::report;

/// Pieces of output that wait for a slow client, before the guest's bytes are lost.
const WAITING_PIECES: usize = 1024;

/// How long a slow client keeps the emulator from ending.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// `--serial`, as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SerialSpec {
    /// Standard input and output.
    Stdio,
    /// Output to a file, no input.
    File(PathBuf),
    /// A Unix socket that we create.
    Unix(PathBuf),
    /// A TCP port on which we listen.
    Tcp(String),
    /// Nothing is plugged in.
    None,
}

impl SerialSpec {
    /// Parses the option's value.
    ///
    /// # Errors
    /// One sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "stdio" => Ok(Self::Stdio),
            None if text == "none" => Ok(Self::None),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(("tcp", address)) => match host_and_port(address) {
                Ok(address) => Ok(Self::Tcp(address)),
                Err(expected) => Err(expected.replace("HOST", "tcp:HOST")),
            },
            _ => Err("expected stdio, file:PATH, unix:PATH, tcp:HOST:PORT or none".into()),
        }
    }
}

/// Checks HOST:PORT. Without a host it is this machine alone.
///
/// # Errors
/// One sentence that says what was expected.
pub fn host_and_port(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').ok_or("expected HOST:PORT")?;
    port.parse::<u16>().map_err(|_| "expected HOST:PORT with a port from 0 to 65535")?;
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok(format!("{host}:{port}"))
}

/// Where a port's output goes.
#[derive(Debug)]
pub enum SerialOut {
    /// Standard output.
    Stdout,
    /// A file.
    File(File),
    /// The client of a socket, if there is one.
    Socket(SocketOut),
    /// Nowhere.
    None,
}

/// The way to a socket's client.
#[derive(Debug)]
pub struct SocketOut {
    pieces: Sender<Piece>,
    connected: Arc<AtomicBool>,
}

/// What goes to the thread that serves a socket.
#[derive(Debug)]
enum Piece {
    /// Bytes for the client.
    Bytes(Vec<u8>),
    /// All before it was written: drop this.
    Finish(#[allow(dead_code, reason = "it tells by being dropped")] Sender<()>),
}

impl SerialOut {
    /// Passes bytes on at once.
    ///
    /// # Errors
    /// When a file or standard output cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                write_patiently(&mut out, bytes)
            }
            Self::File(file) => file.write_all(bytes),
            Self::Socket(client) => {
                // No room, or no thread any more: the bytes are lost.
                let _ = client.pieces.try_send(Piece::Bytes(bytes.to_vec()));
                Ok(())
            }
            Self::None => Ok(()),
        }
    }

    /// Waits, for a moment, until a socket's client has got everything.
    pub fn finish(&mut self) {
        if let Self::Socket(client) = self
            && client.connected.load(Ordering::Acquire)
        {
            let (written, wait) = bounded(0);
            let deadline = Instant::now() + LAST_WORDS;
            if client.pieces.send_deadline(Piece::Finish(written), deadline).is_ok() {
                let _ = wait.recv_deadline(deadline);
            }
        }
    }
}

/// Writes everything and flushes, also where somebody else made our terminal or pipe non-blocking.
fn write_patiently(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    loop {
        let result = if bytes.is_empty() { out.flush().map(|()| 0) } else { out.write(bytes) };
        match result {
            Ok(0) if bytes.is_empty() => return Ok(()),
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error),
        }
    }
}

/// A listening socket; the file of a Unix socket is removed when this is dropped.
#[derive(Debug)]
pub struct Listening {
    path: Option<PathBuf>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Listens on a Unix socket.
///
/// # Errors
/// When the path is taken or cannot be created.
pub fn listen_unix(path: &Path, input: Sender<u8>, events: Sender<Event>) -> Result<(SerialOut, Listening)> {
    let context = || format!("--serial unix:{}", path.display());
    let (listener, listening) = bind_unix(path).with_context(context)?;
    let out = serve(move || Ok(listener.accept()?.0), input, events).with_context(context)?;
    Ok((out, listening))
}

/// Creates a Unix socket. A socket file that nobody listens on any more is replaced.
///
/// # Errors
/// When the path is taken or cannot be created.
pub fn bind_unix(path: &Path) -> Result<(UnixListener, Listening)> {
    if let Ok(meta) = path.symlink_metadata() {
        if !meta.file_type().is_socket() || UnixStream::connect(path).is_ok() {
            bail!("it exists already; expected a path for a new socket");
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path).context("expected a path for a new socket")?;
    Ok((listener, Listening { path: Some(path.to_owned()) }))
}

/// Listens on a TCP port. With port 0 the host chooses one, which is told on standard error.
///
/// # Errors
/// When the address makes no sense or is in use.
pub fn listen_tcp(address: &str, input: Sender<u8>, events: Sender<Event>) -> Result<(SerialOut, Listening)> {
    let context = || format!("--serial tcp:{address}");
    let listener = bind(address).with_context(context)?;
    if address.ends_with(":0") {
        let bound = listener.local_addr().with_context(context)?;
        report!("serial port on tcp:{bound}");
    }
    let out = serve(move || Ok(listener.accept()?.0), input, events).with_context(context)?;
    Ok((out, Listening { path: None }))
}

/// Listens at HOST:PORT.
///
/// # Errors
/// When the address makes no sense or is in use.
pub fn bind(address: &str) -> Result<TcpListener> {
    let addresses: Vec<_> =
        address.to_socket_addrs().context("expected HOST:PORT of this machine")?.collect();
    if addresses.is_empty() {
        bail!("expected HOST:PORT of this machine");
    }
    TcpListener::bind(&addresses[..]).context("it cannot be listened on")
}

/// A client's connection.
trait Client: Read + Write + Send + Sized + 'static {
    fn second(&self) -> io::Result<Self>;
    fn close(&self);
}

impl Client for UnixStream {
    fn second(&self) -> io::Result<Self> {
        self.try_clone()
    }
    fn close(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Client for TcpStream {
    fn second(&self) -> io::Result<Self> {
        self.try_clone()
    }
    fn close(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

/// Serves one client after the other on a thread; returns where the port's output goes.
fn serve<C: Client>(
    accept: impl Fn() -> io::Result<C> + Send + 'static,
    input: Sender<u8>,
    events: Sender<Event>,
) -> io::Result<SerialOut> {
    let (sender, pieces) = bounded(WAITING_PIECES);
    let connected = Arc::new(AtomicBool::new(false));
    let out = SocketOut { pieces: sender, connected: connected.clone() };
    let work = move || {
        loop {
            let client = match accept().and_then(|client| Ok((client.second()?, client))) {
                Ok(client) => client,
                // A client that left before it was served; anything worse will show again.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    report!("a serial socket stopped listening: {error}");
                    return;
                }
            };
            while pieces.try_recv().is_ok() {}
            connected.store(true, Ordering::Release);
            let machine_there = converse(client, &pieces, &input, &events);
            connected.store(false, Ordering::Release);
            if !machine_there {
                return;
            }
        }
    };
    thread::Builder::new().name("serial".into()).spawn(work)?;
    Ok(SerialOut::Socket(out))
}

/// Passes bytes both ways until the client leaves. False when the machine is gone.
fn converse<C: Client>(
    (mut reading, mut writing): (C, C),
    pieces: &Receiver<Piece>,
    input: &Sender<u8>,
    events: &Sender<Event>,
) -> bool {
    thread::scope(|scope| {
        let (left, gone) = bounded::<()>(0);
        let reader = scope.spawn(move || {
            let _left = left;
            let mut buffer = [0; 512];
            while let Ok(count @ 1..) = reading.read(&mut buffer) {
                for &byte in &buffer[..count] {
                    if input.send(byte).is_err() {
                        return false;
                    }
                }
                let _ = events.send(Event::Input);
            }
            true
        });
        loop {
            crossbeam_channel::select! {
                recv(pieces) -> piece => match piece {
                    Ok(Piece::Bytes(bytes)) if writing.write_all(&bytes).and_then(|()| writing.flush()).is_ok() => {}
                    Ok(Piece::Finish(written)) => drop(written),
                    _ => break,
                },
                recv(gone) -> _ => break,
            }
        }
        writing.close();
        reader.join().unwrap_or(false)
    })
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;

    #[test]
    fn back_ends_are_parsed() {
        assert_eq!(SerialSpec::parse("stdio"), Ok(SerialSpec::Stdio));
        assert_eq!(SerialSpec::parse("none"), Ok(SerialSpec::None));
        assert_eq!(SerialSpec::parse("file:a:b"), Ok(SerialSpec::File("a:b".into())));
        assert_eq!(SerialSpec::parse("unix:/x"), Ok(SerialSpec::Unix("/x".into())));
        assert_eq!(SerialSpec::parse("tcp::4321"), Ok(SerialSpec::Tcp("127.0.0.1:4321".into())));
        assert_eq!(SerialSpec::parse("tcp:[::1]:4321"), Ok(SerialSpec::Tcp("[::1]:4321".into())));
        for text in ["", "pty", "file:", "unix:", "tcp:", "tcp:localhost", "tcp:localhost:99999", "stdio:"] {
            assert!(SerialSpec::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_unix_socket_serves_one_client_after_the_other() {
        let path = std::env::temp_dir().join(format!("emu-console-{}.sock", std::process::id()));
        let (input, typed) = bounded(64);
        let (events, woken) = unbounded();
        let (mut out, listening) = listen_unix(&path, input, events).unwrap();
        for round in 0..2 {
            let mut client = UnixStream::connect(&path).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            client.write_all(&[round]).unwrap();
            assert_eq!(typed.recv_timeout(Duration::from_secs(20)), Ok(round));
            assert_eq!(woken.recv_timeout(Duration::from_secs(20)), Ok(Event::Input));
            out.write(b"hello").unwrap();
            let mut answer = [0; 5];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"hello");
        }
        drop(listening);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_that_is_no_socket_is_left_alone() {
        let path = std::env::temp_dir().join(format!("emu-console-{}.txt", std::process::id()));
        std::fs::write(&path, "mine").unwrap();
        let result = listen_unix(&path, bounded(1).0, unbounded().0);
        assert!(format!("{:#}", result.unwrap_err()).contains("exists already"));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        std::fs::remove_file(&path).unwrap();
    }
}
