//! Code that changes code: the processor runs what lies in memory when an instruction begins.
//! SDM 3A, "Self-Modifying Code".

use emu_core::cpu::{RAX, RBX, RCX, RDX};
use iced_x86::code_asm::*;

use crate::lab::*;

#[test]
fn a_store_changes_the_very_next_instruction() {
    for mut lab in [Lab::real(), Lab::protected(), Lab::long()] {
        let bits = lab.bits();
        // MOV AL, 11h lies right behind the store, 9 bytes from the start in each mode.
        let immediate = CODE as u32 + 9 + 1;
        let out = lab.run(|a| {
            match bits {
                16 => {
                    a.mov(bx, immediate)?;
                    a.nop()?;
                    a.nop()?;
                    a.nop()?;
                    a.mov(byte_ptr(bx), 0x42)?;
                }
                32 => {
                    a.mov(ebx, immediate)?;
                    a.nop()?;
                    a.mov(byte_ptr(ebx), 0x42)?;
                }
                _ => {
                    a.mov(ebx, immediate)?;
                    a.nop()?;
                    a.mov(byte_ptr(rbx), 0x42)?;
                }
            }
            a.mov(al, 0x11)?;
            a.hlt()
        });
        assert_eq!(out.end, CODE + 12, "the store hits the immediate");
        out.done();
        assert_eq!(out.reg(RAX) & 0xff, 0x42);
    }
}

#[test]
fn a_loop_that_patches_itself_runs_the_new_code_each_time_round() {
    let mut lab = Lab::long();
    // Each round adds an immediate and then increments it: 1 + 2 + ... + 100.
    let out = lab.run(|a| {
        let mut again = a.create_label();
        a.xor(eax, eax)?;
        a.mov(ecx, 100)?;
        a.lea(rdi, ptr(again))?;
        a.set_label(&mut again)?;
        a.add(eax, 0x0000_7f01)?; // 05 imm32
        a.sub(eax, 0x0000_7f00)?;
        a.inc(byte_ptr(rdi + 1))?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()
    });
    out.done();
    assert_eq!(out.reg(RAX), 5050);
}

#[test]
fn code_on_another_page_is_noticed_when_it_changes() {
    let mut lab = Lab::long();
    lab.assemble(DATA, 64, code!(a: mov(eax, 1); ret()));
    // Runs it, overwrites its immediate from this page, runs it again.
    let out = lab.run(code!(a:
        mov(edx, DATA as u32); call(rdx); mov(ebx, eax);
        mov(dword_ptr(rdx + 1), 2); call(rdx); mov(ecx, eax);
        mov(byte_ptr(rdx + 2), 1); call(rdx); hlt()));
    out.done();
    assert_eq!((out.reg(RBX), out.reg(RCX), out.reg(RAX)), (1, 2, 0x102));
}

#[test]
fn code_changed_through_another_linear_address_is_noticed() {
    let mut lab = Lab::long();
    lab.assemble(DATA, 64, code!(a: mov(eax, 1); ret()));
    let alias = DATA + 0x8000;
    let entry = lab.pte_address(alias);
    lab.write(entry, 8, DATA | pte::P | pte::W);
    let out = lab.run(code!(a:
        mov(edx, DATA as u32); call(rdx); mov(ebx, eax);
        mov(dword_ptr(alias as i32 + 1), 7); call(rdx); hlt()));
    out.done();
    assert_eq!((out.reg(RBX), out.reg(RAX)), (1, 7));
}

#[test]
fn an_instruction_across_pages_is_noticed_when_its_second_part_changes() {
    let mut lab = Lab::long();
    lab.assemble(DATA + 0xffd, 64, code!(a: mov(eax, 0x0101_0101); ret()));
    let out = lab.run(code!(a:
        mov(edx, DATA as u32 + 0xffd); call(rdx); mov(ebx, eax);
        mov(byte_ptr(DATA as i32 + 0x1000), 0x77); call(rdx); hlt()));
    out.done();
    assert_eq!((out.reg(RBX), out.reg(RAX)), (0x0101_0101, 0x0177_0101));
}

