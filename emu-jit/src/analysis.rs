//! From guest bytes to a list of instructions with all that the emitter must know about each: how it is translated,
//! which registers and flags it touches, and whether anybody looks at its flags.

use emu_core::cpu::eflags::{CF, OSZAPC};
use emu_core::cpu::model::Features;
use emu_core::decode::{CodeMode, decode, eflags, gate, is_immediate};
use emu_core::interp::op::{ENDS_BLOCK, Op};
use iced_x86::{
    Code, CpuidFeature, Decoder, EncodingKind, FlowControl, Instruction, InstructionInfoFactory,
    Mnemonic as M, OpAccess, OpKind, Register,
};

use crate::effects::{Effect, effect};
use crate::groups::{self, Way};
use crate::mode::Mode;
use crate::x87;

/// Most instructions in a block.
pub const MOST: usize = 64;
/// Most conditional jumps that a block goes on after.
const MOST_EXITS: usize = 6;

/// Most rounds of a loop in a block, and instructions in all of them.
const MOST_ROUNDS: usize = 4;
const MOST_UNROLLED: usize = 24;

/// Most rounds, in a block that begins before it, of a loop that the block comes to, and instructions in all of them.
const MOST_ROUNDS_ON_THE_WAY: usize = 3;
const MOST_ON_THE_WAY: usize = 48;
/// Most instructions in a block with them.
const MOST_WITH_ROUNDS: usize = 112;

/// How an instruction is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The host runs it, with its registers and address replaced.
    Native,
    /// It does nothing.
    Nothing,
    /// PUSH of a register or an immediate.
    Push,
    /// PUSH of memory.
    PushMemory,
    /// PUSHF.
    PushFlags,
    /// POP into a register.
    Pop,
    /// LEAVE.
    Leave,
    /// JMP to a known place.
    Jump,
    /// Jcc.
    Branch,
    /// LOOP.
    Loop,
    /// JMP to where a register or memory says.
    JumpIndirect,
    /// CALL of a known place.
    Call,
    /// CALL of where a register or memory says.
    CallIndirect,
    /// RET.
    Return,
    /// The interpreter's handler runs it and the block goes on.
    CallOut,
    /// The same, and the block ends.
    Last,
}

/// How memory is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Read only.
    Read,
    /// Written, and perhaps read.
    Write,
}

/// One instruction of a block.
#[derive(Clone, Debug)]
pub struct Guest {
    /// As iced decoded it; its addresses count from the start of the page.
    pub insn: Instruction,
    /// As the interpreter runs it; its offsets count from the start of the block.
    pub op: Op,
    /// How it is translated.
    pub kind: Kind,
    /// What it does to the flags.
    pub effect: Effect,
    /// Flags that it reads, or must have in the host's to keep them.
    pub reads: u64,
    /// The same, if somebody looks at its own.
    all_reads: u64,
    /// Explicit memory operand: kind of access and size in bytes.
    pub access: Option<(Want, u32)>,
    /// General registers that it writes, one bit each.
    pub written: u32,
    /// Flags that somebody looks at after it, before they are written again.
    pub live: u64,
    /// Flags among them that an instruction of the block reads.
    pub read_later: u64,
    /// It works on vector registers.
    pub vector: bool,
    /// How its memory operand is reached.
    pub operand: Way,
    /// How its stack slot is reached.
    pub stack: Way,
    /// Its memory operand is known to be aligned, if it has to be.
    pub aligned: bool,
    /// It works on the host's x87 unit.
    pub x87: bool,
    /// The host may raise an exception of the vector or x87 unit at it.
    pub raises: bool,
    /// A Jcc that leads to the next copy of its loop: control leaves where it is not taken.
    pub turns: bool,
}

impl Guest {
    /// May control leave the block before the instruction has an effect, or does it run with all state in place?
    pub fn observes(&self) -> bool {
        match self.kind {
            Kind::Native => {
                let leaves = !self.operand.is_sure() || needs_alignment(&self.insn) && !self.aligned;
                let leaves = leaves || x87::may_decline(&self.insn);
                let declines = self.effect == Effect::Kept || self.effect == Effect::Varies && self.live != 0;
                self.access.is_some() && leaves || declines || self.raises
            }
            Kind::Push | Kind::Pop | Kind::Leave => !self.stack.is_sure(),
            Kind::Nothing => false,
            _ => true,
        }
    }

