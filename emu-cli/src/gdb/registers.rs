//! The registers as gdb sees them: one layout for all modes, that of an x86-64 target, so that packets stay the same
//! when the guest switches between 16, 32 and 64 bits.
//!
//! `rip` is a linear address (CS base + offset), so that gdb disassembles the right bytes and break-points on `$pc`
//! work in real mode too; the offset in CS alone is `ip`. Everything else is as the processor has it.
//! [`change`](super::change) is the way back.

use std::fmt::Write as _;
use std::sync::LazyLock;

use emu_core::cpu::{CS, DS, ES, FS, GS, LDTR, RIP, RSP, SS, TR};
use emu_core::interp::sem::x87::environment::full_tags;
use emu_core::machine::Machine;

/// Where a register's value lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    General(usize),
    LinearIp,
    Flags,
    Selector(usize),
    St(u8),
    /// Control, status, tag, CS, IP, DS, DP, opcode: in gdb's order.
    FpuControl(u8),
    Xmm(usize),
    Mxcsr,
    YmmHigh(usize),
    Base(usize),
    KernelGsBase,
    Cr(u8),
    Efer,
    TableBase(bool),
    TableLimit(bool),
    Dr(usize),
    Offset,
    Cpl,
    CodeSize,
    SegmentLimit(usize),
}

/// One register of the target description.
#[derive(Debug)]
pub struct Register {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: usize,
    pub(super) kind: Kind,
    feature: &'static str,
    type_name: &'static str,
}

const CORE: &str = "org.gnu.gdb.i386.core";
const SSE: &str = "org.gnu.gdb.i386.sse";
const SEGMENTS: &str = "org.gnu.gdb.i386.segments";
const AVX: &str = "org.gnu.gdb.i386.avx";
const SYSTEM: &str = "org.emu.x86.system";

/// All registers; a register's place in the list is its number in the protocol.
pub static REGISTERS: LazyLock<Vec<Register>> = LazyLock::new(|| {
    let mut all = Vec::new();
    let mut add = |feature, name: &str, size, type_name, kind| {
        all.push(Register { name: name.to_owned(), size, kind, feature, type_name });
    };
    // gdb's order is not that of the encoding.
    let general = [("rax", 0), ("rbx", 3), ("rcx", 1), ("rdx", 2), ("rsi", 6), ("rdi", 7)];
    for (name, number) in general {
        add(CORE, name, 8, "int64", Kind::General(number));
    }
    add(CORE, "rbp", 8, "data_ptr", Kind::General(5));
    add(CORE, "rsp", 8, "data_ptr", Kind::General(RSP));
    for number in 8..16 {
        add(CORE, &format!("r{number}"), 8, "int64", Kind::General(number));
    }
    add(CORE, "rip", 8, "code_ptr", Kind::LinearIp);
    add(CORE, "eflags", 4, "i386_eflags", Kind::Flags);
    let selectors = [("cs", CS), ("ss", SS), ("ds", DS), ("es", ES), ("fs", FS), ("gs", GS)];
    for (name, number) in selectors {
        add(CORE, name, 4, "int32", Kind::Selector(number));
    }
    for number in 0..8 {
        add(CORE, &format!("st{number}"), 10, "i387_ext", Kind::St(number));
    }
    let control = ["fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"];
    for (number, name) in (0u8..).zip(control) {
        add(CORE, name, 4, "int", Kind::FpuControl(number));
    }
    for number in 0..16 {
        add(SSE, &format!("xmm{number}"), 16, "vec128", Kind::Xmm(number));
    }
    add(SSE, "mxcsr", 4, "i386_mxcsr", Kind::Mxcsr);
    add(SEGMENTS, "fs_base", 8, "int64", Kind::Base(FS));
    add(SEGMENTS, "gs_base", 8, "int64", Kind::Base(GS));
    for number in 0..16 {
        add(AVX, &format!("ymm{number}h"), 16, "uint128", Kind::YmmHigh(number));
    }
    add(SYSTEM, "ip", 8, "uint64", Kind::Offset);
    add(SYSTEM, "cpl", 4, "uint32", Kind::Cpl);
    add(SYSTEM, "code_bits", 4, "uint32", Kind::CodeSize);
    for number in [0, 2, 3, 4, 8] {
        add(SYSTEM, &format!("cr{number}"), 8, "uint64", Kind::Cr(number));
    }
    add(SYSTEM, "efer", 8, "uint64", Kind::Efer);
    add(SYSTEM, "k_gs_base", 8, "uint64", Kind::KernelGsBase);
    for (name, number) in [("cs", CS), ("ss", SS), ("ds", DS), ("es", ES)] {
        add(SYSTEM, &format!("{name}_base"), 8, "uint64", Kind::Base(number));
    }
    for (name, number) in selectors {
        add(SYSTEM, &format!("{name}_limit"), 4, "uint32", Kind::SegmentLimit(number));
    }
    for (name, number) in [("ldtr", LDTR), ("tr", TR)] {
        add(SYSTEM, name, 4, "int32", Kind::Selector(number));
        add(SYSTEM, &format!("{name}_base"), 8, "uint64", Kind::Base(number));
        add(SYSTEM, &format!("{name}_limit"), 4, "uint32", Kind::SegmentLimit(number));
    }
    for (name, idt) in [("gdtr", false), ("idtr", true)] {
        add(SYSTEM, &format!("{name}_base"), 8, "uint64", Kind::TableBase(idt));
        add(SYSTEM, &format!("{name}_limit"), 4, "uint32", Kind::TableLimit(idt));
    }
    for number in [0, 1, 2, 3, 6, 7] {
        add(SYSTEM, &format!("dr{number}"), 8, "uint64", Kind::Dr(number));
    }
    all
});

