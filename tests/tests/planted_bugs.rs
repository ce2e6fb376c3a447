//! Faults planted one at a time into an engine: the lockstep comparison must find each, at its instruction.
//!
//! The other machine is the sound interpreter, whose states are written down as QEMU writes its own. Both run the same
//! firmware image of random instructions.

use std::fmt::Write as _;

use emu_core::bus::Bus;
use emu_core::cpu::eflags::{AF, CF, IF, OF, PF, SF, ZF};
use emu_core::cpu::{Cpu, FS, RIP};
use emu_core::engine::{Engine, Exit};
use emu_core::interp::Interpreter;
use emu_core::machine::{Machine, Stop, TimeSource};
use emu_core::mem::Memory;
use emu_devices::pc::{Pc, PcConfig};
use emu_diff::fuzz::image::places::{DATA, STACK, TABLES, WINDOW};
use emu_diff::fuzz::image::{self, EXIT_PORT};
use emu_diff::fuzz::places::{PAGE, Registers};
use emu_diff::fuzz::shrink::Case;
use emu_diff::listing::Place;
use emu_diff::lockstep::follow::Follower;
use emu_diff::lockstep::{Lockstep, Next};
use emu_diff::qemu::log::Log;
use emu_diff::random::Random;
use emu_diff::state::{State, Vectors};
use emu_jit::Translator;
use iced_x86::{Mnemonic, Register};

/// Instructions of the image that run.
const STEPS: usize = 60_000;

/// What goes wrong after an instruction; true when it did.
type Wrong = fn(&mut Cpu, &State) -> bool;

/// A fault: the instruction that it strikes, and what goes wrong.
struct Bug {
    name: &'static str,
    mnemonics: &'static [&'static str],
    wrong: Wrong,
}

fn flip(cpu: &mut Cpu, flags: u64) -> bool {
    let value = cpu.flags.get() ^ flags;
    cpu.set_flags(value);
    true
}

/// The register that the instruction changed, if exactly one did, gets another value.
fn spoil(cpu: &mut Cpu, before: &State, change: impl Fn(u64) -> u64) -> bool {
    let changed: Vec<_> = (0..16).filter(|&n| n != 4 && cpu.regs[n] != before.regs[n]).collect();
    let [n] = changed[..] else { return false };
    let new = change(cpu.regs[n]);
    let differs = new != cpu.regs[n];
    cpu.regs[n] = new;
    differs
}

