//! Small loops in 64-bit mode on a processor without a board: what the interpreter's parts cost.

use emu_core::bus::Bus;
use emu_core::cpu::{CS, RIP, Segment};
use emu_core::interp::Interpreter;
use emu_core::machine::{Machine, Stop, TimeSource};
use emu_core::mem::Memory;
use emu_core::mem::page::PhysPage;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const RAM: u64 = 4 << 20;
const TABLES: u64 = 0x1_0000;
const START: u64 = 0x7000;
const CODE: u64 = 0x8000;
const STACK: u64 = 0xf000;
/// Two buffers of 64 KiB.
const FROM: u32 = 0x10_0000;
const TO: u32 = 0x18_0000;

/// A board with nothing on it.
struct Nothing;

impl Bus for Nothing {}

/// A named loop that never ends.
#[derive(Clone, Copy, Debug)]
pub struct Loop {
    /// What it shows.
    pub name: &'static str,
    assemble: fn(&mut CodeAssembler) -> Result<(), IcedError>,
}

/// All loops.
pub const LOOPS: [Loop; 5] = [
    Loop { name: "arithmetic", assemble: arithmetic },
    Loop { name: "copy", assemble: copy },
    Loop { name: "branches", assemble: branches },
    Loop { name: "calls", assemble: calls },
    Loop { name: "read_modify_write", assemble: read_modify_write },
];

/// Registers only, with flags that somebody reads.
fn arithmetic(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(rax, 1u64)?;
    a.set_label(&mut again)?;
    a.add(rax, rcx)?;
    a.xor(rdx, rax)?;
    a.shl(rdx, 3)?;
    a.sub(rbx, rdx)?;
    a.adc(rsi, 5)?;
    a.and(rbx, 0x7fff_ffff)?;
    a.lea(rdi, qword_ptr(rax + rsi * 4 + 8))?;
    a.imul_2(rdi, rax)?;
    a.inc(rcx)?;
    a.jmp(again)
}

/// Eight bytes at a time, by loads and stores.
fn copy(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut outer, mut again) = (a.create_label(), a.create_label());
    a.set_label(&mut outer)?;
    a.mov(esi, FROM)?;
    a.mov(edi, TO)?;
    a.mov(ecx, 0x2000)?;
    a.set_label(&mut again)?;
    a.mov(rax, qword_ptr(rsi))?;
    a.mov(qword_ptr(rdi), rax)?;
    a.add(rsi, 8)?;
    a.add(rdi, 8)?;
    a.dec(ecx)?;
    a.jnz(again)?;
    a.jmp(outer)
}

/// Short blocks whose branches depend on a random sequence.
fn branches(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut again, mut even, mut next) = (a.create_label(), a.create_label(), a.create_label());
    a.mov(eax, 12345)?;
    a.set_label(&mut again)?;
    a.imul_3(eax, eax, 1_103_515_245)?;
    a.add(eax, 12345)?;
    a.test(eax, 0x1_0000)?;
    a.jz(even)?;
    a.inc(ebx)?;
    a.jmp(next)?;
    a.set_label(&mut even)?;
    a.dec(ecx)?;
    a.set_label(&mut next)?;
    a.cmp(ebx, ecx)?;
    a.jne(again)?;
    a.jmp(again)
}

/// A function that calls a function.
fn calls(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut again, mut outer, mut inner) = (a.create_label(), a.create_label(), a.create_label());
    a.set_label(&mut again)?;
    a.call(outer)?;
    a.jmp(again)?;
    a.set_label(&mut outer)?;
    a.push(rbx)?;
    a.mov(rbx, rdi)?;
    a.call(inner)?;
    a.add(rax, rbx)?;
    a.pop(rbx)?;
    a.ret()?;
    a.set_label(&mut inner)?;
    a.lea(rax, qword_ptr(rdi + 1))?;
    a.ret()
}

/// Counters in memory, spread over sixteen pages.
fn read_modify_write(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(esi, FROM)?;
    a.set_label(&mut again)?;
    a.add(qword_ptr(rsi + rcx), 1)?;
    a.add(ecx, 0x1008)?;
    a.and(ecx, 0xffff)?;
    a.cmp(dword_ptr(rsi + rcx), 0)?;
    a.jne(again)?;
    a.jmp(again)
}

