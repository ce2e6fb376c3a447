//! Process-context identifiers, five-level paging, protection keys, and corners of SMEP, SMAP and UMIP.
//! SDM 3A, "Paging"; SDM 2A/2B at INVPCID, RDPKRU, WRPKRU.

use emu_core::cpu::{RAX, RBX, RCX, RDX};
use iced_x86::code_asm::*;

use crate::lab::*;

const UMIP: u32 = 1 << 11;
const LA57: u32 = 1 << 12;
const PCIDE: u32 = 1 << 17;
const SMEP: u32 = 1 << 20;
const SMAP: u32 = 1 << 21;
const PKE: u32 = 1 << 22;
const PKS: u32 = 1 << 24;

#[test]
fn cr4_pcide_needs_long_mode_and_a_cr3_without_identifier() {
    let set = code!(a: mov(eax, cr4); or(eax, PCIDE as i32); mov(cr4, eax); hlt());
    Lab::protected().run(set).fault_at(CODE + 8, vector::GP, 0);
    let out_of_zero = |a: &mut CodeAssembler| {
        a.mov(rax, TABLES | 8)?;
        a.mov(cr3, rax)?;
        a.mov(rax, cr4)?;
        a.or(eax, PCIDE as i32)?;
        a.mov(cr4, rax)
    };
    Lab::long().run(out_of_zero).fault(vector::GP, 0);
    let mut lab = Lab::long();
    let out = lab.run(code!(a:
        mov(rax, cr4); or(eax, PCIDE as i32); mov(cr4, rax);
        mov(rax, TABLES | 5 | 1 << 63); mov(cr3, rax); mov(rbx, cr3); hlt()));
    out.done();
    assert_eq!(out.reg(RBX), TABLES | 5, "bit 63 is not kept");
    // Without PCIDE bit 63 is reserved.
    Lab::long().run(code!(a: mov(rax, TABLES | 1 << 63); mov(cr3, rax))).fault(vector::GP, 0);
}

#[test]
fn paging_cannot_end_while_identifiers_are_on() {
    let mut lab = Lab::long();
    lab.assemble(0x9000, 32, code!(a: mov(eax, cr0); and(eax, 0x7fff_ffff); mov(cr0, eax)));
    lab.write(DATA, 4, 0x9000);
    lab.write(DATA + 4, 2, u64::from(CODE32));
    let out = lab.run(|a| {
        a.mov(rax, cr4)?;
        a.or(eax, PCIDE as i32)?;
        a.mov(cr4, rax)?;
        a.db(&[0xff, 0x2c, 0x25])?; // JMP FAR [DATA]
        a.dd(&[DATA as u32])
    });
    assert_eq!(out.fault(vector::GP, 0).ip, 0x9008);
}

#[test]
fn invpcid_forgets_translations_and_checks_its_descriptor() {
    let mut lab = Lab::long();
    let entry = lab.pte_address(DATA + 0x1000);
    let other = (DATA + 0x2000) | pte::P | pte::W | pte::U;
    lab.write(DATA + 0x1000, 4, 1);
    lab.write(DATA + 0x2000, 4, 2);
    for kind in 0..4u64 {
        lab.map(DATA + 0x1000, pte::P | pte::W | pte::U);
        lab.write(DATA + 8, 8, DATA + 0x1000);
        let out = lab.run(code!(a:
            mov(ebx, dword_ptr(DATA as i32 + 0x1000));
            mov(rax, other); mov(qword_ptr(entry as i32), rax);
            mov(rax, kind); invpcid(rax, xmmword_ptr(DATA as i32));
            mov(ecx, dword_ptr(DATA as i32 + 0x1000)); hlt()));
        out.done();
        assert_eq!((out.reg(RBX), out.reg(RCX)), (1, 2), "type {kind}");
    }
    for (kind, context, linear, faults) in [
        (4u64, 0u64, 0u64, true),
        (0, 1, 0, true), // an identifier without CR4.PCIDE
        (1, 1, 0, true),
        (2, 1, 0, false),
        (3, 1 << 12, 0, true),
        (0, 0, 1 << 60, true),
        (1, 0, 1 << 60, false),
    ] {
        let mut lab = Lab::long();
        lab.write(DATA, 8, context);
        lab.write(DATA + 8, 8, linear);
        let out = lab.run(code!(a: mov(rax, kind); invpcid(rax, xmmword_ptr(DATA as i32)); hlt()));
        assert_eq!(out.vector() == Some(vector::GP), faults, "{kind} {context:x} {linear:x}");
    }
    let mut lab = Lab::long().at_cpl3();
    lab.run(code!(a: invpcid(rax, xmmword_ptr(DATA as i32)))).fault_at(CODE, vector::GP, 0);
}