    /// May memory accesses behind it meet other permissions (EFLAGS.AC), or another base of their segment?
    pub fn changes_access(&self) -> bool {
        let segment = |n| {
            self.insn.op_count() > n
                && self.insn.op_kind(n) == OpKind::Register
                && self.insn.op_register(n).is_segment_register()
        };
        segment(0)
            || matches!(
                self.insn.mnemonic(),
                M::Popf
                    | M::Popfd
                    | M::Popfq
                    | M::Stac
                    | M::Clac
                    | M::Wrmsr
                    | M::Swapgs
                    | M::Wrfsbase
                    | M::Wrgsbase
            )
    }

    /// Does a conditional jump leave the block there?
    pub fn has_side(&self) -> bool {
        matches!(self.kind, Kind::Branch | Kind::Loop)
    }

    /// Does it push or pop, and go on in the block?
    pub fn is_on_stack(&self) -> bool {
        matches!(self.kind, Kind::Push | Kind::PushMemory | Kind::PushFlags | Kind::Pop | Kind::Leave)
    }

    /// Must its flags be noted? Somebody looks at them, or at others that its handler would move to another place.
    pub fn flags_are_seen(&self) -> bool {
        let handled = self.access.is_some() || self.raises;
        let moves = handled && self.effect.changes() || matches!(self.effect, Effect::Counted(_));
        self.live & self.effect.writes() != 0 || self.live != 0 && moves
    }

    /// Must the interpreter's handler be at hand?
    pub fn ends(&self) -> bool {
        !matches!(
            self.kind,
            Kind::Native
                | Kind::Nothing
                | Kind::Push
                | Kind::PushMemory
                | Kind::PushFlags
                | Kind::Pop
                | Kind::Leave
                | Kind::Branch
                | Kind::Loop
                | Kind::CallOut
        )
    }
}

/// Which block is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Offset in the page of its first instruction.
    pub offset: usize,
    /// Mode of the processor.
    pub mode: Mode,
    /// What the processor can do.
    pub features: Features,
    /// Most instructions.
    pub most: usize,
    /// One check may serve several memory accesses.
    pub merge: bool,
}

/// Decodes a block of a page. Empty when its first instruction leaves the page. `hot` tells of a place in the page
/// whether control came there often.
pub fn block(
    bytes: &[u8],
    request: Request,
    hot: impl Fn(u16) -> bool,
    factory: &mut InstructionInfoFactory,
) -> Vec<Guest> {
    let Request { offset, mode, features, most, merge } = request;
    let options = gate::decoder_options(features);
    let mut block = Vec::new();
    let (mut at, mut exits) = (offset, 0);
    while at < bytes.len() && block.len() < most {
        let rest = &bytes[at..bytes.len().min(at + 15)];
        let code = CodeMode { size: mode.size(), flat: mode.flat(), features };
        let Ok(op) = decode(rest, code, (at - offset) as u16) else { break };
        let mut decoder = Decoder::with_ip(mode.size(), rest, at as u64, options);
        let insn = decoder.decode();
        at = offset + usize::from(op.end);
        let guest = classify(insn, op, mode, factory);
        exits += usize::from(guest.has_side());
        let target = (guest.kind == Kind::Branch).then(|| guest.insn.near_branch_target());
        let back = target == Some(offset as u64);
        let ends = guest.ends();
        block.push(guest);
        if back {
            unroll(&mut block, exits, most);
        } else if merge
            && let Some(target) = target
            && (offset as u64..at as u64).contains(&target)
            && most == MOST
            && hot(target as u16)
        {
            exits += go_round(&mut block, target - offset as u64, exits);
        }
        let last = ends || back || exits > MOST_EXITS;
        if last {
            break;
        }
    }
    plan(&mut block, mode, merge);
    block
}

