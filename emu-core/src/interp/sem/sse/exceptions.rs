//! SIMD floating-point exceptions. SDM vol. 1, "SIMD Floating-Point Exceptions".

use crate::cpu::control::CR4_OSXMMEXCPT;
use crate::cpu::{Cpu, Fallible, Fault};
use crate::softfloat::{Env, Flags};

/// The flags that show when the elements of one operation raise `flags`: with an unmasked pre-computation exception
/// nothing is computed, and there are no post-computation exceptions.
fn reported(env: &Env, flags: Flags) -> Flags {
    let before = flags & Flags::PRE_COMPUTATION;
    if env.traps(before) { before } else { flags }
}

impl Cpu {
    /// What MXCSR says about an operation.
    #[inline(always)]
    pub fn sse_env(&self) -> Env {
        Env::from_mxcsr(self.fpu.mxcsr)
    }

    /// Sets the flags of an operation in MXCSR.
    ///
    /// `flags` are those of all elements together. When a pre-computation exception of any element is unmasked,
    /// no element is computed, so none reports a post-computation exception.
    ///
    /// # Errors
    /// #XM, or #UD without CR4.OSXMMEXCPT, when one is unmasked. The destination must stay unchanged then.
    #[inline(always)]
    pub fn raise_simd(&mut self, env: &Env, flags: Flags) -> Fallible {
        if env.traps(flags) {
            return self.trap_simd(env, flags);
        }
        self.fpu.mxcsr |= u32::from(flags.0);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn trap_simd(&mut self, env: &Env, flags: Flags) -> Fallible {
        self.fpu.mxcsr |= u32::from(reported(env, flags).0);
        self.simd_fault()
    }

    fn simd_fault(&self) -> Fallible {
        Err(if self.cr4 & CR4_OSXMMEXCPT != 0 { Fault::XM } else { Fault::UD })
    }
}
