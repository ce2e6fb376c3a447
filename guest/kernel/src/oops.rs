//! A mistake on purpose: a text runs over the end of its array, and the kernel dies of it only later, elsewhere. For practice
//! with a debugger and a trace; emu's docs/debugging.md goes through it.

use crate::println;

/// A drawer. What is written behind the end of its label is written over the address of what lies in it.
#[repr(C)]
struct Drawer {
    label: [u8; 8],
    content: *const u64,
}

static THINGS: [u64; 3] = [5, 500, 2];

/// Has the longest label one word too many, and looks into all drawers afterwards.
pub fn command(_: &str) {
    let mut drawers = [0, 1, 2].map(|n| Drawer { label: [0; 8], content: &raw const THINGS[n] });
    for (drawer, label) in drawers.iter_mut().zip(["pens", "paper", "scissors and"]) {
        println!("a drawer for {label}");
        // SAFETY: none, that is the point: the label has room for eight bytes.
        unsafe { oops_write_label(drawer, label.as_ptr(), label.len()) };
    }
    println!("all drawers have their labels");
    for drawer in &drawers {
        // SAFETY: as above.
        println!("there are {} things in it", unsafe { oops_look_into(drawer) });
    }
}

/// Writes the label without a look at how much room there is.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn oops_write_label(drawer: *mut Drawer, text: *const u8, length: usize) {
    for n in 0..length {
        // SAFETY: the caller's business, who does not care.
        unsafe { drawer.cast::<u8>().add(n).write_volatile(text.add(n).read()) };
    }
}

/// Counts what lies in a drawer.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn oops_look_into(drawer: *const Drawer) -> u64 {
    // SAFETY: the content's address is good unless somebody wrote over it.
    unsafe { (*drawer).content.read_volatile() }
}
