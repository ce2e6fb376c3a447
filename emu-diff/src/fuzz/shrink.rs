//! A failure made small: as many registers, flags and bytes of memory as possible become zero while it stays the same
//! kind of failure.
//!
//! Whether a case fails is asked of many at a time, since some references take their time to start.

use super::places::{DATA, PAGE, Registers};
use crate::vector::Stretches;

/// Flags that every case has: the reserved one, and IF.
const LEAST_FLAGS: u64 = 0x202;
/// Rounds after which a case is small enough.
const MOST_ROUNDS: usize = 64;

/// Registers and memory before an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Registers.
    pub before: Registers,
    /// The page that it may use.
    pub data: [u8; PAGE],
}

impl Case {
    /// Each way to make it simpler by one step, the simplest of a kind first.
    fn simpler(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for n in 0..16 {
            // Nothing, then fewer bits.
            let value = self.before.regs[n];
            for less in [0, value & 0xff, value & 0xffff, value & 0xffff_ffff, value & value.wrapping_sub(1)]
            {
                let mut smaller = self.clone();
                smaller.before.regs[n] = less;
                all.push(smaller);
            }
        }
        for bit in (0..64).filter(|bit| LEAST_FLAGS >> bit & 1 == 0) {
            let mut smaller = self.clone();
            smaller.before.flags &= !(1 << bit);
            all.push(smaller);
        }
        // Stretches of memory, ever shorter.
        let mut size = self.data.len();
        while size > 0 {
            for at in (0..self.data.len()).step_by(size) {
                if self.data[at..at + size].iter().any(|&byte| byte != 0) {
                    let mut smaller = self.clone();
                    smaller.data[at..at + size].fill(0);
                    all.push(smaller);
                }
            }
            size /= 2;
        }
        all.retain(|smaller| smaller != self);
        all
    }

    /// All that is simpler in several others at once.
    fn together(&self, others: &[Self]) -> Self {
        let mut all = self.clone();
        for other in others {
            for (n, &value) in other.before.regs.iter().enumerate() {
                if all.before.regs[n] == self.before.regs[n] {
                    all.before.regs[n] = value;
                }
            }
            all.before.flags &= other.before.flags;
            for (to, &from) in all.data.iter_mut().zip(&other.data) {
                if from == 0 {
                    *to = 0;
                }
            }
        }
        all
    }
}

/// Makes a case that fails smaller; `fails` says of each case whether it fails in the same way.
///
/// # Errors
/// What `fails` returns.
pub fn shrink<E>(mut case: Case, mut fails: impl FnMut(&[Case]) -> Result<Vec<bool>, E>) -> Result<Case, E> {
    for _ in 0..MOST_ROUNDS {
        let simpler = case.simpler();
        let failed = fails(&simpler)?;
        let smaller: Vec<_> =
            simpler.into_iter().zip(failed).filter(|(_, failed)| *failed).map(|(case, _)| case).collect();
        let Some(first) = smaller.first() else { break };
        let together = case.together(&smaller);
        let all_at_once = smaller.len() > 1 && fails(std::slice::from_ref(&together))? == [true];
        case = if all_at_once { together } else { first.clone() };
    }
    Ok(case)
}

/// The bytes that are wanted, as runs with their addresses.
pub fn stretches(data: &[u8], wanted: impl Fn(usize, u8) -> bool) -> Stretches {
    let mut all: Stretches = Vec::new();
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

    #[test]
    fn what_a_failure_does_not_need_becomes_zero() {
        let mut case = Case { before: Registers { regs: [0xffff; 16], flags: 0xad7 }, data: [7; PAGE] };
        case.before.regs[3] = 0x8000_0000_0000_0006;
        // It needs one of two flags, a bit of RBX, and two bytes of memory; what seems free one by one is not free
        // together.
        let fails = |case: &Case| {
            case.before.flags & 0x41 != 0
                && case.before.regs[3] & 4 != 0
                && case.data[9] != 0
                && case.data[0x803] != 0
        };
        let small = shrink(case, |cases| Ok::<_, ()>(cases.iter().map(fails).collect())).unwrap();
        assert!(fails(&small));
        assert_eq!((small.before.flags.count_ones(), small.before.regs[3]), (3, 4));
        assert_eq!(small.before.regs.iter().filter(|&&value| value != 0).count(), 1);
        let memory = stretches(&small.data, |_, byte| byte != 0);
        assert_eq!(memory, [(DATA + 9, vec![7]), (DATA + 0x803, vec![7])]);
    }
}
