//! One host SSE instruction at a time, under a given MXCSR.

/// MXCSR after reset.
static DEFAULT: u32 = 0x1f80;

/// A function that runs one instruction `op xmm, xmm` and gives the low quadword and MXCSR's flags.
macro_rules! binary {
    ($($name:ident $instruction:literal)*) => {$(
        pub fn $name(mxcsr: u32, a: u64, b: u64) -> (u64, u8) {
            let (mut control, mut value) = (mxcsr, a);
            // SAFETY: reads and writes registers and `control` only, all exceptions are masked by the caller,
            // and MXCSR is put back.
            unsafe {
                std::arch::asm!(
                    "movq {x}, {a}", "movq {y}, {b}", "ldmxcsr [{c}]",
                    concat!($instruction, " {x}, {y}"),
                    "stmxcsr [{c}]", "ldmxcsr [{d}]", "movq {a}, {x}",
                    a = inout(reg) value, b = in(reg) b, c = in(reg) &raw mut control, d = in(reg) &raw const DEFAULT,
                    x = out(xmm_reg) _, y = out(xmm_reg) _,
                );
            }
            (value, control as u8 & 0x3f)
        }
    )*};
}

binary! {
    addsd "addsd" addss "addss" subsd "subsd" subss "subss" mulsd "mulsd" mulss "mulss"
    divsd "divsd" divss "divss" minsd "minsd" minss "minss" maxsd "maxsd" maxss "maxss"
    sqrtsd "sqrtsd" sqrtss "sqrtss" cvtss2sd "cvtss2sd" cvtsd2ss "cvtsd2ss" cvtph2ps "vcvtph2ps"
}

/// A function that runs one instruction of the shape `op destination, source...` given as a template.
macro_rules! template {
    ($($name:ident $instruction:literal)*) => {$(
        pub fn $name(mxcsr: u32, a: u64, b: u64, c: u64) -> (u64, u8) {
            let (mut control, mut value) = (mxcsr, a);
            // SAFETY: reads and writes registers, the stack and `control` only, all exceptions are masked by the
            // caller, and MXCSR is put back.
            unsafe {
                std::arch::asm!(
                    "movq {x}, {a}", "movq {y}, {b}", "movq {z}, {e}", "ldmxcsr [{c}]",
                    $instruction,
                    "stmxcsr [{c}]", "ldmxcsr [{d}]",
                    a = inout(reg) value, b = in(reg) b, e = in(reg) c,
                    c = in(reg) &raw mut control, d = in(reg) &raw const DEFAULT,
                    x = out(xmm_reg) _, y = out(xmm_reg) _, z = out(xmm_reg) _,
                );
            }
            (value, control as u8 & 0x3f)
        }
    )*};
}

template! {
    vfmadd132sd "vfmadd132sd {x}, {y}, {z}\nmovq {a}, {x}"
    vfmadd213sd "vfmadd213sd {x}, {y}, {z}\nmovq {a}, {x}"
    vfmadd231sd "vfmadd231sd {x}, {y}, {z}\nmovq {a}, {x}"
    vfmsub213sd "vfmsub213sd {x}, {y}, {z}\nmovq {a}, {x}"
    vfnmadd213sd "vfnmadd213sd {x}, {y}, {z}\nmovq {a}, {x}"
    vfnmsub213sd "vfnmsub213sd {x}, {y}, {z}\nmovq {a}, {x}"
    vfmadd213ss "vfmadd213ss {x}, {y}, {z}\nmovq {a}, {x}"
    vfnmsub213ss "vfnmsub213ss {x}, {y}, {z}\nmovq {a}, {x}"
    roundsd_down "roundsd {x}, {x}, 1\nmovq {a}, {x}"
    roundsd_mxcsr "roundsd {x}, {x}, 4\nmovq {a}, {x}"
    roundss_mxcsr "roundss {x}, {x}, 4\nmovq {a}, {x}"
    comisd "comisd {x}, {y}\npushfq\npop {a}"
    comiss "comiss {x}, {y}\npushfq\npop {a}"
    ucomisd "ucomisd {x}, {y}\npushfq\npop {a}"
    ucomiss "ucomiss {x}, {y}\npushfq\npop {a}"
    cvtsd2si32 "cvtsd2si {a:e}, {x}"
    cvtsd2si64 "cvtsd2si {a}, {x}"
    cvttsd2si32 "cvttsd2si {a:e}, {x}"
    cvttsd2si64 "cvttsd2si {a}, {x}"
    cvtss2si32 "cvtss2si {a:e}, {x}"
    cvtss2si64 "cvtss2si {a}, {x}"
    vcvtsd2usi32 "vcvtsd2usi {a:e}, {x}"
    vcvtsd2usi64 "vcvtsd2usi {a}, {x}"
    cvtsi32sd "cvtsi2sd {x}, {a:e}\nmovq {a}, {x}"
    cvtsi64sd "cvtsi2sd {x}, {a}\nmovq {a}, {x}"
    cvtsi32ss "cvtsi2ss {x}, {a:e}\nmovd {a:e}, {x}"
    cvtsi64ss "cvtsi2ss {x}, {a}\nmovd {a:e}, {x}"
    cvtps2ph "vcvtps2ph {x}, {x}, 4\nmovq {a}, {x}"
}
