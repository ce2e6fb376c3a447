//! The keys of a PC keyboard, by the codes that they send.
//!
//! The codes of set 2 are the key's identity here; set 1 is what the 8042 makes of them, and set 3 gives each
//! key one byte. Sources: IBM PS/2 Hardware Interface Technical Reference, "Keyboard Scan Codes".

/// A key, named by its make code in scan-code set 2: the byte, and whether E0h goes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Last byte of the make code in set 2.
    pub code: u8,
    /// E0h goes before it.
    pub extended: bool,
}

macro_rules! keys {
    ($($name:ident $code:literal,)* ; $($extended:ident $extended_code:literal,)*) => {
        #[allow(missing_docs, reason = "the names are printed on the keys")]
        impl Key {
            $(pub const $name: Self = Self { code: $code, extended: false };)*
            $(pub const $extended: Self = Self { code: $extended_code, extended: true };)*
        }
    };
}

keys! {
    ESC 0x76, F1 0x05, F2 0x06, F3 0x04, F4 0x0c, F5 0x03, F6 0x0b, F7 0x83, F8 0x0a, F9 0x01, F10 0x09,
    F11 0x78, F12 0x07, SCROLL_LOCK 0x7e, BACKSPACE 0x66, TAB 0x0d, ENTER 0x5a, CAPS_LOCK 0x58, SPACE 0x29,
    LEFT_SHIFT 0x12, RIGHT_SHIFT 0x59, LEFT_CONTROL 0x14, LEFT_ALT 0x11, NUM_LOCK 0x77,
    KEYPAD_0 0x70, KEYPAD_1 0x69, KEYPAD_2 0x72, KEYPAD_3 0x7a, KEYPAD_4 0x6b, KEYPAD_5 0x73, KEYPAD_6 0x74,
    KEYPAD_7 0x6c, KEYPAD_8 0x75, KEYPAD_9 0x7d, KEYPAD_POINT 0x71, KEYPAD_PLUS 0x79, KEYPAD_MINUS 0x7b,
    KEYPAD_TIMES 0x7c, OEM_102 0x61,
    ;
    RIGHT_CONTROL 0x14, RIGHT_ALT 0x11, LEFT_META 0x1f, RIGHT_META 0x27, MENU 0x2f, KEYPAD_ENTER 0x5a,
    KEYPAD_SLASH 0x4a, INSERT 0x70, DELETE 0x71, HOME 0x6c, END 0x69, PAGE_UP 0x7d, PAGE_DOWN 0x7a, UP 0x75,
    DOWN 0x72, LEFT 0x6b, RIGHT 0x74, PRINT_SCREEN 0x7c, PAUSE 0x77,
}

/// Characters of the US layout without Shift, with Shift, and their key.
const CHARACTERS: [(u8, u8, u8); 47] = [
    (b'`', b'~', 0x0e),
    (b'1', b'!', 0x16),
    (b'2', b'@', 0x1e),
    (b'3', b'#', 0x26),
    (b'4', b'$', 0x25),
    (b'5', b'%', 0x2e),
    (b'6', b'^', 0x36),
    (b'7', b'&', 0x3d),
    (b'8', b'*', 0x3e),
    (b'9', b'(', 0x46),
    (b'0', b')', 0x45),
    (b'-', b'_', 0x4e),
    (b'=', b'+', 0x55),
    (b'q', b'Q', 0x15),
    (b'w', b'W', 0x1d),
    (b'e', b'E', 0x24),
    (b'r', b'R', 0x2d),
    (b't', b'T', 0x2c),
    (b'y', b'Y', 0x35),
    (b'u', b'U', 0x3c),
    (b'i', b'I', 0x43),
    (b'o', b'O', 0x44),
    (b'p', b'P', 0x4d),
    (b'[', b'{', 0x54),
    (b']', b'}', 0x5b),
    (b'\\', b'|', 0x5d),
    (b'a', b'A', 0x1c),
    (b's', b'S', 0x1b),
    (b'd', b'D', 0x23),
    (b'f', b'F', 0x2b),
    (b'g', b'G', 0x34),
    (b'h', b'H', 0x33),
    (b'j', b'J', 0x3b),
    (b'k', b'K', 0x42),
    (b'l', b'L', 0x4b),
    (b';', b':', 0x4c),
    (b'\'', b'"', 0x52),
    (b'z', b'Z', 0x1a),
    (b'x', b'X', 0x22),
    (b'c', b'C', 0x21),
    (b'v', b'V', 0x2a),
    (b'b', b'B', 0x32),
    (b'n', b'N', 0x31),
    (b'm', b'M', 0x3a),
    (b',', b'<', 0x41),
    (b'.', b'>', 0x49),
    (b'/', b'?', 0x4a),
];

