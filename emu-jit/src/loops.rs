//! Loops of one block: what lets a fast copy of them run many rounds without looking at pages.
//!
//! A *run* is a group of accesses whose address moves by the same number of bytes in each round. Before the fast copy
//! starts, code of the block works out how many rounds all runs stay within their pages, and the copy is given a budget
//! of just so many instructions; so the check of the budget, which each round makes anyway, is the only one. Look-ups
//! in tables try the page that they met last. The other accesses are checked as ever.
//!
//! Assumes and keeps what [`crate::groups`] does.

use emu_core::cpu::RSP;
use emu_core::mem::PAGE_SIZE;
use iced_x86::Register;

use crate::analysis::{Guest, Kind, Want, liveness, needs_alignment};
use crate::frame::{GROUPS, RECENT_PAGES};
use crate::groups::{Access, Base, Key, Way, accesses, merge_some};
use crate::mode::Mode;

/// Rounds below which the fast copy is not worth its while.
pub const FEW: i32 = 4;
/// Most rounds at a time.
pub const MOST: i32 = 4096;
/// Rounds of the ordinary copy before the fast one is tried, or tried again.
pub const SOON: i32 = 4;
/// The same where strides are too long for it.
pub const LATER: i32 = 500;
/// Bytes that the accesses of one run may span.
const WIDEST: i64 = 1024;

/// A group of accesses that moves by a constant in each round.
#[derive(Debug)]
pub struct Run {
    /// Register that addresses count from.
    pub base: Option<u8>,
    /// Index register and scale.
    pub index: Option<(u8, u32)>,
    /// The base stays the same, and so is part of the distance to the page.
    pub folds_base: bool,
    /// The same of the index.
    pub folds_index: bool,
    /// Addresses count from the page that code comes from.
    pub page: bool,
    /// FS or GS, whose base is added.
    pub segment: Register,
    /// Distance of the first byte.
    pub low: i64,
    /// Distance of the byte behind the last.
    pub high: i64,
    /// Bytes by which addresses move in each round.
    pub stride: i64,
    /// It is written.
    pub write: bool,
    /// Conditional jumps of the round before its first access.
    branches: usize,
    /// This distance has to be a multiple of that size.
    pub aligned: Option<(i64, i64)>,
}

impl Run {
    /// Factor and shift by which a number of bytes within a page becomes the number of whole strides in it.
    pub fn division(&self) -> (i32, i8) {
        const SHIFT: i8 = 24;
        let stride = self.stride.unsigned_abs();
        (((1 << SHIFT) / stride + 1) as i32, SHIFT)
    }
}

/// A loop of one block.
#[derive(Debug)]
pub struct Loop {
    /// The block as the fast copy has it.
    pub block: Vec<Guest>,
    /// What has to be prepared.
    pub runs: Vec<Run>,
    /// For each access that remembers its page, the run whose page it begins with.
    pub recent: Vec<usize>,
}

impl Loop {
    /// The loop that a block at `offset` of its page is, if it is one.
    pub fn of(block: &[Guest], mode: Mode, offset: u16) -> Option<Self> {
        let last = block.last()?;
        let back = matches!(last.kind, Kind::Branch | Kind::Jump)
            && last.insn.near_branch_target() == u64::from(offset);
        if !back || !mode.is_linked() || block.iter().any(|guest| guest.kind == Kind::CallOut) {
            return None;
        }
        let mut block = block.to_vec();
        for guest in &mut block {
            (guest.operand, guest.stack, guest.aligned) = (Way::Checked, Way::Checked, false);
        }
        let (accesses, held) = accesses(&block, mode);
        let mut found: Vec<(Key, Run)> = Vec::new();
        let mut others = Vec::new();
        let mut members = Vec::new();
        for access in accesses {
            match place(&access, &block, &held, &mut found) {
                Some(number) => {
                    *access.way(&mut block) = Way::Member { group: number as u8, folds: false };
                    members.push((number, access));
                }
                None => others.push(access),
            }
        }
        for (number, access) in &members {
            // Aligned to more is aligned to less.
            block[access.index].aligned = !access.stack
                && needs_alignment(&block[access.index].insn)
                && found[*number]
                    .1
                    .aligned
                    .is_some_and(|(at, size)| size >= access.size && (access.at - at) % access.size == 0);
        }
        if mode.size() == 64 {
            fold(&block, &members, &mut found);
        }
        merge_some(&mut block, &others, found.len());
        let recent = remember(&mut block, &others, &held, &found, mode);
        liveness(&mut block);
        if block.iter().any(|guest| guest.kind == Kind::CallOut) {
            return None;
        }
        Some(Self { block, runs: found.into_iter().map(|(_, run)| run).collect(), recent })
    }
}