#[test]
fn string_stores_over_code_are_noticed() {
    let mut lab = Lab::long();
    // Sixteen INC EAX become sixteen NOPs by REP STOS.
    lab.assemble(DATA, 64, |a| {
        for _ in 0..16 {
            a.inc(eax)?;
        }
        a.ret()
    });
    let out = lab.run(code!(a:
        xor(eax, eax); mov(edx, DATA as u32); call(rdx); mov(ebx, eax);
        mov(edi, DATA as u32); mov(ecx, 32); mov(al, 0x90); rep().stosb();
        xor(eax, eax); call(rdx); hlt()));
    out.done();
    assert_eq!((out.reg(RBX), out.reg(RAX)), (16, 0));
}

#[test]
fn remapping_a_page_of_code_shows_the_new_page() {
    let mut lab = Lab::long();
    lab.assemble(DATA, 64, code!(a: mov(eax, 1); ret()));
    lab.assemble(DATA + 0x1000, 64, code!(a: mov(eax, 2); ret()));
    let entry = lab.pte_address(DATA) as i32;
    let out = lab.run(code!(a:
        mov(edx, DATA as u32); call(rdx); mov(ebx, eax);
        mov(dword_ptr(entry), DATA as i32 + 0x1000 + 3); invlpg(byte_ptr(DATA as i32)); call(rdx); hlt()));
    out.done();
    assert_eq!((out.reg(RBX), out.reg(RAX)), (1, 2));
}

/// A jump within its page leads to the loop, whose end another frame holds from the third call on.
#[test]
fn a_loop_across_pages_ends_where_the_second_page_is_now() {
    let mut lab = Lab::long();
    let (start, end) = (DATA + 0xfe0, DATA + 0x1000);
    lab.assemble(DATA + 0xf00, 64, code!(a: mov(ecx, 9); xor(eax, eax); jmp(start)));
    lab.assemble(start, 64, |a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.add(eax, 1)?;
        for _ in 0..30 {
            a.nop()?;
        }
        a.dec(ecx)?;
        a.jnz(again)?;
        a.ret()
    });
    lab.assemble(end + 0x800, 64, code!(a: ret()));
    // The other frame: NOPs as far as the loop's end lies in the first one, and another end.
    lab.assemble(DATA + 0x2000, 64, code!(a: nop(); nop(); add(eax, 0x70); ret()));
    let entry = lab.pte_address(end) as i32;
    let out = lab.run(code!(a:
        mov(edx, end as u32 + 0x800); call(rdx); // the second page is known
        mov(edx, DATA as u32 + 0xf00); call(rdx); call(rdx); mov(ebx, eax);
        mov(dword_ptr(entry), DATA as i32 + 0x2000 + 3); invlpg(byte_ptr(end as i32)); call(rdx); hlt()));
    out.done();
    assert_eq!((out.reg(RBX), out.reg(RAX)), (9, 0x71));
}

/// Each of many rounds changes an instruction, counts in a byte beside it, and writes a byte of it again that is the
/// same.
#[test]
fn code_that_changes_in_every_round_among_data_runs_as_it_stands() {
    const ROUNDS: u64 = 3000;
    let mut lab = Lab::long();
    let out = lab.run(|a| {
        let (mut again, mut patched, mut count) = (a.create_label(), a.create_label(), a.create_label());
        a.xor(ebx, ebx)?;
        a.mov(ecx, ROUNDS as i32)?;
        a.lea(rdi, ptr(patched))?;
        a.lea(rsi, ptr(count))?;
        a.set_label(&mut again)?;
        a.mov(dword_ptr(rdi + 1), ecx)?;
        a.mov(byte_ptr(rdi), 0xb8)?;
        a.inc(dword_ptr(rsi))?;
        a.call(patched)?;
        a.add(rbx, rax)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.mov(edx, dword_ptr(rsi))?;
        a.hlt()?;
        a.set_label(&mut patched)?;
        a.mov(eax, 0x1234_5678)?;
        a.ret()?;
        a.set_label(&mut count)?;
        a.dd(&[0])
    });
    out.done();
    assert_eq!((out.reg(RBX), out.reg(RDX)), (ROUNDS * (ROUNDS + 1) / 2, ROUNDS));
}
