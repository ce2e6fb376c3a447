//! FPATAN.

use std::cmp::Ordering;

use super::wide::{Wide, alternating_series, inverse_odds};
use crate::softfloat::{Class, Env, F80, Flags, Format, Out, nan};

const SERIES: [u128; 14] = inverse_odds();

/// Arctangent of k / 16 for k from 0, with 128 fraction bits.
const SIXTEENTHS: [u128; 17] = [
    0,
    0x0ffa_addb_967e_f4e3_6cb2_792d_c0e2_e0d5,
    0x1fd5_ba9a_ac2f_6dc6_5912_f313_e7d1_11de,
    0x2f72_f697_9cb6_044d_1ec2_d3e2_0727_1d21,
    0x3eb6_ebf2_5901_bac5_5b71_e7bd_7de8_85f9,
    0x4d89_dcdc_1faf_2f34_e2d5_da4c_693d_7994,
    0x5bd8_6507_937b_c239_c551_9091_6e7f_2241,
    0x6993_bb0f_308f_f2db_213e_4af4_800f_389b,
    0x76b1_9c15_86ed_3da2_b7f2_22f6_5e1d_4681,
    0x832b_f4a6_d986_7e2a_4b6a_09cb_61a5_15c0,
    0x8f00_5d5e_f7f5_9f9b_5c83_5e16_65c4_3747,
    0x9a2f_80e6_71bd_da20_4226_f8e2_204f_f3bc,
    0xa4bc_7d19_34f7_0924_19a8_7f2a_457d_ac9e,
    0xaeac_4c38_b4d8_c080_1472_5e2f_3e52_070a,
    0xb805_3e2b_c231_9e73_cb2d_a552_10a4_443d,
    0xc0ce_85b8_ac52_6640_89dd_62c4_6e92_fa24,
    0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1,
];

/// FPATAN: the angle of the point (x, y), from minus to plus pi. SDM vol. 2, "FPATAN", table of results.
pub fn arctangent(y: F80, x: F80, env: &Env) -> Out<F80> {
    let (y, x) = (y.unpack(), x.unpack());
    if y.is_nan() || x.is_nan() {
        return nan::propagate(&x, &y);
    }
    let flags = Flags::DENORMAL.when(y.class == Class::Denormal || x.class == Class::Denormal);
    if env.traps(flags) {
        return Out::new(F80::indefinite(), flags);
    }
    let angle = match (y.class, x.class) {
        (Class::Infinity, Class::Infinity) if x.sign => Wide::PI.minus(Wide::PI.scaled(-2)),
        (Class::Infinity, Class::Infinity) => Wide::PI.scaled(-2),
        (Class::Zero, _) | (_, Class::Infinity) if x.sign => Wide::PI,
        (Class::Zero, _) | (_, Class::Infinity) => return Out::new(F80::zero(y.sign), flags),
        (Class::Infinity, _) | (_, Class::Zero) => Wide::PI.scaled(-1),
        _ => {
            let first = first_quadrant(
                Wide::from_unpacked(&y).with_sign(false),
                Wide::from_unpacked(&x).with_sign(false),
            );
            if x.sign { Wide::PI.minus(first) } else { first }
        }
    };
    angle.with_sign(y.sign).finish(env, flags)
}

/// Angle of a point with positive coordinates.
fn first_quadrant(y: Wide, x: Wide) -> Wide {
    if y.compare_magnitude(&x) == Ordering::Greater {
        Wide::PI.scaled(-1).minus(up_to_one(x.over(y)))
    } else {
        up_to_one(y.over(x))
    }
}

/// Arctangent of a positive number of at most 1.
fn up_to_one(t: Wide) -> Wide {
    if t.exponent < -33 {
        // An exact quotient has zeros at its end, and the arctangent lies just below it.
        return if t.significand as u64 == 0 { t.just_below() } else { t };
    }
    // Nearest sixteenth c: atan(t) = atan(c) + atan((t - c) / (1 + t c)).
    let index = match t.exponent {
        0 => 16,
        _ => ((t.fraction() >> 123) + 1) >> 1,
    };
    let sixteenth = Wide::from_fixed(false, index << 123, 0);
    let rest = if index == 0 { t } else { t.minus(sixteenth).over(t.times(sixteenth).plus(Wide::ONE)) };
    if rest.significand == 0 {
        return Wide::from_fixed(false, SIXTEENTHS[index as usize], -1);
    }
    let sum = alternating_series(&SERIES, rest.times(rest).fraction());
    let angle = rest.times(Wide::from_fixed(false, sum, 0));
    Wide::from_fixed(false, SIXTEENTHS[index as usize], -1).plus(angle)
}
