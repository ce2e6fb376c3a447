//! What reaches the main loop from outside the machine: the user's keyboard and the host's signals.

use std::io::{self, Read};
use std::thread;

use anyhow::{Context, Result};
use crossbeam_channel::Sender;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::terminal;
use crate::typed::{Parser, Typed};

/// Something that the main loop reacts to between two slices of instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The user typed something.
    Typed(Typed),
    /// Some input of the guest may have new bytes: a reason to wake up.
    Input,
    /// A signal that ends the program.
    Signal(i32),
    /// The terminal's contents are gone or it has another size.
    Redraw,
}

/// Signals that end the program, unless whoever started us has them ignored (`nohup`).
const DEADLY: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

/// Starts to turn signals into events. The second deadly one ends the program at once.
///
/// # Errors
/// When the host refuses the handlers or the thread.
pub fn watch_signals(events: Sender<Event>) -> Result<()> {
    let mut signals =
        Signals::new(deadly_signals().chain([SIGTSTP, SIGCONT, SIGWINCH])).context("signal handlers")?;
    let watch = move || {
        let mut ending = false;
        for signal in signals.forever() {
            match signal {
                SIGTSTP => {
                    terminal::suspend();
                    let _ = emulate_default_handler(SIGTSTP);
                }
                SIGCONT => {
                    terminal::resume();
                    let _ = events.send(Event::Redraw);
                }
                SIGWINCH => {
                    let _ = events.send(Event::Redraw);
                }
                _ => {
                    if std::mem::replace(&mut ending, true) || events.send(Event::Signal(signal)).is_err() {
                        die_of(signal);
                    }
                }
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(watch).context("signal thread")?;
    Ok(())
}

/// Ends the program by a signal, so that whoever started us sees it.
pub fn die_of(signal: i32) {
    terminal::restore();
    let _ = emulate_default_handler(signal);
}

/// The signals that are ignored since before we started, as bits from 0 on for signal 1 on.
/// Those of [`DEADLY`] that nobody has us ignore.
pub fn deadly_signals() -> impl Iterator<Item = i32> {
    let ignored = ignored_signals();
    DEADLY.into_iter().filter(move |signal| ignored >> (signal - 1) & 1 == 0)
}

fn ignored_signals() -> u64 {
    std::fs::read_to_string("/proc/self/status").ok().and_then(|status| ignored_in(&status)).unwrap_or(0)
}

fn ignored_in(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// Starts to turn what is typed at the terminal into events.
///
/// # Errors
/// When the host refuses the thread.
pub fn watch_keyboard(events: Sender<Event>) -> Result<()> {
    let watch = move || {
        let mut parser = Parser::default();
        let mut buffer = [0; 4096];
        loop {
            match io::stdin().lock().read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    for typed in parser.feed(&buffer[..count]) {
                        if events.send(Event::Typed(typed)).is_err() {
                            return;
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    };
    thread::Builder::new().name("keyboard".into()).spawn(watch).context("keyboard thread")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status_file() {
        let status = "Name:\temu\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert_eq!(ignored_in(status), Some(0x1001));
        assert_eq!(ignored_in(status).unwrap() >> (SIGHUP - 1) & 1, 1);
        assert_eq!(ignored_in("Name:\temu\n"), None);
    }
}
