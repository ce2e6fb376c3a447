//! Paging: rights, error codes, CR2, accessed and dirty bits, page sizes. SDM 3A, "Paging".

use emu_core::cpu::{RAX, RCX, RDI, RDX, RSI};
use iced_x86::code_asm::*;

use crate::lab::*;

const P: u64 = 1;
const W: u64 = 2;
const U: u64 = 4;
const RSVD: u64 = 8;
const FETCH: u64 = 16;

/// All three forms of paging.
fn forms() -> [Lab; 3] {
    [Lab::paged(), Lab::pae(), Lab::long()]
}

/// Reads a byte at [`DATA`] (through EBX, so that it assembles alike in every mode).
fn read(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    a.mov(ebx, DATA as u32)?;
    if a.bitness() == 64 {
        a.mov(al, byte_ptr(rbx))?
    } else {
        a.mov(al, byte_ptr(ebx))?
    }
    a.hlt()
}

fn write(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    a.mov(ebx, DATA as u32)?;
    if a.bitness() == 64 {
        a.mov(byte_ptr(rbx), 1)?
    } else {
        a.mov(byte_ptr(ebx), 1)?
    }
    a.hlt()
}

/// As the two above, for CPL 3, where HLT is no way to end.
fn user_read(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    a.mov(ebx, DATA as u32)?;
    if a.bitness() == 64 {
        a.mov(al, byte_ptr(rbx))?
    } else {
        a.mov(al, byte_ptr(ebx))?
    }
    a.int(0x80)
}

fn user_write(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    a.mov(ebx, DATA as u32)?;
    if a.bitness() == 64 {
        a.mov(byte_ptr(rbx), 1)?
    } else {
        a.mov(byte_ptr(ebx), 1)?
    }
    a.int(0x80)
}

#[test]
fn a_page_that_is_not_there_faults_with_what_was_wanted() {
    for mut lab in forms() {
        lab.forbid(DATA, pte::P);
        lab.run(read).page_fault(0, DATA);
    }
    for mut lab in forms() {
        lab.forbid(DATA, pte::P);
        lab.run(write).page_fault(W, DATA);
    }
    for lab in forms() {
        let mut lab = lab.at_cpl3();
        lab.forbid(DATA, pte::P);
        let frame = lab.run(user_read).page_fault(U, DATA);
        assert_eq!((frame.ip, frame.cs & 3), (CODE + 5, 3));
    }
    for lab in forms() {
        let mut lab = lab.at_cpl3();
        lab.forbid(DATA, pte::P);
        lab.run(user_write).page_fault(U | W, DATA);
    }
}

#[test]
fn user_code_keeps_out_of_supervisor_pages() {
    for lab in forms() {
        let mut lab = lab.at_cpl3();
        lab.forbid(DATA, pte::U);
        lab.run(user_read).page_fault(P | U, DATA);
    }
    for mut lab in forms() {
        lab.forbid(DATA, pte::U);
        lab.run(write).done();
    }
}

#[test]
fn rights_of_all_levels_count_together() {
    for lab in forms() {
        let mut lab = lab.at_cpl3();
        // The directory entry denies what the table entry permits. (WP is off for the sake of the handlers.)
        lab.cr0 &= !WP;
        let (table, size) =
            if lab.mode == Mode::Long || lab.cr4 & PAE != 0 { (TABLES + 0x2000, 8) } else { (TABLES, 4) };
        let entry = lab.read(table, size);
        lab.write(table, size, entry & !pte::W);
        lab.run(user_write).page_fault(P | W | U, DATA);
    }
}

#[test]
fn sgdt_to_a_read_only_page_reports_the_address_of_the_limit() {
    let mut lab = Lab::long();
    lab.forbid(DATA, pte::W);
    lab.run(code!(a: mov(eax, DATA as u32 + 0x10); sgdt(fword_ptr(rax)); hlt()))
        .page_fault(P | W, DATA + 0x10);
}

#[test]
fn read_only_pages_bind_the_supervisor_only_with_wp() {
    for mut lab in forms() {
        lab.forbid(DATA, pte::W);
        lab.run(write).page_fault(P | W, DATA);
    }
    for mut lab in forms() {
        lab.cr0 &= !WP;
        lab.forbid(DATA, pte::W);
        lab.run(write).done();
        assert_eq!(lab.read(DATA, 1), 1);
    }
    for lab in forms() {
        let mut lab = lab.at_cpl3();
        lab.cr0 &= !WP;
        lab.forbid(DATA, pte::W);
        lab.run(user_write).page_fault(P | W | U, DATA);
    }
}

