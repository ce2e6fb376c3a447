//! What QEMU writes with `-d exec,cpu,nochain,int,trace:memory_region_ops_read`, step by step.
//!
//! A step begins with a line `Trace`, followed by the registers before its instruction (or block). Behind that come
//! the reads of ports and chips that it made, the exceptions it met, and the interrupts that were taken after it.
//! QEMU announces a step and then does not run it when something comes up first: such a step is announced again.

use std::collections::VecDeque;
use std::io::{self, Read};

use emu_core::cpu::{CS, Rights};

use crate::lines::{Lines, hex};
use crate::lockstep::step::{Answer, LogError, Step, Steps};
use crate::state::{SegmentState, State, Vectors};

const NAME: &str = "QEMU";

fn cannot_be_read(error: io::Error) -> LogError {
    LogError::Io(NAME, error)
}

/// Reads the log.
#[derive(Debug)]
pub struct Log<R> {
    lines: Lines<R>,
    /// The lines of the last dump, by which those that did not change are known again.
    last: Vec<Vec<u8>>,
    /// The registers in it.
    registers: Step,
    steps: VecDeque<Step>,
    ended: bool,
    /// An interrupt is about to be delivered.
    servicing: bool,
}

/// Steps that are read ahead: the last may still be taken back, and the one before may still get an interrupt.
const AHEAD: usize = 3;

impl<R: Read> Log<R> {
    /// A log from its beginning.
    pub fn new(from: R) -> Self {
        Self {
            lines: Lines::new(from),
            last: Vec::new(),
            registers: Step { narrow_vectors: true, ..Step::default() },
            steps: VecDeque::new(),
            ended: false,
            servicing: false,
        }
    }

    fn fill(&mut self) -> Result<(), LogError> {
        while self.steps.len() < AHEAD && !self.ended {
            match self.lines.find().map_err(cannot_be_read)? {
                Some(_) => self.take_line()?,
                None => self.ended = true,
            }
        }
        Ok(())
    }

    fn take_line(&mut self) -> Result<(), LogError> {
        let line = self.lines.found();
        if line.starts_with(b"Trace ") {
            self.registers.most = most_instructions(line);
            self.lines.take();
            // Of a delivery in real mode nothing else is told.
            self.servicing = false;
            return self.take_step();
        }
        if let Some(rest) = line.strip_prefix(b"memory_region_ops_read ") {
            let read = read_of(rest).ok_or_else(|| unknown(line))?;
            if let Some(step) = self.steps.back_mut() {
                step.reads.push_back(read);
            }
        } else if let Some(rest) = line.strip_prefix(b"Servicing hardware INT=0x") {
            let (vector, _) = hex(rest);
            self.servicing = true;
            if let Some(step) = self.steps.back_mut() {
                step.interrupts.push(vector as u8);
            }
        } else if line.starts_with(b"Stopped execution of TB")
            || line.strip_prefix(b"cpu_io_recompile: rewound execution of TB to ").is_some_and(|to| {
                // A block ends before an access to a chip, and goes on with another one.
                self.steps.back().is_some_and(|step| hex(to).0 == linear(&step.state))
            })
        {
            // Announced and not run.
            if let Some(void) = self.steps.pop_back()
                && let Some(step) = self.steps.back_mut()
            {
                step.interrupts.extend(void.interrupts);
                step.interrupted_at = step.interrupted_at.or(void.interrupted_at);
            }
        } else if line.starts_with(b"cpu_io_recompile: ") {
            if let Some(step) = self.steps.back_mut() {
                step.rewound = true;
            }
        } else if line.starts_with(b"SMM: enter") {
            if let Some(step) = self.steps.back_mut() {
                step.management = true;
            }
        } else if line.first() == Some(&b' ')
            && let Some(at) = find(line, b": v=")
            && line[..at].iter().all(|byte| byte.is_ascii_digit() || *byte == b' ')
        {
            let (vector, rest) = hex(&line[at + 4..]);
            let error = rest.strip_prefix(b" e=").map_or(0, |rest| hex(rest).0);
            let servicing = std::mem::take(&mut self.servicing);
            if let Some(step) = self.steps.back_mut() {
                // The delivery of an interrupt is told like an exception.
                if servicing {
                    let offset = find(line, b" IP=").and_then(|ip| line.get(ip + 9..)).map(|ip| hex(ip).0);
                    step.interrupted_at = step.interrupted_at.or(offset);
                    self.lines.take();
                } else {
                    step.exceptions.push((vector as u8, error as u16));
                    self.lines.take();
                    step.faulting = registers_of(&mut self.lines).map_err(cannot_be_read)?;
                }
            } else {
                self.lines.take();
            }
            return Ok(());
        }
        // Everything else is the registers of an exception, or of no interest.
        self.lines.take();
        Ok(())
    }

