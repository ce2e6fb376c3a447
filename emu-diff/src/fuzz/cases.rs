//! Random encodings of an instruction form, and registers and memory for them.

use emu_core::cpu::eflags;
use iced_x86::{
    Code, Decoder, DecoderOptions, EncodingKind, Instruction, MandatoryPrefix, Mnemonic as M,
    OpCodeOperandKind as K, OpCodeTableKind, OpKind, Register,
};

use super::places::{CODE, DATA, PAGE, Registers, START, TRAMPOLINE};
use crate::random::Random;

/// An encoding with its bytes.
pub struct Encoding {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The same, decoded at [`START`].
    pub insn: Instruction,
}

fn decode(bits: u32, bytes: &[u8]) -> (Instruction, Option<(usize, usize)>) {
    let mut decoder = Decoder::with_ip(bits, bytes, START, DecoderOptions::NONE);
    let insn = decoder.decode();
    let at = decoder.get_constant_offsets(&insn);
    (insn, at.has_displacement().then(|| (at.displacement_offset(), at.displacement_size())))
}

/// An encoding by its bytes, in code of so many bits.
pub fn decoded(bits: u32, bytes: &[u8]) -> Encoding {
    Encoding { bytes: bytes.to_vec(), insn: decode(bits, bytes).0 }
}

/// A random encoding of this form in code of so many bits; `None` when the attempt failed.
pub fn encoding(code: Code, bits: u32, random: &mut Random) -> Option<Encoding> {
    let info = code.op_code();
    let mut bytes = Vec::new();
    let one_in = |random: &mut Random, n: u64| random.below(n) == 0;
    if one_in(random, 10) {
        bytes.push([0x3e, 0x26, 0x2e, 0x36][random.below(4) as usize]);
    }
    let address = match info.address_size() {
        0 if one_in(random, 8) => bits == 64,
        0 => false,
        size => size != bits,
    };
    if address {
        bytes.push(0x67);
    }
    if info.can_use_lock_prefix() && one_in(random, 8) {
        bytes.push(0xf0);
    }
    if info.can_use_rep_prefix() && one_in(random, 2) {
        bytes.push(0xf3);
    } else if info.can_use_repne_prefix() && one_in(random, 2) {
        bytes.push(0xf2);
    }
    let mandatory = info.mandatory_prefix();
    let pp = match mandatory {
        MandatoryPrefix::P66 => 1,
        MandatoryPrefix::PF3 => 2,
        MandatoryPrefix::PF2 => 3,
        _ => 0,
    };
    let opcode = info.op_code();
    match info.encoding() {
        EncodingKind::Legacy => {
            if info.operand_size() == 16 || pp == 1 {
                bytes.push(0x66);
            }
            if pp > 1 {
                bytes.push([0xf3, 0xf2][pp - 2]);
            }
            let wide = info.operand_size() == 64;
            if bits == 64 && (wide || one_in(random, 2)) {
                bytes.push(0x40 | random.below(8) as u8 | u8::from(wide) << 3);
            }
            match info.table() {
                OpCodeTableKind::Normal => {}
                OpCodeTableKind::T0F => bytes.push(0x0f),
                OpCodeTableKind::T0F38 => bytes.extend([0x0f, 0x38]),
                OpCodeTableKind::T0F3A => bytes.extend([0x0f, 0x3a]),
                _ => return None,
            }
        }
        EncodingKind::VEX => {
            let map = match info.table() {
                OpCodeTableKind::T0F => 1,
                OpCodeTableKind::T0F38 => 2,
                OpCodeTableKind::T0F3A => 3,
                _ => return None,
            };
            let high = if bits == 64 { random.below(8) as u8 } else { 6 | random.below(2) as u8 };
            let wide = info.w() != 0 && !(bits == 32 && info.is_wig32());
            let vvvv = if one_in(random, 3) { 15 } else { random.below(16) as u8 };
            bytes.extend([0xc4, high << 5 | map, u8::from(wide) << 7 | vvvv << 3 | pp as u8]);
        }
        _ => return None,
    }
    if info.op_code_len() == 2 {
        bytes.push((opcode >> 8) as u8);
    }
    let in_opcode = info
        .op_kinds()
        .iter()
        .any(|k| matches!(k, K::r8_opcode | K::r16_opcode | K::r32_opcode | K::r64_opcode));
    bytes.push(opcode as u8 | if in_opcode { random.below(8) as u8 } else { 0 });
    let mut modrm = random.word() as u8;
    if one_in(random, 2) {
        modrm |= 0xc0;
    }
    if let Ok(group) = u8::try_from(info.group_index()) {
        modrm = modrm & !0x38 | group << 3;
    }
    if let Ok(group) = u8::try_from(info.rm_group_index()) {
        modrm = modrm & !7 | group;
    }
    bytes.push(modrm);
    bytes.extend(random.bytes(14));
    if bytes.len() < 15 {
        return None;
    }
    let (insn, displacement) = decode(bits, &bytes[..15]);
    if insn.code() != code {
        return None;
    }
    bytes.truncate(insn.len());
    // Without a base register the displacement decides where the memory operand is.
    if let Some((at, 4)) = displacement
        && (insn.memory_base() == Register::None || insn.is_ip_rel_memory_operand())
        && !one_in(random, 20)
    {
        let place = target(random);
        let from = if insn.is_ip_rel_memory_operand() { insn.next_ip() } else { 0 };
        bytes[at..at + 4].copy_from_slice(&(place.wrapping_sub(from) as u32).to_le_bytes());
    }
    if let Some((at, 8)) = displacement
        && !one_in(random, 20)
    {
        bytes[at..at + 8].copy_from_slice(&target(random).to_le_bytes());
    }
    let (insn, _) = decode(bits, &bytes);
    // A branch into itself never ends, and the trampoline is not for guests.
    let target = insn.near_branch_target();
    if matches!(insn.op0_kind(), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64)
        && ((START..insn.next_ip()).contains(&target) || target >> 20 == TRAMPOLINE >> 20)
    {
        return None;
    }
    // Linux takes it for a system call.
    if insn.mnemonic() == M::Int && insn.immediate8() == 0x80 {
        return None;
    }
    (insn.code() == code).then_some(Encoding { bytes, insn })
}

