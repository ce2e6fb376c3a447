//! Control transfers that change CS: far JMP, CALL, RET, IRET, SYSCALL and SYSENTER with their returns.
//! SDM 2A/2B at each instruction; SDM 3A, "Privilege Level Checking When Transferring Program Control".

use super::model::Vendor;
use super::segment::{Descriptor, is_null, kind};
use super::stack::NewStack;
use super::task::Cause;
use super::{CS, Cpu, DS, ES, FS, Fallible, Fault, GS, RCX, RDX, RIP, RSP, Rights, SS, Segment, TR, eflags};
use crate::cpu::control::EFER_SCE;

/// Cuts an offset to an operand size in bytes.
fn cut(offset: u64, size: u64) -> u64 {
    if size == 8 { offset } else { offset & ((1 << (8 * size)) - 1) }
}

impl Cpu {
    /// Far JMP to selector:offset; `size` is the operand size in bytes, `next` the following instruction.
    ///
    /// # Errors
    /// As SDM 2A, "JMP", lists them.
    pub fn far_jump(&mut self, selector: u16, offset: u64, size: u64, next: u64) -> Fallible {
        let offset = cut(offset, size);
        if self.paragraphs() {
            return self.jump_paragraph(selector, offset);
        }
        if is_null(selector) {
            return Err(Fault::GP0);
        }
        let descriptor = self.descriptor(selector, Fault::gp(selector))?;
        let rights = descriptor.rights();
        if rights.code_or_data() {
            self.check_code(selector, &descriptor, self.cpl, (selector & 3) as u8)?;
            self.check_target(&descriptor, offset)?;
            self.enter_code(selector, &descriptor, self.cpl)?;
            self.regs[RIP] = offset;
            return Ok(());
        }
        match (rights.kind(), self.long_mode()) {
            (kind::CALL_GATE, _) | (kind::CALL_GATE16, false) => {
                let (target, code, offset) = self.call_gate(selector, &descriptor)?;
                let rights = code.rights();
                let fits =
                    if rights.conforming() { rights.dpl() <= self.cpl } else { rights.dpl() == self.cpl };
                if !fits {
                    return Err(Fault::gp(target));
                }
                self.check_target(&code, offset)?;
                self.enter_code(target, &code, self.cpl)?;
                self.regs[RIP] = offset;
                Ok(())
            }
            (kind::TASK_GATE | kind::TSS16_AVAILABLE | kind::TSS_AVAILABLE, false) => {
                self.far_task(selector, &descriptor, Cause::Jump, next)
            }
            _ => Err(Fault::gp(selector)),
        }
    }

    fn jump_paragraph(&mut self, selector: u16, offset: u64) -> Fallible {
        if offset > u64::from(self.seg[CS].limit) {
            return Err(Fault::GP0);
        }
        self.load_paragraph(CS, selector);
        self.regs[RIP] = offset;
        Ok(())
    }

    /// Far CALL; see [`far_jump`](Self::far_jump).
    ///
    /// # Errors
    /// As SDM 2A, "CALL", lists them.
    pub fn far_call(&mut self, selector: u16, offset: u64, size: u64, next: u64) -> Fallible {
        let offset = cut(offset, size);
        let old_cs = u64::from(self.seg[CS].selector);
        if self.paragraphs() {
            let mut stack = self.same_stack();
            stack.room(self, size, 2)?;
            if offset > u64::from(self.seg[CS].limit) {
                return Err(Fault::GP0);
            }
            stack.push(self, size, old_cs)?;
            stack.push(self, size, next)?;
            self.set_stack_pointer(stack.pointer);
            return self.jump_paragraph(selector, offset);
        }
        if is_null(selector) {
            return Err(Fault::GP0);
        }
        let descriptor = self.descriptor(selector, Fault::gp(selector))?;
        let rights = descriptor.rights();
        if rights.code_or_data() {
            self.check_code(selector, &descriptor, self.cpl, (selector & 3) as u8)?;
            let mut stack = self.same_stack();
            stack.room(self, size, 2)?;
            self.check_target(&descriptor, offset)?;
            stack.push(self, size, old_cs)?;
            stack.push(self, size, next)?;
            self.enter_code(selector, &descriptor, self.cpl)?;
            self.set_stack_pointer(stack.pointer);
            self.regs[RIP] = offset;
            return Ok(());
        }
        match (rights.kind(), self.long_mode()) {
            (kind::CALL_GATE, _) | (kind::CALL_GATE16, false) => {
                self.call_through_gate(selector, &descriptor, next)
            }
            (kind::TASK_GATE | kind::TSS16_AVAILABLE | kind::TSS_AVAILABLE, false) => {
                self.far_task(selector, &descriptor, Cause::Nest, next)
            }
            _ => Err(Fault::gp(selector)),
        }
    }

