//! Virtual-machine extensions: a guest that runs guests of its own. SDM 3C, "Introduction to Virtual Machine
//! Extensions" to "VMX Support for Address Translation", and appendices A to C.
//!
//! Root operation costs nothing: what may exit is asked about in handlers of instructions that are rare, in the page
//! walk and between instructions, and only while [`Vmx::non_root`] is set. A VM entry and a VM exit take place between
//! two instructions: the handler returns [`Fault::VmEntry`] or [`Fault::VmExit`], and whoever takes faults does the
//! rest. The VMCS lies in guest memory where the pointer says, in a layout of our own ([`fields`]); what non-root
//! operation asks of it is kept in [`Controls`] from entry to exit.
//!
//! * [`capability`]: what is reported, and the bits of the controls; [`fields`] and [`vmcs`]: the VMCS
//! * [`instructions`]: VMXON to VMREAD; [`controls`], [`host_state`], [`guest_state`]: the checks of VM entries
//! * [`entry`] and [`exit`]: the two ways; [`msr_areas`]: the MSRs on the way
//! * [`sensitive`]: instructions that exit; [`vectored`]: exceptions and interrupts that exit, and injection;
//!   [`events`]: what exits between instructions; [`information`]: how an exit describes an instruction
//! * [`ept`]: guest-physical addresses
//!
//! Left out: APIC virtualization beyond the TPR shadow, posted interrupts, VM functions, VMCS shadowing,
//! page-modification logging, PAUSE-loop exiting, the dual-monitor treatment of SMM.

pub mod capability;
pub mod controls;
pub mod entry;
pub mod ept;
pub mod events;
pub mod exit;
pub mod fields;
pub mod guest_state;
pub mod host_state;
pub mod information;
pub mod instructions;
pub mod msr_areas;
pub mod sensitive;
pub mod vectored;
pub mod vmcs;

use crate::bus::Tick;
use crate::cpu::Cpu;
use crate::hash::StateHash;
use controls::Controls;
use exit::Exit;
use vectored::Vectored;

#[cfg(doc)]
use crate::cpu::Fault;

/// The value of a VMCS pointer that points nowhere.
pub const NO_VMCS: u64 = u64::MAX;

/// State of the extensions beside the VMCS.
#[derive(Clone, Debug)]
pub struct Vmx {
    /// IA32_FEATURE_CONTROL. Reset clears it and leaves it unlocked: system software that wants VMX sets and locks it.
    pub feature_control: u64,
    /// In VMX operation.
    pub on: bool,
    /// In VMX non-root operation.
    pub non_root: bool,
    /// The VMXON pointer.
    pub region: u64,
    /// The current-VMCS pointer; [`NO_VMCS`] for none.
    pub current: u64,
    /// The controls of the current VMCS as the last VM entry found them.
    pub controls: Controls,
    /// What the last VM entry that failed found wrong, for whoever debugs a virtual-machine monitor.
    pub wrong: Option<&'static str>,
    /// What the VM exit on its way tells.
    pub leaving: Exit,
    /// Count at which the last exception was raised that an instruction caused.
    pub fault_at: u64,
    /// Length of the last instruction that did not complete.
    pub length: u8,
    /// The event whose delivery is under way, or failed.
    pub vectored: Option<Vectored>,
    /// An event of VM entry is being delivered.
    pub injecting: bool,
    /// Guest time at which the VMX-preemption timer is at zero.
    pub timer: Option<Tick>,
    /// Retired count from which the monitor trap flag counts.
    pub trap_from: u64,
    /// A VM exit by the monitor trap flag is pending.
    pub trap_pending: bool,
    /// Count of the instruction (IRET) that ended the blocking of NMIs last.
    pub unblocked_at: u64,
    /// What an SMI interrupted: VMX operation, and whether it was non-root.
    pub interrupted: (bool, bool),
}

impl Default for Vmx {
    fn default() -> Self {
        Self {
            feature_control: 0,
            on: false,
            non_root: false,
            region: 0,
            current: NO_VMCS,
            controls: Controls::default(),
            wrong: None,
            leaving: Exit::default(),
            fault_at: u64::MAX,
            length: 0,
            vectored: None,
            injecting: false,
            timer: None,
            trap_from: u64::MAX,
            trap_pending: false,
            unblocked_at: u64::MAX,
            interrupted: (false, false),
        }
    }
}

impl Vmx {
    /// Adds what software can see of it to a hash.
    pub fn add_to_hash(&self, hash: &mut StateHash) {
        let modes = [self.on, self.non_root, self.interrupted.0, self.interrupted.1];
        let modes = modes.iter().fold(0, |bits, &bit| bits << 1 | u64::from(bit));
        hash.words(&[modes, self.feature_control, self.region, self.current, self.timer.unwrap_or(u64::MAX)]);
    }

    /// An SMI: the mode is left without a VM exit. SDM 3C, "Default Treatment of SMI Delivery".
    pub fn suspend(&mut self) {
        self.interrupted = (self.on, self.non_root);
        (self.on, self.non_root) = (false, false);
    }

    /// RSM.
    pub fn resume(&mut self) {
        (self.on, self.non_root) = self.interrupted;
        self.interrupted = (false, false);
    }
}

impl Cpu {
    /// Guest time at which the VMX-preemption timer wants a VM exit, in non-root operation.
    pub fn preemption_due(&self) -> Option<Tick> {
        if self.vmx.non_root { self.vmx.timer } else { None }
    }
}
