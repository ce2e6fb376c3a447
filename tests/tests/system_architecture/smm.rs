//! System management mode. SDM 3C, "System Management Mode"; AMD APM vol. 2, "SMRAM State-Save Area".

use emu_core::cpu::model::MODELS;
use emu_core::cpu::{CS, Cpu, DS, FS, GS, RAX, RBX, RCX, RDI, RIP, SS, TableRegister};
use emu_core::machine::Stop;
use emu_core::mem::page::PhysPage;
use emu_core::mem::{Memory, PAGE_SIZE, Smram};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

use crate::lab::*;
use crate::virtual_interrupts::v86;

const SMBASE: u64 = 0x3_0000;
/// Where handlers begin, and where they may leave things (offsets in the segment of the handler).
const ENTRY: u64 = SMBASE + 0x8000;
const NOTE: i32 = 0x7000;

// Offsets in the 64-bit map.
const IO_INFO: u64 = 0xfec0;
const IO_RESTART: u64 = 0xfec8;
const HALT_RESTART: u64 = 0xfec9;
const SAVED_EFER: u64 = 0xfed0;
const REVISION: u64 = 0xfefc;
const SAVED_SMBASE: u64 = 0xff00;
const SAVED_CR4: u64 = 0xff48;
const SAVED_CR3: u64 = 0xff50;
const SAVED_CR0: u64 = 0xff58;
const SAVED_DR7: u64 = 0xff60;
const SAVED_DR6: u64 = 0xff68;
const SAVED_FLAGS: u64 = 0xff70;
const SAVED_RIP: u64 = 0xff78;
const SAVED_RAX: u64 = 0xfff8;

/// Vector of the NMI.
pub const NMI: u8 = 2;

type Code = Result<(), IcedError>;

fn labs() -> [Lab; 3] {
    [Lab::real(), Lab::protected(), Lab::long()]
}

/// Puts a handler where an SMI finds it.
fn handler(lab: &mut Lab, code: impl FnOnce(&mut CodeAssembler) -> Code) {
    lab.assemble(ENTRY, 16, code);
}

/// Assembles: raises these events.
pub fn raise(a: &mut CodeAssembler, events: u8) -> Code {
    a.mov(al, u32::from(events))?;
    a.out(RAISE, al)
}

/// Assembles for a handler: notes that it ran, in the byte at NOTE.
fn note(a: &mut CodeAssembler) -> Code {
    a.inc(byte_ptr(NOTE).cs())
}

fn saved(lab: &mut Lab, offset: u64) -> u64 {
    lab.read(SMBASE + offset, 8)
}

/// What an SMI and RSM must leave alone.
#[derive(Debug, PartialEq)]
struct State {
    regs: Vec<u64>,
    rip: u64,
    flags: u64,
    cpl: u8,
    /// Selector, base, limit and rights.
    segments: Vec<(u16, u64, u32, u16)>,
    control: [u64; 5],
    debug: [u64; 8],
    tables: [TableRegister; 2],
    halted: bool,
    nmi_blocked: bool,
}

fn state(cpu: &Cpu) -> State {
    State {
        regs: cpu.regs[..16].to_vec(),
        rip: cpu.regs[RIP],
        flags: cpu.flags.get(),
        cpl: cpu.cpl,
        segments: cpu.seg.iter().map(|s| (s.selector, s.base, s.limit, s.rights.0)).collect(),
        control: [cpu.cr0, cpu.cr2, cpu.cr3, cpu.cr4, cpu.efer],
        debug: cpu.dr,
        tables: [cpu.gdtr, cpu.idtr],
        halted: cpu.halted,
        nmi_blocked: cpu.nmi_blocked,
    }
}

