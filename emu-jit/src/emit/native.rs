//! Instructions that the host runs itself, with their registers and address replaced.

use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};
use emu_core::cpu::eflags::{AF, CF, OF, OSZAPC, PF, Writer, ZF};
use iced_x86::{Code, CodeSize, Instruction, Mnemonic as M, OpKind, Register};

use super::flags::{OF_SHIFTS, Operand, Shift, Source, State};
use super::memory::Address;
use super::{Cold, Emitter, Failed, R13, R14};
use crate::analysis::{Guest, needs_alignment};
use crate::effects::Effect;
use crate::frame::{FLAG_A, FLAG_B, PINNED, SHIFTED, SPILL};
use crate::x87;

/// A guest register that travels through a scratch register during one instruction.
#[derive(Clone, Copy)]
struct Lent {
    guest: u8,
    scratch: u8,
    written: bool,
}

impl Emitter<'_> {
    pub(super) fn native(&mut self, guest: &Guest) -> Result<(), Failed> {
        let insn = for_64_bits(&guest.insn);
        if insn.mnemonic() == M::Lea {
            return self.lea(guest, &insn);
        }
        let mut data = None;
        let way = match guest.access {
            Some((want, size)) => {
                let aligns = needs_alignment(&insn) && !guest.aligned;
                let control = x87::may_decline(&insn);
                let own_way = aligns || control;
                let (miss, back) = if own_way { self.way_out() } else { self.way_out_of(guest.operand) };
                if x87::notes(&insn) {
                    data = Some(self.keep_data_address(&insn)?);
                }
                let way_out = self.cold.len().wrapping_sub(1);
                self.reach(Address::Operand(&insn), guest.operand, size, want, miss)?;
                let found = self.window_for(guest, &insn);
                if let Some(Cold::CallOut { window, .. }) = self.cold.get_mut(way_out) {
                    *window = found;
                }
                if control {
                    self.place_to_r13()?;
                    self.only_masked(miss);
                    self.flags_lost();
                }
                if aligns {
                    self.place_to_r13()?;
                    dynasm!(self.asm; .arch x64; test r13, size as i32 - 1; jnz =>miss);
                    self.flags_lost();
                }
                Some(back)
            }
            None => None,
        };
        let raises = guest.raises.then(|| self.way_out());
        self.raises = raises.map(|(from, _)| from);
        let seen = guest.effect == Effect::Varies && guest.live != 0;
        let back = match guest.effect {
            Effect::Kept => self.divide(guest, &insn, way)?,
            Effect::Varies if seen => self.scan(guest, &insn)?,
            _ => way,
        };
        if guest.effect != Effect::Kept && !seen {
            if x87::clears_c1(&insn) {
                dynasm!(self.asm; .arch x64; fincstp; fdecstp);
            }
            self.run(guest, &insn)?;
            self.note(guest, data);
        }
        for back in back.into_iter().chain(raises.map(|(_, back)| back)) {
            dynasm!(self.asm; .arch x64; =>back);
        }
        Ok(())
    }

    fn lea(&mut self, guest: &Guest, insn: &Instruction) -> Result<(), Failed> {
        let to = insn.op0_register();
        let number = Self::number(to);
        if to.size() == 2 {
            return Err(Failed { index: self.index });
        }
        let target = Self::pinned(number).unwrap_or(R13);
        self.effective_address_to(insn, Register::RAX + u32::from(target))?;
        if to.size() == 4 && address_is_wide(insn) {
            dynasm!(self.asm; .arch x64; mov Rd(target), Rd(target));
        }
        if target == R13 {
            dynasm!(self.asm; .arch x64; mov [BYTE rsp + Self::high(number) as i8], r13);
        }
        debug_assert!(guest.effect == Effect::None, "LEA leaves flags alone");
        Ok(())
    }

    /// Runs the instruction; the place of its memory operand is known.
    fn run(&mut self, guest: &Guest, insn: &Instruction) -> Result<(), Failed> {
        let seen = guest.flags_are_seen();
        if guest.reads != 0 {
            self.need_flags(guest.reads, guest.access.is_none());
        }
        match guest.effect {
            Effect::None => self.replaced(guest, insn),
            effect if !seen => {
                self.replaced(guest, insn)?;
                self.unseen(effect);
                Ok(())
            }
            Effect::Record(writer) if guest.access.is_none() && names_high_byte(insn) => {
                self.replaced(guest, insn)?;
                self.save_split(if writer == Writer::Logic { OSZAPC & !AF } else { OSZAPC });
                Ok(())
            }
            Effect::Record(writer) => self.record(guest, insn, writer),
            Effect::Step(writer) => self.step(guest, insn, writer),
            Effect::Product => self.product(guest, insn),
            Effect::Whole(_) if known_shift(insn).is_some() => self.shifted(guest, insn),
            Effect::Whole(mask) => {
                self.replaced(guest, insn)?;
                self.save_split(mask);
                Ok(())
            }
            Effect::Partial(_) => {
                self.replaced(guest, insn)?;
                self.save_split(OSZAPC);
                Ok(())
            }
            Effect::Counted(mask) => self.counted(guest, insn, mask),
            Effect::Varies | Effect::Kept => Err(Failed { index: self.index }),
        }
    }

    /// Emits the instruction with host registers for guest ones and the place of its memory operand.
    pub(super) fn replaced(&mut self, guest: &Guest, insn: &Instruction) -> Result<(), Failed> {
        let mut insn = *insn;
        if matches!(insn.mnemonic(), M::Bsf | M::Bsr) {
            // A prefix that means nothing to a guest's processor without TZCNT and LZCNT, and much to the host's.
            insn.set_has_rep_prefix(false);
        }
        let memory = guest.access.is_some();
        if memory {
            self.at_place(&mut insn);
        } else if self.moved(&insn) {
            return Ok(());
        } else {
            from_frame(&mut insn, guest.written);
        }
        let mut lent: [Option<Lent>; 2] = [None; 2];
        for n in 0..insn.op_count() {
            if insn.op_kind(n) != OpKind::Register || !insn.op_register(n).is_gpr() {
                continue;
            }
            let register = insn.op_register(n);
            if is_high_byte(register) {
                continue;
            }
            let number = Self::number(register);
            let host = match Self::pinned(number) {
                Some(host) => host,
                None => self.lend(&mut lent, number, guest.written >> number & 1 != 0, memory)?,
            };
            insn.set_op_register(n, sized(host, register.size()));
        }
        let overwritten = overwrites(&guest.insn).then(|| Self::number(guest.insn.op0_register()));
        for loan in lent.iter().flatten().filter(|loan| Some(loan.guest) != overwritten) {
            let (scratch, slot) = (loan.scratch, Self::high(loan.guest));
            self.keeping(|emitter| dynasm!(emitter.asm; .arch x64; mov Rq(scratch), [BYTE rsp + slot as i8]));
        }
        self.mark();
        self.encode(&insn)?;
        for loan in lent.iter().flatten().filter(|loan| loan.written) {
            let (scratch, slot) = (loan.scratch, Self::high(loan.guest));
            self.keeping(|emitter| dynasm!(emitter.asm; .arch x64; mov [BYTE rsp + slot as i8], Rq(scratch)));
        }
        Ok(())
    }

    /// A MOV between general registers of 64 bits, one or both of which are in the frame.
    fn moved(&mut self, insn: &Instruction) -> bool {
        let whole = |n: u32| insn.op_kind(n) == OpKind::Register && insn.op_register(n).is_gpr64();
        if insn.mnemonic() != M::Mov || !whole(0) || !whole(1) {
            return false;
        }
        let (to, from) = (Self::number(insn.op0_register()), Self::number(insn.op1_register()));
        match (Self::pinned(to), Self::pinned(from)) {
            (Some(_), Some(_)) => return false,
            (Some(to), None) => dynasm!(self.asm; .arch x64; mov Rq(to), [BYTE rsp + Self::high(from) as i8]),
            (None, _) => {
                let from = self.in_register(from, R14);
                dynasm!(self.asm; .arch x64; mov [BYTE rsp + Self::high(to) as i8], Rq(from));
            }
        }
        true
    }

    fn lend(
        &mut self,
        lent: &mut [Option<Lent>; 2],
        guest: u8,
        written: bool,
        memory: bool,
    ) -> Result<u8, Failed> {
        if let Some(loan) = lent.iter().flatten().find(|loan| loan.guest == guest) {
            return Ok(loan.scratch);
        }
        let scratches: &[u8] = if memory { &[R14] } else { &[R14, R13] };
        for (slot, &scratch) in lent.iter_mut().zip(scratches) {
            if slot.is_none() {
                *slot = Some(Lent { guest, scratch, written });
                return Ok(scratch);
            }
        }
        Err(Failed { index: self.index })
    }

    /// ADD, SUB, CMP, NEG, AND, OR, XOR, TEST whose flags somebody looks at.
    fn record(&mut self, guest: &Guest, insn: &Instruction, writer: Writer) -> Result<(), Failed> {
        let failed = Failed { index: self.index };
        let memory = (0..insn.op_count()).find(|&n| insn.op_kind(n) == OpKind::Memory);
        let size = match memory {
            Some(n) if n < 2 => insn.memory_size().size(),
            Some(_) => insn.op0_register().size(),
            None => insn.op0_register().size(),
        } as u32;
        let shift = (64 - 8 * size) as u8;
        if names_high_byte(insn) {
            return Err(failed);
        }
        let writes = !matches!(insn.mnemonic(), M::Cmp | M::Test);
        let mut insn = *insn;
        let mut guest = guest.clone();
        let mut value_in_r13 = false;
        if matches!(memory, Some(1 | 2)) || memory == Some(0) && !writes {
            // The value instead of its address.
            self.load(R13, size)?;
            let n = memory.unwrap_or(0);
            insn.set_op_kind(n, OpKind::Register);
            insn.set_op_register(n, sized(R13, size as usize));
            guest.access = None;
            value_in_r13 = true;
        }
        let source = |n: u32| match insn.op_kind(n) {
            OpKind::Register if value_in_r13 && memory == Some(n) => Operand::Slot,
            OpKind::Register => Operand::Reg(Self::number(insn.op_register(n))),
            OpKind::Memory => Operand::Slot,
            _ => Operand::Imm(immediate(&insn, n, shift)),
        };
        match (writer, insn.mnemonic()) {
            (_, M::Andn) => {
                // AF and PF are undefined in the manual; silicon has PF of the result, or not.
                self.replaced_with_r13(&guest, &insn, value_in_r13)?;
                let a = self.settle(source(0), FLAG_A);
                self.wrote(writer, shift, a, Operand::Imm(0), OSZAPC & !(AF | PF));
            }
            (Writer::Logic, mnemonic) => {
                let same = insn.op0_kind() == OpKind::Register
                    && insn.op1_kind() == OpKind::Register
                    && insn.op0_register() == insn.op1_register();
                if mnemonic == M::Test {
                    if same && !value_in_r13 {
                        self.replaced(&guest, &insn)?;
                        let a = self.settle(source(0), FLAG_A);
                        self.wrote(writer, shift, a, Operand::Imm(0), OSZAPC);
                    } else {
                        // The result, as AND leaves it.
                        self.test_result(&insn, value_in_r13, size)?;
                        self.wrote(writer, shift, Operand::Slot, Operand::Imm(0), OSZAPC);
                    }
                } else if memory == Some(0) {
                    self.replaced(&guest, &insn)?;
                    self.load(R13, size)?;
                    dynasm!(self.asm; .arch x64; mov [BYTE rsp + FLAG_A as i8], r13);
                    self.wrote(writer, shift, Operand::Slot, Operand::Imm(0), OSZAPC);
                } else {
                    self.replaced_with_r13(&guest, &insn, value_in_r13)?;
                    let zero = same && mnemonic == M::Xor;
                    let a = if zero { Operand::Imm(0) } else { self.settle(source(0), FLAG_A) };
                    self.wrote(writer, shift, a, Operand::Imm(0), OSZAPC);
                }
            }
            (_, M::Neg) => {
                let b = source(0);
                if memory == Some(0) {
                    self.load(R14, size)?;
                    dynasm!(self.asm; .arch x64; mov [BYTE rsp + FLAG_B as i8], r14);
                } else if let Operand::Reg(number) = b {
                    let register = self.in_register(number, R14);
                    dynasm!(self.asm; .arch x64; mov [BYTE rsp + FLAG_B as i8], Rq(register));
                }
                self.replaced(&guest, &insn)?;
                self.wrote(writer, shift, Operand::Imm(0), Operand::Slot, OSZAPC);
            }
            (_, M::Cmp) => {
                if value_in_r13 {
                    let slot = if memory == Some(0) { FLAG_A } else { FLAG_B };
                    dynasm!(self.asm; .arch x64; mov [BYTE rsp + slot as i8], r13);
                }
                self.replaced_with_r13(&guest, &insn, value_in_r13)?;
                let a = self.settle(source(0), FLAG_A);
                let b = self.settle(source(1), FLAG_B);
                self.wrote(writer, shift, a, b, OSZAPC);
            }
            _ => self.sum(&guest, &insn, writer, shift, memory, value_in_r13)?,
        }
        Ok(())
    }

    /// ADD and SUB, which overwrite their first operand.
    fn sum(
        &mut self,
        guest: &Guest,
        insn: &Instruction,
        writer: Writer,
        shift: u8,
        memory: Option<u32>,
        value_in_r13: bool,
    ) -> Result<(), Failed> {
        if memory == Some(0) {
            self.load(R14, u32::from(64 - shift) / 8)?;
            dynasm!(self.asm; .arch x64; mov [BYTE rsp + FLAG_A as i8], r14);
            let b = match insn.op1_kind() {
                OpKind::Register => Operand::Reg(Self::number(insn.op1_register())),
                _ => Operand::Imm(immediate(insn, 1, shift)),
            };
            self.replaced(guest, insn)?;
            let b = self.settle(b, FLAG_B);
            self.wrote(writer, shift, Operand::Slot, b, OSZAPC);
            return Ok(());
        }
        let destination = Self::number(insn.op0_register());
        let whole = insn.op0_register().size() >= 4 || shift == 0;
        let (a, b) = match insn.op1_kind() {
            OpKind::Register if value_in_r13 => (Operand::Slot, Operand::Slot),
            OpKind::Register => {
                let other = Self::number(insn.op1_register());
                let a = match writer {
                    _ if other == destination || !whole => Operand::Slot,
                    Writer::Add => Operand::Difference(destination, other),
                    _ => Operand::Sum(destination, other),
                };
                (a, if other == destination { Operand::Slot } else { Operand::Reg(other) })
            }
            _ => {
                let value = immediate(insn, 1, shift);
                let back = if writer == Writer::Add { value.wrapping_neg() } else { value };
                let a = match i32::try_from(back) {
                    Ok(back) => Operand::Plus(destination, back),
                    Err(_) => Operand::Slot,
                };
                (a, Operand::Imm(value))
            }
        };
        let a = if self.stays(a) { a } else { Operand::Slot };
        let b = if self.stays(b) { b } else { Operand::Slot };
        if a == Operand::Slot {
            let register = self.in_register(destination, R14);
            dynasm!(self.asm; .arch x64; mov [BYTE rsp + FLAG_A as i8], Rq(register));
        }
        if b == Operand::Slot {
            if value_in_r13 {
                dynasm!(self.asm; .arch x64; mov [BYTE rsp + FLAG_B as i8], r13);
            } else {
                let other = Self::number(insn.op1_register());
                let register = self.in_register(other, R14);
                dynasm!(self.asm; .arch x64; mov [BYTE rsp + FLAG_B as i8], Rq(register));
            }
        }
        self.replaced_with_r13(guest, insn, value_in_r13)?;
        self.wrote(writer, shift, a, b, OSZAPC);
        Ok(())
    }

    /// [`replaced`](Self::replaced), where one operand register may be R13 itself.
    fn replaced_with_r13(
        &mut self,
        guest: &Guest,
        insn: &Instruction,
        value_in_r13: bool,
    ) -> Result<(), Failed> {
        if !value_in_r13 {
            return self.replaced(guest, insn);
        }
        let mut insn = *insn;
        // A register that is only written may travel by the scratch register of one that is read.
        let (mut loan, mut result) = (None, None);
        for n in 0..insn.op_count() {
            if insn.op_kind(n) != OpKind::Register
                || Self::number(insn.op_register(n)) == R13 && is_value(&guest.insn, n)
            {
                continue;
            }
            let register = insn.op_register(n);
            let number = Self::number(register);
            let host = Self::pinned(number).unwrap_or_else(|| {
                *(if n == 0 && insn.op_count() == 3 { &mut result } else { &mut loan }) = Some(number);
                R14
            });
            insn.set_op_register(n, sized(host, register.size()));
        }
        if let Some(number) = loan {
            dynasm!(self.asm; .arch x64; mov r14, [BYTE rsp + Self::high(number) as i8]);
        }
        self.encode(&insn)?;
        if let Some(number) = result.or(loan)
            && guest.written >> number & 1 != 0
        {
            dynasm!(self.asm; .arch x64; mov [BYTE rsp + Self::high(number) as i8], r14);
        }
        Ok(())
    }

    /// What TEST computes, into slot a, with the flags.
    fn test_result(&mut self, insn: &Instruction, value_in_r13: bool, size: u32) -> Result<(), Failed> {
        let of_memory = |n: u32| {
            value_in_r13
                && insn.op_kind(n) == OpKind::Register
                && insn.op_register(n) == sized(R13, size as usize)
        };
        if !value_in_r13 {
            let register = self.in_register(Self::number(insn.op0_register()), R13);
            if register != R13 {
                dynasm!(self.asm; .arch x64; mov r13, Rq(register));
            }
        }
        let other = if value_in_r13 && !of_memory(0) { 0 } else { 1 };
        match insn.op_kind(other) {
            OpKind::Register => {
                let register = self.in_register(Self::number(insn.op_register(other)), R14);
                match size {
                    8 => dynasm!(self.asm; .arch x64; and r13, Rq(register)),
                    4 => dynasm!(self.asm; .arch x64; and r13d, Rd(register)),
                    2 => dynasm!(self.asm; .arch x64; and r13w, Rw(register)),
                    _ => dynasm!(self.asm; .arch x64; and r13b, Rb(register)),
                }
            }
            _ => {
                let value = insn.immediate(other) as i32;
                match size {
                    8 => dynasm!(self.asm; .arch x64; and r13, value),
                    4 => dynasm!(self.asm; .arch x64; and r13d, value),
                    2 => dynasm!(self.asm; .arch x64; and r13w, value as i16),
                    _ => dynasm!(self.asm; .arch x64; and r13b, value as i8),
                }
            }
        }
        dynasm!(self.asm; .arch x64; mov [BYTE rsp + FLAG_A as i8], r13);
        Ok(())
    }

    /// The operand itself when it stays good, else its slot, filled now. For operands that the instruction left alone.
    fn settle(&mut self, operand: Operand, slot: i32) -> Operand {
        if let Operand::Reg(number) = operand
            && !self.stays(operand)
        {
            let register = self.in_register(number, R14);
            dynasm!(self.asm; .arch x64; mov [BYTE rsp + slot as i8], Rq(register));
            return Operand::Slot;
        }
        operand
    }

    /// A shift of a register by a known count: what it shifted is kept, should somebody ask for the flags.
    fn shifted(&mut self, guest: &Guest, insn: &Instruction) -> Result<(), Failed> {
        let Some((shift, count)) = known_shift(insn) else { return Err(Failed { index: self.index }) };
        let wide = insn.op0_register().size() == 8;
        let register = self.in_register(Self::number(insn.op0_register()), R14);
        dynasm!(self.asm; .arch x64; mov [rsp + SHIFTED], Rq(register));
        self.replaced(guest, insn)?;
        self.state = State { source: Source::Shifted { shift, count, wide }, host: OF_SHIFTS, ..self.state };
        Ok(())
    }

    /// INC and DEC.
    fn step(&mut self, guest: &Guest, insn: &Instruction, writer: Writer) -> Result<(), Failed> {
        let memory = insn.op0_kind() == OpKind::Memory;
        let size = if memory { insn.memory_size().size() } else { insn.op0_register().size() } as u32;
        let shift = (64 - 8 * size) as u8;
        if !memory && is_high_byte(insn.op0_register()) {
            return Err(Failed { index: self.index });
        }
        self.carry_to_slot();
        let carry = self.state.host & CF;
        self.replaced(guest, insn)?;
        let a = if memory {
            self.load(R13, size)?;
            dynasm!(self.asm; .arch x64; mov [BYTE rsp + FLAG_A as i8], r13);
            Operand::Slot
        } else {
            self.settle(Operand::Reg(Self::number(insn.op0_register())), FLAG_A)
        };
        self.wrote(writer, shift, a, Operand::Slot, OSZAPC & !CF | carry);
        Ok(())
    }

    /// MUL and IMUL.
    fn product(&mut self, guest: &Guest, insn: &Instruction) -> Result<(), Failed> {
        let one = insn.op_count() == 1;
        let low = if one { 0 } else { Self::number(insn.op0_register()) };
        let size = match insn.op0_kind() {
            OpKind::Memory => insn.memory_size().size(),
            _ => insn.op0_register().size(),
        } as u32;
        self.replaced(guest, insn)?;
        dynasm!(self.asm; .arch x64; setc [BYTE rsp + FLAG_B as i8]);
        let a = self.settle(Operand::Reg(low), FLAG_A);
        self.wrote(Writer::Product, (64 - 8 * size) as u8, a, Operand::Slot, CF | OF);
        Ok(())
    }

    /// Shifts by CL: a count of zero leaves the flags alone.
    fn counted(&mut self, guest: &Guest, insn: &Instruction, mask: u64) -> Result<(), Failed> {
        self.state_to_frame();
        let size = match insn.op0_kind() {
            OpKind::Memory => insn.memory_size().size(),
            _ => insn.op0_register().size(),
        };
        let counts: i8 = if size == 8 { 63 } else { 31 };
        let (none, done) = (self.asm.new_dynamic_label(), self.asm.new_dynamic_label());
        dynasm!(self.asm; .arch x64; test cl, counts; jz =>none);
        self.replaced(guest, insn)?;
        self.save_split(mask);
        self.state_to_frame();
        dynasm!(self.asm; .arch x64; jmp =>done; =>none);
        self.replaced(guest, insn)?;
        dynasm!(self.asm; .arch x64; =>done);
        self.state.source = Source::Frame;
        self.state.host = 0;
        Ok(())
    }

    /// BSF, BSR, TZCNT and LZCNT of a register, with flags that somebody looks at. Zero is the handler's.
    fn scan(&mut self, guest: &Guest, insn: &Instruction) -> Result<Option<DynamicLabel>, Failed> {
        /// ZF and CF as LAHF leaves them in AX.
        const ZERO: i32 = (ZF << 8) as i32;
        const CARRY: i32 = (CF << 8) as i32;
        self.need_flags(OSZAPC, true);
        let (zero, back) = self.way_out();
        dynasm!(self.asm
            ; .arch x64
            ; mov r14, rax
            ; lahf
            ; seto al
            ; mov [rsp + SPILL], rax
            ; mov rax, r14
        );
        let source = self.in_register(Self::number(insn.op1_register()), R14);
        match insn.op1_register().size() {
            8 => dynasm!(self.asm; .arch x64; test Rq(source), Rq(source); jz =>zero),
            4 => dynasm!(self.asm; .arch x64; test Rd(source), Rd(source); jz =>zero),
            _ => dynasm!(self.asm; .arch x64; test Rw(source), Rw(source); jz =>zero),
        }
        self.replaced(guest, insn)?;
        if matches!(insn.mnemonic(), M::Tzcnt | M::Lzcnt) {
            dynasm!(self.asm
                ; .arch x64
                ; setz r13b
                ; movzx r13d, r13b
                ; shl r13d, ZERO.trailing_zeros() as i8
                ; mov r14, [rsp + SPILL]
                ; and r14d, !(ZERO | CARRY)
                ; or r14d, r13d
            );
        } else {
            dynasm!(self.asm; .arch x64; mov r14, [rsp + SPILL]; and r14d, !ZERO);
        }
        dynasm!(self.asm; .arch x64; mov [BYTE rsp + FLAG_A as i8], r14);
        self.wrote(Writer::Split, 0, Operand::Slot, Operand::Imm(OSZAPC as i64), 0);
        Ok(Some(back))
    }

    /// DIV whose quotient fits: the high half is below the divisor. Flags stay, so they are brought to safety.
    fn divide(
        &mut self,
        guest: &Guest,
        insn: &Instruction,
        back: Option<DynamicLabel>,
    ) -> Result<Option<DynamicLabel>, Failed> {
        let memory = insn.op0_kind() == OpKind::Memory;
        let size = if memory { insn.memory_size().size() } else { insn.op0_register().size() };
        if size < 4 {
            return Err(Failed { index: self.index });
        }
        if memory {
            self.load(R13, size as u32)?;
        } else {
            let register = self.in_register(Self::number(insn.op0_register()), R13);
            if register != R13 {
                dynasm!(self.asm; .arch x64; mov r13, Rq(register));
            }
        }
        // The state that a call out finds is the one of now; a miss has its own already.
        let (over, over_back) = self.way_out();
        match (insn.mnemonic() == M::Idiv, size == 8) {
            (false, true) => dynasm!(self.asm; .arch x64; cmp rdx, r13; jae =>over; div r13),
            (false, false) => dynasm!(self.asm; .arch x64; cmp edx, r13d; jae =>over; div r13d),
            // A dividend of single width, by neither 0 nor -1: the quotient fits.
            (true, true) => dynasm!(self.asm
                ; .arch x64
                ; mov r14, rax
                ; sar r14, 63
                ; cmp r14, rdx
                ; jne =>over
                ; lea r14, [r13 + 1]
                ; cmp r14, 1
                ; jbe =>over
                ; idiv r13
            ),
            (true, false) => dynasm!(self.asm
                ; .arch x64
                ; mov r14d, eax
                ; sar r14d, 31
                ; cmp r14d, edx
                ; jne =>over
                ; lea r14d, [r13 + 1]
                ; cmp r14d, 1
                ; jbe =>over
                ; idiv r13d
            ),
        }
        self.flags_lost();
        debug_assert!(guest.effect == Effect::Kept, "DIV keeps the flags");
        if let Some(back) = back {
            dynasm!(self.asm; .arch x64; =>back);
        }
        Ok(Some(over_back))
    }
}

