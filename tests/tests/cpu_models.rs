//! Processors of other models: what a model lacks is #UD, reserved or #GP, as on the processor that it stands for.

#[allow(dead_code, reason = "shared with `interp_basics`; each uses its part")]
#[path = "interp_basics/lab.rs"]
mod lab;

use emu_core::cpu::model::{MODELS, Model, parse};
use emu_core::cpu::{RAX, RBX, RCX, RDX};
use iced_x86::code_asm::*;
use lab::{CODE, DATA, Lab, PAE, PSE, code, pte, vector};

fn model(text: &str) -> Model {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).0
}

fn with(mut lab: Lab, text: &str) -> Lab {
    lab.machine.set_model(model(text));
    lab
}

/// What one instruction leads to: its own end, or a vector.
fn outcome(mut lab: Lab, bytes: &[u8]) -> Option<u8> {
    let xcr0 = lab.machine.cpu().model.xcr0() as u32;
    let out = lab.run(|a| {
        if xcr0 & 1 != 0 {
            a.xor(ecx, ecx)?;
            a.xor(edx, edx)?;
            a.mov(eax, xcr0)?;
            a.xsetbv()?;
        }
        a.mov(eax, DATA as u32)?;
        a.mov(ebx, DATA as u32)?;
        a.xor(ecx, ecx)?;
        a.xor(edx, edx)?;
        a.db(bytes)?;
        a.hlt()
    });
    out.vector()
}

fn protected(text: &str, bytes: &[u8]) -> Option<u8> {
    let mut lab = with(Lab::protected(), text);
    // OSFXSR and OSXSAVE where they exist.
    lab.cr4 = (model(text).cr4() & 0x4_0200) as u32;
    outcome(lab, bytes)
}

/// Instructions with the first model that has them.
const ARRIVED: &[(&str, &str, &[u8])] = &[
    ("486", "bswap eax", &[0x0f, 0xc8]),
    ("486", "cpuid", &[0x0f, 0xa2]),
    ("486", "fsin", &[0xd9, 0xfe]),
    ("pentium", "cmpxchg8b [ebx]", &[0x0f, 0xc7, 0x0b]),
    ("pentium", "rdtsc", &[0x0f, 0x31]),
    ("pentium", "rdpmc", &[0x0f, 0x33]),
    ("pentium", "paddb mm0, mm1", &[0x0f, 0xfc, 0xc1]),
    ("pentium3", "cmove eax, ebx", &[0x0f, 0x44, 0xc3]),
    ("pentium3", "fcmovb st0, st1", &[0xda, 0xc1]),
    ("pentium3", "fcomi st0, st1", &[0xdb, 0xf1]),
    ("pentium3", "nop [eax]", &[0x0f, 0x1f, 0x00]),
    ("pentium3", "endbr32", &[0xf3, 0x0f, 0x1e, 0xfb]),
    ("pentium3", "fxsave [ebx]", &[0x0f, 0xae, 0x03]),
    ("pentium3", "addps xmm0, xmm1", &[0x0f, 0x58, 0xc1]),
    ("pentium3", "pshufw mm0, mm1, 0", &[0x0f, 0x70, 0xc1, 0]),
    ("pentium3", "sfence", &[0x0f, 0xae, 0xf8]),
    ("core2", "addpd xmm0, xmm1", &[0x66, 0x0f, 0x58, 0xc1]),
    ("core2", "paddq mm0, mm1", &[0x0f, 0xd4, 0xc1]),
    ("core2", "movnti [ebx], eax", &[0x0f, 0xc3, 0x03]),
    ("core2", "clflush [ebx]", &[0x0f, 0xae, 0x3b]),
    ("core2", "mfence", &[0x0f, 0xae, 0xf0]),
    ("core2", "fisttp [ebx]", &[0xdb, 0x0b]),
    ("core2", "haddps xmm0, xmm1", &[0xf2, 0x0f, 0x7c, 0xc1]),
    ("core2", "pshufb mm0, mm1", &[0x0f, 0x38, 0x00, 0xc1]),
    ("core2", "prefetchw [ebx]", &[0x0f, 0x0d, 0x0b]),
    ("x86-64-v2", "ptest xmm0, xmm1", &[0x66, 0x0f, 0x38, 0x17, 0xc1]),
    ("x86-64-v2", "crc32 eax, bl", &[0xf2, 0x0f, 0x38, 0xf0, 0xc3]),
    ("x86-64-v2", "popcnt eax, ebx", &[0xf3, 0x0f, 0xb8, 0xc3]),
    ("x86-64-v2", "rdtscp", &[0x0f, 0x01, 0xf9]),
    ("x86-64-v3", "movbe eax, [ebx]", &[0x0f, 0x38, 0xf0, 0x03]),
    ("x86-64-v3", "andn eax, ebx, ecx", &[0xc4, 0xe2, 0x60, 0xf2, 0xc1]),
    ("x86-64-v3", "rorx eax, ebx, 3", &[0xc4, 0xe3, 0x7b, 0xf0, 0xc3, 3]),
    ("x86-64-v3", "rdrand eax", &[0x0f, 0xc7, 0xf0]),
    ("x86-64-v3", "aesenc xmm0, xmm1", &[0x66, 0x0f, 0x38, 0xdc, 0xc1]),
    ("x86-64-v3", "vzeroupper", &[0xc5, 0xf8, 0x77]),
    ("x86-64-v3", "xgetbv", &[0x0f, 0x01, 0xd0]),
    ("max", "adcx eax, ebx", &[0x66, 0x0f, 0x38, 0xf6, 0xc3]),
    ("max", "sha1nexte xmm0, xmm1", &[0x0f, 0x38, 0xc8, 0xc1]),
    ("max", "gf2p8mulb xmm0, xmm1", &[0x66, 0x0f, 0x38, 0xcf, 0xc1]),
    ("max", "rdpid eax", &[0xf3, 0x0f, 0xc7, 0xf8]),
    ("max", "serialize", &[0x0f, 0x01, 0xe8]),
    ("max", "clwb [ebx]", &[0x66, 0x0f, 0xae, 0x33]),
    ("max", "stac", &[0x0f, 0x01, 0xcb]),
    ("max,+pcommit", "pcommit", &[0x66, 0x0f, 0xae, 0xf8]),
];

