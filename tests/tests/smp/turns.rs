//! When a turn ends, and how time passes.

use emu_core::cpu::Cpu;
use emu_core::observe::{Flow, Hooks, Instruction, Observer};
use emu_core::turns::TURN;
use iced_x86::code_asm::*;

use crate::guest::{Code, DATA, Guest, HANDLER, apic, apic_write, exit, sleep, start_others, wait_for};

const STARTED: u32 = DATA;
const FLAG: u32 = DATA + 0x40;
const COUNT: u32 = DATA + 0x80;

fn count_for_good(a: &mut CodeAssembler) -> Code {
    let mut again = a.create_label();
    a.lock().inc(dword_ptr(STARTED))?;
    a.set_label(&mut again)?;
    a.inc(dword_ptr(COUNT))?;
    a.jmp(again)
}

/// What the first processor does meanwhile.
fn start_others_and_spin(a: &mut CodeAssembler) -> Code {
    start_others(a)?;
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.jmp(again)
}

/// Two processors that never wait get equal shares.
#[test]
fn busy_processors_have_turns_of_equal_length() {
    let mut guest = Guest::new(2, start_others_and_spin, count_for_good);
    guest.machine.run(20 * TURN);
    let retired: Vec<u64> = guest.machine.cpus().iter().map(|cpu| cpu.retired).collect();
    assert_eq!(retired, [10 * TURN; 2]);
    assert_eq!(guest.machine.now(), 20 * TURN, "one nanosecond for each instruction of either");
}

/// Notes whose turn ended when, and whose instructions ran.
#[derive(Default)]
struct Watch {
    left: Vec<usize>,
    ran: Vec<usize>,
}

impl Observer for Watch {
    fn hooks(&self) -> Hooks {
        Hooks::INSTRUCTIONS
    }

    fn instruction(&mut self, cpu: &mut Cpu, _: &Instruction<'_>) -> Flow {
        if self.ran.last() != Some(&cpu.number) {
            self.ran.push(cpu.number);
        }
        Flow::Go
    }

    fn leave(&mut self, cpu: &mut Cpu) {
        self.left.push(cpu.number);
    }
}

/// An observer is told of the end of each turn, by the processor that leaves.
#[test]
fn an_observer_sees_every_turn_end() {
    let mut guest = Guest::new(2, start_others_and_spin, count_for_good);
    guest.machine.set_observer(Some(Box::<Watch>::default()));
    guest.machine.run(20 * TURN);
    let watch = std::mem::take(guest.machine.observer::<Watch>().expect("it looks on"));
    assert!(watch.left.len() >= 18, "{:?}", watch.left);
    // Who left is who ran before, and the next one in the list runs after it.
    assert_eq!(watch.left, watch.ran[..watch.left.len()]);
    assert!(watch.ran.len() <= watch.left.len() + 1);
}

/// A processor that spins with PAUSE leaves nearly all instructions to the one that works.
#[test]
fn pause_ends_a_turn() {
    let first = |a: &mut CodeAssembler| {
        start_others(a)?;
        wait_for(a, FLAG, 1)
    };
    let mut guest = Guest::new(2, first, count_for_good);
    guest.machine.run(100 * TURN);
    let spinning = guest.machine.cpus()[0].retired;
    assert!(spinning < 500, "{spinning} instructions of {}", 100 * TURN);
}

/// While all others sleep there is nobody to leave a turn to, and one that spins does not pay for looking. What they
/// would do is the same: the driver's slices, between which they are asked, do not show.
#[test]
fn a_processor_that_pauses_keeps_its_turn_while_the_others_sleep() {
    const PAUSES: u32 = 500;
    let spin = |waits: bool| {
        let others = move |a: &mut CodeAssembler| {
            a.lock().inc(dword_ptr(STARTED))?;
            if waits {
                a.mov(eax, FLAG)?;
                a.xor(ecx, ecx)?;
                a.xor(edx, edx)?;
                a.monitor()?;
                a.mwait()?;
                a.mov(dword_ptr(COUNT), 77)?;
            }
            sleep(a)
        };
        let first = move |a: &mut CodeAssembler| {
            start_others(a)?;
            wait_for(a, STARTED, 1)?;
            (0..PAUSES).try_for_each(|_| a.pause())?;
            if waits {
                a.mov(dword_ptr(FLAG), 1)?;
                wait_for(a, COUNT, 77)?;
            }
            exit(a, 0)
        };
        Guest::new(2, first, others)
    };
    for waits in [false, true] {
        let mut guest = spin(waits);
        guest.machine.set_observer(Some(Box::<Watch>::default()));
        assert_eq!(guest.run(), 0);
        let watch = guest.machine.observer::<Watch>().expect("it looks on");
        assert!(watch.left.len() < 100, "{} turns", watch.left.len());
        let state = |slice: u64| {
            let mut guest = spin(waits);
            assert_eq!(guest.run_in_slices(slice), 0);
            (guest.machine.instructions(), guest.machine.now(), guest.machine.state_hash())
        };
        let whole = state(50_000_000);
        for slice in [1, 7, 333] {
            assert_eq!(state(slice), whole, "{slice} instructions at a time");
        }
    }
}

