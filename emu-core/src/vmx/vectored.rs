//! Events by vector: exceptions that exit, what was being delivered when an exit came, and injection by VM entry.
//! SDM 3C, "Exceptions", "Information for VM Exits Due to Vectored Events", "Event Injection".

use super::capability::secondary;
use super::exit::{Exit, reason};
use super::fields as f;
use crate::cpu::interrupt::Source;
use crate::cpu::{Cpu, Exception, Fallible, Fault, RIP};

/// In interruption information: it means something.
pub const VALID: u32 = 1 << 31;
/// There is an error code.
pub const DELIVER_ERROR: u32 = 1 << 11;
/// IRET had ended the blocking of NMIs before the fault.
pub const NMI_UNBLOCKED: u32 = 1 << 12;
/// Bits that must be zero for injection.
pub const RESERVED: u32 = 0x7fff_f000;
const PAGE_FAULT: u8 = 14;
const DEBUG: u8 = 1;
const DOUBLE_FAULT: u8 = 8;

/// The type in interruption information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EventType {
    /// External interrupt.
    External = 0,
    /// NMI.
    Nmi = 2,
    /// Exception of the processor.
    Exception = 3,
    /// INT n.
    Software = 4,
    /// INT1.
    Privileged = 5,
    /// INT3 and INTO.
    SoftwareException = 6,
    /// Injection only: a VM exit by the monitor trap flag.
    Other = 7,
}

impl EventType {
    /// Bits 10:8 of interruption information; `None` for the reserved type.
    pub fn of(information: u32) -> Option<Self> {
        Some(match information >> 8 & 7 {
            0 => Self::External,
            2 => Self::Nmi,
            3 => Self::Exception,
            4 => Self::Software,
            5 => Self::Privileged,
            6 => Self::SoftwareException,
            7 => Self::Other,
            _ => return None,
        })
    }

    /// Does an instruction cause it?
    pub fn is_software(self) -> bool {
        matches!(self, Self::Software | Self::Privileged | Self::SoftwareException)
    }

    fn from_source(vector: u8, source: Source) -> Self {
        match source {
            Source::External if vector == 2 => Self::Nmi,
            Source::External => Self::External,
            Source::Exception => Self::Exception,
            Source::Software => Self::Software,
            Source::SoftwareException => Self::SoftwareException,
            Source::Privileged => Self::Privileged,
        }
    }
}

/// An event on its way to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vectored {
    /// Vector.
    pub vector: u8,
    /// Where it comes from.
    pub kind: EventType,
    /// Error code.
    pub error: Option<u16>,
    /// Length of the instruction, of an injected event that needs one.
    pub length: Option<u8>,
}

impl Vectored {
    /// Interruption information.
    pub fn information(&self) -> u32 {
        let error = if self.error.is_some() { DELIVER_ERROR } else { 0 };
        VALID | (self.kind as u32) << 8 | u32::from(self.vector) | error
    }
}

impl Cpu {
    /// In non-root operation an event is about to be delivered: notes it, and has INT1, INT3 and INTO exit where the
    /// exception bitmap says so.
    ///
    /// # Errors
    /// [`Fault::VmExit`].
    pub(crate) fn begin_vectored(&mut self, vector: u8, source: Source, error: Option<u16>) -> Fallible {
        let kind = EventType::from_source(vector, source);
        let injected = self.vmx.injecting && kind.is_software();
        let length = if injected { Some(self.vmcs(f::ENTRY_LENGTH) as u8) } else { None };
        let event = Vectored { vector, kind, error, length };
        let exits = matches!(kind, EventType::Privileged | EventType::SoftwareException)
            && !self.vmx.injecting
            && self.vmx.controls.exception_bitmap >> vector & 1 != 0;
        if exits {
            self.vmx.vectored = None;
            return Err(self.leave(Exit { interruption: event.information(), ..Exit::of(reason::EXCEPTION) }));
        }
        self.vmx.vectored = Some(event);
        Ok(())
    }

    /// Does this exception exit? SDM 3C, "Other Causes of VM Exits": the exception bitmap, and for page faults the
    /// mask and match of their error codes.
    fn exception_exits(&self, exception: Exception) -> bool {
        let c = &self.vmx.controls;
        let by_bitmap = c.exception_bitmap >> exception.vector & 1 != 0;
        if exception.vector != PAGE_FAULT {
            return by_bitmap;
        }
        let matches = u32::from(exception.error) & c.page_fault_mask == c.page_fault_match;
        by_bitmap == matches
    }

