//! The command on a pseudo-terminal: raw mode, Ctrl-A, and a terminal left as it was found on every way out.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{Scratch, command};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, Termios, tcgetattr};

/// The command with a pseudo-terminal on all three streams.
struct Session {
    child: Child,
    keyboard: File,
    terminal: OwnedFd,
    before: Termios,
    printed: Arc<Mutex<Vec<u8>>>,
}

impl Session {
    /// Starts the command and waits until it has the terminal.
    fn start(args: &[&str]) -> Self {
        // SIGQUIT must not leave a core file behind.
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        rustix::process::setrlimit(Resource::Core, none).unwrap();
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let terminal = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let before = tcgetattr(&terminal).unwrap();
        let stream = || terminal.try_clone().unwrap();
        let child = command(args).stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        let keyboard = File::from(master);
        let printed = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, seen) = (keyboard.try_clone().unwrap(), printed.clone());
        thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                seen.lock().unwrap().extend(&buffer[..count]);
            }
        });
        let session = Self { child, keyboard, terminal, before, printed };
        session.wait_for("raw mode", || session.is_raw());
        session
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    #[track_caller]
    fn wait_for(&self, what: &str, reached: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !reached() {
            assert!(Instant::now() < deadline, "no {what}; printed: {}", self.text());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.printed.lock().unwrap()).into_owned()
    }

    #[track_caller]
    fn expect(&self, text: &str) {
        self.wait_for(text, || self.text().contains(text));
    }

    fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end and checks that the terminal is as it was before.
    #[track_caller]
    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(30);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end; printed: {}", self.text());
            thread::sleep(Duration::from_millis(5));
        };
        let after = tcgetattr(&self.terminal).unwrap();
        assert_eq!(after.local_modes, self.before.local_modes);
        assert_eq!(after.input_modes, self.before.input_modes);
        assert_eq!(after.output_modes, self.before.output_modes);
        assert_eq!(after.control_modes, self.before.control_modes);
        status
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Prints `ok` on COM1 and spins.
const HELLO: [u8; 14] = [0xba, 0xf8, 0x03, 0xb0, b'o', 0xee, 0xba, 0xf8, 0x03, 0xb0, b'k', 0xee, 0xeb, 0xfe];

#[test]
fn ctrl_a_x_leaves() {
    let scratch = Scratch::new("tty-quit");
    let mut session = Session::start(&["--bios", &scratch.bios(&HELLO), "--timeout", "60"]);
    session.expect("ok");
    session.type_in("\x01x");
    assert_eq!(session.end().code(), Some(0));
}

#[test]
fn every_deadly_signal_leaves_the_terminal_as_it_was() {
    let scratch = Scratch::new("tty-signals");
    let bios = scratch.bios(&HELLO);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        // Where the tests run in the background a shell has some of these ignored, and the command respects that.
        // A handler here is the default again in the child.
        let on = Arc::new(AtomicBool::new(true));
        signal_hook::flag::register_conditional_shutdown(signal.as_raw(), 1, on).unwrap();
        let mut session = Session::start(&["--bios", &bios, "--timeout", "60"]);
        session.expect("ok");
        session.signal(signal);
        assert_eq!(session.end().signal(), Some(signal.as_raw()));
    }
}

#[test]
fn an_error_and_a_limit_leave_the_terminal_as_it_was() {
    let scratch = Scratch::new("tty-limit");
    let mut session = Session::start(&["--bios", &scratch.bios(&HELLO), "--timeout", "0.3"]);
    assert_eq!(session.end().code(), Some(124));
}

#[test]
fn a_stopped_emulator_gives_the_terminal_back_and_takes_it_again() {
    let scratch = Scratch::new("tty-stop");
    let mut session = Session::start(&["--bios", &scratch.bios(&HELLO), "--timeout", "60"]);
    session.expect("ok");
    session.signal(Signal::TSTP);
    session.wait_for("cooked mode", || !session.is_raw());
    // It stops a moment after it gave the terminal back.
    let stat = format!("/proc/{}/stat", session.child.id());
    session.wait_for("stop", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
    session.signal(Signal::CONT);
    session.wait_for("raw mode", || session.is_raw());
    session.type_in("\x01x");
    assert_eq!(session.end().code(), Some(0));
}

#[test]
fn the_monitor_answers() {
    let scratch = Scratch::new("tty-monitor");
    let mut session = Session::start(&["--bios", &scratch.bios(&HELLO), "--timeout", "60"]);
    session.expect("ok");
    session.type_in("\x01h");
    session.expect("Ctrl-A X");
    session.type_in("\x01c");
    session.expect("(emu) ");
    session.type_in("info\r");
    session.expect("instructions");
    session.type_in("nonsense\r");
    session.expect("nonsense: expected a command");
    session.type_in("stop\rinfo\r");
    session.expect("stopped");
    session.type_in("cont\rquit\r");
    assert_eq!(session.end().code(), Some(0));
}

#[test]
fn the_text_screen_uses_the_alternate_screen_and_leaves_it() {
    let scratch = Scratch::new("tty-text");
    let mut session =
        Session::start(&["--bios", &scratch.bios(&HELLO), "--display", "text", "--timeout", "60"]);
    session.expect("\x1b[?1049h");
    session.type_in("\x01x");
    assert_eq!(session.end().code(), Some(0));
    session.expect("\x1b[?1049l");
}

#[test]
fn what_is_typed_reaches_the_guest() {
    // mov dx, 3fdh; in al, dx; test al, 1; jz in; mov dx, 3f8h; in al, dx; inc al; out dx, al; jmp start
    let next_letter = [
        0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb, 0xba, 0xf8, 0x03, 0xec, 0xfe, 0xc0, 0xee, 0xeb, 0xef,
    ];
    let scratch = Scratch::new("tty-type");
    let mut session = Session::start(&["--bios", &scratch.bios(&next_letter), "--timeout", "60"]);
    session.type_in("g");
    session.expect("h");
    session.type_in("\x01\x01");
    session.expect("\x02");
    session.type_in("\x01x");
    assert_eq!(session.end().code(), Some(0));
}

#[test]
fn a_paste_reaches_the_ps2_keyboard_whole() {
    let mut session = Session::start(&["--display", "text", "--timeout", "100"]);
    session.expect("emu$");
    session.type_in("echo The quick brown fox jumps over the lazy dog\r");
    session.type_in("\x01c");
    for _ in 0..200 {
        session.type_in("screen\r");
        thread::sleep(Duration::from_millis(50));
        if session.text().contains("\nThe quick brown fox jumps over the lazy dog\r\n") {
            break;
        }
    }
    session.expect("\nThe quick brown fox jumps over the lazy dog\r\n");
    session.type_in("quit\r");
    assert_eq!(session.end().code(), Some(0));
}