    fn far_task(&mut self, selector: u16, descriptor: &Descriptor, cause: Cause, next: u64) -> Fallible {
        let rights = descriptor.rights();
        if rights.dpl() < self.cpl || rights.dpl() < (selector & 3) as u8 {
            return Err(Fault::gp(selector));
        }
        if !rights.present() {
            return Err(Fault::np(selector));
        }
        let tss = if rights.kind() == kind::TASK_GATE { descriptor.gate_selector() } else { selector };
        let descriptor = self.available_tss(tss)?;
        let start = std::mem::replace(&mut self.regs[RIP], next);
        self.exits_on_task_switch(tss, cause, false).inspect_err(|_| self.regs[RIP] = start)?;
        let entered = self.switch_task(tss, descriptor, cause).inspect_err(|_| self.regs[RIP] = start)?;
        self.fault_in_new_task(entered)
    }

    /// Checks a call gate and reads the code descriptor and offset that it leads to.
    fn call_gate(&mut self, selector: u16, gate: &Descriptor) -> Fallible<(u16, Descriptor, u64)> {
        let rights = gate.rights();
        if rights.dpl() < self.cpl || rights.dpl() < (selector & 3) as u8 {
            return Err(Fault::gp(selector));
        }
        if !rights.present() {
            return Err(Fault::np(selector));
        }
        let high = if self.long_mode() { self.descriptor_high(gate, selector)? } else { 0 };
        let target = gate.gate_selector();
        if is_null(target) {
            return Err(Fault::GP0);
        }
        let code = self.descriptor(target, Fault::gp(target))?;
        let code_rights = code.rights();
        if !code_rights.code() || code_rights.dpl() > self.cpl {
            return Err(Fault::gp(target));
        }
        if self.long_mode() && (!code_rights.long() || code_rights.big()) {
            return Err(Fault::gp(target));
        }
        if !code_rights.present() {
            return Err(Fault::np(target));
        }
        Ok((target, code, gate.gate_offset() | high))
    }

