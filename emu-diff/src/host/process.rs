//! What running foreign instructions takes of this process: pages at fixed addresses in the first 4 GiB, and the signals
//! that exceptions cause.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

use crate::fuzz::places::PAGE;

/// Where the kernel keeps each general register in encoding order.
pub const IN_CONTEXT: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

const SIGNALS: [i32; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP];

/// A handler of signals with SA_SIGINFO.
pub type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);

static MADE: AtomicBool = AtomicBool::new(false);

/// Takes the one right to run foreign instructions in this process.
///
/// # Errors
/// When somebody has it.
pub fn claim() -> Result<(), String> {
    if MADE.swap(true, Ordering::AcqRel) {
        return Err("only one at a time can run instructions on the host".into());
    }
    Ok(())
}

/// Maps a page that can be read and written.
///
/// # Errors
/// When the address is taken.
pub fn map(address: u64) -> Result<*mut u8, String> {
    // SAFETY: FIXED_NOREPLACE takes free addresses only.
    let page = unsafe {
        mmap_anonymous(
            ptr::without_provenance_mut(address as usize),
            PAGE,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE,
        )
    }
    .map_err(|error| format!("the page at {address:#x} of this process: {error}"))?;
    if page as u64 != address {
        return Err(format!("this kernel does not map a page at {address:#x} on demand"));
    }
    Ok(page.cast())
}

/// Changes the rights of a page that [`map`] has given.
pub fn protect(page: *mut u8, flags: MprotectFlags) {
    // SAFETY: the page is one of ours, and nothing refers to it across this call.
    unsafe { mprotect(page.cast(), PAGE, flags) }.expect("rights of our own page");
}

/// Code before a handler: the kernel leaves AC as it was.
pub fn stub(handler: Handler) -> Vec<u8> {
    // pushfq; and dword [rsp], ~AC; popfq; mov rax, handler; jmp rax
    let mut code = vec![0x9c, 0x81, 0x24, 0x24, 0xff, 0xff, 0xfb, 0xff, 0x9d, 0x48, 0xb8];
    code.extend((handler as *const () as u64).to_le_bytes());
    code.extend([0xff, 0xe0]);
    code
}

/// Has all signals of exceptions arrive at this address, on a stack of their own.
///
/// # Safety
/// There must be code of a [`Handler`] whenever one arrives.
pub unsafe fn install(entry: usize) {
    let stack = Box::leak(vec![0u8; 1 << 16].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: 1 << 16 };
    // SAFETY: the stack is leaked, and the caller vouches for the entry.
    unsafe {
        assert_eq!(libc::sigaltstack(&stack, ptr::null_mut()), 0);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = entry;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        for signal in SIGNALS {
            assert_eq!(libc::sigaction(signal, &action, ptr::null_mut()), 0);
        }
    }
}
