//! Descriptors and loads of segment registers. SDM 3A, "Protected-Mode Memory Management" and "Protection".

use super::{CS, Cpu, DS, ES, FS, Fallible, Fault, GS, LDTR, Rights, SS, Segment};

/// A segment or gate descriptor as it stands in a table.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// Its eight bytes.
    pub raw: u64,
    /// Linear address of its first byte.
    pub address: u64,
}

/// System descriptor types (SDM 3A, "System-Segment and Gate-Descriptor Types").
pub mod kind {
    /// Available 16-bit TSS.
    pub const TSS16_AVAILABLE: u16 = 1;
    /// LDT.
    pub const LDT: u16 = 2;
    /// Busy 16-bit TSS.
    pub const TSS16_BUSY: u16 = 3;
    /// 16-bit call gate.
    pub const CALL_GATE16: u16 = 4;
    /// Task gate.
    pub const TASK_GATE: u16 = 5;
    /// 16-bit interrupt gate.
    pub const INTERRUPT_GATE16: u16 = 6;
    /// 16-bit trap gate.
    pub const TRAP_GATE16: u16 = 7;
    /// Available 32-bit or 64-bit TSS.
    pub const TSS_AVAILABLE: u16 = 9;
    /// Busy 32-bit or 64-bit TSS.
    pub const TSS_BUSY: u16 = 11;
    /// 32-bit or 64-bit call gate.
    pub const CALL_GATE: u16 = 12;
    /// 32-bit or 64-bit interrupt gate.
    pub const INTERRUPT_GATE: u16 = 14;
    /// 32-bit or 64-bit trap gate.
    pub const TRAP_GATE: u16 = 15;
}

impl Descriptor {
    /// Access rights.
    pub const fn rights(&self) -> Rights {
        Rights::of_descriptor((self.raw >> 32) as u32)
    }

    /// Base address (32 bits).
    pub const fn base(&self) -> u64 {
        self.raw >> 16 & 0xff_ffff | self.raw >> 32 & 0xff00_0000
    }

    /// Limit in bytes.
    pub const fn limit(&self) -> u32 {
        let limit = (self.raw & 0xffff | self.raw >> 32 & 0xf_0000) as u32;
        if self.rights().granular() { limit << 12 | 0xfff } else { limit }
    }

    /// Selector of a gate.
    pub const fn gate_selector(&self) -> u16 {
        (self.raw >> 16) as u16
    }

    /// Offset of a 16-bit gate, or the low 32 bits of a larger one.
    pub const fn gate_offset(&self) -> u64 {
        let low = self.raw & 0xffff;
        if self.rights().kind() & 8 != 0 { low | self.raw >> 32 & 0xffff_0000 } else { low }
    }

    /// The segment register that this descriptor makes.
    pub fn segment(&self, selector: u16) -> Segment {
        let mut segment = Segment {
            base: self.base(),
            read: (0, 0),
            write: (0, 0),
            limit: self.limit(),
            selector,
            // Accessed, where there is such a bit.
            rights: Rights(self.rights().0 | self.rights().0 >> 4 & 1),
        };
        segment.update(true);
        segment
    }
}

/// A selector that refers to nothing: index 0 of the GDT.
pub const fn is_null(selector: u16) -> bool {
    selector & 0xfffc == 0
}

impl Cpu {
    /// Reads the descriptor of a selector that is not null; `outside` makes the fault for one that is
    /// outside its table.
    ///
    /// # Errors
    /// `outside`, or #PF.
    pub fn descriptor(&mut self, selector: u16, outside: Fault) -> Fallible<Descriptor> {
        let (base, limit) = if selector & 4 == 0 {
            (self.gdtr.base, u32::from(self.gdtr.limit))
        } else {
            let ldt = &self.seg[LDTR];
            if ldt.rights.unusable() {
                return Err(outside);
            }
            (ldt.base, ldt.limit)
        };
        let offset = u32::from(selector & 0xfff8);
        if offset + 7 > limit {
            return Err(outside);
        }
        let address = base.wrapping_add(u64::from(offset));
        Ok(Descriptor { raw: self.read_system(address, 8)?, address })
    }

