//! Memory that several processors use: locks, code that another one changes, translations that another one changes.

use iced_x86::code_asm::*;

use crate::guest::{
    Code, DATA, Guest, HANDLER, PATCHED, apic, apic_write, exit, sleep, start_others, wait_for,
};

const STARTED: u32 = DATA;
const FINISHED: u32 = DATA + 4;
const LOCK: u32 = DATA + 8;
const COUNT: u32 = DATA + 12;
const ATOMIC: u32 = DATA + 16;
const ORDER: u32 = DATA + 20;
const ANSWER: u32 = DATA + 24;
const WRONG: u32 = DATA + 28;
const LAST_TIME: u32 = DATA + 32;

/// Takes the lock, spinning with PAUSE or without.
fn take_lock(a: &mut CodeAssembler, pause: bool) -> Code {
    let (mut again, mut taken) = (a.create_label(), a.create_label());
    a.set_label(&mut again)?;
    a.mov(eax, 1)?;
    a.xchg(dword_ptr(LOCK), eax)?;
    a.test(eax, eax)?;
    a.je(taken)?;
    if pause {
        a.pause()?;
    }
    a.jmp(again)?;
    a.set_label(&mut taken)?;
    a.zero_bytes()
}

/// What everybody does in the tests of locks: so many rounds under the lock, and one atomic addition in each.
fn rounds(a: &mut CodeAssembler, rounds: u32, pause: bool, inside: fn(&mut CodeAssembler) -> Code) -> Code {
    let mut again = a.create_label();
    a.mov(ebp, rounds)?;
    a.set_label(&mut again)?;
    a.nop()?; // one label for each instruction
    take_lock(a, pause)?;
    inside(a)?;
    a.mov(dword_ptr(LOCK), 0)?;
    a.mov(eax, 3)?;
    a.lock().xadd(dword_ptr(ATOMIC), eax)?;
    a.dec(ebp)?;
    a.jne(again)
}

/// An addition that loses counts when another processor comes between.
fn slow_increment(a: &mut CodeAssembler) -> Code {
    let mut delay = a.create_label();
    a.mov(ebx, dword_ptr(COUNT))?;
    a.mov(esi, 50)?;
    a.set_label(&mut delay)?;
    a.dec(esi)?;
    a.jne(delay)?;
    a.inc(ebx)?;
    a.mov(dword_ptr(COUNT), ebx)
}

fn contend(cpus: usize, count: u32, pause: bool, inside: fn(&mut CodeAssembler) -> Code) -> Guest {
    let first = |a: &mut CodeAssembler| {
        start_others(a)?;
        rounds(a, count, pause, inside)?;
        wait_for(a, FINISHED, cpus as u32 - 1)?;
        exit(a, 0)
    };
    let others = |a: &mut CodeAssembler| {
        rounds(a, count, pause, inside)?;
        a.lock().inc(dword_ptr(FINISHED))?;
        sleep(a)
    };
    Guest::new(cpus, first, others)
}

#[test]
fn a_lock_keeps_counts_together() {
    for pause in [false, true] {
        let mut guest = contend(4, 500, pause, slow_increment);
        assert_eq!(guest.run(), 0);
        assert_eq!((guest.dword(COUNT), guest.dword(ATOMIC)), (2000, 6000), "pause: {pause}");
    }
}

/// The opposite of the test above: turns do end within the addition.
#[test]
fn without_a_lock_counts_are_lost() {
    let unlocked = |a: &mut CodeAssembler| {
        a.mov(dword_ptr(LOCK), 0)?;
        slow_increment(a)
    };
    let mut guest = contend(4, 2000, false, unlocked);
    assert_eq!(guest.run(), 0);
    assert!(guest.dword(COUNT) < 8000);
}

#[test]
fn time_never_goes_back_from_one_processor_to_the_next() {
    let check = |a: &mut CodeAssembler| {
        let mut fine = a.create_label();
        a.rdtsc()?;
        a.mov(ebx, eax)?;
        a.mov(ecx, edx)?;
        a.sub(eax, dword_ptr(LAST_TIME))?;
        a.sbb(edx, dword_ptr(LAST_TIME + 4))?;
        a.jae(fine)?;
        a.inc(dword_ptr(WRONG))?;
        a.set_label(&mut fine)?;
        a.mov(dword_ptr(LAST_TIME), ebx)?;
        a.mov(dword_ptr(LAST_TIME + 4), ecx)?;
        a.inc(dword_ptr(COUNT))
    };
    let mut guest = contend(3, 3000, true, check);
    assert_eq!(guest.run(), 0);
    assert_eq!((guest.dword(COUNT), guest.dword(WRONG)), (9000, 0));
}

/// The same run gives the same state, however the driver slices it.
#[test]
fn slices_do_not_show() {
    let state = |slice: u64| {
        let mut guest = contend(4, 300, true, slow_increment);
        assert_eq!(guest.run_in_slices(slice), 0);
        (guest.machine.instructions(), guest.machine.now(), guest.machine.state_hash())
    };
    let whole = state(50_000_000);
    for slice in [1, 7, 333, 10_000, 12_345] {
        assert_eq!(state(slice), whole, "{slice} instructions at a time");
    }
}

