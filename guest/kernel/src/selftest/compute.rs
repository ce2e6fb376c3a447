//! Real work with known answers: what the processor's ordinary instructions are for. The answers were computed
//! elsewhere, or are public test vectors.

use super::{Check, Outcome, ensure};
use crate::frames;
use crate::irq_cell::IrqCell;
use crate::paging::direct;
use core::arch::asm;
use core::arch::x86_64::*;
use core::hint::black_box;

pub const CHECKS: &[Check] = &[
    ("compute.crc32", crc32),
    ("compute.sha256", sha256),
    ("compute.sieve", sieve),
    ("compute.fermat", fermat),
    ("compute.divide", divide),
    ("compute.divide_signed", divide_signed),
    ("compute.collatz", collatz),
    ("compute.matrix", matrix),
    ("compute.double", double),
    ("compute.float", float),
    ("compute.convert", convert),
    ("compute.sse2_integer", sse2_integer),
    ("compute.x87", x87),
    ("compute.flags", flags),
    ("compute.bits", bits),
    ("compute.atomic", atomic),
    ("compute.strings", strings),
];

/// A linear congruential sequence (Knuth's MMIX), so that data looks like anything.
fn next(x: u64) -> u64 {
    x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

static TABLE: IrqCell<[u32; 256]> = IrqCell::new([0; 256]);

fn crc_of(table: &[u32; 256], bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(!0, |crc: u32, byte| table[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

/// CRC-32 (IEEE 802.3) by table, over the usual nine digits and over 1 MiB.
fn crc32() -> Outcome {
    TABLE.with(|table| {
        for (i, entry) in table.iter_mut().enumerate() {
            *entry = (0..8).fold(i as u32, |c, _| c >> 1 ^ if c & 1 != 0 { 0xEDB8_8320 } else { 0 });
        }
    });
    let table = TABLE.with(|table| *table);
    let digits = crc_of(&table, b"123456789".iter().copied());
    ensure!(digits == 0xCBF4_3926, "{digits:#x} for the digits");
    let mut x = 1;
    let words = (0..1 << 17).map(|_| {
        x = next(x);
        x
    });
    let long = crc_of(&table, words.flat_map(u64::to_le_bytes));
    ensure!(long == 0x1961_7C1C, "{long:#x} for 1 MiB");
    Ok(())
}

/// The first 32 bits of the fractions of `root(p)` for the first primes, as FIPS 180-4 defines its constants;
/// by integer search, so that no table has to be believed.
fn fraction_of_root(prime: u64, cube: bool) -> u32 {
    // The largest r with r^2 <= prime * 2^64, or r^3 <= prime * 2^96: r / 2^32 is the root.
    let (mut low, mut high) = (0u128, 1u128 << 37);
    while high - low > 1 {
        let r = (low + high) / 2;
        let fits = if cube { r * r * r <= u128::from(prime) << 96 } else { r * r <= u128::from(prime) << 64 };
        if fits { low = r } else { high = r }
    }
    low as u32
}

fn sha256() -> Outcome {
    let mut primes = [0u64; 64];
    let mut found = 0;
    for n in 2.. {
        if found == 64 {
            break;
        }
        if primes[..found].iter().all(|p| n % p != 0) {
            primes[found] = n;
            found += 1;
        }
    }
    let k = primes.map(|prime| fraction_of_root(prime, true));
    let mut h: [u32; 8] = core::array::from_fn(|i| fraction_of_root(primes[i], false));
    // 100,000 times the letter a, then the padding: 1562 full blocks and 32 bytes.
    let mut block = [b'a'; 64];
    for _ in 0..1562 {
        sha256_block(&mut h, &k, black_box(&block));
    }
    block[32..].fill(0);
    block[32] = 0x80;
    block[56..].copy_from_slice(&800_000u64.to_be_bytes());
    sha256_block(&mut h, &k, &block);
    let expected = [
        0x6D1C_F22D,
        0x7CC0_9B08,
        0x5DFC_25EE,
        0x1A1F_3AE0,
        0x2658_04C6,
        0x07BC_2074,
        0xAD25_3BCC,
        0x82FD_81EE,
    ];
    ensure!(h == expected, "{:08x} {:08x} ...", h[0], h[1]);
    Ok(())
}

fn sha256_block(h: &mut [u32; 8], k: &[u32; 64], block: &[u8; 64]) {
    let mut w = [0u32; 64];
    for (word, bytes) in w.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for i in 16..64 {
        let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ w[i - 15] >> 3;
        let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1);
    }
    let mut s = *h;
    for i in 0..64 {
        let [a, b, c, d, e, f, g, last] = s;
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let t1 = last.wrapping_add(s1).wrapping_add(e & f ^ !e & g).wrapping_add(k[i]).wrapping_add(w[i]);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t2 = s0.wrapping_add(a & b ^ a & c ^ b & c);
        s = [t1.wrapping_add(t2), a, b, c, d.wrapping_add(t1), e, f, g];
    }
    for (sum, part) in h.iter_mut().zip(s) {
        *sum = sum.wrapping_add(part);
    }
}

/// Primes below half a million, one bit each: there are 41,538.
fn sieve() -> Outcome {
    const LIMIT: usize = 500_000;
    const FRAMES: usize = LIMIT / 8 / 4096 + 1;
    let mut pages = [0u64; FRAMES];
    for page in &mut pages {
        let Some(frame) = frames::alloc_zeroed() else {
            ensure!(false, "no memory");
            return Ok(());
        };
        *page = frame;
    }
    let cell = |n: usize| (direct(pages[n / 8 / 4096]) + (n / 8 % 4096) as u64) as *mut u8;
    // SAFETY: `cell` stays inside of the frames for all numbers below the limit.
    let marked = |n: usize| unsafe { *cell(n) } >> (n % 8) & 1 != 0;
    let mut count = 0;
    for n in 2..LIMIT {
        if !marked(n) {
            count += 1;
            let mut multiple = n * n;
            while multiple < LIMIT {
                // SAFETY: as above.
                unsafe { *cell(multiple) |= 1 << (multiple % 8) };
                multiple += n;
            }
        }
    }
    pages.into_iter().for_each(frames::free);
    ensure!(count == 41_538, "{count} primes");
    Ok(())
}

/// 2^61 - 1 is prime, so 3^(p-1) = 1 modulo p; 2^61 - 3 is not.
fn fermat() -> Outcome {
    let power = |p: u64| {
        let (mut result, mut base, mut exponent) = (1u64, 3u64, p - 1);
        while exponent > 0 {
            if exponent & 1 != 0 {
                result = multiply_modulo(result, base, p);
            }
            base = multiply_modulo(base, base, p);
            exponent >>= 1;
        }
        result
    };
    ensure!(power((1 << 61) - 1) == 1, "2^61-1 is called composite");
    ensure!(power((1 << 61) - 3) != 1, "2^61-3 is called prime");
    Ok(())
}

fn multiply_modulo(a: u64, b: u64, modulus: u64) -> u64 {
    let remainder: u64;
    // SAFETY: both factors are below the modulus, so the quotient fits and DIV does not fault.
    unsafe {
        asm!("mul {b}", "div {m}", b = in(reg) b, m = in(reg) modulus, inout("rax") a => _,
            out("rdx") remainder, options(pure, nomem, nostack));
    }
    remainder
}

fn divide() -> Outcome {
    let (mut x, mut hash) = (0x0123_4567_89AB_CDEFu64, 0u64);
    for i in 1..=20_000u64 {
        x = next(x);
        let divisor = i * i + 7;
        hash = hash.rotate_left(5) ^ x / divisor ^ (x % divisor).wrapping_mul(3);
    }
    ensure!(hash == 0x7022_2075_DAFB_FA7E, "{hash:#x}");
    Ok(())
}

fn divide_signed() -> Outcome {
    let (mut x, mut hash) = (0x0123_4567_89AB_CDEFu64, 0u64);
    for i in 1..=20_000i64 {
        x = next(x);
        let dividend = x as i64 >> (i % 40);
        let high = (i128::from(dividend) * i128::from((x >> 1) as i64) >> 64) as u64;
        hash = hash.rotate_left(7) ^ (dividend / -i) as u64 ^ (dividend % -i) as u64 ^ high;
    }
    ensure!(hash == 0xE19C_3C7C_47C3_9745, "{hash:#x}");
    Ok(())
}

/// The longest Collatz sequence below 20,000 starts at 17,647 and has 278 steps.
fn collatz() -> Outcome {
    let steps = |mut n: u64| {
        let mut count = 0;
        while n != 1 {
            n = if n & 1 != 0 { 3 * n + 1 } else { n / 2 };
            count += 1;
        }
        count
    };
    let longest =
        (1..20_000).map(|n| (steps(black_box(n)), n)).fold((0, 0), |a, b| if b.0 > a.0 { b } else { a });
    ensure!(longest == (278, 17_647), "{} steps from {}", longest.0, longest.1);
    Ok(())
}

static MATRIX: IrqCell<[[f64; 64]; 64]> = IrqCell::new([[0.0; 64]; 64]);

/// For A with A[i][j] = i + j + 1 the entries of A * A have a closed form; all are whole numbers.
fn matrix() -> Outcome {
    MATRIX.with(|m| {
        for (i, row) in m.iter_mut().enumerate() {
            for (j, value) in row.iter_mut().enumerate() {
                *value = (i + j + 1) as f64;
            }
        }
    });
    for i in 0..64 {
        let wrong = MATRIX.with(|m| {
            (0..64).find(|&j| {
                let sum: f64 = (0..64).map(|k| m[i][k] * m[k][j]).sum();
                // Sum over k of (i+1+k)(j+1+k), with sum k = 2016 and sum k^2 = 85344.
                let (a, b) = (i + 1, j + 1);
                sum != (64 * a * b + 2016 * (a + b) + 85_344) as f64
            })
        });
        ensure!(wrong.is_none(), "row {i} column {wrong:?}");
    }
    Ok(())
}

/// Sums that depend on every rounding: bit for bit.
fn double() -> Outcome {
    let squares = (1..=200_000).fold(0.0, |sum, k| sum + 1.0 / (f64::from(k) * f64::from(k)));
    ensure!(squares.to_bits() == 0x3FFA_51A1_2426_81C5, "1/k^2: {:#x}", squares.to_bits());
    let roots = (1..=20_000).fold(0.0, |sum, k| sum + square_root(f64::from(k)));
    ensure!(roots.to_bits() == 0x413C_C5F8_9614_85C2, "roots: {:#x}", roots.to_bits());
    Ok(())
}

fn square_root(x: f64) -> f64 {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { _mm_cvtsd_f64(_mm_sqrt_sd(_mm_setzero_pd(), _mm_set_sd(x))) }
}

fn float() -> Outcome {
    let sum = (1..=10_000u16).fold(0.0f32, |sum, k| sum + 1.0 / f32::from(k));
    ensure!(sum.to_bits() == 0x411C_9A10, "{:#x}", sum.to_bits());
    let odd = [f32::INFINITY - f32::INFINITY, 0.0f32 * black_box(f32::INFINITY)];
    ensure!(odd.iter().all(|x| x.is_nan()), "infinity minus infinity is a number");
    ensure!(black_box(1.0f32) / black_box(-0.0) == f32::NEG_INFINITY, "1 / -0");
    ensure!(black_box(1.0e-40f32) > 0.0 && black_box(1.0e-40f32) * 0.5 > 0.0, "denormals vanish");
    Ok(())
}

fn convert() -> Outcome {
    // CVTSD2SI rounds to nearest even, CVTTSD2SI cuts; what does not fit becomes 8000...0.
    let cases = [(2.5, 2, 2), (3.5, 4, 3), (-2.5, -2, -2), (-3.7, -4, -3), (1e300, i64::MIN, i64::MIN)];
    for (value, nearest, cut) in cases {
        // SAFETY: SSE2 is part of x86-64.
        let seen = unsafe {
            let value = _mm_set_sd(black_box(value));
            (_mm_cvtsd_si64(value), _mm_cvttsd_si64(value))
        };
        ensure!(seen == (nearest, cut), "{value} became {} and {}", seen.0, seen.1);
    }
    let big = black_box(u64::MAX) as f64;
    ensure!(big.to_bits() == 0x43F0_0000_0000_0000, "u64::MAX became {:#x}", big.to_bits());
    ensure!((black_box(0.1f64) as f32).to_bits() == 0x3DCC_CCCD, "0.1 as f32");
    Ok(())
}

fn sse2_integer() -> Outcome {
    // SAFETY: SSE2 is part of x86-64; loads and stores are to local arrays.
    let (add, packed, compare, sad, multiply, shuffled, mask) = unsafe {
        let a = black_box(_mm_set_epi16(-32768, -1, 0, 1, 1000, 32767, 300, -300));
        let b = black_box(_mm_set_epi16(-1, -1, 5, -7, 1000, 1, 2, 3));
        let word = |x: __m128i| {
            let mut out = [0i16; 8];
            _mm_storeu_si128(out.as_mut_ptr().cast(), x);
            out
        };
        let mut bytes = [0u8; 16];
        _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm_packus_epi16(a, b));
        (
            word(_mm_adds_epi16(a, b)),
            bytes,
            word(_mm_cmpgt_epi16(a, b)),
            _mm_cvtsi128_si64(_mm_sad_epu8(a, b)),
            _mm_cvtsi128_si64(_mm_madd_epi16(a, b)),
            word(_mm_shuffle_epi32::<0b00_01_10_11>(a)),
            _mm_movemask_epi8(a),
        )
    };
    ensure!(add == [-297, 302, 32767, 2000, -6, 5, -2, -32768], "PADDSW {add:?}");
    ensure!(packed == [0, 255, 255, 255, 1, 0, 0, 0, 3, 2, 1, 255, 0, 5, 0, 0], "PACKUSWB {packed:?}");
    ensure!(compare == [0, -1, -1, 0, -1, 0, 0, 0], "PCMPGTW {compare:?}");
    // Bytes of the low half: D4 FE 2C 01 FF 7F E8 03 against 03 00 02 00 01 00 E8 03.
    ensure!(sad == 0xD1 + 0xFE + 0x2A + 1 + 0xFE + 0x7F, "PSADBW {sad}");
    ensure!(
        multiply == (-300 * 3 + 300 * 2) & 0xFFFF_FFFF | (32767 + 1_000_000) << 32,
        "PMADDWD {multiply:#x}"
    );
    ensure!(shuffled == [-1, -32768, 1, 0, 32767, 1000, -300, 300], "PSHUFD {shuffled:?}");
    ensure!(mask == expected_mask(), "PMOVMSKB {mask:#b}");
    Ok(())
}

/// Top bits of the bytes of (-300, 300, 32767, 1000, 1, 0, -1, -32768), lowest word first.
fn expected_mask() -> i32 {
    [-300i16, 300, 32767, 1000, 1, 0, -1, -32768]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .enumerate()
        .map(|(i, byte)| i32::from(byte >> 7) << i)
        .sum()
}

/// The x87 unit: 64 bits of precision, constants, comparison, BCD.
fn x87() -> Outcome {
    let (mut third, mut root, mut pi, mut bcd) = ([0u8; 10], 0u64, 0u64, [0u8; 10]);
    let (three, two, number) = (3u32, 2u32, 1_234_567_890u64);
    let status: u16;
    // SAFETY: starts and ends with an empty x87 stack; stores go to the local variables.
    unsafe {
        asm!(
            "fninit",
            "fld1", "fidiv dword ptr [{three}]", "fstp tbyte ptr [{third}]",
            "fild dword ptr [{two}]", "fsqrt", "fstp qword ptr [{root}]",
            "fldpi", "fstp qword ptr [{pi}]",
            "fild qword ptr [{number}]", "fbstp tbyte ptr [{bcd}]",
            "fld1", "fldz", "fcompp", "fnstsw ax", // 0 against 1: below, C0
            "fninit",
            three = in(reg) &raw const three, two = in(reg) &raw const two, number = in(reg) &raw const number,
            third = in(reg) &raw mut third, root = in(reg) &raw mut root, pi = in(reg) &raw mut pi,
            bcd = in(reg) &raw mut bcd, out("ax") status,
        );
    }
    ensure!(third == [0xAB, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xFD, 0x3F], "1/3 is {third:02x?}");
    ensure!(root == 0x3FF6_A09E_667F_3BCD, "the root of 2 is {root:#x}");
    ensure!(pi == 0x4009_21FB_5444_2D18, "pi is {pi:#x}");
    ensure!(bcd == [0x90, 0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0, 0], "BCD {bcd:02x?}");
    ensure!(status & 0x4500 == 0x0100, "status word {status:#x}");
    Ok(())
}

/// Flags of arithmetic at the edges: CF, PF, AF, ZF, SF, OF.
fn flags() -> Outcome {
    const MASK: u64 = 0x8D5;
    macro_rules! flags_of {
        ($instruction:literal, $a:expr, $b:expr) => {{
            let flags: u64;
            // SAFETY: one instruction on two registers.
            unsafe {
                asm!($instruction, "pushfq", "pop {flags}", a = inout(reg_byte) $a => _, b = in(reg_byte) $b,
                    flags = out(reg) flags);
            }
            flags & MASK
        }};
    }
    let seen = [
        flags_of!("add {a}, {b}", 0x7Fu8, 1u8),
        flags_of!("add {a}, {b}", 0xFFu8, 1u8),
        flags_of!("sub {a}, {b}", 0x80u8, 1u8),
        flags_of!("sub {a}, {b}", 0u8, 1u8),
        flags_of!("cmp {a}, {b}", 5u8, 5u8),
        flags_of!("xor {a}, {b}", 0x55u8, 0x2Au8) & !0x10, // AF is undefined
        flags_of!("stc\nadc {a}, {b}", 0xFFu8, 0u8),
        flags_of!("stc\nsbb {a}, {b}", 0x80u8, 0x7Fu8),
    ];
    let expected = [0x890, 0x055, 0x810, 0x095, 0x044, 0x000, 0x055, 0x854];
    ensure!(seen == expected, "{seen:03x?}");
    Ok(())
}

fn bits() -> Outcome {
    let x = black_box(0x0123_4567_89AB_CDEFu64);
    ensure!(x.swap_bytes() == 0xEFCD_AB89_6745_2301, "BSWAP");
    ensure!((x.trailing_zeros(), x.leading_zeros()) == (0, 7), "BSF and BSR");
    ensure!(x.count_ones() == 32, "population count");
    ensure!(x.rotate_left(20) == 0x5678_9ABC_DEF0_1234, "ROL");
    let (left, right, carry): (u64, u64, u8);
    // SAFETY: registers only.
    unsafe {
        asm!("mov {l}, {x}", "shld {l}, {y}, 12", "mov {r}, {x}", "shrd {r}, {y}, 12", "bt {x}, 40", "setc {c}",
            x = in(reg) x, y = in(reg) 0xFEDC_BA98_7654_3210u64, l = out(reg) left, r = out(reg) right,
            c = out(reg_byte) carry);
    }
    ensure!(left == 0x3456_789A_BCDE_FFED, "SHLD {left:#x}");
    ensure!(right == 0x2100_1234_5678_9ABC, "SHRD {right:#x}");
    ensure!(carry == (x >> 40 & 1) as u8, "BT");
    Ok(())
}

fn atomic() -> Outcome {
    use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
    let cell = AtomicU64::new(5);
    ensure!(cell.fetch_add(7, SeqCst) == 5 && cell.load(SeqCst) == 12, "LOCK XADD");
    ensure!(cell.swap(100, SeqCst) == 12, "XCHG");
    ensure!(cell.compare_exchange(100, 200, SeqCst, SeqCst) == Ok(100), "CMPXCHG, equal");
    ensure!(cell.compare_exchange(100, 300, SeqCst, SeqCst) == Err(200), "CMPXCHG, different");
    ensure!(cell.fetch_or(7, SeqCst) == 200 && cell.load(SeqCst) == 207, "LOCK OR");
    Ok(())
}

/// Formatting and searching text: what kernels do all day.
fn strings() -> Outcome {
    let why = super::Why::new(format_args!(
        "{:>6}|{:<5}|{:08b}|{:#x}|{:.3}",
        -42,
        "ab",
        37u8,
        48_879,
        2.0f64 / 3.0
    ));
    ensure!(why.text[..why.length] == *b"   -42|ab   |00100101|0xbeef|0.667", "formatting");
    let text = black_box("the quick brown fox jumps over the lazy dog");
    ensure!(text.find("fox") == Some(16) && text.rfind("the") == Some(31), "find");
    ensure!(text.split(' ').map(str::len).sum::<usize>() == 35, "split");
    ensure!("3.14159".parse() == Ok(3.14159f64) && "18446744073709551615".parse() == Ok(u64::MAX), "parse");
    let mut letters = [0u8; 43];
    letters.copy_from_slice(text.as_bytes());
    letters.sort_unstable();
    ensure!(letters[..8] == [b' '; 8] && letters[42] == b'z', "sort");
    Ok(())
}
