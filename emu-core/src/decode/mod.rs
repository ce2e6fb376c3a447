//! From bytes to [`Op`]: iced decodes, the instruction table picks the handler, operands become register
//! numbers and address parts.

pub mod cache;
pub mod gate;

use std::cell::Cell;

use iced_x86::{
    CodeSize, Decoder, DecoderError, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
    RflagsBits,
};

use crate::cpu::eflags::{AF, CF, OF, PF, SF, ZF};
use crate::cpu::model::Features;
use crate::cpu::{CS, Cpu, DS, ES, Fallible, Fault, RDI, RIP, RSI, SS, ZERO};
use crate::interp::op::{
    ENDS_BLOCK, FLAT, HIGH_BYTE, Handler, INDEXED, MAY_JUMP, NEAR, NO_TRAP, Op, REP, REPNE, WRITES_RIP,
};
use crate::interp::table::{self, Form};

/// The longest an instruction may be.
pub const MAX_LENGTH: usize = 15;

/// What decoded code depends on beside its bytes: part of the key of every block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeMode {
    /// Bits of the code segment: 16, 32 or 64.
    pub size: u32,
    /// `Cpu::flat`.
    pub flat: bool,
    /// What the processor has: the same for all code of a machine.
    pub features: Features,
}

impl CodeMode {
    /// 64-bit code of a processor that has everything.
    pub const LONG: Self = Self { size: 64, flat: true, features: Features::ALL };

    /// The mode that a processor is in.
    pub fn of(cpu: &Cpu) -> Self {
        Self { size: cpu.code_size(), flat: cpu.flat, features: cpu.model.features }
    }
}

/// Why bytes did not become an [`Op`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecoded {
    /// The instruction goes on beyond the bytes given.
    TooShort,
}

/// Decodes one instruction of `code_size`-bit code. `start` is its offset in its block.
///
/// # Errors
/// When the bytes end too early. Bytes that are no instruction become an [`Op`] that raises #UD.
pub fn decode(bytes: &[u8], mode: CodeMode, start: u16) -> Result<Op, Undecoded> {
    let code_size = mode.size;
    let mut decoder = Decoder::with_ip(code_size, bytes, 0, gate::decoder_options(mode.features));
    let insn = decoder.decode();
    if insn.is_invalid() {
        if decoder.last_error() == DecoderError::NoMoreBytes && bytes.len() < MAX_LENGTH {
            return Err(Undecoded::TooShort);
        }
        let too_long = prefixes_only(bytes, code_size);
        let run: Handler = if too_long { too_long_instruction } else { invalid_opcode };
        return Ok(Op { flags: ENDS_BLOCK, ..blank(run, start, start + bytes.len().min(MAX_LENGTH) as u16) });
    }
    if !gate::needs(insn.code()).met_by(mode.features) {
        return Ok(Op { flags: ENDS_BLOCK, ..blank(invalid_opcode, start, start + insn.len() as u16) });
    }
    let mut op = translate(&insn, mode, start);
    if let Some(opcode) = x87_opcode(bytes, code_size) {
        op.imm = opcode.into();
    }
    Ok(op)
}

/// Legacy or REX prefix.
fn is_prefix(byte: u8, code_size: u32) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
        || code_size == 64 && byte & 0xf0 == 0x40
}

/// The 11 bits that FOP holds of an x87 instruction, which has no immediate: they travel in its place.
fn x87_opcode(bytes: &[u8], code_size: u32) -> Option<u16> {
    let mut opcode = bytes.iter().skip_while(|&&byte| is_prefix(byte, code_size));
    match (opcode.next(), opcode.next()) {
        (Some(&escape @ 0xd8..=0xdf), Some(&modrm)) => Some(u16::from(escape & 7) << 8 | u16::from(modrm)),
        _ => None,
    }
}

