//! Every chip of this crate's root under 10,000 random accesses at random times: no panic, no event that stays
//! due, no growth, and the same accesses give the same state. `EMU_FUZZ_SECONDS=600` has each such test of the crate
//! go on for ten minutes.

use std::fmt::Debug;

use emu_core::bus::{PortIo, Tick};

use crate::apic_message::{ApicMessage, DeliveryMode, Destination};
use crate::debug_ports::DebugPorts;
use crate::hpet::Hpet;
use crate::i8042::I8042;
use crate::i8237::I8237;
use crate::i8254::I8254;
use crate::i8259a::PicPair;
use crate::io_apic::IoApic;
use crate::keys::Key;
use crate::local_apic::LocalApic;
use crate::mc146818::Mc146818;
use crate::random::{Random, seeds};
use crate::system_control::SystemControl;
use crate::test_device::TestDevice;
use crate::uart16550::Uart16550;

const ACCESSES: u32 = 10_000;
/// Characters in the debug print of a chip: some five for each byte of state, with room for the 64 KiB of input
/// that a serial port holds.
const LIMIT: usize = 400_000;

/// A time not before `now`: mostly nanoseconds or microseconds later, rarely days.
pub fn later(random: &mut Random, now: Tick) -> Tick {
    let most = match random.below(100) {
        0..40 => 100,
        40..80 => 100_000,
        80..98 => 100_000_000,
        98 => 100_000_000_000,
        _ => 100_000_000_000_000,
    };
    now + (u128::from(random.next()) * most / (1 << 32)) as Tick
}

/// Of an access only the effect counts.
pub fn ignore<T>(_result: T) {}

/// Runs the same random accesses on two chips and compares them.
fn hammer<T: PartialEq + Debug>(new: impl Fn() -> T, access: impl Fn(&mut T, &mut Random, Tick)) {
    for seed in seeds(1..4) {
        let run = || {
            let (mut chip, mut random, mut now) = (new(), Random::new(seed), 0);
            for _ in 0..ACCESSES {
                now = later(&mut random, now);
                access(&mut chip, &mut random, now);
            }
            chip
        };
        let chip = run();
        assert!(format!("{chip:?}").len() < LIMIT, "it grows");
        assert_eq!(chip, run());
    }
}

/// A random read or write of one of these ports.
fn touch(chip: &mut impl PortIo, ports: &[u16], random: &mut Random, now: Tick) {
    let port = ports[random.below(ports.len() as u32) as usize];
    if random.below(2) == 0 {
        chip.read8(port, now);
    } else {
        chip.write8(port, random.next() as u8, now);
    }
}

#[test]
fn hpet() {
    hammer(Hpet::new, |hpet, random, now| {
        hpet.advance(now);
        assert!(hpet.next_event() > now, "an event stays due: {hpet:?}");
        let (offset, size) = (u64::from(random.below(0x170)) & !3, 4 << random.below(2));
        let value = u64::from(random.next()) << (32 * random.below(2)) >> random.below(32);
        match random.below(2) {
            0 => ignore(hpet.read(offset, size, now)),
            _ => hpet.write(offset, size, value, now),
        }
    });
}

#[test]
fn i8259a() {
    hammer(PicPair::new, |pic, random, now| match random.below(4) {
        0 => pic.set_irq(random.below(16) as u8, random.below(2) == 0),
        1 => ignore(pic.int().then(|| pic.acknowledge())),
        _ => touch(pic, &[0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1], random, now),
    });
}

#[test]
fn i8237() {
    let ports: Vec<u16> = (0..0x10).chain(0x80..0x90).chain(0xc0..0xe0).collect();
    hammer(I8237::new, |dma, random, now| touch(dma, &ports, random, now));
}

#[test]
fn test_device() {
    hammer(TestDevice::new, |device, random, _| {
        let (port, size, value) = (0xe0 + random.below(0x30) as u16, random.size(), random.next());
        match random.below(4) {
            0 => ignore(device.port_read(port, size)),
            1 => ignore(device.port_write(port, size, value)),
            2 => ignore(device.memory_read(random.below(0x1_0000).into(), size)),
            _ => device.memory_write(random.below(0x1_0000).into(), size, value.into()),
        }
        ignore(device.lines());
    });
}

