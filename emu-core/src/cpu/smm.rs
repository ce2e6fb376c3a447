//! System management mode: entry by SMI, and RSM.
//! SDM 3C, "System Management Mode"; AMD APM vol. 2, "System-Management Mode".
//!
//! Where the map of the saved state lies, and which of two it is, stands in `save_map`. The processor sees SMRAM
//! while it is in the mode: entry and RSM tell [`Memory`](crate::mem::Memory), and empty its translation caches;
//! so does a processor that gets its turn. Within the mode A20M# is ignored, as on the P6 family.
//! A load of SS or an STI before an SMI holds it off for an instruction, so that the interrupt shadow need not be
//! saved; the manual permits that. In RSM any SMBASE is good, aligned or not, as on the P6 family.
//! Left out: SMRR, dual-monitor treatment, SMI transfer monitor; of AMD's description of an I/O instruction its
//! address size and segment.

mod save_map;

use super::control::{
    CR0_ALL, CR0_CD, CR0_EM, CR0_ET, CR0_NW, CR0_PE, CR0_PG, CR0_TS, CR4_PAE, CR4_PCIDE, EFER_LMA, EFER_LME,
};
use super::{
    CS, Cpu, Fallible, Fault, RCX, RDI, RIP, RSI, Rights, SS, Segment, TableRegister, attention, eflags,
};
use crate::interp::op::Op;
use save_map::{Layout, Saved, SavedSegment};

/// SMBASE after reset.
pub const SMBASE: u32 = 0x3_0000;
/// The handler begins here, from SMBASE on.
const HANDLER: u64 = 0x8000;
/// Rights of every segment at entry: real-mode data with a limit in pages.
const FLAT: Rights = Rights(0x8093);
/// In the description of an I/O instruction: input, valid, string, repeated; 1 byte (2 and 4 follow).
const IO_IN: u64 = 1 << 0;
const IO_VALID: u64 = 1 << 1;
const IO_STRING: u64 = 1 << 2;
const IO_REPEATED: u64 = 1 << 3;
const IO_BYTE: u32 = 4;

/// State for system management beside [`Cpu::smm`].
#[derive(Clone, Copy, Debug)]
pub struct Management {
    /// SMBASE.
    pub base: u32,
    /// An SMI waits.
    pub smi_pending: bool,
    /// An INIT waits for RSM.
    pub init_pending: bool,
    /// SMIs taken since reset (MSR_SMI_COUNT).
    pub count: u32,
    /// The last I/O instruction, for an SMI right behind it.
    io: IoInstruction,
}

impl Default for Management {
    fn default() -> Self {
        Self { base: SMBASE, smi_pending: false, init_pending: false, count: 0, io: IoInstruction::default() }
    }
}

/// An I/O instruction, or one iteration of it, with what is needed to do it again.
#[derive(Clone, Copy, Debug, Default)]
struct IoInstruction {
    /// Retired count behind it.
    end: u64,
    rip: u64,
    rcx: u64,
    rsi: u64,
    rdi: u64,
    info: u64,
}

/// A port access on its way.
#[derive(Clone, Copy, Debug)]
pub struct PortAccess {
    /// Port number.
    pub port: u16,
    /// Bytes: 1, 2 or 4.
    pub size: u64,
    /// Part of INS or OUTS.
    pub string: bool,
}

impl Cpu {
    /// Tells memory whether this processor, whose turn it is, sees SMRAM.
    pub fn apply_memory_view(&mut self) {
        let smm = self.smm;
        if let Some(system) = &mut self.outside {
            system.mem.set_management(smm);
        }
    }

    fn save_layout(&self) -> Layout {
        let long_mode = self.cpuid(0x8000_0001, 0)[3] & 1 << 29 != 0;
        if long_mode { Layout::Bits64 } else { Layout::Bits32 }
    }

