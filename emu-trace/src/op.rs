//! What one instruction of a block is known to do: from its bytes alone, so that the writer and the reader of a trace
//! guess alike. A guess that is wrong costs space, nothing else.

use emu_core::decode::{is_immediate, register_number};
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

/// A number that stands for "no register".
pub const NONE: u8 = 0xff;

/// How the address of the memory operand comes about.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// Number of the base register, or [`NONE`].
    pub base: u8,
    /// Number of the index register, or [`NONE`].
    pub index: u8,
    /// Its scale as a shift.
    pub shift: u8,
    /// Number of the segment register, in encoding order.
    pub segment: u8,
    /// Displacement; an absolute address for operands relative to RIP.
    pub displacement: u64,
    /// Bits of the offset that count.
    pub mask: u64,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Not known.
    Unknown,
    /// A register: its number, bytes, and bits to shift it right first (8 for AH to BH).
    Register(u8, u8, u8),
    /// A constant.
    Constant(u64),
    /// What the instruction read from memory, of so many bytes.
    Memory(u8),
    /// The effective address.
    Address,
}

/// What happens to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It becomes the source.
    Move,
    /// It becomes the source, sign-extended from so many bytes.
    Sign(u8),
    /// A sum.
    Add,
    /// A difference.
    Sub,
    /// AND.
    And,
    /// OR.
    Or,
    /// XOR.
    Xor,
    /// A shift left by the source.
    Shl,
    /// A logical shift right.
    Shr,
    /// An arithmetic shift right.
    Sar,
    /// A signed product.
    Mul,
    /// Its complement.
    Not,
    /// Its negative.
    Neg,
}

/// One instruction.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Offset in its block.
    pub start: u16,
    /// Bytes.
    pub length: u8,
    /// It may change EFLAGS.
    pub flags: bool,
    /// It may leave its block, or is the last one.
    pub leaves: bool,
    /// Its memory operand.
    pub address: Option<Address>,
    /// It pushes so many bytes.
    pub pushes: u8,
    /// Bytes of the destination register, and bits by which it is shifted (8 for AH to BH).
    pub size: u8,
    /// The destination register's shift.
    pub high: u8,
    /// What happens to the destination.
    pub action: Action,
    /// With what.
    pub source: Source,
    /// What a write to memory may take.
    pub stored: Source,
    /// Offset of the next instruction in its block, for return addresses.
    pub next: u16,
}

/// Decodes the instructions of a block that starts at RIP `ip`; `lengths` has the bytes of each.
pub fn forms(bytes: &[u8], lengths: &[u8], code_size: u32, ip: u64) -> Vec<Form> {
    let mut start = 0;
    let mut forms: Vec<Form> = lengths
        .iter()
        .map(|&length| {
            let end = (start + usize::from(length)).min(bytes.len());
            let ip = ip.wrapping_add(start as u64);
            let insn = Decoder::with_ip(code_size, &bytes[start..end], ip, DecoderOptions::NONE).decode();
            let form = Form { length, ..form(&insn, start as u16, code_size) };
            start = end;
            form
        })
        .collect();
    if let Some(last) = forms.last_mut() {
        last.leaves = true;
    }
    forms
}

fn form(insn: &Instruction, start: u16, code_size: u32) -> Form {
    let length = insn.len() as u8;
    let mut form = Form {
        start,
        length,
        flags: insn.rflags_modified() != 0 || insn.is_invalid() || unusual(insn),
        leaves: !matches!(insn.flow_control(), FlowControl::Next) || insn.is_string_instruction(),
        address: address(insn, code_size),
        pushes: 0,
        size: 8,
        high: 0,
        action: Action::Move,
        source: Source::Unknown,
        stored: Source::Unknown,
        next: start + u16::from(length),
    };
    let moved = insn.stack_pointer_increment();
    if moved < 0 {
        form.pushes = moved.unsigned_abs().min(8) as u8;
    }
    destination(insn, &mut form);
    form
}

/// May it load EFLAGS, whatever iced says of single flags?
pub(crate) fn unusual(insn: &Instruction) -> bool {
    matches!(
        insn.mnemonic(),
        Mnemonic::Popf
            | Mnemonic::Popfd
            | Mnemonic::Popfq
            | Mnemonic::Iret
            | Mnemonic::Iretd
            | Mnemonic::Iretq
            | Mnemonic::Syscall
            | Mnemonic::Sysret
            | Mnemonic::Sysretq
            | Mnemonic::Sysenter
            | Mnemonic::Int
            | Mnemonic::Int3
            | Mnemonic::Int1
            | Mnemonic::Into
            | Mnemonic::Rsm
    )
}