    fn call_through_gate(&mut self, selector: u16, gate: &Descriptor, next: u64) -> Fallible {
        let (target, code, offset) = self.call_gate(selector, gate)?;
        let long = self.long_mode();
        let size = match (long, gate.rights().kind()) {
            (true, _) => 8,
            (_, kind::CALL_GATE) => 4,
            _ => 2,
        };
        let rights = code.rights();
        let new_cpl = if rights.conforming() { self.cpl } else { rights.dpl() };
        let old_cs = u64::from(self.seg[CS].selector);
        if new_cpl == self.cpl {
            let mut stack = self.same_stack();
            stack.room(self, size, 2)?;
            self.check_target(&code, offset)?;
            stack.push(self, size, old_cs)?;
            stack.push(self, size, next)?;
            self.enter_code(target, &code, new_cpl)?;
            self.set_stack_pointer(stack.pointer);
            self.regs[RIP] = offset;
            return Ok(());
        }
        let parameters = if long { 0 } else { gate.raw >> 32 & 31 };
        let mut stack = if long {
            let pointer = self.stack_from_tss64(4 + u64::from(new_cpl) * 8)?;
            let mut segment = Self::null(u16::from(new_cpl), new_cpl);
            segment.update_flat();
            NewStack { segment, pointer, mask: u64::MAX, linear_mask: u64::MAX, error: 0, cpl: new_cpl }
        } else {
            let (ss, pointer) = self.inner_stack(new_cpl)?;
            if is_null(ss) {
                return Err(Fault::ts(ss));
            }
            let segment = self.stack_segment(ss, new_cpl, Fault::ts(ss), Fault::ts(ss))?;
            let mask = if segment.rights.big() { 0xffff_ffff } else { 0xffff };
            NewStack { segment, pointer, mask, linear_mask: 0xffff_ffff, error: ss, cpl: new_cpl }
        };
        stack.room(self, size, 4 + parameters)?;
        self.check_target(&code, offset)?;
        let mut copied = [0; 31];
        for n in 0..parameters {
            copied[n as usize] = self.peek_sized(size, n * size)?;
        }
        stack.push(self, size, u64::from(self.seg[SS].selector))?;
        stack.push(self, size, self.regs[RSP])?;
        for n in (0..parameters).rev() {
            stack.push(self, size, copied[n as usize])?;
        }
        stack.push(self, size, old_cs)?;
        stack.push(self, size, next)?;
        self.enter_code(target, &code, new_cpl)?;
        self.put_segment(SS, stack.segment);
        self.set_stack_pointer(stack.pointer);
        self.regs[RIP] = offset;
        Ok(())
    }

    /// Far RET, dropping `extra` bytes of parameters.
    ///
    /// # Errors
    /// As SDM 2B, "RET", lists them.
    pub fn far_return(&mut self, size: u64, extra: u64) -> Fallible {
        let offset = self.peek_sized(size, 0)?;
        let selector = self.peek_sized(size, size)? as u16;
        if self.paragraphs() {
            self.jump_paragraph(selector, offset)?;
            self.drop_stack(2 * size + extra);
            return Ok(());
        }
        let rpl = (selector & 3) as u8;
        let descriptor = self.return_code(selector, rpl)?;
        if rpl == self.cpl {
            self.check_target(&descriptor, offset)?;
            self.enter_code(selector, &descriptor, rpl)?;
            self.drop_stack(2 * size + extra);
            self.regs[RIP] = offset;
            return Ok(());
        }
        let rsp = self.peek_sized(size, 2 * size + extra)?;
        let ss = self.peek_sized(size, 3 * size + extra)? as u16;
        self.return_outward(selector, &descriptor, offset, ss, rsp, size)?;
        self.drop_stack(extra);
        Ok(())
    }

    /// Reads and checks the code descriptor that a far return or IRET goes to.
    fn return_code(&mut self, selector: u16, rpl: u8) -> Fallible<Descriptor> {
        if is_null(selector) {
            return Err(Fault::GP0);
        }
        let descriptor = self.descriptor(selector, Fault::gp(selector))?;
        let rights = descriptor.rights();
        let fits = rights.code()
            && rpl >= self.cpl
            && if rights.conforming() { rights.dpl() <= rpl } else { rights.dpl() == rpl }
            && !(self.long_mode() && rights.long() && rights.big());
        if !fits {
            return Err(Fault::gp(selector));
        }
        if !rights.present() {
            return Err(Fault::np(selector));
        }
        Ok(descriptor)
    }

