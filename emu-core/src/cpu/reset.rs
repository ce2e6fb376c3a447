//! Power-on, INIT and start-up IPI. SDM 3A, "Processor State After Reset".

use super::control::{CR0_CD, CR0_ET, CR0_NW};
use super::fpu::Fpu;
use super::model::Model;
use super::msr::Msrs;
use super::{CS, Cpu, LDTR, RDX, RIP, Rights, Segment, System, TR, TableRegister, eflags};
use crate::mem::Ram;
use crate::mmu::tlb::{Context, Tlb};
use crate::observe::Hooks;

impl Cpu {
    /// A processor at power-on. It does not hold the system yet.
    pub fn new(number: usize, ram: Ram) -> Self {
        let mut cpu = Self {
            regs: [0; 32],
            flags: eflags::Flags::default(),
            stop: false,
            cpl: 0,
            context: Context::Supervisor,
            permissions: Context::Supervisor,
            hooks: Hooks::NONE,
            done: 0,
            attention: 0,
            retired: 0,
            deadline: 0,
            repeat_deadline: 0,
            until: 0,
            request: None,
            fetch_generation: 0,
            fetch_limit: 0xffff,
            linear_mask: 0xffff_ffff,
            flat: false,
            missed: 0,
            stack_mask: 0xffff,
            seg: [Segment::real(0); 8],
            tlb: Tlb::default(),
            ram,
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            efer: 0,
            dr: [0; 8],
            debug: super::debug::Debug::default(),
            performance: super::performance::Performance::default(),
            machine_check: super::machine_check::MachineCheck::default(),
            random: number as u64,
            monitor: super::monitor::Monitor::default(),
            pkru: 0,
            pdptes: [0; 4],
            gdtr: TableRegister::default(),
            idtr: TableRegister::default(),
            msrs: Msrs::default(),
            fpu: Fpu::default(),
            number,
            processors: 1,
            model: Model::default(),
            epoch: 0,
            fault_address: 0,
            halted: false,
            wait_for_sipi: number != 0,
            turn_began: 0,
            inhibit_at: u64::MAX,
            inhibit_traps_at: u64::MAX,
            nmi_blocked: false,
            nmi_pending: false,
            ferr: false,
            smm: false,
            management: super::smm::Management::default(),
            trap_pending: 0,
            resume_at: u64::MAX,
            repeat_at: u64::MAX,
            counters: super::Counters::default(),
            fault_chain: Vec::new(),
            debugger: super::debugger::Debugger::default(),
            vmx: crate::vmx::Vmx::default(),
            outside: None,
        };
        cpu.reset();
        cpu
    }

    /// Makes it a processor of another model, at power-on.
    pub fn set_model(&mut self, model: Model) {
        self.model = model;
        self.reset();
    }

    /// Hard reset: everything, except that counts of retired instructions go on.
    pub fn reset(&mut self) {
        self.init();
        self.cr0 = CR0_CD | CR0_NW | CR0_ET;
        self.msrs = Msrs::default();
        self.fpu = Fpu::default();
        self.performance = super::performance::Performance::default();
        self.machine_check = super::machine_check::MachineCheck::default();
        self.ferr = false;
        self.vmx = crate::vmx::Vmx::default();
        self.smm = false;
        self.management = super::smm::Management::default();
        self.apply_memory_view();
        self.halted = false;
        self.wait_for_sipi = self.number != 0;
        self.update_mode();
    }

    /// INIT: caches, FPU, MTRRs and time stay.
    pub fn init(&mut self) {
        self.regs = [0; 32];
        self.regs[RDX] = u64::from(self.model.signature());
        self.regs[RIP] = 0xfff0;
        self.flags = eflags::Flags::default();
        self.cr0 = self.cr0 & (CR0_CD | CR0_NW) | CR0_ET;
        self.cr2 = 0;
        self.cr3 = 0;
        self.cr4 = 0;
        self.pkru = 0;
        self.monitor = super::monitor::Monitor::default();
        self.efer = 0;
        self.cpl = 0;
        self.seg = [Segment::real(0); 8];
        self.seg[CS] = Segment { base: 0xffff_0000, ..Segment::real(0xf000) };
        self.seg[LDTR].rights = Rights(0x82);
        self.seg[TR].rights = Rights(0x8b);
        self.gdtr = TableRegister { base: 0, limit: 0xffff };
        self.idtr = self.gdtr;
        self.dr = [0; 8];
        self.dr[6] = 0xffff_0ff0;
        self.dr[7] = 0x400;
        self.debug.pending = 0;
        self.debug.control = 0;
        self.update_debug();
        self.halted = false;
        self.wait_for_sipi = self.number != 0;
        self.inhibit_at = u64::MAX;
        self.inhibit_traps_at = u64::MAX;
        self.nmi_blocked = false;
        self.nmi_pending = false;
        self.trap_pending = 0;
        self.resume_at = u64::MAX;
        self.repeat_at = u64::MAX;
        self.debugger.drop_held();
        self.flush_tlb();
        self.update_mode();
    }

    /// Start-up IPI: real mode at `vector` × 4 KiB.
    pub fn start_up(&mut self, vector: u8) {
        let selector = u16::from(vector) << 8;
        self.seg[CS] = Segment::real(selector);
        self.regs[RIP] = 0;
        self.wait_for_sipi = false;
        self.update_mode();
    }

    /// Takes the board and memory for this processor's turn.
    pub fn attach(&mut self, system: Box<System>) {
        self.hooks = system.hooks;
        self.outside = Some(system);
        self.take_epoch();
        self.update_context();
        self.apply_memory_view();
        self.attention |= super::attention::INTERRUPTS | super::attention::MEMORY;
    }

    /// Gives the board and memory back.
    ///
    /// # Panics
    /// When it is not this processor's turn.
    pub fn detach(&mut self) -> Box<System> {
        self.outside.take().expect("the running processor holds the system")
    }
}