/// Makes a general register that is in the frame a memory operand, where the instruction can have one there and does
/// the same.
fn from_frame(insn: &mut Instruction, written: u32) {
    use iced_x86::OpCodeOperandKind as K;
    // With a register for a bit number they look beyond the operand; the others lock the bus.
    let differs = matches!(
        insn.mnemonic(),
        M::Bt | M::Bts | M::Btr | M::Btc | M::Xchg | M::Xadd | M::Cmpxchg | M::Bswap
    );
    let memory = (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory);
    if differs || memory {
        return;
    }
    let high = |insn: &Instruction, n: u32| {
        let register = insn.op_register(n);
        let general = insn.op_kind(n) == OpKind::Register && register.is_gpr() && !is_high_byte(register);
        general.then(|| register.full_register().number()).filter(|&number| number >= PINNED.len())
    };
    let fits = |insn: &Instruction, n: u32| {
        let Some(number) = high(insn, n) else { return false };
        let kind = insn.op_code().op_kind(n);
        let alone = (0..insn.op_count()).all(|other| other == n || high(insn, other) != Some(number));
        // Narrower writes would leave the rest of the register as it was, or be waited for.
        let writes = written >> number & 1 != 0;
        let whole = insn.op_code().memory_size().size() == 8;
        alone
            && (kind == K::r64_or_mem && (whole || !writes)
                || !writes && matches!(kind, K::r32_or_mem | K::r16_or_mem | K::r8_or_mem))
    };
    let mut other = *insn;
    if let Some(code) = operands_swapped(insn.code()) {
        other.set_code(code);
    }
    for candidate in [*insn, other] {
        if let Some(n) = (0..candidate.op_count()).find(|&n| fits(&candidate, n)) {
            let number = candidate.op_register(n).full_register().number() as u8;
            *insn = candidate;
            insn.set_op_kind(n, OpKind::Memory);
            insn.set_memory_base(Register::RSP);
            insn.set_memory_index(Register::None);
            insn.set_memory_index_scale(1);
            insn.set_memory_displacement64(Emitter::high(number) as u64);
            insn.set_memory_displ_size(1);
            return;
        }
    }
}