#[test]
fn the_handler_starts_in_a_real_mode_of_its_own() {
    for mut lab in labs() {
        lab.cr0 |= 0xe; // MP, EM, TS
        handler(&mut lab, code!(a: hlt()));
        let out = lab.run(|a| {
            a.std()?;
            a.stc()?;
            a.sti()?;
            raise(a, event::SMI)
        });
        assert_eq!(out.stop, Stop::Halted { next_event: u64::MAX });
        let cpu = out.cpu();
        assert!(cpu.smm && cpu.nmi_blocked);
        assert_eq!((cpu.regs[RIP], cpu.seg[CS].base, cpu.seg[CS].selector), (0x8001, SMBASE, 0x3000));
        assert_eq!((cpu.flags.get(), cpu.cpl), (2, 0));
        let wp_and_et = cpu.cr0 & !0x6000_0000;
        assert!(matches!(wp_and_et, 0x10 | 0x12 | 0x1_0012), "{wp_and_et:x}");
        assert_eq!((cpu.cr4, cpu.efer, cpu.dr[7]), (0, 0, 0x400));
        for (n, segment) in cpu.seg[..6].iter().enumerate() {
            assert_eq!((segment.limit, segment.rights.0), (u32::MAX, 0x8093));
            assert!(n == CS || (segment.base, segment.selector) == (0, 0));
        }
    }
}

#[test]
fn the_map_has_the_layout_of_amd64() {
    let mut lab = Lab::long();
    handler(&mut lab, code!(a: hlt()));
    let out = lab.run(|a| {
        a.mov(r15, 0x1122_3344_5566_7788u64)?;
        a.mov(rcx, -5i64)?;
        a.or(al, 1)?; // leaves no flag
        a.stc()?;
        raise(a, event::SMI)
    });
    let (end, accumulator) = (out.end, out.reg(RAX));
    let tables = out.cpu().cr3;
    assert_eq!(lab.read(SMBASE + REVISION, 4), 0x3_0064);
    assert_eq!(lab.read(SMBASE + SAVED_SMBASE, 4), SMBASE);
    for (offset, value) in [
        (SAVED_RIP, end),
        (SAVED_RAX, accumulator),
        (SAVED_RAX - 8, 5u64.wrapping_neg()),
        (0xff80, 0x1122_3344_5566_7788),
        (SAVED_FLAGS, 3),
        (SAVED_CR3, tables),
        (SAVED_CR4, 0x20),
        (SAVED_EFER, 0xd01),
        (SAVED_DR6, 0xffff_0ff0),
        (SAVED_DR7, 0x400),
        (0xfe10, 0x0000_0000_209b_0000 | u64::from(CODE64)), // CS: selector, rights, limit
        (0xfe18, 0),
        (0xfe98, TSS),
        (0xfe68, GDT),
        (0xfe88, IDT),
    ] {
        assert_eq!(saved(&mut lab, offset), value, "{offset:x}");
    }
    assert_eq!(lab.read(SMBASE + 0xfe64, 2), 0x7ff);
    assert_eq!(lab.read(SMBASE + SAVED_CR0, 4), 0x8001_0011);
    assert_eq!(lab.read(SMBASE + IO_INFO, 4), RAISE_INFO, "OUT of a byte to port 11h");
}

/// Port, a byte, valid; no input.
const RAISE_INFO: u64 = 0x11 << 16 | 0x12;

/// A handler that spoils everything that it can reach.
fn spoil(a: &mut CodeAssembler) -> Code {
    note(a)?;
    a.mov(eax, 0x1234)?;
    for segment in [ds, es, fs, gs, ss] {
        a.mov(segment, eax)?;
    }
    a.db(&[0x2e, 0x66, 0x0f, 0x01, 0x16, 0x00, 0x60])?; // LGDT cs:[6000h]
    a.db(&[0x2e, 0x66, 0x0f, 0x01, 0x1e, 0x00, 0x60])?; // LIDT
    a.mov(eax, 0x30)?;
    a.mov(cr4, eax)?;
    a.mov(eax, 0x7_0000)?;
    a.mov(cr3, eax)?;
    a.mov(eax, 0x401)?;
    a.mov(dr7, eax)?;
    a.mov(eax, 0xf)?;
    a.mov(dr6, eax)?;
    a.mov(ecx, 0xc000_0080u32)?;
    a.xor(edx, edx)?;
    a.mov(eax, 0x900)?;
    a.wrmsr()?;
    for register in [ebx, esp, ebp, esi, edi] {
        a.mov(register, 0x5555_5555)?;
    }
    a.std()?;
    a.rsm()
}

