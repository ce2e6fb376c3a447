//! What the user types: keys for the guest, and the commands behind Ctrl-A.

/// The key that announces a command to the emulator itself.
const CTRL_A: u8 = 0x01;

/// What Ctrl-A H prints.
pub const HELP: &str = "\
Ctrl-A X       leave the emulator
Ctrl-A C       open or close the monitor
Ctrl-A Ctrl-A  send Ctrl-A to the guest
Ctrl-A H       this help
";

/// Something that the user typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Bytes for whoever has the keyboard.
    Bytes(Vec<u8>),
    /// Ctrl-A X.
    Quit,
    /// Ctrl-A C.
    ToggleMonitor,
    /// Ctrl-A H.
    Help,
}

/// Finds the commands in a stream of bytes from the terminal.
#[derive(Debug, Default)]
pub struct Parser {
    after_ctrl_a: bool,
}

impl Parser {
    /// Takes the next bytes, cut anywhere.
    pub fn feed(&mut self, input: &[u8]) -> Vec<Typed> {
        let mut typed = Vec::new();
        let mut bytes = Vec::new();
        for &byte in input {
            if !std::mem::take(&mut self.after_ctrl_a) {
                match byte {
                    CTRL_A => self.after_ctrl_a = true,
                    _ => bytes.push(byte),
                }
                continue;
            }
            let command = match byte {
                CTRL_A => {
                    bytes.push(CTRL_A);
                    continue;
                }
                b'x' | b'X' => Typed::Quit,
                b'c' | b'C' => Typed::ToggleMonitor,
                b'h' | b'H' | b'?' => Typed::Help,
                _ => continue,
            };
            if !bytes.is_empty() {
                typed.push(Typed::Bytes(std::mem::take(&mut bytes)));
            }
            typed.push(command);
        }
        if !bytes.is_empty() {
            typed.push(Typed::Bytes(bytes));
        }
        typed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Typed {
        Typed::Bytes(text.into())
    }

    #[test]
    fn commands_stand_in_order_among_the_bytes() {
        let typed = Parser::default().feed(b"ab\x01cquit\x01Xz");
        assert_eq!(typed, [bytes("ab"), Typed::ToggleMonitor, bytes("quit"), Typed::Quit, bytes("z")]);
    }

    #[test]
    fn ctrl_a_twice_is_one_for_the_guest() {
        assert_eq!(Parser::default().feed(b"a\x01\x01b"), [bytes("a\x01b")]);
    }

    #[test]
    fn a_command_may_be_cut_in_two() {
        let mut parser = Parser::default();
        assert_eq!(parser.feed(b"\x01"), []);
        assert_eq!(parser.feed(b"h"), [Typed::Help]);
    }

    #[test]
    fn an_unknown_command_is_dropped() {
        assert_eq!(Parser::default().feed(b"a\x01qb"), [bytes("ab")]);
    }
}
