//! What the debugger of Bochs prints with `trace on`, `trace-reg on`, `trace-mem on` and `show dbg_all`, step by step.
//!
//! A step begins with the general registers, RIP and EFLAGS before its instruction and the instruction itself. Behind
//! that come the accesses to memory that it made, and the exceptions and interrupts that were taken after it.
//! Whenever Bochs stops, it is also asked for segment, control and debug registers (`sreg`, `creg`, `dreg`); the
//! steps in between are [`partial`](Step::partial). Ports are not shown: what was read from them is taken from the
//! results.

use std::collections::VecDeque;
use std::io::{self, Read};

use emu_core::cpu::{CS, Rights, eflags};

use crate::lines::{Lines, hex};
use crate::lockstep::step::{Answer, LogError, Step, Steps};
use crate::state::{REGISTERS, SEGMENTS, SegmentState, State};

const NAME: &str = "Bochs";
/// The last line of a stop: behind it all registers are known.
const LAST_OF_STOP: &str = "dr7";
/// Bytes of the longest access that is kept.
const WIDEST: u64 = 8;

/// Reads what the debugger prints.
#[derive(Debug)]
pub struct Trace<R> {
    lines: Lines<R>,
    /// All that was printed so far.
    registers: State,
    /// All of it is of this moment.
    whole: bool,
    /// The segment register that was named last.
    segment: usize,
    steps: VecDeque<Step>,
    /// An exception that was raised and not yet delivered.
    raised: Option<(u8, u16)>,
    /// The instruction is an INT that was not delivered yet.
    software: bool,
    ended: bool,
}

impl<R: Read> Trace<R> {
    /// A trace from its beginning.
    pub fn new(from: R) -> Self {
        Self {
            lines: Lines::new(from),
            registers: State::default(),
            whole: false,
            segment: 0,
            steps: VecDeque::new(),
            raised: None,
            software: false,
            ended: false,
        }
    }

    /// Reads until so many steps are there.
    fn fill(&mut self, wanted: usize) -> Result<(), LogError> {
        while self.steps.len() < wanted && !self.ended {
            match self.lines.find().map_err(|error: io::Error| LogError::Io(NAME, error))? {
                // A part of a line at the end says nothing for certain.
                Some(whole) => {
                    if whole {
                        self.take_line()?;
                    }
                    self.lines.take();
                }
                None => self.ended = true,
            }
        }
        Ok(())
    }

    fn take_line(&mut self) -> Result<(), LogError> {
        let line = self.lines.found();
        let text = std::str::from_utf8(line).unwrap_or("");
        let unknown = || LogError::Line(NAME, String::from_utf8_lossy(line).into_owned());
        if let Some(rest) = text.strip_prefix("(0).[") {
            let (_, place) = rest.split_once("] [0x").unwrap_or_default();
            if let Some((_, place)) = place.split_once("] ") {
                self.registers.seg[CS].selector = hex(place.as_bytes()).0 as u16;
                let disassembly = place.split_once("): ").ok_or_else(unknown)?.1;
                self.software = disassembly.starts_with("int");
            }
            let partial = !std::mem::take(&mut self.whole);
            self.registers.cpl = privilege_level(&self.registers);
            let state = self.registers.clone();
            self.steps.push_back(Step { state, partial, short_bases: true, ..Step::default() });
        } else if let Some(rest) = text.strip_prefix("[CPU0 ") {
            let access = access(rest).ok_or_else(unknown)?;
            if let (Some(access), Some(step)) = (access, self.steps.back_mut()) {
                if !rest.starts_with("RD") {
                    step.written = Some((access.value, access.size));
                } else if is_chip(access.address) {
                    step.reads.push_back(access);
                }
            }
        } else if let Some(rest) = text.strip_prefix("CPU 0: ") {
            let vector = |rest: &str| hex(rest.as_bytes()).0 as u8;
            let Some(step) = self.steps.back_mut() else { return Ok(()) };
            if let Some(rest) = rest.strip_prefix("Exception 0x") {
                let error = rest.rsplit_once("error_code=0x").ok_or_else(unknown)?.1;
                self.raised = Some((vector(rest), hex(error.as_bytes()).0 as u16));
            } else if let Some(rest) = rest.strip_prefix("Interrupt 0x") {
                let vector = vector(rest);
                match self.raised.take().filter(|raised| raised.0 == vector) {
                    Some(raised) => step.exceptions.push(raised),
                    None if std::mem::take(&mut self.software) => step.exceptions.push((vector, 0)),
                    None => step.interrupts.push(vector),
                }
            }
        } else {
            let line = text.to_owned();
            self.take_register(&line);
        }
        Ok(())
    }

