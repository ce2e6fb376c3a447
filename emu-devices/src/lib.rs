//! Chips of the emu PC emulator and the board that wires them.
//!
//! Every chip is plain state in one file, told the time with each access and answering with the time of its
//! next event. Chips never name each other: the board ([`pc`]) connects their pins.
//!
//! ```
//! use emu_core::bus::{Access, Bus};
//! use emu_devices::pc::{Pc, PcConfig};
//!
//! let bios = vec![0; 64 << 10];
//! let (mut pc, mut mem) = Pc::new(PcConfig { bios, ..PcConfig::default() })?;
//! // A processor, one microsecond after power-on, sends a character through COM1.
//! let mut at = Access { cpu: 0, now: 1000, mem: &mut mem };
//! pc.port_write(&mut at, 0x3f8, 1, u32::from(b'A'));
//! assert_eq!(pc.serial_output(0), b"A");
//! # Ok::<(), emu_devices::pc::PcError>(())
//! ```

#![forbid(unsafe_code)]

pub mod acpi;
pub mod apic_message;
pub mod apic_timer;
pub mod ata;
pub mod block;
pub mod contents;
pub mod debug_ports;
pub mod direct_boot;
pub mod dma;
pub mod floppy;
pub mod fw_cfg;
pub mod hpet;
pub mod i8042;
pub mod i8237;
pub mod i8254;
pub mod i8259a;
pub mod io_apic;
pub mod keys;
pub mod linux_kernel;
pub mod local_apic;
pub mod mc146818;
pub mod pc;
pub mod pci;
pub mod ports;
pub mod ps2_keyboard;
pub mod ps2_mouse;
mod requests;
pub mod smbios;
pub mod system_control;
pub mod test_device;
pub mod uart16550;
pub mod vga;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod random;