/// The encoding of the same instruction whose other operand may be memory.
fn operands_swapped(code: Code) -> Option<Code> {
    const PAIRS: [(Code, Code); 18] = [
        (Code::Add_rm32_r32, Code::Add_r32_rm32),
        (Code::Add_rm64_r64, Code::Add_r64_rm64),
        (Code::Or_rm32_r32, Code::Or_r32_rm32),
        (Code::Or_rm64_r64, Code::Or_r64_rm64),
        (Code::Adc_rm32_r32, Code::Adc_r32_rm32),
        (Code::Adc_rm64_r64, Code::Adc_r64_rm64),
        (Code::Sbb_rm32_r32, Code::Sbb_r32_rm32),
        (Code::Sbb_rm64_r64, Code::Sbb_r64_rm64),
        (Code::And_rm32_r32, Code::And_r32_rm32),
        (Code::And_rm64_r64, Code::And_r64_rm64),
        (Code::Sub_rm32_r32, Code::Sub_r32_rm32),
        (Code::Sub_rm64_r64, Code::Sub_r64_rm64),
        (Code::Xor_rm32_r32, Code::Xor_r32_rm32),
        (Code::Xor_rm64_r64, Code::Xor_r64_rm64),
        (Code::Cmp_rm32_r32, Code::Cmp_r32_rm32),
        (Code::Cmp_rm64_r64, Code::Cmp_r64_rm64),
        (Code::Mov_rm32_r32, Code::Mov_r32_rm32),
        (Code::Mov_rm64_r64, Code::Mov_r64_rm64),
    ];
    PAIRS.iter().find_map(|&(one, other)| match code {
        _ if code == one => Some(other),
        _ if code == other => Some(one),
        _ => None,
    })
}