/// An SMI comes while the processor runs in circles: afterwards everything is as before.
#[track_caller]
fn comes_back(lab: &mut Lab) {
    handler(lab, spoil);
    lab.write(ENTRY - 0x8000 + NOTE as u64, 1, 0);
    let before = state(lab.machine.cpu());
    lab.machine.cpu_mut().management.smi_pending = true;
    let stop = lab.machine.run(lab.machine.instructions() + 1000);
    assert_eq!(lab.read(ENTRY - 0x8000 + NOTE as u64, 1), 1, "{stop:?}");
    assert!(!lab.machine.cpu().smm);
    assert_eq!(state(lab.machine.cpu()), before);
}

fn circle(a: &mut CodeAssembler) -> Code {
    a.db(&[0xeb, 0xfe])
}

#[test]
fn rsm_restores_every_mode() {
    let user = |mut lab: Lab| {
        lab.user_flags = 0x4_3202; // AC, IOPL 3, IF
        lab.cr0 |= 1 << 18; // AM
        lab.at_cpl3()
    };
    for mut lab in [
        Lab::real(),
        Lab::protected(),
        Lab::long(),
        Lab::paged(),
        Lab::pae(),
        user(Lab::protected()),
        user(Lab::paged()),
        user(Lab::long()),
    ] {
        lab.cr4 |= 8; // DE
        lab.run(circle);
        comes_back(&mut lab);
    }
}

#[test]
fn rsm_restores_compatibility_and_virtual_8086_mode() {
    let mut lab = Lab::long();
    lab.assemble(0x9000, 32, circle);
    lab.run(|a| {
        a.push(i32::from(CODE32))?;
        a.push(0x9000)?;
        a.db(&[0x48, 0xcb]) // RETF with 64-bit operands
    });
    assert_eq!(lab.machine.cpu().code_size(), 32);
    comes_back(&mut lab);
    let mut lab = Lab::protected();
    v86(&mut lab, 0x3200, circle);
    assert!(lab.machine.cpu().v86());
    comes_back(&mut lab);
}

#[test]
fn rsm_restores_what_cannot_be_seen() {
    // Hidden parts that no selector gives, null selectors, breakpoints, blocked NMIs, an address without meaning.
    let mut lab = Lab::real();
    lab.run(circle);
    let cpu = lab.machine.cpu_mut();
    cpu.seg[FS].limit = u32::MAX;
    cpu.seg[DS].base = 0x1234_5670;
    cpu.seg[GS].rights.0 = 0x1096;
    cpu.nmi_blocked = true;
    cpu.dr[0] = 0x777;
    cpu.dr[7] = 0xd0402;
    cpu.update_debug();
    cpu.update_mode();
    comes_back(&mut lab);
    let mut lab = Lab::long();
    lab.run(|a| {
        a.xor(eax, eax)?;
        a.mov(ss, eax)?;
        a.mov(ds, eax)?;
        a.mov(ecx, 0xc000_0101u32)?;
        a.mov(edx, 0xffff_8000u32)?;
        a.wrmsr()?;
        circle(a)
    });
    let cpu = lab.machine.cpu();
    assert!(cpu.seg[SS].rights.unusable() && cpu.seg[GS].base == 0xffff_8000_0000_0000);
    comes_back(&mut lab);
}