    /// Reads the registers behind a line `Trace`. Most lines are as they were a step before.
    fn take_step(&mut self) -> Result<(), LogError> {
        let mut complete = false;
        for n in 0.. {
            if let Some(last) = self.last.get(n)
                && self.lines.take_equal(last).map_err(cannot_be_read)?
            {
                complete |= last.starts_with(b"EFE");
                continue;
            }
            let Some(whole) = self.lines.find().map_err(cannot_be_read)? else {
                self.ended = true;
                break;
            };
            let line = self.lines.found();
            if !put_line(line, &mut self.registers) {
                if !complete {
                    return Err(unknown(line));
                }
                break;
            }
            complete |= whole && line.starts_with(b"EFE");
            // In another mode other lines come.
            let last = match self.last.get_mut(n).filter(|last| last.first_chunk::<3>() == line.first_chunk())
            {
                Some(last) => last,
                None => {
                    self.last.truncate(n);
                    self.last.push(Vec::new());
                    &mut self.last[n]
                }
            };
            last.clear();
            last.extend_from_slice(line);
            self.lines.take();
        }
        if !complete {
            return Err(LogError::CutShort(NAME));
        }
        self.steps.push_back(self.registers.clone());
        Ok(())
    }
}

impl<R: Read> Steps for Log<R> {
    const NAME: &'static str = NAME;
    const SHOWS_PORTS: bool = true;
    const REPEATS_AT_ZERO: bool = true;
    const TRACKS_XINUSE: bool = false;

    fn take(&mut self) -> Result<Option<Step>, LogError> {
        self.fill()?;
        Ok(self.steps.pop_front())
    }

    fn peek(&mut self) -> Result<Option<&Step>, LogError> {
        self.fill()?;
        Ok(self.steps.front())
    }
}

/// How many instructions a block may have at most, by its line `Trace 0: 0x7f8d28000100 [cs_base/pc/flags/cflags]`; 0
/// without such a limit.
fn most_instructions(line: &[u8]) -> usize {
    // HF_RF, HF_TF, HF_INHIBIT_IRQ: QEMU stops behind the next instruction.
    const ONE: u64 = 0x1_0108;
    const CF_COUNT_MASK: u64 = 0x1ff;
    let mut fields = line.rsplit(|byte| *byte == b'/');
    let mut field = || fields.next().map_or(0, |field| hex(field).0);
    let (cflags, flags) = (field(), field());
    if flags & ONE != 0 { 1 } else { (cflags & CF_COUNT_MASK) as usize }
}

/// The registers of a dump that may follow.
fn registers_of<R: Read>(lines: &mut Lines<R>) -> io::Result<Option<Box<State>>> {
    let (mut registers, mut any) = (Step::default(), false);
    while lines.find()?.is_some() && put_line(lines.found(), &mut registers) {
        any = true;
        lines.take();
    }
    Ok(any.then(|| Box::new(registers.state)))
}

/// Linear address of the next instruction, as QEMU tells it.
fn linear(state: &State) -> u64 {
    let long = state.efer & 1 << 10 != 0 && state.seg[CS].rights & 0x2000 != 0;
    let sum = state.seg[CS].base.wrapping_add(state.rip);
    if long { sum } else { sum & 0xffff_ffff }
}

fn unknown(line: &[u8]) -> LogError {
    LogError::Line(NAME, String::from_utf8_lossy(line).into_owned())
}