/// The shift, and its count, that an instruction is whose register is 32 or 64 bits wide.
fn known_shift(insn: &Instruction) -> Option<(Shift, u8)> {
    let register = insn.op0_kind() == OpKind::Register && insn.op0_register().size() >= 4;
    if !register || insn.op_count() != 2 || insn.op1_kind() == OpKind::Register {
        return None;
    }
    let count = insn.immediate(1) as u8 & if insn.op0_register().size() == 8 { 63 } else { 31 };
    let shift = match insn.mnemonic() {
        M::Shl | M::Sal => Shift::Left,
        M::Shr => Shift::Right,
        M::Sar => Shift::Arithmetic,
        _ => return None,
    };
    Some((shift, count))
}

/// Immediate operand `n`, sign-extended from the operand width (64 minus `shift`).
fn immediate(insn: &Instruction, n: u32, shift: u8) -> i64 {
    (insn.immediate(n) << shift) as i64 >> shift
}

/// Was operand `n` of the guest's instruction its memory operand?
fn is_value(insn: &Instruction, n: u32) -> bool {
    insn.op_kind(n) == OpKind::Memory
}

fn address_is_wide(insn: &Instruction) -> bool {
    insn.memory_base().size() == 8
        || insn.memory_index().size() == 8
        || insn.is_ip_rel_memory_operand()
        || insn.memory_displ_size() == 8
}