#[test]
fn an_instruction_that_a_model_lacks_is_ud() {
    let mut intel: Vec<&str> = MODELS.iter().map(|m| m.name).filter(|&name| name != "qemu64").collect();
    intel.push("max,+pcommit");
    for (first, text, bytes) in ARRIVED {
        let mut there = false;
        for name in &intel {
            there |= name == first;
            let expected = if there { None } else { Some(vector::UD) };
            assert_eq!(protected(name, bytes), expected, "{text} on {name}");
        }
    }
}

#[test]
fn what_no_model_has_is_ud() {
    let all: [(&str, &[u8]); 7] = [
        ("vmmcall", &[0x0f, 0x01, 0xd9]),
        ("vmrun eax", &[0x0f, 0x01, 0xd8]),
        ("femms", &[0x0f, 0x0e]),
        ("xbegin $+6", &[0xc7, 0xf8, 0, 0, 0, 0]),
        ("vpaddd zmm0, zmm0, zmm1", &[0x62, 0xf1, 0x7d, 0x48, 0xfe, 0xc1]),
        ("setssbsy", &[0xf3, 0x0f, 0x01, 0xe8]),
        ("wrssd [ebx], eax", &[0x0f, 0x38, 0xf6, 0x03]),
    ];
    for (text, bytes) in all {
        assert_eq!(protected("max", bytes), Some(vector::UD), "{text}");
    }
}

#[test]
fn features_come_and_go_one_by_one() {
    for (text, bytes, with_it, without) in [
        ("sse2", &[0x66, 0x0f, 0x58, 0xc1][..], "pentium3,+sse2", "max,-sse2"),
        ("cmov", &[0x0f, 0x44, 0xc3], "pentium,+cmov", "core2,-cmov"),
        ("movbe", &[0x0f, 0x38, 0xf0, 0x03], "core2,+movbe", "max,-movbe"),
        ("rdrand", &[0x0f, 0xc7, 0xf0], "pentium3,+rdrand", "max,-rdrand"),
    ] {
        assert_eq!(protected(with_it, bytes), None, "{text} on {with_it}");
        assert_eq!(protected(without, bytes), Some(vector::UD), "{text} on {without}");
    }
}

/// Without the feature their prefix means nothing: they are BSF and BSR.
#[test]
fn tzcnt_and_lzcnt_are_bsf_and_bsr_before_their_time() {
    for (name, trailing, leading) in [("core2", 4, 8), ("max", 4, 23)] {
        let mut lab = with(Lab::protected(), name);
        let out = lab.run(|a| {
            a.mov(ebx, 0x110)?;
            a.db(&[0xf3, 0x0f, 0xbc, 0xc3, 0xf3, 0x0f, 0xbd, 0xcb])?; // tzcnt eax, ebx; lzcnt ecx, ebx
            a.hlt()
        });
        out.done();
        assert_eq!((out.reg(RAX), out.reg(RCX)), (trailing, leading), "{name}");
    }
}

