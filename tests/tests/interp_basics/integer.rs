//! Corners of integer instructions that a comparison with real processors brought up.

use iced_x86::code_asm::*;

use crate::lab::*;

#[test]
fn a_vex_prefix_is_invalid_in_real_mode() {
    for bytes in [
        &[0xc4, 0xe2, 0x78, 0xf2, 0xc1][..],   // ANDN EAX,EAX,ECX
        &[0xc4, 0xe2, 0x7b, 0xf6, 0xc1],       // MULX EAX,EAX,ECX
        &[0xc4, 0xe3, 0x7b, 0xf0, 0xc1, 1],    // RORX EAX,ECX,1
        &[0xc4, 0xe2, 0x79, 0xf7, 0xc1],       // SHLX EAX,ECX,EAX
        &[0xc4, 0xe2, 0x78, 0xf7, 0xc1],       // BEXTR EAX,ECX,EAX
        &[0xc4, 0xe2, 0x78, 0xf5, 0xc1],       // BZHI EAX,ECX,EAX
        &[0xc4, 0xe2, 0x78, 0xf3, 0xc9],       // BLSR EAX,ECX
        &[0xc4, 0xe2, 0x7b, 0xf5, 0xc1],       // PDEP EAX,EAX,ECX
        &[0xc4, 0xe2, 0x7a, 0xf5, 0xc1],       // PEXT EAX,EAX,ECX
        &[0xc5, 0xe7, 0x7c, 0xa5, 0xca, 0x5f], // VHADDPS YMM4,YMM3,[DI+5FCAh]
    ] {
        let mut lab = Lab::real();
        lab.run(code!(a: db(bytes); hlt())).fault_at(CODE, vector::UD, None);
        if bytes[0] == 0xc4 {
            Lab::protected().run(code!(a: db(bytes); hlt())).done();
        }
    }
}

#[test]
fn a_stack_override_is_ignored_in_64_bit_mode() {
    let code = [0x36, 0x8b, 0x00]; // MOV EAX,SS:[RAX]
    let mut lab = Lab::long();
    lab.run(code!(a: mov(rax, 1u64 << 63); db(&code); hlt())).fault(vector::GP, 0);
    let code = [0x3e, 0x8b, 0x45, 0]; // MOV EAX,DS:[RBP]
    lab.run(code!(a: mov(rbp, 1u64 << 63); db(&code); hlt())).fault(vector::SS, 0);
}

#[test]
fn popa_faults_at_its_lowest_address() {
    let mut lab = Lab::paged().at_cpl3();
    lab.forbid(DATA, pte::P);
    lab.forbid(DATA + 0x1000, pte::P);
    lab.run(code!(a: mov(esp, DATA as u32 + 0xff0); popad(); hlt())).page_fault(4, DATA + 0xff0);
}
