//! Random instructions on the host's processor and on the interpreter: general registers, RIP, flags, memory and
//! exceptions must be equal, in 64-bit and in 32-bit code; flags that the manual leaves undefined must be as a table
//! says for each vendor.
//!
//! * [`silicon`] runs one instruction on the host, [`guest`] on the interpreter,
//! * [`exceptions`] says which forms are left out, and where AMD and Intel differ: there Intel's manual and silicon
//!   decide,
//! * [`undefined`] and [`vendors`] say what undefined flags are,
//! * [`shrink`] makes a failure small,
//! * [`vectors`] does the same with instructions of x87, MMX, SSE and AVX, [`programs`] with whole programs.

pub mod exceptions;
pub mod guest;
#[allow(unsafe_code)] // It maps pages and installs handlers for the two that run instructions.
mod process;
pub mod programs;
pub mod shrink;
#[allow(unsafe_code)] // Instructions run on the host's processor; ARCHITECTURE.md names it.
pub mod silicon;
pub mod undefined;
pub mod vectors;
pub mod vendors;

use std::collections::HashSet;

use emu_core::bus::Bus;
use emu_core::cpu::eflags;
use emu_core::interp::table::{self, Form};
use iced_x86::Code;

use crate::fuzz::cases::Encoding;
use crate::fuzz::places::{PAGE, Registers};
use crate::fuzz::shrink::Case;
use guest::Guest;
use silicon::{Host, Outcome};

/// A board without chips, for the interpreter beside the host.
struct NoChips;

impl Bus for NoChips {}

/// Flags that are compared.
const FLAGS: u64 = eflags::OSZAPC | eflags::DF | eflags::NT | eflags::ID | eflags::AC | eflags::IF;

/// Both processors.
pub struct Oracle {
    host: Host,
    guest: Guest,
    /// What the host leaves in undefined flags.
    column: Option<undefined::Column>,
    bits: u32,
}

/// Features that the host's processor lacks for the forms that are compared.
pub fn host_lacks() -> Vec<&'static str> {
    let lacks = [
        ("bmi1", is_x86_feature_detected!("bmi1")),
        ("bmi2", is_x86_feature_detected!("bmi2")),
        ("adx", is_x86_feature_detected!("adx")),
        ("movbe", is_x86_feature_detected!("movbe")),
        ("lzcnt", is_x86_feature_detected!("lzcnt")),
        ("cmpxchg16b", is_x86_feature_detected!("cmpxchg16b")),
    ];
    lacks.iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect()
}

/// The forms that can be compared in code of so many bits.
pub fn subjects(bits: u32) -> Vec<Code> {
    let implemented: HashSet<_> = table::rows().map(|row| row.mnemonic).collect();
    let subject = |code: &Code| implemented.contains(&code.mnemonic()) && exceptions::is_subject(*code, bits);
    Code::values().filter(subject).collect()
}

/// Is this encoding in the instruction table?
pub fn is_implemented(e: &Encoding, bits: u32) -> bool {
    table::handler(&Form { insn: &e.insn, code_size: bits }).is_some()
}

impl Oracle {
    /// Takes the signals and low addresses of this process.
    ///
    /// # Errors
    /// When somebody else has them, or there is no memory.
    pub fn new() -> Result<Self, String> {
        Ok(Self { host: Host::new()?, guest: Guest::new()?, column: undefined::of_host(), bits: 64 })
    }

    /// Puts an instruction for code of so many bits in.
    ///
    /// # Errors
    /// When the interpreter lacks it.
    pub fn load(&mut self, e: &Encoding, bits: u32) -> Result<(), String> {
        self.bits = bits;
        self.host.load(e, bits);
        self.guest.load(&e.bytes, bits)
    }

    /// Runs it on both. Returns what differs, and what the host left.
    pub fn compare(&mut self, e: &Encoding, case: &Case) -> (Vec<String>, Outcome) {
        let Case { before, data } = case;
        *self.host.data() = *data;
        self.guest.set_data(data);
        let host = self.host.run(self.bits, before);
        let mut found = match self.guest.run(before) {
            Ok(guest) if exceptions::differs_on_amd(e, before, &host, &guest) => return (Vec::new(), host),
            Ok(guest) => differences(e, before, &host, &guest, self.column),
            Err(gap) => vec![gap],
        };
        let (h, g) = (&*self.host.data(), &self.guest.data());
        if h != g {
            let at = (0..PAGE).find(|&n| h[n] != g[n]).unwrap_or(0);
            let end = PAGE.min(at + 8);
            found.push(format!("memory at {at:x}: {:x?}, not {:x?}", &g[at..end], &h[at..end]));
        }
        (found, host)
    }

    /// The page that instructions use, as the host left it.
    pub fn data(&mut self) -> &[u8; PAGE] {
        self.host.data()
    }
}

fn differences(
    e: &Encoding,
    before: &Registers,
    host: &Outcome,
    guest: &Outcome,
    column: Option<undefined::Column>,
) -> Vec<String> {
    let mut found = Vec::new();
    for n in 0..16 {
        let (h, g, b) = (host.after.regs[n], guest.after.regs[n], before.regs[n]);
        if h != g {
            found.push(format!("r{n}: {g:x}, not {h:x}; before {b:x}"));
        }
    }
    if host.rip != guest.rip {
        found.push(format!("rip: {:x}, not {:x}", guest.rip, host.rip));
    }
    if host.fault.map(|f| f.0) != guest.fault.map(|f| f.0) {
        found.push(format!("fault: {:?}, not {:?}", guest.fault, host.fault));
    } else if let (Some((vector, h)), Some((_, g))) = (host.fault, guest.fault) {
        // Linux hides the details of page faults at kernel addresses.
        let hidden = vector == 14 && host.cr2 >= 0x7fff_ffff_f000;
        if !hidden && (h != g || vector == 14 && host.cr2 != guest.cr2) {
            found.push(format!("error {g:x} at {:x}, not {h:x} at {:x}", guest.cr2, host.cr2));
        }
    }
    let undefined = if host.fault.is_some() { 0 } else { undefined::mask(e, before) };
    if (host.after.flags ^ guest.after.flags) & FLAGS & !undefined != 0 {
        let (h, g, b) = (host.after.flags & FLAGS, guest.after.flags & FLAGS, before.flags & FLAGS);
        found.push(format!("flags: {g:x}, not {h:x}; before {b:x}"));
    }
    let columns =
        [("the interpreter", &guest.after, Some(undefined::OURS)), ("the host", &host.after, column)];
    for (name, after, column) in columns {
        let Some(column) = column else { continue };
        let (left, table) = (after.flags & undefined, undefined::flags(e, column, before, after) & undefined);
        if left != table {
            let (rax, flags) = (before.regs[0], before.flags);
            found.push(format!("undefined flags: {name} leaves {left:x}, the table has {table:x}; before RAX {rax:x}, flags {flags:x}"));
        }
    }
    found
}
