//! The board: a PC with the i440FX and PIIX3, its addresses and interrupts as QEMU's `pc` machine has them.
//!
//! Wiring: ISA IRQ n goes to the 8259A pair and to pin n of the I/O APIC (IRQ 0 to pin 2); the 8259A's INT
//! goes to LINT0 of every local APIC; PIRQA# to PIRQD# go where the PIIX3 routes them among the ISA IRQs.
//!
//! | IRQ | source | IRQ | source |
//! | --- | --- | --- | --- |
//! | 0 | 8254 counter 0 | 8 | MC146818 |
//! | 1 | 8042 keyboard | 9 | power management (SCI) |
//! | 3 | COM2 | 12 | 8042 mouse |
//! | 4 | COM1 | 13 | FERR# |
//! | 6 | floppy | 14, 15 | ATA channels |
//!
//! The floppy disk controller has DMA channel 2.
//!
//! The HPET drives inputs 16 to 23 of the I/O APIC, and IRQ 0 and 8 instead of their chips when it is told to.
//!
//! The parts of the board: `bus` (accesses from the processor), `interrupts` (wires and messages), `map`
//! (physical memory), `firmware` (what the board tells its firmware), `look` (its state for monitors).
//! Left out: a local APIC's page moved over RAM or ROM.

mod bus;
mod firmware;
#[cfg(test)]
mod fuzz;
mod interrupts;
mod look;
mod map;
#[cfg(test)]
mod tests;

use std::fmt;

use emu_core::bus::{Access, NEVER, Tick};
use emu_core::mem::{Memory, MemoryError};
pub use look::CHIPS;

use crate::ata::{AtaChannel, AtaDisk, Cdrom};
use crate::block::BlockBackend;
use crate::debug_ports::DebugPorts;
use crate::direct_boot::BootKernel;
use crate::floppy::Floppy;
use crate::fw_cfg::FwCfg;
use crate::hpet::{self, Hpet};
use crate::i8042::I8042;
use crate::i8237::I8237;
use crate::i8254::I8254;
use crate::i8259a::PicPair;
use crate::io_apic::IoApic;
use crate::keys::Key;
use crate::local_apic::LocalApic;
use crate::mc146818::Mc146818;
use crate::pci::Pci;
use crate::system_control::SystemControl;
use crate::test_device::TestDevice;
use crate::uart16550::{ByteSource, Uart16550};
use crate::vga::{Image, TextScreen, Vga};

use map::MemoryMap;

/// Most processors that there can be (APIC ID FFh means everybody).
pub const MAX_CPUS: usize = 255;
/// Most disks: two channels of two.
pub const MAX_DISKS: usize = 4;

/// Number of the secondary master among the disks.
pub const CDROM_PLACE: usize = 2;

/// What to boot from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootDevice {
    /// The first floppy drive.
    Floppy = 1,
    /// The first hard disk.
    Disk = 2,
    /// The CD-ROM drive.
    Cdrom = 3,
}

impl BootDevice {
    /// The order in which this device comes first, and the others follow: disk, floppy, CD-ROM.
    pub fn first(self) -> [Self; 3] {
        match self {
            Self::Disk => [Self::Disk, Self::Floppy, Self::Cdrom],
            Self::Floppy => [Self::Floppy, Self::Disk, Self::Cdrom],
            Self::Cdrom => [Self::Cdrom, Self::Disk, Self::Floppy],
        }
    }
}

/// What kind of PC.
#[derive(Debug)]
pub struct PcConfig {
    /// Bytes of RAM, a multiple of 4 KiB, at least 1 MiB.
    pub ram_size: u64,
    /// Processors, 1 to [`MAX_CPUS`].
    pub cpus: usize,
    /// The firmware, 64 KiB to 16 MiB in steps of 4 KiB. It ends at 4 GiB; its last 128 KiB also at 1 MiB.
    pub bios: Vec<u8>,
    /// The VGA's expansion ROM, up to 128 KiB. It answers at its PCI address, and at C0000h until shadowed.
    pub vga_rom: Option<Vec<u8>>,
    /// Where to put QEMU's isa-debug-exit; with it comes the test device.
    pub debug_exit_port: Option<u16>,
    /// Disks: primary master and slave, secondary master and slave.
    pub disks: [Option<Box<dyn BlockBackend>>; MAX_DISKS],
    /// The disc in a CD-ROM drive, which is the secondary master; no disk may be there then.
    pub cdrom: Option<Box<dyn BlockBackend>>,
    /// Diskettes in floppy drives A and B.
    pub floppies: [Option<Box<dyn BlockBackend>>; 2],
    /// What the firmware tries to boot, in this order.
    pub boot_order: [BootDevice; 3],
    /// A kernel to boot instead of a disk, placed for this much RAM, and the expansion ROM that boots it.
    pub kernel: Option<(BootKernel, Vec<u8>)>,
    /// What the clock shows at power-on, in seconds since the beginning of 1970.
    pub start_time: u64,
    /// Tells the firmware to show its text on COM1, too, and to take keys from there.
    pub serial_screen: bool,
}