/// Makes several rounds of a short loop one block, so that one check serves accesses of all of them.
fn unroll(block: &mut Vec<Guest>, exits: usize, most: usize) {
    let rounds = (MOST_UNROLLED.min(most) / block.len()).min(MOST_ROUNDS).min(2 * MOST_EXITS / exits.max(1));
    if block.iter().any(|guest| guest.kind == Kind::CallOut) {
        return;
    }
    let body = block.clone();
    for _ in 1..rounds {
        if let Some(last) = block.last_mut() {
            last.turns = true;
        }
        block.extend_from_slice(&body);
    }
}

/// Where the block has come to the end of a loop within it that goes round for more than once, adds rounds: many loops
/// have few. Returns the conditional jumps that it added. `start` is the loop's, from that of the block.
fn go_round(block: &mut Vec<Guest>, start: u64, exits: usize) -> usize {
    let Some(first) = block.iter().rposition(|guest| u64::from(guest.op.start()) == start) else {
        return 0;
    };
    let body = block[first..].to_vec();
    let exits_in_body = body.iter().filter(|guest| guest.has_side()).count();
    let more = (MOST_ROUNDS_ON_THE_WAY.min(MOST_ON_THE_WAY / body.len()).saturating_sub(1))
        .min(MOST_EXITS.saturating_sub(exits) / exits_in_body)
        .min((MOST_WITH_ROUNDS - block.len()) / body.len());
    if body.iter().any(|guest| guest.kind == Kind::CallOut) {
        return 0;
    }
    for _ in 0..more {
        if let Some(last) = block.last_mut() {
            last.turns = true;
        }
        block.extend_from_slice(&body);
    }
    more * exits_in_body
}

/// Decides what depends on the block as a whole.
fn plan(block: &mut [Guest], mode: Mode, merge: bool) {
    for guest in block.iter_mut() {
        (guest.operand, guest.stack, guest.aligned) = (Way::Checked, Way::Checked, false);
    }
    // What is left to the interpreter is known before groups are made, and they only take observers away.
    liveness(block);
    if merge {
        groups::merge(block, mode);
        liveness(block);
    }
}

fn classify(insn: Instruction, op: Op, mode: Mode, factory: &mut InstructionInfoFactory) -> Guest {
    let info = factory.info(&insn);
    let mut written = 0;
    for used in info.used_registers() {
        let writes = !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None);
        if writes && used.register().is_gpr() {
            written |= 1 << used.register().full_register().number();
        }
    }
    let access = info.used_memory().first().and_then(|memory| {
        let want = match memory.access() {
            OpAccess::Read | OpAccess::CondRead => Want::Read,
            OpAccess::NoMemAccess | OpAccess::None => return None,
            _ => Want::Write,
        };
        Some((want, insn.memory_size().size() as u32))
    });
    let memories = info.used_memory().len();
    let mut guest = Guest {
        insn,
        op,
        kind: Kind::CallOut,
        effect: Effect::None,
        reads: 0,
        all_reads: 0,
        access: None,
        written,
        live: 0,
        read_later: 0,
        vector: false,
        operand: Way::Checked,
        stack: Way::Checked,
        aligned: false,
        x87: false,
        raises: false,
        turns: false,
    };
    guest.kind = kind(&insn, &guest.op, mode, memories, access);
    if guest.kind == Kind::Native {
        guest.access = access;
        guest.effect = effect(&insn).unwrap_or(Effect::None);
        guest.vector = vector(&insn);
        guest.x87 = x87::uses(&insn);
        guest.raises = guest.vector && mode.vectors_raise() || guest.x87 && mode.x87_raises();
    }
    if guest.kind == Kind::PushFlags {
        guest.all_reads = OSZAPC;
    }
    if matches!(guest.kind, Kind::Native | Kind::Branch) {
        guest.all_reads = match guest.effect {
            Effect::Partial(mask) => eflags(insn.rflags_read()) | OSZAPC & !mask,
            Effect::Counted(_) => 0,
            _ => eflags(insn.rflags_read()),
        };
    }
    guest
}

