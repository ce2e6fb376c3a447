//! What a debugger outside the machine waits for: break-points, watch-points and catches, without limit on number.
//!
//! The guest cannot see any of it: nothing is written to guest memory, no debug register is used, and no instruction
//! counts for it. Pages with a watch-point stay out of the translation cache, as those with a data breakpoint of the
//! guest do (see [`debug`](super::debug)); instructions of pages with a break-point run one by one.
//!
//! A break-point stops before its instruction, and so does the catch of an exception: the exception is held and
//! delivered when the run goes on. Everything else stops behind the instruction, before the next event is taken.
//! An exception that arises while another one is delivered stops at the handler that is reached at last.
//!
//! Left out: writes by bus masters and by page walks do not meet watch-points.

use super::control::CR0_PG;
use super::fault::Exception;
use super::interrupt::Source;
use super::{CS, Cpu, Fallible, Fault};
use crate::engine::Exit;
use crate::mem::PAGE_SIZE;
use crate::mem::page::FrameNumber;

/// Where a break-point or watch-point lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A linear address, whatever it is translated to.
    Linear(u64),
    /// A physical address, by whatever linear address it is reached.
    Physical(u64),
}

/// A break-point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakPoint {
    /// First byte of the instruction.
    pub at: Place,
    /// Only while CS holds this selector.
    pub cs: Option<u16>,
}

/// A watch-point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchPoint {
    /// First byte.
    pub at: Place,
    /// Bytes, at least one.
    pub len: u64,
    /// Reads stop.
    pub read: bool,
    /// Writes stop.
    pub write: bool,
}

/// Everything that stops a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stops {
    /// Break-points.
    pub breaks: Vec<BreakPoint>,
    /// Watch-points.
    pub watches: Vec<WatchPoint>,
    /// First and last port of ranges whose reads and writes stop.
    pub ports: Vec<(u16, u16)>,
    /// Bit n: exception n stops.
    pub exceptions: u32,
    /// Vectors of external and software interrupts that stop.
    pub interrupts: Vec<u8>,
    /// First and last number of ranges of MSRs whose writes by WRMSR stop.
    pub msrs: Vec<(u32, u32)>,
    /// MOV to CR3 and task switches that load it stop.
    pub cr3: bool,
    /// Changes of [`Mode`] stop.
    pub mode: bool,
}

/// How code is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Bits of code: 16, 32 or 64.
    pub bits: u32,
    /// CR0.PE.
    pub protected: bool,
    /// CR0.PG.
    pub paging: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// A break-point; its instruction is next.
    Break {
        /// Linear address of the instruction.
        linear: u64,
    },
    /// A watched access.
    Watch {
        /// Linear address of the access.
        linear: u64,
        /// Physical address of the access.
        physical: u64,
        /// Bytes.
        size: u64,
        /// A write.
        write: bool,
    },
    /// An access to a port.
    Port {
        /// First port.
        port: u16,
        /// Bytes.
        size: u8,
        /// The value that was written; `None` for a read.
        written: Option<u32>,
    },
    /// An exception. It is delivered when the run goes on, or was already when it arose within another's delivery.
    Exception {
        /// Which.
        exception: Exception,
        /// Not delivered yet.
        held: bool,
    },
    /// An interrupt was delivered.
    Interrupt {
        /// Its vector.
        vector: u8,
        /// By INT n or one of its like.
        software: bool,
    },
    /// WRMSR.
    Msr {
        /// Number of the register.
        number: u32,
        /// Its new value.
        value: u64,
    },
    /// A new value for CR3.
    Cr3 {
        /// The value.
        value: u64,
    },
    /// Code runs in another mode.
    Mode(Mode),
}

/// What one processor knows of the debugger.
#[derive(Clone, Debug)]
pub struct Debugger {
    stops: Stops,
    /// There are break-points.
    code: bool,
    /// There are break-points by physical address.
    physical_code: bool,
    /// There are watch-points.
    data: bool,
    hits: Vec<Hit>,
    /// An exception to deliver first, and whether it counts as an instruction.
    held: Option<(Exception, bool)>,
    /// The retired count at which break-points have been told already.
    passed: u64,
    /// The mode that was told last, or that counted when [`Stops::mode`] was set.
    mode: Mode,
}

impl Default for Debugger {
    fn default() -> Self {
        Self {
            stops: Stops::default(),
            code: false,
            physical_code: false,
            data: false,
            hits: Vec::new(),
            held: None,
            passed: u64::MAX,
            mode: Mode::default(),
        }
    }
}

fn within(first: u64, len: u64, from: u64, size: u64) -> bool {
    // Differences, since ranges may end at the top of the address space.
    from.wrapping_sub(first) < len || first.wrapping_sub(from) < size
}

impl Debugger {
    /// What stops the run.
    pub fn stops(&self) -> &Stops {
        &self.stops
    }