#[test]
fn no_execute_pages_fault_on_fetch() {
    for mut lab in [Lab::pae(), Lab::long()] {
        lab.map(DATA, pte::P | pte::W | pte::NX);
        lab.write(DATA, 1, 0xf4);
        let frame = lab.run(code!(a: jmp(DATA))).page_fault(P | FETCH, DATA);
        assert_eq!(frame.ip, DATA, "the fault is at the target");
    }
    // Data can be read all the same.
    let mut lab = Lab::long();
    lab.map(DATA, pte::P | pte::NX);
    lab.run(read).done();
}

#[test]
fn without_nxe_the_bit_is_reserved() {
    for mut lab in [Lab::pae(), Lab::long()] {
        lab.efer &= !0x800;
        lab.map(DATA, pte::P | pte::W | pte::U | pte::NX);
        lab.run(read).page_fault(P | RSVD, DATA);
    }
}

#[test]
fn fetches_from_absent_pages_show_the_fetch_bit_only_with_nx() {
    let mut lab = Lab::long();
    lab.forbid(DATA, pte::P);
    lab.run(code!(a: jmp(DATA))).page_fault(FETCH, DATA);
    let mut lab = Lab::paged();
    lab.forbid(DATA, pte::P);
    lab.run(code!(a: jmp(DATA))).page_fault(0, DATA);
}

#[test]
fn accessed_and_dirty_bits_follow_the_accesses() {
    for mut lab in forms() {
        lab.run(read).done();
        assert_eq!(lab.pte(DATA) & (pte::A | pte::D), pte::A);
    }
    for mut lab in forms() {
        lab.run(write).done();
        assert_eq!(lab.pte(DATA) & (pte::A | pte::D), pte::A | pte::D);
        assert_eq!(lab.pte(DATA + 0x1000) & (pte::A | pte::D), 0);
    }
    // A read first, so that the translation is cached, then the write.
    for mut lab in forms() {
        lab.run(|a| {
            a.mov(ebx, DATA as u32)?;
            if a.bitness() == 64 {
                a.mov(al, byte_ptr(rbx))?;
                a.mov(byte_ptr(rbx), al)?;
            } else {
                a.mov(al, byte_ptr(ebx))?;
                a.mov(byte_ptr(ebx), al)?;
            }
            a.hlt()
        })
        .done();
        assert_eq!(lab.pte(DATA) & pte::D, pte::D);
    }
    // A write that faults sets neither.
    for mut lab in forms() {
        lab.forbid(DATA, pte::W);
        lab.run(write).page_fault(P | W, DATA);
        assert_eq!(lab.pte(DATA) & pte::D, 0);
    }
}

#[test]
fn large_pages_of_every_size() {
    let value = 0x5a5a_1234;
    // 4 MiB with PSE: linear 40_0000h is physical 0 + the same.
    let mut lab = Lab::paged();
    lab.cr4 |= PSE;
    lab.write(TABLES + 4, 4, pte::P | pte::W | pte::PS);
    lab.write(DATA, 4, value);
    let out = lab.run(code!(a: mov(eax, dword_ptr(0x40_0000 + DATA as i32)); hlt()));
    out.done();
    assert_eq!(out.reg(RAX), value);
    assert_eq!(lab.read(TABLES + 4, 4) & (pte::A | pte::D), pte::A);
    // Without PSE the bit is ignored, and the entry leads to a table (at 0, where there is nothing).
    let mut lab = Lab::paged();
    lab.write(TABLES + 4, 4, pte::P | pte::W | pte::PS);
    lab.run(code!(a: mov(eax, dword_ptr(0x40_0000 + DATA as i32)); hlt())).page_fault(0, 0x40_0000 + DATA);
    // 2 MiB.
    for mut lab in [Lab::pae(), Lab::long()] {
        lab.write(TABLES + 0x2008, 8, pte::P | pte::W | pte::PS);
        lab.write(DATA, 4, value);
        let out = lab.run(code!(a: mov(ebx, 0x20_0000 + DATA as u32); xor(eax, eax); nop(); hlt()));
        out.done();
        let bits = lab.bits();
        let out = lab.run(|a| {
            a.mov(ebx, 0x20_0000 + DATA as u32)?;
            if bits == 64 {
                a.mov(eax, dword_ptr(rbx))?
            } else {
                a.mov(eax, dword_ptr(ebx))?
            }
            a.hlt()
        });
        out.done();
        assert_eq!(out.reg(RAX), value);
    }
    // 1 GiB.
    let mut lab = Lab::long();
    lab.write(TABLES + 0x1008, 8, pte::P | pte::W | pte::PS);
    lab.write(DATA, 4, value);
    let out = lab.run(code!(a: mov(ebx, 0x4000_0000 + DATA as u32); mov(dword_ptr(rbx + 4), ebx); mov(eax, dword_ptr(rbx)); hlt()));
    out.done();
    assert_eq!(out.reg(RAX), value);
    assert_eq!(lab.read(TABLES + 0x1008, 8) & (pte::A | pte::D), pte::A | pte::D);
}

