//! The board as the processor sees it.

use emu_core::bus::{Access, Bus, Mmio, OPEN_BUS, PortIo, PortIoWide, Request, Signals, Tick};
use emu_core::mem::PAGE_SIZE;

use super::Pc;
use super::map::{FRAME_BUFFER_SIZE, VGA_WINDOW};
use crate::local_apic::LocalApic;
use crate::ports::{Claim, claim};
use crate::test_device::{MEMORY, MEMORY_SIZE};
use crate::{hpet, io_apic};

const IA32_APIC_BASE: u32 = 0x1b;
const IA32_TSC_DEADLINE: u32 = 0x6e0;

/// All ones, in `size` bytes.
fn ones(size: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)))
}

/// What answers at an address that is mapped as MMIO, with the offset from its start.
enum Window {
    Vga(u64),
    FrameBuffer(u64),
    Registers(u64),
    IoApic(u64),
    LocalApic(u64),
    Hpet(u64),
    TestMemory(u64),
    Nothing,
}

impl Pc {
    fn window(&self, cpu: usize, address: u64) -> Window {
        if VGA_WINDOW.contains(&address) {
            return Window::Vga(address - VGA_WINDOW.start);
        }
        let within =
            |start: Option<u64>, len: u64| address.checked_sub(start?).filter(|&offset| offset < len);
        if let Some(offset) = within(self.apics.get(cpu).map(LocalApic::page), PAGE_SIZE) {
            Window::LocalApic(offset)
        } else if let Some(offset) = within(Some(io_apic::BASE), PAGE_SIZE) {
            Window::IoApic(offset)
        } else if let Some(offset) = within(Some(hpet::BASE), PAGE_SIZE) {
            Window::Hpet(offset)
        } else if let Some(offset) = within(self.pci.vga.frame_buffer(), FRAME_BUFFER_SIZE) {
            Window::FrameBuffer(offset)
        } else if let Some(offset) = within(self.pci.vga.registers(), PAGE_SIZE) {
            Window::Registers(offset)
        } else if let Some(offset) = within(self.test_device.as_ref().map(|_| MEMORY), MEMORY_SIZE) {
            Window::TestMemory(offset)
        } else {
            Window::Nothing
        }
    }

    /// IN, without the wires afterwards. Chips with byte-wide ports see one access for each byte.
    fn read_port(&mut self, at: &mut Access<'_>, port: u16, size: u8) -> u32 {
        let claim = claim(port, size);
        if claim == Claim::Nobody
            && let Some(value) = self.read_movable(port, size, at.now)
        {
            return value;
        }
        if size > 1 && !claim.is_wide() {
            return (0..size).fold(0, |value, byte| {
                value | self.read_port(at, port.wrapping_add(u16::from(byte)), 1) << (8 * byte)
            });
        }
        let now = at.now;
        match claim {
            Claim::Pic => self.pic.read8(port, now).into(),
            Claim::Pit => self.pit.read8(port, now).into(),
            Claim::SystemControl => {
                let (refresh, out2) = (self.pit.refresh_toggle(now), self.pit.out2(now));
                self.control.read_61(refresh, out2).into()
            }
            Claim::Keyboard => self.keyboard.read8(port, now).into(),
            Claim::Rtc => self.rtc.read8(port, now).into(),
            Claim::Port92 => self.control.read_92(at.mem.a20()).into(),
            Claim::PostCode => self.debug.post_code().into(),
            Claim::DebugConsole => self.debug.read_console().into(),
            Claim::Serial(number) => self.serial[number].read8(port, now).into(),
            Claim::Dma => self.dma.read8(port, now).into(),
            Claim::Floppy => {
                let value = self.floppy.read8(port, now);
                self.serve_floppy(at);
                value.into()
            }
            Claim::Ata(channel) => {
                let value = self.ata[channel].read(port, size, now);
                self.serve_ata(at, channel);
                value
            }
            Claim::Vga => PortIoWide::read(&mut self.vga, port, size, now),
            Claim::FwCfg => self.fw_cfg.port_read(port, size),
            Claim::PciConfig => self.pci.port_read(port, size),
            Claim::ResetControl => self.control.read_cf9().into(),
            Claim::FpuError | Claim::Nobody => OPEN_BUS.into(),
        }
    }

    /// IN from a port that is no fixed part of the map.
    fn read_movable(&mut self, port: u16, size: u8, now: Tick) -> Option<u32> {
        if self.debug_exit_port == Some(port) {
            return Some(0);
        }
        if let Some(value) = self.test_device.as_ref().and_then(|device| device.port_read(port, size)) {
            return Some(value);
        }
        self.pci.ide.port_read(port, size).or_else(|| self.pci.pm.port_read(port, size, now))
    }