/// Does it raise #BP?
pub fn is_breakpoint(insn: &Instruction) -> bool {
    insn.mnemonic() == M::Int3 || insn.mnemonic() == M::Int && insn.immediate8() == 3
}

/// An address in the data page, sometimes at its edges.
fn target(random: &mut Random) -> u64 {
    match random.below(24) {
        0 => DATA + PAGE as u64 - random.below(20),
        1 => DATA.wrapping_sub(random.below(10)),
        _ => DATA + 0x100 + random.below(0xe00),
    }
}

/// A number of the kind that finds mistakes.
pub fn number(random: &mut Random) -> u64 {
    let bits = random.word();
    match random.below(8) {
        0 => random.below(4).wrapping_sub(2),
        1 => 1 << random.below(64),
        2 => (1u64 << random.below(64)).wrapping_sub(1),
        3 => u64::MAX << random.below(64),
        4 => [0x80, 0x8000, 0x8000_0000, 1 << 63, 0x7f, 0x7fff, 0x7fff_ffff, 0x99][random.below(8) as usize],
        5 => bits & 0xff,
        _ => bits >> random.below(64),
    }
}

/// Fills memory.
pub fn memory(random: &mut Random, data: &mut [u8; PAGE]) {
    for chunk in data.chunks_exact_mut(8) {
        chunk.copy_from_slice(&number(random).to_le_bytes());
    }
}

/// Number of the full register that this one is part of.
fn full(register: Register) -> Option<usize> {
    register.is_gpr().then(|| register.full_register().number())
}