#[test]
fn reserved_bits_of_large_pages_fault() {
    let mut lab = Lab::long();
    lab.write(TABLES + 0x2008, 8, pte::P | pte::W | pte::PS | 1 << 13);
    lab.run(code!(a: mov(ebx, 0x20_0000u32); mov(al, byte_ptr(rbx)); hlt())).page_fault(P | RSVD, 0x20_0000);
    // Bit 7 of a PML4 entry is reserved.
    let mut lab = Lab::long();
    lab.write(TABLES + 8, 8, (TABLES + 0x1000) | pte::P | pte::PS);
    lab.run(code!(a: mov(rbx, 0x80_0000_0000u64); mov(al, byte_ptr(rbx)); hlt()))
        .page_fault(P | RSVD, 0x80_0000_0000);
}

#[test]
fn invlpg_and_cr3_drop_old_translations() {
    let mut lab = Lab::long();
    let entry = lab.pte_address(DATA) as i32;
    // The page is used, then taken away in memory; after INVLPG the processor must see that.
    lab.run(code!(a:
        mov(al, byte_ptr(DATA)); and(byte_ptr(entry), 0xfeu32 as i32);
        invlpg(byte_ptr(DATA)); mov(al, byte_ptr(DATA)); hlt()))
        .page_fault(0, DATA);
    let mut lab = Lab::long();
    lab.run(code!(a:
        mov(al, byte_ptr(DATA)); and(byte_ptr(entry), 0xfeu32 as i32);
        mov(rax, cr3); mov(cr3, rax); mov(al, byte_ptr(DATA)); hlt()))
        .page_fault(0, DATA);
}

#[test]
fn a_write_that_crosses_into_a_bad_page_writes_nothing() {
    for mut lab in forms() {
        lab.forbid(DATA + 0x1000, pte::W);
        let out = lab.run(|a| {
            a.mov(ebx, DATA as u32 + 0xffe)?;
            if a.bitness() == 64 {
                a.mov(dword_ptr(rbx), -1)?
            } else {
                a.mov(dword_ptr(ebx), -1)?
            }
            a.hlt()
        });
        out.page_fault(P | W, DATA + 0x1000);
        assert_eq!(lab.read(DATA + 0xffc, 8), 0);
    }
    // A read-modify-write too.
    for mut lab in forms() {
        lab.forbid(DATA + 0x1000, pte::P);
        let out = lab.run(|a| {
            a.mov(ebx, DATA as u32 + 0xffe)?;
            if a.bitness() == 64 {
                a.add(dword_ptr(rbx), 1)?
            } else {
                a.add(dword_ptr(ebx), 1)?
            }
            a.hlt()
        });
        out.page_fault(W, DATA + 0x1000);
        assert_eq!(lab.read(DATA + 0xffc, 8), 0);
    }
}

#[test]
fn an_instruction_that_crosses_into_a_bad_page_faults_there() {
    let mut lab = Lab::long();
    lab.forbid(DATA + 0x1000, pte::P);
    lab.write(DATA + 0xffe, 2, 0xb848); // MOV RAX, imm64 begins; its immediate is on the next page
    let frame = lab.run(code!(a: jmp(DATA + 0xffe))).page_fault(FETCH, DATA + 0x1000);
    assert_eq!(frame.ip, DATA + 0xffe, "but the instruction begins on this page");
}

#[test]
fn an_instruction_across_two_pages_runs() {
    let mut lab = Lab::long();
    lab.assemble(DATA + 0xffb, 64, code!(a: mov(rax, 0x1122_3344_5566_7788u64); hlt()));
    let out = lab.run(code!(a: jmp(DATA + 0xffb)));
    out.done();
    assert_eq!(out.reg(RAX), 0x1122_3344_5566_7788);
}