    /// Remembers an I/O instruction, before it does anything.
    #[inline]
    pub(crate) fn note_io(&mut self, op: &Op, access: PortAccess, input: bool) {
        let bit = |on: bool, bit: u64| if on { bit } else { 0 };
        self.management.io = IoInstruction {
            end: self.instructions() + 1,
            rip: op.here(self),
            rcx: self.regs[RCX],
            rsi: self.regs[RSI],
            rdi: self.regs[RDI],
            info: u64::from(access.port) << 16
                | 1 << (IO_BYTE + access.size.trailing_zeros())
                | IO_VALID
                | bit(input, IO_IN)
                | bit(access.string, IO_STRING)
                | bit(access.string && op.repeated(), IO_REPEATED),
        };
    }

    /// An SMI is taken. Nothing can go wrong: what lies at SMBASE takes the state or loses it.
    pub(crate) fn enter_smm(&mut self) {
        let layout = self.save_layout();
        let mut saved = self.state_to_save(layout);
        self.management.smi_pending = false;
        self.management.count = self.management.count.wrapping_add(1);
        self.smm = true;
        self.vmx.suspend();
        self.apply_memory_view();
        saved.fields(layout, &mut |offset, size, value| {
            for (byte, at) in value.to_le_bytes().into_iter().take(size as usize).zip(offset..) {
                let address = self.in_smram(at);
                self.write_physical(address, 1, byte.into());
            }
        });

        self.cr0 &= !(CR0_PE | CR0_EM | CR0_TS | CR0_PG);
        self.cr4 = 0;
        self.efer = 0;
        self.dr[7] = 0x400;
        self.debug.pending = 0;
        self.flags.set(eflags::FIXED);
        self.cpl = 0;
        let flat = Segment { limit: u32::MAX, rights: FLAT, ..Segment::real(0) };
        self.seg[..6].fill(flat);
        let base = self.management.base;
        self.seg[CS] = Segment { base: base.into(), selector: (base >> 4) as u16, ..flat };
        self.regs[RIP] = HANDLER;
        self.halted = false;
        self.monitor = super::monitor::Monitor::default();
        self.nmi_blocked = true;
        self.after_switch();
    }

    /// RSM. SDM 2B, "RSM".
    ///
    /// # Errors
    /// #UD outside system-management mode, [`Fault::Shutdown`] for a state that cannot be.
    pub fn resume(&mut self) -> Fallible {
        if !self.smm {
            return Err(Fault::UD);
        }
        let layout = self.save_layout();
        let mut saved = Saved::default();
        saved.fields(layout, &mut |offset, size, value| {
            *value = (0..size).fold(0, |value, n| {
                let address = self.in_smram(offset + n);
                value | self.read_physical(address, 1) << (8 * n)
            });
        });
        if !self.can_resume(&saved) {
            self.fault_chain.clear();
            return Err(Fault::Shutdown);
        }
        if saved.io_restart & 0xff == 0xff {
            saved.rip = saved.io_rip;
            if saved.io_info & IO_STRING != 0 {
                (saved.regs[RCX], saved.regs[RSI], saved.regs[RDI]) =
                    (saved.io_rcx, saved.io_rsi, saved.io_rdi);
            }
        }
        self.smm = false;
        self.vmx.resume();
        self.apply_memory_view();
        self.load_state(&saved, layout);
        if self.cr0 & CR0_PG != 0 && self.cr4 & CR4_PAE != 0 && !self.long_mode() {
            self.load_pdptes(self.cr3).map_err(|_| Fault::Shutdown)?;
        }
        Ok(())
    }

    fn state_to_save(&mut self, layout: Layout) -> Saved {
        let table = |t: TableRegister| SavedSegment {
            base: t.base,
            limit: t.limit.into(),
            ..SavedSegment::default()
        };
        let traps = self.take_traps();
        let mut flags = self.flags.get();
        if self.repeat_at == self.retired {
            // The rest of a repeated instruction does not meet its breakpoint again.
            flags |= eflags::RF;
        }
        let mut regs = [0; 16];
        regs.copy_from_slice(&self.regs[..16]);
        let io = self.management.io;
        let behind_io = io.end == self.retired;
        let here = IoInstruction { rip: self.regs[RIP], ..IoInstruction::default() };
        let io = if behind_io { io } else { here };
        Saved {
            regs,
            rip: self.regs[RIP],
            flags,
            cr0: self.cr0,
            cr3: self.cr3,
            cr4: self.cr4,
            efer: self.efer,
            dr6: self.dr[6],
            dr7: self.dr[7],
            segments: std::array::from_fn(|n| SavedSegment::from(&self.seg[n])),
            gdtr: table(self.gdtr),
            idtr: table(self.idtr),
            revision: layout.revision(),
            smbase: self.management.base.into(),
            halt_restart: u64::from(self.halted && !self.monitor.waits()),
            io_restart: 0,
            io_rip: io.rip,
            io_rcx: io.rcx,
            io_rsi: io.rsi,
            io_rdi: io.rdi,
            io_info: io.info,
            nmi_mask: self.nmi_blocked.into(),
            traps,
        }
    }