const BUGS: &[Bug] = &[
    Bug { name: "AF of ADD", mnemonics: &["add"], wrong: |cpu, _| flip(cpu, AF) },
    Bug { name: "OF of SUB", mnemonics: &["sub"], wrong: |cpu, _| flip(cpu, OF) },
    Bug { name: "CF of ADC", mnemonics: &["adc"], wrong: |cpu, _| flip(cpu, CF) },
    Bug { name: "ZF of SBB", mnemonics: &["sbb"], wrong: |cpu, _| flip(cpu, ZF) },
    Bug { name: "PF of XOR", mnemonics: &["xor"], wrong: |cpu, _| flip(cpu, PF) },
    Bug {
        name: "a shift count of zero that changes flags",
        mnemonics: &["shl", "shr", "sar"],
        wrong: |cpu, before| before.regs[1] & 31 == 0 && before.flags == cpu.flags.get() && flip(cpu, CF),
    },
    Bug { name: "CF of BT", mnemonics: &["bt"], wrong: |cpu, _| flip(cpu, CF) },
    Bug { name: "ZF of BSF", mnemonics: &["bsf"], wrong: |cpu, _| flip(cpu, ZF) },
    Bug { name: "CF of IMUL", mnemonics: &["imul"], wrong: |cpu, _| flip(cpu, CF | OF) },
    Bug {
        name: "CMOV that keeps the upper half",
        mnemonics: &["cmova", "cmovae", "cmovb", "cmovbe", "cmove", "cmovne", "cmovs", "cmovns"],
        wrong: |cpu, before| spoil(cpu, before, |value| value | 1 << 40),
    },
    Bug {
        name: "LEA one too high",
        mnemonics: &["lea"],
        wrong: |cpu, before| spoil(cpu, before, |value| value.wrapping_add(1)),
    },
    Bug {
        name: "MOVZX that extends the sign",
        mnemonics: &["movzx"],
        wrong: |cpu, before| spoil(cpu, before, |value| u64::from(value as u8 as i8 as u32) ^ value << 16),
    },
    Bug { name: "ZF of LAR", mnemonics: &["lar"], wrong: |cpu, _| flip(cpu, ZF) },
    Bug {
        name: "LSL in pages",
        mnemonics: &["lsl"],
        wrong: |cpu, before| spoil(cpu, before, |value| value >> 12),
    },
    Bug { name: "ZF of VERR", mnemonics: &["verr"], wrong: |cpu, _| flip(cpu, ZF) },
    Bug {
        name: "a segment load that forgets the limit",
        mnemonics: &["mov"],
        wrong: |cpu, before| {
            let loaded = cpu.seg[FS].selector != before.seg[FS].selector && cpu.seg[FS].limit == 0xfff;
            if loaded {
                cpu.seg[FS].limit = 0xffff_ffff;
            }
            loaded
        },
    },
    Bug {
        name: "INT n that leaves interrupts on",
        mnemonics: &["int", "int3"],
        wrong: |cpu, before| cpu.regs[RIP] != before.rip && flip(cpu, IF),
    },
    Bug {
        name: "a wrong CR2",
        mnemonics: &["*"],
        wrong: |cpu, before| {
            let faulted = cpu.cr2 != before.cr2;
            cpu.cr2 ^= u64::from(faulted) << 3;
            faulted
        },
    },
    Bug {
        name: "a fault with one slot too many on the stack",
        mnemonics: &["ud2"],
        wrong: |cpu, _| {
            cpu.regs[4] -= 8;
            true
        },
    },
    Bug {
        name: "SMSW of an old CR0",
        mnemonics: &["smsw"],
        wrong: |cpu, before| spoil(cpu, before, |value| value ^ 8),
    },
    Bug {
        name: "DR6 with a bit that is always 0",
        mnemonics: &["mov"],
        wrong: |cpu, before| {
            let written = cpu.dr[6] != before.dr[6];
            cpu.dr[6] |= u64::from(written) << 12;
            written
        },
    },
    Bug {
        name: "C1 of an x87 stack overflow, lost",
        mnemonics: &["fld", "fild", "fbld", "fld1", "fldz", "fldpi", "fldl2e", "fldl2t", "fldlg2", "fldln2"],
        wrong: |cpu, _| {
            const C1: u16 = 1 << 9;
            let overflowed = cpu.fpu.status & C1 != 0;
            cpu.fpu.status &= !C1;
            overflowed
        },
    },
    Bug {
        name: "a page fault whose error code has the other W/R",
        mnemonics: &["*"],
        wrong: |cpu, before| {
            let faulted = cpu.cr2 != before.cr2;
            let raised = cpu.fault_chain.last_mut().filter(|raised| faulted && raised.exception.vector == 14);
            raised.map(|raised| raised.exception.error ^= 2).is_some()
        },
    },
    Bug {
        name: "a limit that is not checked",
        mnemonics: &["mov", "add", "sub", "and", "or", "xor", "cmp", "test"],
        wrong: |cpu, before| {
            let faulted = cpu.regs[RIP] & !0xfff != before.rip & !0xfff;
            let missed =
                faulted && cpu.fault_chain.last().is_some_and(|raised| raised.exception.vector == 13);
            if missed {
                // It goes on in the next slot as if nothing had been.
                cpu.regs[..16].copy_from_slice(&before.regs);
                cpu.regs[RIP] = (before.rip & !15) + 16;
                cpu.set_flags(before.flags);
            }
            missed
        },
    },
    Bug { name: "SF of POPF", mnemonics: &["popf", "popfd", "popfq"], wrong: |cpu, _| flip(cpu, SF) },
];

/// An engine with a fault.
struct Faulty {
    inner: Box<dyn Engine>,
    bug: &'static Bug,
    struck: bool,
}

impl Engine for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn run(&mut self, cpu: &mut Cpu, until: u64) -> Exit {
        loop {
            let (place, before) = (Place::of(cpu, 0), State::of(cpu));
            let next = (cpu.retired + 1).min(until);
            let exit = self.inner.run(cpu, next);
            let mnemonic = format!("{:?}", place.instruction().mnemonic()).to_lowercase();
            let hit = self.bug.mnemonics.iter().any(|name| *name == "*" || *name == mnemonic);
            if hit && !self.struck && State::of(cpu) != before {
                self.struck = (self.bug.wrong)(cpu, &before);
            }
            if exit != Exit::Limit || cpu.retired >= until {
                return exit;
            }
        }
    }

    fn clear(&mut self, cpu: &mut Cpu) {
        self.inner.clear(cpu);
    }

    fn counters(&self) -> (u64, u64) {
        self.inner.counters()
    }
}