/// Number of the register that shows the linear instruction pointer, of RSP and of RBP.
pub const EXPEDITED: [usize; 3] = [16, 7, 6];

/// The target description.
pub static DESCRIPTION: LazyLock<String> = LazyLock::new(|| {
    let mut xml = String::from(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target>\n\
         <architecture>i386:x86-64</architecture>\n",
    );
    let mut open = "";
    for register in REGISTERS.iter() {
        if register.feature != open {
            if !open.is_empty() {
                xml += "</feature>\n";
            }
            open = register.feature;
            let _ = writeln!(xml, "<feature name=\"{open}\">");
            xml += match open {
                CORE => EFLAGS,
                SSE => VECTORS,
                _ => "",
            };
        }
        let Register { name, size, type_name, .. } = register;
        let group = if open == SYSTEM { " group=\"system\"" } else { "" };
        let _ = writeln!(xml, "<reg name=\"{name}\" bitsize=\"{}\" type=\"{type_name}\"{group}/>", size * 8);
    }
    xml + "</feature>\n</target>\n"
});

const EFLAGS: &str = r#"<flags id="i386_eflags" size="4">
<field name="CF" start="0" end="0"/><field name="" start="1" end="1"/><field name="PF" start="2" end="2"/>
<field name="AF" start="4" end="4"/><field name="ZF" start="6" end="6"/><field name="SF" start="7" end="7"/>
<field name="TF" start="8" end="8"/><field name="IF" start="9" end="9"/><field name="DF" start="10" end="10"/>
<field name="OF" start="11" end="11"/><field name="NT" start="14" end="14"/><field name="RF" start="16" end="16"/>
<field name="VM" start="17" end="17"/><field name="AC" start="18" end="18"/><field name="VIF" start="19" end="19"/>
<field name="VIP" start="20" end="20"/><field name="ID" start="21" end="21"/>
</flags>
"#;

const VECTORS: &str = r#"<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/>
<vector id="v16i8" type="int8" count="16"/><vector id="v8i16" type="int16" count="8"/>
<vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>
<union id="vec128">
<field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/><field name="v16_int8" type="v16i8"/>
<field name="v8_int16" type="v8i16"/><field name="v4_int32" type="v4i32"/><field name="v2_int64" type="v2i64"/>
<field name="uint128" type="uint128"/>
</union>
<flags id="i386_mxcsr" size="4">
<field name="IE" start="0" end="0"/><field name="DE" start="1" end="1"/><field name="ZE" start="2" end="2"/>
<field name="OE" start="3" end="3"/><field name="UE" start="4" end="4"/><field name="PE" start="5" end="5"/>
<field name="DAZ" start="6" end="6"/><field name="IM" start="7" end="7"/><field name="DM" start="8" end="8"/>
<field name="ZM" start="9" end="9"/><field name="OM" start="10" end="10"/><field name="UM" start="11" end="11"/>
<field name="PM" start="12" end="12"/><field name="FZ" start="15" end="15"/>
</flags>
"#;

