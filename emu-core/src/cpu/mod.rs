//! The processor: its registers and what derives from them.
//!
//! [`Cpu`] begins with the hot part that translated code will address from one base register; the rest
//! follows. Semantics live elsewhere: memory access in [`access`], exceptions in `interrupt`, and so on.

pub mod access;
pub mod control;
pub mod cpuid;
pub mod debug;
pub mod debugger;
pub mod eflags;
pub mod far;
pub mod fault;
pub mod fpu;
pub mod interrupt;
pub mod machine_check;
pub mod model;
pub mod monitor;
pub mod msr;
pub mod performance;
pub mod reset;
pub mod segment;
pub mod segment_register;
pub mod sleepers;
pub mod smm;
pub mod speculation;
pub mod stack;
pub mod task;
pub mod topology;
pub mod virtual_interrupts;
pub mod width;

use std::mem::offset_of;

pub use fault::{Exception, Fallible, Fault};
pub use segment_register::{CS, DS, ES, FS, GS, LDTR, Rights, SS, Segment, TR};
pub use width::Width;

use crate::bus::{Access, Bus, Request, Tick};
use crate::mem::{Memory, Ram};
use crate::mmu::tlb::{Context, Tlb};
use crate::observe::{Hooks, Observer};
use crate::vmx::Vmx;
use control::{CR0_AM, CR0_PE, CR4_SMAP, EFER_LMA};
use eflags::Flags;

/// Index of RAX in [`Cpu::regs`].
pub const RAX: usize = 0;
/// Index of RCX.
pub const RCX: usize = 1;
/// Index of RDX.
pub const RDX: usize = 2;
/// Index of RBX.
pub const RBX: usize = 3;
/// Index of RSP.
pub const RSP: usize = 4;
/// Index of RBP.
pub const RBP: usize = 5;
/// Index of RSI.
pub const RSI: usize = 6;
/// Index of RDI.
pub const RDI: usize = 7;
/// Index of RIP. While a block runs it holds the block's start; at every other time the next instruction.
pub const RIP: usize = 16;
/// Index of a register that always reads zero: the "no base" and "no index" of addresses.
pub const ZERO: usize = 17;

/// Why the interpreter should look up before it goes on.
pub mod attention {
    /// Interrupt conditions may have changed.
    pub const INTERRUPTS: u8 = 1 << 0;
    /// Decoded instructions were overwritten, or the memory map changed.
    pub const MEMORY: u8 = 1 << 1;
    /// The board has a request for the driver.
    pub const REQUEST: u8 = 1 << 2;
    /// A single-step trap is due after the next instruction.
    pub const TRAP: u8 = 1 << 3;
    /// PAUSE: this processor's turn ends.
    pub const PAUSE: u8 = 1 << 4;
    /// An observer or the debugger wants the run to end.
    pub const STOP: u8 = 1 << 5;
}

/// The table registers GDTR and IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableRegister {
    /// Linear base address.
    pub base: u64,
    /// Limit in bytes.
    pub limit: u16,
}

/// Everything outside the processor core; held by the processor whose turn it is.
pub struct System {
    /// Guest physical memory.
    pub mem: Memory,
    /// The board.
    pub bus: Box<dyn Bus>,
    /// Guest time.
    pub clock: Clock,
    /// Which processors have nothing to do.
    pub sleepers: sleepers::Sleepers,
    /// Who looks on.
    pub observer: Option<Box<dyn Observer>>,
    /// The hooks that are set, for every processor.
    pub hooks: Hooks,
}

impl System {
    /// A system that nobody observes, at time 0.
    pub fn new(mem: Memory, bus: Box<dyn Bus>) -> Self {
        let sleepers = sleepers::Sleepers::default();
        Self { mem, bus, clock: Clock::default(), sleepers, observer: None, hooks: Hooks::NONE }
    }
}

/// Guest time as a function of retired instructions: one a nanosecond since a point that the driver moves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Guest time at the point.
    pub base: Tick,
    /// Count of retired instructions at the point.
    pub at: u64,
}

impl Clock {
    /// Guest time when `instructions` have retired.
    pub fn at(&self, instructions: u64) -> Tick {
        self.base + (instructions - self.at)
    }

    /// Count of retired instructions at which guest time reaches `time`.
    pub fn count_at(&self, time: Tick) -> u64 {
        self.at.saturating_add(time.saturating_sub(self.base))
    }

