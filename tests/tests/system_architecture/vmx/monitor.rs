//! A virtual-machine monitor for the tests: it fills a VMCS, enters the guest, notes every VM exit and goes on behind
//! the instruction that exited, until it has noted as many as were asked for.

use emu_core::vmx::capability::{FEATURE_CONTROL, REVISION};
use emu_core::vmx::fields::{self as f, Field};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

use crate::lab::*;

type Code = Result<(), IcedError>;

/// Free memory of the tests, page by page.
pub const VMXON_REGION: u64 = DATA;
pub const VMCS: u64 = DATA + 0x1000;
/// Pairs of encoding and value that go into the VMCS.
const FIELDS: u64 = DATA + 0x2000;
/// What was noted of VM exits.
const NOTES: u64 = DATA + 0x3000;
/// The guest's code, and its stack.
pub const GUEST: u64 = DATA + 0x8000;
pub const GUEST_STACK: u64 = DATA + 0xa000;
/// The monitor's code behind VM exits.
const HOST: u64 = DATA + 0xb000;
/// For bitmaps and tables of single tests.
pub const PAGES: u64 = DATA + 0x1_0000;

const HOST_CR0_NE: u32 = 1 << 5;
pub const VMXE: u32 = 1 << 13;

/// Fields that are noted, in this order.
const NOTED: [Field; 13] = [
    f::EXIT_REASON,
    f::QUALIFICATION,
    f::EXIT_LENGTH,
    f::EXIT_INFORMATION,
    f::EXIT_INTERRUPTION,
    f::EXIT_ERROR_CODE,
    f::VECTORING,
    f::GUEST_LINEAR,
    f::GUEST_PHYSICAL,
    f::GUEST_RIP,
    f::GUEST_RFLAGS,
    f::INTERRUPTIBILITY,
    f::ACTIVITY,
];

/// A VM exit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub reason: u64,
    pub qualification: u64,
    pub length: u64,
    pub information: u64,
    pub interruption: u64,
    pub error: u64,
    pub vectoring: u64,
    pub linear: u64,
    pub physical: u64,
    pub rip: u64,
    pub flags: u64,
    pub interruptibility: u64,
    pub activity: u64,
}

/// The monitor and its guest, in 64-bit mode unless the fields say otherwise.
pub struct Monitor {
    pub lab: Lab,
    fields: Vec<(Field, u64)>,
    /// VM exits to note before it is enough.
    exits: u64,
    /// Bits of the guest's code.
    pub bits: u32,
    /// The guest goes on where it exited, not behind the instruction.
    pub stay: bool,
}

impl Monitor {
    /// With controls that let nothing exit but what always does.
    pub fn new(exits: u64) -> Self {
        let mut lab = Lab::long();
        lab.cr0 |= HOST_CR0_NE;
        lab.cr4 |= VMXE;
        for region in [VMXON_REGION, VMCS] {
            lab.write(region, 4, REVISION.into());
        }
        let mut fields = vec![
            (f::PIN_CONTROLS, 0x16),
            (f::PRIMARY_CONTROLS, 0x0400_6172),
            (f::EXIT_CONTROLS, 0x3_6dfb | 1 << 9),
            (f::ENTRY_CONTROLS, 0x11fb | 1 << 9),
            (f::LINK_POINTER, u64::MAX),
            (f::GUEST_CR0, u64::from(lab.cr0)),
            (f::GUEST_CR3, TABLES),
            (f::GUEST_CR4, u64::from(lab.cr4)),
            (f::GUEST_DR7, 0x400),
            (f::GUEST_RSP, GUEST_STACK),
            (f::GUEST_RIP, GUEST),
            (f::GUEST_RFLAGS, 2),
            (f::GUEST_GDTR_BASE, GDT),
            (f::GUEST_GDTR_LIMIT, 0x7ff),
            (f::GUEST_IDTR_BASE, IDT),
            (f::GUEST_IDTR_LIMIT, 0xfff),
            (f::GUEST_SELECTOR_TR, TSS_SELECTOR.into()),
            (f::GUEST_BASE_TR, TSS),
            (f::GUEST_LIMIT_TR, 0x1ff),
            (f::GUEST_RIGHTS_TR, 0x8b),
            (f::GUEST_RIGHTS_LDTR, 1 << 16),
            (f::HOST_CR0, u64::from(lab.cr0)),
            (f::HOST_CR3, TABLES),
            (f::HOST_CR4, u64::from(lab.cr4)),
            (f::HOST_RSP, STACK),
            (f::HOST_RIP, HOST),
            (f::HOST_GDTR_BASE, GDT),
            (f::HOST_IDTR_BASE, IDT),
            (f::HOST_SELECTOR_TR, TSS_SELECTOR.into()),
            (f::HOST_TR_BASE, TSS),
        ];
        for register in 0..6 {
            let code = register == emu_core::cpu::CS;
            let selector = u64::from(if code { CODE64 } else { DATA32 });
            fields.push((f::GUEST_SELECTOR.plus(register), selector));
            fields.push((f::HOST_SELECTOR.plus(register), selector));
            fields.push((f::GUEST_LIMIT.plus(register), 0xffff_ffff));
            fields.push((f::GUEST_RIGHTS.plus(register), if code { 0xa09b } else { 0xc093 }));
        }
        Self { lab, fields, exits, bits: 64, stay: false }
    }

