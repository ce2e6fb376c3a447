//! Architectural state as it is compared, with a name for each field.

use std::fmt;

use emu_core::cpu::{Cpu, Segment};

/// Names of the general registers in encoding order.
pub const REGISTERS: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// Names of the segment registers in the order of [`Cpu::seg`].
pub const SEGMENTS: [&str; 8] = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"];

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentState {
    /// Selector.
    pub selector: u16,
    /// Access rights as [`emu_core::cpu::Rights`] has them.
    pub rights: u16,
    /// Limit in bytes.
    pub limit: u32,
    /// Base address.
    pub base: u64,
}

impl From<&Segment> for SegmentState {
    fn from(from: &Segment) -> Self {
        Self { selector: from.selector, rights: from.rights.0, limit: from.limit, base: from.base }
    }
}

/// Registers of a processor without the floating-point unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// General registers in encoding order.
    pub regs: [u64; 16],
    /// Offset of the next instruction.
    pub rip: u64,
    /// RFLAGS.
    pub flags: u64,
    /// ES, CS, SS, DS, FS, GS, LDTR, TR.
    pub seg: [SegmentState; 8],
    /// Current privilege level.
    pub cpl: u8,
    /// GDTR: base and limit.
    pub gdtr: (u64, u16),
    /// IDTR: base and limit.
    pub idtr: (u64, u16),
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// DR0 to DR3, and DR6 and DR7 at their numbers.
    pub dr: [u64; 8],
}

/// x87, SSE and AVX registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vectors {
    /// x87 control word.
    pub control: u16,
    /// x87 status word with TOP.
    pub status: u16,
    /// Bit n set: physical register n is not empty.
    pub valid: u8,
    /// Physical x87 registers: significand, sign and exponent.
    pub x87: [(u64, u16); 8],
    /// MXCSR.
    pub mxcsr: u32,
    /// YMM registers.
    pub ymm: [[u64; 4]; 16],
}

/// A field that differs: its name and both values, as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Name of the register, or of a part of one.
    pub field: String,
    /// Value on the first machine.
    pub ours: u64,
    /// Value on the other.
    pub theirs: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9} {:016x}  {:016x}", self.field, self.ours, self.theirs)?;
        if self.field == "rflags" {
            write!(f, "  {}", flag_names(self.ours ^ self.theirs))?;
        }
        Ok(())
    }
}

/// Names of the flags that are set in `flags`.
pub fn flag_names(flags: u64) -> String {
    const NAMES: [(u64, &str); 17] = [
        (0, "CF"),
        (2, "PF"),
        (4, "AF"),
        (6, "ZF"),
        (7, "SF"),
        (8, "TF"),
        (9, "IF"),
        (10, "DF"),
        (11, "OF"),
        (12, "IOPL"),
        (14, "NT"),
        (16, "RF"),
        (17, "VM"),
        (18, "AC"),
        (19, "VIF"),
        (20, "VIP"),
        (21, "ID"),
    ];
    let set = |bit: u64| flags >> bit & if bit == 12 { 3 } else { 1 } != 0;
    let names: Vec<_> = NAMES.iter().filter(|&&(bit, _)| set(bit)).map(|&(_, name)| name).collect();
    names.join(" ")
}

impl State {
    /// What `cpu` holds now.
    pub fn of(cpu: &Cpu) -> Self {
        let mut regs = [0; 16];
        regs.copy_from_slice(&cpu.regs[..16]);
        Self {
            regs,
            rip: cpu.regs[emu_core::cpu::RIP],
            flags: cpu.flags.get(),
            seg: std::array::from_fn(|n| (&cpu.seg[n]).into()),
            cpl: cpu.cpl,
            gdtr: (cpu.gdtr.base, cpu.gdtr.limit),
            idtr: (cpu.idtr.base, cpu.idtr.limit),
            cr0: cpu.cr0,
            cr2: cpu.cr2,
            cr3: cpu.cr3,
            cr4: cpu.cr4,
            efer: cpu.efer,
            dr: cpu.dr,
        }
    }