#[test]
fn control_bits_that_a_model_lacks_are_reserved() {
    // PSE, PAE, PGE, OSFXSR, SMEP.
    for (name, bits) in [
        ("486", 0),
        ("pentium", 0x10),
        ("pentium3", 0x2b0),
        ("core2", 0x2b0),
        ("x86-64-v3", 0x10_02b0),
        ("max,-pge", 0x10_0230),
    ] {
        for bit in [0x10, 0x20, 0x80, 0x200, 0x10_0000] {
            let mut lab = with(Lab::protected(), name);
            let vector = lab.run(code!(a: mov(eax, bit); mov(cr4, eax); hlt())).vector();
            let expected = if bits & bit != 0 { None } else { Some(vector::GP) };
            assert_eq!(vector, expected, "CR4 bit {bit:x} on {name}");
        }
    }
    // A processor whose CR4 would have no bits has no CR4.
    let mut lab = with(Lab::protected(), "486,-vme");
    lab.run(code!(a: mov(eax, cr4); hlt())).fault_at(CODE, vector::UD, None);
}

#[test]
fn registers_that_a_model_lacks_are_gp() {
    const EFER: u32 = 0xc000_0080;
    for (name, number, there) in [
        ("pentium", 0x10, true),   // TSC
        ("pentium", 0x1b, false),  // IA32_APIC_BASE
        ("pentium", 0x174, false), // IA32_SYSENTER_CS
        ("pentium", 0x277, false), // IA32_PAT
        ("pentium3", 0x174, true),
        ("pentium3", 0x277, true),
        ("pentium3", 0x2ff, true), // IA32_MTRR_DEF_TYPE
        ("pentium3", EFER, false),
        ("pentium3,+nx", EFER, true),
        ("pentium3", 0xc000_0100, false), // IA32_FS_BASE
        ("core2", EFER, true),
        ("core2", 0xc000_0103, false), // IA32_TSC_AUX
        ("core2", 0x48, false),        // IA32_SPEC_CTRL
        ("max", 0x48, true),
        ("max", 0x10a, true), // IA32_ARCH_CAPABILITIES
        ("max", 0x12345, false),
        ("qemu64", 0x1a0, false), // IA32_MISC_ENABLE is Intel's
    ] {
        let mut lab = with(Lab::protected(), name);
        let vector = lab.run(code!(a: mov(ecx, number); rdmsr(); hlt())).vector();
        assert_eq!(vector, if there { None } else { Some(vector::GP) }, "MSR {number:x} on {name}");
    }
    // RDMSR itself is missing on the 486.
    assert_eq!(protected("486", &[0x0f, 0x32]), Some(vector::UD));
    // Without long mode its bit in EFER is reserved.
    let mut lab = with(Lab::protected(), "pentium3,+nx");
    let write = code!(a: mov(ecx, EFER); xor(edx, edx); mov(eax, 0x100); wrmsr(); hlt());
    assert_eq!(lab.run(write).vector(), Some(vector::GP));
}

#[track_caller]
fn check_page(out: &lab::Outcome<'_>, reserved: bool, address: u64) {
    if reserved {
        out.page_fault(9, address);
    } else {
        out.done();
    }
}

#[test]
fn pages_of_sizes_that_a_model_lacks_are_reserved() {
    // A page of 4 MiB above 4 GiB without PSE-36.
    for (name, reserved) in [("pentium", true), ("pentium3", false)] {
        let mut lab = with(Lab::paged(), name);
        lab.cr4 |= PSE;
        lab.write(lab::TABLES + 4, 4, 1 << 13 | pte::PS | pte::P);
        let out = lab.run(code!(a: mov(eax, dword_ptr(0x40_0000)); hlt()));
        check_page(&out, reserved, 0x40_0000);
    }
    // A page of 1 GiB.
    for (name, reserved) in [("core2", true), ("max", false)] {
        let mut lab = with(Lab::long(), name);
        lab.write(lab::TABLES + 0x1008, 8, pte::PS | pte::P);
        let out = lab.run(code!(a: mov(eax, dword_ptr(0x4000_8000)); hlt()));
        check_page(&out, reserved, 0x4000_8000);
    }
}

/// The widest linear address decides what registers take.
#[test]
fn addresses_are_as_wide_as_the_model() {
    for (name, fits) in [("core2", false), ("max", true)] {
        let mut lab = with(Lab::long(), name);
        let write = code!(a: mov(ecx, 0xc000_0100u32); mov(edx, 0x0080_0000); xor(eax, eax); wrmsr(); hlt());
        let vector = lab.run(write).vector();
        assert_eq!(vector, if fits { None } else { Some(vector::GP) }, "{name}");
    }
}