#[test]
fn a_processor_without_long_mode_has_intels_map() {
    let model = MODELS.iter().find(|model| model.name == "pentium3").expect("it is in the list");
    let mut lab = Lab::real();
    lab.machine.set_model(*model);
    // The saved EBX, and SMBASE for the next time.
    handler(&mut lab, |a| {
        a.mov(dword_ptr(0xffdc).cs(), 0x1234_5678)?;
        a.mov(dword_ptr(0xfef8).cs(), (DATA - 0x8000) as u32)?;
        for register in [eax, ebx, ecx, edx, esi, edi, ebp, esp] {
            a.mov(register, 0x5555_5555)?;
        }
        for segment in [ds, es, fs, gs, ss] {
            a.mov(segment, eax)?;
        }
        a.mov(eax, 0x10)?;
        a.mov(cr4, eax)?;
        a.rsm()
    });
    lab.assemble(DATA, 16, |a| a.rsm());
    lab.run(|a| {
        a.mov(eax, 0xaaaa_5555u32)?;
        circle(a)
    });
    let cpu = lab.machine.cpu_mut();
    cpu.seg[FS].limit = u32::MAX;
    cpu.seg[GS].base = 0x1234_5670;
    cpu.cr3 = 0x5000;
    cpu.cr4 = 0x20;
    let before = state(cpu);
    let eip = before.rip;
    for count in 1..=2 {
        lab.machine.cpu_mut().management.smi_pending = true;
        lab.machine.run(lab.machine.instructions() + 1000);
        let cpu = lab.machine.cpu();
        assert_eq!((cpu.smm, cpu.management.count), (false, count));
        let mut regs = before.regs.clone();
        regs[RBX] = 0x1234_5678;
        assert_eq!(state(cpu), State { regs, ..state(cpu) });
        assert_eq!(state(cpu).segments, before.segments);
        assert_eq!((state(cpu).control, state(cpu).tables), (before.control, before.tables));
    }
    for (offset, value) in [
        (0xfefc, 0x3_0000u64),
        (0xfff0, eip),
        (0xffd0, 0xaaaa_5555),
        (0xfff8, 0x5000),
        (0xff14, 0x20),
        (0xff3c, 0xffff_ffff), // limit of FS, where the P6 family has it
    ] {
        assert_eq!(lab.read(SMBASE + offset, 4), value, "{offset:x}");
    }
    assert_eq!(lab.read(DATA - 0x8000 + 0xfff0, 4), eip, "the second one's map");
}

#[test]
fn rsm_is_undefined_elsewhere() {
    for mut lab in [Lab::real(), Lab::protected(), Lab::long(), Lab::long().at_cpl3()] {
        lab.run(code!(a: rsm())).fault_at(CODE, vector::UD, None);
    }
}

#[test]
fn rsm_shuts_down_on_a_state_that_cannot_be() {
    // What to write where. The state saved is that of long mode.
    for (offset, value) in [
        (SAVED_CR0, 0x8000_0010u64),        // PG without PE
        (SAVED_CR0, 0xa001_0011),           // NW without CD
        (SAVED_CR0, 1 << 32 | 0xe001_0011), // upper half
        (SAVED_CR4, 1 << 15 | 0x20),        // reserved
        (SAVED_CR4, 0),                     // long mode without PAE
        (SAVED_EFER, 0xd03),                // reserved
        (SAVED_EFER, 0x901),                // LME and PG without LMA
        (SAVED_EFER, 0xc01),                // LMA without LME
        (SAVED_CR3, 1 << 52),               // reserved
        (SAVED_DR6, 1 << 32),
        (SAVED_DR7, 1 << 32),
        (0xfe12, 0x609b), // CS with L and D
    ] {
        let mut lab = Lab::long();
        let size = if offset == 0xfe12 { 2 } else { 8 };
        handler(&mut lab, |a| {
            for n in (0..size).step_by(2) {
                a.mov(word_ptr((offset + n) as i32).cs(), (value >> (8 * n) & 0xffff) as u32)?;
            }
            a.rsm()
        });
        let out = lab.run(|a| raise(a, event::SMI));
        assert!(matches!(out.stop, Stop::TripleFault(_)), "{offset:x}: {:?}", out.stop);
        lab.machine.reset();
        assert!(!lab.machine.cpu().smm, "RESET ends the mode");
    }
    // CR4.PCIDE without long mode; PDPTEs with reserved bits.
    let mut lab = Lab::pae();
    handler(&mut lab, code!(a: or(word_ptr(SAVED_CR4 as i32 + 2).cs(), 2); rsm()));
    assert!(matches!(lab.run(|a| raise(a, event::SMI)).stop, Stop::TripleFault(_)));
    let mut lab = Lab::pae();
    handler(&mut lab, code!(a: db(&[0x67, 0xc6, 0x05, 0x00, 0x10, 0x01, 0x00, 0xff]); rsm()));
    assert!(matches!(lab.run(|a| raise(a, event::SMI)).stop, Stop::TripleFault(_)));
}