/// Is the instruction invalid for its length: fifteen bytes and still no opcode's end?
fn prefixes_only(bytes: &[u8], code_size: u32) -> bool {
    if bytes.len() < MAX_LENGTH {
        return false;
    }
    // A sixteenth byte of any kind would be #GP(0): the instruction is too long. Count the prefixes.
    let prefixes = bytes.iter().take(MAX_LENGTH).take_while(|b| is_prefix(**b, code_size)).count();
    if prefixes == MAX_LENGTH {
        return true;
    }
    // With the legacy prefixes cut to one the same opcode must decode to something longer than 15 bytes.
    let mut padded = bytes[prefixes.saturating_sub(1)..].to_vec();
    padded.extend_from_slice(&[0; MAX_LENGTH]);
    let insn = Decoder::new(code_size, &padded, DecoderOptions::NONE).decode();
    !insn.is_invalid() && insn.len() + prefixes.saturating_sub(1) > MAX_LENGTH
}

fn blank(run: Handler, start: u16, end: u16) -> Op {
    Op {
        run,
        imm: 0,
        disp: 0,
        reg: [0; 3],
        base: ZERO as u8,
        index: ZERO as u8,
        scale_segment: DS as u8,
        address_shift: 0,
        flags: 0,
        end,
        length: (end - start) as u8,
        block: 1,
        offset: 0,
        link: Cell::new(0),
    }
}

fn invalid_opcode(_: &mut Cpu, _: &Op) -> Fallible {
    Err(Fault::UD)
}

fn too_long_instruction(_: &mut Cpu, _: &Op) -> Fallible {
    Err(Fault::GP0)
}

/// Stands for an instruction that is valid and not implemented.
fn unimplemented(_: &mut Cpu, _: &Op) -> Fallible {
    Err(Fault::Unimplemented)
}

fn translate(insn: &Instruction, mode: CodeMode, start: u16) -> Op {
    let form = Form { insn, code_size: mode.size };
    let run = table::handler(&form).unwrap_or(unimplemented);
    let end = start + insn.len() as u16;
    let mut op = blank(run, start, end);
    op.flags = flow_flags(insn);
    if insn.has_rep_prefix() {
        op.flags |= REP;
    } else if insn.has_repne_prefix() {
        op.flags |= REPNE;
    }
    for n in 0..insn.op_count() {
        operand(&mut op, insn, n);
    }
    let flat = if mode.size == 64 { [CS, DS, ES, SS].as_slice() } else { &[DS, ES, SS] };
    if mode.flat && flat.contains(&op.segment()) {
        op.scale_segment |= FLAT;
        if op.address_shift == 0 {
            op.flags |= NEAR;
        }
        if op.index != ZERO as u8 {
            op.flags |= INDEXED;
        }
    }
    op
}

fn flow_flags(insn: &Instruction) -> u8 {
    use Mnemonic as M;
    let flow = match insn.flow_control() {
        FlowControl::Next => 0,
        FlowControl::Interrupt => WRITES_RIP | ENDS_BLOCK | NO_TRAP,
        FlowControl::Exception => ENDS_BLOCK,
        _ => WRITES_RIP | ENDS_BLOCK,
    };
    let repeats = insn.is_string_instruction() && (insn.has_rep_prefix() || insn.has_repne_prefix());
    match insn.mnemonic() {
        // They do not jump, whatever the group they are put in.
        M::Hlt | M::Ud0 | M::Ud1 | M::Ud2 | M::Bound => ENDS_BLOCK,
        M::Vmcall | M::Vmlaunch | M::Vmresume | M::Vmmcall | M::Xbegin | M::Xabort | M::Xend => ENDS_BLOCK,
        _ if repeats => WRITES_RIP | ENDS_BLOCK,
        _ if insn.is_jcc_short_or_near() && jumps_back(insn) => MAY_JUMP | ENDS_BLOCK,
        _ if insn.is_jcc_short_or_near() => MAY_JUMP,
        _ => flow,
    }
}

/// Does a near branch, decoded with an instruction pointer of 0, lead backwards, as most that are taken do?
fn jumps_back(insn: &Instruction) -> bool {
    let target = insn.near_branch_target();
    match insn.op_kind(0) {
        OpKind::NearBranch16 => (target as i16) < 0,
        OpKind::NearBranch32 => (target as i32) < 0,
        _ => (target as i64) < 0,
    }
}

