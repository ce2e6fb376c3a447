//! INIT, start-up messages and interrupts from one processor to another.

use emu_core::machine::Stop;
use iced_x86::code_asm::*;

use crate::guest::{
    Code, DATA, Guest, HANDLER, START_PAGE, apic, apic_write, exit, sleep, start_others, wait_for,
};

const STARTED: u32 = DATA;
/// A count for each processor.
const HITS: u32 = DATA + 0x100;
const VECTOR: u8 = 0x61;

/// Counts itself.
fn count(a: &mut CodeAssembler) -> Code {
    a.lock().inc(dword_ptr(STARTED))
}

/// Counts the interrupt for the processor whose number is in ECX.
fn count_hit(a: &mut CodeAssembler) -> Code {
    a.lock().inc(dword_ptr(ecx * 4 + HITS))?;
    apic_write(a, apic::EOI, 0)?;
    a.iretd()
}

fn hits(guest: &Guest) -> Vec<u32> {
    (0..guest.machine.cpus().len() as u32).map(|cpu| guest.dword(HITS + 4 * cpu)).collect()
}

/// A guest whose first processor sends messages when all the others sleep.
fn sender(cpus: usize, send: impl FnOnce(&mut CodeAssembler) -> Code) -> Guest {
    let first = |a: &mut CodeAssembler| {
        start_others(a)?;
        wait_for(a, STARTED, cpus as u32 - 1)?;
        send(a)?;
        // Whoever got one has taken it after these.
        (0..100).try_for_each(|_| a.pause())?;
        exit(a, 0)
    };
    let others = |a: &mut CodeAssembler| {
        // Logical ID: one bit for each.
        a.mov(eax, 0x0100_0000)?;
        a.shl(eax, cl)?;
        a.mov(dword_ptr(edi + apic::LDR as i32), eax)?;
        count(a)?;
        sleep(a)
    };
    Guest::new(cpus, first, others).with_handler(VECTOR, HANDLER, count_hit)
}

fn send(a: &mut CodeAssembler, high: u32, low: u32) -> Code {
    apic_write(a, apic::ICR_HIGH, high)?;
    apic_write(a, apic::ICR, low | u32::from(VECTOR))
}

#[test]
fn init_and_start_up_start_seven_others() {
    let mut guest = sender(8, |_| Ok(()));
    assert_eq!(guest.run(), 0);
    assert_eq!(guest.dword(STARTED), 7);
    let states: Vec<bool> = guest.machine.cpus().iter().map(|cpu| cpu.halted).collect();
    assert_eq!(states, [false, true, true, true, true, true, true, true]);
}

#[test]
fn nobody_starts_without_init() {
    // After power-on the others wait as after INIT; a second start-up message finds nobody waiting.
    let first = |a: &mut CodeAssembler| {
        apic_write(a, apic::ICR, apic::START_OTHERS | START_PAGE)?;
        wait_for(a, STARTED, 1)?;
        apic_write(a, apic::ICR, apic::START_OTHERS | START_PAGE)?;
        (0..100).try_for_each(|_| a.pause())?;
        exit(a, 0)
    };
    let others = |a: &mut CodeAssembler| {
        count(a)?;
        sleep(a)
    };
    let mut guest = Guest::new(2, first, others);
    assert_eq!(guest.run(), 0);
    assert_eq!(guest.dword(STARTED), 1);
}

#[test]
fn init_stops_a_running_processor_and_drops_an_older_start_up() {
    let first = |a: &mut CodeAssembler| {
        start_others(a)?;
        wait_for(a, STARTED, 1)?;
        apic_write(a, apic::ICR, apic::START_OTHERS | START_PAGE)?;
        apic_write(a, apic::ICR, apic::INIT_OTHERS)?;
        (0..100).try_for_each(|_| a.pause())?;
        exit(a, 0)?;
        apic_write(a, apic::ICR, apic::START_OTHERS | START_PAGE)?;
        wait_for(a, STARTED, 2)?;
        exit(a, 1)
    };
    let others = |a: &mut CodeAssembler| {
        let mut forever = a.create_label();
        count(a)?;
        a.set_label(&mut forever)?;
        a.jmp(forever)
    };
    let mut guest = Guest::new(2, first, others);
    assert_eq!(guest.run(), 0);
    assert!(guest.machine.cpus()[1].wait_for_sipi);
    assert_eq!(guest.dword(STARTED), 1);
    assert_eq!(guest.run(), 1);
}

#[test]
fn an_interrupt_goes_to_the_processor_it_names() {
    let mut guest = sender(4, |a| send(a, 2 << 24, 0x4000));
    assert_eq!(guest.run(), 0);
    assert_eq!(hits(&guest), [0, 0, 1, 0]);
}

