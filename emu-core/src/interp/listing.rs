//! Every encoding of the instruction sets that some model of ours has, and whether it is implemented: iced names the
//! encodings, [`gate`] the sets, and the instruction table says which forms have a handler.

use iced_x86::{Code, Instruction, OpCodeOperandKind as K, OpKind, Register as R};

use super::table::{self, Form};
use crate::decode::gate::{self, Needs};

/// One encoding.
#[derive(Clone, Debug)]
pub struct Listed {
    /// As iced names it.
    pub code: Code,
    /// Bits of the code segments in which it exists: some of 16, 32 and 64.
    pub modes: Vec<u32>,
    /// Has every form of it, with registers and with memory and in each mode, a handler?
    pub implemented: bool,
}

/// All encodings of our instruction sets, in iced's order. An instruction with a WAIT before it (FSTCW) is two, and
/// what only AMD's processors decode (LOOP with a 16-bit operand in 64-bit code) is none of ours.
pub fn listing() -> Vec<Listed> {
    let ours = Code::values().filter(|&code| {
        let info = code.op_code();
        info.is_instruction() && !info.fwait() && gate::needs(code) != Needs::Never
    });
    ours.map(listed).filter(|listed| !listed.modes.is_empty()).collect()
}

fn listed(code: Code) -> Listed {
    let info = code.op_code();
    let modes = [(16, info.intel_decoder16()), (32, info.intel_decoder32()), (64, info.intel_decoder64())];
    let modes: Vec<u32> = modes.into_iter().filter(|mode| mode.1).map(|mode| mode.0).collect();
    let either = info.op_kinds().iter().any(|&kind| register_or_memory(kind));
    let places: &[bool] = if either { &[false, true] } else { &[false] };
    let has_handler = |bits, memory| {
        let insn = example(code, bits, memory);
        table::handler(&Form { insn: &insn, code_size: bits }).is_some()
    };
    let implemented = modes.iter().all(|&bits| places.iter().all(|&memory| has_handler(bits, memory)));
    Listed { code, modes, implemented }
}

/// May the operand be either?
fn register_or_memory(kind: K) -> bool {
    use K::*;
    matches!(kind, r8_or_mem | r16_or_mem | r32_or_mem | r64_or_mem | mm_or_mem | xmm_or_mem | ymm_or_mem)
}

/// An instruction of this encoding, as the decoder would return it; operands that can be either are in memory or not.
fn example(code: Code, bits: u32, memory: bool) -> Instruction {
    let info = code.op_code();
    let mut insn = Instruction::default();
    insn.set_code(code);
    let address_size = if info.address_size() == 0 { bits } else { info.address_size() };
    for (n, &kind) in (0..).zip(info.op_kinds()) {
        let (kind, register) = operand(kind, address_size, memory);
        insn.set_op_kind(n, kind);
        match kind {
            OpKind::Register => insn.set_op_register(n, register),
            OpKind::Memory => {
                insn.set_memory_base([R::BX, R::EBX, R::RBX][address_size as usize / 32]);
                insn.set_memory_index(register);
                insn.set_memory_index_scale(1);
            }
            _ => {}
        }
    }
    insn
}