#[test]
fn a_halted_processor_halts_again_unless_the_handler_says_no() {
    for again in [true, false] {
        let mut lab = Lab::long();
        handler(&mut lab, |a| {
            note(a)?;
            if !again {
                a.mov(byte_ptr(HALT_RESTART as i32).cs(), 0)?;
            }
            a.rsm()
        });
        let out = lab.run(|a| {
            a.xor(ebx, ebx)?;
            a.mov(al, 50)?;
            a.out(DELAY, al)?;
            raise(a, event::SMI)?;
            a.hlt()?;
            a.inc(ebx)?;
            a.hlt()
        });
        out.done();
        assert_eq!(out.reg(RBX), u64::from(!again));
        assert_eq!(out.cpu().management.count, 1);
    }
}

#[test]
fn mwait_is_not_restarted() {
    let mut lab = Lab::long();
    handler(
        &mut lab,
        code!(a: mov(al, byte_ptr(HALT_RESTART as i32).cs()); mov(byte_ptr(NOTE).cs(), al); rsm()),
    );
    lab.write(SMBASE + NOTE as u64, 1, 7);
    let out = lab.run(|a| {
        a.mov(al, 50)?;
        a.out(DELAY, al)?;
        raise(a, event::SMI)?;
        a.mov(eax, DATA as u32)?;
        a.xor(ecx, ecx)?;
        a.xor(edx, edx)?;
        a.monitor()?;
        a.mwait()?;
        a.mov(ebx, 9)?;
        a.hlt()
    });
    out.done();
    assert_eq!((out.reg(RBX), out.cpu().management.count), (9, 1));
    assert_eq!(lab.read(SMBASE + NOTE as u64, 1), 0);
}

#[test]
fn an_io_instruction_is_done_again_when_the_handler_asks() {
    for again in [false, true] {
        let mut lab = Lab::long();
        handler(&mut lab, |a| {
            if again {
                a.mov(byte_ptr(IO_RESTART as i32).cs(), 0xff)?;
            }
            a.rsm()
        });
        let out = lab.run(code!(a: nop(); in_(al, COUNTED); mov(ebx, eax); hlt()));
        out.done();
        assert_eq!(out.reg(RBX) & 0xff, if again { 0x51 } else { 0x50 });
        assert_eq!(lab.read(SMBASE + IO_INFO, 4), u64::from(COUNTED) << 16 | 0x13);
    }
}

#[test]
fn a_string_instruction_is_done_again_from_its_iteration() {
    let mut lab = Lab::long();
    handler(&mut lab, code!(a: mov(byte_ptr(IO_RESTART as i32).cs(), 0xff); rsm()));
    let out = lab.run(code!(a: mov(edi, DATA as u32); mov(ecx, 4); mov(edx, COUNTED); rep().insb(); hlt()));
    out.done();
    assert_eq!((out.reg(RCX), out.reg(RDI)), (0, DATA + 4));
    assert_eq!(lab.read(DATA, 4), 0x5453_5251, "the first byte was read twice");
    assert_eq!(lab.read(SMBASE + IO_INFO, 4), u64::from(COUNTED) << 16 | 0x1f);
}

