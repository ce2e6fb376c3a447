//! What an instruction may change, as far as its bytes tell: so that the recorder looks only there.

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess};

use crate::op::{number, unusual};

/// Bits of what may change: bit n for general register n, and these.
pub mod bits {
    /// All general registers.
    pub const REGISTERS: u32 = 0xffff;
    /// EFLAGS. The number of the bit is that of RF, which the instruction after one that left it set clears.
    pub const FLAGS: u32 = 1 << 16;
    /// Segment registers, CPL, control registers: what [`crate::model::field`] lists.
    pub const FIELDS: u32 = 1 << 17;
    /// Everything.
    pub const ALL: u32 = REGISTERS | FLAGS | FIELDS;
}

/// What `insn` may change.
pub fn effects(insn: &Instruction, factory: &mut InstructionInfoFactory) -> u32 {
    if insn.is_invalid() || insn.is_privileged() || unusual(insn) || loads_segments(insn) {
        return bits::ALL;
    }
    let mut effects = if insn.rflags_modified() != 0 { bits::FLAGS } else { 0 };
    for used in factory.info(insn).used_registers() {
        let written = !matches!(used.access(), OpAccess::None | OpAccess::Read | OpAccess::CondRead);
        let register = used.register().full_register();
        if written && register.is_gpr() {
            effects |= 1 << number(register);
        }
    }
    effects
}

fn loads_segments(insn: &Instruction) -> bool {
    use Mnemonic as M;
    let operand = (0..insn.op_count()).any(|n| insn.op_register(n).is_segment_register());
    operand
        || insn.is_jmp_far()
        || insn.is_jmp_far_indirect()
        || insn.is_call_far()
        || insn.is_call_far_indirect()
        || matches!(
            insn.mnemonic(),
            M::Retf | M::Lds | M::Les | M::Lfs | M::Lgs | M::Lss | M::Wrfsbase | M::Wrgsbase | M::Swapgs
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions};

    fn of(bytes: &[u8]) -> u32 {
        let insn = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
        effects(&insn, &mut InstructionInfoFactory::new())
    }

    #[test]
    fn what_is_written_is_told_apart_from_what_is_read() {
        assert_eq!(of(&[0x48, 0x89, 0xd8]), 1, "mov rax, rbx");
        assert_eq!(of(&[0x48, 0x01, 0xc8]), 1 | bits::FLAGS, "add rax, rcx");
        assert_eq!(of(&[0x88, 0xe5]), 1 << 1, "mov ch, ah");
        assert_eq!(of(&[0x48, 0xf7, 0xe3]), 1 | 1 << 2 | bits::FLAGS, "mul rbx");
        assert_eq!(of(&[0x50]), 1 << 4, "push rax");
        assert_eq!(of(&[0xf3, 0xa4]), 1 << 1 | 1 << 6 | 1 << 7, "rep movsb");
        assert_eq!(of(&[0x0f, 0xa2]), 0b1111, "cpuid");
        assert_eq!(of(&[0x75, 0x00]), 0, "jne");
        assert_eq!(of(&[0x48, 0x87, 0x03]), 1, "xchg [rbx], rax");
        for strange in
            [&[0x0f, 0x05][..], &[0x48, 0xcf], &[0x0f, 0x22, 0xd8], &[0x8e, 0xd8], &[0xf4], &[0x9d]]
        {
            assert_eq!(of(strange), bits::ALL, "{strange:02x?}");
        }
    }
}
