//! Loops of one block: what lets a fast copy of them run many rounds without looking at pages.
//!
//! A *run* is a group of accesses whose address moves by the same number of bytes in each round. Before the fast copy
//! starts, [`Runs::prepare`] works out how many rounds all runs stay within their pages, and the copy is given a budget
//! of just so many instructions; so the check of the budget, which each round makes anyway, is the only one. The other
//! accesses are checked as ever.
//!
//! Assumes and keeps what [`crate::groups`] does.

use emu_core::cpu::{Cpu, FS, GS};
use emu_core::mem::PAGE_SIZE;
use iced_x86::Register;

use crate::analysis::{Guest, Kind, Want, liveness, needs_alignment};
use crate::frame::{Frame, GROUPS};
use crate::groups::{Access, Base, Key, Way, accesses, merge_some};
use crate::mode::Mode;

/// Rounds below which the fast copy is not worth preparing.
const FEW: u64 = 4;
/// Most rounds at a time.
const MOST: u64 = 1 << 20;
/// Rounds of the ordinary copy before the fast one is tried.
pub const PATIENCE: i32 = 6;
/// Rounds to wait after a miss.
const SOON: u64 = 1;
/// Rounds to wait where strides are too long.
const LATER: u64 = 500;
/// Bytes that the accesses of one run may span.
const WIDEST: i64 = 1024;

/// A group of accesses that moves by a constant in each round.
#[derive(Debug)]
struct Run {
    /// Register that addresses count from.
    base: Option<u8>,
    /// Index register and scale.
    index: Option<(u8, u32)>,
    /// Addresses count from the page that code comes from.
    page: bool,
    /// FS or GS is added.
    segment: Option<usize>,
    low: i64,
    high: i64,
    stride: i64,
    write: bool,
    /// This distance has to be a multiple of that size.
    aligned: Option<(i64, i64)>,
}

/// The runs of a loop.
#[derive(Debug)]
pub struct Runs {
    runs: Vec<Run>,
    /// Instructions in a round.
    pub count: i64,
}

/// A loop of one block.
#[derive(Debug)]
pub struct Loop {
    /// The block as the fast copy has it.
    pub block: Vec<Guest>,
    /// What has to be prepared.
    pub runs: Box<Runs>,
}

/// What [`Runs::prepare`] found.
#[derive(Debug)]
pub struct Ready {
    /// Rounds that the fast copy may run.
    pub rounds: i64,
    /// Rounds after which it may be tried again, if none.
    pub patience: u64,
}

impl Loop {
    /// The loop that a block at `offset` of its page is, if it is one.
    pub fn of(block: &[Guest], mode: Mode, offset: u16) -> Option<Self> {
        let last = block.last()?;
        let back = matches!(last.kind, Kind::Branch | Kind::Jump)
            && last.insn.near_branch_target() == u64::from(offset);
        if !back || mode.size() == 16 || block.iter().any(|guest| guest.kind == Kind::CallOut) {
            return None;
        }
        let mut block = block.to_vec();
        for guest in &mut block {
            (guest.operand, guest.stack, guest.aligned) = (Way::Checked, Way::Checked, false);
        }
        let (accesses, held) = accesses(&block, mode);
        let mut found: Vec<(Key, Run)> = Vec::new();
        let mut others = Vec::new();
        for access in accesses {
            match place(&access, &block, &held, &mut found) {
                Some(number) => {
                    *access.way(&mut block) = Way::Member { group: number as u8 };
                    let run = &found[number].1;
                    block[access.index].aligned = !access.stack
                        && needs_alignment(&block[access.index].insn)
                        && run
                            .aligned
                            .is_some_and(|(at, size)| access.size == size && (access.at - at) % size == 0);
                }
                None => others.push(access),
            }
        }
        merge_some(&mut block, &others, found.len());
        liveness(&mut block);
        if block.iter().any(|guest| guest.kind == Kind::CallOut) {
            return None;
        }
        let count = block.len() as i64;
        let runs = found.into_iter().map(|(_, run)| run).collect();
        Some(Self { block, runs: Box::new(Runs { runs, count }) })
    }
}

