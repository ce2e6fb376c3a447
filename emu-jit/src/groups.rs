//! Groups of memory accesses of a block that lie close together, so that one look into the translation cache serves
//! all.
//!
//! Registers are followed symbolically through the block: what a register holds is a *root* (its value when the block
//! began, or what some instruction put there) plus a number. Accesses whose addresses have the same roots differ by a
//! number that is known here. The first of a group checks the whole stretch; when it does not lie in one page that the
//! translation cache knows, a *careful* block takes over at that instruction, which checks each access by itself. A
//! group is checked for the right to write where it begins with a write, or with a read that a write follows without
//! a way out between them: nothing is checked for a right that nobody may need.
//!
//! Assumes: translations do not change while control stays in the block. What changes them either ends a block or stops
//! it. Keeps: an access is made only where the guest's own is, so faults, chips and writes to code are met as before.

use emu_core::cpu::{RBP, RSP};
use iced_x86::{Instruction, Mnemonic as M, OpKind, Register};

use crate::analysis::{Guest, Kind, Want, needs_alignment};
use crate::frame::{GROUPS, PINNED};
use crate::mode::Mode;

/// Bytes that one check may cover. The longer, the more often it meets the end of a page.
const LONGEST: i64 = 512;

/// How an access finds its page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// By a check of its own.
    #[default]
    Checked,
    /// By a check for its group, which begins `below` bytes below the access and is `span` bytes long.
    First {
        /// Number of the group.
        group: u8,
        /// Right that is checked.
        want: Want,
        /// Distance from the start of the stretch.
        below: i32,
        /// Length of the stretch.
        span: i32,
        /// The base register is part of the distance: it holds the same for all of the group.
        folds: bool,
    },
    /// As the group's first access found it.
    Member {
        /// Number of the group.
        group: u8,
        /// The base register is part of the distance.
        folds: bool,
    },
    /// In the fast copy of a loop: the page that it met last is tried first.
    Recent {
        /// Number of the page.
        page: u8,
    },
}

impl Way {
    /// Can the access be made without leaving the block?
    pub fn is_sure(self) -> bool {
        matches!(self, Self::Member { .. })
    }
}

/// What an address counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// Nothing: a number alone.
    Zero,
    /// The page that code comes from.
    Page,
    /// A value; below 16 that of a register when the block began.
    Root(u32),
}

/// The part of an address that is not known as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Where it counts from.
    pub base: Base,
    /// A root and its scale.
    pub index: Option<(u32, u32)>,
    /// FS or GS, whose base is added.
    pub segment: Register,
}

/// What registers hold.
struct Values {
    held: [(u32, i64); 16],
    next: u32,
    wide: bool,
}

impl Values {
    fn new(wide: bool) -> Self {
        Self { held: std::array::from_fn(|n| (n as u32, 0)), next: 16, wide }
    }

    /// Cuts a number to the width of addresses.
    fn cut(&self, value: i64) -> i64 {
        if self.wide { value } else { i64::from(value as i32) }
    }

    fn forget(&mut self, number: usize) {
        self.held[number] = (self.next, 0);
        self.next += 1;
    }

    fn set(&mut self, number: usize, (root, number_added): (u32, i64)) {
        self.held[number] = (root, self.cut(number_added));
    }

    fn moved(&self, number: usize, by: i64) -> (u32, i64) {
        let (root, plus) = self.held[number];
        (root, plus.wrapping_add(by))
    }

    /// Takes over what an instruction does to registers.
    fn advance(&mut self, guest: &Guest) {
        let insn = &guest.insn;
        let slot = if self.wide { 8 } else { 4 };
        match guest.kind {
            Kind::Push | Kind::PushMemory | Kind::PushFlags => return self.set(RSP, self.moved(RSP, -slot)),
            Kind::Pop => {
                self.set(RSP, self.moved(RSP, slot));
                return self.forget(insn.op0_register().full_register().number());
            }
            Kind::Leave => {
                self.set(RSP, self.moved(RBP, slot));
                return self.forget(RBP);
            }
            _ => {}
        }
        if let Some((to, value)) = self.known(guest) {
            return self.set(to, value);
        }
        for number in (0..16).filter(|n| guest.written >> n & 1 != 0) {
            self.forget(number);
        }
    }