    /// Completes a return to an outer privilege level, or any IRET that pops SS:RSP.
    fn return_outward(
        &mut self,
        selector: u16,
        descriptor: &Descriptor,
        offset: u64,
        ss: u16,
        rsp: u64,
        size: u64,
    ) -> Fallible {
        let rpl = (selector & 3) as u8;
        let to_64 = self.long_mode() && descriptor.rights().long();
        let segment = if is_null(ss) {
            if !to_64 || rpl == 3 || (ss & 3) as u8 != rpl {
                return Err(Fault::GP0);
            }
            Self::null(ss, rpl)
        } else {
            self.stack_segment(ss, rpl, Fault::gp(ss), Fault::gp(ss))?
        };
        self.check_target(descriptor, offset)?;
        let outward = rpl > self.cpl;
        self.enter_code(selector, descriptor, rpl)?;
        self.put_segment(SS, segment);
        if self.stack_mask == 0xffff && size == 4 {
            self.regs[RSP] = self.regs[RSP] & !0xffff | rsp & 0xffff;
        } else {
            self.set_stack_pointer(rsp);
        }
        self.regs[RIP] = offset;
        if outward {
            self.drop_inner_segments();
        }
        Ok(())
    }

    /// IRET with an operand size of `size` bytes. RIP must be that of the next instruction for task returns.
    ///
    /// # Errors
    /// As SDM 2A, "IRET", lists them.
    pub fn interrupt_return(&mut self, size: u64, next: u64) -> Fallible {
        if self.v86_sensitive() && (self.cr4 & super::control::CR4_VME == 0 || size != 2) {
            return Err(Fault::GP0);
        }
        // Also when it faults further on (SDM 3C, "Information for VM Exits Due to Vectored Events").
        self.unblock_nmi();
        if self.paragraphs() {
            return self.iret_paragraph(size);
        }
        if self.flags.system() & eflags::NT != 0 {
            if self.long_mode() {
                return Err(Fault::GP0);
            }
            return self.iret_task(next);
        }
        let offset = self.peek_sized(size, 0)?;
        let selector = self.peek_sized(size, size)? as u16;
        let image = self.peek_sized(size, 2 * size)?;
        if size == 4 && image & eflags::VM != 0 && self.cpl == 0 && !self.long_mode() {
            return self.iret_to_v86(offset, selector, image);
        }
        let rpl = (selector & 3) as u8;
        let descriptor = self.return_code(selector, rpl)?;
        let cpl = self.cpl;
        let flags = self.iret_flags(image, size, cpl);
        if rpl == cpl && self.code_size() != 64 {
            self.check_target(&descriptor, offset)?;
            self.enter_code(selector, &descriptor, rpl)?;
            self.drop_stack(3 * size);
            self.regs[RIP] = offset;
        } else {
            let rsp = self.peek_sized(size, 3 * size)?;
            let ss = self.peek_sized(size, 4 * size)? as u16;
            self.return_outward(selector, &descriptor, offset, ss, rsp, size)?;
        }
        self.set_flags(flags);
        Ok(())
    }

    /// Which flags IRET and POPF may change at a privilege level.
    fn iret_flags(&self, image: u64, size: u64, cpl: u8) -> u64 {
        let mut mask =
            eflags::OSZAPC | eflags::TF | eflags::DF | eflags::NT | eflags::RF | eflags::AC | eflags::ID;
        if cpl <= self.iopl() {
            mask |= eflags::IF;
        }
        if cpl == 0 {
            mask |= eflags::IOPL | eflags::VIF | eflags::VIP;
        }
        if size == 2 {
            mask &= 0xffff;
        }
        self.flags.get() & !mask | image & mask
    }

    fn iret_paragraph(&mut self, size: u64) -> Fallible {
        let v86 = self.v86();
        let offset = self.peek_sized(size, 0)?;
        let selector = self.peek_sized(size, size)? as u16;
        let image = self.peek_sized(size, 2 * size)?;
        if offset > 0xffff.min(u64::from(self.seg[CS].limit)) {
            return Err(Fault::GP0);
        }
        let mut flags = if self.v86_sensitive() {
            self.with_virtual_flags(image, size)?
        } else {
            self.iret_flags(image, size, if v86 { 3 } else { 0 })
        };
        if !v86 {
            let kept = eflags::VM | eflags::VIF | eflags::VIP;
            flags = flags & !kept | self.flags.get() & kept;
        }
        self.drop_stack(3 * size);
        self.load_paragraph(CS, selector);
        self.regs[RIP] = offset;
        self.set_flags(flags);
        Ok(())
    }

