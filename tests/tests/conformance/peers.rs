//! What other fast emulators leave out, where no other test shows it. `docs/conformance.md` has the whole list.

use iced_x86::code_asm::*;

use crate::lab::*;

const NE: u32 = 1 << 5;
const MF: u8 = 16;

/// An invalid value is not stored when its exception is unmasked; masked, it becomes the integer indefinite.
/// SDM 1, "Invalid Arithmetic Operand Exception (#IA)".
#[test]
fn fist_of_an_invalid_value_does_not_store_when_unmasked() {
    for (control_word, stored, vector) in [(0x037e, 0x1111_1111u64, Some(MF)), (0x037f, 0x8000_0000, None)] {
        let mut lab = Lab::protected();
        lab.cr0 |= NE;
        lab.write(DATA, 4, 0x7f00_0000); // 2 to the 127th, beyond an integer
        lab.write(DATA + 4, 4, 0x1111_1111);
        lab.write(DATA + 8, 2, control_word);
        let (data, control) = (DATA as i32, DATA as i32 + 8);
        let out = lab.run(code!(a: fninit(); fldcw(word_ptr(control)); fld(dword_ptr(data));
            fist(dword_ptr(data + 4)); wait(); hlt()));
        assert_eq!(out.vector(), vector);
        assert_eq!(lab.read(DATA + 4, 4), stored, "control word {control_word:x}");
    }
}

/// Writing an MMX register makes exponent and sign of the x87 register all ones. SDM 1, "MMX State and x87 State".
#[test]
fn mmx_writes_set_the_exponent_to_all_ones() {
    let mut lab = Lab::protected();
    let image = DATA as i32 + 0x100;
    lab.run(code!(a: fninit(); fldz(); mov(eax, 0x1234); movd(mm3, eax); fnsave(ptr(image)); hlt())).done();
    // FLDZ has made register 7 the top; MMX resets TOP, so that register 3 is the fourth in the image.
    let register = DATA + 0x100 + 28 + 3 * 10;
    assert_eq!((lab.read(register, 8), lab.read(register + 8, 2)), (0x1234, 0xffff));
}

/// A 16-bit interrupt gate from ring 3: five words on the stack of the TSS, whose upper half of ESP counts.
#[test]
fn a_16_bit_interrupt_gate_leads_from_ring_3_to_ring_0() {
    const VECTOR: u8 = 0x60;
    let mut lab = Lab::protected().at_cpl3();
    lab.idt(VECTOR, gate(0xe6, CODE32, STUBS + 16 * u64::from(VECTOR), 0));
    let out = lab.run(code!(a: mov(esp, 0xc123u32); int(i32::from(VECTOR)); nop()));
    assert_eq!(out.vector(), Some(VECTOR));
    assert_eq!(out.reg(emu_core::cpu::RSP), INNER_STACK - 10);
    let mut word = |number: u64| lab.read(INNER_STACK - 10 + 2 * number, 2);
    assert_eq!((word(0), word(1)), (CODE + 7, u64::from(USER_CODE32)));
    assert_eq!((word(3), word(4)), (0xc123, u64::from(USER_DATA)));
}
