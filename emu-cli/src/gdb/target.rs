//! The guest as gdbstub's target: processors are threads, memory is linear memory as the processor translates it.

use std::num::NonZeroUsize;

use emu_core::cpu::debugger::{BreakPoint, Place, WatchPoint};
use gdbstub::arch::{Arch, RegId, Registers};
use gdbstub::common::{Signal, Tid};
use gdbstub::outputln;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{
    MultiThreadBase, MultiThreadRangeStepping, MultiThreadRangeSteppingOps, MultiThreadResume,
    MultiThreadResumeOps, MultiThreadSchedulerLocking, MultiThreadSchedulerLockingOps, MultiThreadSingleStep,
    MultiThreadSingleStepOps,
};
use gdbstub::target::ext::base::single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint,
    SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::ext::target_description_xml_override::{
    TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
};
use gdbstub::target::ext::thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps};
use gdbstub::target::{Target, TargetError, TargetResult};

use super::change;
use super::registers::{self, REGISTERS};
use crate::debug::{Condition, Motion, Owner, What, commands};
use crate::machine::Guest;

/// EFAULT, as gdb shows it.
const FAULT: u8 = 14;
/// EINVAL.
const INVALID: u8 = 22;

/// The one layout of registers for all modes.
#[derive(Debug)]
pub enum X86 {}

impl Arch for X86 {
    type Usize = u64;
    type Registers = Block;
    type BreakpointKind = usize;
    type RegId = Number;
}

/// All registers, as they go over the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block(Vec<u8>);

impl Default for Block {
    fn default() -> Self {
        Self(vec![0; REGISTERS.iter().map(|register| register.size).sum()])
    }
}

impl Registers for Block {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        let at: usize = REGISTERS[..registers::EXPEDITED[0]].iter().map(|register| register.size).sum();
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.0.iter().for_each(|&byte| write_byte(Some(byte)));
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        let fits = bytes.len() == self.0.len();
        self.0.copy_from_slice(if fits { bytes } else { return Err(()) });
        Ok(())
    }
}

/// Number of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub usize);

impl RegId for Number {
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        REGISTERS.get(id).map(|register| (Self(id), NonZeroUsize::new(register.size)))
    }

    fn to_raw_id(&self) -> Option<usize> {
        Some(self.0)
    }
}

/// The thread that a processor is.
pub fn thread(cpu: usize) -> Tid {
    Tid::new(cpu + 1).expect("one more than a number is not zero")
}

impl Guest {
    /// The processor that a thread is. Commands to the monitor are about the last one that gdb looked at.
    fn processor(&mut self, tid: Tid) -> TargetResult<usize, Self> {
        let cpu = tid.get() - 1;
        if cpu >= self.machine.cpus().len() {
            return Err(TargetError::Errno(INVALID));
        }
        self.debug.selected = cpu;
        Ok(cpu)
    }
}

impl Target for Guest {
    type Arch = X86;
    type Error = &'static str;

    fn base_ops(&mut self) -> BaseOps<'_, X86, &'static str> {
        BaseOps::MultiThread(self)
    }

    fn use_lldb_register_info(&self) -> bool {
        false
    }

    fn use_fork_stop_reason(&self) -> bool {
        false
    }

    fn use_vfork_stop_reason(&self) -> bool {
        false
    }

    fn use_vforkdone_stop_reason(&self) -> bool {
        false
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }

    fn support_target_description_xml_override(
        &mut self,
    ) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }
}

