//! Virtual interrupts: VIF and VIP stand in for IF where IOPL keeps a program from it, in virtual-8086 mode
//! (CR4.VME) and in protected mode at CPL 3 (CR4.PVI).
//! SDM 3B, "Virtual-8086 Mode Extensions": "Class 3—Software Interrupt in Virtual-8086 Mode",
//! "Protected-Mode Virtual Interrupts".

use super::control::{CR4_PVI, CR4_VME};
use super::{CS, Cpu, Fallible, Fault, RIP, RSP, TR, eflags};

impl Cpu {
    /// In virtual-8086 mode below IOPL 3, where CLI, PUSHF, INT n and their like are sensitive.
    #[inline]
    pub fn v86_sensitive(&self) -> bool {
        self.v86() && self.iopl() < 3
    }

    /// Do CLI and STI, not permitted to change IF, change VIF instead?
    fn virtual_if(&self) -> bool {
        let extension = if self.v86() { CR4_VME } else { CR4_PVI };
        self.protected() && self.cpl == 3 && self.cr4 & extension != 0
    }

    /// CLI and STI that may not change IF.
    ///
    /// # Errors
    /// #GP(0) without the extension, and for STI while a virtual interrupt is pending.
    pub fn change_virtual_if(&mut self, on: bool) -> Fallible {
        if !self.virtual_if() || on && self.flags.system() & eflags::VIP != 0 {
            return Err(Fault::GP0);
        }
        self.flags.put(eflags::VIF, on);
        Ok(())
    }

    /// FLAGS as PUSHF and a redirected INT n show them below IOPL 3: IF is VIF, IOPL is 3.
    ///
    /// # Errors
    /// #GP(0) without CR4.VME, or when `size` is not 2 bytes.
    pub fn virtual_flags(&self, size: u64) -> Fallible<u64> {
        if self.cr4 & CR4_VME == 0 || size != 2 {
            return Err(Fault::GP0);
        }
        let flags = self.flags.get();
        let virtual_if = if flags & eflags::VIF != 0 { eflags::IF } else { 0 };
        Ok(flags & 0xffff & !eflags::IF | virtual_if | eflags::IOPL)
    }

    /// EFLAGS after POPF or IRET of `image` below IOPL 3: IF goes to VIF; IF and IOPL stay.
    ///
    /// # Errors
    /// #GP(0) without CR4.VME, when `size` is not 2 bytes, when TF would be set, and when virtual interrupts would
    /// be enabled while one is pending.
    pub fn with_virtual_flags(&self, image: u64, size: u64) -> Fallible<u64> {
        let old = self.flags.get();
        let enabled_with_pending = old & eflags::VIP != 0 && image & eflags::IF != 0;
        if self.cr4 & CR4_VME == 0 || size != 2 || image & eflags::TF != 0 || enabled_with_pending {
            return Err(Fault::GP0);
        }
        let mask = eflags::OSZAPC | eflags::TF | eflags::DF | eflags::NT;
        let virtual_if = if image & eflags::IF != 0 { eflags::VIF } else { 0 };
        Ok(old & !(mask | eflags::VIF) | image & mask | virtual_if)
    }

    /// INT n in virtual-8086 mode; RIP is that of the next instruction. True when it was redirected to the
    /// program's own handler, false when it goes through the IDT.
    ///
    /// # Errors
    /// #GP(0) when IOPL forbids it, #PF, #SS.
    pub fn redirect_interrupt(&mut self, vector: u8) -> Fallible<bool> {
        if self.cr4 & CR4_VME == 0 || self.redirection_bit(vector)? {
            return if self.iopl() < 3 { Err(Fault::GP0) } else { Ok(false) };
        }
        let flags = if self.iopl() < 3 { self.virtual_flags(2)? } else { self.flags.get() };
        let pointer = self.read_system(u64::from(vector) * 4, 4)?;
        let (cs, ip, saved) = (self.seg[CS].selector, self.regs[RIP], self.regs[RSP]);
        self.push::<u16>(flags as u16)
            .and_then(|()| self.push::<u16>(cs))
            .and_then(|()| self.push::<u16>(ip as u16))
            .inspect_err(|_| self.regs[RSP] = saved)?;
        let masked = if self.iopl() < 3 { eflags::VIF } else { eflags::IF };
        self.set_flags(self.flags.get() & !(masked | eflags::TF | eflags::RF));
        self.load_paragraph(CS, (pointer >> 16) as u16);
        self.regs[RIP] = pointer & 0xffff;
        Ok(true)
    }

    /// The bit of a vector in the software-interrupt redirection bitmap: the 32 bytes below the I/O map.
    fn redirection_bit(&mut self, vector: u8) -> Fallible<bool> {
        let tss = self.seg[TR];
        if tss.rights.kind() & 8 == 0 || tss.limit < 103 {
            return Err(Fault::GP0);
        }
        let map = self.read_system(tss.base.wrapping_add(0x66), 2)?;
        let at = map.wrapping_sub(32).wrapping_add(u64::from(vector / 8));
        if map < 32 || at > u64::from(tss.limit) {
            return Err(Fault::GP0);
        }
        let byte = self.read_system(tss.base.wrapping_add(at), 1)?;
        Ok(byte >> (vector % 8) & 1 != 0)
    }
}