#[test]
fn rep_movs_that_faults_midway_can_be_restarted() {
    for mut lab in [Lab::paged(), Lab::pae(), Lab::long()] {
        for n in 0..0x1800 {
            lab.write(DATA + n, 1, (n * 7) & 0xff);
        }
        let to = DATA + 0x4000;
        lab.forbid(to + 0x1000, pte::P);
        let entry = lab.pte_address(to + 0x1000);
        let out = lab.run(code!(a:
            mov(esi, DATA as u32); mov(edi, to as u32); mov(ecx, 0x1800u32); cld(); rep().movsb(); hlt()));
        let frame = out.page_fault(W, to + 0x1000);
        assert_eq!(frame.ip, CODE + 16, "it is the instruction with its prefix");
        assert_eq!(out.reg(RCX), 0x800);
        assert_eq!((out.reg(RSI), out.reg(RDI)), (DATA + 0x1000, to + 0x1000));
        // The handler maps the page and returns.
        let bits = lab.bits();
        let back = 0x9000;
        lab.assemble(back, bits, |a| {
            if bits == 64 {
                a.or(byte_ptr(rbx), 1)?;
                a.add(rsp, 8)?;
                a.iretq()
            } else {
                a.or(byte_ptr(ebx), 1)?;
                a.add(esp, 4)?;
                a.iretd()
            }
        });
        lab.handler(vector::PF, back);
        lab.run(code!(a:
            mov(ebx, entry as u32);
            mov(esi, DATA as u32); mov(edi, to as u32); mov(ecx, 0x1800u32); cld(); rep().movsb(); hlt()))
            .done();
        for n in 0..0x1800 {
            assert_eq!(lab.read(to + n, 1), (n * 7) & 0xff);
        }
    }
}

#[test]
fn supervisor_structures_are_read_with_supervisor_rights() {
    // A fault at CPL 3 finds its gate and stack in supervisor pages.
    let mut lab = Lab::long().at_cpl3();
    for page in [0, IDT, STUBS, TSS, INNER_STACK - 0x1000] {
        lab.forbid(page, pte::U);
    }
    lab.run(code!(a: ud2())).fault_at(CODE, vector::UD, None);
}

/// MOV to CR3 with bit 63 set keeps the translations of a process context, with bit 63 clear it drops them.
#[test]
fn process_contexts_keep_what_they_are_told_to_keep() {
    for keep in [true, false] {
        let mut lab = Lab::long();
        let entry = lab.pte_address(DATA) as i32;
        let out = lab.run(|a| {
            a.mov(rax, cr4)?;
            a.or(eax, 1 << 17)?;
            a.mov(cr4, rax)?;
            a.mov(rax, cr3)?;
            a.mov(rbx, rax)?;
            a.or(rbx, 1)?;
            a.mov(cl, byte_ptr(DATA))?;
            a.and(dword_ptr(entry), !1)?;
            a.mov(cr3, rbx)?; // context 1, which knows nothing
            if keep {
                a.bts(rax, 63)?;
            }
            a.mov(cr3, rax)?;
            a.mov(cl, byte_ptr(DATA))?;
            a.hlt()
        });
        if keep {
            out.done();
        } else {
            out.page_fault(0, DATA);
        }
    }
}

/// SDM 3A, "Operations that Invalidate TLBs and Paging-Structure Caches": a page fault does, for its address.
#[test]
fn a_page_fault_drops_what_was_known_of_its_page() {
    let mut lab = Lab::long();
    lab.forbid(DATA, pte::W);
    let entry = lab.pte_address(DATA) as i32;
    lab.write(DATA + 0x1000, 1, 0x77);
    // The handler maps another page there and goes on; no INVLPG.
    const HANDLER: u64 = 0x9000;
    lab.handler(14, HANDLER);
    lab.assemble(HANDLER, 64, code!(a: mov(dword_ptr(entry), DATA as i32 + 0x1003); add(rsp, 8); iretq()));
    let out = lab.run(code!(a:
        mov(cl, byte_ptr(DATA)); mov(byte_ptr(DATA + 1), 1); mov(dl, byte_ptr(DATA)); hlt()));
    out.done();
    assert_eq!(out.reg(RDX) & 0xff, 0x77);
}