fn kind(insn: &Instruction, op: &Op, mode: Mode, memories: usize, access: Option<(Want, u32)>) -> Kind {
    let plain = insn.flow_control() == FlowControl::Next;
    if repeats(insn) {
        return Kind::CallOut;
    }
    if insn.is_invalid() || plain && op.flags & ENDS_BLOCK != 0 {
        return Kind::Last;
    }
    if !plain {
        return branch(insn, mode);
    }
    if system(insn) {
        return if goes_on(insn, mode) { Kind::CallOut } else { Kind::Last };
    }
    let stack = mode.size() / 8;
    match insn.mnemonic() {
        M::Nop | M::Endbr64 | M::Endbr32 | M::Lfence | M::Mfence | M::Sfence => return Kind::Nothing,
        M::Prefetcht0 | M::Prefetcht1 | M::Prefetcht2 | M::Prefetchnta | M::Prefetchw => {
            return Kind::Nothing;
        }
        // No error can be pending.
        M::Wait if mode.x87() && !mode.x87_raises() => return Kind::Nothing,
        // In virtual-8086 mode it depends on IOPL.
        M::Pushfd if mode.wide_stack() && mode.size() == 32 && !mode.user() => return Kind::PushFlags,
        M::Pushfq if mode.wide_stack() && mode.size() == 64 => return Kind::PushFlags,
        M::Push | M::Pop | M::Leave if mode.wide_stack() => {
            let size = insn.stack_pointer_increment().unsigned_abs();
            let simple = match insn.op_count() {
                0 => {
                    insn.code()
                        == match stack {
                            8 => Code::Leaveq,
                            4 => Code::Leaved,
                            _ => Code::Leavew,
                        }
                }
                _ => match insn.op0_kind() {
                    OpKind::Register => {
                        let stack_pointer = insn.op0_register().full_register() == Register::RSP;
                        insn.op0_register().is_gpr() && (insn.mnemonic() == M::Pop || !stack_pointer)
                    }
                    OpKind::Memory => insn.mnemonic() == M::Push && insn.memory_base() != Register::EIP,
                    _ => true,
                },
            };
            return match insn.mnemonic() {
                M::Leave if simple => Kind::Leave,
                _ if !simple || size != stack => Kind::CallOut,
                M::Push if insn.op0_kind() == OpKind::Memory => Kind::PushMemory,
                M::Push => Kind::Push,
                _ => Kind::Pop,
            };
        }
        _ => {}
    }
    if native(insn, mode, memories, access) { Kind::Native } else { Kind::CallOut }
}

/// A string instruction with a REP prefix that has nothing to do with ports.
pub fn repeats(insn: &Instruction) -> bool {
    let port = matches!(insn.mnemonic(), M::Insb | M::Insw | M::Insd | M::Outsb | M::Outsw | M::Outsd);
    insn.is_string_instruction() && (insn.has_rep_prefix() || insn.has_repne_prefix()) && !port
}

fn branch(insn: &Instruction, mode: Mode) -> Kind {
    let full = match insn.op0_kind() {
        _ if insn.op_count() == 0 => true,
        OpKind::NearBranch16 => mode.size() == 16,
        OpKind::NearBranch32 => mode.size() == 32,
        OpKind::NearBranch64 => mode.size() == 64,
        _ => {
            insn.op0_kind() == OpKind::Register && insn.op0_register().size() as u32 * 8 == mode.size()
                || insn.op0_kind() == OpKind::Memory && insn.memory_size().size() as u32 * 8 == mode.size()
                || insn.mnemonic() == M::Ret
        }
    };
    let increment = insn.stack_pointer_increment();
    match (insn.flow_control(), insn.mnemonic()) {
        _ if !full => Kind::Last,
        (FlowControl::ConditionalBranch, _) if insn.is_jcc_short_or_near() => Kind::Branch,
        (FlowControl::ConditionalBranch, M::Loop) if insn.code() == code_of_loop(mode) => Kind::Loop,
        (FlowControl::UnconditionalBranch, M::Jmp) => Kind::Jump,
        (FlowControl::IndirectBranch, M::Jmp) if insn.is_jmp_near_indirect() => Kind::JumpIndirect,
        (FlowControl::Call, M::Call) if mode.wide_stack() => Kind::Call,
        (FlowControl::IndirectCall, M::Call) if mode.wide_stack() && insn.is_call_near_indirect() => {
            Kind::CallIndirect
        }
        (FlowControl::Return, M::Ret) if mode.wide_stack() => {
            let pops = increment - if insn.op_count() == 1 { insn.immediate16() as i32 } else { 0 };
            if pops as u32 * 8 == mode.size() { Kind::Return } else { Kind::Last }
        }
        _ => Kind::Last,
    }
}