/// Has accesses to tables (from a fixed address, by an index that is not known) try the page that they met last. Says
/// with which run's page each begins.
fn remember(
    block: &mut [Guest],
    others: &[Access],
    held: &[(u32, i64); 16],
    found: &[(Key, Run)],
    mode: Mode,
) -> Vec<usize> {
    let mut pages = Vec::new();
    for access in others {
        let fixed = match access.key.base {
            Base::Root(root) => held.get(root as usize) == Some(&(root, 0)),
            Base::Zero | Base::Page => true,
        };
        let write = access.want == Want::Write;
        let table = fixed && access.key.index.is_some() && access.key.segment == Register::None;
        if pages.len() == RECENT_PAGES || access.stack || !table || mode.size() != 64 {
            continue;
        }
        // One that may be written may be read.
        let Some(run) = found.iter().position(|(_, run)| run.write || !write) else { continue };
        let way = access.way(block);
        if *way == Way::Checked {
            *way = Way::Recent { page: pages.len() as u8 };
            pages.push(run);
        }
    }
    pages
}

/// Finds the registers of runs that no instruction of the loop writes, and that all accesses name.
fn fold(block: &[Guest], members: &[(usize, Access)], found: &mut [(Key, Run)]) {
    let stack = block.iter().any(Guest::is_on_stack);
    let written = block.iter().fold(u32::from(stack) << RSP, |all, guest| all | guest.written);
    let stays = |number: u8| written >> number & 1 == 0;
    for (number, (_, run)) in found.iter_mut().enumerate() {
        let all = |names: &dyn Fn(&Guest) -> bool| {
            members.iter().all(|(of, access)| *of != number || !access.stack && names(&block[access.index]))
        };
        let is =
            |register: Register, number: u8| register.is_gpr() && register.number() == usize::from(number);
        run.folds_base =
            run.base.is_some_and(|base| stays(base) && all(&|guest| is(guest.insn.memory_base(), base)));
        run.folds_index = run
            .index
            .is_some_and(|(index, _)| stays(index) && all(&|guest| is(guest.insn.memory_index(), index)));
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
    let branches = block[..access.index].iter().filter(|guest| guest.has_side()).count();
    let joins = |(other, run): &(Key, Run)| {
        *other == key
            && run.high.max(end) - run.low.min(access.at) <= WIDEST
            // A right that nobody may need is not asked for, as the fast copy would never start.
            && (run.write || !write || run.branches == branches)
    };
    if let Some(number) = found.iter().position(joins) {
        let run = &mut found[number].1;
        run.write |= write;
        (run.low, run.high) = (run.low.min(access.at), run.high.max(end));
        // The most that one of its accesses asks for.
        run.aligned = [run.aligned, aligned].into_iter().flatten().max_by_key(|(_, size)| *size);
        return Some(number);
    }
    if found.len() == GROUPS {
        return None;
    }
    let page = key.base == Base::Page;
    let run = Run {
        base,
        index,
        folds_base: false,
        folds_index: false,
        page,
        segment: key.segment,
        low: access.at,
        high: end,
        stride,
        write,
        branches,
        aligned,
    };
    found.push((key, run));
    Some(found.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisions_are_exact_within_a_page() {
        for stride in (1..=4096).chain([-1, -3, -4096]) {
            let run = Run {
                base: None,
                index: None,
                folds_base: false,
                folds_index: false,
                page: false,
                segment: Register::None,
                low: 0,
                high: 1,
                stride,
                write: false,
                branches: 0,
                aligned: None,
            };
            let (factor, shift) = run.division();
            for bytes in 0..PAGE_SIZE as i64 {
                assert_eq!((bytes * i64::from(factor)) >> shift, bytes / stride.abs(), "{bytes} / {stride}");
            }
        }
    }
}
