//! MOVS, CMPS, SCAS, STOS, LODS, INS, OUTS, with REP prefixes.
//!
//! Each iteration of a repeated instruction retires as one instruction: interrupts are taken between
//! iterations, and the run stops at any count. A run within one page goes by host memory directly.
//! SDM 2B, "REP/REPE/REPZ/REPNE/REPNZ".

use iced_x86::{Mnemonic as M, OpKind};

use crate::cpu::eflags::{self, Writer};
use crate::cpu::smm::PortAccess;
use crate::cpu::{Cpu, ES, Fallible, RAX, RCX, RDI, RDX, RIP, RSI, Width};
use crate::interp::op::{Handler, Op, REPNE};
use crate::interp::table::{Form, Row, row};
use crate::mem::PAGE_SIZE;

/// The rows of this family. MOVSD and CMPSD are also SSE2 mnemonics; the form tells them apart.
pub const ROWS: &[Row] = &[
    row(M::Movsb, |f| string::<u8, Movs>(f)),
    row(M::Movsw, |f| string::<u16, Movs>(f)),
    row(M::Movsd, movsd),
    row(M::Movsq, |f| string::<u64, Movs>(f)),
    row(M::Cmpsb, |f| string::<u8, Cmps>(f)),
    row(M::Cmpsw, |f| string::<u16, Cmps>(f)),
    row(M::Cmpsd, cmpsd),
    row(M::Cmpsq, |f| string::<u64, Cmps>(f)),
    row(M::Scasb, |f| string::<u8, Scas>(f)),
    row(M::Scasw, |f| string::<u16, Scas>(f)),
    row(M::Scasd, |f| string::<u32, Scas>(f)),
    row(M::Scasq, |f| string::<u64, Scas>(f)),
    row(M::Stosb, |f| string::<u8, Stos>(f)),
    row(M::Stosw, |f| string::<u16, Stos>(f)),
    row(M::Stosd, |f| string::<u32, Stos>(f)),
    row(M::Stosq, |f| string::<u64, Stos>(f)),
    row(M::Lodsb, |f| string::<u8, Lods>(f)),
    row(M::Lodsw, |f| string::<u16, Lods>(f)),
    row(M::Lodsd, |f| string::<u32, Lods>(f)),
    row(M::Lodsq, |f| string::<u64, Lods>(f)),
    row(M::Insb, |f| string::<u8, Ins>(f)),
    row(M::Insw, |f| string::<u16, Ins>(f)),
    row(M::Insd, |f| string::<u32, Ins>(f)),
    row(M::Outsb, |f| string::<u8, Outs>(f)),
    row(M::Outsw, |f| string::<u16, Outs>(f)),
    row(M::Outsd, |f| string::<u32, Outs>(f)),
];

/// One iteration of a string instruction.
trait Iteration {
    /// True when REPE and REPNE look at ZF after each iteration.
    const COMPARES: bool = false;

    /// Does one iteration: accesses first, then registers.
    fn once<W: Width, A: Width>(cpu: &mut Cpu, op: &Op) -> Fallible;

    /// Does up to `most` iterations at once where that is the same as one by one; returns how many.
    fn run<W: Width, A: Width>(_cpu: &mut Cpu, _op: &Op, _most: u64) -> u64 {
        0
    }
}

/// Is it the string form (and not the SSE2 instruction of the same mnemonic)?
fn is_string(f: &Form<'_>) -> bool {
    f.insn.is_string_instruction()
}

fn movsd(f: &Form<'_>) -> Option<Handler> {
    if is_string(f) { string::<u32, Movs>(f) } else { super::sse::moves::movsd(f) }
}

fn cmpsd(f: &Form<'_>) -> Option<Handler> {
    if is_string(f) { string::<u32, Cmps>(f) } else { super::sse::compare::cmpsd(f) }
}

fn string<W: Width, I: Iteration>(f: &Form<'_>) -> Option<Handler> {
    let repeated = f.insn.has_rep_prefix() || f.insn.has_repne_prefix();
    let narrowest = (0..f.insn.op_count()).map(|n| f.insn.op_kind(n)).find_map(|kind| match kind {
        OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => Some(16),
        OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => Some(32),
        OpKind::MemorySegRSI | OpKind::MemorySegRDI | OpKind::MemoryESRDI => Some(64),
        _ => None,
    })?;
    Some(match (repeated, narrowest) {
        (false, 16) => I::once::<W, u16>,
        (false, 32) => I::once::<W, u32>,
        (false, _) => I::once::<W, u64>,
        (true, 16) => repeat::<W, u16, I>,
        (true, 32) => repeat::<W, u32, I>,
        (true, _) => repeat::<W, u64, I>,
    })
}