/// Takes what a line of a dump says; false when it is none.
fn put_line(line: &[u8], step: &mut Step) -> bool {
    let s = &mut step.state;
    match line.first_chunk::<3>() {
        Some(b"EAX") => {
            step.narrow = true;
            s.regs[8..].fill(0);
            four(line, 4, 13, &mut s.regs[..4]);
            swap_bdc(&mut s.regs[..4]);
        }
        Some(b"ESI") => put_index_registers(line, 4, 13, &mut s.regs),
        Some(b"EIP") => put_ip(line, 8, s),
        Some(b"RAX") => {
            step.narrow = false;
            four(line, 4, 21, &mut s.regs[..4]);
            swap_bdc(&mut s.regs[..4]);
        }
        Some(b"RSI") => put_index_registers(line, 4, 21, &mut s.regs),
        Some(b"R8 ") => four(line, 4, 21, &mut s.regs[8..12]),
        Some(b"R12") => four(line, 4, 21, &mut s.regs[12..16]),
        Some(b"RIP") => put_ip(line, 16, s),
        Some(b"ES ") => s.seg[0] = segment(line),
        Some(b"CS ") => s.seg[CS] = segment(line),
        Some(b"SS ") => s.seg[2] = segment(line),
        Some(b"DS ") => s.seg[3] = segment(line),
        Some(b"FS ") => s.seg[4] = segment(line),
        Some(b"GS ") => s.seg[5] = segment(line),
        Some(b"LDT") => s.seg[6] = segment(line),
        Some(b"TR ") => s.seg[7] = segment(line),
        Some(b"GDT") => s.gdtr = table(line),
        Some(b"IDT") => s.idtr = table(line),
        Some(b"CR0") => assignments(line, [&mut s.cr0, &mut s.cr2, &mut s.cr3, &mut s.cr4]),
        Some(b"DR0") => assignments(line, s.dr[..4].iter_mut()),
        Some(b"DR6") => assignments(line, s.dr[6..].iter_mut()),
        Some(b"CCS" | b"CCD") => {}
        Some(b"EFE") => named(line, b"EFER=", &mut s.efer),
        Some(b"FCW") => {
            let v = step.vectors.get_or_insert_default();
            let (mut number, mut mxcsr) = (0, 0);
            for (name, to) in [(&b"FCW="[..], &mut v.control), (b"FSW=", &mut v.status)] {
                named(line, name, &mut number);
                *to = number as u16;
            }
            named(line, b"FTW=", &mut number);
            v.valid = number as u8;
            named(line, b"MXCSR=", &mut mxcsr);
            v.mxcsr = mxcsr as u32;
        }
        Some(b"FPR") => {
            if let Some(v) = &mut step.vectors {
                for part in line.split(|byte| *byte == b'F').filter(|part| part.len() > 4) {
                    let n = usize::from(part[2].wrapping_sub(b'0')) & 7;
                    let (significand, rest) = hex(&part[4..]);
                    v.x87[n] = (significand, hex(rest.strip_prefix(b" ").unwrap_or(rest)).0 as u16);
                }
            }
        }
        Some(b"XMM" | b"YMM") => {
            step.narrow_vectors = line[0] == b'X';
            if let Some(v) = &mut step.vectors {
                vectors(line, v);
            }
        }
        _ => return false,
    }
    true
}

/// QEMU prints RAX, RBX, RCX, RDX; the encoding order is RAX, RCX, RDX, RBX.
fn swap_bdc(regs: &mut [u64]) {
    let (b, c, d) = (regs[1], regs[2], regs[3]);
    (regs[1], regs[2], regs[3]) = (c, d, b);
}

/// RSI, RDI, RBP, RSP.
fn put_index_registers(line: &[u8], first: usize, step: usize, regs: &mut [u64; 16]) {
    let mut four_of = [0; 4];
    four(line, first, step, &mut four_of);
    (regs[6], regs[7], regs[5], regs[4]) = (four_of[0], four_of[1], four_of[2], four_of[3]);
}

fn put_ip(line: &[u8], digits: usize, state: &mut State) {
    state.rip = at(line, 4);
    state.flags = at(line, 4 + digits + 5);
    // `EFL=00000002 [-------] CPL=0`
    let cpl = line.iter().rposition(|byte| *byte == b'[').map_or(0, |flags| at(line, flags + 14));
    state.cpl = cpl as u8;
}

fn find(line: &[u8], what: &[u8]) -> Option<usize> {
    line.windows(what.len()).position(|part| part == what)
}

/// The values of `A=1 B=2 ...`, one after the other.
fn assignments<'a>(mut line: &[u8], to: impl IntoIterator<Item = &'a mut u64>) {
    for value in to {
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else { return };
        (*value, line) = hex(&line[equals + 1..]);
    }
}

fn at(line: &[u8], from: usize) -> u64 {
    line.get(from..).map_or(0, |rest| hex(rest).0)
}

fn four(line: &[u8], first: usize, step: usize, to: &mut [u64]) {
    for (n, value) in to.iter_mut().enumerate() {
        *value = at(line, first + n * step);
    }
}

fn named(line: &[u8], name: &[u8], to: &mut u64) {
    if let Some(place) = find(line, name) {
        *to = at(line, place + name.len());
    }
}

