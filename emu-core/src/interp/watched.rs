//! One instruction at a time, where a breakpoint of the guest or the debugger may lie or branches are recorded.
//! SDM 3B, "Instruction-Breakpoint Exception Condition", "Last Branch, Interrupt, and Exception Recording".

use iced_x86::{Decoder, DecoderOptions, FlowControl};

use super::{Sight, execute_alone, fetch_op};
use crate::cpu::{Cpu, Fallible, RIP};

/// Checks for a breakpoint, runs the instruction at `linear`, and records the branch it takes.
pub fn step<S: Sight>(cpu: &mut Cpu, linear: u64) -> Fallible {
    cpu.check_break_point(linear)?;
    cpu.check_instruction_breakpoint(linear)?;
    let (op, bytes) = fetch_op(cpu, linear)?;
    if !cpu.records_branches() {
        return execute_alone::<S>(cpu, linear, op, bytes);
    }
    let flow = Decoder::new(cpu.code_size(), &bytes, DecoderOptions::NONE).decode().flow_control();
    let next = op.next(cpu);
    execute_alone::<S>(cpu, linear, op, bytes)?;
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