impl TargetDescriptionXmlOverride for Guest {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        buf: &mut [u8],
    ) -> TargetResult<usize, Self> {
        if annex != b"target.xml" {
            return Err(TargetError::NonFatal);
        }
        let rest = registers::DESCRIPTION.as_bytes().get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(length).min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

impl MultiThreadBase for Guest {
    fn read_registers(&mut self, regs: &mut Block, tid: Tid) -> TargetResult<(), Self> {
        let cpu = self.processor(tid)?;
        let mut at = 0;
        for (number, register) in REGISTERS.iter().enumerate() {
            let value = registers::read(&self.machine, cpu, number);
            regs.0[at..at + register.size].copy_from_slice(&value[..register.size]);
            at += register.size;
        }
        Ok(())
    }

    fn write_registers(&mut self, regs: &Block, tid: Tid) -> TargetResult<(), Self> {
        let cpu = self.processor(tid)?;
        let mut at = 0;
        for (number, register) in REGISTERS.iter().enumerate() {
            let bytes = &regs.0[at..at + register.size];
            // `ip` follows `rip` and may not have been changed with it.
            if register.name != "ip" {
                change::write(&mut self.machine, cpu, number, bytes).ok_or(TargetError::Errno(INVALID))?;
            }
            at += register.size;
        }
        Ok(())
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        let cpu = self.processor(tid)?;
        match self.machine.peek(cpu, start, data) {
            0 if !data.is_empty() => Err(TargetError::Errno(FAULT)),
            count => Ok(count),
        }
    }

    fn write_addrs(&mut self, start: u64, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        let cpu = self.processor(tid)?;
        if self.machine.poke(cpu, start, data) < data.len() {
            return Err(TargetError::Errno(FAULT));
        }
        Ok(())
    }

    fn list_active_threads(&mut self, found: &mut dyn FnMut(Tid)) -> Result<(), &'static str> {
        // The one whose turn it is first: with that gdb begins.
        let first = self.machine.cpu().number;
        found(thread(first));
        (0..self.machine.cpus().len()).filter(|&cpu| cpu != first).for_each(|cpu| found(thread(cpu)));
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl ThreadExtraInfo for Guest {
    fn thread_extra_info(&self, tid: Tid, buf: &mut [u8]) -> Result<usize, &'static str> {
        let Some(cpu) = self.machine.cpus().get(tid.get() - 1) else { return Ok(0) };
        let state = match cpu {
            _ if cpu.wait_for_sipi => "waits to be started",
            _ if cpu.halted => "halted",
            _ => "running",
        };
        let text = format!("CPU {}, {}-bit code, CPL {}, {state}", cpu.number, cpu.code_size(), cpu.cpl);
        let count = text.len().min(buf.len());
        buf[..count].copy_from_slice(&text.as_bytes()[..count]);
        Ok(count)
    }
}

impl SingleRegisterAccess<Tid> for Guest {
    fn read_register(&mut self, tid: Tid, id: Number, buf: &mut [u8]) -> TargetResult<usize, Self> {
        let cpu = self.processor(tid)?;
        let size = REGISTERS[id.0].size;
        buf[..size].copy_from_slice(&registers::read(&self.machine, cpu, id.0)[..size]);
        Ok(size)
    }

    fn write_register(&mut self, tid: Tid, id: Number, val: &[u8]) -> TargetResult<(), Self> {
        let cpu = self.processor(tid)?;
        change::write(&mut self.machine, cpu, id.0, val).ok_or(TargetError::Errno(INVALID))
    }
}

/// All processors share one clock and take turns by count, so none can run alone: whichever thread is to go on, the
/// machine does, and a step ends when its own processor has retired an instruction.
impl MultiThreadResume for Guest {
    fn resume(&mut self) -> Result<(), &'static str> {
        let motion = self.debug.planned.take().unwrap_or(Motion::Run);
        self.debug.resume(&mut self.machine, motion);
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> Result<(), &'static str> {
        self.debug.planned = None;
        Ok(())
    }

    fn set_resume_action_continue(&mut self, _: Tid, _: Option<Signal>) -> Result<(), &'static str> {
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_range_step(&mut self) -> Option<MultiThreadRangeSteppingOps<'_, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl Guest {
    fn plan_step(&mut self, tid: Tid, range: Option<(u64, u64)>) {
        if let Ok(cpu) = self.processor(tid) {
            let from = self.machine.cpus()[cpu].retired;
            self.debug.planned = Some(Motion::Step { cpu, from, range });
        }
    }
}

impl MultiThreadSingleStep for Guest {
    fn set_resume_action_step(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), &'static str> {
        self.plan_step(tid, None);
        Ok(())
    }
}

impl MultiThreadRangeStepping for Guest {
    fn set_resume_action_range_step(&mut self, tid: Tid, start: u64, end: u64) -> Result<(), &'static str> {
        self.plan_step(tid, Some((start, end)));
        Ok(())
    }
}

impl MultiThreadSchedulerLocking for Guest {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), &'static str> {
        Ok(())
    }
}

impl Breakpoints for Guest {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl Guest {
    fn gdb_point(&mut self, kind: u8, what: What, add: bool) -> bool {
        let owner = Owner::Gdb(kind);
        let condition = self.debug.agent.take().map(Condition::Agent);
        if add {
            self.debug.add(&mut self.machine, owner, what, condition);
            return true;
        }
        self.debug.remove(&mut self.machine, |point| point.owner != owner || point.what != what) != 0
    }
}

fn break_at(linear: u64) -> What {
    What::Break(BreakPoint { at: Place::Linear(linear), cs: None })
}

/// Nothing is written to memory for these, so there is no difference between them and hardware break-points.
impl SwBreakpoint for Guest {
    fn add_sw_breakpoint(&mut self, linear: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.gdb_point(0, break_at(linear), true))
    }

    fn remove_sw_breakpoint(&mut self, linear: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.gdb_point(0, break_at(linear), false))
    }
}

impl HwBreakpoint for Guest {
    fn add_hw_breakpoint(&mut self, linear: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.gdb_point(1, break_at(linear), true))
    }

    fn remove_hw_breakpoint(&mut self, linear: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.gdb_point(1, break_at(linear), false))
    }
}

fn watch_at(linear: u64, len: u64, kind: WatchKind) -> (u8, What) {
    let number = match kind {
        WatchKind::Write => 2,
        WatchKind::Read => 3,
        WatchKind::ReadWrite => 4,
    };
    let (read, write) = (kind != WatchKind::Write, kind != WatchKind::Read);
    (number, What::Watch(WatchPoint { at: Place::Linear(linear), len: len.max(1), read, write }))
}

impl HwWatchpoint for Guest {
    fn add_hw_watchpoint(&mut self, linear: u64, len: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        let (number, what) = watch_at(linear, len, kind);
        Ok(self.gdb_point(number, what, true))
    }

    fn remove_hw_watchpoint(&mut self, linear: u64, len: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        let (number, what) = watch_at(linear, len, kind);
        Ok(self.gdb_point(number, what, false))
    }
}

impl MonitorCmd for Guest {
    fn handle_monitor_cmd(&mut self, cmd: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), &'static str> {
        let line = String::from_utf8_lossy(cmd).into_owned();
        let reply = match line.trim() {
            "" | "help" | "?" => commands::HELP.to_owned(),
            "info" => self.describe(true),
            line => match commands::run(self, line) {
                Some(Ok(reply)) => reply,
                Some(Err(why)) => why,
                None => format!("{line}: expected a command; help lists them"),
            },
        };
        for line in reply.lines() {
            outputln!(out, "{line}");
        }
        Ok(())
    }
}