    /// Moves the point: at this count it is `time`, unless it is later already.
    pub fn set(&mut self, instructions: u64, time: Tick) {
        *self = Self { base: self.at(instructions).max(time), at: instructions };
    }
}

/// Counters for `--stats`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Exceptions delivered.
    pub exceptions: u64,
    /// External interrupts delivered.
    pub interrupts: u64,
    /// Iterations of string instructions with a REP prefix, beyond the first of each run.
    pub rep_iterations: u64,
    /// Memory accesses that took the slow path.
    pub slow_accesses: u64,
}

/// A processor.
#[repr(C)]
pub struct Cpu {
    /// General registers in encoding order, then RIP and a register that is always zero.
    pub regs: [u64; 32],
    /// EFLAGS.
    pub flags: Flags,
    /// Set when the running block must stop after this instruction.
    pub stop: bool,
    /// Current privilege level.
    pub cpl: u8,
    /// Translation context of data accesses: [`permissions`](Self::permissions), or [`Context::Watched`] while memory
    /// is observed.
    pub context: Context,
    /// Index in its block of the instruction that runs.
    pub done: u32,
    /// Bits of [`attention`]. One byte: a bit set in a wider field would be written as a byte, and processors wait
    /// when all of it is read then.
    pub attention: u8,
    /// Retired instructions when the running block began.
    pub retired: u64,
    /// Retired-instruction count at which control must return.
    pub deadline: u64,
    /// The same for the iterations of a repeated instruction, which keeps RF until its last one.
    pub repeat_deadline: u64,
    /// Retired-instruction count at which the driver wants control back.
    pub until: u64,
    /// What the board asked of the driver, until the driver hears of it.
    pub request: Option<Request>,
    /// Changes whenever instruction fetch may mean something else: mode, privilege, translations.
    pub fetch_generation: u64,
    /// Last offset that may be fetched.
    pub fetch_limit: u64,
    /// Linear addresses are cut to these bits.
    pub linear_mask: u64,
    /// DS, ES and SS reach all linear addresses as they are, so decoded instructions need not look at them.
    pub flat: bool,
    /// Value of the last access that missed the translation cache.
    pub missed: u64,
    /// Stack pointers are cut to these bits.
    pub stack_mask: u64,
    /// ES, CS, SS, DS, FS, GS, LDTR, TR.
    pub seg: [Segment; 8],
    /// Translation caches.
    pub tlb: Tlb,
    /// The mapping behind guest memory.
    pub ram: Ram,

    /// The translation context that follows from privilege and mode.
    pub permissions: Context,
    /// Hooks that are set.
    pub hooks: Hooks,
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// DR0 to DR3, and DR6 and DR7 at their numbers; [`update_debug`](Self::update_debug) after a change.
    pub dr: [u64; 8],
    /// Breakpoints and branch recording.
    pub debug: debug::Debug,
    /// Performance counters.
    pub performance: performance::Performance,
    /// Machine-check registers.
    pub machine_check: machine_check::MachineCheck,
    /// State of the generator behind RDRAND and RDSEED: its seed is an input of the machine.
    pub random: u64,
    /// What MONITOR armed.
    pub monitor: monitor::Monitor,
    /// PKRU: for each protection key, access disable and write disable.
    pub pkru: u32,
    /// The PDPTEs of PAE paging.
    pub pdptes: [u64; 4],
    /// GDTR.
    pub gdtr: TableRegister,
    /// IDTR.
    pub idtr: TableRegister,
    /// Model-specific registers that only hold a value.
    pub msrs: msr::Msrs,
    /// x87, MMX and SSE state.
    pub fpu: fpu::Fpu,
    /// Number of this processor.
    pub number: usize,
    /// How many processors there are.
    pub processors: usize,
    /// What processor it is.
    pub model: model::Model,
    /// Memory epoch that the translation caches belong to.
    pub epoch: u64,
    /// Linear address of the last page fault, until CR2 takes it.
    pub fault_address: u64,
    /// HLT: waiting for an interrupt.
    pub halted: bool,
    /// After INIT: waiting for a start-up IPI.
    pub wait_for_sipi: bool,
    /// Retired count at which its turn began anew, as PAUSE would have given it to processors that sleep.
    pub turn_began: u64,
    /// Retired count at which maskable interrupts are held off by STI or a load of SS.
    pub inhibit_at: u64,
    /// As `inhibit_at`, for debug traps (a load of SS).
    pub inhibit_traps_at: u64,
    /// NMIs are blocked until IRET.
    pub nmi_blocked: bool,
    /// An NMI waits.
    pub nmi_pending: bool,
    /// FERR# is asserted: the board knows of an x87 error.
    pub ferr: bool,
    /// In system management mode.
    pub smm: bool,
    /// SMBASE, and what waits for entry to that mode or for its end.
    pub management: smm::Management,
    /// Retired count at which single-stepping was armed (see [`attention::TRAP`]).
    pub trap_pending: u64,
    /// Retired count at which EFLAGS.RF was found set: the next instruction clears the flag. `u64::MAX` for none.
    pub resume_at: u64,
    /// Retired count at which a repeated instruction has iterations left. `u64::MAX` for none.
    pub repeat_at: u64,
    /// Counters.
    pub counters: Counters,
    /// The last exceptions that led to each other: first, second, shutdown.
    pub fault_chain: Vec<interrupt::Delivered>,
    /// What a debugger outside the machine waits for.
    pub debugger: debugger::Debugger,
    /// Virtual-machine extensions.
    pub vmx: Vmx,
    /// Everything outside, while it is this processor's turn.
    pub outside: Option<Box<System>>,
}