    /// OUT, without the wires afterwards.
    fn write_port(&mut self, at: &mut Access<'_>, port: u16, size: u8, value: u32) {
        let claim = claim(port, size);
        if claim == Claim::Nobody && self.write_movable(at, port, size, value) {
            return;
        }
        if size > 1 && !claim.is_wide() {
            for (number, byte) in value.to_le_bytes().into_iter().take(usize::from(size)).enumerate() {
                self.write_port(at, port.wrapping_add(number as u16), 1, byte.into());
            }
            return;
        }
        let (now, byte) = (at.now, value as u8);
        match claim {
            Claim::Pic => {
                self.pic.write8(port, byte, now);
                self.update_lint0();
            }
            Claim::Pit => self.pit.write8(port, byte, now),
            Claim::SystemControl => {
                let gate = self.control.write_61(byte);
                self.pit.set_gate2(gate, now);
            }
            Claim::Keyboard => self.keyboard.write8(port, byte, now),
            Claim::Rtc => self.rtc.write8(port, byte, now),
            Claim::Port92 => {
                let open = self.control.write_92(byte);
                at.mem.set_a20(open);
                self.keyboard.set_a20(open);
            }
            Claim::PostCode => self.debug.write_post_code(byte),
            Claim::FpuError => {
                self.fpu_error = false;
                self.ignne = self.ferr;
            }
            Claim::DebugConsole => self.debug.write_console(byte),
            Claim::Serial(number) => self.serial[number].write8(port, byte, now),
            Claim::Dma => {
                self.dma.write8(port, byte, now);
                self.serve_floppy(at);
            }
            Claim::Floppy => {
                self.floppy.write8(port, byte, now);
                self.serve_floppy(at);
            }
            Claim::Ata(channel) => {
                self.ata[channel].write(port, size, value, now);
                self.serve_ata(at, channel);
            }
            Claim::Vga => PortIoWide::write(&mut self.vga, port, size, value, now),
            Claim::FwCfg => self.fw_cfg.port_write(at.mem, port, size, value),
            Claim::PciConfig => {
                if self.pci.port_write(port, size, value).memory {
                    self.map.update(&self.pci, at.mem);
                }
            }
            Claim::ResetControl => self.control.write_cf9(byte),
            Claim::Nobody => {}
        }
    }

    /// OUT to a port that is no fixed part of the map; false when nobody takes it.
    fn write_movable(&mut self, at: &mut Access<'_>, port: u16, size: u8, value: u32) -> bool {
        if self.debug_exit_port == Some(port) {
            self.debug.write_exit(value);
            return true;
        }
        if self.test_device.as_mut().is_some_and(|device| device.port_write(port, size, value)) {
            return true;
        }
        if self.pci.ide.port_write(port, size, value) {
            (0..self.ata.len()).for_each(|channel| self.serve_ata(at, channel));
            return true;
        }
        self.pci.pm.port_write(port, size, value, at.now)
    }
}

impl Bus for Pc {
    fn port_read(&mut self, at: &mut Access<'_>, port: u16, size: u8) -> u32 {
        let value = self.read_port(at, port, size);
        self.settle(at);
        value
    }

    fn port_write(&mut self, at: &mut Access<'_>, port: u16, size: u8, value: u32) {
        self.write_port(at, port, size, value & ones(size) as u32);
        self.settle(at);
    }

    fn mmio_read(&mut self, at: &mut Access<'_>, address: u64, size: u8) -> u64 {
        match self.window(at.cpu, address) {
            Window::Vga(offset) => Mmio::read(&mut self.vga, offset, size, at.now),
            Window::FrameBuffer(offset) => self.vga.frame_buffer_read(offset, size),
            Window::Registers(offset) => self.vga.registers_read(offset, size, at.now),
            Window::IoApic(offset) => self.io_apic.read(offset, size),
            Window::Hpet(offset) => {
                let value = self.hpet.read(offset, size, at.now);
                self.settle(at);
                value
            }
            Window::LocalApic(offset) => {
                let Some(apic) = self.apics.get_mut(at.cpu) else { return ones(size) };
                let value = apic.read(offset, size, at.now);
                self.after_local_apic(at.cpu);
                value
            }
            Window::TestMemory(offset) => {
                self.test_device.as_ref().map_or(ones(size), |device| device.memory_read(offset, size))
            }
            Window::Nothing => ones(size),
        }
    }

    fn mmio_read_still(&self, cpu: usize, address: u64, size: u8) -> Option<u64> {
        match self.window(cpu, address) {
            Window::LocalApic(offset) => self.apics.get(cpu)?.read_still(offset, size),
            _ => None,
        }
    }