    /// The checks of RSM.
    fn can_resume(&self, saved: &Saved) -> bool {
        let (cr0, cr4, efer) = (saved.cr0, saved.cr4, saved.efer);
        let paging = cr0 & CR0_PG != 0;
        let long = efer & EFER_LMA != 0;
        let cs = Rights(saved.segments[CS].rights as u16);
        cr0 >> 32 == 0
            && (!paging || cr0 & CR0_PE != 0)
            && cr0 & (CR0_NW | CR0_CD) != CR0_NW
            && cr4 & !self.model.cr4() == 0
            && (cr4 & CR4_PCIDE == 0 || long)
            && efer & !self.model.efer() == 0
            && long == (paging && efer & EFER_LME != 0)
            && (!long || cr4 & CR4_PAE != 0 && saved.cr3 >> self.model.physical_bits == 0)
            && !(long && cs.long() && cs.big())
            && saved.dr6 >> 32 == 0
            && saved.dr7 >> 32 == 0
    }

    /// Loads a state that passed the checks.
    fn load_state(&mut self, saved: &Saved, layout: Layout) {
        let registers = if layout == Layout::Bits64 { 16 } else { 8 };
        self.regs[..registers].copy_from_slice(&saved.regs[..registers]);
        self.regs[RIP] = saved.rip;
        self.cr0 = saved.cr0 & CR0_ALL | CR0_ET;
        self.cr3 = saved.cr3;
        self.cr4 = saved.cr4;
        self.efer = saved.efer;
        let no_v86 = !self.protected() || self.long_mode();
        self.flags.set(saved.flags & if no_v86 { !eflags::VM } else { u64::MAX });
        for (n, segment) in saved.segments.iter().enumerate() {
            self.seg[n] = load_segment(segment);
        }
        self.cpl = match (self.protected(), self.v86()) {
            (false, _) => 0,
            (true, true) => 3,
            (true, false) => self.seg[SS].rights.dpl(),
        };
        let table = |t: &SavedSegment| TableRegister { base: t.base, limit: t.limit as u16 };
        (self.gdtr, self.idtr) = (table(&saved.gdtr), table(&saved.idtr));
        self.write_debug(6, saved.dr6);
        self.write_debug(7, saved.dr7);
        self.debug.pending = saved.traps;
        self.management.base = saved.smbase as u32;
        self.nmi_blocked = saved.nmi_mask & 1 != 0;
        if saved.halt_restart & 1 != 0 {
            self.halt();
        }
        self.after_switch();
    }

    /// Works out everything that derives from the state, after all of it has changed.
    pub(crate) fn after_switch(&mut self) {
        self.inhibit_at = u64::MAX;
        self.inhibit_traps_at = u64::MAX;
        self.resume_at = u64::MAX;
        self.repeat_at = u64::MAX;
        self.attention &= !attention::TRAP;
        self.flush_tlb();
        self.update_debug();
        self.update_mode();
    }

    /// Physical address of an offset from SMBASE.
    fn in_smram(&self, offset: u64) -> u64 {
        u64::from(self.management.base).wrapping_add(offset) & 0xffff_ffff
    }
}

fn load_segment(saved: &SavedSegment) -> Segment {
    let rights = saved.rights as u16 & 0xf0ff;
    let absent = if Rights(rights).present() { 0 } else { Rights::UNUSABLE };
    Segment {
        base: saved.base,
        limit: saved.limit as u32,
        selector: saved.selector as u16,
        rights: Rights(rights | absent),
        ..Segment::real(0)
    }
}
