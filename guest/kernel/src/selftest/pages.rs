//! Paging: page faults with their error codes and CR2, accessed and dirty bits, rights of the kernel's own
//! pages, address spaces (SDM 3A, "Page-Fault Exceptions").

use super::{Check, Outcome, ensure};
use crate::frames::{self, FRAME};
use crate::idt::vector;
use crate::paging::{self, A, D, G, NX, P, PS, U, W};
use crate::{cpu, trap};
use core::arch::asm;

/// A linear address above all kernel stacks that nothing else uses.
const TEST: u64 = paging::STACK_BASE + 0x1000_0000;
const OFFSET: u64 = 0x123;

pub const CHECKS: &[Check] = &[
    ("page_fault.read_not_present", || not_present(read, 0)),
    ("page_fault.write_not_present", || not_present(write, 2)),
    ("page_fault.fetch_not_present", || not_present(fetch, if cpu::has_nx() { 0x10 } else { 0 })),
    ("page_fault.write_read_only", write_read_only),
    ("page_fault.fetch_no_execute", fetch_no_execute),
    ("page_fault.reserved_bit", reserved_bit),
    ("page_fault.cross_page", cross_page),
    ("page_fault.stack_guard", stack_guard),
    ("paging.kernel_rights", kernel_rights),
    ("paging.write_protect_off", write_protect_off),
    ("paging.accessed_dirty", accessed_dirty),
    ("paging.large_page", large_page),
    ("paging.invlpg", invlpg),
    ("paging.cr3_flush", cr3_flush),
    ("paging.spaces", spaces),
];

extern "C" fn read() {
    // SAFETY: an access to `TEST` either works or ends in `trap::catch`.
    unsafe { asm!("mov al, [{}]", in(reg) TEST + OFFSET, out("al") _) };
}

extern "C" fn write() {
    // SAFETY: as above.
    unsafe { asm!("mov byte ptr [{}], 1", in(reg) TEST + OFFSET) };
}

extern "C" fn fetch() {
    // SAFETY: as above; where it works there is a RET.
    unsafe { asm!("call {}", in(reg) TEST + OFFSET, clobber_abi("C")) };
}

extern "C" fn read_across() {
    // SAFETY: as above.
    unsafe { asm!("mov rax, [{}]", in(reg) TEST + FRAME - 3, out("rax") _) };
}

/// Runs the access and wants a page fault with this error code and address.
fn expect_fault(access: extern "C" fn(), error: u64, address: u64) -> Outcome {
    match trap::catch(access) {
        None => ensure!(false, "no fault"),
        Some(fault) => ensure!(
            (fault.vector, fault.error, fault.address) == (vector::PF, error, address),
            "expected #PF({error:#x}) for {address:#x}, got {fault}"
        ),
    }
    Ok(())
}

/// Maps a fresh frame at `TEST` for as long as the body runs.
fn with_page(rights: u64, body: impl FnOnce(u64) -> Outcome) -> Outcome {
    let Some(frame) = frames::alloc_zeroed() else { return Err(super::Why::new(format_args!("no memory"))) };
    paging::map(paging::kernel_root(), TEST, frame, rights);
    let outcome = body(frame);
    paging::unmap(paging::kernel_root(), TEST);
    frames::free(frame);
    outcome
}

fn test_entry() -> *mut u64 {
    paging::entry(paging::kernel_root(), TEST).expect("the page is mapped")
}

fn not_present(access: extern "C" fn(), error: u64) -> Outcome {
    // Map and unmap once, so that all tables but the last entry exist.
    with_page(W | NX, |_| Ok(()))?;
    expect_fault(access, error, TEST + OFFSET)
}

fn write_read_only() -> Outcome {
    with_page(NX, |_| {
        ensure!(trap::catch(read).is_none(), "reading faults too");
        expect_fault(write, 3, TEST + OFFSET)
    })
}