/// Repeats an iteration until the count, the condition or the deadline ends it. Writes RIP.
fn repeat<W: Width, A: Width, I: Iteration>(cpu: &mut Cpu, op: &Op) -> Fallible {
    let mut count = cpu.register::<A>(RCX as u8).u64();
    let (here, next) = (op.here(cpu), op.next(cpu));
    if count == 0 {
        cpu.regs[RIP] = next;
        return Ok(());
    }
    let until_zero = op.flags & REPNE != 0;
    let mut budget = cpu.repeat_deadline.saturating_sub(cpu.instructions()).max(1);
    cpu.stop = false;
    // The instruction itself counts as one of its iterations when it ends; a fault ends it without that.
    let mut total = 0;
    let done = loop {
        let most = count.min(budget);
        let at_once = if most < 2 || cpu.stepping() { 0 } else { I::run::<W, A>(cpu, op, most) };
        let did = if at_once != 0 {
            at_once
        } else {
            if let Err(fault) = I::once::<W, A>(cpu, op) {
                break Err(fault);
            }
            1
        };
        count -= did;
        budget -= did;
        total += did;
        cpu.set_register(RCX as u8, A::from_u64(count));
        let met = I::COMPARES && cpu.flags.condition(4) == until_zero;
        if count == 0 || met {
            cpu.regs[RIP] = next;
            break Ok(());
        }
        if budget == 0 || cpu.stop || cpu.stepping() {
            cpu.regs[RIP] = here;
            break Ok(());
        }
    };
    let extra = total - u64::from(done.is_ok());
    cpu.retired += extra;
    cpu.counters.rep_iterations += extra;
    if cpu.regs[RIP] == here && done.is_ok() {
        cpu.repeat_at = cpu.instructions() + 1;
    }
    done
}

/// The step of an index register: its width, down when DF is set.
#[inline(always)]
fn step<W: Width>(cpu: &Cpu) -> u64 {
    if down(cpu) { W::BYTES.wrapping_neg() } else { W::BYTES }
}

#[inline(always)]
fn advance<A: Width>(cpu: &mut Cpu, register: usize, by: u64) {
    let value = A::from_u64(cpu.regs[register].wrapping_add(by));
    cpu.set_register(register as u8, value);
}

#[inline(always)]
fn index<A: Width>(cpu: &Cpu, register: usize) -> u64 {
    cpu.register::<A>(register as u8).u64()
}

/// Iterations that can be done at once in one place: where they begin, and how many there are room for.
#[derive(Clone, Copy)]
struct Run {
    /// Host address of the first element.
    host: usize,
    count: u64,
}

/// The longest run from `offset` on that stays in one page, in the segment and within the address size, up or down.
fn run_in_page<W: Width, A: Width>(
    cpu: &Cpu,
    segment: usize,
    offset: u64,
    most: u64,
    write: bool,
) -> Option<Run> {
    let linear = cpu.linear(segment, offset, W::BYTES, write).ok()?;
    let entry = if write { cpu.tlb.write(cpu.context, linear) } else { cpu.tlb.read(cpu.context, linear) };
    let within = linear.wrapping_sub(entry.tag);
    if within > PAGE_SIZE - W::BYTES {
        return None;
    }
    let (first, last) = if write { cpu.seg[segment].write } else { cpu.seg[segment].read };
    let room = if down(cpu) {
        // The last element may begin where the page, the segment or the address range does.
        within.min(offset - first) / W::BYTES + 1
    } else {
        let beyond = (last - offset).min(A::MASK - offset);
        (PAGE_SIZE - within).min(beyond.saturating_add(1)) / W::BYTES
    };
    (room != 0).then(|| Run { host: (entry.host + within) as usize, count: most.min(room) })
}

/// DF: strings go down.
#[inline(always)]
fn down(cpu: &Cpu) -> bool {
    cpu.flags.system() & eflags::DF != 0
}

/// Host address of the lowest byte of `count` elements from `host` on.
fn lowest<W: Width>(cpu: &Cpu, host: usize, count: u64) -> usize {
    if down(cpu) { host - ((count - 1) * W::BYTES) as usize } else { host }
}

/// Moves an index register over `count` elements.
fn advance_over<W: Width, A: Width>(cpu: &mut Cpu, register: usize, count: u64) {
    let by = step::<W>(cpu).wrapping_mul(count);
    advance::<A>(cpu, register, by);
}