#[test]
fn i8254() {
    hammer(I8254::default, |pit, random, now| {
        pit.advance(now);
        match random.below(8) {
            0 => pit.set_gate2(random.below(2) == 0, now),
            1 => ignore((pit.out2(now), pit.refresh_toggle(now))),
            _ => touch(pit, &[0x40, 0x41, 0x42, 0x43], random, now),
        }
        assert!(pit.next_event() > now);
    });
}

#[test]
fn mc146818() {
    hammer(
        || Mc146818::new(1_700_000_000, 0),
        |rtc, random, now| {
            touch(rtc, &[0x70, 0x71, 0x71], random, now);
            rtc.advance(now);
            assert!(rtc.next_event() > now);
        },
    );
}

#[test]
fn i8042() {
    hammer(I8042::new, |chip, random, now| {
        match random.below(4) {
            0 => {
                let key = Key { code: random.next() as u8, extended: random.below(2) == 0 };
                chip.key(key, random.below(2) == 0, now);
            }
            1 => {
                let by = |random: &mut Random| random.next() as i32;
                let (x, y, z) = (by(random), by(random), by(random));
                chip.mouse(x, y, z, random.next() as u8, now);
            }
            _ => touch(chip, &[0x60, 0x64], random, now),
        }
        chip.advance(now);
        assert!(chip.next_event() > now);
    });
}

#[test]
fn uart16550() {
    hammer(Uart16550::new, |uart, random, now| {
        match random.below(16) {
            0 => ignore(uart.send(&[random.next() as u8; 100], now)),
            1 => uart.set_source(random.below(2) == 0, now),
            2 => uart.receive(random.next() as u8, now),
            3 => ignore(uart.take_output()),
            _ => touch(uart, &[0, 1, 2, 3, 4, 5, 6, 7], random, now),
        }
        if uart.advance(now) {
            uart.receive(b'x', now);
        }
        assert!(uart.next_event() > now);
    });
}

#[test]
fn local_apic() {
    hammer(
        || LocalApic::new(0),
        |apic, random, now| {
            let (offset, value) = (u64::from(random.below(0x1000)), u64::from(random.next()));
            match random.below(10) {
                0 => ignore(apic.read(offset, 1 << random.below(4), now)),
                1 => apic.write(offset, 1 << random.below(4), value, now),
                2..5 => apic.write(offset & 0x3f0, 4, value, now),
                5 => ignore(apic.read_msr(0x800 + random.below(0x100), now)),
                6 => ignore(apic.write_msr(0x800 + random.below(0x40), value & 0x1ff, now)),
                7 => ignore((
                    apic.set_base(0xfee0_0000 | (value & 0xf00)),
                    apic.set_deadline(now + value, now),
                )),
                8 => apic.deliver(&ApicMessage {
                    destination: Destination::Itself,
                    mode: DeliveryMode::from_bits(value as u32).unwrap_or(DeliveryMode::Fixed),
                    vector: (value >> 16) as u8,
                    level_triggered: value & 1 != 0,
                    assert: true,
                }),
                _ => ignore((apic.acknowledge(), apic.take_message(), apic.take_eoi(), apic.take_signals())),
            }
            apic.set_lint(random.below(2) as usize, random.below(2) == 0);
            apic.advance(now);
            assert!(apic.next_event() > now);
        },
    );
}

#[test]
fn io_apic() {
    hammer(IoApic::new, |chip, random, _| {
        match random.below(5) {
            0 => chip.set_pin(random.below(32) as usize, random.below(2) == 0),
            1 => chip.write(0, 4, random.below(0x50).into()),
            2 => chip.write(0x10, 4, random.next().into()),
            3 => chip.write(random.below(0x1000).into(), 1 << random.below(4), random.next().into()),
            _ => ignore(chip.read(random.below(0x1000).into(), 1 << random.below(4))),
        }
        let messages = std::iter::from_fn(|| chip.take_message()).take(100).count();
        assert!(messages <= 24, "it never stops");
    });
}

#[test]
fn system_control_and_debug_ports() {
    hammer(
        || (SystemControl::new(), DebugPorts::new()),
        |(control, debug), random, _| {
            let value = random.next() as u8;
            match random.below(6) {
                0 => ignore((control.write_61(value), control.read_61(value & 1 != 0, value & 2 != 0))),
                1 => ignore((control.write_92(value), control.read_92(value & 1 != 0), control.take_reset())),
                2 => control.write_cf9(value),
                3 => debug.write_console(value),
                4 => debug.write_exit(random.next()),
                _ => debug.write_post_code(value),
            }
        },
    );
}