#[test]
fn smbase_moves_and_stays_until_reset() {
    const BASE: u64 = 0x12_3400; // above 1 MiB, not aligned
    let mut lab = Lab::long();
    handler(&mut lab, code!(a: mov(word_ptr(0xff00).cs(), 0x3400); mov(word_ptr(0xff02).cs(), 0x12); rsm()));
    lab.assemble(BASE + 0x8000, 16, code!(a: mov(byte_ptr(NOTE).cs(), 0x5a); rsm()));
    let out = lab.run(|a| {
        raise(a, event::SMI)?;
        raise(a, event::SMI)?;
        a.hlt()
    });
    out.done();
    assert_eq!(out.cpu().management.count, 2);
    assert_eq!(lab.read(BASE + NOTE as u64, 1), 0x5a);
    assert_eq!(lab.read(BASE + 0xff00, 4), BASE);
    lab.machine.cpu_mut().init();
    assert_eq!(u64::from(lab.machine.cpu().management.base), BASE, "INIT does not change it");
    lab.machine.reset();
    assert_eq!(u64::from(lab.machine.cpu().management.base), SMBASE);
}

#[test]
fn nmis_wait_for_rsm() {
    for mut lab in labs() {
        handler(&mut lab, |a| {
            raise(a, event::NMI)?;
            a.nop()?;
            note(a)?;
            a.rsm()
        });
        let out = lab.run(|a| {
            raise(a, event::SMI)?;
            a.hlt()
        });
        let end = out.end;
        assert_eq!(out.fault(NMI, None).ip, end - 1, "before the next instruction");
        assert_eq!(lab.read(SMBASE + NOTE as u64, 1), 1);
    }
}

#[test]
fn iret_lets_nmis_into_the_handler_and_rsm_blocks_them_again() {
    let mut lab = Lab::real();
    // NMIs are blocked before: the NMI handler raises the SMI. IRET in the SMI handler admits the second NMI there.
    lab.handler(NMI, 0x9000);
    lab.assemble(0x9000, 16, |a| {
        a.inc(bx)?;
        a.cmp(bx, 1)?;
        let mut inner = a.create_label();
        a.jne(inner)?;
        raise(a, event::SMI)?;
        raise(a, event::NMI)?;
        a.nop()?;
        a.hlt()?; // the third NMI is blocked again
        a.set_label(&mut inner)?;
        a.iret()
    });
    handler(&mut lab, |a| {
        a.mov(sp, 0xb000)?;
        raise(a, event::NMI)?;
        a.nop()?;
        a.mov(byte_ptr(NOTE).cs(), bl)?;
        a.pushf()?;
        a.push(cs)?;
        a.push(0x8100)?;
        a.iret()
    });
    lab.assemble(ENTRY + 0x100, 16, code!(a: nop(); mov(byte_ptr(NOTE + 1).cs(), bl); rsm()));
    let out = lab.run(|a| {
        a.xor(bx, bx)?;
        raise(a, event::NMI)?;
        a.hlt()
    });
    out.done();
    assert!(out.cpu().nmi_blocked && out.cpu().nmi_pending);
    assert_eq!(out.reg(RBX) & 0xff, 1, "restored");
    assert_eq!(lab.read(SMBASE + NOTE as u64, 2), 0x0201, "blocked before IRET, taken behind it");
}

#[test]
fn one_more_smi_is_remembered_in_the_handler() {
    let mut lab = Lab::long();
    handler(&mut lab, |a| {
        note(a)?;
        a.cmp(byte_ptr(NOTE).cs(), 1)?;
        let mut done = a.create_label();
        a.jne(done)?;
        for _ in 0..3 {
            raise(a, event::SMI)?;
        }
        a.set_label(&mut done)?;
        a.nop()?;
        a.rsm()
    });
    let out = lab.run(|a| {
        raise(a, event::SMI)?;
        a.hlt()
    });
    out.done();
    assert_eq!(out.cpu().management.count, 2);
    assert_eq!(lab.read(SMBASE + NOTE as u64, 1), 2);
}

/// Makes the reset vector a HLT.
pub fn reset_vector(lab: &mut Lab) {
    let last = (RAM / PAGE_SIZE - 1) as u32;
    let mem = &mut lab.machine.cpu_mut().system_mut().mem;
    mem.map(0xffff_f000, PAGE_SIZE, |_| PhysPage::ram(last));
    mem.write_bytes(0xffff_fff0, &[0xf4]);
}

