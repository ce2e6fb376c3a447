//! Access to guest memory by segment and offset, or by linear address.
//!
//! The fast path checks the offset against the segment's ranges, looks the page up in the translation cache
//! with one subtraction and goes straight to host memory. Everything else (faults, chips, page crossings,
//! pages that need notice) is [`Cpu::read_slow`] and [`Cpu::write_slow`].

use super::eflags;
use super::{Cpu, FS, Fallible, Fault, SS, Width};
use crate::mem::PAGE_SIZE;
use crate::mmu::Want;
use crate::mmu::tlb::{Context, Entry, Tlb};
use crate::observe::{Hooks, Kind};

/// A place that was found writable: where a read-modify-write puts its result.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Host address, or 0 for the slow path.
    host: usize,
    linear: u64,
}

/// Is `linear` canonical for addresses of `bits` significant bits?
#[inline]
pub fn canonical(linear: u64, bits: u32) -> bool {
    let unused = 64 - bits;
    ((linear << unused) as i64 >> unused) as u64 == linear
}

impl Cpu {
    /// Is `value` canonical for a register that holds an address (bases of tables and segments, entry points in
    /// MSRs)? There the widest linear address counts that the processor knows, whatever the paging mode.
    pub fn canonical_register(&self, value: u64) -> bool {
        canonical(value, self.model.linear_bits().max(48))
    }

    /// Is `linear` canonical in the current paging mode?
    #[inline]
    pub fn canonical(&self, linear: u64) -> bool {
        canonical(linear, if self.cr4 & super::control::CR4_LA57 != 0 { 57 } else { 48 })
    }

    /// Linear address of an access of `size` bytes at `offset`, after the segment's checks.
    ///
    /// # Errors
    /// #GP(0), or #SS(0) for SS, when the segment does not permit the access.
    #[inline(always)]
    pub fn linear(&self, segment: usize, offset: u64, size: u64, write: bool) -> Fallible<u64> {
        let s = &self.seg[segment & 7];
        let (first, last) = if write { s.write } else { s.read };
        if offset < first || offset.wrapping_add(size - 1) > last {
            return self.segment_violation(segment);
        }
        // In 64-bit mode only FS and GS have a base, whatever the registers hold. SDM 3A, "Segmentation in IA-32e
        // Mode".
        let base = if self.linear_mask == u64::MAX && segment & 7 < FS { 0 } else { s.base };
        Ok(base.wrapping_add(offset) & self.linear_mask)
    }

    #[cold]
    #[inline(never)]
    fn segment_violation(&self, segment: usize) -> Fallible<u64> {
        Err(if segment == SS { Fault::SS0 } else { Fault::GP0 })
    }

    /// Reads through a segment.
    ///
    /// # Errors
    /// Segment violations, #PF, #AC.
    #[inline(always)]
    pub fn read<W: Width>(&mut self, segment: usize, offset: u64) -> Fallible<W> {
        let linear = self.linear(segment, offset, W::BYTES, false)?;
        self.read_linear(segment, linear)
    }

    /// Reads at a linear address, after the segment's checks. `segment` only tells #SS from #GP.
    ///
    /// # Errors
    /// #PF, #AC, and #GP(0) or #SS(0) for an address that is not canonical.
    #[inline(always)]
    pub fn read_linear<W: Width>(&mut self, segment: usize, linear: u64) -> Fallible<W> {
        if let Some(value) = self.read_cached(linear) {
            return Ok(value);
        }
        self.read_missed(segment, linear, W::BYTES)?;
        Ok(W::from_u64(self.missed))
    }

    /// Reads at a linear address if the translation cache knows the way.
    #[inline(always)]
    pub fn read_cached<W: Width>(&self, linear: u64) -> Option<W> {
        let entry = self.tlb.read(self.context, linear);
        let within = linear.wrapping_sub(entry.tag);
        (within <= PAGE_SIZE - W::BYTES).then(|| self.ram.load((entry.host + within) as usize))
    }

    /// Finds the place of a linear address that may be written, if the translation cache knows the way.
    #[inline(always)]
    pub fn place_cached<W: Width>(&self, linear: u64) -> Option<Place> {
        let entry = self.tlb.write(self.context, linear);
        let within = linear.wrapping_sub(entry.tag);
        (within <= PAGE_SIZE - W::BYTES).then(|| Place { host: (entry.host + within) as usize, linear })
    }

