//! IN, OUT, and the check of the I/O permission bitmap. SDM vol. 1, "Input/Output".

use iced_x86::Mnemonic as M;

use crate::cpu::smm::PortAccess;
use crate::cpu::{Cpu, Fallible, Fault, RAX, RDX, TR, Width};
use crate::interp::op::{Handler, Op};
use crate::interp::table::{self, Form, Row, row};
use crate::observe::{Hooks, Kind, Port};

/// The rows of this family (INS and OUTS stand in `string.rs`).
pub const ROWS: &[Row] = &[row(M::In, in_form), row(M::Out, out_form)];

fn in_form(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(1), f.size(0)) {
        (table::Kind::Imm, 1) => Some(input::<u8, true>),
        (table::Kind::Imm, 2) => Some(input::<u16, true>),
        (table::Kind::Imm, _) => Some(input::<u32, true>),
        (_, 1) => Some(input::<u8, false>),
        (_, 2) => Some(input::<u16, false>),
        _ => Some(input::<u32, false>),
    }
}

fn out_form(f: &Form<'_>) -> Option<Handler> {
    match (f.kind(0), f.size(1)) {
        (table::Kind::Imm, 1) => Some(output::<u8, true>),
        (table::Kind::Imm, 2) => Some(output::<u16, true>),
        (table::Kind::Imm, _) => Some(output::<u32, true>),
        (_, 1) => Some(output::<u8, false>),
        (_, 2) => Some(output::<u16, false>),
        _ => Some(output::<u32, false>),
    }
}

fn port<const IMMEDIATE: bool>(cpu: &Cpu, op: &Op) -> u16 {
    if IMMEDIATE { u16::from(op.imm as u8) } else { cpu.regs[RDX] as u16 }
}

/// IN. SDM 2A, "IN".
fn input<W: Width, const IMMEDIATE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let port = port::<IMMEDIATE>(cpu, op);
    cpu.check_port(port, W::BYTES)?;
    let access = PortAccess { port, size: W::BYTES, string: false };
    cpu.exits_on_port(op, access, true, IMMEDIATE, 0)?;
    let value = cpu.port_read(op, access);
    cpu.set_register(RAX as u8, W::from_u64(value));
    Ok(())
}

/// OUT. SDM 2B, "OUT".
fn output<W: Width, const IMMEDIATE: bool>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let port = port::<IMMEDIATE>(cpu, op);
    cpu.check_port(port, W::BYTES)?;
    let access = PortAccess { port, size: W::BYTES, string: false };
    cpu.exits_on_port(op, access, false, IMMEDIATE, 0)?;
    let value = cpu.register::<W>(RAX as u8).u64();
    cpu.port_write(op, access, value);
    Ok(())
}

impl Cpu {
    /// May the program use these ports? Above IOPL, and always in virtual-8086 mode, the bitmap in the TSS decides.
    ///
    /// # Errors
    /// #GP(0), #PF.
    pub fn check_port(&mut self, port: u16, size: u64) -> Fallible {
        if !self.protected() || !self.v86() && self.cpl <= self.iopl() {
            return Ok(());
        }
        let tss = self.seg[TR];
        if tss.rights.kind() & 8 == 0 || tss.limit < 103 {
            return Err(Fault::GP0);
        }
        let map = self.read_system(tss.base.wrapping_add(0x66), 2)?;
        let at = map + u64::from(port / 8);
        // Two bytes are always read, so both must lie within the limit.
        if at + 1 > u64::from(tss.limit) {
            return Err(Fault::GP0);
        }
        let bits = self.read_system(tss.base.wrapping_add(at), 2)?;
        let mask = (1 << size) - 1;
        if bits >> (port % 8) & mask == 0 { Ok(()) } else { Err(Fault::GP0) }
    }

    /// Reads a port, after the check.
    pub fn port_read(&mut self, op: &Op, access: PortAccess) -> u64 {
        let PortAccess { port, size, .. } = access;
        self.note_port(port, size);
        self.note_port_for_debugger(port, size, None);
        self.note_io(op, access, true);
        let value = self.with_bus(|bus, at| bus.port_read(at, port, size as u8));
        self.tell_port(Port { port, size: size as u8, kind: Kind::Read, value });
        u64::from(value)
    }

    /// Writes a port, after the check.
    pub fn port_write(&mut self, op: &Op, access: PortAccess, value: u64) {
        let PortAccess { port, size, .. } = access;
        self.note_port(port, size);
        self.note_port_for_debugger(port, size, Some(value));
        self.note_io(op, access, false);
        self.with_bus(|bus, at| bus.port_write(at, port, size as u8, value as u32));
        self.tell_port(Port { port, size: size as u8, kind: Kind::Write, value: value as u32 });
    }

    fn tell_port(&mut self, access: Port) {
        if self.hooks.has(Hooks::PORTS) {
            self.observe(|observer, cpu| observer.port(cpu, &access));
        }
    }
}