/// What elements in memory are compared with.
enum Left<W> {
    /// The accumulator.
    Value(W),
    /// Elements from this host address on.
    At(usize),
}

/// Compares up to `count` elements at the host address `b` until a pair is equal, or is not. Leaves the flags of the
/// last comparison and returns how many there were.
fn compare_run<W: Width>(cpu: &mut Cpu, a: Left<W>, b: usize, count: u64, until_equal: bool) -> u64 {
    const CHUNK: usize = 64;
    let width = W::BYTES as usize;
    let (mut left, mut right) = ([0; CHUNK], [0; CHUNK]);
    if let Left::Value(value) = a {
        for element in left.chunks_exact_mut(width) {
            element.copy_from_slice(&value.u64().to_le_bytes()[..width]);
        }
    }
    let at = |bytes: &[u8; CHUNK], n: usize| {
        let mut word = [0; 8];
        word[..width].copy_from_slice(&bytes[n * width..][..width]);
        W::from_u64(u64::from_le_bytes(word))
    };
    let mut done = 0;
    loop {
        let some = (count as usize - done).min(CHUNK / width);
        let from = done * width;
        if let Left::At(a) = a {
            cpu.ram.read_slice(a + from, &mut left[..some * width]);
        }
        cpu.ram.read_slice(b + from, &mut right[..some * width]);
        let found = (0..some).find(|&n| (at(&left, n) == at(&right, n)) == until_equal);
        done += found.map_or(some, |n| n + 1);
        if found.is_some() || done as u64 == count {
            let last = found.unwrap_or(some - 1);
            cpu.flags.record(Writer::Sub, at(&left, last), at(&right, last));
            return done as u64;
        }
    }
}

struct Movs;

impl Iteration for Movs {
    fn once<W: Width, A: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
        let (from, to) = (index::<A>(cpu, RSI), index::<A>(cpu, RDI));
        let value = cpu.read::<W>(op.segment(), from)?;
        cpu.write(ES, to, value)?;
        let by = step::<W>(cpu);
        advance::<A>(cpu, RSI, by);
        advance::<A>(cpu, RDI, by);
        Ok(())
    }

    fn run<W: Width, A: Width>(cpu: &mut Cpu, op: &Op, most: u64) -> u64 {
        let (from, to) = (index::<A>(cpu, RSI), index::<A>(cpu, RDI));
        let Some(source) = run_in_page::<W, A>(cpu, op.segment(), from, most, false) else { return 0 };
        let Some(target) = run_in_page::<W, A>(cpu, ES, to, source.count, true) else { return 0 };
        let count = target.count;
        let bytes = (count * W::BYTES) as usize;
        let (source, target) = (lowest::<W>(cpu, source.host, count), lowest::<W>(cpu, target.host, count));
        // How far elements are written ahead of where the same bytes are read later.
        let ahead = if down(cpu) { source.wrapping_sub(target) } else { target.wrapping_sub(source) };
        if ahead == 0 || ahead >= bytes {
            cpu.ram.copy(source, target, bytes);
        } else if down(cpu) || ahead < W::BYTES as usize {
            return 0;
        } else {
            // A target a little above its source repeats what lies between: each round doubles it.
            let mut done = 0;
            while done < bytes {
                let some = (ahead + done).min(bytes - done);
                cpu.ram.copy(source, target + done, some);
                done += some;
            }
        }
        advance_over::<W, A>(cpu, RSI, count);
        advance_over::<W, A>(cpu, RDI, count);
        count
    }
}

struct Stos;

impl Iteration for Stos {
    fn once<W: Width, A: Width>(cpu: &mut Cpu, _: &Op) -> Fallible {
        let to = index::<A>(cpu, RDI);
        let value = cpu.register::<W>(RAX as u8);
        cpu.write(ES, to, value)?;
        let by = step::<W>(cpu);
        advance::<A>(cpu, RDI, by);
        Ok(())
    }

    fn run<W: Width, A: Width>(cpu: &mut Cpu, _: &Op, most: u64) -> u64 {
        let to = index::<A>(cpu, RDI);
        let Some(target) = run_in_page::<W, A>(cpu, ES, to, most, true) else { return 0 };
        let count = target.count;
        let host = lowest::<W>(cpu, target.host, count);
        let (bytes, width) = ((count * W::BYTES) as usize, W::BYTES as usize);
        let pattern = cpu.regs[RAX].to_le_bytes();
        if pattern[1..width].iter().all(|&byte| byte == pattern[0]) {
            cpu.ram.fill(host, bytes, pattern[0]);
        } else {
            cpu.ram.write_slice(host, &pattern[..width]);
            let mut done = width;
            while done < bytes {
                let some = done.min(bytes - done);
                cpu.ram.copy(host, host + done, some);
                done += some;
            }
        }
        advance_over::<W, A>(cpu, RDI, count);
        count
    }
}

