//! Hardware task switching by far JMP, CALL, IRET and task gates, with 16- and 32-bit TSSs.
//! SDM 3A, "Task Management": "Task Switching", "Task Linking".

use super::control::CR0_TS;
use super::interrupt::Source;
use super::segment::{Descriptor, is_null, kind};
use super::stack::NewStack;
use super::{CS, Cpu, DS, ES, FS, Fallible, Fault, GS, LDTR, RIP, Rights, SS, Segment, TR, control, eflags};

/// What causes a task switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Far JMP: the old task is no longer busy.
    Jump,
    /// Far CALL, interrupt or exception: the new task is nested in the old one.
    Nest,
    /// IRET with NT set: back to the previous task.
    Return,
}

/// Fields of a 32-bit TSS that a switch saves: EIP, EFLAGS, eight registers, six selectors from here on.
const STATE32: u64 = 0x20;
/// The same in a 16-bit TSS: IP, FLAGS, eight registers, four selectors.
const STATE16: u64 = 0x0e;

/// The dynamic state of a task as its TSS holds it.
#[derive(Default)]
struct TaskState {
    cr3: u64,
    eip: u64,
    eflags: u64,
    regs: [u64; 8],
    selectors: [u16; 6],
    ldt: u16,
    trap: bool,
}

impl Cpu {
    /// A task gate or TSS descriptor was reached by an interrupt or exception.
    pub(super) fn deliver_task(
        &mut self,
        selector: u16,
        _vector: u8,
        source: Source,
        error: Option<u16>,
    ) -> Fallible {
        let descriptor = self.available_tss(selector)?;
        self.exits_on_task_switch(selector, Cause::Nest, true)?;
        let entered = self.switch_task(selector, descriptor, Cause::Nest)?;
        if source.is_software() {
            // INT n itself is done; only events without an instruction can pass a fault of the new task on.
            return self.fault_in_new_task(entered);
        }
        // A fault of the new task is one in the course of this delivery: the handler has not begun. It counts toward
        // a double fault (SDM 3A, "Interrupt 8"), as it does in Bochs. The trap of its T bit comes behind the error
        // code.
        let trapped = entered == Err(Fault::DB);
        if !trapped {
            entered?;
        }
        if let Some(error) = error {
            let size = if self.seg[TR].rights.kind() & 8 != 0 { 4 } else { 2 };
            let mut stack: NewStack = self.same_stack();
            stack.push(self, size, u64::from(error))?;
            self.set_stack_pointer(stack.pointer);
        }
        if trapped { entered } else { Ok(()) }
    }

    /// Checks the selector of a task gate: an available TSS in the GDT.
    ///
    /// # Errors
    /// #GP(selector), #NP(selector), #PF.
    pub fn available_tss(&mut self, selector: u16) -> Fallible<Descriptor> {
        if is_null(selector) || selector & 4 != 0 {
            return Err(Fault::gp(selector));
        }
        let descriptor = self.descriptor(selector, Fault::gp(selector))?;
        let rights = descriptor.rights();
        if rights.code_or_data() || !matches!(rights.kind(), kind::TSS16_AVAILABLE | kind::TSS_AVAILABLE) {
            return Err(Fault::gp(selector));
        }
        if !rights.present() {
            return Err(Fault::np(selector));
        }
        Ok(descriptor)
    }

    /// Delivers what went wrong when the registers of a new task were loaded: the instruction that switched is
    /// over, and the exception belongs to the new task (SDM 3A, "Task Switching").
    ///
    /// # Errors
    /// [`Fault::Shutdown`].
    pub(super) fn fault_in_new_task(&mut self, entered: Fallible) -> Fallible {
        match entered {
            Err(Fault::Exception(exception)) => self.deliver_exception(exception),
            other => other,
        }
    }

    /// Switches to the task of a checked TSS descriptor. RIP must hold what the old task returns to. Inside the
    /// result is what happened in the new task: whatever its registers cause (#TS, #NP, #SS, #GP, #PF), and #DB
    /// for its T bit.
    ///
    /// # Errors
    /// Before the switch #TS for a TSS that is too short, and #PF.
    pub fn switch_task(&mut self, selector: u16, descriptor: Descriptor, cause: Cause) -> Fallible<Fallible> {
        let new_is_32 = descriptor.rights().kind() & 8 != 0;
        if descriptor.limit() < if new_is_32 { 0x67 } else { 0x2b } {
            return Err(Fault::ts(selector));
        }
        let old = self.seg[TR];
        let state = self.read_task(descriptor.base(), new_is_32)?;
        let mut saved_flags = self.flags.get();
        if cause == Cause::Return {
            saved_flags &= !eflags::NT;
        }
        self.save_task(&old, saved_flags)?;
        if cause != Cause::Nest {
            self.mark_busy(old.selector, false)?;
        }
        if cause == Cause::Nest {
            self.write_system(descriptor.base(), 2, u64::from(old.selector))?;
        }
        if cause != Cause::Return {
            self.mark_busy(selector, true)?;
        }

        let mut tr = descriptor.segment(selector);
        tr.rights = Rights(descriptor.rights().0 | 2);
        self.seg[TR] = tr;
        Ok(self.enter_task(&state, new_is_32, cause))
    }