fn board(image: &[u8]) -> (Box<dyn Bus>, Memory) {
    let config = PcConfig {
        ram_size: 64 << 20,
        bios: image.to_vec(),
        debug_exit_port: Some(EXIT_PORT),
        ..PcConfig::default()
    };
    let (pc, mem) = Pc::new(config).expect("the host has memory");
    (Box::new(Follower::new(Box::new(pc))), mem)
}

fn machine(image: &[u8], engine: Box<dyn Engine>) -> Machine {
    let (board, mem) = board(image);
    Machine::new(mem, board, engine, TimeSource::Virtual)
}

/// What QEMU would write about a sound machine.
fn log(image: &[u8]) -> String {
    let mut machine = machine(image, Box::<Interpreter>::default());
    let mut text = String::new();
    for count in 1..=STEPS {
        write_step(&mut text, &State::of(machine.cpu()));
        write_vectors(&mut text, &Vectors::of(machine.cpu()));
        let exceptions = machine.cpu().counters.exceptions;
        if machine.run(count as u64) != Stop::Limit {
            break;
        }
        let cpu = machine.cpu();
        if cpu.counters.exceptions != exceptions
            && let Some(raised) = cpu.fault_chain.last().map(|last| last.exception)
        {
            let line = format!("     0: v={:02x} e={:04x} i=0 cpl=0\n", raised.vector, raised.error);
            text.push_str(&line);
        }
    }
    text
}

fn write_vectors(text: &mut String, v: &Vectors) {
    let top = v.status >> 11 & 7;
    let mut line = |part: std::fmt::Arguments<'_>| writeln!(text, "{part}").expect("memory");
    line(format_args!(
        "FCW={:04x} FSW={:04x} [ST={top}] FTW={:02x} MXCSR={:08x}",
        v.control, v.status, v.valid, v.mxcsr
    ));
    for (n, (significand, sign_exponent)) in v.x87.iter().enumerate() {
        line(format_args!("FPR{n}={significand:016x} {sign_exponent:04x}"));
    }
    for (n, [a, b, c, d]) in v.ymm.iter().enumerate() {
        line(format_args!("YMM{n:02}={d:016x} {c:016x} {b:016x} {a:016x}"));
    }
}

fn write_step(text: &mut String, s: &State) {
    text.push_str("Trace 0: 0x0 [0/0/0/0] \n");
    let r = s.regs;
    let mut line = |part: std::fmt::Arguments<'_>| writeln!(text, "{part}").expect("memory");
    line(format_args!("RAX={:016x} RBX={:016x} RCX={:016x} RDX={:016x}", r[0], r[3], r[1], r[2]));
    line(format_args!("RSI={:016x} RDI={:016x} RBP={:016x} RSP={:016x}", r[6], r[7], r[5], r[4]));
    line(format_args!("R8 ={:016x} R9 ={:016x} R10={:016x} R11={:016x}", r[8], r[9], r[10], r[11]));
    line(format_args!("R12={:016x} R13={:016x} R14={:016x} R15={:016x}", r[12], r[13], r[14], r[15]));
    line(format_args!("RIP={:016x} RFL={:08x} [-------] CPL={} II=0", s.rip, s.flags, s.cpl));
    for (name, segment) in ["ES ", "CS ", "SS ", "DS ", "FS ", "GS ", "LDT", "TR "].iter().zip(&s.seg) {
        let high = (u32::from(segment.rights) & 0xf0ff) << 8;
        line(format_args!(
            "{name}={:04x} {:016x} {:08x} {high:08x}",
            segment.selector, segment.base, segment.limit
        ));
    }
    line(format_args!("GDT=     {:016x} {:08x}", s.gdtr.0, s.gdtr.1));
    line(format_args!("IDT=     {:016x} {:08x}", s.idtr.0, s.idtr.1));
    line(format_args!("CR0={:08x} CR2={:016x} CR3={:016x} CR4={:08x}", s.cr0, s.cr2, s.cr3, s.cr4));
    line(format_args!(
        "DR0={:016x} DR1={:016x} DR2={:016x} DR3={:016x} ",
        s.dr[0], s.dr[1], s.dr[2], s.dr[3]
    ));
    line(format_args!("DR6={:016x} DR7={:016x}", s.dr[6], s.dr[7]));
    line(format_args!("EFER={:016x}", s.efer));
}

/// Compares a machine with the log; the mnemonic at the first difference.
fn first_difference(log: &str, image: &[u8], engine: Box<dyn Engine>) -> Option<String> {
    let mut lockstep = Lockstep::new(Log::new(log.as_bytes()), machine(image, engine), &[]);
    loop {
        match lockstep.step().expect("the log is sound") {
            Next::Same => {}
            Next::Different(found) => return Some(found.mnemonic()),
            Next::End(_) => return None,
        }
    }
}