/// Did the processor halt at the reset vector?
pub fn was_reset(cpu: &Cpu) -> bool {
    (cpu.seg[CS].base, cpu.regs[RIP], cpu.halted) == (0xffff_0000, 0xfff1, true)
}

#[test]
fn init_waits_for_rsm() {
    let mut lab = Lab::long();
    reset_vector(&mut lab);
    handler(&mut lab, |a| {
        raise(a, event::INIT)?;
        a.nop()?;
        note(a)?;
        a.rsm()
    });
    let out = lab.run(|a| {
        raise(a, event::SMI)?;
        a.ud2()
    });
    assert!(was_reset(out.cpu()), "{:?}", out.vector());
    assert_eq!(lab.read(SMBASE + NOTE as u64, 1), 1);
}

/// Two frames lie at 60000h: in SMM those from 700000h on.
const WINDOW: u64 = 0x6_0000;
const HIDDEN: u64 = 0x70_0000;

fn with_smram(lab: &mut Lab, data: bool) -> &mut Memory {
    let mem = &mut lab.machine.cpu_mut().system_mut().mem;
    mem.set_smram(Some(Smram { start: WINDOW, len: 0x2000, frame: (HIDDEN / PAGE_SIZE) as u32, data }));
    mem
}

#[test]
fn smram_is_seen_by_the_handler_alone_in_data_and_code() {
    let mut lab = Lab::protected();
    with_smram(&mut lab, true);
    lab.write(WINDOW, 4, 0x1111_1111);
    lab.write(HIDDEN, 4, 0x2222_2222);
    // One function at the same address in both, as 32-bit and as 16-bit code.
    lab.assemble(WINDOW + 0x1000, 32, code!(a: add(ebx, 1); ret()));
    lab.assemble(HIDDEN + 0x1000, 16, code!(a: add(dword_ptr(ebx).ss(), 0x100); retf()));
    handler(&mut lab, |a| {
        a.mov(esp, 0xb000)?;
        a.mov(ebx, (SMBASE + NOTE as u64) as u32)?;
        a.mov(ax, 0x6000)?;
        a.mov(ds, ax)?;
        a.inc(dword_ptr(0))?;
        a.db(&[0x9a, 0x00, 0x10, 0x00, 0x60])?; // CALL 6000:1000
        a.rsm()
    });
    let out = lab.run(|a| {
        let mut top = a.create_label();
        a.xor(ebx, ebx)?;
        a.mov(ecx, 5)?;
        a.mov(edx, (WINDOW + 0x1000) as u32)?;
        a.set_label(&mut top)?;
        a.inc(dword_ptr(WINDOW as i32))?;
        a.call(edx)?;
        raise(a, event::SMI)?;
        a.dec(ecx)?;
        a.jnz(top)?;
        a.mov(edi, dword_ptr(WINDOW as i32))?;
        a.hlt()
    });
    out.done();
    assert_eq!((out.reg(RBX), out.reg(RDI), out.cpu().management.count), (5, 0x1111_1116, 5));
    assert_eq!((lab.read(WINDOW, 4), lab.read(HIDDEN, 4)), (0x1111_1116, 0x2222_2227));
    assert_eq!(lab.read(SMBASE + NOTE as u64, 4), 0x500);
}

#[test]
fn closed_smram_is_for_instructions_only() {
    let mut lab = Lab::protected();
    with_smram(&mut lab, false);
    lab.write(WINDOW, 4, 0x1111_1111);
    lab.write(HIDDEN, 4, 0x2222_2222);
    lab.assemble(
        HIDDEN + 0x1000,
        16,
        code!(a: mov(eax, dword_ptr(0)); mov(dword_ptr(NOTE).cs(), eax); rsm()),
    );
    handler(&mut lab, code!(a: mov(ax, 0x6000); mov(ds, ax); db(&[0xea, 0x00, 0x10, 0x00, 0x60])));
    let out = lab.run(|a| {
        raise(a, event::SMI)?;
        a.hlt()
    });
    out.done();
    assert_eq!(lab.read(WINDOW + NOTE as u64, 4), 0x1111_1111);
}

