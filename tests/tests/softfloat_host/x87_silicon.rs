//! One host x87 instruction at a time, under a given control word, whose exceptions may be unmasked: an x87
//! exception is delivered by the next waiting instruction, and the flags are cleared before one comes.

use emu_core::softfloat::F80;

/// What the register stack and the status word hold afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    pub st0: F80,
    pub st1: F80,
    pub status: u16,
    /// Memory operand, or EFLAGS for FCOMI.
    pub memory: [u8; 16],
}

/// A memory image of the value for FLD m80.
fn image(value: F80) -> [u8; 16] {
    let mut image = [0; 16];
    image[..10].copy_from_slice(&value.to_bytes());
    image
}

fn value(image: [u8; 16]) -> F80 {
    F80::from_bytes(*image.first_chunk().expect("an image has 16 bytes"))
}

/// A function that loads b and a, so that a is ST(0), and runs one instruction. `{m}` points to a memory operand.
macro_rules! instruction {
    ($($name:ident $instruction:literal)*) => {$(
        pub fn $name(control: u16, a: F80, b: F80, memory: [u8; 16]) -> After {
            let (mut st0, mut st1, mut memory) = (image(a), image(b), memory);
            let status: u16;
            static MASKED: u16 = 0x37f;
            // SAFETY: reads and writes the named buffers and the x87 state, which FNINIT leaves empty and in its
            // default. No waiting instruction runs while an unmasked exception is pending.
            unsafe {
                std::arch::asm!(
                    "fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]", "fldcw word ptr [{c}]",
                    $instruction,
                    "fnstsw ax", "fnclex", "fldcw word ptr [{d}]",
                    "fstp tbyte ptr [{a}]", "fstp tbyte ptr [{b}]", "fninit",
                    a = in(reg) &raw mut st0, b = in(reg) &raw mut st1, m = in(reg) &raw mut memory,
                    c = in(reg) &raw const control, d = in(reg) &raw const MASKED,
                    out("ax") status,
                    out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                    out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                );
            }
            After { st0: value(st0), st1: value(st1), status, memory }
        }
    )*};
}

instruction! {
    fadd "fadd st(0), st(1) # {m}"
    fsub "fsub st(0), st(1) # {m}"
    fsubr "fsubr st(0), st(1) # {m}"
    fmul "fmul st(0), st(1) # {m}"
    fdiv "fdiv st(0), st(1) # {m}"
    fdivr "fdivr st(0), st(1) # {m}"
    fsqrt "fsqrt # {m}"
    frndint "frndint # {m}"
    fscale "fscale # {m}"
    fprem "fprem # {m}"
    fprem1 "fprem1 # {m}"
    fxtract "fxtract # {m}"
    fsin "fsin # {m}"
    fcos "fcos # {m}"
    fsincos "fsincos # {m}"
    fptan "fptan # {m}"
    fpatan "fpatan\nfld st(0) # {m}"
    f2xm1 "f2xm1 # {m}"
    fyl2x "fyl2x\nfld st(0) # {m}"
    fyl2xp1 "fyl2xp1\nfld st(0) # {m}"
    fcom "fcom st(1) # {m}"
    fucom "fucom st(1) # {m}"
    fadd_m32 "fadd dword ptr [{m}]"
    fsub_m64 "fsub qword ptr [{m}]"
    fmul_m64 "fmul qword ptr [{m}]"
    fdiv_m32 "fdiv dword ptr [{m}]"
    fidiv_m16 "fidiv word ptr [{m}]"
    fiadd_m32 "fiadd dword ptr [{m}]"
    fcom_m32 "fcom dword ptr [{m}]"
    fld_m32 "fld dword ptr [{m}]"
    fld_m64 "fld qword ptr [{m}]"
    fild_m64 "fild qword ptr [{m}]"
    fbld "fbld tbyte ptr [{m}]"
    fst_m32 "fst dword ptr [{m}]"
    fst_m64 "fst qword ptr [{m}]"
    fist_m16 "fist word ptr [{m}]"
    fist_m32 "fist dword ptr [{m}]"
    fistp_m64 "fistp qword ptr [{m}]"
    fisttp_m32 "fisttp dword ptr [{m}]"
    fbstp "fbstp tbyte ptr [{m}]"
}
