//! The state-save map at SMBASE + FE00h, in its two layouts.
//!
//! A processor without long mode has the map of SDM 3C, "SMRAM State Save Map", which leaves most of the hidden
//! state to the model; those fields lie where the P6 family has them. A processor with long mode has the map of
//! AMD APM vol. 2, "SMRAM State-Save Area", although its vendor string is Intel's: Intel's own 64-bit map is not
//! fully published, and the firmware that runs on virtual machines (SeaBIOS, OVMF) and Linux know only AMD's there.
//! Fields of our own, in reserved bytes: debug traps that are due (the P6 has them too), and in the 32-bit map
//! whether NMIs were blocked (AMD has that at FECAh).

use super::super::Segment;

/// Extensions that the revision identifier announces: I/O restart and SMBASE relocation.
const EXTENSIONS: u64 = 1 << 16 | 1 << 17;

/// Which map a processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Without long mode.
    Bits32,
    /// With long mode.
    Bits64,
}

impl Layout {
    /// SMM revision identifier.
    pub fn revision(self) -> u64 {
        EXTENSIONS | if self == Self::Bits64 { 0x64 } else { 0 }
    }
}

/// A segment register, or the base and limit of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SavedSegment {
    pub selector: u64,
    pub rights: u64,
    pub limit: u64,
    pub base: u64,
}

impl From<&Segment> for SavedSegment {
    fn from(segment: &Segment) -> Self {
        Self {
            selector: segment.selector.into(),
            rights: u64::from(segment.rights.0) & 0xf0ff,
            limit: segment.limit.into(),
            base: segment.base,
        }
    }
}

/// Everything that an SMI saves and RSM loads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    pub regs: [u64; 16],
    pub rip: u64,
    pub flags: u64,
    pub cr0: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
    pub dr6: u64,
    pub dr7: u64,
    /// ES, CS, SS, DS, FS, GS, LDTR, TR.
    pub segments: [SavedSegment; 8],
    pub gdtr: SavedSegment,
    pub idtr: SavedSegment,
    pub revision: u64,
    pub smbase: u64,
    /// Auto HALT restart.
    pub halt_restart: u64,
    /// FFh, written by the handler: execute the I/O instruction again.
    pub io_restart: u64,
    /// RIP, RCX, RSI and RDI to do that with, and AMD's description of the instruction.
    pub io_rip: u64,
    pub io_rcx: u64,
    pub io_rsi: u64,
    pub io_rdi: u64,
    pub io_info: u64,
    /// NMIs were blocked.
    pub nmi_mask: u64,
    /// Bits for DR6 of debug traps that are due.
    pub traps: u64,
}

impl Saved {
    /// Calls with the offset from SMBASE, the size in bytes and the value of each field.
    pub fn fields(&mut self, layout: Layout, each: &mut impl FnMut(u64, u64, &mut u64)) {
        match layout {
            Layout::Bits32 => self.fields_32(&mut |offset, size, value| each(0x8000 + offset, size, value)),
            Layout::Bits64 => self.fields_64(each),
        }
    }

    /// Offsets count from SMBASE + 8000h, as Intel's do.
    fn fields_32(&mut self, each: &mut impl FnMut(u64, u64, &mut u64)) {
        each(0x7ffc, 4, &mut self.cr0);
        each(0x7ff8, 4, &mut self.cr3);
        each(0x7ff4, 4, &mut self.flags);
        each(0x7ff0, 4, &mut self.rip);
        for (reg, number) in self.regs[..8].iter_mut().zip(0..) {
            each(0x7fd0 + 4 * number, 4, reg);
        }
        each(0x7fcc, 4, &mut self.dr6);
        each(0x7fc8, 4, &mut self.dr7);
        // The selectors that software may look at, ES to GS, LDTR and TR; RSM takes those with the hidden parts.
        for (segment, number) in self.segments.iter().zip(0..) {
            let mut selector = segment.selector;
            each(0x7fa8 + 4 * number, 4, &mut selector);
        }
        let hidden = [0x7f80, 0x7f8c, 0x7f98, 0x7f2c, 0x7f38, 0x7f44, 0x7f74, 0x7f5c];
        let tables = [(&mut self.gdtr, 0x7f68), (&mut self.idtr, 0x7f50)];
        for (segment, offset) in self.segments.iter_mut().zip(hidden).chain(tables) {
            each(offset, 2, &mut segment.selector);
            each(offset + 2, 2, &mut segment.rights);
            each(offset + 4, 4, &mut segment.limit);
            each(offset + 8, 4, &mut segment.base);
        }
        each(0x7f26, 2, &mut self.nmi_mask);
        each(0x7f24, 2, &mut self.traps);
        each(0x7f14, 4, &mut self.cr4);
        each(0x7f10, 4, &mut self.io_rip);
        each(0x7f0c, 4, &mut self.io_rsi);
        each(0x7f08, 4, &mut self.io_rcx);
        each(0x7f04, 4, &mut self.io_rdi);
        each(0x7f02, 2, &mut self.halt_restart);
        each(0x7f00, 2, &mut self.io_restart);
        each(0x7efc, 4, &mut self.revision);
        each(0x7ef8, 4, &mut self.smbase);
    }