/// LOOP by the counter that is as wide as code.
fn code_of_loop(mode: Mode) -> Code {
    match mode.size() {
        64 => Code::Loop_rel8_64_RCX,
        32 => Code::Loop_rel8_32_ECX,
        _ => Code::Loop_rel8_16_CX,
    }
}

/// Instructions with system meaning behind which a block may go on: they change nothing that it depends on, or say so.
fn goes_on(insn: &Instruction, mode: Mode) -> bool {
    let control = |register: Register| register.is_cr() || register.is_dr();
    match insn.mnemonic() {
        M::Cli
        | M::Swapgs
        | M::Rdmsr
        | M::Wrmsr
        | M::Rdpmc
        | M::Wrfsbase
        | M::Wrgsbase
        | M::Stac
        | M::Clac
        | M::Popf
        | M::Popfd
        | M::Popfq
        | M::Pause => true,
        // Of a segment register, which changes nothing.
        M::Push => true,
        // Reading a control register. Writing one, and SS, may change the mode.
        M::Mov if control(insn.op1_register()) => true,
        M::Mov | M::Pop if mode.size() == 64 => {
            matches!(insn.op0_register(), Register::DS | Register::ES | Register::FS | Register::GS)
        }
        _ => false,
    }
}

/// Instructions with system meaning end a block: what follows may depend on what they changed.
fn system(insn: &Instruction) -> bool {
    let segment = |n| insn.op_kind(n) == OpKind::Register && insn.op_register(n).is_segment_register();
    let special = |n| {
        insn.op_kind(n) == OpKind::Register
            && (insn.op_register(n).is_cr() || insn.op_register(n).is_dr() || insn.op_register(n).is_tr())
    };
    let first_two = 0..insn.op_count().min(2);
    insn.is_privileged()
        || insn.op_count() > 0 && segment(0)
        || first_two.into_iter().any(special)
        || matches!(
            insn.mnemonic(),
            M::Popf
                | M::Popfd
                | M::Popfq
                | M::Sti
                | M::Cli
                | M::In
                | M::Out
                | M::Insb
                | M::Insw
                | M::Insd
                | M::Outsb
                | M::Outsw
                | M::Outsd
                | M::Ldmxcsr
                | M::Vldmxcsr
                | M::Fxrstor
                | M::Fxrstor64
                | M::Xrstor
                | M::Xrstor64
                | M::Xsetbv
                | M::Wrfsbase
                | M::Wrgsbase
                | M::Swapgs
                | M::Lds
                | M::Les
                | M::Lfs
                | M::Lgs
                | M::Lss
                | M::Clts
                | M::Lmsw
                | M::Wrpkru
                | M::Mwait
                | M::Monitor
                | M::Pause
                | M::Hlt
                | M::Stac
                | M::Clac
        )
}