/// `CS =0008 00000000 ffffffff 00cf9b00 DPL=0 ...`
fn segment(line: &[u8]) -> SegmentState {
    let (selector, rest) = hex(&line[4.min(line.len())..]);
    let (base, rest) = hex(rest.strip_prefix(b" ").unwrap_or(rest));
    let (limit, rest) = hex(rest.strip_prefix(b" ").unwrap_or(rest));
    let (high, _) = hex(rest.strip_prefix(b" ").unwrap_or(rest));
    SegmentState {
        selector: selector as u16,
        rights: Rights::of_descriptor(high as u32).0,
        limit: limit as u32,
        base,
    }
}

/// `GDT=     000f6180 00000037`
fn table(line: &[u8]) -> (u64, u16) {
    let rest = line[4.min(line.len())..].trim_ascii_start();
    let (base, rest) = hex(rest);
    (base, hex(rest.trim_ascii_start()).0 as u16)
}

/// `XMM00=0123456789abcdef 0123456789abcdef XMM01=...`, the high half first; `YMM00=` has four parts.
fn vectors(line: &[u8], v: &mut Vectors) {
    for part in line.split(|byte| *byte == b'M').filter(|part| part.len() > 18) {
        let (n, rest) = (usize::from(part[0] - b'0') * 10 + usize::from(part[1] - b'0'), &part[3..]);
        let words: Vec<u64> = rest
            .split(|byte| *byte == b' ' || *byte == b'_')
            .filter(|word| word.len() == 16)
            .map(|word| hex(word).0)
            .collect();
        if let Some(register) = v.ymm.get_mut(n) {
            for (to, from) in register.iter_mut().zip(words.iter().rev()) {
                *to = *from;
            }
        }
    }
}