    /// Takes what a line says about a register; most other lines are of no interest.
    fn take_register(&mut self, line: &str) {
        let s = &mut self.registers;
        let value = |text: &str| hex(text.as_bytes()).0;
        if let Some(flags) = line.strip_prefix("eflags 0x") {
            s.flags = value(flags);
            return;
        }
        if let Some((_, rest)) = line.split_once("segment, base=0x") {
            let segment = &mut s.seg[self.segment];
            segment.base = value(rest);
            if let Some((_, limit)) = rest.split_once("limit=0x") {
                segment.limit = value(limit) as u32;
            }
            return;
        }
        if let Some((name, rest)) = line.split_once("=0x") {
            let name = name.to_lowercase();
            let to = match name.as_str() {
                "gdtr:base" | "idtr:base" => {
                    let limit = rest.split_once("limit=0x").map_or(0, |(_, limit)| value(limit) as u16);
                    *if name.starts_with('g') { &mut s.gdtr } else { &mut s.idtr } = (value(rest), limit);
                    return;
                }
                "cr0" => &mut s.cr0,
                "cr2=page fault laddr" => &mut s.cr2,
                "cr3" => &mut s.cr3,
                "cr4" => &mut s.cr4,
                "efer" => &mut s.efer,
                _ => {
                    if let Some((name, rest)) = line.split_once(":0x") {
                        self.take_segment(name, rest);
                    } else if let Some(n) = name.strip_prefix("dr").and_then(|n| n.parse::<usize>().ok())
                        && let Some(to) = s.dr.get_mut(n)
                    {
                        *to = value(rest);
                        self.whole |= name == LAST_OF_STOP;
                    }
                    return;
                }
            };
            *to = value(rest);
        } else if let Some((name, rest)) = line.split_once(": ")
            && let Some((high, low)) = rest.split_once('_')
        {
            let value = value(high) << 32 | value(low);
            match REGISTERS.iter().position(|register| *register == name.trim()) {
                Some(n) => s.regs[n] = value,
                None if name == "rip" => s.rip = value,
                None => {}
            }
        }
    }

    /// `es:0x0000, dh=0x00009300, dl=0x0000ffff, valid=7` behind the colon and 0x.
    fn take_segment(&mut self, name: &str, rest: &str) {
        let Some(n) = SEGMENTS.iter().position(|segment| *segment == name) else { return };
        let value = |name: &str| rest.split_once(name).map_or(0, |(_, rest)| hex(rest.as_bytes()).0 as u32);
        let (high, low) = (value("dh=0x"), value("dl=0x"));
        let rights = Rights::of_descriptor(high);
        let limit = low & 0xffff | high & 0xf_0000;
        self.segment = n;
        self.registers.seg[n] = SegmentState {
            selector: hex(rest.as_bytes()).0 as u16,
            rights: rights.0,
            limit: if rights.granular() { limit << 12 | 0xfff } else { limit },
            base: u64::from(low >> 16 | (high & 0xff) << 16 | high & 0xff00_0000),
        };
    }
}

impl<R: Read> Steps for Trace<R> {
    const NAME: &'static str = NAME;
    const SHOWS_PORTS: bool = false;
    const REPEATS_AT_ZERO: bool = false;
    const TRACKS_XINUSE: bool = true;

    fn take(&mut self) -> Result<Option<Step>, LogError> {
        // What follows from a step is told before the next one.
        self.fill(2)?;
        Ok(self.steps.pop_front())
    }

    fn peek(&mut self) -> Result<Option<&Step>, LogError> {
        self.fill(1)?;
        Ok(self.steps.front())
    }
}

/// The privilege level is the RPL in CS, which has a paragraph in it in real and virtual-8086 mode.
fn privilege_level(state: &State) -> u8 {
    match (state.cr0 & 1 != 0, state.flags & eflags::VM != 0) {
        (false, _) => 0,
        (true, true) => 3,
        (true, false) => state.seg[CS].selector as u8 & 3,
    }
}

/// May a chip answer at this physical address?
fn is_chip(address: u64) -> bool {
    (0xa_0000..0x10_0000).contains(&address) || (0xc000_0000..0x1_0000_0000).contains(&address)
}

