//! Which x87 and MMX instructions the host's unit runs, and what they leave behind beside their result.
//!
//! The guest's registers, control word and status word are in the host's unit while its code runs, so results, flags,
//! tags and condition codes are silicon's. What silicon does in different ways (remainders, scaling, decimal numbers)
//! is left to the interpreter, and transcendental functions to [`crate::functions`]. Exceptions that the control word
//! leaves unmasked come by [`crate::exceptions`].

use iced_x86::{CpuidFeature as F, Instruction, Mnemonic as M, OpKind};

/// Is it an x87 instruction?
fn is_x87(insn: &Instruction) -> bool {
    insn.cpuid_features().iter().any(|feature| matches!(feature, F::FPU | F::FPU287 | F::FPU387))
}

fn has_mmx_register(insn: &Instruction) -> bool {
    (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Register && insn.op_register(n).is_mm())
}

/// Does it work with the state of the x87 unit, where the host may run it?
pub fn uses(insn: &Instruction) -> bool {
    is_x87(insn) || has_mmx_register(insn) || insn.mnemonic() == M::Emms
}

/// Must the interpreter find the state of the x87 unit in its place to run it?
pub fn touches(insn: &Instruction) -> bool {
    uses(insn)
        || insn.cpuid_features().iter().any(|feature| {
            matches!(feature, F::MMX | F::FXSR | F::XSAVE | F::XSAVEC | F::XSAVEOPT | F::XSAVES | F::D3NOW)
        })
        || matches!(insn.mnemonic(), M::Wait | M::Cvtpi2ps | M::Cvtpi2pd)
}

/// Can the host's unit run it?
pub fn native(insn: &Instruction) -> bool {
    if !is_x87(insn) {
        return insn.mnemonic() != M::Maskmovq;
    }
    let other = matches!(
        insn.mnemonic(),
        M::Fld
            | M::Fst
            | M::Fstp
            | M::Fild
            | M::Fist
            | M::Fistp
            | M::Fisttp
            | M::Fxch
            | M::Ffree
            | M::Fincstp
            | M::Fdecstp
            | M::Fnop
            | M::Fadd
            | M::Faddp
            | M::Fiadd
            | M::Fsub
            | M::Fsubp
            | M::Fisub
            | M::Fsubr
            | M::Fsubrp
            | M::Fisubr
            | M::Fmul
            | M::Fmulp
            | M::Fimul
            | M::Fdiv
            | M::Fdivp
            | M::Fidiv
            | M::Fdivr
            | M::Fdivrp
            | M::Fidivr
            | M::Fsqrt
            | M::Fabs
            | M::Fchs
            | M::Frndint
            | M::Fxam
            | M::Fcmovb
            | M::Fcmovnb
            | M::Fcmove
            | M::Fcmovne
            | M::Fcmovbe
            | M::Fcmovnbe
            | M::Fcmovu
            | M::Fcmovnu
            | M::Fld1
            | M::Fldz
            | M::Fldl2t
            | M::Fldl2e
            | M::Fldpi
            | M::Fldlg2
            | M::Fldln2
            | M::Fldcw
            | M::Fnstcw
            | M::Fnstsw
            | M::Fnclex
    );
    other || compares(insn)
}

/// Does it set FIP and FOP, and FDP when it has a memory operand? Control instructions do not.
pub fn notes(insn: &Instruction) -> bool {
    is_x87(insn) && !matches!(insn.mnemonic(), M::Fldcw | M::Fnstcw | M::Fnstsw | M::Fnclex)
}

/// Does it compare? With the invalid-operation exception unmasked AMD's processors say "unordered", where Intel's manual
/// has the condition codes stay.
pub fn compares(insn: &Instruction) -> bool {
    clears_c1(insn)
        || matches!(
            insn.mnemonic(),
            M::Fcom
                | M::Fcomp
                | M::Fcompp
                | M::Fucom
                | M::Fucomp
                | M::Fucompp
                | M::Ficom
                | M::Ficomp
                | M::Ftst
        )
}

/// FCOMI and its kind, which clear C1 by Intel's manual and not on AMD's processors.
pub fn clears_c1(insn: &Instruction) -> bool {
    matches!(insn.mnemonic(), M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip)
}

/// FLDCW, which the host only runs with a control word that masks all exceptions.
pub fn may_decline(insn: &Instruction) -> bool {
    insn.mnemonic() == M::Fldcw
}