/// Sets whose instructions the host may run, when it has them.
fn host_has(feature: CpuidFeature) -> bool {
    use CpuidFeature as F;
    match feature {
        F::INTEL8086 | F::INTEL186 | F::INTEL286 | F::INTEL386 | F::INTEL486 | F::X64 | F::CMOV | F::CX8 => {
            true
        }
        F::SSE | F::SSE2 | F::MMX | F::FPU | F::FPU287 | F::FPU387 => true,
        F::SSE3 => is_x86_feature_detected!("sse3"),
        F::SSSE3 => is_x86_feature_detected!("ssse3"),
        F::SSE4_1 => is_x86_feature_detected!("sse4.1"),
        F::SSE4_2 => is_x86_feature_detected!("sse4.2"),
        F::POPCNT => is_x86_feature_detected!("popcnt"),
        F::LZCNT => is_x86_feature_detected!("lzcnt"),
        F::BMI1 => is_x86_feature_detected!("bmi1"),
        F::BMI2 => is_x86_feature_detected!("bmi2"),
        F::ADX => is_x86_feature_detected!("adx"),
        F::MOVBE => is_x86_feature_detected!("movbe"),
        F::AES => is_x86_feature_detected!("aes"),
        F::PCLMULQDQ => is_x86_feature_detected!("pclmulqdq"),
        F::SHA => is_x86_feature_detected!("sha"),
        F::AVX => is_x86_feature_detected!("avx"),
        F::AVX2 => is_x86_feature_detected!("avx2"),
        F::FMA => is_x86_feature_detected!("fma"),
        F::F16C => is_x86_feature_detected!("f16c"),
        _ => false,
    }
}

/// Does it work on vector registers or with MXCSR? Conversions from memory name no vector register.
fn vector(insn: &Instruction) -> bool {
    use CpuidFeature as F;
    if insn.mnemonic() == M::Fisttp {
        return false; // it came with SSE3
    }
    insn.cpuid_features().iter().any(|feature| {
        matches!(
            feature,
            F::SSE
                | F::SSE2
                | F::SSE3
                | F::SSSE3
                | F::SSE4_1
                | F::AES
                | F::PCLMULQDQ
                | F::SHA
                | F::AVX
                | F::AVX2
                | F::FMA
                | F::F16C
        )
    }) || (0..insn.op_count())
        .any(|n| insn.op_kind(n) == OpKind::Register && insn.op_register(n).is_vector_register())
}

fn native(insn: &Instruction, mode: Mode, memories: usize, access: Option<(Want, u32)>) -> bool {
    if !insn.cpuid_features().iter().all(|&feature| host_has(feature)) || effect(insn).is_none() {
        return false;
    }
    let operand = |n| match insn.op_kind(n) {
        OpKind::Register => {
            let register = insn.op_register(n);
            let x87 = register.is_st() || register.is_mm();
            register.is_gpr() || register.is_xmm() || register.is_ymm() || x87 && mode.x87()
        }
        OpKind::Memory => true,
        kind => is_immediate(kind),
    };
    if x87::uses(insn) && !(mode.x87() && x87::native(insn)) {
        return false;
    }
    // Conversions that raise an exception enter MMX state on AMD's processors, by Intel's manual they do not.
    if mode.x87_raises() && x87::compares(insn) || mode.vectors_raise() && vector(insn) && x87::uses(insn) {
        return false;
    }
    if !(0..insn.op_count()).all(operand) || memories > 1 || insn.is_stack_instruction() {
        return false;
    }
    let has_memory = (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory);
    let lea = insn.mnemonic() == M::Lea;
    if has_memory {
        let size = access.map_or(0, |(_, size)| size);
        let rip = matches!(insn.memory_base(), Register::EIP);
        let known = matches!(size, 1 | 2 | 4 | 8 | 16 | 32) || size == 10 && x87::uses(insn);
        if !lea && !known || rip || insn.is_vsib() {
            return false;
        }
    } else if memories != 0 {
        return false;
    }
    if mode.size() != 64 && matches!(insn.mnemonic(), M::Vzeroupper | M::Vzeroall) {
        // Eight registers there, sixteen here.
        return false;
    }
    let available = match insn.encoding() {
        EncodingKind::VEX if vector(insn) => mode.avx(),
        EncodingKind::Legacy if vector(insn) => mode.sse(),
        encoding => encoding == EncodingKind::Legacy || mode.size() == 64,
    };
    available && !unsuited(insn)
}

