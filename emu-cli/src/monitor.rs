//! The monitor: a small dialogue with the user about the machine, on Ctrl-A C.
//!
//! This file reads and edits lines and says what a command is; the main loop carries it out, or
//! [`commands`], which gdb's `monitor` has as well.

use crate::debug::commands;

/// What the monitor prints when it waits for a command.
pub const PROMPT: &str = "(emu) ";

/// What `help` prints.
pub const HELP: &str = "\
help    this list, and the commands about the machine
info    where the machine is
screen  the text screen
stop    let the machine stand still
cont    let it go on
reset   press the reset button
quit    leave the emulator
Ctrl-A C goes back to the guest.
";

/// A command of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// List the commands.
    Help,
    /// Tell where the machine is.
    Info,
    /// Print the text screen.
    Screen,
    /// Stand still.
    Stop,
    /// Go on.
    Cont,
    /// Reset the machine.
    Reset,
    /// Leave.
    Quit,
    /// One of [`commands`], with what follows it.
    Machine(String),
}

const COMMANDS: [(&str, Command); 8] = [
    ("help", Command::Help),
    ("info", Command::Info),
    ("screen", Command::Screen),
    ("stop", Command::Stop),
    ("cont", Command::Cont),
    ("continue", Command::Cont),
    ("reset", Command::Reset),
    ("quit", Command::Quit),
];

/// Longest line.
const LONGEST: usize = 200;

/// A line as it is being typed.
#[derive(Debug, Default)]
pub struct Monitor {
    line: Vec<u8>,
}

/// What came of some typed bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// What to show.
    pub echo: String,
    /// The commands that were entered, each the whole of a line.
    pub commands: Vec<Result<Command, String>>,
}

impl Monitor {
    /// Takes typed bytes: printable characters, backspace, Ctrl-U and Enter.
    pub fn typed(&mut self, bytes: &[u8]) -> Reply {
        let mut reply = Reply { echo: String::new(), commands: Vec::new() };
        for &byte in bytes {
            match byte {
                b'\r' | b'\n' => {
                    reply.echo.push('\n');
                    let line = std::mem::take(&mut self.line);
                    let line = String::from_utf8_lossy(&line);
                    reply.commands.extend(command(line.trim()));
                }
                0x08 | 0x7f => self.rub_out(1, &mut reply.echo),
                0x15 => self.rub_out(self.line.len(), &mut reply.echo),
                b' '..=b'~' if self.line.len() < LONGEST => {
                    self.line.push(byte);
                    reply.echo.push(char::from(byte));
                }
                _ => {}
            }
        }
        reply
    }

    fn rub_out(&mut self, count: usize, echo: &mut String) {
        let left = self.line.len().saturating_sub(count);
        echo.push_str(&"\x08 \x08".repeat(self.line.len() - left));
        self.line.truncate(left);
    }
}

/// The command that a line names: its name, or as much of it as no other command shares.
fn command(line: &str) -> Option<Result<Command, String>> {
    if line.is_empty() {
        return None;
    }
    if line == "?" {
        return Some(Ok(Command::Help));
    }
    let exact = COMMANDS.iter().find(|(name, _)| *name == line).map(|(_, command)| command);
    let first = line.split_whitespace().next().unwrap_or_default();
    if exact.is_none() && commands::NAMES.contains(&first) {
        return Some(Ok(Command::Machine(line.to_owned())));
    }
    let mut begun = COMMANDS.iter().filter(|(name, _)| name.starts_with(line)).map(|(_, command)| command);
    let one = begun.next().filter(|first| begun.all(|other| other == *first));
    Some(exact.or(one).cloned().ok_or_else(|| format!("{line}: expected a command; help lists them")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_can_be_edited() {
        let mut monitor = Monitor::default();
        let reply = monitor.typed(b"infx\x7fo");
        assert_eq!((reply.echo.as_str(), reply.commands.len()), ("infx\x08 \x08o", 0));
        let reply = monitor.typed(b"\rgarbage\x15quit\r");
        assert_eq!(reply.commands, [Ok(Command::Info), Ok(Command::Quit)]);
    }

    #[test]
    fn names_may_be_cut_short_where_that_is_clear() {
        assert_eq!(command("q"), Some(Ok(Command::Quit)));
        assert_eq!(command("c"), Some(Ok(Command::Cont)));
        assert!(matches!(command("s"), Some(Err(_))), "screen or stop");
        assert!(matches!(command("halt"), Some(Err(_))));
        assert_eq!(command(""), None);
        assert_eq!(command("x cs:ip 2"), Some(Ok(Command::Machine("x cs:ip 2".into()))));
        assert!(matches!(command("quit now"), Some(Err(_))));
    }
}