    fn mmio_write(&mut self, at: &mut Access<'_>, address: u64, size: u8, value: u64) {
        match self.window(at.cpu, address) {
            Window::Vga(offset) => Mmio::write(&mut self.vga, offset, size, value, at.now),
            Window::FrameBuffer(offset) => self.vga.frame_buffer_write(offset, size, value),
            Window::Registers(offset) => self.vga.registers_write(offset, size, value, at.now),
            Window::IoApic(offset) => {
                self.io_apic.write(offset, size, value);
                self.send_messages();
            }
            Window::Hpet(offset) => {
                self.hpet.write(offset, size, value, at.now);
                self.settle(at);
            }
            Window::LocalApic(offset) => {
                if let Some(apic) = self.apics.get_mut(at.cpu) {
                    apic.write(offset, size, value, at.now);
                    self.after_local_apic(at.cpu);
                }
            }
            Window::TestMemory(offset) => {
                if let Some(device) = &mut self.test_device {
                    device.memory_write(offset, size, value);
                }
            }
            Window::Nothing => {}
        }
    }

    #[inline]
    fn next_event(&self) -> Tick {
        self.next_event
    }

    fn advance(&mut self, at: &mut Access<'_>) {
        self.run_chips(at);
    }

    #[inline]
    fn intr(&self, cpu: usize) -> bool {
        self.apics.get(cpu).is_some_and(|apic| apic.intr() || self.pic.int() && apic.passes_8259())
    }

    fn acknowledge(&mut self, at: &mut Access<'_>) -> u8 {
        let apic = &mut self.apics[at.cpu];
        if !apic.intr() && apic.passes_8259() {
            let vector = self.pic.acknowledge();
            self.update_lint0();
            return vector;
        }
        apic.acknowledge()
    }

    #[inline]
    fn take_signals(&mut self, cpu: usize) -> Signals {
        let mut signals = self.apics.get_mut(cpu).map(|apic| apic.take_signals()).unwrap_or_default();
        // SMI# goes to the bootstrap processor alone, as on QEMU's board: SeaBIOS prepares only that one.
        signals.smi |= cpu == 0 && self.pci.pm.take_smi();
        signals
    }

    fn has_signals(&self, cpu: usize) -> bool {
        self.apics.get(cpu).is_some_and(LocalApic::has_signals) || cpu == 0 && self.pci.pm.has_smi()
    }

    fn take_request(&mut self) -> Option<Request> {
        if let Some(value) = self.debug.take_exit() {
            return Some(Request::DebugExit(value));
        }
        if self.pci.pm.take_power_off() {
            return Some(Request::PowerOff);
        }
        // Both are asked, so that neither is left over for after the reset.
        let reset = self.control.take_reset() | self.keyboard.take_reset();
        reset.then_some(Request::Reset)
    }

    /// A rising FERR# sets a latch that drives IRQ 13 until port F0h clears it, or FERR# goes away.
    fn set_ferr(&mut self, cpu: usize, level: bool) {
        if cpu != 0 || level == self.ferr {
            return; // only the bootstrap processor's pin is connected
        }
        self.ferr = level;
        self.fpu_error = level;
        self.ignne = false;
        self.update_irqs();
    }

    /// The pin of the other processors is tied to "ignore".
    fn ignne(&self, cpu: usize) -> bool {
        cpu != 0 || self.ignne
    }

    fn msr_read(&mut self, at: &mut Access<'_>, msr: u32) -> Option<u64> {
        let apic = self.apics.get_mut(at.cpu)?;
        let value = match msr {
            IA32_APIC_BASE => Some(apic.base()),
            IA32_TSC_DEADLINE => Some(apic.deadline(at.now)),
            _ => apic.read_msr(msr, at.now),
        };
        self.after_local_apic(at.cpu);
        value
    }

    fn msr_write(&mut self, at: &mut Access<'_>, msr: u32, value: u64) -> Option<()> {
        let apic = self.apics.get_mut(at.cpu)?;
        let done = match msr {
            IA32_APIC_BASE => {
                let done = apic.set_base(value);
                self.place_local_apics(at);
                done
            }
            IA32_TSC_DEADLINE => {
                apic.set_deadline(value, at.now);
                Some(())
            }
            _ => apic.write_msr(msr, value, at.now),
        };
        self.after_local_apic(at.cpu);
        done
    }

    fn task_priority(&self, cpu: usize) -> u8 {
        self.apics.get(cpu).map_or(0, |apic| apic.tpr() >> 4)
    }

    fn set_task_priority(&mut self, cpu: usize, class: u8) {
        if let Some(apic) = self.apics.get_mut(cpu) {
            apic.set_tpr(class << 4);
        }
    }

    fn init(&mut self, cpu: usize) {
        if let Some(apic) = self.apics.get_mut(cpu) {
            apic.init();
        }
        self.update_next_event();
    }

    fn reset(&mut self, at: &mut Access<'_>) {
        self.power_on(at);
    }
}