/// The number of a register by name; the short names of the general registers serve as well.
pub fn by_name(name: &str) -> Option<usize> {
    let name = match name {
        "pc" => "rip",
        "sp" => "rsp",
        "flags" => "eflags",
        other => other,
    };
    REGISTERS.iter().position(|register| register.name == name)
}

/// Reads a register of a processor: so many bytes as it has, in the low ones.
pub fn read(machine: &Machine, processor: usize, number: usize) -> [u8; 16] {
    let cpu = &machine.cpus()[processor];
    let f = &cpu.fpu;
    let value = match REGISTERS[number].kind {
        Kind::General(n) => cpu.regs[n],
        Kind::LinearIp => cpu.linear_ip(),
        Kind::Offset => cpu.regs[RIP],
        Kind::Flags => cpu.flags.get(),
        Kind::Selector(n) => u64::from(cpu.seg[n].selector),
        Kind::Base(n) => cpu.seg[n].base,
        Kind::SegmentLimit(n) => u64::from(cpu.seg[n].limit),
        Kind::St(n) => {
            let mut bytes = [0; 16];
            bytes[..10].copy_from_slice(&f.regs[usize::from(f.top.wrapping_add(n) & 7)].to_bytes());
            return bytes;
        }
        Kind::FpuControl(n) => match n {
            0 => u64::from(f.control),
            1 => u64::from(f.status_word()),
            2 => u64::from(full_tags(f)),
            3 => u64::from(f.instruction.0),
            4 => f.instruction.1,
            5 => u64::from(f.data.0),
            6 => f.data.1,
            _ => u64::from(f.opcode),
        },
        Kind::Xmm(n) | Kind::YmmHigh(n) => {
            let first = if matches!(REGISTERS[number].kind, Kind::Xmm(_)) { 0 } else { 2 };
            let value = u128::from(f.vectors[n][first]) | u128::from(f.vectors[n][first + 1]) << 64;
            return value.to_le_bytes();
        }
        Kind::Mxcsr => u64::from(f.mxcsr),
        Kind::KernelGsBase => cpu.msrs.kernel_gs_base,
        Kind::Cr(n) => match n {
            0 => cpu.cr0,
            2 => cpu.cr2,
            3 => cpu.cr3,
            4 => cpu.cr4,
            _ => u64::from(machine.cpu().system().bus.task_priority(processor)),
        },
        Kind::Efer => cpu.efer,
        Kind::TableBase(idt) => if idt { cpu.idtr } else { cpu.gdtr }.base,
        Kind::TableLimit(idt) => u64::from(if idt { cpu.idtr } else { cpu.gdtr }.limit),
        Kind::Dr(n) => cpu.dr[n],
        Kind::Cpl => u64::from(cpu.cpl),
        Kind::CodeSize => u64::from(cpu.code_size()),
    };
    u128::from(value).to_le_bytes()
}

/// The low 64 bits of a register.
pub fn value(machine: &Machine, processor: usize, number: usize) -> u64 {
    let bytes = read(machine, processor, number);
    let size = REGISTERS[number].size.min(8);
    let mut low = [0; 8];
    low[..size].copy_from_slice(&bytes[..size]);
    u64::from_le_bytes(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expedited_registers_are_the_ones_that_gdb_asks_for_first() {
        assert_eq!(EXPEDITED.map(|n| REGISTERS[n].name.as_str()), ["rip", "rsp", "rbp"]);
    }

    #[test]
    fn names_are_unique_and_sizes_fit() {
        for (number, register) in REGISTERS.iter().enumerate() {
            assert_eq!(by_name(&register.name), Some(number), "{}", register.name);
            assert!(register.size <= 16);
        }
    }
}
