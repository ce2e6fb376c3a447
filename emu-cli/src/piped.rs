//! Standard input that is no terminal, as the guest's serial line.
//!
//! The guest's UART asks for a byte at an instruction count that depends on nothing but the guest. If the host has
//! none yet, the machine stands still until it has, so that the run is the same each time however fast the writer is.
//! A writer that stays silent for longer than [`PATIENCE`] ends that: from then on the run goes on without it, takes
//! bytes as they come, and may differ from time to time.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError, bounded};
use emu_devices::uart16550::{ByteSource, NextByte};

use crate::console::SerialOut;
use crate::say::report;

/// How long the machine stands still for a silent writer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pieces that are read ahead of the guest.
const READ_AHEAD: usize = 16;

/// The guest's end of standard input.
#[derive(Debug)]
pub struct PipedInput {
    pieces: Receiver<Vec<u8>>,
    piece: std::vec::IntoIter<u8>,
    patience: Duration,
    patient: bool,
    waited: Waited,
}

/// How long the machine stood still for the writer.
#[derive(Clone, Debug, Default)]
pub struct Waited(Arc<AtomicU64>);

impl Waited {
    /// So long until now.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn add(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl PipedInput {
    /// Starts to read standard input.
    ///
    /// # Errors
    /// When the host refuses the thread.
    pub fn start() -> Result<Self> {
        Self::over(io::stdin(), PATIENCE)
    }

    fn over(mut input: impl Read + Send + 'static, patience: Duration) -> Result<Self> {
        let (sender, pieces) = bounded(READ_AHEAD);
        let read = move || {
            let mut buffer = [0; 4096];
            loop {
                match input.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(count) => {
                        if sender.send(buffer[..count].to_vec()).is_err() {
                            return;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(1));
                    }
                    Err(error) => {
                        report!("standard input ends here: {error}");
                        return;
                    }
                }
            }
        };
        thread::Builder::new().name("input".into()).spawn(read).context("input thread")?;
        let waited = Waited::default();
        Ok(Self { pieces, piece: Vec::new().into_iter(), patience, patient: true, waited })
    }

    /// How long the machine stands still for it, also later.
    pub fn waited(&self) -> Waited {
        self.waited.clone()
    }

    fn piece(&mut self, sent: &mut Vec<u8>) -> Result<Vec<u8>, NextByte> {
        if self.patient {
            // Whoever writes may wait for an answer first. Trouble with the output shows in the main loop.
            if self.pieces.is_empty() && SerialOut::Stdout.write(sent).is_ok() {
                sent.clear();
            }
            let began = Instant::now();
            let received = self.pieces.recv_deadline(began + self.patience);
            self.waited.add(began.elapsed());
            match received {
                Ok(piece) => return Ok(piece),
                Err(RecvTimeoutError::Disconnected) => return Err(NextByte::End),
                Err(RecvTimeoutError::Timeout) => self.patient = false,
            }
        }
        self.pieces.try_recv().map_err(|error| match error {
            TryRecvError::Empty => NextByte::Later,
            TryRecvError::Disconnected => NextByte::End,
        })
    }
}

impl ByteSource for PipedInput {
    fn next(&mut self, sent: &mut Vec<u8>) -> NextByte {
        if self.piece.len() == 0 {
            match self.piece(sent) {
                Ok(piece) => self.piece = piece.into_iter(),
                Err(none) => return none,
            }
        }
        self.piece.next().map_or(NextByte::Later, NextByte::Byte)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use std::io::Write;

    #[test]
    fn the_guest_gets_every_byte_however_late_it_comes() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let mut input = PipedInput::over(reader, Duration::from_secs(60)).unwrap();
        let write = thread::spawn(move || {
            for byte in b"abc" {
                thread::sleep(Duration::from_millis(20));
                writer.write_all(&[*byte]).unwrap();
            }
        });
        for byte in *b"abc" {
            assert_eq!(input.next(&mut Vec::new()), NextByte::Byte(byte));
        }
        assert_eq!(input.next(&mut Vec::new()), NextByte::End);
        write.join().unwrap();
    }

    #[test]
    fn a_silent_writer_is_waited_for_only_once() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let mut input = PipedInput::over(reader, Duration::from_millis(50)).unwrap();
        assert_eq!(input.next(&mut Vec::new()), NextByte::Later);
        assert!(input.waited().time() >= Duration::from_millis(50));
        input.patience = Duration::from_secs(3600);
        assert_eq!(input.next(&mut Vec::new()), NextByte::Later);
        writer.write_all(b"x").unwrap();
        let late = (0..2000).find_map(|_| match input.next(&mut Vec::new()) {
            NextByte::Byte(byte) => Some(byte),
            _ => {
                thread::sleep(Duration::from_millis(5));
                None
            }
        });
        assert_eq!(late, Some(b'x'));
    }
}