    /// Every field with its name.
    pub fn fields(&self) -> Vec<(String, u64)> {
        let mut all: Vec<(String, u64)> =
            REGISTERS.iter().zip(self.regs).map(|(name, value)| ((*name).into(), value)).collect();
        let mut put = |name: &str, value: u64| all.push((name.into(), value));
        put("rip", self.rip);
        put("rflags", self.flags);
        for (name, segment) in SEGMENTS.iter().zip(&self.seg) {
            put(name, segment.selector.into());
            put(&format!("{name}.base"), segment.base);
            put(&format!("{name}.limit"), segment.limit.into());
            put(&format!("{name}.rights"), segment.rights.into());
        }
        put("cpl", self.cpl.into());
        for (name, (base, limit)) in [("gdtr", self.gdtr), ("idtr", self.idtr)] {
            put(&format!("{name}.base"), base);
            put(&format!("{name}.limit"), limit.into());
        }
        put("cr0", self.cr0);
        put("cr2", self.cr2);
        put("cr3", self.cr3);
        put("cr4", self.cr4);
        put("efer", self.efer);
        for (n, value) in self.dr.iter().enumerate() {
            put(&format!("dr{n}"), *value);
        }
        all
    }

    /// Where it differs from another.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        if self == other { Vec::new() } else { differing(self.fields(), other.fields()) }
    }
}

impl Vectors {
    /// What `cpu` holds now.
    pub fn of(cpu: &Cpu) -> Self {
        let f = &cpu.fpu;
        Self {
            control: f.control,
            status: f.status_word(),
            valid: f.valid,
            x87: f.regs.map(|r| (r.significand, r.sign_exponent)),
            mxcsr: f.mxcsr,
            ymm: std::array::from_fn(|n| std::array::from_fn(|part| f.vectors[n][part])),
        }
    }

    /// Every field with its name; vectors in parts of 64 bits, the lowest first.
    pub fn fields(&self) -> Vec<(String, u64)> {
        let mut all = vec![
            ("fcw".into(), self.control.into()),
            ("fsw".into(), self.status.into()),
            ("valid".into(), self.valid.into()),
            ("mxcsr".into(), self.mxcsr.into()),
        ];
        for (n, (significand, sign_exponent)) in self.x87.iter().enumerate() {
            all.push((format!("r{n}.m"), *significand));
            all.push((format!("r{n}.se"), (*sign_exponent).into()));
        }
        for (n, parts) in self.ymm.iter().enumerate() {
            all.extend(parts.iter().enumerate().map(|(part, value)| (format!("ymm{n}.{part}"), *value)));
        }
        all
    }

    /// Where it differs from another.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        if self == other { Vec::new() } else { differing(self.fields(), other.fields()) }
    }
}

fn differing(ours: Vec<(String, u64)>, theirs: Vec<(String, u64)>) -> Vec<Difference> {
    ours.into_iter()
        .zip(theirs)
        .filter(|((_, a), (_, b))| a != b)
        .map(|((field, ours), (_, theirs))| Difference { field, ours, theirs })
        .collect()
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (row, names) in REGISTERS.chunks(4).enumerate() {
            for (n, name) in names.iter().enumerate() {
                write!(f, "{name:>3} {:016x}  ", self.regs[row * 4 + n])?;
            }
            writeln!(f)?;
        }
        writeln!(f, "rip {:016x}  rflags {:08x} [{}]", self.rip, self.flags, flag_names(self.flags))?;
        writeln!(
            f,
            "cr0 {:08x} cr2 {:016x} cr3 {:016x} cr4 {:08x} efer {:04x} cpl {}",
            self.cr0, self.cr2, self.cr3, self.cr4, self.efer, self.cpl
        )?;
        for (name, s) in SEGMENTS.iter().zip(&self.seg) {
            writeln!(
                f,
                "{name:<4} {:04x} base {:016x} limit {:08x} rights {:04x}",
                s.selector, s.base, s.limit, s.rights
            )?;
        }
        write!(
            f,
            "gdtr {:016x}/{:04x}  idtr {:016x}/{:04x}",
            self.gdtr.0, self.gdtr.1, self.idtr.0, self.idtr.1
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_field_is_named_once() {
        let one = State::default();
        let mut other = one.clone();
        other.regs[3] = 1;
        other.flags = 0x11;
        other.seg[2].limit = 5;
        let names: Vec<_> = one.differences(&other).into_iter().map(|d| d.field).collect();
        assert_eq!(names, ["rbx", "rflags", "ss.limit"]);
        assert!(one.differences(&one.clone()).is_empty());
        assert_eq!(flag_names(0x11), "CF AF");
    }
}