/// A lab whose tables have a fifth level above the four.
fn five_levels() -> Lab {
    let mut lab = Lab::long();
    lab.cr4 |= LA57;
    let all = pte::P | pte::W | pte::U;
    // The lab's CR3 points to the table at TABLES: make that the fifth level.
    let top = lab.read(TABLES, 8);
    lab.write(TABLES + 0x4000, 8, top);
    lab.write(TABLES, 8, (TABLES + 0x4000) | all);
    // A second way in, at bit 48: the same memory.
    lab.write(TABLES + 8, 8, (TABLES + 0x4000) | all);
    lab
}

#[test]
fn five_level_paging_reaches_57_bits() {
    let mut lab = five_levels();
    lab.write(DATA, 4, 0x1234_5678);
    let out = lab.run(code!(a: mov(rbx, DATA | 1 << 48); mov(eax, dword_ptr(rbx)); hlt()));
    out.done();
    assert_eq!(out.reg(RAX), 0x1234_5678);
    // Canonical means 57 bits now, 48 in four-level paging.
    five_levels().run(code!(a: mov(rbx, DATA | 1 << 56); mov(eax, dword_ptr(rbx)))).fault(vector::GP, 0);
    five_levels()
        .run(code!(a: mov(rbx, DATA | 1 << 55); mov(eax, dword_ptr(rbx))))
        .page_fault(0, DATA | 1 << 55);
    Lab::long().run(code!(a: mov(rbx, DATA | 1 << 48); mov(eax, dword_ptr(rbx)))).fault(vector::GP, 0);
    five_levels().run(code!(a: mov(rbx, DATA | 1 << 56); jmp(rbx))).fault(vector::GP, 0);
}

#[test]
fn la57_cannot_change_in_long_mode() {
    Lab::long().run(code!(a: mov(rax, cr4); or(eax, LA57 as i32); mov(cr4, rax))).fault_at(
        CODE + 8,
        vector::GP,
        0,
    );
    five_levels().run(code!(a: mov(rax, cr4); and(eax, !LA57 as i32); mov(cr4, rax))).fault_at(
        CODE + 8,
        vector::GP,
        0,
    );
}

#[test]
fn registers_take_57_bit_addresses_in_every_paging_mode() {
    const KERNEL_GS_BASE: u32 = 0xc000_0102;
    for (high, faults) in [(1u32 << 23, false), (1 << 24, true), (0xff00_0000, false), (0xfe00_0000, true)] {
        let mut lab = Lab::long();
        let out = lab.run(code!(a: mov(ecx, KERNEL_GS_BASE); xor(eax, eax); mov(edx, high); wrmsr(); hlt()));
        assert_eq!(out.vector() == Some(vector::GP), faults, "{high:x}");
    }
}

/// Sets CR4.PKE and PKRU, then runs the code; DATA's page has key 3.
fn with_key(
    lab: &mut Lab,
    pkru: u32,
    code: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>,
) -> Outcome<'_> {
    lab.cr4 |= PKE;
    let entry = lab.pte(DATA) | 3 << 59;
    let address = lab.pte_address(DATA);
    lab.write(address, 8, entry);
    lab.run(|a| {
        a.mov(ebx, dword_ptr(DATA as i32))?; // cached before the key forbids it
        a.mov(dword_ptr(DATA as i32), ebx)?;
        a.xor(ecx, ecx)?;
        a.xor(edx, edx)?;
        a.mov(eax, pkru)?;
        a.wrpkru()?;
        code(a)
    })
}

#[test]
fn protection_keys_forbid_reads_and_writes_of_user_pages() {
    const ACCESS: u32 = 1 << 6;
    const WRITE: u32 = 2 << 6;
    let read = code!(a: mov(eax, dword_ptr(DATA as i32)); int(0x80));
    let write = code!(a: mov(dword_ptr(DATA as i32), eax); int(0x80));
    for user in [false, true] {
        let lab = || if user { Lab::long().at_cpl3() } else { Lab::long() };
        let u = if user { 4 } else { 0 };
        with_key(&mut lab(), ACCESS, read).page_fault(0x21 | u, DATA);
        with_key(&mut lab(), ACCESS, write).page_fault(0x23 | u, DATA);
        with_key(&mut lab(), WRITE, read).fault(0x80, None);
        with_key(&mut lab(), WRITE, write).page_fault(0x23 | u, DATA);
        // Other keys do not matter, nor do fetches.
        with_key(&mut lab(), !(3 << 6 | 3), write).fault(0x80, None);
        let mut executing = lab();
        executing.write(DATA, 2, 0x80cd); // INT 80h
        with_key(&mut executing, ACCESS, code!(a: mov(eax, DATA as u32); jmp(rax))).fault(0x80, None);
    }
    // Supervisor writes with WP clear pass write-disable, not access-disable.
    let mut lab = Lab::long();
    lab.cr0 &= !WP;
    with_key(&mut lab, WRITE, write).fault(0x80, None);
    with_key(&mut lab, ACCESS, write).page_fault(0x23, DATA);
    // Supervisor pages have no key.
    let mut lab = Lab::long();
    lab.forbid(DATA, pte::U);
    with_key(&mut lab, ACCESS, write).fault(0x80, None);
}