/// The number of a general register of any width, else [`NONE`].
pub(crate) fn number(register: Register) -> u8 {
    if register.is_gpr() { register_number(register) & 15 } else { NONE }
}

fn address(insn: &Instruction, code_size: u32) -> Option<Address> {
    (0..insn.op_count()).find(|&n| insn.op_kind(n) == OpKind::Memory)?;
    let (base, index) = (insn.memory_base(), insn.memory_index());
    let relative = matches!(base, Register::RIP | Register::EIP);
    let segment = match insn.memory_segment() {
        Register::FS => 4,
        Register::GS => 5,
        _ if code_size == 64 => NONE,
        other => other.number() as u8,
    };
    let size = match (base, index) {
        (Register::None, Register::None) => insn.memory_displ_size() as usize,
        (Register::RIP, _) => 8,
        (Register::EIP, _) => 4,
        (Register::None, index) => index.size(),
        (base, _) => base.size(),
    };
    Some(Address {
        base: if relative { NONE } else { number(base) },
        index: number(index),
        shift: insn.memory_index_scale().trailing_zeros() as u8,
        segment,
        displacement: insn.memory_displacement64(),
        mask: match size {
            2 => 0xffff,
            4 => 0xffff_ffff,
            _ => u64::MAX,
        },
    })
}

fn operand(insn: &Instruction, n: u32) -> Source {
    match insn.op_kind(n) {
        OpKind::Register => {
            let register = insn.op_register(n);
            if !register.is_gpr() {
                return Source::Unknown;
            }
            let raw = register_number(register);
            let high = if register.is_gpr8() && raw >= 16 { 8 } else { 0 };
            Source::Register(if high != 0 { raw & 3 } else { raw & 15 }, register.size() as u8, high)
        }
        OpKind::Memory => Source::Memory(insn.memory_size().size().min(8) as u8),
        kind if is_immediate(kind) => Source::Constant(insn.immediate(n)),
        _ => Source::Unknown,
    }
}

fn destination(insn: &Instruction, form: &mut Form) {
    use Mnemonic as M;
    if insn.op_count() == 0 {
        return;
    }
    let second = if insn.op_count() > 1 { operand(insn, 1) } else { Source::Unknown };
    if let Source::Register(_, size, high) = operand(insn, 0) {
        (form.size, form.high) = (size, high);
    } else if insn.op_kind(0) == OpKind::Memory {
        form.size = insn.memory_size().size().clamp(1, 8) as u8;
    }
    let bytes = |source| match source {
        Source::Register(_, size, _) | Source::Memory(size) => size,
        _ => 8,
    };
    (form.action, form.source) = match insn.mnemonic() {
        M::Mov | M::Movzx => (Action::Move, second),
        M::Movsx | M::Movsxd => (Action::Sign(bytes(second)), second),
        M::Lea => (Action::Move, Source::Address),
        M::Add | M::Xadd => (Action::Add, second),
        M::Sub => (Action::Sub, second),
        M::And => (Action::And, second),
        M::Or => (Action::Or, second),
        M::Xor => (Action::Xor, second),
        M::Inc => (Action::Add, Source::Constant(1)),
        M::Dec => (Action::Sub, Source::Constant(1)),
        M::Not => (Action::Not, Source::Constant(0)),
        M::Neg => (Action::Neg, Source::Constant(0)),
        M::Shl | M::Sal => (Action::Shl, second),
        M::Shr => (Action::Shr, second),
        M::Sar => (Action::Sar, second),
        M::Imul if insn.op_count() == 2 => (Action::Mul, second),
        M::Pop => (Action::Move, Source::Memory(form.size)),
        _ => (Action::Move, second),
    };
    form.stored = match insn.mnemonic() {
        M::Push => operand(insn, 0),
        M::Call => Source::Constant(insn.next_ip()),
        _ if insn.op_kind(0) == OpKind::Memory => second,
        _ => Source::Unknown,
    };
    if insn.code() == Code::Pushw_imm8 {
        form.pushes = 2;
    }
}
