//! Devices that can be asked how they are.

use super::{Check, Outcome, ensure};
use crate::{apic, irq, keyboard, pci, rtc, serial, vga};

pub const CHECKS: &[Check] = &[
    ("device.serial_loopback", || {
        ensure!(serial::loopback_works(), "bytes or modem lines did not come back");
        Ok(())
    }),
    ("device.serial_identity", || {
        // With the FIFOs on, IIR 7:6 says so; they are off only when input was waiting at power-on.
        ensure!(serial::identity_fits(), "IIR does not show the FIFOs as they were set");
        Ok(())
    }),
    ("device.serial_scratch", || {
        ensure!(serial::scratch_works(), "the scratch register forgets");
        Ok(())
    }),
    ("device.keyboard", keyboard_controller),
    ("device.clock", clock),
    ("device.screen", screen),
    ("device.pci", pci_bus),
    ("device.apic", apic_versions),
];

fn keyboard_controller() -> Outcome {
    let (lines, configuration, echo) = keyboard::check();
    ensure!(lines == Some(0), "test of the keyboard lines says {lines:?}");
    ensure!(configuration.is_some_and(|byte| byte & 0x51 == 0x41), "configuration {configuration:?}");
    ensure!(echo, "no echo from the keyboard");
    Ok(())
}

fn clock() -> Outcome {
    ensure!(rtc::battery_good(), "the battery is empty");
    let [year, month, day, hour, minute, second] = rtc::now();
    let good = (2000..2100).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    ensure!(good, "{year}-{month}-{day} {hour}:{minute}:{second}");
    Ok(())
}

/// What was printed can be read back, and the cursor stands where the text ends.
fn screen() -> Outcome {
    vga::write(b"screen");
    let (row, column) = vga::cursor();
    let text: [u8; 6] = core::array::from_fn(|i| vga::character(row, i));
    vga::write(b"\x08\x08\x08\x08\x08\x08      \r");
    ensure!(column == 6 && text == *b"screen", "cursor at column {column}, text {text:?}");
    Ok(())
}

fn pci_bus() -> Outcome {
    let host = pci::find(0x8086, 0x1237);
    ensure!(host.is_some_and(|f| f.device == 0 && f.read(8) >> 16 == 0x0600), "no 82441FX host bridge");
    ensure!(pci::find(0x8086, 0x7000).is_some_and(|f| f.read(8) >> 16 == 0x0601), "no PIIX3 ISA bridge");
    Ok(())
}

fn apic_versions() -> Outcome {
    if !irq::by_apic() {
        return Ok(());
    }
    let (local, io) = apic::versions();
    ensure!(local & 0xF0 == 0x10 && local >> 16 & 0xFF >= 3, "local APIC version {local:#x}");
    ensure!(apic::inputs() == 24, "I/O APIC version {io:#x}");
    Ok(())
}