/// Bytes of RAM below 4 GiB in a machine of so much RAM.
pub fn low_ram(ram_size: u64) -> u64 {
    map::split_ram(ram_size).0
}

impl Default for PcConfig {
    /// 256 MiB, one processor, no disks, no firmware.
    fn default() -> Self {
        Self {
            ram_size: 256 << 20,
            cpus: 1,
            bios: Vec::new(),
            vga_rom: None,
            debug_exit_port: None,
            disks: [const { None }; MAX_DISKS],
            cdrom: None,
            floppies: [None, None],
            boot_order: BootDevice::Disk.first(),
            kernel: None,
            start_time: 0,
            serial_screen: false,
        }
    }
}

/// Why there is no such PC.
#[derive(Debug)]
pub enum PcError {
    /// So many bytes of RAM.
    RamSize(u64),
    /// A firmware image of so many bytes.
    BiosSize(usize),
    /// A VGA ROM of so many bytes.
    VgaRomSize(usize),
    /// A diskette of so many sectors.
    FloppySize(u64),
    /// So many processors.
    Cpus(usize),
    /// Guest memory could not be set up.
    Memory(MemoryError),
}

impl fmt::Display for PcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RamSize(size) => {
                write!(f, "{size} bytes of RAM: expected a multiple of 4096, at least 1 MiB")
            }
            Self::BiosSize(size) => {
                write!(f, "a firmware image of {size} bytes: expected 64 KiB to 16 MiB in steps of 4 KiB")
            }
            Self::VgaRomSize(size) => write!(f, "a VGA ROM of {size} bytes: expected up to 128 KiB"),
            Self::FloppySize(sectors) => {
                write!(f, "a diskette of {} bytes: expected 160K to 2.88M", sectors * 512)
            }
            Self::Cpus(count) => write!(f, "{count} processors: expected 1 to {MAX_CPUS}"),
            Self::Memory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PcError {}

/// Where a serial port's characters come from. The source is the host's, so it is no part of the state.
#[derive(Default)]
struct Source(Option<Box<dyn ByteSource>>);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Source(..)" } else { "None" })
    }
}

/// The board with all its chips.
#[derive(Debug)]
pub struct Pc {
    pic: PicPair,
    pit: I8254,
    rtc: Mc146818,
    hpet: Hpet,
    keyboard: I8042,
    serial: [Uart16550; 2],
    sources: [Source; 2],
    control: SystemControl,
    debug: DebugPorts,
    debug_exit_port: Option<u16>,
    /// Comes with the debug-exit port.
    test_device: Option<TestDevice>,
    apics: Vec<LocalApic>,
    io_apic: IoApic,
    pci: Pci,
    ata: [AtaChannel; 2],
    dma: I8237,
    floppy: Floppy,
    vga: Vga,
    fw_cfg: FwCfg,
    map: MemoryMap,
    /// Levels of the ISA interrupt lines, as the interrupt controllers know them.
    irqs: u16,
    /// Levels of PIRQA# to PIRQD# (true is asserted).
    pirqs: [bool; 4],
    /// Latch behind FERR#, cleared by port F0h.
    fpu_error: bool,
    /// Level of FERR#.
    ferr: bool,
    /// IGNNE# is asserted: port F0h was written, and FERR# has stayed up since.
    ignne: bool,
    /// Rises of OUT 0 that the interrupt controllers know of.
    timer_rises: u64,
    /// Level of the clock's interrupt output, as power management knows it.
    clock_irq: bool,
    /// Rises of the HPET's lines that they know of.
    hpet_rises: [u64; hpet::TIMERS],
    /// Levels of the inputs of the I/O APIC that only the HPET drives.
    hpet_inputs: u32,
    /// When the next chip has something to do.
    next_event: Tick,
}