struct Lods;

impl Iteration for Lods {
    fn once<W: Width, A: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
        let from = index::<A>(cpu, RSI);
        let value = cpu.read::<W>(op.segment(), from)?;
        cpu.set_register(RAX as u8, value);
        let by = step::<W>(cpu);
        advance::<A>(cpu, RSI, by);
        Ok(())
    }
}

struct Scas;

impl Iteration for Scas {
    const COMPARES: bool = true;

    fn once<W: Width, A: Width>(cpu: &mut Cpu, _: &Op) -> Fallible {
        let at = index::<A>(cpu, RDI);
        let value = cpu.read::<W>(ES, at)?;
        let accumulator = cpu.register::<W>(RAX as u8);
        cpu.flags.record(Writer::Sub, accumulator, value);
        let by = step::<W>(cpu);
        advance::<A>(cpu, RDI, by);
        Ok(())
    }

    fn run<W: Width, A: Width>(cpu: &mut Cpu, op: &Op, most: u64) -> u64 {
        let at = index::<A>(cpu, RDI);
        let Some(run) = run_in_page::<W, A>(cpu, ES, at, most, false) else { return 0 };
        if down(cpu) {
            return 0;
        }
        let value = cpu.register::<W>(RAX as u8);
        let did = compare_run(cpu, Left::Value(value), run.host, run.count, op.flags & REPNE != 0);
        advance_over::<W, A>(cpu, RDI, did);
        did
    }
}

struct Cmps;

impl Iteration for Cmps {
    const COMPARES: bool = true;

    fn once<W: Width, A: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
        let (from, to) = (index::<A>(cpu, RSI), index::<A>(cpu, RDI));
        let a = cpu.read::<W>(op.segment(), from)?;
        let b = cpu.read::<W>(ES, to)?;
        cpu.flags.record(Writer::Sub, a, b);
        let by = step::<W>(cpu);
        advance::<A>(cpu, RSI, by);
        advance::<A>(cpu, RDI, by);
        Ok(())
    }

    fn run<W: Width, A: Width>(cpu: &mut Cpu, op: &Op, most: u64) -> u64 {
        if down(cpu) {
            return 0;
        }
        let (from, to) = (index::<A>(cpu, RSI), index::<A>(cpu, RDI));
        let Some(a) = run_in_page::<W, A>(cpu, op.segment(), from, most, false) else { return 0 };
        let Some(b) = run_in_page::<W, A>(cpu, ES, to, a.count, false) else { return 0 };
        let did = compare_run(cpu, Left::<W>::At(a.host), b.host, b.count, op.flags & REPNE != 0);
        advance_over::<W, A>(cpu, RSI, did);
        advance_over::<W, A>(cpu, RDI, did);
        did
    }
}

struct Ins;

impl Iteration for Ins {
    fn once<W: Width, A: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
        let port = cpu.regs[RDX] as u16;
        cpu.check_port(port, W::BYTES)?;
        let to = index::<A>(cpu, RDI);
        let access = PortAccess { port, size: W::BYTES, string: true };
        let linear = cpu.operand_linear(ES, to);
        cpu.exits_on_port(op, access, true, false, linear)?;
        // The port must not be read when the store would fault.
        let (_, place) = cpu.read_for_write::<W>(ES, to)?;
        let value = cpu.port_read(op, access);
        cpu.write_back(place, W::from_u64(value))?;
        let by = step::<W>(cpu);
        advance::<A>(cpu, RDI, by);
        Ok(())
    }
}

struct Outs;

impl Iteration for Outs {
    fn once<W: Width, A: Width>(cpu: &mut Cpu, op: &Op) -> Fallible {
        let port = cpu.regs[RDX] as u16;
        cpu.check_port(port, W::BYTES)?;
        let from = index::<A>(cpu, RSI);
        let access = PortAccess { port, size: W::BYTES, string: true };
        let linear = cpu.operand_linear(op.segment(), from);
        cpu.exits_on_port(op, access, false, false, linear)?;
        let value = cpu.read::<W>(op.segment(), from)?;
        cpu.port_write(op, access, value.u64());
        let by = step::<W>(cpu);
        advance::<A>(cpu, RSI, by);
        Ok(())
    }
}
