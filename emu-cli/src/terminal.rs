//! The terminal's modes: raw while a guest owns the keyboard, and back to what it was on every way out.
//!
//! The state is one global, because the ways out (a panic, a signal) have no other way to reach it.
//! Output processing stays on, so that lines of our own and of guests that send a bare line feed look right.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use rustix::termios::{self, OptionalActions, OutputModes, Termios};

use crate::say::report;

/// What the guest's screen looks like on the terminal while it owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// Text scrolls by, as from any program.
    Scrolling,
    /// We draw on the alternate screen and hide the cursor between frames.
    Full,
}

/// Alternate screen, cleared, home.
const ENTER_FULL: &str = "\x1b[?1049h\x1b[0m\x1b[2J\x1b[H";
/// Attributes off, cursor in its default shape and visible, and the screen from before.
const LEAVE_FULL: &str = "\x1b[0m\x1b[0 q\x1b[?25h\x1b[?1049l";

struct State {
    original: Termios,
    raw: Termios,
    /// The alternate screen is wanted while we have the terminal.
    full: bool,
    /// The terminal is in raw mode now.
    raw_now: bool,
    /// The alternate screen is shown now.
    full_now: bool,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

fn state() -> MutexGuard<'static, Option<State>> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Raw mode while it lives.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Puts the terminal on standard input into raw mode.
    ///
    /// # Errors
    /// When standard input is no terminal.
    pub fn enter(screen: Screen) -> Result<Self> {
        let original = termios::tcgetattr(io::stdin()).context("standard input: expected a terminal")?;
        let mut raw = original.clone();
        raw.make_raw();
        raw.output_modes |= original.output_modes & (OutputModes::OPOST | OutputModes::ONLCR);
        *state() =
            Some(State { original, raw, full: screen == Screen::Full, raw_now: false, full_now: false });
        resume();
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Leaves the terminal as it was found. May be called from anywhere, any number of times.
pub fn restore() {
    suspend();
    *state() = None;
}

/// Leaves the terminal as it was found until [`resume`].
pub fn suspend() {
    if let Some(state) = state().as_mut() {
        state.set_full(false);
        if std::mem::take(&mut state.raw_now) {
            let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &state.original);
        }
    }
}

/// Takes the terminal again: after [`suspend`], or after somebody else may have changed it.
pub fn resume() {
    if let Some(state) = state().as_mut() {
        state.raw_now = true;
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &state.raw);
        state.set_full(state.full);
    }
}

/// Shows the full screen or, for a dialogue with the user in between, the scrolling one.
pub fn show(screen: Screen) {
    if let Some(state) = state().as_mut() {
        state.full = screen == Screen::Full;
        state.set_full(state.full);
    }
}

impl State {
    fn set_full(&mut self, full: bool) {
        if self.full_now != full {
            self.full_now = full;
            let mut out = io::stdout();
            let _ = out
                .write_all(if full { ENTER_FULL } else { LEAVE_FULL }.as_bytes())
                .and_then(|()| out.flush());
        }
    }
}

/// True when standard input is a terminal.
pub fn on_input() -> bool {
    io::stdin().is_terminal()
}

/// True when standard output is a terminal.
pub fn on_output() -> bool {
    io::stdout().is_terminal()
}

/// Makes a panic give the terminal back before it says, in one line, what happened.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        suspend();
        let payload = panic.payload();
        let text =
            payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let place = panic.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
        report!("a bug in emu{place}: {}", text.unwrap_or("no message").replace('\n', " "));
    }));
}