    /// Sets a field.
    pub fn set(&mut self, field: Field, value: u64) {
        match self.fields.iter_mut().find(|(known, _)| *known == field) {
            Some((_, old)) => *old = value,
            None => self.fields.push((field, value)),
        }
    }

    /// Sets bits of a field.
    pub fn add(&mut self, field: Field, bits: u32) {
        let old = self.fields.iter().find(|(known, _)| *known == field).map_or(0, |(_, value)| *value);
        self.set(field, old | u64::from(bits));
    }

    /// Sets secondary controls.
    pub fn secondary(&mut self, bits: u32) {
        self.add(f::PRIMARY_CONTROLS, 1 << 31);
        self.add(f::SECONDARY_CONTROLS, bits);
    }

    /// A guest in 32-bit protected mode without paging, which EPT and the control "unrestricted guest" make possible.
    pub fn without_paging(&mut self, protected: bool) {
        self.identity_ept();
        self.secondary(1 << 7);
        self.set(f::ENTRY_CONTROLS, 0x11fb);
        self.set(f::GUEST_CR0, if protected { 0x31 } else { 0x30 });
        let (code, data, limit) =
            if protected { (0xc09b, 0xc093, 0xffff_ffff) } else { (0x9b, 0x93, 0xffff) };
        for register in 0..6 {
            let is_code = register == emu_core::cpu::CS;
            self.set(f::GUEST_RIGHTS.plus(register), if is_code { code } else { data });
            self.set(f::GUEST_LIMIT.plus(register), limit);
            if !protected {
                self.set(f::GUEST_SELECTOR.plus(register), 0);
            }
        }
        self.bits = if protected { 32 } else { 16 };
    }

    /// EPT tables that map the first 2 MiB one to one by small pages, all rights given.
    pub fn identity_ept(&mut self) {
        let tables = PAGES + 0x4000;
        for (level, entry) in [tables, tables + 0x1000, tables + 0x2000].into_iter().zip([1, 2, 3]) {
            self.lab.write(level, 8, (tables + entry * 0x1000) | 7);
        }
        for page in 0..512 {
            self.lab.write(tables + 0x3000 + 8 * page, 8, page << 12 | 6 << 3 | 7);
        }
        self.secondary(1 << 1);
        self.set(f::EPTP, tables | 3 << 3 | 6);
    }

    /// Where the EPT entry of a page is.
    pub fn ept_entry(&self, guest_physical: u64) -> u64 {
        PAGES + 0x7000 + 8 * (guest_physical >> 12)
    }