    /// Reads the value at a place that [`place_cached`](Self::place_cached) found.
    #[inline(always)]
    pub fn read_place<W: Width>(&self, place: Place) -> W {
        self.ram.load(place.host)
    }

    /// Writes a value at a place that [`place_cached`](Self::place_cached) found.
    #[inline(always)]
    pub fn write_place<W: Width>(&self, place: Place, value: W) {
        self.ram.store(place.host, value);
    }

    /// [`read_slow`](Self::read_slow) with the value left in `missed`: a result in one register keeps the fast
    /// path short.
    #[cold]
    #[inline(never)]
    fn read_missed(&mut self, segment: usize, linear: u64, size: u64) -> Fallible {
        self.missed = self.read_slow(segment, linear, size)?;
        Ok(())
    }

    /// Writes through a segment.
    ///
    /// # Errors
    /// Segment violations, #PF, #AC; nothing is written then.
    #[inline(always)]
    pub fn write<W: Width>(&mut self, segment: usize, offset: u64, value: W) -> Fallible {
        let linear = self.linear(segment, offset, W::BYTES, true)?;
        self.write_linear(segment, linear, value)
    }

    /// Writes at a linear address, after the segment's checks. `segment` only tells #SS from #GP.
    ///
    /// # Errors
    /// #PF, #AC, and #GP(0) or #SS(0) for an address that is not canonical; nothing is written then.
    #[inline(always)]
    pub fn write_linear<W: Width>(&mut self, segment: usize, linear: u64, value: W) -> Fallible {
        if let Some(place) = self.place_cached::<W>(linear) {
            self.write_place(place, value);
            return Ok(());
        }
        self.write_slow(segment, linear, W::BYTES, value.u64())
    }

    /// Reads a value that will be written back: checks for the write first.
    ///
    /// # Errors
    /// Segment violations, #PF (as for a write), #AC.
    #[inline(always)]
    pub fn read_for_write<W: Width>(&mut self, segment: usize, offset: u64) -> Fallible<(W, Place)> {
        let linear = self.linear(segment, offset, W::BYTES, true)?;
        // A segment that can be written can be read, so this covers both.
        self.read_linear_for_write(segment, linear)
    }

    /// [`read_for_write`](Self::read_for_write) at a linear address, after the segment's checks.
    ///
    /// # Errors
    /// #PF (as for a write), #AC, and #GP(0) or #SS(0) for an address that is not canonical.
    #[inline(always)]
    pub fn read_linear_for_write<W: Width>(&mut self, segment: usize, linear: u64) -> Fallible<(W, Place)> {
        if let Some(place) = self.place_cached::<W>(linear) {
            return Ok((self.read_place(place), place));
        }
        self.read_for_write_missed(segment, linear, W::BYTES)?;
        Ok((W::from_u64(self.missed), Place { host: 0, linear }))
    }

    #[cold]
    #[inline(never)]
    fn read_for_write_missed(&mut self, segment: usize, linear: u64, size: u64) -> Fallible {
        if !self.writable_observed(linear, size) {
            self.check_write(segment, linear, size)?;
        }
        self.missed = self.read_slow(segment, linear, size)?;
        Ok(())
    }

    /// Writes to a place that [`read_for_write`](Self::read_for_write) found.
    ///
    /// # Errors
    /// None in practice: the check came before.
    #[inline(always)]
    pub fn write_back<W: Width>(&mut self, place: Place, value: W) -> Fallible {
        if place.host != 0 {
            self.write_place(place, value);
            return Ok(());
        }
        self.write_slow(super::DS, place.linear, W::BYTES, value.u64())
    }

    /// Checks that `size` bytes (up to a page) at `offset` of a segment can be written, without writing.
    ///
    /// # Errors
    /// As for the write.
    pub fn probe_write(&mut self, segment: usize, offset: u64, size: u64) -> Fallible {
        let linear = self.linear(segment, offset, size, true)?;
        self.check_write(segment, linear, size)
    }

    /// The same for an access that alignment checks do not concern.
    ///
    /// # Errors
    /// As for the write.
    pub fn probe_write_at_any_alignment(&mut self, segment: usize, offset: u64, size: u64) -> Fallible {
        let linear = self.linear(segment, offset, size, true)?;
        self.check_canonical(segment, linear, size)?;
        self.translate_for_write(linear, size)
    }