impl Loop {
    /// A machine that runs this loop in 64-bit mode, already there.
    ///
    /// # Panics
    /// When the loop does not assemble or the host has no memory.
    pub fn start(&self) -> Machine {
        let mut mem = Memory::new(RAM, 0).expect("the host has 4 MiB");
        mem.map(0, RAM, PhysPage::ram);
        let rights = 7u64;
        mem.write_bytes(TABLES, &(TABLES + 0x1000 + rights).to_le_bytes());
        mem.write_bytes(TABLES + 0x1000, &(TABLES + 0x2000 + rights).to_le_bytes());
        for n in 0..2 {
            let table = TABLES + 0x3000 + 0x1000 * n;
            mem.write_bytes(TABLES + 0x2000 + 8 * n, &(table + rights).to_le_bytes());
            for page in 0..512 {
                mem.write_bytes(table + 8 * page, &((512 * n + page) << 12 | rights).to_le_bytes());
            }
        }
        // GDT: null, 64-bit code, data.
        for (n, descriptor) in [0u64, 0x0020_9b00_0000_0000, 0x00cf_9300_0000_ffff].into_iter().enumerate() {
            mem.write_bytes(0x800 + 8 * n as u64, &descriptor.to_le_bytes());
        }
        mem.write_bytes(0x7f0, &[0x17, 0, 0, 8, 0, 0]);
        let mut put =
            |address: u64, bits: u32, code: &dyn Fn(&mut CodeAssembler) -> Result<(), IcedError>| {
                let mut a = CodeAssembler::new(bits).expect("16 or 64");
                code(&mut a).expect("the operands fit");
                let bytes = a.assemble(address).expect("the jumps reach");
                mem.write_bytes(address, &bytes);
                address + bytes.len() as u64
            };
        let jump = put(START, 16, &|a| {
            a.db(&[0x66, 0x0f, 0x01, 0x16, 0xf0, 0x07])?; // LGDT [7F0h]
            a.mov(eax, 1 << 5)?; // PAE
            a.mov(cr4, eax)?;
            a.mov(eax, TABLES as u32)?;
            a.mov(cr3, eax)?;
            a.mov(ecx, 0xc000_0080u32)?;
            a.xor(edx, edx)?;
            a.mov(eax, 1 << 8)?; // LME
            a.wrmsr()?;
            a.mov(eax, 0x8001_0011u32)?;
            a.mov(cr0, eax)
        });
        let entry = put(CODE - 0x100, 64, &|a| {
            a.mov(esp, STACK as u32)?;
            for register in [rax, rcx, rdx, rbx, rsi, rdi] {
                a.mov(register, 0u64)?;
            }
            a.jmp(CODE)
        });
        assert!(entry <= CODE, "the start has room");
        put(CODE, 64, &self.assemble);
        let mut far = vec![0x66, 0xea];
        far.extend_from_slice(&(CODE as u32 - 0x100).to_le_bytes());
        far.extend_from_slice(&[8, 0]);
        mem.write_bytes(jump, &far);
        let engine = Box::new(Interpreter::default());
        let mut machine = Machine::new(mem, Box::new(Nothing), engine, TimeSource::Virtual);
        let cpu = machine.cpu_mut();
        cpu.seg[CS] = Segment::real(0);
        cpu.regs[RIP] = START;
        cpu.update_mode();
        run(&mut machine, 100);
        assert!(machine.cpu().long_mode() && machine.rip() >= CODE, "the loop runs in 64-bit mode");
        machine
    }
}

/// Runs so many instructions more.
///
/// # Panics
/// When something stops the machine: no loop should.
pub fn run(machine: &mut Machine, instructions: u64) {
    let stop = machine.run(machine.instructions() + instructions);
    assert_eq!(stop, Stop::Limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loop_runs_on() {
        for each in LOOPS {
            let mut machine = each.start();
            run(&mut machine, 20_000);
            assert!((CODE..CODE + 0x100).contains(&machine.rip()), "{}", each.name);
        }
    }
}