/// A kind of engine, made anew for each run.
type Make = fn() -> Box<dyn Engine>;

#[test]
fn every_planted_bug_is_found_at_its_instruction_in_both_engines() {
    let images: Vec<_> = [(64, 11), (32, 12)]
        .map(|(bits, seed)| image::build(bits, true, STEPS as u64, &mut Random::new(seed)).bytes)
        .into_iter()
        .map(|image| (log(&image), image))
        .collect();
    let engines: [Make; 2] = [
        || Box::<Interpreter>::default(),
        || Box::new(Translator::with_limits(1, 1).expect("the host has memory")),
    ];
    let mut missed = Vec::new();
    for (number, make) in engines.iter().enumerate() {
        for (log, image) in &images {
            assert_eq!(first_difference(log, image, make()), None, "a sound engine shows no difference");
        }
        for bug in BUGS {
            let found = images.iter().find_map(|(log, image)| {
                first_difference(log, image, Box::new(Faulty { inner: make(), bug, struck: false }))
            });
            let right =
                found.as_ref().is_some_and(|at| bug.mnemonics.iter().any(|name| name == at || *name == "*"));
            if !right {
                missed.push(format!("engine {number}: {}: {found:?}", bug.name));
            }
        }
    }
    assert!(BUGS.len() >= 20);
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// An engine that forgets to invalidate translations: what INVLPG or MOV to CR3 do besides going on.
struct Forgetful(Box<dyn Engine>);

impl Engine for Forgetful {
    fn name(&self) -> &'static str {
        "forgetful"
    }

    fn run(&mut self, cpu: &mut Cpu, until: u64) -> Exit {
        loop {
            let insn = Place::of(cpu, 0).instruction();
            let loads_cr3 = insn.op0_register() == Register::CR3;
            if insn.mnemonic() == Mnemonic::Invlpg || loads_cr3 {
                if loads_cr3 {
                    cpu.cr3 = cpu.regs[insn.op1_register().number()];
                }
                cpu.regs[RIP] = insn.next_ip();
                cpu.retired += 1;
            } else {
                let exit = self.0.run(cpu, (cpu.retired + 1).min(until));
                if exit != Exit::Limit {
                    return exit;
                }
            }
            if cpu.retired >= until {
                return Exit::Limit;
            }
        }
    }

    fn clear(&mut self, cpu: &mut Cpu) {
        self.0.clear(cpu);
    }

    fn counters(&self) -> (u64, u64) {
        self.0.counters()
    }
}

#[test]
fn a_stale_translation_is_found_where_it_is_read_in_both_engines() {
    // A page is read, gets another frame, is invalidated, and is read again.
    let invlpg: [&[u8]; 4] =
        [&[0x48, 0x8b, 0x0b], &[0x48, 0x89, 0x07], &[0x0f, 0x01, 0x3b], &[0x48, 0x8b, 0x13]];
    let mov_cr3: [&[u8]; 4] = [
        &[0x48, 0x8b, 0x0b],
        &[0x48, 0x89, 0x07],
        &[0x0f, 0x20, 0xd9, 0x0f, 0x22, 0xd9],
        &[0x48, 0x8b, 0x13],
    ];
    let engines: [Make; 2] = [
        || Box::<Interpreter>::default(),
        || Box::new(Translator::with_limits(1, 1).expect("the host has memory")),
    ];
    let mut case = Case { before: Registers::default(), data: [0; PAGE] };
    case.data[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    case.before.flags = 2;
    case.before.regs[3] = WINDOW + 0x8000;
    case.before.regs[4] = STACK - 0x100;
    case.before.regs[7] = u64::from(TABLES) + 0x6000 + 8 * 8;
    case.before.regs[0] = DATA | 0x67;
    for code in [invlpg, mov_cr3] {
        let image = image::of_cases(64, &code.concat(), std::slice::from_ref(&case)).0.bytes;
        let log = log(&image);
        for make in engines {
            assert_eq!(first_difference(&log, &image, make()), None, "a sound engine");
            let mut lockstep =
                Lockstep::new(Log::new(log.as_bytes()), machine(&image, Box::new(Forgetful(make()))), &[]);
            let found = loop {
                match lockstep.step().expect("the log is sound") {
                    Next::Same => {}
                    Next::Different(found) => break found,
                    Next::End(why) => panic!("the stale translation is not found: {why}"),
                }
            };
            assert_eq!(found.place.bytes(), code[3], "{}", found.place);
            assert_eq!((found.ours.regs[2], found.theirs.regs[2]), (0, 0x0807_0605_0403_0201));
        }
    }
}