/// Instructions that the host does not run as the guest's processor would, or that have more to do than meets the eye.
fn unsuited(insn: &Instruction) -> bool {
    match insn.mnemonic() {
        M::Cmpxchg8b
        | M::Cmpxchg16b
        | M::Rcpps
        | M::Rcpss
        | M::Rsqrtps
        | M::Rsqrtss
        | M::Vrcpps
        | M::Vrcpss
        | M::Vrsqrtps
        | M::Vrsqrtss
        | M::Maskmovdqu
        | M::Cvtpi2ps
        | M::Cvtpi2pd
        | M::Vmaskmovdqu
        | M::Vmaskmovps
        | M::Vmaskmovpd
        | M::Vpmaskmovd
        | M::Vpmaskmovq
        | M::Stmxcsr
        | M::Vstmxcsr
        | M::Xlatb
        | M::Cpuid
        | M::Lahf
        | M::Cld
        | M::Std
        | M::Arpl
        | M::Salc
        | M::Wait
        | M::Ud0
        | M::Ud1
        | M::Ud2
        | M::Sldt
        | M::Str
        | M::Smsw
        | M::Sgdt
        | M::Sidt
        | M::Lar
        | M::Lsl
        | M::Verr
        | M::Verw => true,
        // Two bytes are undefined.
        M::Bswap => insn.op0_register().size() == 2,
        M::Lea => insn.op1_kind() != OpKind::Memory,
        M::Movsxd => insn.op0_register().size() != 8,
        _ => false,
    }
}

/// Leaves an instruction to the interpreter after all.
pub fn demote(block: &mut [Guest], index: usize, mode: Mode, merge: bool) {
    let guest = &mut block[index];
    guest.kind = if guest.ends() { Kind::Last } else { Kind::CallOut };
    guest.effect = Effect::None;
    guest.access = None;
    guest.all_reads = 0;
    guest.vector = false;
    guest.x87 = false;
    guest.raises = false;
    plan(block, mode, merge);
}

/// Legacy SSE instructions want their 16-byte operands aligned, with a few exceptions; of VEX ones only the aligned
/// and non-temporal moves. SDM vol. 1, "Alignment of Memory Operands".
pub fn needs_alignment(insn: &Instruction) -> bool {
    let aligned_move = matches!(
        insn.mnemonic(),
        M::Vmovaps | M::Vmovapd | M::Vmovdqa | M::Vmovntps | M::Vmovntpd | M::Vmovntdq | M::Vmovntdqa
    );
    let size = insn.memory_size().size();
    match insn.encoding() {
        EncodingKind::Legacy => {
            size == 16
                && !matches!(
                    insn.mnemonic(),
                    M::Movups
                        | M::Movupd
                        | M::Movdqu
                        | M::Lddqu
                        | M::Pcmpistri
                        | M::Pcmpistrm
                        | M::Pcmpestri
                        | M::Pcmpestrm
                )
        }
        _ => aligned_move && size >= 16,
    }
}

/// Works backwards: which flags are looked at, by an instruction or because control may leave the block.
pub fn liveness(block: &mut [Guest]) {
    let (mut live, mut read) = (OSZAPC, 0);
    for guest in block.iter_mut().rev() {
        guest.live = live;
        guest.read_later = read;
        if guest.effect == Effect::Varies && guest.live != 0 && guest.access.is_some() {
            guest.kind = Kind::CallOut;
            guest.effect = Effect::None;
            guest.access = None;
        }
        let called = matches!(guest.kind, Kind::CallOut | Kind::Last);
        let reads = match guest.effect {
            _ if called => 0,
            Effect::Varies if guest.live != 0 => OSZAPC,
            Effect::Partial(mask) if !guest.flags_are_seen() => guest.all_reads & mask,
            _ => guest.all_reads,
        };
        guest.reads = reads;
        // INC and DEC look for the carry that they keep where it is cheapest to find.
        let carry = if matches!(guest.effect, Effect::Step(_)) && guest.live != 0 { CF } else { 0 };
        live = live & !guest.effect.writes() | reads;
        read = if called { 0 } else { read & !guest.effect.writes() | reads | carry };
        if guest.observes() {
            live = OSZAPC;
        }
    }
}