/// Iced's arithmetic flag bits in their places in EFLAGS.
pub fn eflags(rflags: u32) -> u64 {
    [
        (RflagsBits::OF, OF),
        (RflagsBits::SF, SF),
        (RflagsBits::ZF, ZF),
        (RflagsBits::AF, AF),
        (RflagsBits::CF, CF),
        (RflagsBits::PF, PF),
    ]
    .iter()
    .filter(|(bit, _)| rflags & bit != 0)
    .fold(0, |flags, (_, flag)| flags | flag)
}

/// Is an operand of this kind a number in the instruction?
pub fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate8
            | OpKind::Immediate8_2nd
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64
    )
}

/// Number of a register within its file; 8-bit high registers count from 16.
pub fn register_number(register: Register) -> u8 {
    match register {
        Register::AH => HIGH_BYTE,
        Register::CH => HIGH_BYTE + 1,
        Register::DH => HIGH_BYTE + 2,
        Register::BH => HIGH_BYTE + 3,
        Register::EIP | Register::RIP => RIP as u8,
        Register::None => ZERO as u8,
        // The decoder counts the 8-bit registers through, with AH to BH between BL and SPL.
        low if low.is_gpr8() && low >= Register::SPL => low.number() as u8 - 4,
        other => other.number() as u8,
    }
}

fn operand(op: &mut Op, insn: &Instruction, n: u32) {
    let slot = n as usize;
    match insn.op_kind(n) {
        OpKind::Register => {
            let number = register_number(insn.op_register(n));
            if slot < 3 {
                op.reg[slot] = number;
            } else {
                // The fourth register of VEX instructions travels as their immediate.
                op.imm = u64::from(number);
            }
        }
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
            // Decoded with an instruction pointer of 0, the target is the distance from the start.
            op.imm = insn.near_branch_target().wrapping_add(u64::from(op.start()));
        }
        OpKind::FarBranch16 => {
            op.imm = u64::from(insn.far_branch16()) | u64::from(insn.far_branch_selector()) << 32;
        }
        OpKind::FarBranch32 => {
            op.imm = u64::from(insn.far_branch32()) | u64::from(insn.far_branch_selector()) << 32;
        }
        OpKind::Memory => memory(op, insn),
        OpKind::MemorySegSI | OpKind::MemorySegDI => string_memory(op, insn, 48, n),
        OpKind::MemorySegESI | OpKind::MemorySegEDI => string_memory(op, insn, 32, n),
        OpKind::MemorySegRSI | OpKind::MemorySegRDI => string_memory(op, insn, 0, n),
        OpKind::MemoryESDI => string_target(op, insn, 48),
        OpKind::MemoryESEDI => string_target(op, insn, 32),
        OpKind::MemoryESRDI => string_target(op, insn, 0),
        // ENTER has two: the second goes above the first.
        OpKind::Immediate8_2nd => op.imm |= insn.immediate(n) << 32,
        _ => op.imm = insn.immediate(n),
    }
}

fn string_memory(op: &mut Op, insn: &Instruction, shift: u8, n: u32) {
    op.scale_segment = insn.memory_segment().number() as u8;
    op.address_shift = shift;
    let di = matches!(insn.op_kind(n), OpKind::MemorySegDI | OpKind::MemorySegEDI | OpKind::MemorySegRDI);
    op.base = if di { RDI as u8 } else { RSI as u8 };
}

fn string_target(op: &mut Op, insn: &Instruction, shift: u8) {
    op.address_shift = shift;
    if !matches!(
        insn.mnemonic(),
        Mnemonic::Movsb
            | Mnemonic::Movsw
            | Mnemonic::Movsd
            | Mnemonic::Movsq
            | Mnemonic::Cmpsb
            | Mnemonic::Cmpsw
            | Mnemonic::Cmpsd
            | Mnemonic::Cmpsq
    ) {
        op.scale_segment = ES as u8;
        op.base = RDI as u8;
    }
}