    fn check_write(&mut self, segment: usize, linear: u64, size: u64) -> Fallible {
        self.check_linear(segment, linear, size)?;
        self.translate_for_write(linear, size)
    }

    fn translate_for_write(&mut self, linear: u64, size: u64) -> Fallible {
        self.translate(linear, Want::Write)?;
        let end = linear.wrapping_add(size - 1) & self.linear_mask;
        if (linear ^ end) & !(PAGE_SIZE - 1) != 0 {
            self.translate(end & !(PAGE_SIZE - 1), Want::Write)?;
        }
        Ok(())
    }

    fn check_canonical(&self, segment: usize, linear: u64, size: u64) -> Fallible {
        if self.linear_mask == u64::MAX
            && !(self.canonical(linear) && self.canonical(linear.wrapping_add(size - 1)))
        {
            return Err(if segment == SS { Fault::SS0 } else { Fault::GP0 });
        }
        Ok(())
    }

    /// Canonical and alignment checks.
    fn check_linear(&self, segment: usize, linear: u64, size: u64) -> Fallible {
        self.check_canonical(segment, linear, size)?;
        if self.permissions == Context::Watched
            && self.cpl == 3
            && self.flags.system() & eflags::AC != 0
            && linear & (size - 1) != 0
            && size.is_power_of_two()
        {
            return Err(Fault::AC);
        }
        Ok(())
    }

    /// Reads `size` bytes (1 to 8) the thorough way. `segment` only tells #SS from #GP.
    ///
    /// # Errors
    /// #GP(0) or #SS(0) for an address that is not canonical, #AC, #PF.
    #[cold]
    #[inline(never)]
    pub fn read_slow(&mut self, segment: usize, linear: u64, size: u64) -> Fallible<u64> {
        if let Some(value) = self.read_observed(linear, size) {
            return Ok(value);
        }
        self.check_linear(segment, linear, size)?;
        self.read_unknown(segment, linear, size)
    }

    /// [`read_slow`](Self::read_slow) for an access that alignment checks do not concern.
    ///
    /// # Errors
    /// #GP(0) or #SS(0) for an address that is not canonical, #PF.
    #[cold]
    pub fn read_slow_at_any_alignment(&mut self, segment: usize, linear: u64, size: u64) -> Fallible<u64> {
        match self.read_observed(linear, size) {
            Some(value) => Ok(value),
            None => self.read_unknown(segment, linear, size),
        }
    }

    /// Reads what the translation cache does not know.
    fn read_unknown(&mut self, segment: usize, linear: u64, size: u64) -> Fallible<u64> {
        self.counters.slow_accesses += 1;
        self.check_canonical(segment, linear, size)?;
        let room = PAGE_SIZE - linear % PAGE_SIZE;
        let low = self.translate(linear, Want::Read)?;
        if room >= size {
            self.fill(self.permissions, linear, low);
            self.note_data(linear, size, false);
            self.note_watched(linear, low, size, false);
            return Ok(self.read_within(linear, low, size));
        }
        let next = linear.wrapping_add(room) & self.linear_mask;
        let high = self.translate(next, Want::Read)?;
        self.note_data(linear, size, false);
        self.note_watched(linear, low, room, false);
        self.note_watched(next, high, size - room, false);
        let low_value = self.read_bytes_physical(linear, low, room);
        let high_value = self.read_bytes_physical(next, high, size - room);
        Ok(low_value | high_value << (8 * room))
    }

    /// Writes `size` bytes (1 to 8) the thorough way. `segment` only tells #SS from #GP.
    ///
    /// # Errors
    /// #GP(0) or #SS(0) for an address that is not canonical, #AC, #PF; nothing is written then.
    #[cold]
    #[inline(never)]
    pub fn write_slow(&mut self, segment: usize, linear: u64, size: u64, value: u64) -> Fallible {
        if self.write_observed(linear, size, value) {
            return Ok(());
        }
        self.check_linear(segment, linear, size)?;
        self.write_unknown(segment, linear, size, value)
    }

    /// [`write_slow`](Self::write_slow) for an access that alignment checks do not concern.
    ///
    /// # Errors
    /// #GP(0) or #SS(0) for an address that is not canonical, #PF; nothing is written then.
    #[cold]
    pub fn write_slow_at_any_alignment(
        &mut self,
        segment: usize,
        linear: u64,
        size: u64,
        value: u64,
    ) -> Fallible {
        if self.write_observed(linear, size, value) {
            return Ok(());
        }
        self.write_unknown(segment, linear, size, value)
    }