    fn iret_task(&mut self, next: u64) -> Fallible {
        let link = self.read_system(self.seg[TR].base, 2)? as u16;
        let wrong = Fault::ts(link);
        if link & 4 != 0 {
            return Err(wrong);
        }
        let descriptor = self.descriptor(link, wrong)?;
        let rights = descriptor.rights();
        if rights.code_or_data() || !matches!(rights.kind(), kind::TSS16_BUSY | kind::TSS_BUSY) {
            return Err(wrong);
        }
        if !rights.present() {
            return Err(Fault::np(link));
        }
        self.exits_on_task_switch(link, Cause::Return, false)?;
        let start = std::mem::replace(&mut self.regs[RIP], next);
        let entered =
            self.switch_task(link, descriptor, Cause::Return).inspect_err(|_| self.regs[RIP] = start)?;
        self.fault_in_new_task(entered)
    }

    fn iret_to_v86(&mut self, offset: u64, selector: u16, image: u64) -> Fallible {
        let mut words = [0; 6];
        for (word, depth) in words.iter_mut().zip((12u64..).step_by(4)) {
            *word = self.peek::<u32>(depth)?;
        }
        let [esp, ss, es, ds, fs, gs] = words;
        if offset > 0xffff {
            return Err(Fault::GP0);
        }
        self.cpl = 3;
        self.set_flags(image);
        for (register, value) in [(CS, u32::from(selector)), (SS, ss), (ES, es), (DS, ds), (FS, fs), (GS, gs)]
        {
            self.load_paragraph(register, value as u16);
        }
        self.regs[RSP] = u64::from(esp);
        self.regs[RIP] = offset;
        self.update_mode();
        Ok(())
    }

    fn unblock_nmi(&mut self) {
        if self.iret_keeps_nmis_blocked() {
            return;
        }
        if self.nmi_blocked {
            self.vmx.unblocked_at = self.instructions();
        }
        self.nmi_blocked = false;
        self.attention |= super::attention::INTERRUPTS;
        self.stop = true;
    }

    fn flat(selector: u16, rights: u16) -> Segment {
        let mut segment = Segment {
            base: 0,
            read: (0, 0),
            write: (0, 0),
            limit: u32::MAX,
            selector,
            rights: Rights(rights),
        };
        segment.update(true);
        segment
    }

    fn enter_flat(&mut self, cs: u16, ss: u16, cpl: u8, long: bool) {
        let dpl = u16::from(cpl) << 5;
        self.cpl = cpl;
        self.seg[CS] = Self::flat(cs & !3 | u16::from(cpl), dpl | if long { 0xa09b } else { 0xc09b });
        self.seg[SS] = Self::flat(ss & !3 | u16::from(cpl), dpl | 0xc093);
        self.update_code();
    }

    /// AMD's processors have SYSCALL and SYSRET in all of protected mode, and SYSENTER and SYSEXIT outside long mode
    /// only; Intel's the other way round. AMD APM vol. 3, "SYSCALL", "SYSENTER".
    fn is_amd(&self) -> bool {
        self.model.vendor == Vendor::Amd
    }

    fn has_syscall(&self) -> bool {
        self.efer & EFER_SCE != 0 && (self.code_size() == 64 || self.is_amd() && self.protected())
    }

