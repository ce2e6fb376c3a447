//! From the bytes that a terminal sends for a key to keys of a PC keyboard (US layout).
//!
//! A terminal tells what a key means, not that it goes down or up, so each stroke is a press and a release, with
//! Shift, Control or Alt held around it where the character needs them. Characters that no US keyboard has are dropped.

use emu_devices::keys::Key;

/// A key with those that are held around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stroke {
    key: Key,
    shift: bool,
    control: bool,
    alt: bool,
}

const ESCAPE: u8 = 0x1b;

const FUNCTION: [Key; 12] = [
    Key::F1,
    Key::F2,
    Key::F3,
    Key::F4,
    Key::F5,
    Key::F6,
    Key::F7,
    Key::F8,
    Key::F9,
    Key::F10,
    Key::F11,
    Key::F12,
];

/// The keys that go down (`true`) and up for a chunk of terminal input. A chunk holds whole escape sequences: a lone
/// ESC at its end is the Escape key.
pub fn transitions(input: &[u8]) -> Vec<(Key, bool)> {
    let mut transitions = Vec::new();
    for Stroke { key, shift, control, alt } in strokes(input) {
        let held = [(Key::LEFT_SHIFT, shift), (Key::LEFT_CONTROL, control), (Key::LEFT_ALT, alt)];
        let held = held.into_iter().filter_map(|(key, held)| held.then_some(key));
        transitions.extend(held.clone().map(|key| (key, true)));
        transitions.extend([(key, true), (key, false)]);
        transitions.extend(held.rev().map(|key| (key, false)));
    }
    transitions
}

fn strokes(input: &[u8]) -> Vec<Stroke> {
    let mut strokes = Vec::new();
    let mut rest = input;
    while let Some((&byte, after)) = rest.split_first() {
        let (stroke, used) = match (byte, after) {
            (ESCAPE, [b'[' | b'O', _, ..]) => sequence(after),
            (ESCAPE, [ESCAPE, ..] | []) => (Some(plain(Key::ESC)), 0),
            (ESCAPE, &[next, ..]) => (character(next).map(|stroke| Stroke { alt: true, ..stroke }), 1),
            _ => (character(byte), 0),
        };
        strokes.extend(stroke);
        rest = &after[used..];
    }
    strokes
}

fn plain(key: Key) -> Stroke {
    Stroke { key, shift: false, control: false, alt: false }
}

fn character(byte: u8) -> Option<Stroke> {
    if let Some((key, shift)) = Key::typing(byte) {
        return Some(Stroke { shift, ..plain(key) });
    }
    // Control takes bits 6 and 5 off a character; its other bits say which key it was.
    let (key, _) = match byte {
        0x00 => Key::typing(b' '),
        0x01..=0x1a => Key::typing(byte | 0x60),
        0x1c..=0x1f => Key::typing(byte | 0x40),
        _ => None,
    }?;
    Some(Stroke { control: true, ..plain(key) })
}

/// A sequence behind ESC: `[` or `O`, parameters, a final byte. Gives the number of bytes used too.
fn sequence(bytes: &[u8]) -> (Option<Stroke>, usize) {
    let Some(end) = bytes[1..].iter().position(|byte| (0x40..=0x7e).contains(byte)).map(|place| place + 1)
    else {
        return (None, bytes.len());
    };
    let parameters = std::str::from_utf8(&bytes[1..end]).unwrap_or_default();
    let mut numbers = parameters.split(';').map(|number| number.parse::<u8>().unwrap_or(1));
    let (first, modifiers) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(1).wrapping_sub(1));
    let stroke = key_of(bytes[end], first).map(|key| {
        let held = |bit: u8| modifiers >> bit & 1 != 0;
        let back_tab = bytes[end] == b'Z';
        Stroke { key, shift: back_tab || held(0), alt: held(1), control: held(2) }
    });
    (stroke, end + 1)
}

/// The key behind a sequence's final byte and first parameter.
fn key_of(last: u8, first: u8) -> Option<Key> {
    let function = |number: u8| FUNCTION.get(usize::from(number)).copied();
    Some(match (last, first) {
        (b'A', _) => Key::UP,
        (b'B', _) => Key::DOWN,
        (b'C', _) => Key::RIGHT,
        (b'D', _) => Key::LEFT,
        (b'H', _) | (b'~', 1 | 7) => Key::HOME,
        (b'F', _) | (b'~', 4 | 8) => Key::END,
        (b'Z', _) => Key::TAB,
        (b'~', 2) => Key::INSERT,
        (b'~', 3) => Key::DELETE,
        (b'~', 5) => Key::PAGE_UP,
        (b'~', 6) => Key::PAGE_DOWN,
        (b'P'..=b'S', _) => function(last - b'P')?,
        (b'~', 11..=15) => function(first - 11)?,
        (b'~', 17..=21) => function(first - 12)?,
        (b'~', 23..=24) => function(first - 13)?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(input: &[u8]) -> Stroke {
        let strokes = strokes(input);
        assert_eq!(strokes.len(), 1, "{input:?}: {strokes:?}");
        strokes[0]
    }

    #[test]
    fn characters_have_their_keys() {
        let a = one(b"a");
        assert!(!a.shift && !a.control && !a.alt);
        assert_eq!(one(b"A"), Stroke { shift: true, ..a });
        assert_eq!(one(b"\x01"), Stroke { control: true, ..a });
        assert_eq!(one(b"\x1ba"), Stroke { alt: true, ..a });
        assert_eq!(one(b"\r"), plain(Key::ENTER));
        assert_eq!(one(b"\x7f"), plain(Key::BACKSPACE));
        assert!((0x00..0x80).all(|byte| byte == ESCAPE || one(&[byte]).key != Key::ESC));
    }

    #[test]
    fn escape_sequences_are_keys() {
        assert_eq!(one(b"\x1b"), plain(Key::ESC));
        assert_eq!(one(b"\x1b[A"), plain(Key::UP));
        assert_eq!(one(b"\x1b[1;5C"), Stroke { control: true, ..plain(Key::RIGHT) });
        assert_eq!(one(b"\x1bOP"), plain(Key::F1));
        assert_eq!(one(b"\x1b[15~"), plain(Key::F5));
        assert_eq!(one(b"\x1b[24~"), plain(Key::F12));
        assert_eq!(one(b"\x1b[Z"), Stroke { shift: true, ..plain(Key::TAB) });
        assert_eq!(strokes(b"\x1b[Aq\x1b"), [one(b"\x1b[A"), one(b"q"), one(b"\x1b")]);
    }

    #[test]
    fn what_is_held_goes_down_first_and_up_last() {
        let a = one(b"a").key;
        let shift = Key::LEFT_SHIFT;
        assert_eq!(transitions(b"A"), [(shift, true), (a, true), (a, false), (shift, false)]);
    }

    #[test]
    fn what_no_us_keyboard_has_is_dropped() {
        assert_eq!(strokes("ä€".as_bytes()), []);
        assert_eq!(strokes(b"\x1b[99;99;99~"), []);
        assert_eq!(strokes(b"\x1b[12"), []);
    }

    #[test]
    fn no_input_panics() {
        for a in 0..=255 {
            for b in 0..=255 {
                strokes(&[ESCAPE, a, b]);
                strokes(&[ESCAPE, b'[', a, b, b'~']);
            }
        }
    }
}