#[test]
fn cpuid_says_what_the_model_is() {
    for (name, highest, vendor, signature) in [
        ("486", 1, "GenuineIntel", 0x480),
        ("pentium3", 2, "GenuineIntel", 0x683),
        ("core2", 0xa, "GenuineIntel", 0x6fb),
        ("qemu64", 0xd, "AuthenticAMD", 0x6_0fb1),
        ("max", 0x16, "GenuineIntel", 0xf_0601),
    ] {
        let mut lab = with(Lab::protected(), name);
        let out = lab.run(code!(a: xor(eax, eax); cpuid(); mov(esi, eax); hlt()));
        out.done();
        let text: Vec<u8> = [RBX, RDX, RCX].iter().flat_map(|&n| (out.reg(n) as u32).to_le_bytes()).collect();
        assert_eq!((out.reg(RAX), std::str::from_utf8(&text)), (highest, Ok(vendor)), "{name}");
        let out = lab.run(code!(a: mov(edi, edx); mov(eax, 1); cpuid(); hlt()));
        out.done();
        assert_eq!(out.reg(RAX), signature, "{name}");
    }
    // EDX after reset is the signature.
    let mut lab = with(Lab::real(), "pentium");
    assert_eq!(lab.run(code!(a: hlt())).reg(RDX), 0x543);
}

#[test]
fn leaves_beyond_the_last_answer_as_the_vendor_has_it() {
    let lab = with(Lab::protected(), "pentium3");
    let cpu = lab.machine.cpu();
    assert_eq!(cpu.cpuid(0x8000_0000, 0), cpu.cpuid(2, 0), "Intel: the highest basic leaf");
    assert_eq!(cpu.cpuid(7, 0), cpu.cpuid(2, 0));
    let lab = with(Lab::protected(), "qemu64");
    assert_eq!(lab.machine.cpu().cpuid(0x8000_0020, 0), [0; 4], "AMD: zeros");
}

/// Every feature bit in CPUID is one of the model's, but for those that the operating system turned on.
#[test]
fn cpuid_has_no_other_feature_bits() {
    for model in MODELS {
        let mut lab = Lab::protected();
        lab.machine.set_model(*model);
        let cpu = lab.machine.cpu();
        for entry in emu_core::cpu::model::feature::ENTRIES {
            let leaf = entry.word.leaf();
            let max = if leaf < 0x8000_0000 { model.max_leaf } else { model.max_extended };
            if leaf == 0 || leaf > max {
                assert!(leaf == 0 || !model.has(entry.feature), "{}: {}", model.name, entry.name);
                continue;
            }
            use emu_core::cpu::model::feature::Word as W;
            let subleaf = match entry.word {
                W::EaxD => 1,
                W::Edx72 => 2,
                _ => 0,
            };
            let registers = cpu.cpuid(leaf, subleaf);
            let register = match entry.word {
                W::Eax6 | W::EaxD => 0,
                W::Ebx7 | W::Ebx88 => 1,
                W::Ecx1 | W::Ecx7 | W::Ecx81 => 2,
                _ => 3,
            };
            let bit = registers[register] >> entry.bit & 1 != 0;
            assert_eq!(bit, model.has(entry.feature), "{}: {}", model.name, entry.name);
        }
    }
}

/// AMD's processors have SYSCALL in 32-bit code as well, and SYSENTER not in long mode.
#[test]
fn system_calls_follow_the_vendor() {
    for (name, expected) in [("qemu64", None), ("max", Some(vector::UD))] {
        let mut lab = with(Lab::protected(), name).at_cpl3();
        lab.efer = 1;
        lab.write(DATA, 1, 0xf4);
        // STAR: kernel code 8, target DATA.
        lab.idt(vector::END, lab::gate(0xee, lab::CODE32, 0x9000, 0));
        lab.assemble(
            0x9000,
            32,
            code!(a: mov(ecx, 0xc000_0081u32); mov(eax, DATA as u32); mov(edx, 8); wrmsr();
            iretd()),
        );
        let run = lab.run(code!(a: int(0x80); syscall()));
        assert_eq!(run.vector(), expected, "{name}");
        if expected.is_none() {
            assert_eq!((run.reg(RCX), run.cpu().cpl), (run.end, 0));
        }
    }
    for (name, expected) in [("qemu64", vector::UD), ("max", vector::GP)] {
        let mut lab = with(Lab::long(), name);
        assert_eq!(lab.run(code!(a: sysenter(); hlt())).vector(), Some(expected), "{name}");
    }
}

#[test]
fn long_mode_needs_a_model_that_has_it() {
    let mut lab = with(Lab::protected(), "pentium3");
    lab.run(code!(a: mov(ecx, 0xc000_0080u32); rdmsr(); hlt())).fault_at(CODE + 5, vector::GP, 0);
    with(Lab::long(), "core2").run(code!(a: hlt())).done();
    let mut lab = with(Lab::pae(), "pentium3,+nx");
    assert_eq!(lab.cr4 & PAE, PAE);
    lab.run(code!(a: hlt())).done();
}
