//! One processor in system management mode sees SMRAM where another one, in its own turns, sees the display.

use iced_x86::code_asm::*;

use crate::guest::{Code, DATA, Guest, apic, apic_write, exit, sleep, start_others, wait_for};

/// SMI, to everybody but the sender.
const SMI_OTHERS: u32 = 0xc_4200;
const SMBASE: u32 = 0x3_0000;
const HANDLER: u32 = SMBASE + 0x8000;
/// In the segment of the handler: it runs, it may end, it has ended, how often it has counted in SMRAM.
const RUNS: u32 = 0x7000;
const MAY_END: u32 = 0x7004;
const ENDED: u32 = 0x7008;
const COUNT: u32 = 0x700c;
const STARTED: u32 = DATA;
/// What the first processor saw from outside, and at the end.
const OUTSIDE: u32 = DATA + 4;
const INSIDE: u32 = DATA + 8;
const WINDOW: u32 = 0xa_0000;
const OPEN: u32 = 0x4a;
const CLOSED: u32 = 0x0a;

/// The host bridge's SMRAM register.
fn set_smram(a: &mut CodeAssembler, value: u32) -> Code {
    a.mov(edx, 0xcf8)?;
    a.mov(eax, 0x8000_0070u32)?;
    a.out(dx, eax)?;
    a.mov(edx, 0xcfe)?;
    a.mov(eax, value)?;
    a.out(dx, al)
}

#[test]
fn smram_belongs_to_the_processor_in_the_handler() {
    let mut guest = Guest::new(
        2,
        |a| {
            start_others(a)?;
            wait_for(a, STARTED, 1)?;
            set_smram(a, OPEN)?;
            a.mov(dword_ptr(WINDOW), 0x1111_0000)?;
            set_smram(a, CLOSED)?;
            apic_write(a, apic::ICR, SMI_OTHERS)?;
            wait_for(a, SMBASE + RUNS, 1)?;
            // Turns go to and fro.
            for _ in 0..10 {
                a.mov(eax, dword_ptr(WINDOW))?;
                a.pause()?;
            }
            a.mov(dword_ptr(OUTSIDE), eax)?;
            a.mov(dword_ptr(SMBASE + MAY_END), 1)?;
            wait_for(a, SMBASE + ENDED, 1)?;
            set_smram(a, OPEN)?;
            a.mov(eax, dword_ptr(WINDOW))?;
            a.mov(dword_ptr(INSIDE), eax)?;
            exit(a, 0)
        },
        |a| {
            a.lock().inc(dword_ptr(STARTED))?;
            sleep(a)
        },
    );
    let mut a = CodeAssembler::new(16).unwrap();
    let handler = (|| {
        let mut again = a.create_label();
        a.mov(ax, 0xa000)?;
        a.mov(ds, ax)?;
        a.set_label(&mut again)?;
        a.inc(dword_ptr(0))?;
        a.inc(dword_ptr(COUNT).cs())?;
        a.mov(dword_ptr(RUNS).cs(), 1)?;
        a.pause()?;
        a.cmp(dword_ptr(MAY_END).cs(), 0)?;
        a.je(again)?;
        a.mov(dword_ptr(ENDED).cs(), 1)?;
        a.rsm()?;
        a.assemble(u64::from(HANDLER))
    })();
    for (byte, at) in handler.unwrap().into_iter().zip(HANDLER..) {
        guest.machine.cpu_mut().system_mut().mem.write_bytes(u64::from(at), &[byte]);
    }
    assert_eq!(guest.run(), 0);
    let count = guest.dword(SMBASE + COUNT);
    assert!(count > 5, "{count}");
    assert_eq!(guest.dword(INSIDE), 0x1111_0000 + count);
    assert_ne!(guest.dword(OUTSIDE) >> 16, 0x1111, "the display's memory");
    let [first, second] = guest.machine.cpus() else { panic!("two processors") };
    assert_eq!((first.management.count, second.management.count), (0, 1));
    assert!(!second.smm);
}