#[test]
fn rights_of_keys_that_no_page_has_leave_translations_alone() {
    const WRITE: u32 = 2 << 6;
    for (pkru, marker) in [(!(3 << 6 | 3), 1), (WRITE, 2)] {
        let mut lab = Lab::long();
        lab.write(DATA, 4, 1);
        lab.write(DATA + 0x1000, 4, 2);
        let entry = lab.pte_address(DATA) as i32;
        let out = with_key(&mut lab, pkru, |a| {
            // The next page comes here, and nothing is invalidated for it.
            a.add(dword_ptr(entry), 0x1000)?;
            a.xor(eax, eax)?;
            a.wrpkru()?;
            a.mov(eax, dword_ptr(DATA as i32))?;
            a.int(0x80)
        });
        out.fault(0x80, None);
        assert_eq!(out.reg(RAX), marker);
    }
}

#[test]
fn supervisor_protection_keys_forbid_reads_and_writes_of_supervisor_pages() {
    const PKRS: u32 = 0x6e1;
    const ACCESS: u32 = 1 << 6;
    const WRITE: u32 = 2 << 6;
    fn with_key(lab: &mut Lab, wp: bool, user_page: bool, write: bool, keys: u32) -> Outcome<'_> {
        (lab.cr4, lab.cr0) = (lab.cr4 | PKS, if wp { lab.cr0 } else { lab.cr0 & !WP });
        let entry = lab.pte(DATA) & if user_page { !0 } else { !pte::U } | 3 << 59;
        let address = lab.pte_address(DATA);
        lab.write(address, 8, entry);
        lab.run(|a| {
            a.mov(ebx, dword_ptr(DATA as i32))?; // cached before the key forbids it
            a.mov(dword_ptr(DATA as i32), ebx)?;
            a.mov(ecx, PKRS)?;
            a.mov(eax, keys)?;
            a.xor(edx, edx)?;
            a.wrmsr()?;
            if write {
                a.mov(dword_ptr(DATA as i32), ebx)?
            } else {
                a.mov(ebx, dword_ptr(DATA as i32))?
            }
            a.int(0x80)
        })
    }
    for wp in [true, false] {
        with_key(&mut Lab::long(), wp, false, false, ACCESS).page_fault(0x21, DATA);
        with_key(&mut Lab::long(), wp, false, true, ACCESS).page_fault(0x23, DATA);
        with_key(&mut Lab::long(), wp, false, false, WRITE).fault(0x80, None);
        with_key(&mut Lab::long(), wp, true, true, ACCESS | WRITE).fault(0x80, None);
        with_key(&mut Lab::long(), wp, false, true, !(3 << 6)).fault(0x80, None);
    }
    with_key(&mut Lab::long(), true, false, true, WRITE).page_fault(0x23, DATA);
    with_key(&mut Lab::long(), false, false, true, WRITE).fault(0x80, None);
    // The register has 32 bits, and a user's access to a supervisor page fails for that reason alone.
    let mut lab = Lab::long();
    let out = lab.run(code!(a: mov(ecx, PKRS); xor(eax, eax); mov(edx, 1); wrmsr()));
    assert_eq!(out.vector(), Some(vector::GP));
}

#[test]
fn rdpkru_and_wrpkru_check_their_registers() {
    let mut lab = Lab::long();
    lab.cr4 |= PKE;
    let out = lab.run(code!(a: xor(ecx, ecx); xor(edx, edx); mov(eax, 0xcafe); wrpkru(); dec(edx);
        xor(eax, eax); rdpkru(); hlt()));
    out.done();
    assert_eq!((out.reg(RAX), out.reg(RDX)), (0xcafe, 0));
    lab.run(code!(a: mov(ecx, 1); rdpkru())).fault_at(CODE + 5, vector::GP, 0);
    lab.run(code!(a: xor(ecx, ecx); mov(edx, 1); wrpkru())).fault_at(CODE + 7, vector::GP, 0);
    Lab::long().run(code!(a: xor(ecx, ecx); rdpkru())).fault_at(CODE + 2, vector::UD, None);
}