    /// Writes where the translation cache does not know the way.
    fn write_unknown(&mut self, segment: usize, linear: u64, size: u64, value: u64) -> Fallible {
        self.counters.slow_accesses += 1;
        self.check_canonical(segment, linear, size)?;
        let room = PAGE_SIZE - linear % PAGE_SIZE;
        let low = self.translate(linear, Want::Write)?;
        if room >= size {
            self.note_data(linear, size, true);
            self.note_watched(linear, low, size, true);
            self.write_within(linear, low, size, value);
            self.fill(self.permissions, linear, low);
            return Ok(());
        }
        let next = linear.wrapping_add(room) & self.linear_mask;
        let high = self.translate(next, Want::Write)?;
        self.note_data(linear, size, true);
        self.note_watched(linear, low, room, true);
        self.note_watched(next, high, size - room, true);
        self.write_bytes_physical(linear, low, room, value);
        self.write_bytes_physical(next, high, size - room, value >> (8 * room));
        Ok(())
    }

    /// Has the translation cache know the page of `linear` for reads, or for writes, as an access there about to be
    /// made would. False when it does not know it then: the access would fault, or needs a closer look each time.
    /// Accessed and dirty bits are set as by the access.
    pub fn bring_in(&mut self, linear: u64, write: bool) -> bool {
        let canonical = self.linear_mask != u64::MAX || self.canonical(linear);
        if !canonical || self.context == Context::Watched {
            return false;
        }
        let want = if write { Want::Write } else { Want::Read };
        let Ok(physical) = self.translate(linear, want) else { return false };
        self.fill(self.permissions, linear, physical);
        let table = if write { Tlb::write } else { Tlb::read };
        linear.wrapping_sub(table(&self.tlb, self.context, linear).tag) < PAGE_SIZE
    }

    /// Host address of an access that the processor makes on its own account, if `entry` is for it and nobody observes.
    #[inline]
    pub(super) fn host_within(&self, entry: Entry, linear: u64, size: u64) -> Option<usize> {
        let within = linear.wrapping_sub(entry.tag);
        let fast = within <= PAGE_SIZE - size && !self.hooks.has(Hooks::MEMORY);
        fast.then(|| (entry.host + within) as usize)
    }

    /// Remembers where accesses to a page go that was just translated: later ones may take the fast path.
    pub(super) fn fill(&mut self, context: Context, linear: u64, physical: u64) {
        if context == Context::Watched || self.watches_page(linear, physical) {
            return;
        }
        let mem = &self.system().mem;
        let physical = mem.gate_a20(physical);
        let page = mem.page(physical);
        let Some(frame) = page.read_frame() else { return };
        let host = mem.host_of(frame);
        let writes = page.write_frame() == Some(frame) && mem.frame(frame).fast_write();
        self.tlb.fill(context, linear, host, false);
        if writes && self.tlb.find(context, linear, true).is_some() {
            self.tlb.fill(context, linear, host, true);
        }
    }

    /// Reads `size` bytes (1 to 8) within one page of physical memory.
    pub fn read_physical(&mut self, physical: u64, size: u64) -> u64 {
        let mem = &self.system().mem;
        let physical = mem.gate_a20(physical);
        let page = mem.page(physical);
        if let Some(frame) = page.read_frame() {
            let host = mem.host_of(frame) + (physical % PAGE_SIZE) as usize;
            let ram = mem.ram();
            return match size {
                1 => u64::from(ram.load::<u8>(host)),
                2 => u64::from(ram.load::<u16>(host)),
                4 => u64::from(ram.load::<u32>(host)),
                8 => ram.load::<u64>(host),
                _ => {
                    let mut bytes = [0; 8];
                    ram.read_slice(host, &mut bytes[..size as usize]);
                    u64::from_le_bytes(bytes)
                }
            };
        }
        if page.is_mmio() {
            let system = self.system();
            if let Some(value) = system.bus.mmio_read_still(self.number, physical, size as u8) {
                return value;
            }
            return self.with_bus(|bus, at| bus.mmio_read(at, physical, size as u8));
        }
        u64::MAX >> (64 - 8 * size)
    }