/// Registers for an encoding; prepares memory too where a branch goes through it.
pub fn registers(e: &Encoding, bits: u32, random: &mut Random, data: &mut [u8; PAGE]) -> Registers {
    let mut r = Registers { regs: std::array::from_fn(|_| number(random)), flags: 0 };
    // Flags, direction, AC, NT, ID; interrupts are on.
    r.flags = 0x202 | random.word() & 0x20_48d5 | if random.below(4) == 0 { 0x400 } else { 0 };
    r.flags |= if random.below(8) == 0 { eflags::AC } else { 0 };
    let insn = &e.insn;
    let mnemonic = insn.mnemonic();
    if insn.is_stack_instruction() {
        for n in [4, 5] {
            r.regs[n] = target(random) & if random.below(2) == 0 { !7 } else { !0 };
        }
    }
    if insn.is_string_instruction() {
        for n in [6, 7] {
            r.regs[n] = target(random);
        }
        r.regs[1] = match random.below(16) {
            0 => number(random),
            _ => random.below(40),
        };
        if random.below(4) == 0 {
            // Something to find.
            let byte = data[(r.regs[7].wrapping_sub(DATA) as usize) % PAGE];
            r.regs[0] = u64::from(byte) * 0x0101_0101_0101_0101;
        }
    }
    if mnemonic == M::Xlatb {
        r.regs[3] = target(random).wrapping_sub(r.regs[0] & 0xff);
    }
    let bit_string = matches!(mnemonic, M::Bt | M::Bts | M::Btr | M::Btc);
    if bit_string
        && insn.op1_kind() == OpKind::Register
        && let Some(n) = full(insn.op1_register())
        && random.below(8) != 0
    {
        r.regs[n] = (random.below(0x4000) as i64 - 0x2000) as u64;
    }
    if insn.op_kinds().any(|kind| kind == OpKind::Memory) && random.below(30) != 0 {
        let place = target(random) & if random.below(2) == 0 { !15 } else { !0 };
        let scale = u64::from(insn.memory_index_scale());
        let displacement = insn.memory_displacement64();
        match (full(insn.memory_base()), full(insn.memory_index())) {
            (Some(base), Some(index)) if base == index => {
                r.regs[base] = place.wrapping_sub(displacement) / (1 + scale);
            }
            (Some(base), index) => {
                let index = index.map_or(0, |n| r.regs[n].wrapping_mul(scale));
                // POP [RSP] sees RSP after the pop: close enough.
                r.regs[base] = place.wrapping_sub(displacement).wrapping_sub(index);
            }
            (None, Some(index)) => r.regs[index] = random.below(64),
            (None, None) => {}
        }
    }
    // Division: a dividend that fits, most of the time.
    if matches!(mnemonic, M::Div | M::Idiv) && random.below(2) == 0 {
        r.regs[2] = if mnemonic == M::Div { random.below(8) } else { random.below(3).wrapping_sub(1) };
        r.regs[0] &= if random.below(2) == 0 { 0xff } else { u64::MAX };
    }
    if bits == 32 {
        for value in &mut r.regs[..8] {
            *value &= 0xffff_ffff;
        }
        r.regs[8..].fill(0);
    }
    prepare_memory(insn, &mut r, random, data, bits);
    r
}

/// Address of the memory operand, if there is one, in code of so many bits.
pub fn memory_operand(insn: &Instruction, r: &Registers, bits: u32) -> u64 {
    let value = |register: Register, _: usize, _: usize| Some(full(register).map_or(0, |n| r.regs[n]));
    let operand = insn.op_kinds().position(|kind| kind == OpKind::Memory).unwrap_or(0) as u32;
    insn.virtual_address(operand, 0, value).unwrap_or(0) & if bits == 32 { 0xffff_ffff } else { u64::MAX }
}

/// Branch targets and flag images in memory.
fn prepare_memory(
    insn: &Instruction,
    r: &mut Registers,
    random: &mut Random,
    data: &mut [u8; PAGE],
    bits: u32,
) {
    let at = match insn.mnemonic() {
        M::Ret | M::Popf | M::Popfd | M::Popfq => r.regs[4],
        M::Jmp | M::Call if insn.op0_kind() == OpKind::Memory => memory_operand(insn, r, bits),
        M::Jmp | M::Call if insn.op0_kind() == OpKind::Register => {
            if let Some(n) = full(insn.op0_register())
                && random.below(4) != 0
            {
                r.regs[n] = CODE + random.below(0x7f0);
            }
            return;
        }
        _ => return,
    };
    let Some(offset) = at.checked_sub(DATA).filter(|&n| n < PAGE as u64).map(|n| n as usize) else { return };
    if matches!(insn.mnemonic(), M::Popf | M::Popfd | M::Popfq) {
        // Not TF: it would trap where the instruction has ended already.
        if let Some(byte) = data.get_mut(offset + 1) {
            *byte &= !1;
        }
        return;
    }
    let Some(slot) = data.get_mut(offset..offset + 8) else { return };
    let left = u64::from_le_bytes(slot.try_into().unwrap_or_default());
    // What lay there may lead to the instruction itself, which would never end.
    let to_itself = [left, left & 0xffff_ffff].iter().any(|to| (START..START + 16).contains(to));
    if random.below(4) != 0 || to_itself {
        slot.copy_from_slice(&(CODE + random.below(0x7f0)).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_branch_by_way_of_memory_leads_to_itself() {
        // jmp [esi]
        let e = decoded(32, &[0xff, 0x26]);
        for seed in 0..200 {
            let mut data = [0; PAGE];
            for at in (0..PAGE).step_by(4) {
                data[at..at + 4].copy_from_slice(&(START as u32).to_le_bytes());
            }
            let r = registers(&e, 32, &mut Random::new(seed), &mut data);
            let Some(at) = memory_operand(&e.insn, &r, 32).checked_sub(DATA) else { continue };
            let slot = data.get(at as usize..at as usize + 4);
            assert_ne!(slot, Some(&(START as u32).to_le_bytes()[..]), "seed {seed}");
        }
    }
}