    /// Runs the guest; returns the VM exits. The processor ends in the monitor's HLT, or in the guest's.
    pub fn run(&mut self, guest: impl FnOnce(&mut CodeAssembler) -> Code) -> Vec<Seen> {
        self.lab.assemble(GUEST, self.bits, guest);
        for (n, &(field, value)) in (0..).zip(&self.fields) {
            self.lab.write(FIELDS + 16 * n, 8, field.0.into());
            self.lab.write(FIELDS + 16 * n + 8, 8, value);
        }
        let (count, enough, stay) = (self.fields.len() as u32, self.exits, self.stay);
        self.lab.write(NOTES, 8, 0);
        self.lab.assemble(HOST, 64, |a| note_exits(a, enough, stay));
        let out = self.lab.run(|a| {
            enter_vmx_operation(a)?;
            load_vmcs(a, VMCS)?;
            let mut next = a.create_label();
            a.mov(ebx, FIELDS as u32)?;
            a.mov(ecx, count)?;
            a.set_label(&mut next)?;
            a.mov(rax, qword_ptr(rbx))?;
            a.vmwrite(rax, qword_ptr(rbx + 8))?;
            a.add(ebx, 16)?;
            a.dec(ecx)?;
            a.jnz(next)?;
            for register in [eax, ecx, edx, ebx, esi, edi] {
                a.xor(register, register)?;
            }
            a.vmlaunch()?;
            // It failed: the flags stay as they are.
            a.hlt()
        });
        drop(out);
        let noted = self.lab.read(NOTES, 8);
        (0..noted).map(|n| self.seen(n)).collect()
    }

    fn seen(&mut self, n: u64) -> Seen {
        let at = NOTES + 0x80 * (n + 1);
        let mut word = |n: u64| self.lab.read(at + 8 * n, 8);
        Seen {
            reason: word(0),
            qualification: word(1),
            length: word(2),
            information: word(3),
            interruption: word(4),
            error: word(5),
            vectoring: word(6),
            linear: word(7),
            physical: word(8),
            rip: word(9),
            flags: word(10),
            interruptibility: word(11),
            activity: word(12),
        }
    }

    /// A field, as the VMCS region has it now.
    pub fn field(&mut self, field: Field) -> u64 {
        self.lab.read(VMCS + field.offset(), 8)
    }

    /// A register, as the processor has it now.
    pub fn reg(&self, number: usize) -> u64 {
        self.lab.machine.cpu().regs[number]
    }
}

/// Assembles: VMX operation, with IA32_FEATURE_CONTROL set and locked unless it is already.
pub fn enter_vmx_operation(a: &mut CodeAssembler) -> Code {
    let mut locked = a.create_label();
    a.mov(ecx, FEATURE_CONTROL)?;
    a.rdmsr()?;
    a.test(al, 1)?;
    a.jnz(locked)?;
    a.mov(eax, 5)?;
    a.xor(edx, edx)?;
    a.wrmsr()?;
    a.set_label(&mut locked)?;
    a.push(VMXON_REGION as i32)?;
    a.vmxon(qword_ptr(rsp))?;
    a.pop(rax)
}

/// Assembles: a VMCS becomes clear and current.
pub fn load_vmcs(a: &mut CodeAssembler, region: u64) -> Code {
    a.push(region as i32)?;
    a.vmclear(qword_ptr(rsp))?;
    a.vmptrld(qword_ptr(rsp))?;
    a.pop(rax)
}

/// Assembles: notes the VM exit, and resumes the guest behind its instruction unless it was the last one.
fn note_exits(a: &mut CodeAssembler, enough: u64, stay: bool) -> Code {
    let mut last = a.create_label();
    a.push(rax)?;
    a.push(rbx)?;
    a.push(rcx)?;
    a.inc(qword_ptr(NOTES))?;
    a.mov(rbx, qword_ptr(NOTES))?;
    a.shl(rbx, 7)?;
    a.add(rbx, NOTES as i32)?;
    for (n, field) in (0..).zip(NOTED) {
        a.mov(eax, field.0)?;
        a.vmread(qword_ptr(rbx + 8 * n), rax)?;
    }
    a.cmp(qword_ptr(NOTES), enough as i32)?;
    a.jae(last)?;
    if !stay {
        a.mov(eax, f::GUEST_RIP.0)?;
        a.mov(rcx, qword_ptr(rbx + 8 * 9))?;
        a.add(rcx, qword_ptr(rbx + 8 * 2))?;
        a.vmwrite(rax, rcx)?;
    }
    a.pop(rcx)?;
    a.pop(rbx)?;
    a.pop(rax)?;
    a.vmresume()?;
    a.set_label(&mut last)?;
    a.pop(rcx)?;
    a.pop(rbx)?;
    a.pop(rax)?;
    a.hlt()
}