/// Writes `MOV EAX, order; RET` to a page that the writer has written before and the other has executed before.
#[test]
fn code_that_another_processor_writes_is_executed_as_written() {
    const ROUNDS: u32 = 40;
    let first = |a: &mut CodeAssembler| {
        start_others(a)?;
        for round in 1..=ROUNDS {
            // Two pages in turn; the first writes find no code there yet and go the fast way.
            let at = PATCHED + (round & 1) * 0x1000;
            for value in [0, round] {
                a.mov(byte_ptr(at), 0xb8u32 as i32)?;
                a.mov(dword_ptr(at + 1), value as i32)?;
                a.mov(byte_ptr(at + 5), 0xc3u32 as i32)?;
            }
            a.mov(dword_ptr(ORDER), at as i32)?;
            wait_for(a, ANSWER, round)?;
        }
        exit(a, 0)
    };
    let others = |a: &mut CodeAssembler| {
        let (mut again, mut call) = (a.create_label(), a.create_label());
        a.set_label(&mut again)?;
        a.pause()?;
        a.set_label(&mut call)?;
        a.mov(ebx, dword_ptr(ORDER))?;
        a.test(ebx, ebx)?;
        a.je(again)?;
        a.call(ebx)?;
        a.mov(dword_ptr(ANSWER), eax)?;
        a.jmp(call)
    };
    let mut guest = Guest::new(2, first, others);
    assert_eq!(guest.run(), 0);
    assert!(guest.machine.stats().code_invalidations >= u64::from(ROUNDS) - 2);
}

const DIRECTORY: u32 = 0x2_0000;
const PAGE_TABLE: u32 = 0x2_1000;
/// The page whose translation changes, and the frames that it shows in turn.
const WINDOW: u32 = 0x10_0000;
const FRAMES: [u32; 2] = [0x11_0000, 0x12_0000];
const SHOOTDOWN: u8 = 0x70;

fn paging_on(a: &mut CodeAssembler) -> Code {
    a.mov(eax, DIRECTORY)?;
    a.mov(cr3, eax)?;
    a.mov(eax, cr4)?;
    a.or(eax, 0x10)?; // PSE
    a.mov(cr4, eax)?;
    a.mov(eax, 0x8001_0011u32)?;
    a.mov(cr0, eax)
}

/// The other processor reads the window all the time, so that its translation is cached.
fn shootdown(invalidate: bool) -> Guest {
    const ROUNDS: u32 = 20;
    let first = |a: &mut CodeAssembler| {
        paging_on(a)?;
        start_others(a)?;
        wait_for(a, STARTED, 1)?;
        for round in 1..=ROUNDS {
            let frame = FRAMES[round as usize & 1];
            a.mov(dword_ptr(PAGE_TABLE + 4 * (WINDOW >> 12)), (frame | 3) as i32)?;
            apic_write(a, apic::ICR, apic::VECTOR_OTHERS | u32::from(SHOOTDOWN))?;
            wait_for(a, FINISHED, round)?;
            // From here on the other processor may see nothing but the new frame.
            a.mov(dword_ptr(ANSWER), 0)?;
            let mut again = a.create_label();
            a.set_label(&mut again)?;
            a.pause()?;
            a.mov(eax, dword_ptr(ANSWER))?;
            a.test(eax, eax)?;
            a.je(again)?;
            let mut fine = a.create_label();
            a.cmp(eax, frame as i32)?;
            a.je(fine)?;
            a.inc(dword_ptr(WRONG))?;
            a.set_label(&mut fine)?;
            a.zero_bytes()?;
        }
        exit(a, 0)
    };
    let others = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        paging_on(a)?;
        a.mov(eax, dword_ptr(WINDOW))?;
        a.lock().inc(dword_ptr(STARTED))?;
        a.sti()?;
        a.set_label(&mut again)?;
        a.mov(eax, dword_ptr(WINDOW))?;
        a.mov(dword_ptr(ANSWER), eax)?;
        a.pause()?;
        a.jmp(again)
    };
    let mut guest = Guest::new(2, first, others).with_handler(SHOOTDOWN, HANDLER, |a| {
        if invalidate {
            a.invlpg(byte_ptr(WINDOW))?;
        }
        a.inc(dword_ptr(FINISHED))?;
        // What was read before the message does not count.
        a.mov(eax, dword_ptr(WINDOW))?;
        apic_write(a, apic::EOI, 0)?;
        a.iretd()
    });
    guest.write(DIRECTORY, u64::from(PAGE_TABLE | 3));
    guest.write(DIRECTORY + 4 * (apic::BASE >> 22), u64::from(apic::BASE & !0x3f_ffff | 0x83));
    for page in 0..1024 {
        guest.write(PAGE_TABLE + 4 * page, u64::from(page << 12 | 3));
    }
    guest.write(PAGE_TABLE + 4 * (WINDOW >> 12), u64::from(FRAMES[0] | 3) | u64::from(WINDOW + 0x1003) << 32);
    for frame in FRAMES {
        guest.write(frame, u64::from(frame));
    }
    guest
}

#[test]
fn a_shootdown_ends_the_old_translation() {
    let mut guest = shootdown(true);
    assert_eq!(guest.run(), 0);
    assert_eq!(guest.dword(WRONG), 0);
}

/// As on a processor: until its own INVLPG the other one keeps what it has cached.
#[test]
fn without_invlpg_the_old_translation_stays() {
    let mut guest = shootdown(false);
    assert_eq!(guest.run(), 0);
    assert!(guest.dword(WRONG) > 0);
}