/// Does it write all of the general register that is its first operand, whatever that holds, and not read it?
fn overwrites(insn: &Instruction) -> bool {
    let to = insn.op0_register();
    to.is_gpr()
        && to.size() >= 4
        && matches!(
            insn.mnemonic(),
            M::Mov | M::Movzx | M::Movsx | M::Movsxd | M::Movd | M::Movq | M::Pmovmskb
        )
        && (1..insn.op_count()).all(|n| {
            insn.op_kind(n) != OpKind::Register || insn.op_register(n).full_register() != to.full_register()
        })
}

/// Is AH, BH, CH or DH an operand?
fn names_high_byte(insn: &Instruction) -> bool {
    (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Register && is_high_byte(insn.op_register(n)))
}

/// AH, CH, DH, BH.
pub(super) fn is_high_byte(register: Register) -> bool {
    matches!(register, Register::AH | Register::CH | Register::DH | Register::BH)
}

/// Host register `number` at a width in bytes.
pub(super) fn sized(number: u8, size: usize) -> Register {
    let n = u32::from(number);
    match size {
        8 => Register::RAX + n,
        4 => Register::EAX + n,
        2 => Register::AX + n,
        _ if n < 4 => Register::AL + n,
        // After BL come AH to BH, then SPL.
        _ => Register::SPL + (n - 4),
    }
}

/// The same instruction with an encoding that 64-bit code has.
pub(super) fn for_64_bits(insn: &Instruction) -> Instruction {
    let mut insn = *insn;
    insn.set_code_size(CodeSize::Code64);
    let code = match insn.code() {
        Code::Inc_r16 => Code::Inc_rm16,
        Code::Inc_r32 => Code::Inc_rm32,
        Code::Dec_r16 => Code::Dec_rm16,
        Code::Dec_r32 => Code::Dec_rm32,
        Code::Mov_AL_moffs8 => Code::Mov_r8_rm8,
        Code::Mov_AX_moffs16 => Code::Mov_r16_rm16,
        Code::Mov_EAX_moffs32 => Code::Mov_r32_rm32,
        Code::Mov_RAX_moffs64 => Code::Mov_r64_rm64,
        Code::Mov_moffs8_AL => Code::Mov_rm8_r8,
        Code::Mov_moffs16_AX => Code::Mov_rm16_r16,
        Code::Mov_moffs32_EAX => Code::Mov_rm32_r32,
        Code::Mov_moffs64_RAX => Code::Mov_rm64_r64,
        other => other,
    };
    insn.set_code(code);
    insn
}