/// `RD]: LIN 0x0000000000000042 PHY 0x000000000042 (len=2, WB): 0xC000`; one of eight bytes has its high half first.
/// `Some(None)` for one of another size, and for one of a page walk: `RD]: PHY 0x000000010000 (len=8, UC): 0x00000000 0x00011007 ;
/// PML4E`.
fn access(text: &str) -> Option<Option<Answer>> {
    let (_, rest) = text.split_once("PHY 0x")?;
    let (_, size) = rest.split_once("(len=")?;
    let size: u64 = size.split_once(',')?.0.parse().ok()?;
    // Six bytes of a pseudo-descriptor, and vectors, are listed byte by byte.
    if size > WIDEST || !size.is_power_of_two() || rest.contains(';') {
        return Some(None);
    }
    let (_, values) = rest.split_once("): ")?;
    let mut value = 0;
    for part in values.split_whitespace() {
        let digits = part.strip_prefix("0x")?.to_lowercase();
        value = value << 32 | hex(digits.as_bytes()).0;
    }
    Some(Some(Answer { address: hex(rest.as_bytes()).0, value, size: size as u8 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: &str = "\
Next at t=0
(0) [0x0000fffffff0] f000:fff0 (unk. ctxt): jmpf 0xf000:e05b          ; ea5be000f0
cs:0xf000, dh=0xff0093ff, dl=0x0000ffff, valid=7
\tData segment, base=0xffff0000, limit=0x0000ffff, Read/Write, Accessed
gs:0x0000, dh=0x00001000, dl=0x00000000, valid=0
\tData segment, base=0xffffffff80001000, limit=0xffffffff, Read-Only
tr:0x0030, dh=0x80008b13, dl=0xa1500067, valid=1
gdtr:base=0xffffffff8013a180, limit=0x47
CR0=0x60000010: pg CD NW ac wp ne ET ts em mp pe
CR2=page fault laddr=0x00000000deadbee0
CR3=0x000000101000
EFER=0x00000d01: ffxsr NXE LMA LME SCE
DR6=0xffff0ff0: bt bs bd b3 b2 b1 b0
DR7=0x00000400: DR3=Code-Byte DR2=Code-Byte
";

    fn step(rax: &str, rest: &str) -> String {
        format!(
            "CPU0:\nrax: {rax}\nr8 : 00000000_00000001\nrip: 00000000_0000fff0\n\
             eflags 0x00000046: id vip vif ac vm rf nt IOPL=0 of df if tf sf ZF af PF cf\n{rest}"
        )
    }

    #[test]
    fn a_step_has_its_registers_and_what_came_of_it() {
        let jump = "(0).[0] [0x0000fffffff0] f000:fff0 (unk. ctxt): jmpf 0xf000:e05b          ; ea5be000f0\n";
        let insw = "(0).[1] [0x0000000f0154] f001:0154 (unk. ctxt): rep insw word ptr es:[di], dx ; f36d
[CPU0 RW]: LIN 0x000000000009fe02 PHY 0x00000009fe02 (len=2, WB): 0x0000
[CPU0 WR]: PHY 0x00000009fe02 (len=2, WB): 0x0BA8
[CPU0 RD]: PHY 0x000000010000 (len=8, UC): 0x00000000 0x00011007\t; PML4E
[CPU0 WR]: PHY 0x000000013008 (len=8, UC): 0x00000000 0x00011027\t; PTE
[CPU0 WR]: LIN 0x0000000001021000 PHY 0x000001021000 (len=6, UC) 00 00 00 00 00 03
";
        let fault = "(0).[2] [0x000000107000] 0008:ffffffff80107000 (unk. ctxt): mov eax, [rdi] ; 8b07
[CPU0 RD]: LIN 0xffff8000fee000b0 PHY 0x0000fee000b0 (len=8, UC): 0x00000001 0x0000002A
CPU 0: Exception 0x0e - (#PF) page fault occurred (error_code=0x0002)
CPU 0: Interrupt 0x0e occurred (error_code=0x0002)
CPU 0: Interrupt 0x50 occurred (error_code=0x0000)
";
        let int = "(0).[3] [0x0000000c065d] c000:065d (unk. ctxt): int 0x10                  ; cd10
CPU 0: Interrupt 0x10 occurred (error_code=0x0000)
CPU 0: Interrupt 0x08 occurred (error_code=0x0000)
";
        let rax = "12345678_9abcdef0";
        let log =
            [STOP, &step(rax, jump), &step(rax, insw), &step(rax, fault), &step(rax, int), "(0).[4"].concat();
        let mut trace = Trace::new(log.as_bytes());
        let mut take = || trace.take().unwrap().unwrap();
        let first = take();
        let s = &first.state;
        assert_eq!((s.regs[0], s.regs[8], s.rip, s.flags), (0x1234_5678_9abc_def0, 1, 0xfff0, 0x46));
        assert_eq!((s.seg[1].selector, s.seg[1].base, s.seg[1].limit), (0xf000, 0xffff_0000, 0xffff));
        assert_eq!((s.seg[5].base, s.seg[5].limit), (0xffff_ffff_8000_1000, 0xffff_ffff));
        assert_eq!((s.seg[7].selector, s.seg[7].base, s.seg[7].limit), (0x30, 0x8013_a150, 0x67));
        assert_eq!((s.gdtr, s.cr0, s.cr2), ((0xffff_ffff_8013_a180, 0x47), 0x6000_0010, 0xdead_bee0));
        assert_eq!((s.cr3, s.efer, s.dr[6], s.dr[7]), (0x10_1000, 0xd01, 0xffff_0ff0, 0x400));
        assert!(!first.partial);
        let insw = take();
        assert!(insw.partial && insw.written == Some((0xba8, 2)) && insw.state.seg[1].selector == 0xf001);
        let fault = take();
        assert_eq!(fault.reads, [Answer { address: 0xfee0_00b0, value: 0x1_0000_002a, size: 8 }]);
        assert_eq!((&fault.exceptions[..], &fault.interrupts[..]), (&[(14, 2)][..], &[0x50][..]));
        let int = take();
        assert_eq!((&int.exceptions[..], &int.interrupts[..]), (&[(16, 0)][..], &[8][..]));
        assert!(trace.take().unwrap().is_none());
    }
}