    /// Are there watch-points?
    #[inline]
    pub fn watches(&self) -> bool {
        self.data
    }

    /// Is there a break-point by linear address in this page?
    pub(crate) fn breaks_in_page(&self, linear: u64) -> bool {
        let page = linear & !(PAGE_SIZE - 1);
        self.code
            && self
                .stops
                .breaks
                .iter()
                .any(|point| matches!(point.at, Place::Linear(at) if within(page, PAGE_SIZE, at, 1)))
    }

    /// The exception that waits for delivery.
    pub fn held(&self) -> Option<Exception> {
        self.held.map(|(exception, _)| exception)
    }

    /// Forgets the exception that waits for delivery: the debugger sends the processor elsewhere.
    pub fn drop_held(&mut self) {
        self.held = None;
    }
}

impl Cpu {
    /// Replaces what stops the run.
    pub fn set_stops(&mut self, stops: Stops) {
        let physical = |at: Place| matches!(at, Place::Physical(_));
        let d = &mut self.debugger;
        let code = d.stops.breaks != stops.breaks;
        let data = d.stops.watches != stops.watches;
        d.code = !stops.breaks.is_empty();
        d.physical_code = stops.breaks.iter().any(|point| physical(point.at));
        d.data = !stops.watches.is_empty();
        d.stops = stops;
        if code || data {
            // Watched pages leave the fast path, and translated code of pages with break-points is not found any more.
            self.tlb.forget_derived();
        }
        self.fetch_generation += 1;
        self.stop = true;
        self.debugger.mode = self.mode_now();
    }

    /// The instruction that is next does not stop at its break-point again.
    pub fn pass_break_point(&mut self) {
        self.debugger.passed = self.retired;
    }

    /// Break-points count again, wherever the processor is.
    pub fn forget_passed(&mut self) {
        self.debugger.passed = u64::MAX;
    }

    /// Takes what happened since the last call.
    pub fn take_hits(&mut self) -> Vec<Hit> {
        std::mem::take(&mut self.debugger.hits)
    }

    fn met(&mut self, hit: Hit) {
        // One instruction may do a lot; the first few tell enough.
        if self.debugger.hits.len() < 16 {
            self.debugger.hits.push(hit);
        }
        self.request_stop();
    }

    /// Must instructions of this frame run one by one?
    #[inline]
    pub fn must_step_frame(&self, frame: FrameNumber) -> bool {
        self.debugger.physical_code && self.breaks_in_frame(frame, None)
    }

    /// Is there a break-point by physical address in a frame, at this offset if one is given?
    #[cold]
    fn breaks_in_frame(&self, frame: FrameNumber, offset: Option<u64>) -> bool {
        let mem = &self.system().mem;
        self.debugger.stops.breaks.iter().any(|point| match point.at {
            Place::Physical(at) => {
                mem.code_page(mem.gate_a20(at)).read_frame() == Some(frame)
                    && offset.is_none_or(|offset| at % PAGE_SIZE == offset)
            }
            Place::Linear(_) => false,
        })
    }

    /// Are there break-points that [`check_break_point`](Self::check_break_point) must look for at `linear`?
    #[inline]
    pub(crate) fn has_break_points(&self, linear: u64) -> bool {
        self.debugger.physical_code || self.debugger.breaks_in_page(linear)
    }

    /// Stops when there is a break-point at the next instruction, except on later iterations of a repeated one.
    ///
    /// # Errors
    /// [`Fault::Stopped`], and #PF or #GP(0) when the instruction cannot be fetched.
    pub(crate) fn check_break_point(&mut self, linear: u64) -> Fallible {
        if !self.debugger.code || self.debugger.passed == self.retired || self.repeat_at == self.retired {
            return Ok(());
        }
        let cs = self.seg[CS].selector;
        let here = |point: &BreakPoint| point.cs.is_none_or(|selector| selector == cs);
        let found = self.debugger.stops.breaks.iter().any(|p| p.at == Place::Linear(linear) && here(p));
        if !found {
            if !self.debugger.physical_code {
                return Ok(());
            }
            let Some(frame) = crate::interp::fetch_frame(self, linear)? else { return Ok(()) };
            if !self.breaks_in_frame(frame, Some(linear % PAGE_SIZE)) {
                return Ok(());
            }
        }
        self.pass_break_point();
        self.met(Hit::Break { linear });
        Err(Fault::Stopped)
    }

    /// Must accesses to this page stay out of the translation cache for the debugger's sake?
    pub(super) fn debugger_watches_page(&self, linear: u64, physical: u64) -> bool {
        let page = |address: u64| address & !(PAGE_SIZE - 1);
        let physical = self.system().mem.gate_a20(physical);
        self.debugger.data
            && self.debugger.stops.watches.iter().any(|watch| match watch.at {
                Place::Linear(at) => within(at, watch.len, page(linear), PAGE_SIZE),
                Place::Physical(at) => within(at, watch.len, page(physical), PAGE_SIZE),
            })
    }