#[test]
fn the_state_itself_can_lie_in_smram() {
    let mut lab = Lab::long();
    let mem = &mut lab.machine.cpu_mut().system_mut().mem;
    mem.set_smram(Some(Smram {
        start: SMBASE,
        len: 0x1_0000,
        frame: (HIDDEN / PAGE_SIZE) as u32,
        data: true,
    }));
    lab.assemble(HIDDEN + 0x8000, 16, code!(a: rsm()));
    let out = lab.run(|a| {
        raise(a, event::SMI)?;
        a.mov(rbx, qword_ptr(SMBASE as i32 + SAVED_RIP as i32))?;
        a.hlt()
    });
    out.done();
    let end = out.end;
    assert_eq!(out.reg(RBX), 0, "not seen from outside");
    assert_eq!(lab.read(HIDDEN + SAVED_RIP, 8), end - 9);
}

#[test]
fn the_a20_gate_does_not_count_in_the_handler() {
    let mut lab = Lab::real();
    lab.write(0x6000, 4, 1);
    lab.write(0x10_6000, 4, 2);
    handler(&mut lab, |a| {
        a.mov(ebx, 0x10_6000)?;
        a.mov(ecx, dword_ptr(ebx))?;
        a.mov(dword_ptr(NOTE).cs(), ecx)?;
        a.rsm()
    });
    let out = lab.run(|a| {
        a.mov(al, 0)?;
        a.out(0x92, al)?;
        raise(a, event::SMI)?;
        a.mov(ax, 0xffff)?;
        a.mov(ds, ax)?;
        a.mov(ebx, dword_ptr(0x6010))?;
        a.hlt()
    });
    out.done();
    assert_eq!(out.reg(RBX), 1, "closed again");
    assert_eq!(lab.read(SMBASE + NOTE as u64, 4), 2);
}

#[test]
fn interrupts_by_the_handlers_own_table_work() {
    // IDTR is still that of the interrupted program: here the real-mode table at 0.
    let mut lab = Lab::real();
    lab.handler(0x41, 0x9000);
    lab.assemble(0x9000, 16, code!(a: inc(byte_ptr(0x6000).cs()); iret()));
    handler(&mut lab, |a| {
        a.mov(sp, 0xb000)?;
        raise(a, event::INTR)?;
        a.sti()?;
        a.nop()?;
        a.nop()?;
        a.rsm()
    });
    let out = lab.run(|a| {
        raise(a, event::SMI)?;
        a.hlt()
    });
    out.done();
    assert_eq!(lab.read(0x6000, 1), 1);
}

#[test]
fn smis_are_counted_for_software() {
    let mut lab = Lab::long();
    handler(&mut lab, code!(a: rsm()));
    let out = lab.run(|a| {
        raise(a, event::SMI)?;
        raise(a, event::SMI)?;
        a.mov(ecx, 0x34)?;
        a.rdmsr()?;
        a.mov(ebx, eax)?;
        a.xor(eax, eax)?;
        a.wrmsr()
    });
    let end = out.end;
    assert_eq!(out.fault(vector::GP, 0).ip, end - 2, "read-only");
    assert_eq!(out.reg(RBX), 2);
}

#[test]
fn the_mode_is_part_of_the_state_hash() {
    let mut lab = Lab::real();
    lab.run(code!(a: hlt())).done();
    lab.machine.state_hash(); // takes the pages that were written
    let plain = lab.machine.state_hash();
    assert_eq!(lab.machine.state_hash(), plain);
    let changes: [fn(&mut Cpu); 4] = [
        |cpu| cpu.smm ^= true,
        |cpu| cpu.management.base ^= 1,
        |cpu| cpu.management.smi_pending ^= true,
        |cpu| cpu.management.init_pending ^= true,
    ];
    for change in changes {
        change(lab.machine.cpu_mut());
        assert_ne!(lab.machine.state_hash(), plain);
        change(lab.machine.cpu_mut());
        assert_eq!(lab.machine.state_hash(), plain);
    }
}
