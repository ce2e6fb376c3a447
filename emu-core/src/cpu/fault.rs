//! Guest faults: small values that travel up as errors until the interpreter delivers them.

use std::fmt;

/// An exception on its way to delivery.
///
/// Its layout is fixed so that the byte that tells success from faults is the lowest of a result: one compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Exception {
    /// True when an error code is pushed.
    pub has_error: bool,
    /// Vector, 0 to 31.
    pub vector: u8,
    /// The error code.
    pub error: u16,
}

/// Why an instruction did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The guest gets an exception.
    Exception(Exception),
    /// The emulator lacks this instruction or this corner of it: the run ends.
    Unimplemented,
    /// An x87 error was told by FERR#, and the instruction waits for the interrupt that this causes.
    Frozen,
    /// Three faults in a row: the processor shuts down.
    Shutdown,
    /// VMLAUNCH or VMRESUME: the VM entry takes place where faults are taken.
    VmEntry,
    /// The same for a VM exit, which is on its way.
    VmExit,
    /// No fault: an observer or the debugger wants the run to end before the instruction. Never leaves the engine.
    Stopped,
    /// No fault: a conditional jump was taken, RIP is written, and the block is left. Never leaves the engine.
    Jumped,
    /// No fault: the quick way to memory does not suffice. Never leaves the handler, which takes the thorough way
    /// then; see `quick` of the interpreter.
    NotQuick,
}

/// Result of anything that can fault.
pub type Fallible<T = ()> = Result<T, Fault>;

impl Fault {
    const fn plain(vector: u8) -> Self {
        Self::Exception(Exception { vector, has_error: false, error: 0 })
    }

    const fn coded(vector: u8, error: u16) -> Self {
        Self::Exception(Exception { vector, has_error: true, error })
    }

    /// #DE, divide error.
    pub const DE: Self = Self::plain(0);
    /// #DB, debug.
    pub const DB: Self = Self::plain(1);
    /// #BR, bound range exceeded.
    pub const BR: Self = Self::plain(5);
    /// #UD, invalid opcode.
    pub const UD: Self = Self::plain(6);
    /// #NM, device not available.
    pub const NM: Self = Self::plain(7);
    /// #DF, double fault; its error code is always 0.
    pub const DF: Self = Self::coded(8, 0);
    /// #MF, x87 floating-point error.
    pub const MF: Self = Self::plain(16);
    /// #AC, alignment check; its error code is always 0.
    pub const AC: Self = Self::coded(17, 0);
    /// #XM, SIMD floating-point exception.
    pub const XM: Self = Self::plain(19);
    /// #GP(0).
    pub const GP0: Self = Self::coded(13, 0);
    /// #SS(0).
    pub const SS0: Self = Self::coded(12, 0);

    /// #TS, invalid TSS, with a selector as error code.
    pub const fn ts(selector: u16) -> Self {
        Self::coded(10, selector & 0xfffc)
    }

    /// #NP, segment not present.
    pub const fn np(selector: u16) -> Self {
        Self::coded(11, selector & 0xfffc)
    }

    /// #SS, stack fault.
    pub const fn ss(selector: u16) -> Self {
        Self::coded(12, selector & 0xfffc)
    }

    /// #GP, general protection.
    pub const fn gp(selector: u16) -> Self {
        Self::coded(13, selector & 0xfffc)
    }

    /// #GP with an error code that is already complete (with its IDT and EXT bits).
    pub const fn gp_code(error: u16) -> Self {
        Self::coded(13, error)
    }

    /// #NP with an error code that is already complete.
    pub const fn np_code(error: u16) -> Self {
        Self::coded(11, error)
    }

    /// #PF, page fault; the address goes to CR2 by way of `Cpu::fault_address`.
    pub const fn pf(error: u16) -> Self {
        Self::coded(14, error)
    }

    /// The same fault with the EXT bit set where it has a selector error code: it arose while an event from
    /// outside the program was delivered (SDM 3A, "Error Code").
    pub fn external(self) -> Self {
        match self {
            Self::Exception(e) if e.has_error && matches!(e.vector, 10..=13) => {
                Self::Exception(Exception { error: e.error | 1, ..e })
            }
            other => other,
        }
    }
}

/// Mnemonic of an exception vector, as the SDM prints it.
pub fn mnemonic(vector: u8) -> &'static str {
    const NAMES: [&str; 22] = [
        "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "CSO", "#TS", "#NP", "#SS", "#GP",
        "#PF", "15", "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
    ];
    NAMES.get(usize::from(vector)).copied().unwrap_or("reserved")
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", mnemonic(self.vector))?;
        if self.has_error { write!(f, "({:#x})", self.error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_fits_a_register() {
        assert!(size_of::<Fallible>() <= 8);
    }

    #[test]
    fn selector_error_codes_drop_the_rpl_and_gain_ext() {
        assert_eq!(Fault::gp(0x2b), Fault::gp_code(0x28));
        assert_eq!(Fault::gp(0x2b).external(), Fault::gp_code(0x29));
        assert_eq!(Fault::pf(2).external(), Fault::pf(2));
    }
}
