//! Packets on their way to gdbstub, which knows no conditions: they are taken out of the packets that set break-points,
//! and what is left goes on. gdb manual, "Packets", on `Z0` and `ConditionalBreakpoints`.

/// Longest packet that is looked at, with its frame.
const MOST: usize = 64 << 10;

/// What a byte completed.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Nothing yet.
    More,
    /// Bytes to hand on; see [`Packets::ready`].
    Bytes,
    /// The same, and the conditions that stood with them.
    Conditions(Vec<Vec<u8>>),
    /// The same; they ask what we support.
    Greeting,
    /// A packet that does not end.
    TooLong,
}

/// Collects packets.
#[derive(Debug, Default)]
pub struct Packets {
    bytes: Vec<u8>,
    complete: bool,
}

impl Packets {
    /// What is to be handed on.
    pub fn ready(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the next byte from the line.
    pub fn take(&mut self, byte: u8) -> Incoming {
        if std::mem::take(&mut self.complete) {
            self.bytes.clear();
        }
        self.bytes.push(byte);
        if self.bytes[0] != b'$' {
            // Acknowledgments and Ctrl-C.
            self.complete = true;
            return Incoming::Bytes;
        }
        if self.bytes.len() > MOST {
            self.complete = true;
            return Incoming::TooLong;
        }
        let len = self.bytes.len();
        if len < 4 || self.bytes[len - 3] != b'#' {
            return Incoming::More;
        }
        self.complete = true;
        let body = &self.bytes[1..len - 3];
        if !sound(body, &self.bytes[len - 2..]) {
            return Incoming::Bytes;
        }
        if body.starts_with(b"qSupported") {
            return Incoming::Greeting;
        }
        let Some((kept, programs)) = conditions(body) else { return Incoming::Bytes };
        let sum = checksum(&kept);
        self.bytes = [b"$", &kept[..], format!("#{sum:02x}").as_bytes()].concat();
        Incoming::Conditions(programs)
    }
}

/// The sum of a packet's bytes.
pub fn checksum(body: &[u8]) -> u8 {
    body.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
}

fn sound(body: &[u8], digits: &[u8]) -> bool {
    std::str::from_utf8(digits).is_ok_and(|digits| u8::from_str_radix(digits, 16) == Ok(checksum(body)))
}

/// Splits `Z0,ADDRESS,KIND;X LENGTH,CODE X LENGTH,CODE...`; `None` when it is no such packet.
fn conditions(body: &[u8]) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let text = std::str::from_utf8(body).ok().filter(|text| text.starts_with(['Z']))?;
    let (kept, list) = text.split_once(';')?;
    let list = list.split(";cmds").next()?;
    let mut programs = Vec::new();
    for program in list.split('X').skip(1) {
        let (length, code) = program.split_once(',')?;
        let length = usize::from_str_radix(length, 16).ok()?;
        let code = code.trim_end_matches(';').as_bytes();
        if code.len() != 2 * length {
            return None;
        }
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        programs.push(code.chunks_exact(2).map(byte).collect::<Option<Vec<u8>>>()?);
    }
    (!programs.is_empty()).then(|| (kept.as_bytes().to_vec(), programs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(packets: &mut Packets, text: &str) -> (Incoming, String) {
        let mut last = Incoming::More;
        for byte in text.bytes() {
            assert_eq!(last, Incoming::More);
            last = packets.take(byte);
        }
        (last, String::from_utf8_lossy(packets.ready()).into_owned())
    }

    fn framed(body: &str) -> String {
        format!("${body}#{:02x}", checksum(body.as_bytes()))
    }

    #[test]
    fn conditions_are_taken_out_and_all_else_is_handed_on() {
        let mut packets = Packets::default();
        let (found, kept) = feed(&mut packets, &framed("Z0,7c00,1;X3,220127X2,2227"));
        assert_eq!(found, Incoming::Conditions(vec![vec![0x22, 1, 0x27], vec![0x22, 0x27]]));
        assert_eq!(kept, framed("Z0,7c00,1"));
        for plain in ["Z0,7c00,1", "z0,7c00,1", "Z0,7c00,1;X9,00", "m0,10", "X0,1:;X1,00"] {
            assert_eq!(feed(&mut packets, &framed(plain)), (Incoming::Bytes, framed(plain)), "{plain}");
        }
        assert_eq!(feed(&mut packets, &framed("qSupported:swbreak+")).0, Incoming::Greeting);
        assert_eq!(feed(&mut packets, "+").0, Incoming::Bytes);
        assert_eq!(feed(&mut packets, "\u{3}").0, Incoming::Bytes);
    }

    #[test]
    fn a_wrong_sum_is_for_gdbstub_to_refuse_and_length_is_limited() {
        let mut packets = Packets::default();
        assert_eq!(feed(&mut packets, "$Z0,1,1;X1,00#00").0, Incoming::Bytes);
        let long: Vec<Incoming> =
            (0..=MOST).map(|n| packets.take(if n == 0 { b'$' } else { b'a' })).collect();
        assert_eq!(long.last(), Some(&Incoming::TooLong));
        assert_eq!(feed(&mut packets, "+").0, Incoming::Bytes);
    }
}