    /// The register that an instruction changes by a number, or copies.
    fn known(&self, guest: &Guest) -> Option<(usize, (u32, i64))> {
        let insn = &guest.insn;
        let whole = |n: u32| {
            (insn.op_kind(n) == OpKind::Register
                && insn.op_register(n).is_gpr()
                && insn.op_register(n).size() == if self.wide { 8 } else { 4 })
            .then(|| insn.op_register(n).number())
        };
        let to = (insn.op_count() > 0).then(|| whole(0))??;
        let immediate = || {
            let number =
                insn.op_count() == 2 && !matches!(insn.op1_kind(), OpKind::Register | OpKind::Memory);
            number.then(|| insn.immediate(1) as i64)
        };
        let value = match insn.mnemonic() {
            M::Add => self.moved(to, immediate()?),
            M::Sub => self.moved(to, immediate()?.wrapping_neg()),
            M::Inc => self.moved(to, 1),
            M::Dec => self.moved(to, -1),
            M::Mov => self.held[whole(1)?],
            M::Lea if insn.memory_index() == Register::None && insn.memory_base().is_gpr() => {
                if insn.memory_base().size() != insn.op0_register().size() {
                    return None;
                }
                self.moved(insn.memory_base().number(), insn.memory_displacement64() as i64)
            }
            _ => return None,
        };
        Some((to, value))
    }

    /// The address of an explicit memory operand.
    fn operand(&self, guest: &Guest, mode: Mode) -> Option<(Key, i64)> {
        let insn = &guest.insn;
        let segment = insn.memory_segment();
        let segment = match segment {
            Register::FS | Register::GS if self.wide => segment,
            Register::FS | Register::GS => return None,
            _ if self.wide || mode.flat() && segment != Register::CS => Register::None,
            _ => return None,
        };
        let displacement = insn.memory_displacement64() as i64;
        // Stretches around it are still displacements.
        let displacement = if self.wide { displacement } else { i64::from(displacement as i32) };
        if displacement.unsigned_abs() > 1 << 30 {
            return None;
        }
        if insn.is_ip_rel_memory_operand() {
            let fits = insn.memory_base() == Register::RIP && segment == Register::None;
            return fits.then_some((Key { base: Base::Page, index: None, segment }, displacement));
        }
        let width = if self.wide { 8 } else { 4 };
        let value = |register: Register| {
            (register.is_gpr() && register.size() == width).then(|| self.held[register.number()])
        };
        let mut constant = displacement;
        let mut base = Base::Zero;
        if insn.memory_base() != Register::None {
            let (root, plus) = value(insn.memory_base())?;
            base = Base::Root(root);
            constant = constant.wrapping_add(plus);
        }
        let mut index = None;
        if insn.memory_index() != Register::None {
            let (root, plus) = value(insn.memory_index())?;
            let scale = insn.memory_index_scale();
            index = Some((root, scale));
            constant = constant.wrapping_add(plus.wrapping_mul(i64::from(scale)));
        }
        if insn.memory_base() == Register::None && insn.memory_index() == Register::None {
            let size = insn.memory_displ_size();
            if size != width as u32 && !(self.wide && size == 4) {
                return None;
            }
        }
        Some((Key { base, index, segment }, self.cut(constant)))
    }

    /// The number in the base register of a memory operand that needs more than one step to add its registers.
    fn worth_adding(&self, insn: &Instruction, mode: Mode) -> Option<i64> {
        let base = insn.memory_base();
        let steps = insn.memory_index() != Register::None || base.is_gpr() && base.number() >= PINNED.len();
        (mode.size() == 64 && base.is_gpr() && steps).then(|| self.held[base.number()].1)
    }

    /// The address of the stack slot, with the kind of access.
    fn slot(&self, guest: &Guest, mode: Mode) -> Option<(Key, i64, Want)> {
        let size = if self.wide { 8 } else { 4 };
        let ((root, at), want) = match guest.kind {
            Kind::Push | Kind::PushMemory | Kind::PushFlags | Kind::Call | Kind::CallIndirect => {
                (self.moved(RSP, -size), Want::Write)
            }
            Kind::Pop | Kind::Return => (self.held[RSP], Want::Read),
            Kind::Leave => (self.held[RBP], Want::Read),
            _ => return None,
        };
        let flat = self.wide || mode.flat();
        let key = Key { base: Base::Root(root), index: None, segment: Register::None };
        flat.then(|| (key, self.cut(at), want))
    }
}

/// One access.
pub(crate) struct Access {
    /// Index of its instruction.
    pub index: usize,
    /// It is the stack slot, not the operand.
    pub stack: bool,
    /// The part of its address that is not a number.
    pub key: Key,
    /// The number.
    pub at: i64,
    /// The part of it that the base register has; `None` where there is no base, or no use in adding it once for all.
    pub base: Option<i64>,
    /// Bytes.
    pub size: i64,
    /// Kind of access.
    pub want: Want,
}