#[test]
fn a_logical_destination_is_a_set() {
    let mut guest = sender(4, |a| send(a, 0b1010 << 24, 0x4800));
    assert_eq!(guest.run(), 0);
    assert_eq!(hits(&guest), [0, 1, 0, 1]);
}

#[test]
fn everybody_else_is_everybody_else() {
    let mut guest = sender(4, |a| send(a, 0, apic::VECTOR_OTHERS));
    assert_eq!(guest.run(), 0);
    assert_eq!(hits(&guest), [0, 1, 1, 1]);
}

#[test]
fn everybody_includes_the_sender() {
    let mut guest = sender(3, |a| {
        a.sti()?;
        a.xor(ecx, ecx)?;
        send(a, 0, 0x8_4000)
    });
    assert_eq!(guest.run(), 0);
    assert_eq!(hits(&guest), [1, 1, 1]);
}

#[test]
fn lowest_priority_reaches_one_processor() {
    let mut guest = sender(4, |a| send(a, 0b1110 << 24, 0x4900));
    assert_eq!(guest.run(), 0);
    assert_eq!(hits(&guest).iter().sum::<u32>(), 1);
}

#[test]
fn a_non_maskable_interrupt_reaches_another() {
    let mut guest = sender(2, |a| {
        apic_write(a, apic::ICR_HIGH, 1 << 24)?;
        apic_write(a, apic::ICR, 0x4400)
    });
    guest = guest.with_handler(2, HANDLER + 0x100, |a| {
        a.lock().inc(dword_ptr(ecx * 4 + HITS))?;
        a.iretd()
    });
    assert_eq!(guest.run(), 0);
    assert_eq!(hits(&guest), [0, 1]);
}

/// In x2APIC mode the destination has 32 bits and the ICR is one MSR.
#[test]
fn x2apic_messages() {
    const APIC_BASE: u32 = 0x1b;
    const ICR: u32 = 0x830;
    let x2apic_on = |a: &mut CodeAssembler| -> Code {
        a.mov(ecx, APIC_BASE)?;
        a.rdmsr()?;
        a.or(eax, 0xc00)?;
        a.wrmsr()
    };
    let message = |a: &mut CodeAssembler, high: u32, low: u32| -> Code {
        a.mov(ecx, ICR)?;
        a.mov(edx, high)?;
        a.mov(eax, low)?;
        a.wrmsr()
    };
    let first = |a: &mut CodeAssembler| {
        x2apic_on(a)?;
        message(a, 0, apic::INIT_OTHERS)?;
        message(a, 0, apic::START_OTHERS | START_PAGE)?;
        wait_for(a, STARTED, 3)?;
        message(a, 3, 0x4000 | u32::from(VECTOR))?; // physical
        message(a, 0b0110, 0x4800 | u32::from(VECTOR))?; // logical: cluster 0
        (0..100).try_for_each(|_| a.pause())?;
        exit(a, 0)
    };
    let others = |a: &mut CodeAssembler| {
        a.mov(ebx, ecx)?;
        x2apic_on(a)?;
        count(a)?;
        sleep(a)
    };
    let mut guest = Guest::new(4, first, others).with_handler(VECTOR, HANDLER, |a| {
        a.lock().inc(dword_ptr(ebx * 4 + HITS))?;
        a.mov(ecx, 0x80b)?;
        a.xor(eax, eax)?;
        a.xor(edx, edx)?;
        a.wrmsr()?;
        a.iretd()
    });
    assert_eq!(guest.run(), 0);
    assert_eq!(hits(&guest), [0, 1, 1, 1]);
}

/// On a PC a shutdown of any processor resets the machine.
#[test]
fn a_triple_fault_of_another_processor_is_the_machines() {
    let first = |a: &mut CodeAssembler| {
        start_others(a)?;
        sleep(a)
    };
    let others = |a: &mut CodeAssembler| {
        a.push(0)?;
        a.push(0)?;
        a.lidt(ptr(esp))?;
        a.ud2()
    };
    let mut guest = Guest::new(2, first, others);
    assert!(matches!(guest.machine.run(1_000_000), Stop::TripleFault(_)));
    let count = guest.machine.instructions();
    guest.machine.reset();
    let waiting: Vec<bool> = guest.machine.cpus().iter().map(|cpu| cpu.wait_for_sipi).collect();
    assert_eq!((waiting, guest.machine.rip()), (vec![false, true], 0xfff0));
    assert_eq!(guest.machine.instructions(), count, "counts go on");
    assert_eq!(guest.machine.run(count + 2), Stop::Halted { next_event: u64::MAX }, "the firmware is HLT");
}