/// `cpu 0 mr 0x55b74f5575e0 addr 0x1f7 value 0x50 size 1 name 'ide'`
fn read_of(line: &[u8]) -> Option<Answer> {
    let field = |name: &[u8]| find(line, name).map(|place| &line[place + name.len()..]);
    let size = field(b" size ")?.first()?.checked_sub(b'0')?;
    Some(Answer { address: hex(field(b" addr 0x")?).0, value: hex(field(b" value 0x")?).0, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: &str = "\
Trace 0: 0x7f8d28000100 [00000000ffff0000/00000000fffffff0/00000040/ff020201] 
EAX=00000001 EBX=00000002 ECX=00000003 EDX=00060fb1
ESI=00000004 EDI=00000005 EBP=00000006 ESP=00000007
EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0
ES =0000 00000000 0000ffff 00009300
CS =f000 ffff0000 0000ffff 00009b00
SS =0000 00000000 0000ffff 00009300
DS =0000 00000000 0000ffff 00009300
FS =0000 00000000 0000ffff 00009300
GS =0000 00000000 0000ffff 00009300
LDT=0000 00000000 0000ffff 00008200
TR =0000 00000000 0000ffff 00008b00
GDT=     000f6180 00000037
IDT=     00000000 0000ffff
CR0=60000010 CR2=00000000 CR3=00000000 CR4=00000000
DR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 DR3=0000000000000000 
DR6=00000000ffff0ff0 DR7=0000000000000400
CCS=00000000 CCD=00000000 CCO=EFLAGS
EFER=0000000000000000
";
    const WIDE: &str = "\
Trace 0: 0x7f8d28000100 [0/0/0/0] 
RAX=0000000000000001 RBX=0000000000000002 RCX=0000000000000003 RDX=0000000000000004
RSI=0000000000000005 RDI=0000000000000006 RBP=0000000000000007 RSP=0000000000000008
R8 =0000000000000009 R9 =000000000000000a R10=000000000000000b R11=000000000000000c
R12=000000000000000d R13=000000000000000e R14=000000000000000f R15=0000000000000010
RIP=ffffffff81000000 RFL=00000046 [---Z-P-] CPL=3 II=0 A20=1 SMM=0 HLT=0
FS =0000 0000123456789000 ffffffff 00000000
GDT=     fffffe0000001000 0000007f
EFER=0000000000000d01
FCW=037f FSW=0001 [ST=0] FTW=80 MXCSR=00001f80
FPR0=0000000000000011 4000 FPR1=0000000000000000 0000
XMM00=00000000000000aa 00000000000000bb XMM01=0000000000000000 00000000000000cc
";

    #[test]
    fn a_step_has_its_registers_reads_and_interrupts() {
        let text = format!(
            "{STEP}memory_region_ops_read cpu 0 mr 0x55 addr 0x1f7 value 0x50 size 1 name 'ide'\n\
             Servicing hardware INT=0x08\n     0: v=08 e=0000 i=0 cpl=0 IP=f000:0000fff0\nEAX=00000001\n{STEP}"
        );
        let mut log = Log::new(text.as_bytes());
        let step = log.take().unwrap().unwrap();
        assert_eq!(step.state.regs[..8], [1, 3, 0x60fb1, 2, 7, 6, 4, 5]);
        assert_eq!((step.state.rip, step.state.seg[CS].base), (0xfff0, 0xffff_0000));
        assert_eq!((step.state.gdtr, step.state.dr[7]), ((0xf6180, 0x37), 0x400));
        assert!(step.narrow);
        assert_eq!(step.reads, [Answer { address: 0x1f7, value: 0x50, size: 1 }]);
        assert_eq!((step.interrupts, step.exceptions), (vec![8], vec![]));
        assert!(log.peek().unwrap().is_some());
        assert!(log.take().unwrap().is_some());
        assert!(log.take().unwrap().is_none());
    }

    #[test]
    fn long_mode_and_vectors_are_understood() {
        let step = Log::new(WIDE.as_bytes()).take().unwrap().unwrap();
        assert_eq!(step.state.regs, [1, 3, 4, 2, 8, 7, 5, 6, 9, 10, 11, 12, 13, 14, 15, 16]);
        assert_eq!((step.state.rip, step.state.flags, step.state.cpl), (0xffff_ffff_8100_0000, 0x46, 3));
        assert_eq!(step.state.seg[4].base, 0x1234_5678_9000);
        let v = step.vectors.unwrap();
        assert_eq!((v.status, v.valid, v.x87[0]), (1, 0x80, (0x11, 0x4000)));
        assert_eq!((v.ymm[0][..2].to_vec(), v.ymm[1][0]), (vec![0xbb, 0xaa], 0xcc));
        assert!(!step.narrow && step.narrow_vectors);
    }

    #[test]
    fn a_step_that_was_not_run_is_forgotten_but_not_the_interrupt_behind_it() {
        let void = "Stopped execution of TB chain before 0x7f [0] \nServicing hardware INT=0x20\n";
        let text = format!("{STEP}{STEP}{void}{WIDE}");
        let mut log = Log::new(text.as_bytes());
        assert_eq!(log.take().unwrap().unwrap().interrupts, [0x20]);
        assert!(!log.take().unwrap().unwrap().narrow);
        assert!(log.take().unwrap().is_none());
    }

    #[test]
    fn a_block_tells_where_it_ends() {
        let text = format!(
            "{STEP}cpu_io_recompile: rewound execution of TB to 00000000fffffff0\n{STEP}\
             cpu_io_recompile: rewound execution of TB to 00000000fffffff8\n{WIDE}Servicing hardware INT=0x20\n     \
             1: v=20 e=0000 i=0 cpl=3 IP=0033:00000000004010f2 pc=00000000004010f2 SP=002b:00007ffe\n{WIDE}     \
             2: v=0e e=0004 i=0 cpl=3 IP=0033:0000000000401000 pc=0 SP=0\nRIP=0000000000401000 RFL=00000246 [] CPL=3\n\
             {STEP}"
        );
        let mut log = Log::new(text.as_bytes());
        let steps: Vec<_> = std::iter::from_fn(|| log.take().unwrap()).collect();
        assert_eq!(steps.len(), 4, "the first was not run");
        assert_eq!((steps[0].rewound, steps[0].most), (true, 1));
        assert_eq!((steps[1].interrupted_at, steps[1].exceptions.len()), (Some(0x40_10f2), 0));
        assert_eq!(
            (&steps[2].exceptions[..], steps[2].faulting.as_ref().unwrap().rip),
            (&[(14, 4)][..], 0x40_1000)
        );
        assert_eq!(
            most_instructions(b"Trace 0: 0x7f [0/1/00000048/ff020003] "),
            1,
            "interrupts are held off"
        );
        assert_eq!(most_instructions(b"Trace 0: 0x7f [0/1/00000040/ff020003] "), 3);
    }

    #[test]
    fn a_log_that_is_cut_short_says_so() {
        let cut = &STEP[..STEP.len() / 2];
        assert!(matches!(Log::new(cut.as_bytes()).take(), Err(LogError::CutShort(NAME))));
    }
}
