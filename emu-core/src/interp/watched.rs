//! One instruction at a time, where an instruction breakpoint may lie or branches are recorded.
//! SDM 3B, "Instruction-Breakpoint Exception Condition", "Last Branch, Interrupt, and Exception Recording".

use iced_x86::{Decoder, DecoderOptions, FlowControl};

use super::op::Op;
use super::{execute, fetch_bytes, fetch_op};
use crate::cpu::{Cpu, Fallible, Fault, RIP};
use crate::decode::MAX_LENGTH;

/// Checks for a breakpoint, runs the instruction at `linear`, and records the branch it takes.
pub fn step(cpu: &mut Cpu, linear: u64) -> Fallible {
    cpu.check_instruction_breakpoint(linear)?;
    let op = fetch_op(cpu, linear)?;
    if cpu.regs[RIP].wrapping_add(u64::from(op.end) - 1) > cpu.fetch_limit {
        return Err(Fault::GP0);
    }
    if !cpu.records_branches() {
        return execute(cpu, &[op]).map(|_| ());
    }
    let flow = flow_control(cpu, linear, &op)?;
    let next = op.next(cpu);
    execute(cpu, &[op])?;
    let taken = match flow {
        FlowControl::ConditionalBranch => cpu.regs[RIP] != next,
        FlowControl::UnconditionalBranch
        | FlowControl::IndirectBranch
        | FlowControl::Call
        | FlowControl::IndirectCall
        | FlowControl::Return => true,
        // INT n and faults are recorded where they are delivered.
        _ => false,
    };
    if taken && cpu.records_branches() {
        cpu.record_branch(linear);
    }
    Ok(())
}

fn flow_control(cpu: &mut Cpu, linear: u64, op: &Op) -> Fallible<FlowControl> {
    let mut bytes = [0; MAX_LENGTH];
    let length = usize::from(op.end).min(MAX_LENGTH);
    for (n, byte) in (0u64..).zip(&mut bytes[..length]) {
        fetch_bytes(cpu, linear.wrapping_add(n) & cpu.linear_mask, std::slice::from_mut(byte))?;
    }
    let insn = Decoder::new(cpu.code_size(), &bytes[..length], DecoderOptions::NONE).decode();
    Ok(insn.flow_control())
}