/// Where an operand of this kind is, and its register; of a memory operand the index.
fn operand(kind: K, address_size: u32, memory: bool) -> (OpKind, R) {
    use K::*;
    let string = |kinds: [OpKind; 3]| (kinds[address_size as usize / 32], R::None);
    let register = match kind {
        r8_or_mem | r16_or_mem | r32_or_mem | r64_or_mem | mm_or_mem | xmm_or_mem | ymm_or_mem if memory => {
            return (OpKind::Memory, R::None);
        }
        mem | mem_offs => return (OpKind::Memory, R::None),
        seg_rBX_al => return (OpKind::Memory, R::AL),
        mem_vsib32x | mem_vsib64x => return (OpKind::Memory, R::XMM1),
        mem_vsib32y | mem_vsib64y => return (OpKind::Memory, R::YMM1),
        seg_rSI => return string([OpKind::MemorySegSI, OpKind::MemorySegESI, OpKind::MemorySegRSI]),
        seg_rDI => return string([OpKind::MemorySegDI, OpKind::MemorySegEDI, OpKind::MemorySegRDI]),
        es_rDI => return string([OpKind::MemoryESDI, OpKind::MemoryESEDI, OpKind::MemoryESRDI]),
        farbr2_2 => return (OpKind::FarBranch16, R::None),
        farbr4_2 => return (OpKind::FarBranch32, R::None),
        br16_1 | br16_2 => return (OpKind::NearBranch16, R::None),
        br32_1 | br32_4 => return (OpKind::NearBranch32, R::None),
        br64_1 | br64_4 => return (OpKind::NearBranch64, R::None),
        imm8 | imm8_const_1 | imm4_m2z => return (OpKind::Immediate8, R::None),
        imm8sex16 => return (OpKind::Immediate8to16, R::None),
        imm8sex32 => return (OpKind::Immediate8to32, R::None),
        imm8sex64 => return (OpKind::Immediate8to64, R::None),
        imm16 => return (OpKind::Immediate16, R::None),
        imm32 => return (OpKind::Immediate32, R::None),
        imm32sex64 => return (OpKind::Immediate32to64, R::None),
        imm64 => return (OpKind::Immediate64, R::None),
        r8_or_mem | r8_reg | r8_opcode | al => R::AL,
        r16_or_mem | r16_reg | r16_reg_mem | r16_rm | r16_opcode | ax => R::AX,
        r32_or_mem | r32_reg | r32_reg_mem | r32_rm | r32_opcode | r32_vvvv | eax => R::EAX,
        r64_or_mem | r64_reg | r64_reg_mem | r64_rm | r64_opcode | r64_vvvv | rax => R::RAX,
        mm_or_mem | mm_reg | mm_rm => R::MM1,
        xmm_or_mem | xmm_reg | xmm_rm | xmm_vvvv | xmm_is4 | xmm_is5 => R::XMM2,
        ymm_or_mem | ymm_reg | ymm_rm | ymm_vvvv | ymm_is4 | ymm_is5 => R::YMM2,
        seg_reg | ds => R::DS,
        es => R::ES,
        cs => R::CS,
        ss => R::SS,
        fs => R::FS,
        gs => R::GS,
        cl => R::CL,
        dx => R::DX,
        cr_reg => R::CR0,
        dr_reg => R::DR0,
        st0 => R::ST0,
        sti_opcode => R::ST1,
        // Masks, bounds, tiles and test registers belong to no set of ours.
        _ => R::None,
    };
    (OpKind::Register, register)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_is_implemented() {
        let missing: Vec<_> = listing().into_iter().filter(|listed| !listed.implemented).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn the_list_has_what_exists_and_nothing_else() {
        let all = listing();
        let modes =
            |code| all.iter().find(|listed| listed.code == code).map(|listed| listed.modes.as_slice());
        assert_eq!(modes(Code::Aaa), Some([16, 32].as_slice()));
        assert_eq!(modes(Code::VEX_Vaddpd_ymm_ymm_ymmm256), Some([16, 32, 64].as_slice()));
        assert_eq!(modes(Code::Swapgs), Some([64].as_slice()));
        for absent in [Code::EVEX_Vaddpd_zmm_k1z_zmm_zmmm512b64_er, Code::Fstcw_m2byte, Code::Vmmcall] {
            assert_eq!(modes(absent), None, "{absent:?}");
        }
    }

    /// The operands that this module makes up have the sizes of real ones.
    #[test]
    fn examples_are_as_the_decoder_has_them() {
        for (code, bits, bytes) in [
            (Code::Add_rm8_r8, 32, &[0x00, 0x03][..]),
            (Code::Movsb_m8_m8, 16, &[0xa4]),
            (Code::Xlat_m8, 64, &[0xd7]),
            (Code::VEX_Vgatherdps_xmm_vm32x_xmm, 64, &[0xc4, 0xe2, 0x69, 0x92, 0x04, 0x0b]),
            (Code::Fld_m80fp, 32, &[0xdb, 0x2b]),
        ] {
            let real = iced_x86::Decoder::new(bits, bytes, 0).decode();
            assert_eq!(real.code(), code);
            let made = example(code, bits, true);
            let form = |insn| Form { insn, code_size: bits };
            let (real, made) = (form(&real), form(&made));
            for n in 0..5 {
                assert_eq!(
                    (made.kind(n), made.size(n)),
                    (real.kind(n), real.size(n)),
                    "{code:?}, operand {n}"
                );
            }
        }
    }
}