    /// SYSCALL. SDM 2B, "SYSCALL".
    ///
    /// # Errors
    /// #UD outside 64-bit mode (outside protected mode on AMD's processors) or with EFER.SCE clear.
    pub fn syscall(&mut self, next: u64) -> Fallible {
        if !self.has_syscall() {
            return Err(Fault::UD);
        }
        if !self.long_mode() {
            self.regs[RCX] = next;
            self.set_flags(self.flags.get() & !(eflags::VM | eflags::IF | eflags::RF));
            let cs = (self.msrs.star >> 32) as u16;
            self.enter_flat(cs, cs.wrapping_add(8), 0, false);
            self.regs[RIP] = self.msrs.star & 0xffff_ffff;
            self.step_by_new_flags();
            return Ok(());
        }
        let target = if self.code_size() == 64 { self.msrs.lstar } else { self.msrs.cstar };
        self.regs[RCX] = next;
        let flags = self.flags.get();
        self.regs[11] = flags & !eflags::RF;
        self.set_flags(flags & !(self.msrs.fmask | eflags::RF));
        let star = (self.msrs.star >> 32) as u16;
        self.enter_flat(star, star.wrapping_add(8), 0, true);
        self.regs[RIP] = target;
        self.step_by_new_flags();
        Ok(())
    }

    /// SYSRET with an operand size of 8 or 4 bytes. SDM 2B, "SYSRET".
    ///
    /// # Errors
    /// #UD as for SYSCALL, #GP(0) unless CPL is 0, or for a return address that is not canonical.
    pub fn sysret(&mut self, size: u64) -> Fallible {
        if !self.has_syscall() {
            return Err(Fault::UD);
        }
        if self.cpl != 0 || size == 8 && !self.canonical(self.regs[RCX]) {
            return Err(Fault::GP0);
        }
        let star = (self.msrs.star >> 48) as u16;
        let flags =
            if self.long_mode() { self.regs[11] & eflags::ALL } else { self.flags.get() | eflags::IF };
        let flags = flags & !(eflags::RF | eflags::VM);
        let target = self.regs[RCX];
        let cs = if size == 8 { star.wrapping_add(16) } else { star };
        self.set_flags(flags);
        self.enter_flat(cs, star.wrapping_add(8), 3, size == 8);
        self.regs[RIP] = if size == 8 { target } else { target & 0xffff_ffff };
        self.step_by_new_flags();
        Ok(())
    }

    /// SYSENTER. SDM 2B, "SYSENTER".
    ///
    /// # Errors
    /// #GP(0) in real mode or with a null IA32_SYSENTER_CS, #UD on AMD's processors in long mode.
    pub fn sysenter(&mut self) -> Fallible {
        if self.is_amd() && self.long_mode() {
            return Err(Fault::UD);
        }
        let cs = self.msrs.sysenter_cs as u16;
        if !self.protected() || is_null(cs) {
            return Err(Fault::GP0);
        }
        let long = self.long_mode();
        self.set_flags(self.flags.get() & !(eflags::VM | eflags::IF | eflags::RF));
        self.enter_flat(cs, (cs & !3).wrapping_add(8), 0, long);
        let cut = if long { u64::MAX } else { 0xffff_ffff };
        self.regs[RSP] = self.msrs.sysenter_esp & cut;
        self.regs[RIP] = self.msrs.sysenter_eip & cut;
        Ok(())
    }

    /// SYSEXIT with an operand size of 8 or 4 bytes. SDM 2B, "SYSEXIT".
    ///
    /// # Errors
    /// #GP(0) in real mode, with a null IA32_SYSENTER_CS, unless CPL is 0, or for addresses that are not
    /// canonical; #UD as for SYSENTER.
    pub fn sysexit(&mut self, size: u64) -> Fallible {
        if self.is_amd() && self.long_mode() {
            return Err(Fault::UD);
        }
        let cs = self.msrs.sysenter_cs as u16;
        let (rip, rsp) = (self.regs[RDX], self.regs[RCX]);
        let canonical = size != 8 || self.canonical(rip) && self.canonical(rsp);
        if !self.protected() || self.cpl != 0 || is_null(cs) || !canonical {
            return Err(Fault::GP0);
        }
        let base = (cs & !3).wrapping_add(if size == 8 { 32 } else { 16 });
        self.enter_flat(base, base.wrapping_add(8), 3, size == 8);
        let cut = if size == 8 { u64::MAX } else { 0xffff_ffff };
        self.regs[RSP] = rsp & cut;
        self.regs[RIP] = rip & cut;
        Ok(())
    }
}
