//! Unmasked exceptions of the vector and x87 units in translated code: the host's processor meets them at the very
//! instruction, and its kernel makes a SIGFPE of them.
//!
//! An instruction that may raise one is preceded by a mark, a NOP whose operand is the way out that has the
//! instruction's handler run in its place. The signal only sends the thread there: the instruction had no effect yet,
//! and the handler finds the exception again and raises the guest's #XM or #MF.
//!
//! This is one of the places with `unsafe`: the signal's handler changes nothing but the address to go on at, and
//! reads nothing but code that its thread is running.

use std::cell::Cell;
use std::ffi::c_void;
use std::ops::Range;
use std::sync::{Once, OnceLock};
use std::{mem, ptr};

/// Bytes of a mark: NOP m32 (0F 1F /0) with a displacement from RIP, which is the address of the instruction then.
const MARK: usize = 7;
/// What it begins with: opcode and ModRM byte.
const NOP: [u8; 3] = [0x0f, 0x1f, 0x05];

thread_local! {
    /// Where the code lies that the thread runs, from and to; empty while it runs none.
    static RUNNING: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// The action before ours.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// While it lives, exceptions in a range of code find their way out.
#[derive(Debug)]
pub struct Running(());

impl Running {
    /// For code within `range` on this thread, which stays mapped as long as this lives.
    pub fn new(range: Range<usize>) -> Self {
        RUNNING.set((range.start, range.end));
        Self(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set((0, 0));
    }
}

/// Takes SIGFPE for the process, once. Those of other code go to the handler that was there before.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: all bits zero is a valid `sigaction`, both calls get valid ones, and the handler has the signature
        // that SA_SIGINFO asks for. It runs on the alternate stack where the thread has one.
        unsafe {
            let mut previous: libc::sigaction = mem::zeroed();
            libc::sigaction(libc::SIGFPE, ptr::null(), &mut previous);
            PREVIOUS.get_or_init(|| previous);
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGFPE, &action, ptr::null_mut());
        }
    });
}

extern "C" fn handler(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid context, which nobody else refers to.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let rip = &mut registers[libc::REG_RIP as usize];
    if let Some(way) = way_out(*rip as usize) {
        *rip = way as i64;
        return;
    }
    match PREVIOUS.get() {
        Some(previous)
            if previous.sa_flags & libc::SA_SIGINFO != 0 && previous.sa_sigaction != libc::SIG_DFL =>
        {
            // SAFETY: a handler that was installed with SA_SIGINFO has this signature.
            let previous: extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void) =
                unsafe { mem::transmute(previous.sa_sigaction) };
            previous(signal, info, context);
        }
        _ => {
            // The instruction raises it again, and then it ends the process as it should.
            // SAFETY: setting a default action has no conditions.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

/// Where an instruction at `rip` goes that raised an exception, if it is marked.
fn way_out(rip: usize) -> Option<usize> {
    let (start, end) = RUNNING.get();
    if rip < start + MARK || rip >= end {
        return None;
    }
    // SAFETY: within the code that this thread is running, which can be read.
    let mark = unsafe { ptr::with_exposed_provenance::<[u8; MARK]>(rip - MARK).read() };
    let (nop, distance) = mark.split_first_chunk()?;
    let distance = i32::from_le_bytes(distance.try_into().ok()?);
    (*nop == NOP).then(|| rip.wrapping_add_signed(distance as isize))
}
