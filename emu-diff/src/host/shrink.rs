//! A failure made small: as many registers, flags and bytes of memory as possible become zero while it stays the same
//! kind of failure, and what is left is a test vector.

use super::silicon::Outcome;
use super::{Case, Oracle, undefined};
use crate::fuzz::cases::Encoding;
use crate::fuzz::places::DATA;
use crate::vector::Vector;

/// Flags that every case has: the reserved one, and IF.
const LEAST_FLAGS: u64 = 0x202;

/// What kind of failure it is: the names of what differs, without values.
pub fn kind(found: &[String]) -> Vec<String> {
    let name = |text: &String| text.split([':', ' ']).next().unwrap_or("").to_owned();
    found.iter().map(name).collect()
}

/// Makes a case that fails smaller. The instruction stays loaded. Returns the case, what differs and what the host left.
pub fn shrink(oracle: &mut Oracle, e: &Encoding, mut case: Case) -> (Case, Vec<String>, Outcome) {
    let (mut found, mut host) = oracle.compare(e, &case);
    let wanted = kind(&found);
    let mut attempt = |case: &mut Case, smaller: Case, found: &mut Vec<String>, host: &mut Outcome| {
        if smaller == *case {
            return false;
        }
        let (now, outcome) = oracle.compare(e, &smaller);
        let same = kind(&now) == wanted;
        if same {
            (*case, *found, *host) = (smaller, now, outcome);
        }
        same
    };
    loop {
        let mut changed = false;
        for n in 0..16 {
            // Nothing, then fewer bits.
            let value = case.before.regs[n];
            for less in [0, value & 0xff, value & 0xffff, value & 0xffff_ffff, value & value.wrapping_sub(1)]
            {
                let mut smaller = case.clone();
                smaller.before.regs[n] = less;
                if attempt(&mut case, smaller, &mut found, &mut host) {
                    changed = true;
                    break;
                }
            }
        }
        for bit in (0..64).filter(|bit| LEAST_FLAGS >> bit & 1 == 0) {
            let mut smaller = case.clone();
            smaller.before.flags &= !(1 << bit);
            changed |= attempt(&mut case, smaller, &mut found, &mut host);
        }
        // Stretches of memory, ever shorter.
        let mut size = case.data.len();
        while size > 0 {
            for at in (0..case.data.len()).step_by(size) {
                let mut smaller = case.clone();
                smaller.data[at..at + size].fill(0);
                changed |= attempt(&mut case, smaller, &mut found, &mut host);
            }
            size /= 2;
        }
        if !changed {
            break;
        }
    }
    // What the caller sees in memory belongs to this case.
    let (found, host) = oracle.compare(e, &case);
    (case, found, host)
}

/// The vector of a case that the host ended as `host`, with memory `after`; `None` where it ended by an
/// exception or a jump, or depends on its own address.
pub fn vector(bits: u32, e: &Encoding, case: &Case, host: &Outcome, after: &[u8]) -> Option<Vector> {
    let taken = host.rip != e.insn.next_ip();
    (host.fault.is_none() && !taken && !e.insn.is_ip_rel_memory_operand()).then(|| Vector {
        bits,
        bytes: e.bytes.clone(),
        before: case.before.regs,
        flags_before: case.before.flags,
        memory_before: stretches(&case.data, |_, byte| byte != 0),
        after: host.after.regs,
        flags_after: host.after.flags,
        memory_after: stretches(after, |n, byte| byte != case.data[n]),
        undefined: undefined::mask(e, &case.before),
    })
}

/// The bytes that are wanted, as runs with their addresses.
fn stretches(data: &[u8], wanted: impl Fn(usize, u8) -> bool) -> Vec<(u64, Vec<u8>)> {
    let mut all: Vec<(u64, Vec<u8>)> = Vec::new();
    for (n, &byte) in data.iter().enumerate().filter(|&(n, &byte)| wanted(n, byte)) {
        match all.last_mut() {
            Some((start, bytes)) if *start + bytes.len() as u64 == DATA + n as u64 => bytes.push(byte),
            _ => all.push((DATA + n as u64, vec![byte])),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::cases::{self, decoded};
    use crate::fuzz::places::PAGE;
    use crate::random::Random;

    #[test]
    fn a_failure_keeps_what_it_needs_and_nothing_else() {
        let mut oracle = Oracle::new().expect("signals and low addresses are free");
        // The host adds with carry and the interpreter without.
        let [adc, add] = [&[0x11, 0x0b], &[0x01, 0x0b]].map(|bytes| decoded(64, bytes));
        oracle.load(&add, 64).unwrap();
        oracle.host.load(&adc, 64);
        let mut random = Random::new(1);
        let mut data = [0; PAGE];
        cases::memory(&mut random, &mut data);
        let case = loop {
            let before = cases::registers(&adc, 64, &mut random, &mut data);
            let case = Case { before, data };
            let (found, host) = oracle.compare(&adc, &case);
            if host.fault.is_none() && kind(&found) == ["memory"] {
                break case;
            }
        };
        let (case, found, host) = shrink(&mut oracle, &adc, case);
        assert_eq!(kind(&found), ["memory"]);
        assert_eq!(case.before.flags & 0x8d5, 1, "{case:?}");
        assert!((0..16).all(|n| n == 3 || case.before.regs[n] == 0), "{:x?}", case.before.regs);
        let vector = vector(64, &adc, &case, &host, oracle.data()).unwrap();
        assert_eq!(crate::vector::parse(&vector.to_string()).unwrap(), [vector]);
    }
}