impl Key {
    /// The key, and whether Shift is held, that types an ASCII character on a US keyboard. Tab, Enter (both
    /// line ends), Backspace (also DEL) and Escape included; other control characters are Control and a letter.
    pub fn typing(character: u8) -> Option<(Self, bool)> {
        match character {
            b'\r' | b'\n' => return Some((Self::ENTER, false)),
            b'\t' => return Some((Self::TAB, false)),
            8 | 0x7f => return Some((Self::BACKSPACE, false)),
            0x1b => return Some((Self::ESC, false)),
            b' ' => return Some((Self::SPACE, false)),
            _ => {}
        }
        let &(plain, _, code) =
            CHARACTERS.iter().find(|&&(plain, shifted, _)| character == plain || character == shifted)?;
        Some((Self { code, extended: false }, character != plain))
    }

    /// What the key sends in set 2.
    pub(crate) fn set2(self, pressed: bool) -> Vec<u8> {
        match (self, pressed) {
            (Self::PAUSE, true) => vec![0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77],
            (Self::PAUSE, false) => Vec::new(),
            (Self::PRINT_SCREEN, true) => vec![0xe0, 0x12, 0xe0, 0x7c],
            (Self::PRINT_SCREEN, false) => vec![0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12],
            (Self { code, extended: true }, true) => vec![0xe0, code],
            (Self { code, extended: true }, false) => vec![0xe0, 0xf0, code],
            (Self { code, .. }, true) => vec![code],
            (Self { code, .. }, false) => vec![0xf0, code],
        }
    }

    /// What the key sends in set 1.
    pub(crate) fn set1(self, pressed: bool) -> Vec<u8> {
        let mut break_bit = 0;
        let mut out = Vec::new();
        for byte in self.set2(pressed) {
            match byte {
                0xf0 => break_bit = 0x80,
                0xe0 | 0xe1 => out.push(byte),
                byte => out.push(set2_to_set1(byte) | std::mem::take(&mut break_bit)),
            }
        }
        out
    }

    /// The one byte that names the key in set 3.
    pub(crate) fn set3(self) -> u8 {
        match (self.extended, self.code) {
            (false, 0x76) => 0x08,
            (false, 0x05) => 0x07,
            (false, 0x06) => 0x0f,
            (false, 0x04) => 0x17,
            (false, 0x0c) => 0x1f,
            (false, 0x03) => 0x27,
            (false, 0x0b) => 0x2f,
            (false, 0x83) => 0x37,
            (false, 0x0a) => 0x3f,
            (false, 0x01) => 0x47,
            (false, 0x09) => 0x4f,
            (false, 0x78) => 0x56,
            (false, 0x07) => 0x5e,
            (false, 0x7e) => 0x5f,
            (false, 0x5d) => 0x5c,
            (false, 0x58) => 0x14,
            (false, 0x14) => 0x11,
            (false, 0x11) => 0x19,
            (false, 0x77) => 0x76,
            (false, 0x79) => 0x7c,
            (false, 0x7b) => 0x84,
            (false, 0x7c) => 0x7e,
            (false, 0x61) => 0x13,
            (true, 0x14) => 0x58,
            (true, 0x11) => 0x39,
            (true, 0x1f) => 0x8b,
            (true, 0x27) => 0x8c,
            (true, 0x2f) => 0x8d,
            (true, 0x5a) => 0x79,
            (true, 0x4a) => 0x77,
            (true, 0x70) => 0x67,
            (true, 0x71) => 0x64,
            (true, 0x6c) => 0x6e,
            (true, 0x69) => 0x65,
            (true, 0x7d) => 0x6f,
            (true, 0x7a) => 0x6d,
            (true, 0x75) => 0x63,
            (true, 0x72) => 0x60,
            (true, 0x6b) => 0x61,
            (true, 0x74) => 0x6a,
            (true, 0x7c) => 0x57,
            (true, 0x77) => 0x62,
            (_, code) => code,
        }
    }
}

/// The 8042's table from set 2 to set 1, for codes below 80h.
#[rustfmt::skip]
const SET_2_TO_1: [u8; 128] = [
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
];

/// Translates one byte of set 2; what is no key code passes unchanged.
pub(crate) fn set2_to_set1(code: u8) -> u8 {
    match code {
        0x83 => 0x41,
        0x84 => 0x54,
        code => SET_2_TO_1.get(usize::from(code)).copied().unwrap_or(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_send_the_codes_of_the_manual() {
        let (a, shift) = Key::typing(b'A').unwrap();
        assert!(shift);
        assert_eq!((a.set2(true), a.set2(false)), (vec![0x1c], vec![0xf0, 0x1c]));
        assert_eq!((a.set1(true), a.set1(false)), (vec![0x1e], vec![0x9e]));
        assert_eq!(Key::UP.set1(false), [0xe0, 0xc8]);
        assert_eq!(Key::F7.set1(true), [0x41]);
        assert_eq!(Key::PAUSE.set1(true), [0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5]);
        assert_eq!(Key::PRINT_SCREEN.set1(true), [0xe0, 0x2a, 0xe0, 0x37]);
    }

    #[test]
    fn every_printable_character_has_a_key_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for character in b' '..=b'~' {
            assert!(seen.insert(Key::typing(character).unwrap()), "{}", character as char);
        }
        assert_eq!(Key::typing(1), None);
    }
}