/// A halted processor takes no time, and wakes for an interrupt of the one that works.
#[test]
fn a_halted_processor_takes_no_turn() {
    let others = |a: &mut CodeAssembler| {
        a.lock().inc(dword_ptr(STARTED))?;
        sleep(a)
    };
    let first = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        start_others(a)?;
        wait_for(a, STARTED, 3)?;
        a.mov(ebp, 200_000)?;
        a.set_label(&mut again)?;
        a.dec(ebp)?;
        a.jne(again)?;
        exit(a, 0)
    };
    let mut guest = Guest::new(4, first, others);
    assert_eq!(guest.run(), 0);
    assert!(guest.machine.cpus()[1..].iter().all(|cpu| cpu.halted && cpu.retired < 100));
}

/// All are halted: time jumps to the timer of one of them, and it is that one which wakes.
#[test]
fn time_skips_only_when_all_are_halted() {
    const PERIOD: u32 = 5_000_000;
    let others = |a: &mut CodeAssembler| {
        apic_write(a, apic::LVT_TIMER, 0x50)?;
        apic_write(a, apic::INITIAL_COUNT, PERIOD)?; // divided by two
        a.lock().inc(dword_ptr(STARTED))?;
        sleep(a)
    };
    let first = |a: &mut CodeAssembler| {
        start_others(a)?;
        sleep(a)
    };
    let mut guest = Guest::new(3, first, others).with_handler(0x50, HANDLER, |a| {
        a.lock().inc(dword_ptr(COUNT))?;
        let mut wait = a.create_label();
        a.cmp(dword_ptr(COUNT), 2)?;
        a.jne(wait)?;
        exit(a, 0)?;
        a.set_label(&mut wait)?;
        apic_write(a, apic::EOI, 0)?;
        a.iretd()
    });
    assert_eq!(guest.run(), 0);
    let (now, count) = (guest.machine.now(), guest.machine.instructions());
    assert!(count < 500, "{count}");
    assert!((2 * u64::from(PERIOD)..2 * u64::from(PERIOD) + 1000).contains(&now), "{now}");
}

/// MWAIT ends when another processor writes the monitored line.
#[test]
fn a_store_of_another_processor_ends_mwait() {
    let others = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.lock().inc(dword_ptr(STARTED))?;
        a.set_label(&mut again)?;
        a.mov(eax, FLAG)?;
        a.xor(ecx, ecx)?;
        a.xor(edx, edx)?;
        a.monitor()?;
        a.xor(eax, eax)?;
        a.mwait()?;
        a.cmp(dword_ptr(FLAG), 0)?;
        a.je(again)?;
        a.mov(dword_ptr(COUNT), 77)?;
        sleep(a)
    };
    let first = |a: &mut CodeAssembler| {
        start_others(a)?;
        wait_for(a, STARTED, 1)?;
        (0..50).try_for_each(|_| a.pause())?;
        a.mov(dword_ptr(FLAG + 8), 1)?;
        a.mov(dword_ptr(FLAG), 1)?;
        wait_for(a, COUNT, 77)?;
        exit(a, 0)
    };
    let mut guest = Guest::new(2, first, others);
    assert_eq!(guest.run(), 0);
}

/// RDRAND of one processor says nothing about that of another.
#[test]
fn processors_have_random_numbers_of_their_own() {
    let draw = |a: &mut CodeAssembler| -> Code {
        a.rdrand(eax)?;
        a.mov(dword_ptr(ecx * 4 + COUNT), eax)?;
        a.lock().inc(dword_ptr(STARTED))
    };
    let first = |a: &mut CodeAssembler| {
        start_others(a)?;
        draw(a)?;
        wait_for(a, STARTED, 2)?;
        exit(a, 0)
    };
    let others = |a: &mut CodeAssembler| {
        draw(a)?;
        sleep(a)
    };
    let mut guest = Guest::new(2, first, others);
    assert_eq!(guest.run(), 0);
    assert_ne!(guest.dword(COUNT), guest.dword(COUNT + 4));
}

/// CPUID numbers the processors as cores of one package.
#[test]
fn cpuid_tells_cores() {
    let guest = Guest::new(6, sleep, sleep);
    for (number, cpu) in guest.machine.cpus().iter().enumerate() {
        let [_, id, _, features] = cpu.cpuid(1, 0);
        assert_eq!((id >> 24, id >> 16 & 0xff, features >> 28 & 1), (number as u32, 8, 1));
        assert_eq!(cpu.cpuid(4, 0)[0] >> 26, 7);
        assert_eq!(cpu.cpuid(0xb, 0), [0, 1, 0x100, number as u32]);
        assert_eq!(cpu.cpuid(0xb, 1), [3, 6, 0x201, number as u32]);
        assert_eq!(cpu.cpuid(0xb, 2), [0, 0, 2, number as u32]);
    }
    let alone = Guest::new(1, sleep, sleep);
    assert_eq!(alone.machine.cpu().cpuid(1, 0)[3] >> 28 & 1, 0);
}