    /// An access within one page took place (or is about to and cannot fail any more).
    #[inline]
    pub(super) fn note_watched(&mut self, linear: u64, physical: u64, size: u64, write: bool) {
        if self.debugger.data {
            self.look_for_watch(linear, physical, size, write);
        }
    }

    #[cold]
    fn look_for_watch(&mut self, linear: u64, physical: u64, size: u64, write: bool) {
        let physical = self.system().mem.gate_a20(physical);
        let found = self.debugger.stops.watches.iter().any(|watch| {
            let wanted = if write { watch.write } else { watch.read };
            wanted
                && match watch.at {
                    Place::Linear(at) => within(at, watch.len, linear, size),
                    Place::Physical(at) => within(at, watch.len, physical, size),
                }
        });
        if found {
            self.met(Hit::Watch { linear, physical, size, write });
        }
    }

    /// A port is accessed.
    #[inline]
    pub(crate) fn note_port_for_debugger(&mut self, port: u16, size: u64, written: Option<u64>) {
        let hits = |&(first, last): &(u16, u16)| port <= last && u64::from(port) + size > u64::from(first);
        if self.debugger.stops.ports.iter().any(hits) {
            self.met(Hit::Port { port, size: size as u8, written: written.map(|value| value as u32) });
        }
    }

    /// WRMSR succeeded.
    pub(crate) fn note_msr_write(&mut self, number: u32, value: u64) {
        if self.debugger.stops.msrs.iter().any(|&(first, last)| (first..=last).contains(&number)) {
            self.met(Hit::Msr { number, value });
        }
    }

    /// CR3 was loaded.
    pub(crate) fn note_cr3(&mut self, value: u64) {
        if self.debugger.stops.cr3 {
            self.met(Hit::Cr3 { value });
        }
    }

    fn mode_now(&self) -> Mode {
        let paging = self.cr0 & CR0_PG != 0;
        Mode { bits: self.code_size(), protected: self.protected(), paging }
    }

    /// Something that decides on the mode may have changed.
    #[inline]
    pub(super) fn note_mode(&mut self) {
        if self.debugger.stops.mode {
            let mode = self.mode_now();
            if mode != self.debugger.mode {
                self.debugger.mode = mode;
                self.met(Hit::Mode(mode));
            }
        }
    }

    /// An interrupt or exception was delivered.
    pub(super) fn note_delivery(&mut self, vector: u8, source: Source) {
        let stops = &self.debugger.stops;
        if source == Source::Exception {
            return;
        }
        let by_instruction = source != Source::External && matches!(vector, 1 | 3 | 4);
        if by_instruction && stops.exceptions >> vector & 1 != 0 {
            let exception = Exception { has_error: false, vector, error: 0 };
            self.met(Hit::Exception { exception, held: false });
        } else if stops.interrupts.contains(&vector) {
            self.met(Hit::Interrupt { vector, software: source != Source::External });
        }
    }

    /// An exception arose while another one was delivered.
    pub(super) fn note_nested_exception(&mut self, exception: Exception) {
        if self.debugger.stops.exceptions >> exception.vector & 1 != 0 {
            self.met(Hit::Exception { exception, held: false });
        }
    }

    /// Does a debugger want to see any exception before its delivery? Then the engine's loop is where it is met.
    #[inline]
    pub fn catches_exceptions(&self) -> bool {
        self.debugger.stops.exceptions != 0
    }

    /// Is the debugger to see this exception before its delivery? Holds it then. `counts`: its delivery counts as
    /// one instruction.
    #[inline]
    pub(crate) fn hold_exception(&mut self, exception: Exception, counts: bool) -> bool {
        if self.debugger.stops.exceptions >> exception.vector & 1 == 0 {
            return false;
        }
        self.debugger.held = Some((exception, counts));
        self.debugger.hits.push(Hit::Exception { exception, held: true });
        true
    }

    /// Before anything else of a run: the exception that was held by the last one. `Some` when the run must stop.
    pub(crate) fn resume_from_debugger(&mut self) -> Option<Exit> {
        let (exception, counts) = self.debugger.held.take()?;
        self.retired += u64::from(counts);
        self.deliver_exception(exception).err().map(|_| Exit::Shutdown)
    }
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn ranges_meet_also_at_the_top_of_the_address_space() {
        assert!(within(0x1000, 4, 0x0ffe, 4));
        assert!(within(0x1000, 4, 0x1003, 1));
        assert!(!within(0x1000, 4, 0x1004, 8));
        assert!(!within(0x1000, 4, 0x0fff, 1));
        assert!(within(u64::MAX - 3, 4, u64::MAX, 1));
        assert!(!within(0, 8, u64::MAX, 1));
    }
}