/// The number of the run that an access joins or founds.
fn place(
    access: &Access,
    block: &[Guest],
    held: &[(u32, i64); 16],
    found: &mut Vec<(Key, Run)>,
) -> Option<usize> {
    let key = access.key;
    // A register that moves by a number in each round, and by how much.
    let moves = |root: u32| {
        let (last, step) = *held.get(root as usize)?;
        (last == root).then_some((root as u8, step))
    };
    let (base, base_step) = match key.base {
        Base::Root(root) => moves(root).map(|(register, step)| (Some(register), step))?,
        Base::Zero | Base::Page => (None, 0),
    };
    let (index, index_step) = match key.index {
        Some((root, scale)) => {
            let (register, step) = moves(root)?;
            (Some((register, scale)), step.wrapping_mul(i64::from(scale)))
        }
        None => (None, 0),
    };
    let stride = base_step.wrapping_add(index_step);
    if stride.unsigned_abs() > PAGE_SIZE {
        return None;
    }
    let end = access.at + access.size;
    let aligned = (!access.stack && needs_alignment(&block[access.index].insn))
        .then_some((access.at, access.size))
        .filter(|(_, size)| stride % size == 0);
    let write = access.want == Want::Write;
    let joins = |(other, run): &(Key, Run)| {
        *other == key
            && run.high.max(end) - run.low.min(access.at) <= WIDEST
            // A right that nobody may need is not asked for, as the fast copy would never start.
            && run.write == write
    };
    if let Some(number) = found.iter().position(joins) {
        let run = &mut found[number].1;
        (run.low, run.high) = (run.low.min(access.at), run.high.max(end));
        run.aligned = run.aligned.or(aligned);
        return Some(number);
    }
    if found.len() == GROUPS {
        return None;
    }
    let segment = match key.segment {
        Register::FS => Some(FS),
        Register::GS => Some(GS),
        _ => None,
    };
    let page = key.base == Base::Page;
    let run = Run { base, index, page, segment, low: access.at, high: end, stride, write, aligned };
    found.push((key, run));
    Some(found.len() - 1)
}

impl Runs {
    /// Is there nothing to prepare?
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Finds the pages of all runs and how long they stay in them.
    pub fn prepare(&self, cpu: &Cpu, frame: &Frame, remaining: i64, distances: &mut [u64; GROUPS]) -> Ready {
        let none = |patience| Ready { rounds: 0, patience };
        let register = |number: u8| match number {
            12.. => frame.high[usize::from(number) - 12],
            _ => cpu.regs[usize::from(number)],
        };
        let mut rounds = (remaining / self.count).max(0) as u64;
        if rounds < FEW {
            return none(SOON);
        }
        rounds = rounds.min(MOST);
        for (run, distance) in self.runs.iter().zip(distances) {
            let fixed = if run.page { frame.page } else { 0 };
            let fixed = fixed.wrapping_add(run.segment.map_or(0, |number| cpu.seg[number].base));
            let base = fixed.wrapping_add(run.base.map_or(0, register));
            let index = run.index.map_or(0, |(number, scale)| register(number).wrapping_mul(scale.into()));
            let origin = base.wrapping_add(index);
            let start = origin.wrapping_add(run.low as u64) & cpu.linear_mask;
            let entry =
                if run.write { cpu.tlb.write(cpu.context, start) } else { cpu.tlb.read(cpu.context, start) };
            let (within, span) = (start.wrapping_sub(entry.tag), (run.high - run.low) as u64);
            if within > PAGE_SIZE - span {
                return none(SOON);
            }
            if let Some((at, size)) = run.aligned
                && origin.wrapping_add(at as u64) & (size as u64 - 1) != 0
            {
                return none(LATER);
            }
            let stride = run.stride.unsigned_abs();
            let room = if run.stride < 0 { within } else { PAGE_SIZE - span - within };
            let here = room.checked_div(stride).map_or(u64::MAX, |more| more + 1);
            if here < FEW {
                let never = PAGE_SIZE.checked_div(stride).is_some_and(|most| most < FEW);
                return none(if never { LATER } else { SOON });
            }
            rounds = rounds.min(here);
            *distance = entry.host.wrapping_sub(entry.tag).wrapping_add(fixed);
        }
        Ready { rounds: rounds as i64, patience: SOON }
    }
}