    /// In non-root operation an exception is about to be delivered: the fault that takes its place when it exits.
    pub(crate) fn exit_by_exception(&mut self, exception: Exception) -> Fallible {
        if !self.exception_exits(exception) {
            return Ok(());
        }
        let qualification = match exception.vector {
            PAGE_FAULT => self.fault_address,
            DEBUG => self.take_debug_cause(),
            _ => 0,
        };
        if exception.vector == DOUBLE_FAULT {
            // It does not count as one in the course of delivery.
            self.vmx.vectored = None;
        }
        let event = Vectored {
            vector: exception.vector,
            kind: EventType::Exception,
            error: exception.has_error.then_some(exception.error),
            length: None,
        };
        let unblocked = if self.vmx.vectored.is_none() && exception.vector != DOUBLE_FAULT {
            self.nmi_unblocked_bit()
        } else {
            0
        };
        Err(self.leave(Exit {
            qualification,
            interruption: event.information() | unblocked,
            error: exception.error.into(),
            ..Exit::of(reason::EXCEPTION)
        }))
    }

    /// Bit 12 of interruption information when IRET faults that has unblocked NMIs.
    pub(super) fn nmi_unblocked_bit(&self) -> u32 {
        if self.just_before(self.vmx.unblocked_at) { NMI_UNBLOCKED } else { 0 }
    }

    /// The second half of VM entry: delivers the event that it brings along. SDM 3C, "Event Injection".
    ///
    /// # Errors
    /// [`Fault::VmExit`], or [`Fault::Shutdown`].
    pub(super) fn inject(&mut self) -> Fallible {
        let information = self.vmcs32(f::ENTRY_INTERRUPTION);
        if information & VALID == 0 {
            return Ok(());
        }
        let vector = information as u8;
        let error =
            if information & DELIVER_ERROR != 0 { Some(self.vmcs(f::ENTRY_ERROR_CODE) as u16) } else { None };
        let kind = EventType::of(information).unwrap_or(EventType::Other);
        self.vmx.trap_pending = self.vmx.controls.primary(super::capability::primary::MONITOR_TRAP_FLAG);
        let source = match kind {
            EventType::Other => {
                self.vmx.trap_pending = true;
                return Ok(());
            }
            EventType::External | EventType::Nmi => Source::External,
            EventType::Exception => Source::Exception,
            EventType::Software => Source::Software,
            EventType::Privileged => Source::Privileged,
            EventType::SoftwareException => Source::SoftwareException,
        };
        self.halted = false;
        if kind == EventType::Nmi {
            self.nmi_blocked = true;
        }
        let start = self.regs[RIP];
        if kind.is_software() {
            let length = self.vmcs(f::ENTRY_LENGTH);
            let next = start.wrapping_add(length);
            self.regs[RIP] = if self.linear_mask == u64::MAX { next } else { next & 0xffff_ffff };
        }
        self.vmx.injecting = true;
        let delivered = match kind {
            EventType::Software if self.v86() && self.vmx_redirects(vector) => Ok(()),
            _ => self.deliver(vector, source, error),
        };
        self.vmx.injecting = false;
        let Err(fault) = delivered else { return Ok(()) };
        self.regs[RIP] = start;
        match fault {
            Fault::Exception(next) if kind == EventType::Exception => {
                let first = Exception { vector, has_error: error.is_some(), error: error.unwrap_or(0) };
                self.deliver_next_exception(first, next)
            }
            Fault::Exception(next) => self.deliver_exception(next),
            other => Err(other),
        }
    }

    /// INT n in virtual-8086 mode by the redirection bitmap.
    fn vmx_redirects(&mut self, vector: u8) -> bool {
        self.redirect_interrupt(vector) == Ok(true)
    }

    /// Are the instructions of this secondary control there in non-root operation? Without it they are #UD.
    ///
    /// # Errors
    /// #UD.
    pub(crate) fn enabled_in_guest(&self, control: u32) -> Fallible {
        debug_assert!(control & (secondary::RDTSCP | secondary::INVPCID | secondary::XSAVES) != 0);
        if self.vmx.non_root && !self.vmx.controls.secondary(control) { Err(Fault::UD) } else { Ok(()) }
    }
}
