//! The same instruction on the interpreter.

use emu_core::cpu::control::{
    CR0_ET, CR0_MP, CR0_NE, CR0_PE, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_OSXSAVE, EFER_LMA, EFER_LME,
};
use emu_core::cpu::fpu::{XCR0_AVX, XCR0_SSE, XCR0_X87};
use emu_core::cpu::{CS, Cpu, DS, ES, Fallible, RIP, Rights, SS, Segment, System};
use emu_core::decode::{CodeMode, decode};
use emu_core::mem::Memory;
use emu_core::mem::page::PhysPage;
use emu_core::softfloat::F80;

use super::silicon::{MEMORY, State};
use crate::host::NoChips;

/// Guest address of the memory that instructions use.
pub const ADDRESS: u64 = 0x4000;

/// A processor in flat 64-bit or 32-bit code without paging, which no real one has and which is all that is needed
/// here.
pub fn processor(bits: u32) -> Cpu {
    let mut mem = Memory::new(0x10000, 0).unwrap();
    mem.map(0, 0x10000, PhysPage::ram);
    let mut cpu = Cpu::new(0, mem.ram().clone());
    cpu.attach(Box::new(System::new(mem, Box::new(NoChips))));
    cpu.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_MP;
    cpu.cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
    cpu.efer = EFER_LME | EFER_LMA;
    cpu.seg[CS].rights = Rights(if bits == 64 { 0xa09b } else { 0xc09b });
    if bits == 32 {
        for register in [DS, ES, SS] {
            cpu.seg[register] = Segment { limit: u32::MAX, rights: Rights(0xc093), ..Segment::real(0) };
        }
    }
    cpu.update_mode();
    assert_eq!(cpu.code_size(), bits);
    cpu
}

/// Runs an instruction on a state, as [`super::silicon::Runner::run`] does.
pub fn run(cpu: &mut Cpu, bytes: &[u8], address: u64, state: &mut State) -> Fallible {
    let content = state.memory;
    let result = run_at(cpu, bytes, address, state, &content);
    let mut memory = [0; MEMORY];
    cpu.system().mem.read_bytes(ADDRESS, &mut memory);
    state.memory = memory;
    result
}

/// Runs an instruction on the registers of a state, with this memory.
pub fn run_at(cpu: &mut Cpu, bytes: &[u8], address: u64, state: &mut State, memory: &[u8]) -> Fallible {
    let op = decode(bytes, CodeMode::of(cpu), 0).unwrap();
    cpu.regs[..16].copy_from_slice(&state.regs);
    cpu.regs[RIP] = address;
    cpu.flags.set(state.flags);
    load_fx(cpu, &state.fx);
    if wide(cpu) {
        load_high(cpu, state);
    }
    cpu.system_mut().mem.write_bytes(ADDRESS, memory);
    let result = (op.run)(cpu, &op);
    state.regs.copy_from_slice(&cpu.regs[..16]);
    state.flags = cpu.flags.get();
    store_fx(cpu, &mut state.fx);
    if wide(cpu) {
        store_high(cpu, state);
    }
    let f = &cpu.fpu;
    state.env[12..16].copy_from_slice(&(f.instruction.1 as u32).to_le_bytes());
    state.env[16..20].copy_from_slice(&(u32::from(f.opcode) << 16).to_le_bytes());
    state.env[20..24].copy_from_slice(&(f.data.1 as u32).to_le_bytes());
    result
}

/// Turns on AVX, and with it the comparison of YMM registers.
pub fn enable_avx(cpu: &mut Cpu) {
    cpu.cr4 |= CR4_OSXSAVE;
    cpu.fpu.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
}

fn wide(cpu: &Cpu) -> bool {
    cpu.fpu.xcr0 & XCR0_AVX != 0
}

fn load_high(cpu: &mut Cpu, state: &State) {
    for (vector, high) in cpu.fpu.vectors.iter_mut().zip(&state.high) {
        vector[2..4].copy_from_slice(&[quadword(high, 0), quadword(high, 8)]);
    }
}

fn store_high(cpu: &Cpu, state: &mut State) {
    for (vector, high) in cpu.fpu.vectors.iter().zip(&mut state.high) {
        high[..8].copy_from_slice(&vector[2].to_le_bytes());
        high[8..].copy_from_slice(&vector[3].to_le_bytes());
    }
}

fn word(fx: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([fx[at], fx[at + 1]])
}

fn quadword(fx: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(fx[at..at + 8].try_into().unwrap())
}

/// Written apart from the instruction, so that FXRSTOR is tested too.
fn load_fx(cpu: &mut Cpu, fx: &[u8; 512]) {
    let f = &mut cpu.fpu;
    f.control = word(fx, 0);
    f.status = word(fx, 2) & !0x3800;
    f.top = (word(fx, 2) >> 11 & 7) as u8;
    f.valid = fx[4];
    (f.opcode, f.instruction, f.data) = (0, (0, 0), (0, 0));
    f.mxcsr = u32::from(word(fx, 24));
    for n in 0..8 {
        let at = 32 + 16 * n;
        let slot = (usize::from(f.top) + n) % 8;
        f.regs[slot] = F80 { significand: quadword(fx, at), sign_exponent: word(fx, at + 8) };
    }
    for n in 0..16 {
        let at = 160 + 16 * n;
        f.vectors[n] = [quadword(fx, at), quadword(fx, at + 8), 1, 2, 3, 4, 5, 6];
    }
}

fn store_fx(cpu: &Cpu, fx: &mut [u8; 512]) {
    let f = &cpu.fpu;
    let mut put = |at: usize, bytes: &[u8]| fx[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &f.control.to_le_bytes());
    put(2, &f.status_word().to_le_bytes());
    put(4, &[f.valid]);
    put(24, &f.mxcsr.to_le_bytes());
    for n in 0..8 {
        put(32 + 16 * n, &f.regs[(usize::from(f.top) + n) % 8].to_bytes());
    }
    for n in 0..16 {
        put(160 + 16 * n, &f.vectors[n][0].to_le_bytes());
        put(168 + 16 * n, &f.vectors[n][1].to_le_bytes());
        assert!(wide(cpu) || f.vectors[n][2..] == [1, 2, 3, 4, 5, 6], "bits above 127 stay");
    }
}