const _: () = assert!(offset_of!(Cpu, regs) == 0);
const _: () = assert!(offset_of!(Cpu, seg) < 512, "the hot part stays near the base pointer");

impl Cpu {
    /// The board and memory.
    ///
    /// # Panics
    /// When it is not this processor's turn.
    #[inline]
    pub fn system(&self) -> &System {
        self.outside.as_deref().expect("the running processor holds the system")
    }

    /// The board and memory, to change.
    ///
    /// # Panics
    /// When it is not this processor's turn.
    #[inline]
    pub fn system_mut(&mut self) -> &mut System {
        self.outside.as_deref_mut().expect("the running processor holds the system")
    }

    /// Instructions retired before the one that runs.
    #[inline]
    pub fn instructions(&self) -> u64 {
        self.retired + u64::from(self.done)
    }

    /// Guest time.
    pub fn now(&self) -> Tick {
        self.system().clock.at(self.instructions())
    }

    /// CR0.PE.
    #[inline]
    pub fn protected(&self) -> bool {
        self.cr0 & CR0_PE != 0
    }

    /// Virtual-8086 mode.
    #[inline]
    pub fn v86(&self) -> bool {
        self.flags.system() & eflags::VM != 0
    }

    /// Real or virtual-8086 mode: segments are paragraphs.
    #[inline]
    pub fn paragraphs(&self) -> bool {
        !self.protected() || self.v86()
    }

    /// EFER.LMA.
    #[inline]
    pub fn long_mode(&self) -> bool {
        self.efer & EFER_LMA != 0
    }

    /// Bits of code: 16, 32 or 64.
    #[inline]
    pub fn code_size(&self) -> u32 {
        let rights = self.seg[CS].rights;
        if self.long_mode() && rights.long() {
            64
        } else if rights.big() {
            32
        } else {
            16
        }
    }

    /// I/O privilege level.
    #[inline]
    pub fn iopl(&self) -> u8 {
        (self.flags.system() >> 12 & 3) as u8
    }

    /// Works out again what derives from CS, SS, control registers and EFLAGS. Call it after changing any.
    pub fn update_mode(&mut self) {
        let code = self.code_size();
        self.linear_mask = if code == 64 { u64::MAX } else { 0xffff_ffff };
        self.fetch_limit = if code == 64 { u64::MAX } else { u64::from(self.seg[CS].limit) };
        self.fetch_generation += 1;
        self.stack_mask = match (code, self.seg[SS].rights.big()) {
            (64, _) => u64::MAX,
            (_, true) => 0xffff_ffff,
            _ => 0xffff,
        };
        let check_type = !self.paragraphs();
        for segment in &mut self.seg[..6] {
            if code == 64 {
                segment.update_flat();
            } else {
                segment.update(check_type);
            }
        }
        self.update_flat();
        self.update_context();
        self.note_mode();
        self.stop = true;
        self.attention |= attention::INTERRUPTS;
    }