fn memory(op: &mut Op, insn: &Instruction) {
    let base = insn.memory_base();
    op.base = register_number(base);
    op.index = register_number(insn.memory_index());
    let scale = insn.memory_index_scale().trailing_zeros() as u8;
    op.scale_segment = segment_of(insn, insn.code_size() == CodeSize::Code64) as u8 | scale << 4;
    op.disp = insn.memory_displacement64() as i64;
    if matches!(base, Register::RIP | Register::EIP) {
        // Decoded with an instruction pointer of 0, the address is the distance from the start.
        op.disp += i64::from(op.start());
    }
    op.address_shift = match address_size(insn) {
        16 => 48,
        32 => 32,
        _ => 0,
    };
}

/// Segment register of the memory operand. In 64-bit mode prefixes for ES, CS, SS and DS are ignored, and the base
/// register alone tells #SS from #GP. SDM 3A, "Segmentation in IA-32e Mode".
fn segment_of(insn: &Instruction, long: bool) -> usize {
    match insn.memory_segment() {
        Register::FS | Register::GS => insn.memory_segment().number(),
        _ if long => match insn.memory_base() {
            Register::RSP | Register::RBP | Register::ESP | Register::EBP => SS,
            _ => DS,
        },
        other => other.number(),
    }
}

/// Address size in bits of the memory operand.
fn address_size(insn: &Instruction) -> u32 {
    for register in [insn.memory_base(), insn.memory_index()] {
        match register {
            Register::RIP => return 64,
            Register::EIP => return 32,
            Register::None => {}
            other if other.is_vector_register() => {}
            other => return other.size() as u32 * 8,
        }
    }
    insn.memory_displ_size() * 8
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: CodeMode = CodeMode { size: 16, flat: false, ..CodeMode::LONG };

    #[test]
    fn byte_registers_have_the_numbers_of_their_encoding() {
        // test r12b, 1; test sil, 1; test dh, 1
        let number = |bytes: &[u8]| decode(bytes, CodeMode::LONG, 0).unwrap().reg[0];
        assert_eq!(number(&[0x41, 0xf6, 0xc4, 1]), 12);
        assert_eq!(number(&[0x40, 0xf6, 0xc6, 1]), 6);
        assert_eq!(number(&[0xf6, 0xc6, 1]), HIGH_BYTE + 2);
    }

    #[test]
    fn a_rip_relative_address_counts_from_the_block() {
        // mov eax, [rip+0x10]
        let op = decode(&[0x8b, 0x05, 0x10, 0, 0, 0], CodeMode::LONG, 5).unwrap();
        assert_eq!((op.base, op.disp, op.end), (RIP as u8, 5 + 6 + 0x10, 11));
    }

    #[test]
    fn a_backward_branch_is_a_negative_distance() {
        // jmp $ (eb fe) at offset 7
        let op = decode(&[0xeb, 0xfe], CodeMode::LONG, 7).unwrap();
        assert_eq!(op.imm, 7);
        let op = decode(&[0xeb, 0xf0], REAL, 0).unwrap();
        assert_eq!(op.imm as u16, 0xfff2);
    }

    #[test]
    fn too_few_bytes_ask_for_more_and_too_many_prefixes_do_not() {
        assert_eq!(decode(&[0x8b, 0x05], CodeMode::LONG, 0).unwrap_err(), Undecoded::TooShort);
        assert!(decode(&[0x66; 15], CodeMode::LONG, 0).is_ok());
        assert!(prefixes_only(&[0x66; 15], 64));
        assert!(!prefixes_only(&[0x0f, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 64));
    }

    #[test]
    fn sixteen_bit_addresses_are_cut_to_16_bits() {
        // mov ax, [bx+si+0x10]
        let op = decode(&[0x8b, 0x40, 0x10], REAL, 0).unwrap();
        assert_eq!((op.address_shift, op.base, op.index), (48, 3, 6));
        // mov ax, [0x1234]
        assert_eq!(decode(&[0x8b, 0x06, 0x34, 0x12], REAL, 0).unwrap().address_shift, 48);
    }
}