fn fetch_no_execute() -> Outcome {
    with_page(W | NX, |frame| {
        // SAFETY: the frame is ours: a RET at the place that `fetch` calls.
        unsafe { *((paging::direct(frame) + OFFSET) as *mut u8) = 0xC3 };
        if cpu::has_nx() {
            expect_fault(fetch, 0x11, TEST + OFFSET)?;
        }
        // The same page without NX executes.
        paging::map(paging::kernel_root(), TEST, frame, 0);
        ensure!(trap::catch(fetch).is_none(), "an executable page faults");
        Ok(())
    })
}

/// An address bit beyond the processor's physical addresses is reserved: error code bit 3.
fn reserved_bit() -> Outcome {
    let width = match cpu::cpuid(0x8000_0008).eax & 0xFF {
        0 => 36,
        width => width,
    };
    if width >= 52 {
        return Ok(());
    }
    with_page(W | NX, |_| {
        // SAFETY: the entry is the test page's; the TLB forgets it before and after.
        unsafe { *test_entry() |= 1 << 51 };
        cpu::invalidate_page(TEST);
        // QEMU's translator leaves the P bit out.
        let error = if cpu::is_qemu_tcg() { 8 } else { 9 };
        let outcome = expect_fault(read, error, TEST + OFFSET);
        // SAFETY: as above.
        unsafe { *test_entry() &= !(1 << 51) };
        cpu::invalidate_page(TEST);
        outcome
    })
}

/// An access over the end of a page faults for the page that is missing, at its first byte.
fn cross_page() -> Outcome {
    with_page(W | NX, |_| expect_fault(read_across, 0, TEST + FRAME))
}

fn stack_guard() -> Outcome {
    extern "C" fn touch() {
        // SAFETY: the page is unmapped by intention; the fault ends in `trap::catch`.
        unsafe { asm!("mov byte ptr [{}], 0", in(reg) paging::boot_stack_guard() + 8) };
    }
    expect_fault(touch, 2, paging::boot_stack_guard() + 8)
}

static DATA: core::sync::atomic::AtomicU8 = core::sync::atomic::AtomicU8::new(0xC3);

/// Text is not writable, neither where it runs nor in the direct map; data is not executable.
fn kernel_rights() -> Outcome {
    fn text() -> u64 {
        kernel_rights as *const () as u64
    }
    extern "C" fn write_text() {
        // SAFETY: faults before anything is written.
        unsafe { asm!("mov byte ptr [{}], 0xCC", in(reg) text()) };
    }
    extern "C" fn write_text_alias() {
        // SAFETY: as above.
        unsafe { asm!("mov byte ptr [{}], 0xCC", in(reg) paging::direct(text() - 0xFFFF_FFFF_8000_0000)) };
    }
    extern "C" fn run_data() {
        // SAFETY: faults, or executes the RET that lies there.
        unsafe { asm!("call {}", in(reg) DATA.as_ptr(), clobber_abi("C")) };
    }
    expect_fault(write_text, 3, text())?;
    expect_fault(write_text_alias, 3, paging::direct(text() - 0xFFFF_FFFF_8000_0000))?;
    if cpu::has_nx() {
        expect_fault(run_data, 0x11, DATA.as_ptr() as u64)?;
    }
    Ok(())
}

/// Without CR0.WP the supervisor may write to read-only pages.
fn write_protect_off() -> Outcome {
    with_page(NX, |frame| {
        let fault = cpu::without_interrupts(|| {
            // SAFETY: WP is off for one access to our own page.
            unsafe { cpu::write_cr0(cpu::read_cr0() & !cpu::CR0_WP) };
            let fault = trap::catch(write);
            // SAFETY: back to the normal state.
            unsafe { cpu::write_cr0(cpu::read_cr0() | cpu::CR0_WP) };
            fault
        });
        ensure!(fault.is_none(), "faults with CR0.WP = 0");
        // SAFETY: the frame is ours.
        let byte = unsafe { *((paging::direct(frame) + OFFSET) as *const u8) };
        ensure!(byte == 1, "the write went nowhere");
        expect_fault(write, 3, TEST + OFFSET)
    })
}

