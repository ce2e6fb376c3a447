//! Flags that the manual leaves undefined.

use emu_core::cpu::eflags::{AF, CF, OF, PF, SF, ZF};
use emu_core::decode::eflags;
use iced_x86::{Instruction, Mnemonic as M, OpKind};

/// The arithmetic flags that `insn` leaves undefined. `cl` is the low byte of RCX before it: a shift by zero leaves all
/// flags as they are.
pub fn undefined_flags(insn: &Instruction, cl: u8) -> u64 {
    let shifts = matches!(
        insn.mnemonic(),
        M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror | M::Rcl | M::Rcr | M::Shld | M::Shrd
    );
    if shifts {
        let last = insn.op_count() - 1;
        let size = if insn.op0_kind() == OpKind::Register {
            insn.op0_register().size()
        } else {
            insn.memory_size().size()
        };
        let count = match insn.op_kind(last) {
            OpKind::Register => cl,
            _ => insn.immediate(last) as u8,
        } & if size == 8 { 63 } else { 31 };
        let counts_modulo = matches!(insn.mnemonic(), M::Rol | M::Ror | M::Rcl | M::Rcr);
        return match count {
            0 => 0,
            1 if counts_modulo => 0,
            1 => AF,
            _ if counts_modulo => OF,
            // A count beyond the operand's size: SDM 2B, "SHLD", "SAL/SAR/SHL/SHR".
            _ if usize::from(count) > 8 * size && matches!(insn.mnemonic(), M::Shld | M::Shrd) => {
                CF | PF | AF | ZF | SF | OF
            }
            _ if usize::from(count) >= 8 * size && !matches!(insn.mnemonic(), M::Sar | M::Shld | M::Shrd) => {
                CF | AF | OF
            }
            _ => AF | OF,
        };
    }
    eflags(insn.rflags_undefined())
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::Decoder;

    fn of(bytes: &[u8], cl: u8) -> u64 {
        undefined_flags(&Decoder::new(64, bytes, 0).decode(), cl)
    }

    #[test]
    fn a_shift_by_zero_leaves_nothing_undefined() {
        assert_eq!(of(&[0xd3, 0xe0], 0x20), 0); // shl eax, cl
        assert_eq!(of(&[0xd3, 0xe0], 1), AF);
        assert_eq!(of(&[0xd3, 0xe0], 2), AF | OF);
        assert_eq!(of(&[0xd3, 0xc0], 2), OF); // rol eax, cl
        assert_eq!(of(&[0x0f, 0xaf, 0xc1], 0), SF | ZF | AF | PF); // imul eax, ecx
        assert_eq!(of(&[0x01, 0xc8], 0), 0); // add eax, ecx
    }
}