    /// Writes `size` bytes (1 to 8) within one page of physical memory.
    pub fn write_physical(&mut self, physical: u64, size: u64, value: u64) {
        let mem = &mut self.system_mut().mem;
        let physical = mem.gate_a20(physical);
        let page = mem.page(physical);
        if let Some(frame) = page.write_frame() {
            mem.write_frame(frame, physical % PAGE_SIZE, &value.to_le_bytes()[..size as usize]);
            self.note_memory_changes();
        } else if page.is_mmio() {
            self.with_bus(|bus, at| bus.mmio_write(at, physical, size as u8, value));
        }
    }

    /// Part of an access that crosses a page: chips see it byte by byte.
    fn read_bytes_physical(&mut self, linear: u64, physical: u64, size: u64) -> u64 {
        let read = |value, n| value | self.read_physical(physical + n, 1) << (8 * n);
        let value = (0..size).fold(0, read);
        self.tell_memory(linear, physical, size, Kind::Read, value);
        value
    }

    pub(super) fn write_bytes_physical(&mut self, linear: u64, physical: u64, size: u64, value: u64) {
        for n in 0..size {
            self.write_physical(physical + n, 1, value >> (8 * n) & 0xff);
        }
        self.tell_memory(linear, physical, size, Kind::Write, value & u64::MAX >> (64 - 8 * size));
    }

    /// An access within one page, of which observers are told.
    fn read_within(&mut self, linear: u64, physical: u64, size: u64) -> u64 {
        let value = self.read_physical(physical, size);
        self.tell_memory(linear, physical, size, Kind::Read, value);
        value
    }

    pub(super) fn write_within(&mut self, linear: u64, physical: u64, size: u64, value: u64) {
        self.write_physical(physical, size, value);
        self.tell_memory(linear, physical, size, Kind::Write, value);
    }

    /// Reads 1 to 8 bytes of a system structure (descriptor table, TSS) at a linear address, as supervisor.
    ///
    /// # Errors
    /// #GP(0) for an address that is not canonical, #PF.
    pub fn read_system(&mut self, linear: u64, size: u64) -> Fallible<u64> {
        let linear = self.system_address(linear)?;
        let room = PAGE_SIZE - linear % PAGE_SIZE;
        let context = self.translation_context(false, true);
        if matches!(size, 2 | 4 | 8)
            && let Some(host) = self.host_within(self.tlb.read(context, linear), linear, size)
        {
            return Ok(match size {
                2 => self.ram.load::<u16>(host).into(),
                4 => self.ram.load::<u32>(host).into(),
                _ => self.ram.load::<u64>(host),
            });
        }
        let low = self.translate_system(linear, Want::Read)?;
        if room >= size {
            self.fill(context, linear, low);
            self.note_data(linear, size, false);
            self.note_watched(linear, low, size, false);
            return Ok(self.read_within(linear, low, size));
        }
        let next = self.system_address(linear.wrapping_add(room))?;
        let high = self.translate_system(next, Want::Read)?;
        self.note_data(linear, size, false);
        self.note_watched(linear, low, room, false);
        self.note_watched(next, high, size - room, false);
        let low_value = self.read_bytes_physical(linear, low, room);
        Ok(low_value | self.read_bytes_physical(next, high, size - room) << (8 * room))
    }

    /// Writes 1 to 8 bytes of a system structure at a linear address, as supervisor.
    ///
    /// # Errors
    /// #GP(0) for an address that is not canonical, #PF; nothing is written then.
    pub fn write_system(&mut self, linear: u64, size: u64, value: u64) -> Fallible {
        let linear = self.system_address(linear)?;
        let room = PAGE_SIZE - linear % PAGE_SIZE;
        let low = self.translate_system(linear, Want::Write)?;
        if room >= size {
            self.note_data(linear, size, true);
            self.note_watched(linear, low, size, true);
            self.write_within(linear, low, size, value);
            self.fill(self.translation_context(false, true), linear, low);
            return Ok(());
        }
        let next = self.system_address(linear.wrapping_add(room))?;
        let high = self.translate_system(next, Want::Write)?;
        self.note_data(linear, size, true);
        self.note_watched(linear, low, room, true);
        self.note_watched(next, high, size - room, true);
        self.write_bytes_physical(linear, low, room, value);
        self.write_bytes_physical(next, high, size - room, value >> (8 * room));
        Ok(())
    }

    fn system_address(&self, linear: u64) -> Fallible<u64> {
        if self.long_mode() {
            if self.canonical(linear) { Ok(linear) } else { Err(Fault::GP0) }
        } else {
            Ok(linear & 0xffff_ffff)
        }
    }
}
