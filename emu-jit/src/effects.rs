//! What instructions do to the arithmetic flags, and how translated code can tell later.

use emu_core::cpu::eflags::{AF, CF, OF, OSZAPC, PF, Writer, ZF};
use emu_core::decode::eflags;
use iced_x86::{Instruction, Mnemonic as M, OpKind};

/// Effect of an instruction on the arithmetic flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// None.
    None,
    /// All six, as this writer of two operands records them.
    Record(Writer),
    /// All but the carry (INC, DEC).
    Step(Writer),
    /// Those of a product.
    Product,
    /// All six stand in the host's flags, and these are right there; the others are clear.
    Whole(u64),
    /// These change, the others stay as they are: the host's flags must hold all before.
    Partial(u64),
    /// As `Whole`, unless the count in CL is zero.
    Counted(u64),
    /// ZF (and CF) change and others stay, which silicon does in different ways.
    Varies,
    /// The guest's stay, the host's are lost (DIV, IDIV).
    Kept,
}

impl Effect {
    /// The flags that it writes in any case.
    pub fn writes(self) -> u64 {
        match self {
            Self::Record(_) | Self::Product | Self::Whole(_) => OSZAPC,
            Self::Step(_) => OSZAPC & !CF,
            Self::Partial(mask) => mask,
            Self::None | Self::Counted(_) | Self::Varies | Self::Kept => 0,
        }
    }

    /// Does it change any?
    pub fn changes(self) -> bool {
        !matches!(self, Self::None | Self::Kept)
    }
}

/// The effect of an instruction that runs on the host's silicon; `None` when the interpreter had better run it.
pub fn effect(insn: &Instruction) -> Option<Effect> {
    let modified = eflags(insn.rflags_modified());
    Some(match insn.mnemonic() {
        M::Add => Effect::Record(Writer::Add),
        M::Sub | M::Cmp | M::Neg => Effect::Record(Writer::Sub),
        M::And | M::Or | M::Xor | M::Test | M::Andn => Effect::Record(Writer::Logic),
        M::Inc => Effect::Step(Writer::Inc),
        M::Dec => Effect::Step(Writer::Dec),
        M::Imul | M::Mul => Effect::Product,
        M::Adc | M::Sbb | M::Xadd | M::Cmpxchg | M::Popcnt => Effect::Whole(OSZAPC),
        M::Shl | M::Sal | M::Shr | M::Sar => match count(insn) {
            Count::None => Effect::None,
            Count::Known => Effect::Whole(OSZAPC & !AF),
            Count::Cl => Effect::Counted(OSZAPC & !AF),
        },
        M::Rol | M::Ror => match count(insn) {
            Count::None => Effect::None,
            Count::Known => Effect::Partial(CF | OF),
            Count::Cl => return None,
        },
        M::Shld | M::Shrd if insn.op0_kind() == OpKind::Register && insn.op0_register().size() > 2 => {
            match count(insn) {
                Count::None => Effect::None,
                Count::Known => Effect::Whole(OSZAPC & !AF),
                Count::Cl => return None,
            }
        }
        M::Rcl | M::Rcr | M::Shld | M::Shrd => return None,
        M::Bt | M::Bts | M::Btr | M::Btc => {
            if insn.op0_kind() == OpKind::Memory && insn.op1_kind() == OpKind::Register {
                return None;
            }
            Effect::Partial(CF)
        }
        M::Bsf | M::Bsr | M::Tzcnt | M::Lzcnt => Effect::Varies,
        M::Blsi | M::Blsr | M::Blsmsk | M::Bzhi => Effect::Whole(OSZAPC & !(AF | PF)),
        M::Bextr => Effect::Whole(CF | ZF | OF),
        M::Stc | M::Clc | M::Cmc => Effect::Partial(CF),
        M::Sahf => Effect::Partial(OSZAPC & !OF),
        M::Adcx => Effect::Partial(CF),
        M::Adox => Effect::Partial(OF),
        M::Div | M::Idiv => Effect::Kept,
        M::Ptest | M::Vptest | M::Vtestps | M::Vtestpd => Effect::Whole(OSZAPC),
        M::Comiss | M::Comisd | M::Ucomiss | M::Ucomisd => Effect::Whole(OSZAPC),
        M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip => Effect::Whole(OSZAPC),
        M::Vcomiss | M::Vcomisd | M::Vucomiss | M::Vucomisd => Effect::Whole(OSZAPC),
        _ if modified == 0 => Effect::None,
        _ => return None,
    })
}

/// The count of a shift, as far as translating needs it: zero changes nothing.
enum Count {
    None,
    Known,
    Cl,
}

fn count(insn: &Instruction) -> Count {
    let last = insn.op_count() - 1;
    let wide = insn.op_kind(0) == OpKind::Register && insn.op0_register().size() == 8
        || insn.op_kind(0) == OpKind::Memory && insn.memory_size().size() == 8;
    match insn.op_kind(last) {
        OpKind::Register => Count::Cl,
        _ => match insn.immediate(last) as u8 & if wide { 63 } else { 31 } {
            0 => Count::None,
            _ => Count::Known,
        },
    }
}
