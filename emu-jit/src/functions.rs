//! The transcendental functions of the x87 unit. Software computes them, for the same results on every host, while
//! the rest of the guest's x87 state stays in the host's unit: a thunk takes the operands off the stack for this
//! module, and loads the results.
//!
//! A last result is not loaded as it is, but as the number next to it toward zero, or itself, and something to add: the
//! addition rounds to the result and leaves PE and C1 as the function would. That holds where the control word asks for
//! 64-bit precision, to the nearest, with all exceptions masked, and the result is inexact and far from the ends of
//! the format. Anything else is declined, and left to the instruction's handler.

use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use emu_core::softfloat::{self, Env, F80, Flags, Out};
use iced_x86::Mnemonic as M;

use crate::frame::{EXCHANGE, VECTORS_IN, X87_AREA, X87_IN, X87Area};
use crate::thunks::Assembler;

/// Bit of a function's number: it takes two operands.
pub const TAKES_TWO: u32 = 1 << 8;
/// Bit of a function's number: it has two results.
pub const GIVES_TWO: u32 = 1 << 9;

/// Offset in the area of the status word, which only the thunk looks at.
pub const STATUS: i32 = 2;
/// Offset of the operand from ST(0), where FXSAVE has it.
pub const OPERAND: i32 = 32;
/// Offset of that from ST(1).
pub const SECOND: i32 = 48;
/// Offset of room for FNSTENV, of 28 bytes.
pub const ENVIRONMENT: i32 = 96;

/// Offset of the result to push first, where there are two; software may use the area from 464 on.
pub const FIRST: i32 = 464;
/// Offset of the number to push last.
pub const LAST: i32 = 480;
/// Offset of what to add to it, in double precision.
pub const MORE: i32 = 496;

/// The number of an instruction's function.
pub fn number(mnemonic: M) -> Option<u32> {
    Some(match mnemonic {
        M::Fsin => 0,
        M::Fcos => 1,
        M::F2xm1 => 2,
        M::Fsincos => 3 | GIVES_TWO,
        M::Fptan => 4 | GIVES_TWO,
        M::Fpatan => 5 | TAKES_TWO,
        M::Fyl2x => 6 | TAKES_TWO,
        M::Fyl2xp1 => 7 | TAKES_TWO,
        _ => return None,
    })
}

/// Computes a function of the operands in an area, where nothing else of the state is. 0 when it declines.
pub extern "sysv64" fn compute(area: &mut X87Area, function: u32) -> u64 {
    u64::from(try_to(area, function).is_some())
}

/// To the nearest, 64 bits, all exceptions masked, as the thunk has made sure.
const CONTROL_WORD: u16 = 0x037f;

fn try_to(area: &mut X87Area, function: u32) -> Option<()> {
    let register = |at: i32| {
        let at = at as usize;
        let significand = area.0[at..at + 8].try_into().expect("eight bytes");
        let sign_exponent = u16::from_le_bytes([area.0[at + 8], area.0[at + 9]]);
        F80 { sign_exponent, significand: u64::from_le_bytes(significand) }
    };
    let env = Env::from_control_word(CONTROL_WORD);
    let (st0, st1) = (register(OPERAND), register(SECOND));
    let one = F80 { sign_exponent: 0x3fff, significand: 1 << 63 };
    let (out, pushed) = match function & 0xff {
        0 => (softfloat::sine(st0, &env)?, None),
        1 => (softfloat::cosine(st0, &env)?, None),
        2 => (softfloat::power_of_two_minus_one(st0, &env), None),
        3 => {
            let (sine, cosine) = softfloat::sine_and_cosine(st0, &env)?;
            only_inexact(&cosine)?;
            (sine, Some(cosine.value))
        }
        4 => (softfloat::tangent(st0, &env)?, Some(one)),
        5 => (softfloat::arctangent(st1, st0, &env), None),
        6 => (softfloat::y_log2(st1, st0, &env), None),
        _ => (softfloat::y_log2_plus_one(st1, st0, &env), None),
    };
    only_inexact(&out)?;
    let (last, more) = as_sum(pushed.unwrap_or(out.value), out.rounded_up)?;
    let mut put = |at: i32, value: F80| {
        let at = at as usize;
        area.0[at..at + 8].copy_from_slice(&value.significand.to_le_bytes());
        area.0[at + 8..at + 10].copy_from_slice(&value.sign_exponent.to_le_bytes());
    };
    put(FIRST, out.value);
    put(LAST, last);
    area.0[MORE as usize..][..8].copy_from_slice(&more.to_le_bytes());
    Some(())
}

fn only_inexact(out: &Out<F80>) -> Option<()> {
    (out.flags == Flags::PRECISION).then_some(())
}

/// Two numbers whose sum is rounded to `value`, up or down in magnitude.
fn as_sum(value: F80, up: bool) -> Option<(F80, f64)> {
    const BIAS: i32 = 0x3fff;
    let exponent = i32::from(value.sign_exponent & 0x7fff) - BIAS;
    if value.significand >> 63 == 0 || exponent.abs() > 900 {
        return None;
    }
    let (first, ulps) = match (up, value.significand) {
        (false, _) => (value, 0.25),
        (true, 0x8000_0000_0000_0000) => {
            (F80 { sign_exponent: value.sign_exponent - 1, significand: u64::MAX }, 0.75)
        }
        (true, significand) => (F80 { significand: significand - 1, ..value }, 0.75),
    };
    let ulp = i32::from(first.sign_exponent & 0x7fff) - BIAS - 63;
    let ulp = f64::from_bits(((1023 + ulp) as u64) << 52);
    let more = ulp * ulps;
    Some((first, if value.sign_exponent >> 15 != 0 { -more } else { more }))
}