#[test]
fn cpuid_reports_what_is_there() {
    let mut lab = Lab::long();
    lab.cr4 |= PKE;
    let out = lab.run(code!(a: mov(eax, 7); xor(ecx, ecx); cpuid(); hlt()));
    out.done();
    assert_eq!(out.reg(RBX) >> 10 & 1, 1, "INVPCID");
    assert_eq!(out.reg(RCX) >> 3 & 3, 3, "PKU and OSPKE");
    assert_eq!(out.reg(RCX) >> 16 & 1, 1, "LA57");
    let out =
        lab.run(code!(a: mov(eax, 0x8000_0008u32); cpuid(); mov(esi, eax); mov(eax, 1); cpuid(); hlt()));
    assert_eq!(out.reg(6) >> 8 & 0xff, 57);
    assert_eq!(out.reg(RCX) >> 17 & 1, 1, "PCID");
    assert_eq!(out.reg(RDX) >> 1 & 1, 1, "VME");
}

#[test]
fn smap_forbids_supervisor_accesses_to_user_pages_unless_ac_is_set() {
    for (bits, stac, faults) in [(SMAP, false, true), (SMAP, true, false), (0, false, false)] {
        for write in [false, true] {
            let mut lab = Lab::long();
            lab.cr4 |= bits;
            for page in (0..DATA).step_by(0x1000) {
                lab.forbid(page, pte::U);
            }
            let out = lab.run(|a| {
                if stac {
                    a.stac()?;
                }
                if write {
                    a.mov(byte_ptr(DATA as i32), al)?
                } else {
                    a.mov(al, byte_ptr(DATA as i32))?
                }
                a.hlt()
            });
            if faults {
                out.page_fault(1 | u64::from(write) << 1, DATA);
            } else {
                out.done();
            }
        }
    }
}

#[test]
fn smap_cannot_be_lifted_for_the_processors_own_accesses() {
    // The GDT lies on a user page: reading a descriptor faults even with AC set.
    let mut lab = Lab::long();
    lab.cr4 |= SMAP;
    for page in (0..0x20_0000).step_by(0x1000) {
        if page != GDT & !0xfff {
            lab.forbid(page, pte::U);
        }
    }
    let out = lab.run(code!(a: stac(); mov(eax, u32::from(DATA32)); mov(ds, eax); hlt()));
    // Delivery needs the GDT as well: nothing can be delivered.
    assert!(matches!(out.stop, emu_core::machine::Stop::TripleFault(_)), "{:?}", out.stop);
    let mut lab = Lab::long();
    lab.cr4 |= SMAP;
    for page in (0..0x20_0000).step_by(0x1000) {
        if page != DATA {
            lab.forbid(page, pte::U);
        }
    }
    lab.run(code!(a: stac(); mov(eax, dword_ptr(DATA as i32)); hlt())).done();
    lab.run(code!(a: clac(); mov(eax, dword_ptr(DATA as i32)))).page_fault(1, DATA);
    lab.run(code!(a: mov(byte_ptr(DATA as i32), al))).page_fault(3, DATA);
}

#[test]
fn smep_forbids_supervisor_fetches_from_user_pages() {
    let mut lab = Lab::long();
    lab.cr4 |= SMEP;
    for page in (0..0x20_0000).step_by(0x1000) {
        if page != DATA {
            lab.forbid(page, pte::U);
        }
    }
    lab.run(code!(a: mov(eax, DATA as u32); jmp(rax))).page_fault(0x11, DATA);
}

#[test]
fn umip_takes_the_five_instructions_from_users() {
    let forms: [&[u8]; 5] = [
        &[0x0f, 0x01, 0x04, 0x25, 0, 0, 2, 0], // SGDT [DATA]
        &[0x0f, 0x01, 0x0c, 0x25, 0, 0, 2, 0], // SIDT [DATA]
        &[0x0f, 0x00, 0xc0],                   // SLDT EAX
        &[0x0f, 0x00, 0xc8],                   // STR EAX
        &[0x0f, 0x01, 0xe0],                   // SMSW EAX
    ];
    for bytes in forms {
        for umip in [false, true] {
            let mut lab = Lab::long().at_cpl3();
            lab.cr4 |= if umip { UMIP } else { 0 };
            let out = lab.run(|a| {
                a.db(bytes)?;
                a.int(0x80)
            });
            assert_eq!(out.vector(), Some(if umip { vector::GP } else { 0x80 }), "{bytes:x?}");
            let mut lab = Lab::long();
            lab.cr4 |= if umip { UMIP } else { 0 };
            lab.run(|a| {
                a.db(bytes)?;
                a.hlt()
            })
            .done();
        }
    }
}