impl Pc {
    /// Builds the board and its memory, in power-on state.
    ///
    /// # Errors
    /// When there is no such PC, or the host refuses the memory.
    pub fn new(config: PcConfig) -> Result<(Self, Memory), PcError> {
        let PcConfig { ram_size, cpus, bios, vga_rom, debug_exit_port, .. } = config;
        let PcConfig { disks, cdrom, floppies, boot_order, kernel, start_time, serial_screen, .. } = config;
        if !(1..=MAX_CPUS).contains(&cpus) {
            return Err(PcError::Cpus(cpus));
        }
        let vga_rom = vga_rom.unwrap_or_default();
        let pci = Pci::new(vga_rom.len() as u32);
        let (map, mut mem) = MemoryMap::new(ram_size, &bios, &vga_rom, pci.vga.rom_size())?;
        let test_device = debug_exit_port.map(|_| TestDevice::new());
        if test_device.is_some() {
            map.add_test_device(&mut mem);
        }
        let mut rtc = Mc146818::new(start_time, 0);
        let mut floppy = Floppy::new();
        for (drive, diskette) in floppies.into_iter().enumerate() {
            let Some(diskette) = diskette else { continue };
            let sectors = diskette.sectors();
            if !floppy.attach(drive, diskette) {
                return Err(PcError::FloppySize(sectors));
            }
        }
        firmware::fill_cmos(&mut rtc, ram_size, cpus, boot_order, floppy.drive_kinds());
        let mut ata = [AtaChannel::new(), AtaChannel::new()];
        for (number, disk) in disks.into_iter().enumerate() {
            let Some(disk) = disk else { continue };
            let serial = format!("EMU{:05}", number + 1);
            ata[number / 2].attach(number % 2, AtaDisk::new(disk, "EMU HARDDISK", &serial));
        }
        if let Some(disc) = cdrom {
            let serial = format!("EMU{:05}", CDROM_PLACE + 1);
            ata[CDROM_PLACE / 2].attach_cdrom(CDROM_PLACE % 2, Cdrom::new(disc, "EMU CD-ROM", &serial));
        }
        let mut fw_cfg = firmware::fw_cfg(ram_size, cpus);
        if let Some((kernel, boot_rom)) = kernel {
            firmware::offer_kernel(&mut fw_cfg, kernel, &boot_rom);
        }
        if serial_screen {
            firmware::offer_serial_screen(&mut fw_cfg);
        }
        let mut pc = Self {
            pic: PicPair::new(),
            pit: I8254::new(0),
            rtc,
            hpet: Hpet::new(),
            keyboard: I8042::new(),
            serial: [Uart16550::new(), Uart16550::new()],
            sources: [Source::default(), Source::default()],
            control: SystemControl::new(),
            debug: DebugPorts::new(),
            debug_exit_port,
            test_device,
            apics: (0..cpus).map(|cpu| LocalApic::new(cpu as u8)).collect(),
            io_apic: IoApic::new(),
            pci,
            ata,
            dma: I8237::new(),
            floppy,
            vga: Vga::new(),
            fw_cfg,
            map,
            irqs: 0,
            pirqs: [false; 4],
            fpu_error: false,
            ferr: false,
            ignne: false,
            timer_rises: 0,
            clock_irq: false,
            hpet_rises: [0; hpet::TIMERS],
            hpet_inputs: 0,
            next_event: NEVER,
        };
        pc.power_on(&mut Access { cpu: 0, now: 0, mem: &mut mem });
        Ok((pc, mem))
    }