/// The thunk. Changes R13, R14 and the host's flags. Vector registers, which functions may change, must be in the processor.
///
/// FXAM tells which registers are empty; the condition codes that it changes are brought back by an FXAM of a number
/// that has them, or by FLDENV where the function is declined.
pub(crate) fn emit(asm: &mut Assembler, callee: usize) {
    // RAX, RCX, RDX, RSI, RDI and R8 to R11, those that functions change, and the return address.
    const ABOVE: i32 = 10 * 8;
    const SAVED: [u8; 9] = [0, 1, 2, 6, 7, 8, 9, 10, 11];
    const C0: i32 = 1 << 8;
    const C2: i32 = 1 << 10;
    const C3: i32 = 1 << 14;
    // What FXAM says of an empty register, among C0, C2 and C3.
    const EMPTY: i32 = C3 | C0;
    // Every exception masked, 64 bits, to the nearest.
    const CONTROL: i32 = 0x033f;
    const CONTROL_BITS: i32 = 0x0f3f;
    dynasm!(asm
        ; .arch x64
        ; cmp BYTE [rsp + 8 + VECTORS_IN], 0
        ; jne >declines
        ; cmp BYTE [rsp + 8 + X87_IN], 0
        ; je >ends
    );
    for register in SAVED {
        dynasm!(asm; .arch x64; push Rq(register));
    }
    dynasm!(asm
        ; .arch x64
        ; mov r14, [rsp + ABOVE + EXCHANGE]
        ; add r14, X87_AREA
        ; fnstcw [r14]
        ; fnstsw ax
        ; movzx ecx, WORD [r14]
        ; and ecx, CONTROL_BITS
        ; cmp ecx, CONTROL
        ; jne >refuse
        ; mov [r14 + STATUS], ax
        ; and eax, C3 | C2 | C0
        ; test eax, C2
        ; jnz >refuse
        ; cmp eax, C3 | C0
        ; je >refuse
        ; fxam
        ; fnstsw ax
        ; and eax, C3 | C2 | C0
        ; cmp eax, EMPTY
        ; je >codes
        ; test r13d, TAKES_TWO as i32
        ; jz >one
        ; fincstp
        ; fxam
        ; fnstsw ax
        ; fdecstp
        ; and eax, C3 | C2 | C0
        ; cmp eax, EMPTY
        ; je >codes
        ; one:
        ; test r13d, GIVES_TWO as i32
        ; jz >room
        ; fdecstp
        ; fxam
        ; fnstsw ax
        ; fincstp
        ; and eax, C3 | C2 | C0
        ; cmp eax, EMPTY
        ; jne >codes
        ; room:
        ; fstp TWORD [r14 + OPERAND]
        ; test r13d, TAKES_TWO as i32
        ; jz >taken
        ; fstp TWORD [r14 + SECOND]
        ; taken:
        ; mov rdi, r14
        ; mov esi, r13d
        ; mov rax, QWORD callee as i64
        ; call rax
        ; test eax, eax
        ; jz >again
        ; movzx eax, WORD [r14 + STATUS]
        ; shr eax, 8
        ; mov ecx, eax
        ; and ecx, C0 >> 8
        ; and eax, C3 >> 8
        ; shr eax, 5
        ; or eax, ecx
        ; shl eax, 4
        ; lea rcx, [>classes]
        ; fld TWORD [rcx + rax]
        ; fxam
        ; fstp st0
        ; test r13d, GIVES_TWO as i32
        ; jz >given
        ; fld TWORD [r14 + FIRST]
        ; given:
        ; fld TWORD [r14 + LAST]
        ; fadd QWORD [r14 + MORE]
        ; or r13d, 1
        ; restore:
    );
    for register in SAVED.into_iter().rev() {
        dynasm!(asm; .arch x64; pop Rq(register));
    }
    dynasm!(asm
        ; .arch x64
        ; ret
        ; again:
        ; test r13d, TAKES_TWO as i32
        ; jz >second
        ; fld TWORD [r14 + SECOND]
        ; second:
        ; fld TWORD [r14 + OPERAND]
        ; codes:
        ; fnstenv [r14 + ENVIRONMENT]
        ; mov ax, [r14 + STATUS]
        ; mov [r14 + ENVIRONMENT + 4], ax
        ; fldenv [r14 + ENVIRONMENT]
        ; refuse:
        ; xor eax, eax
        ; jmp <restore
        ; declines:
        ; xor r13d, r13d
        ; ends:
        ; ret
        // Numbers of which FXAM says neither C3 nor C0 (without their first bit), C0 (a NaN), and C3 (zero).
        ; classes:
        ; .u64 0
        ; .u64 0x3fff
        ; .u64 u64::MAX
        ; .u64 0x7fff
        ; .u64 0
        ; .u64 0
    );
}