    /// The upper half of a 16-byte descriptor in long mode: its high doubleword of base or offset.
    ///
    /// # Errors
    /// #GP(selector) when the type field of the upper half is not zero, #PF.
    pub fn descriptor_high(&mut self, descriptor: &Descriptor, error: u16) -> Fallible<u64> {
        let high = self.read_system(descriptor.address.wrapping_add(8), 8)?;
        if high >> 32 & 0x1f00 != 0 {
            return Err(Fault::gp(error));
        }
        Ok(high << 32)
    }

    /// Sets the accessed bit of a code or data descriptor, if it is clear.
    ///
    /// # Errors
    /// #PF.
    pub fn set_accessed(&mut self, descriptor: &Descriptor) -> Fallible {
        if descriptor.rights().0 & 1 == 0 {
            self.write_system(descriptor.address + 5, 1, (descriptor.raw >> 40 | 1) & 0xff)?;
        }
        Ok(())
    }

    /// Loads ES, SS, DS, FS or GS by MOV, POP, LDS and their like.
    ///
    /// # Errors
    /// #GP, #NP, #SS with the selector, #PF; the register stays as it was then.
    pub fn load_segment(&mut self, register: usize, selector: u16) -> Fallible {
        if self.paragraphs() {
            self.load_paragraph(register, selector);
            return Ok(());
        }
        let segment = if is_null(selector) {
            self.null_segment(register, selector)?
        } else if register == SS {
            self.stack_segment(selector, self.cpl, Fault::gp(selector), Fault::gp(selector))?
        } else {
            self.data_segment(selector)?
        };
        self.put_segment(register, segment);
        Ok(())
    }

    /// Loads a segment register in real or virtual-8086 mode: the base follows the selector, real mode
    /// leaves limit and rights alone (SDM 3A, "Real-Address Mode"; so "unreal mode" works).
    pub fn load_paragraph(&mut self, register: usize, selector: u16) {
        if self.v86() {
            self.seg[register] = Segment { rights: Rights(0xf3), ..Segment::real(selector) };
        } else {
            let segment = &mut self.seg[register];
            if segment.rights.unusable() {
                *segment = Segment::real(selector);
            }
            segment.base = u64::from(selector) << 4;
            segment.selector = selector;
            if register == CS {
                segment.rights = Rights(segment.rights.0 & 0xff00 | 0x93);
            }
        }
        self.seg[register].update(false);
        if register == SS || register == CS {
            self.update_mode();
        } else {
            self.update_flat();
        }
    }

    /// Puts a checked segment into a register.
    pub fn put_segment(&mut self, register: usize, mut segment: Segment) {
        if self.code_size() == 64 {
            segment.update_flat();
        } else {
            segment.update(!self.paragraphs());
        }
        self.seg[register] = segment;
        if register == SS || register == CS {
            self.update_code();
        } else {
            self.update_flat();
        }
    }

    fn null_segment(&mut self, register: usize, selector: u16) -> Fallible<Segment> {
        if register == SS && (self.code_size() != 64 || self.cpl == 3 || (selector & 3) as u8 != self.cpl) {
            return Err(Fault::GP0);
        }
        Ok(Self::null(selector, if register == SS { self.cpl } else { 0 }))
    }

    /// A register loaded with a null selector.
    pub fn null(selector: u16, dpl: u8) -> Segment {
        let mut segment = Segment {
            base: 0,
            read: (0, 0),
            write: (0, 0),
            limit: 0,
            selector,
            rights: Rights(Rights::UNUSABLE | u16::from(dpl) << 5),
        };
        segment.update(true);
        segment
    }