    /// Offsets count from SMBASE, as AMD's do.
    fn fields_64(&mut self, each: &mut impl FnMut(u64, u64, &mut u64)) {
        let places = [0xfe00, 0xfe10, 0xfe20, 0xfe30, 0xfe40, 0xfe50, 0xfe70, 0xfe90];
        let tables = [(&mut self.gdtr, 0xfe60), (&mut self.idtr, 0xfe80)];
        for (segment, offset) in self.segments.iter_mut().zip(places).chain(tables) {
            each(offset, 2, &mut segment.selector);
            each(offset + 2, 2, &mut segment.rights);
            each(offset + 4, 4, &mut segment.limit);
            each(offset + 8, 8, &mut segment.base);
        }
        each(0xfea0, 8, &mut self.io_rip);
        each(0xfea8, 8, &mut self.io_rcx);
        each(0xfeb0, 8, &mut self.io_rsi);
        each(0xfeb8, 8, &mut self.io_rdi);
        each(0xfec0, 4, &mut self.io_info);
        each(0xfec8, 1, &mut self.io_restart);
        each(0xfec9, 1, &mut self.halt_restart);
        each(0xfeca, 1, &mut self.nmi_mask);
        each(0xfecc, 2, &mut self.traps);
        each(0xfed0, 8, &mut self.efer);
        each(0xfefc, 4, &mut self.revision);
        each(0xff00, 4, &mut self.smbase);
        each(0xff48, 8, &mut self.cr4);
        each(0xff50, 8, &mut self.cr3);
        each(0xff58, 8, &mut self.cr0);
        each(0xff60, 8, &mut self.dr7);
        each(0xff68, 8, &mut self.dr6);
        each(0xff70, 8, &mut self.flags);
        each(0xff78, 8, &mut self.rip);
        for (reg, number) in self.regs.iter_mut().zip(0..) {
            each(0xfff8 - 8 * number, 8, reg);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_in_the_map_and_do_not_overlap() {
        for layout in [Layout::Bits32, Layout::Bits64] {
            let mut covered = [false; 0x1_0000];
            Saved::default().fields(layout, &mut |offset, size, _| {
                for byte in offset..offset + size {
                    assert!((0xfe00..0x1_0000).contains(&byte), "{byte:x}");
                    assert!(!std::mem::replace(&mut covered[byte as usize], true), "{byte:x}");
                }
            });
        }
    }

    #[test]
    fn fields_are_where_the_manuals_have_them() {
        let mut saved = Saved {
            cr0: 0x11,
            rip: 0x1234,
            smbase: 0xa_0000,
            regs: [0xaa, 0xcc, 0, 0, 0, 0, 0, 0xdd, 0, 0, 0, 0, 0, 0, 0, 0xff],
            ..Saved::default()
        };
        saved.segments[2].selector = 0x10;
        let mut found = |layout| {
            let mut found = Vec::new();
            saved.fields(layout, &mut |offset, _, value| {
                if *value != 0 {
                    found.push((offset, *value));
                }
            });
            found.sort_unstable();
            found
        };
        // SDM 3C, "SMRAM State Save Map"; FF98h is the hidden part of SS.
        let expected = [
            (0xfef8, 0xa_0000),
            (0xff98, 0x10),
            (0xffb0, 0x10),
            (0xffd0, 0xaa),
            (0xffd4, 0xcc),
            (0xffec, 0xdd),
            (0xfff0, 0x1234),
            (0xfffc, 0x11),
        ];
        assert_eq!(found(Layout::Bits32), expected);
        // AMD APM vol. 2, "SMRAM State-Save Area".
        let expected = [
            (0xfe20, 0x10),
            (0xff00, 0xa_0000),
            (0xff58, 0x11),
            (0xff78, 0x1234),
            (0xff80, 0xff),
            (0xffc0, 0xdd),
            (0xfff0, 0xcc),
            (0xfff8, 0xaa),
        ];
        assert_eq!(found(Layout::Bits64), expected);
    }
}