    /// The new task runs; faults are its own.
    fn enter_task(&mut self, state: &TaskState, wide: bool, cause: Cause) -> Fallible {
        self.cr0 |= CR0_TS;
        if wide && self.cr0 & control::CR0_PG != 0 && state.cr3 != self.cr3 {
            self.write_cr3(state.cr3)?;
        }
        self.regs[RIP] = state.eip;
        self.regs[..8].copy_from_slice(&state.regs);
        let nested = if cause == Cause::Nest { eflags::NT } else { 0 };
        self.set_flags(state.eflags | nested);
        self.dr[7] &= !0x155;
        self.update_debug();
        self.load_task_segments(state)?;
        if state.trap {
            self.record_debug(super::debug::DR6_BT);
            return Err(Fault::DB);
        }
        Ok(())
    }

    fn read_task(&mut self, base: u64, wide: bool) -> Fallible<TaskState> {
        let mut state = TaskState::default();
        let size = if wide { 4 } else { 2 };
        let start = base + if wide { STATE32 } else { STATE16 };
        let field = |cpu: &mut Self, n: u64| cpu.read_system(start + n * size, size);
        state.eip = field(self, 0)?;
        state.eflags = field(self, 1)?;
        for n in 0..8 {
            state.regs[n as usize] = field(self, 2 + n)?;
        }
        for n in 0..if wide { 6 } else { 4 } {
            state.selectors[n as usize] = field(self, 10 + n)? as u16;
        }
        if wide {
            state.ldt = field(self, 16)? as u16;
            state.cr3 = self.read_system(base + 0x1c, 4)?;
            state.trap = self.read_system(base + 0x64, 2)? & 1 != 0;
        } else {
            state.ldt = field(self, 14)? as u16;
            for reg in &mut state.regs {
                *reg |= 0xffff_0000;
            }
        }
        Ok(state)
    }

    fn save_task(&mut self, tss: &Segment, flags: u64) -> Fallible {
        let wide = tss.rights.kind() & 8 != 0;
        let size = if wide { 4 } else { 2 };
        let start = tss.base + if wide { STATE32 } else { STATE16 };
        let mut fields = vec![self.regs[RIP], flags];
        fields.extend_from_slice(&self.regs[..8]);
        let selectors = if wide { &self.seg[..6] } else { &self.seg[..4] };
        fields.extend(selectors.iter().map(|s| u64::from(s.selector)));
        for (n, value) in fields.into_iter().enumerate() {
            self.write_system(start + n as u64 * size, size, value)?;
        }
        Ok(())
    }

    fn mark_busy(&mut self, selector: u16, busy: bool) -> Fallible {
        let descriptor = self.descriptor(selector, Fault::ts(selector))?;
        let kind = descriptor.raw >> 40 & 0xff;
        let kind = if busy { kind | 2 } else { kind & !2 };
        self.write_system(descriptor.address + 5, 1, kind)
    }

    fn load_task_segments(&mut self, state: &TaskState) -> Fallible {
        // All registers show the new selectors even when a later check faults.
        for (register, &selector) in state.selectors.iter().enumerate() {
            self.seg[register] = Self::null(selector, 0);
        }
        self.seg[LDTR] = Self::null(state.ldt, 0);
        if self.v86() {
            self.cpl = 3;
            for register in [ES, CS, SS, DS, FS, GS] {
                self.load_paragraph(register, state.selectors[register]);
            }
            return self.load_task_ldt(state.ldt);
        }
        self.cpl = (state.selectors[CS] & 3) as u8;
        self.update_mode();
        self.load_task_ldt(state.ldt)?;
        self.load_task_code(state.selectors[CS])?;
        let ss = state.selectors[SS];
        if is_null(ss) {
            return Err(Fault::ts(ss));
        }
        let stack = self.stack_segment(ss, self.cpl, Fault::ts(ss), Fault::ts(ss))?;
        self.put_segment(SS, stack);
        for register in [DS, ES, FS, GS] {
            self.load_segment(register, state.selectors[register]).map_err(|fault| match fault {
                Fault::Exception(e) if e.vector == 13 => Fault::ts(state.selectors[register]),
                other => other,
            })?;
        }
        if self.regs[RIP] > u64::from(self.seg[CS].limit) {
            return Err(Fault::GP0);
        }
        Ok(())
    }

    fn load_task_ldt(&mut self, selector: u16) -> Fallible {
        if is_null(selector) {
            return Ok(());
        }
        if selector & 4 != 0 {
            return Err(Fault::ts(selector));
        }
        let descriptor = self.descriptor(selector, Fault::ts(selector))?;
        let rights = descriptor.rights();
        if rights.code_or_data() || rights.kind() != kind::LDT || !rights.present() {
            return Err(Fault::ts(selector));
        }
        self.seg[LDTR] = descriptor.segment(selector);
        Ok(())
    }

    fn load_task_code(&mut self, selector: u16) -> Fallible {
        if is_null(selector) {
            return Err(Fault::ts(selector));
        }
        let descriptor = self.descriptor(selector, Fault::ts(selector))?;
        let rights = descriptor.rights();
        let rpl = (selector & 3) as u8;
        let fits =
            rights.code() && if rights.conforming() { rights.dpl() <= rpl } else { rights.dpl() == rpl };
        if !fits {
            return Err(Fault::ts(selector));
        }
        if !rights.present() {
            return Err(Fault::np(selector));
        }
        self.enter_code(selector, &descriptor, rpl)
    }
}