    /// Works out again what derives from CS, SS and the privilege level, which were loaded.
    pub(super) fn update_code(&mut self) {
        if self.linear_mask != u64::MAX || self.code_size() != 64 {
            return self.update_mode();
        }
        // It was 64-bit code and still is, where all other segments reach everything and widths do not change.
        self.seg[CS].update_flat();
        self.seg[SS].update_flat();
        self.fetch_generation += 1;
        self.update_context();
        self.note_mode();
        self.stop = true;
        self.attention |= attention::INTERRUPTS;
    }

    /// Works out again whether the data segments are flat. Decoded code depends on it.
    pub fn update_flat(&mut self) {
        let whole =
            |s: &Segment| s.base == 0 && s.read == s.write && s.read.0 == 0 && s.read.1 >= 0xffff_ffff;
        let flat = self.code_size() == 64 || [DS, ES, SS].iter().all(|&n| whole(&self.seg[n]));
        if flat != self.flat {
            self.flat = flat;
            self.fetch_generation += 1;
            self.stop = true;
        }
    }

    /// Works out the translation context again.
    pub fn update_context(&mut self) {
        let ac = self.flags.system() & eflags::AC != 0;
        self.permissions = if self.cpl == 3 && ac && self.cr0 & CR0_AM != 0 {
            Context::Watched
        } else if self.cpl == 3 {
            Context::User
        } else if self.cr4 & CR4_SMAP != 0 && !ac {
            Context::SupervisorSmap
        } else {
            Context::Supervisor
        };
        self.context = if self.hooks.has(Hooks::MEMORY) { Context::Watched } else { self.permissions };
    }

    /// Replaces EFLAGS (all writable bits) and what derives from it.
    pub fn set_flags(&mut self, value: u64) {
        let changed = self.flags.system() ^ value;
        self.flags.set(value);
        // An instruction that loads RF does not clear it.
        self.resume_at = u64::MAX;
        if changed & eflags::VM != 0 {
            self.update_mode();
        } else if changed & eflags::AC != 0 {
            self.update_context();
        }
        if changed & (eflags::IF | eflags::TF | eflags::RF | eflags::VIF | eflags::VIP) != 0 {
            self.attention |= attention::INTERRUPTS;
            self.stop = true;
        }
    }

    /// Empties the translation caches.
    pub fn flush_tlb(&mut self) {
        self.tlb.flush();
        self.tlb.switch(self.process_context(), true);
        self.fetch_generation += 1;
        self.stop = true;
    }

    /// Empties the translation caches of data accesses: rights that fetches do not look at have changed.
    pub fn flush_data(&mut self) {
        self.tlb.flush_data();
        self.stop = true;
    }

    /// Forgets a page in the translation caches, of all process contexts if it is global.
    pub fn flush_page(&mut self, linear: u64) {
        self.tlb.flush_page(linear);
        self.fetch_generation += 1;
        self.stop = true;
    }

    /// Takes notice of what happened to memory: where pages lie in the host, and what may be written without notice.
    pub fn take_epoch(&mut self) {
        let mem = &self.system().mem;
        let (epoch, map_epoch) = (mem.epoch(), mem.map_version());
        if epoch != self.epoch {
            self.epoch = epoch;
            self.tlb.note_epoch(epoch, map_epoch);
            self.fetch_generation += 1;
            self.stop = true;
        }
    }

    /// Looks at what an access to memory by anybody may have changed: overwritten code, the memory map.
    #[inline]
    pub fn note_memory_changes(&mut self) {
        let mem = &self.system().mem;
        if mem.has_code_writes() || mem.epoch() != self.epoch {
            self.attention |= attention::MEMORY;
            self.stop = true;
        }
    }

    /// Touches the board, then looks at what that may have changed for this processor.
    pub fn with_bus<R>(&mut self, touch: impl FnOnce(&mut dyn Bus, &mut Access<'_>) -> R) -> R {
        let (cpu, now) = (self.number, self.now());
        let system = self.system_mut();
        let result = touch(&mut *system.bus, &mut Access { cpu, now, mem: &mut system.mem });
        self.after_bus();
        result
    }

    /// Looks at everything that the board may have changed.
    pub fn after_bus(&mut self) {
        self.note_memory_changes();
        self.stop = true;
        self.attention |= attention::INTERRUPTS | attention::REQUEST;
    }
}