    /// Power-on or hard reset of every chip.
    fn power_on(&mut self, at: &mut Access<'_>) {
        let now = at.now;
        self.pic = PicPair::new();
        self.pit = I8254::new(now);
        self.rtc.reset(now);
        self.hpet = Hpet::new();
        self.keyboard = I8042::new();
        self.serial.iter_mut().for_each(Uart16550::reset);
        self.control = SystemControl::new();
        for (cpu, apic) in self.apics.iter_mut().enumerate() {
            *apic = LocalApic::new(cpu as u8);
        }
        self.io_apic = IoApic::new();
        self.pci.reset();
        self.ata.iter_mut().for_each(|channel| channel.reset(now));
        self.test_device = self.test_device.take().map(|_| TestDevice::new());
        self.dma = I8237::new();
        self.floppy.reset();
        self.vga.reset();
        self.fw_cfg.reset();
        (self.irqs, self.pirqs) = (0, [false; 4]);
        (self.fpu_error, self.ferr, self.ignne, self.clock_irq) = (false, false, false, false);
        self.timer_rises = 0;
        (self.hpet_rises, self.hpet_inputs) = ([0; hpet::TIMERS], 0);
        at.mem.set_a20(true);
        self.map.update(&self.pci, at.mem);
        self.place_local_apics(at);
        self.settle(at);
    }

    /// Maps the register page of each local APIC.
    fn place_local_apics(&mut self, at: &mut Access<'_>) {
        let pages = self.apics.iter().map(LocalApic::page).collect();
        self.map.place_local_apics(pages, &self.pci, at.mem);
    }

    /// Takes what the guest has sent through a serial port (0 is COM1).
    pub fn serial_output(&mut self, port: usize) -> Vec<u8> {
        self.serial[port & 1].take_output()
    }

    /// Queues characters for a serial port; returns how many there was room for.
    pub fn serial_input(&mut self, at: &mut Access<'_>, port: usize, bytes: &[u8]) -> usize {
        let count = self.serial[port & 1].send(bytes, at.now);
        self.settle(at);
        count
    }

    /// Connects a serial port to a source that is asked when the guest can take a character.
    pub fn set_console_source(&mut self, at: &mut Access<'_>, port: usize, source: Box<dyn ByteSource>) {
        self.sources[port & 1] = Source(Some(source));
        self.serial[port & 1].set_source(true, at.now);
        self.settle(at);
    }

    /// Takes what the guest wrote to the debug console.
    pub fn debugcon_output(&mut self) -> Vec<u8> {
        self.debug.take_output()
    }

    /// The last POST code.
    pub fn post_code(&self) -> u8 {
        self.debug.post_code()
    }

    /// True while the keyboard still has codes of earlier keys to send. It holds only few of them.
    pub fn keyboard_busy(&self) -> bool {
        self.keyboard.keyboard.has_data()
    }

    /// A key goes down or up.
    pub fn key_event(&mut self, at: &mut Access<'_>, key: Key, pressed: bool) {
        self.keyboard.key(key, pressed, at.now);
        self.settle(at);
    }

    /// The mouse moves (right, up, wheel towards the user) and holds `buttons` (bits 2:0: middle, right, left).
    pub fn mouse_event(&mut self, at: &mut Access<'_>, right: i32, up: i32, wheel: i32, buttons: u8) {
        self.keyboard.mouse(right, up, wheel, buttons, at.now);
        self.settle(at);
    }

    /// Presses the power button.
    pub fn press_power_button(&mut self, at: &mut Access<'_>) {
        self.pci.pm.press_power_button();
        self.settle(at);
    }

    /// The characters on the screen, `None` in graphics modes.
    pub fn text_screen(&self, now: Tick) -> Option<TextScreen> {
        self.vga.text_screen(now)
    }

    /// What a monitor shows.
    pub fn screen(&self, now: Tick) -> Image {
        self.vga.render(now)
    }

    /// True (the default, for virtual time): disks answer after their fixed latency, and the board waits for
    /// the host if need be. False (for host time): they answer when the host has done the work.
    pub fn set_disks_wait_for_host(&mut self, wait: bool) {
        self.ata.iter_mut().for_each(|channel| channel.set_wait_for_host(wait));
        self.floppy.set_wait_for_host(wait);
    }

    /// Asserts or releases INTA# to INTD# (`pin` 0 to 3) of a PCI slot.
    pub fn set_pci_interrupt(&mut self, at: &mut Access<'_>, slot: u8, pin: u8, asserted: bool) {
        self.pirqs[usize::from(crate::pci::pirq_of(slot, pin) & 3)] = asserted;
        self.settle(at);
    }
}