fn accessed_dirty() -> Outcome {
    with_page(W | NX, |_| {
        // SAFETY: the entry is the test page's; all reads are volatile, since the processor changes it.
        let bits = || unsafe { test_entry().read_volatile() } & (A | D);
        ensure!(bits() == 0, "bits {:#x} before any access", bits());
        read();
        ensure!(bits() == A, "bits {:#x} after a read", bits());
        write();
        ensure!(bits() == A | D, "bits {:#x} after a write", bits());
        // SAFETY: clearing the bits and the TLB entry, the processor must set them again.
        unsafe { test_entry().write_volatile(test_entry().read_volatile() & !(A | D)) };
        cpu::invalidate_page(TEST);
        write();
        ensure!(bits() == A | D, "bits {:#x} after the second write", bits());
        Ok(())
    })
}

/// The direct map beyond the kernel consists of 2 MiB pages.
fn large_page() -> Outcome {
    let Some(frame) = frames::alloc_zeroed() else {
        ensure!(false, "no memory");
        return Ok(());
    };
    let address = paging::direct(frame);
    let mut outcome = Ok(());
    // SAFETY: `entry` returns a pointer to a page table entry.
    let entry =
        paging::entry(paging::kernel_root(), address).map_or(0, |entry| unsafe { entry.read_volatile() });
    if frame >= paging::kernel_end_physical().next_multiple_of(2 << 20)
        && entry & (P | PS | A | D) != P | PS | A | D
    {
        outcome = Err(super::Why::new(format_args!("entry {entry:#x} for {address:#x}")));
    }
    frames::free(frame);
    outcome
}

/// After a change of an entry, INVLPG makes it count, also for a global page.
fn invlpg() -> Outcome {
    with_page(W | NX | G, |first| {
        let Some(second) = frames::alloc_zeroed() else {
            ensure!(false, "no memory");
            return Ok(());
        };
        // SAFETY: both frames are ours, and mapped at `TEST` one after the other.
        let seen = unsafe {
            *(paging::direct(first) as *mut u64) = 0x1111;
            *(paging::direct(second) as *mut u64) = 0x2222;
            let before = (TEST as *const u64).read_volatile();
            paging::map(paging::kernel_root(), TEST, second, W | NX | G);
            (before, (TEST as *const u64).read_volatile())
        };
        paging::map(paging::kernel_root(), TEST, first, W | NX);
        frames::free(second);
        ensure!(seen == (0x1111, 0x2222), "saw {:#x} and {:#x}", seen.0, seen.1);
        Ok(())
    })
}

/// A load of CR3 forgets what is not global.
fn cr3_flush() -> Outcome {
    with_page(W | NX, |_| {
        read();
        // SAFETY: the entry is the test page's; the same root is loaded again.
        unsafe {
            *test_entry() &= !P;
            cpu::write_cr3(cpu::read_cr3());
        }
        let outcome = expect_fault(read, 0, TEST + OFFSET);
        // SAFETY: as above.
        unsafe { *test_entry() |= P };
        cpu::invalidate_page(TEST);
        outcome
    })
}

/// Two address spaces have different memory at the same address, and the same kernel.
fn spaces() -> Outcome {
    const PLACE: u64 = 0x40_0000;
    let mut roots = [0; 2];
    for (i, root) in roots.iter_mut().enumerate() {
        let space = paging::new_space().zip(frames::alloc_zeroed());
        let Some((space, frame)) = space else {
            ensure!(false, "no memory");
            return Ok(());
        };
        // SAFETY: the frame is ours.
        unsafe { *(paging::direct(frame) as *mut u64) = 0xAAA0 + i as u64 };
        paging::map(space, PLACE, frame, U | W | NX);
        *root = space;
    }
    let seen = cpu::without_interrupts(|| {
        let old = cpu::read_cr3();
        let seen = roots.map(|root| {
            // SAFETY: every space has the kernel in its upper half; the user page is mapped.
            unsafe {
                cpu::write_cr3(root);
                (PLACE as *const u64).read_volatile()
            }
        });
        // SAFETY: back to where we came from.
        unsafe { cpu::write_cr3(old) };
        seen
    });
    roots.into_iter().for_each(paging::free_space);
    ensure!(seen == [0xAAA0, 0xAAA1], "saw {:#x} and {:#x}", seen[0], seen[1]);
    Ok(())
}