impl Access {
    /// The way of this access among those of its instruction.
    pub fn way<'a>(&self, block: &'a mut [Guest]) -> &'a mut Way {
        let guest = &mut block[self.index];
        if self.stack { &mut guest.stack } else { &mut guest.operand }
    }
}

/// A group while it grows.
struct Group {
    key: Key,
    low: i64,
    high: i64,
    want: Want,
    /// Conditional jumps of the block before its first access.
    branches: usize,
    members: Vec<usize>,
}

/// Finds groups and says so in the block's instructions, all of whose accesses are checked so far.
pub fn merge(block: &mut [Guest], mode: Mode) {
    if mode.size() == 16 {
        return;
    }
    let (accesses, _) = accesses(block, mode);
    merge_some(block, &accesses, 0);
}

/// The same for some of the accesses, with numbers of groups from `first` on.
pub(crate) fn merge_some(block: &mut [Guest], accesses: &[Access], first: usize) {
    let mut groups: Vec<Group> = Vec::new();
    let (mut branches, mut passed, mut oldest) = (0, 0, 0);
    for (number, access) in accesses.iter().enumerate() {
        let between = &block[passed..access.index];
        branches += between.iter().filter(|guest| guest.has_side()).count();
        if between.iter().any(Guest::changes_access) {
            // What was found out before does not hold any more.
            oldest = groups.len();
        }
        passed = access.index;
        let end = access.at + access.size;
        let fits = |group: &&mut Group| {
            group.key == access.key
                && group.high.max(end) - group.low.min(access.at) <= LONGEST
                && (group.want == Want::Write || access.want == Want::Read || group.branches == branches)
        };
        match groups[oldest..].iter_mut().rev().find(fits) {
            Some(group) => {
                (group.low, group.high) = (group.low.min(access.at), group.high.max(end));
                if access.want == Want::Write {
                    group.want = Want::Write;
                }
                group.members.push(number);
            }
            // The handler may make the whole of such an instruction, for its operand's sake: nothing would know the
            // page.
            None if access.stack && block[access.index].kind == Kind::PushMemory => {}
            None => groups.push(Group {
                key: access.key,
                low: access.at,
                high: end,
                want: access.want,
                branches,
                members: vec![number],
            }),
        }
    }
    let several = groups.iter().filter(|group| group.members.len() > 1);
    for (number, group) in (first..GROUPS).zip(several) {
        let number = number as u8;
        let base = accesses[group.members[0]].base;
        let folds = base.is_some() && group.members.iter().all(|&member| accesses[member].base == base);
        for (nth, &member) in group.members.iter().enumerate() {
            let access = &accesses[member];
            let way = match nth {
                0 => Way::First {
                    group: number,
                    want: group.want,
                    below: (access.at - group.low) as i32,
                    span: (group.high - group.low) as i32,
                    folds,
                },
                _ => Way::Member { group: number, folds },
            };
            *access.way(block) = way;
        }
        known_alignment(block, group.members.iter().map(|&member| &accesses[member]));
    }
}

/// Accesses at known distances from one that was found aligned are known to be, or to fault.
fn known_alignment<'a>(block: &mut [Guest], members: impl Iterator<Item = &'a Access>) {
    let mut found: Option<(i64, i64)> = None;
    for access in members {
        let guest = &mut block[access.index];
        if !needs_alignment(&guest.insn) {
            continue;
        }
        match found {
            Some((at, size)) if size >= access.size && (access.at - at) % access.size == 0 => {
                guest.aligned = true;
            }
            _ => found = Some((access.at, access.size)),
        }
    }
}

/// All accesses of a block in their order, and what registers hold at its end.
pub(crate) fn accesses(block: &[Guest], mode: Mode) -> (Vec<Access>, [(u32, i64); 16]) {
    let mut values = Values::new(mode.size() == 64);
    let mut found = Vec::new();
    for (index, guest) in block.iter().enumerate() {
        let operand = match guest.kind {
            Kind::Native => guest.access,
            Kind::PushMemory | Kind::JumpIndirect | Kind::CallIndirect
                if guest.insn.op0_kind() == OpKind::Memory =>
            {
                Some((Want::Read, mode.size() / 8))
            }
            _ => None,
        };
        if let Some((want, size)) = operand
            && let Some((key, at)) = values.operand(guest, mode)
        {
            let base = values.worth_adding(&guest.insn, mode);
            found.push(Access { index, stack: false, key, at, base, size: size.into(), want });
        }
        if let Some((key, at, want)) = values.slot(guest, mode) {
            let size = i64::from(mode.size() / 8);
            found.push(Access { index, stack: true, key, at, base: None, size, want });
        }
        values.advance(guest);
    }
    (found, values.held)
}
