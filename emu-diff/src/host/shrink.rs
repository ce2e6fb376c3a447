//! A failure made small ([`fuzz::shrink`]), and the test vector that is left.

use std::convert::Infallible;

use super::silicon::Outcome;
use super::{Oracle, undefined};
use crate::fuzz;
use crate::fuzz::cases::Encoding;
use crate::fuzz::shrink::{Case, stretches};
use crate::vector::Vector;

/// What kind of failure it is: the names of what differs, without values.
pub fn kind(found: &[String]) -> Vec<String> {
    let name = |text: &String| text.split([':', ' ']).next().unwrap_or("").to_owned();
    found.iter().map(name).collect()
}

/// Makes a case that fails smaller. The instruction stays loaded. Returns the case, what differs and what the host
/// left.
pub fn shrink(oracle: &mut Oracle, e: &Encoding, case: Case) -> (Case, Vec<String>, Outcome) {
    let wanted = kind(&oracle.compare(e, &case).0);
    let mut fails = |case: &Case| kind(&oracle.compare(e, case).0) == wanted;
    let Ok(case) =
        fuzz::shrink::shrink(case, |cases| Ok::<_, Infallible>(cases.iter().map(&mut fails).collect()));
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
        fault: None,
    })
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