    fn data_segment(&mut self, selector: u16) -> Fallible<Segment> {
        let descriptor = self.descriptor(selector, Fault::gp(selector))?;
        let rights = descriptor.rights();
        let rpl = (selector & 3) as u8;
        if !rights.code_or_data()
            || !rights.readable()
            || !rights.conforming() && (rpl > rights.dpl() || self.cpl > rights.dpl())
        {
            return Err(Fault::gp(selector));
        }
        if !rights.present() {
            return Err(Fault::np(selector));
        }
        self.set_accessed(&descriptor)?;
        Ok(descriptor.segment(selector))
    }

    /// Checks a selector for SS at privilege level `cpl`. `wrong` is the fault for a selector or descriptor that
    /// does not fit, `outside` for one outside its table.
    ///
    /// # Errors
    /// `wrong`, `outside`, #SS(selector) for a segment that is not present, #PF.
    pub fn stack_segment(
        &mut self,
        selector: u16,
        cpl: u8,
        wrong: Fault,
        outside: Fault,
    ) -> Fallible<Segment> {
        let descriptor = self.descriptor(selector, outside)?;
        let rights = descriptor.rights();
        if (selector & 3) as u8 != cpl || !rights.writable() || !rights.code_or_data() || rights.dpl() != cpl
        {
            return Err(wrong);
        }
        if !rights.present() {
            return Err(Fault::ss(selector));
        }
        self.set_accessed(&descriptor)?;
        Ok(descriptor.segment(selector))
    }

    /// Checks that a code descriptor may be entered at privilege level `cpl` by a far jump, call or return;
    /// `rpl` counts for segments that do not conform.
    ///
    /// # Errors
    /// #GP(selector), #NP(selector).
    pub fn check_code(&self, selector: u16, descriptor: &Descriptor, cpl: u8, rpl: u8) -> Fallible {
        let rights = descriptor.rights();
        let fits = rights.code()
            && if rights.conforming() { rights.dpl() <= cpl } else { rpl <= cpl && rights.dpl() == cpl };
        if !fits || self.long_mode() && rights.long() && rights.big() {
            return Err(Fault::gp(selector));
        }
        if !rights.present() {
            return Err(Fault::np(selector));
        }
        Ok(())
    }

    /// Checks a jump target against a code segment that is not yet loaded.
    ///
    /// # Errors
    /// #GP(0) beyond the limit or for an address that is not canonical.
    pub fn check_target(&self, descriptor: &Descriptor, offset: u64) -> Fallible {
        let fits = if self.long_mode() && descriptor.rights().long() {
            self.canonical(offset)
        } else {
            offset <= u64::from(descriptor.limit())
        };
        if fits { Ok(()) } else { Err(Fault::GP0) }
    }

    /// Loads CS from a checked descriptor and sets the privilege level.
    ///
    /// # Errors
    /// #PF while setting the accessed bit; nothing is changed then.
    pub fn enter_code(&mut self, selector: u16, descriptor: &Descriptor, cpl: u8) -> Fallible {
        self.set_accessed(descriptor)?;
        self.cpl = cpl;
        self.seg[CS] = descriptor.segment(selector & !3 | u16::from(cpl));
        if self.code_size() == 64 {
            self.seg[CS].base = 0;
        }
        self.update_code();
        Ok(())
    }

    /// After a return to an outer level: data registers that the new level may not use become null
    /// (SDM 2B, "RET").
    pub fn drop_inner_segments(&mut self) {
        for register in [ES, DS, FS, GS] {
            let segment = &self.seg[register];
            let rights = segment.rights;
            if !rights.unusable() && !rights.conforming() && rights.dpl() < self.cpl {
                let base = segment.base;
                self.seg[register] = Segment { base, ..Self::null(0, 0) };
                if self.code_size() == 64 {
                    self.seg[register].update_flat();
                }
            }
        }
        self.update_flat();
    }
}
