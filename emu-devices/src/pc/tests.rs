//! The board as its processor sees it.

mod dma;

use emu_core::bus::{Access, Bus, NEVER, Request, Tick};
use emu_core::mem::Memory;

use super::{Pc, PcConfig};
use crate::keys::Key;
use crate::uart16550::{ByteSource, NextByte};

/// A board with its memory and the time.
struct Machine {
    pc: Pc,
    mem: Memory,
    now: Tick,
}

impl Machine {
    fn new(config: PcConfig) -> Self {
        let (pc, mem) = Pc::new(config).unwrap();
        Self { pc, mem, now: 0 }
    }

    fn on<R>(&mut self, cpu: usize, act: impl FnOnce(&mut Pc, &mut Access<'_>) -> R) -> R {
        act(&mut self.pc, &mut Access { cpu, now: self.now, mem: &mut self.mem })
    }

    fn output(&mut self, port: u16, value: u8) {
        self.on(0, |pc, at| pc.port_write(at, port, 1, value.into()));
    }

    fn input(&mut self, port: u16) -> u8 {
        self.on(0, |pc, at| pc.port_read(at, port, 1)) as u8
    }

    fn store(&mut self, address: u64, value: u32) {
        self.on(0, |pc, at| pc.mmio_write(at, address, 4, value.into()));
    }

    fn pci(&mut self, function: u32, register: u32, value: u32) {
        self.on(0, |pc, at| {
            pc.port_write(at, 0xcf8, 4, 0x8000_0000 | function << 8 | register);
            pc.port_write(at, 0xcfc, 4, value);
        });
    }

    /// Lets time pass to the next event.
    fn step(&mut self) {
        self.now = self.pc.next_event();
        assert_ne!(self.now, NEVER);
        self.on(0, |pc, at| pc.advance(at));
    }

    fn acknowledge(&mut self, cpu: usize) -> u8 {
        assert!(self.pc.intr(cpu));
        self.on(cpu, |pc, at| pc.acknowledge(at))
    }

    fn byte(&self, address: u64) -> u8 {
        let mut byte = [0];
        self.mem.read_bytes(address, &mut byte);
        byte[0]
    }

    /// Both 8259A with vectors 08h and 70h and only these lines open.
    fn set_pics(&mut self, open: u16) {
        for (port, base, cascade) in [(0x20, 0x08, 4), (0xa0, 0x70, 2)] {
            self.output(port, 0x11);
            for value in [base, cascade, 1] {
                self.output(port + 1, value);
            }
        }
        self.output(0x21, !open as u8 & !4);
        self.output(0xa1, (!open >> 8) as u8);
    }
}

/// 64 KiB whose every page starts with its number.
fn bios() -> Vec<u8> {
    let mut image = vec![0; 0x10000];
    (0..16).for_each(|page| image[page * 0x1000] = page as u8);
    image[0xfff0] = 0xea;
    image
}

fn machine() -> Machine {
    Machine::new(PcConfig { ram_size: 16 << 20, bios: bios(), ..PcConfig::default() })
}

#[test]
fn the_firmware_ends_at_4_gib_and_at_1_mib() {
    let m = machine();
    assert_eq!((m.byte(0xffff_fff0), m.byte(0xf_fff0)), (0xea, 0xea));
    assert_eq!((m.byte(0xffff_3000), m.byte(0xf_3000)), (3, 3));
    assert_eq!(m.byte(0xe_0000), 0xff, "a 64 KiB image does not reach down to E0000h");
    assert_eq!(m.byte(0xc_0000), 0xff);
}

#[test]
fn pam_shadows_the_firmware() {
    let mut m = machine();
    m.pci(0, 0x58, 0x0000_2000); // PAM0: F0000h writes only
    m.mem.write_bytes(0xf_3000, &[0x77]);
    assert_eq!(m.byte(0xf_3000), 3, "reads still come from the ROM");
    m.pci(0, 0x58, 0x0000_1000);
    assert_eq!(m.byte(0xf_3000), 0x77);
    m.mem.write_bytes(0xf_3000, &[0x78]);
    assert_eq!(m.byte(0xf_3000), 0x77);
    m.on(0, |pc, at| pc.reset(at));
    assert_eq!(m.byte(0xf_3000), 3, "a reset brings the ROM back");
}

#[test]
fn much_ram_continues_above_4_gib() {
    let config = PcConfig { ram_size: 4 << 30, bios: bios(), ..PcConfig::default() };
    let mut m = Machine::new(config);
    m.mem.write_bytes(0xbfff_ffff, &[1, 2]);
    assert_eq!((m.byte(0xbfff_ffff), m.byte(0xc000_0000)), (1, 0xff));
    m.mem.write_bytes(0x1_3fff_ffff, &[5, 6]);
    assert_eq!((m.byte(0x1_3fff_ffff), m.byte(0x1_4000_0000)), (5, 0xff));
    m.output(0x70, 0x5c);
    assert_eq!(m.input(0x71), 0x40, "1 GiB in units of 64 KiB");
}

#[test]
fn cmos_tells_the_memory_size() {
    let mut m = machine();
    let mut word = |index: u8| {
        let mut read = |index| {
            m.output(0x70, index);
            u16::from(m.input(0x71))
        };
        read(index) | read(index + 1) << 8
    };
    assert_eq!((word(0x15), word(0x17), word(0x30), word(0x34)), (640, 15 * 1024, 15 * 1024, 0));
}

#[test]
fn the_timer_interrupts_through_the_8259_and_the_virtual_wire() {
    let mut m = machine();
    m.set_pics(1 << 0);
    for (port, value) in [(0x43, 0x34), (0x40, 0xa9), (0x40, 0x04)] {
        m.output(port, value); // mode 2, 1193 pulses: 1000.15 a second
    }
    let mut count = 0;
    while m.pc.next_event() <= 1_000_000_000 {
        m.step();
        if m.pc.intr(0) {
            assert_eq!(m.acknowledge(0), 0x08);
            m.output(0x20, 0x20);
            count += 1;
        }
    }
    assert_eq!(count, 1001, "1000.15, and the rise of OUT with the control word");
}

#[test]
fn the_timer_reaches_pin_2_of_the_io_apic() {
    let mut m = machine();
    m.store(0xfee0_00f0, 0x1ff);
    m.store(0xfee0_0350, 0x1_0000);
    m.store(0xfec0_0000, 0x14);
    m.store(0xfec0_0010, 0x31);
    for (port, value) in [(0x43, 0x34), (0x40, 100), (0x40, 0)] {
        m.output(port, value);
    }
    m.step();
    while !m.pc.intr(0) {
        m.step();
    }
    assert_eq!(m.acknowledge(0), 0x31);
}

#[test]
fn the_hpet_takes_the_timer_s_place_on_pin_2() {
    let mut m = machine();
    m.store(0xfee0_00f0, 0x1ff);
    m.store(0xfee0_0350, 0x1_0000);
    m.store(0xfec0_0000, 0x14);
    m.store(0xfec0_0010, 0x31);
    m.output(0x43, 0x34);
    m.store(0xfed0_0100, 0x14c); // timer 0: 32 bits, periodic, interrupt, first value as given
    m.store(0xfed0_0108, 100);
    m.store(0xfed0_0108, 200);
    m.store(0xfed0_0010, 3);
    for (time, vector) in [(1000, 0x31), (3000, 0x31)] {
        while m.pc.next_event() <= time {
            m.step();
        }
        assert_eq!((m.now, m.acknowledge(0)), (time, vector));
        m.store(0xfee0_00b0, 0);
        assert!(!m.pc.intr(0));
    }
}

#[test]
fn the_hpet_reaches_the_upper_pins_of_the_io_apic() {
    let mut m = machine();
    m.store(0xfee0_00f0, 0x1ff);
    m.store(0xfee0_0350, 0x1_0000);
    for (register, value) in [(0x10 + 2 * 20, 0x44), (0x10 + 2 * 21, 0x8045)] {
        m.store(0xfec0_0000, register);
        m.store(0xfec0_0010, value);
    }
    m.store(0xfed0_0120, 20 << 9 | 0x104); // timer 1: 32 bits, an edge on input 20
    m.store(0xfed0_0128, 100);
    m.store(0xfed0_0140, 21 << 9 | 0x106); // timer 2: 32 bits, a level on input 21
    m.store(0xfed0_0148, 200);
    m.store(0xfed0_0010, 1);
    m.step();
    assert_eq!((m.now, m.acknowledge(0)), (1000, 0x44));
    m.store(0xfee0_00b0, 0);
    m.step();
    assert_eq!((m.now, m.acknowledge(0)), (2000, 0x45));
    m.store(0xfee0_00b0, 0);
    assert_eq!(m.acknowledge(0), 0x45, "the level still stands");
    m.store(0xfed0_0020, 0b100);
    m.store(0xfee0_00b0, 0);
    assert!(!m.pc.intr(0));
}

#[test]
fn a_local_apic_answers_where_its_base_register_says() {
    let mut m = Machine::new(PcConfig { bios: bios(), cpus: 2, ..PcConfig::default() });
    let version = |m: &mut Machine, cpu, page: u64| m.on(cpu, |pc, at| pc.mmio_read(at, page + 0x30, 4));
    m.on(0, |pc, at| pc.msr_write(at, 0x1b, 0xfed4_0900)).unwrap();
    assert!(m.mem.page(0xfed4_0000).is_mmio());
    assert_eq!(
        (version(&mut m, 0, 0xfed4_0000) & 0xff, version(&mut m, 1, 0xfee0_0000) & 0xff),
        (0x14, 0x14)
    );
    assert_eq!(version(&mut m, 0, 0xfee0_0000), 0xffff_ffff, "it has left");
    assert_eq!(version(&mut m, 1, 0xfed4_0000), 0xffff_ffff, "it is the other one's");
    m.on(0, |pc, at| pc.msr_write(at, 0x1b, 0x10_0900)).unwrap(); // over RAM, which stays
    assert!(!m.mem.page(0xfed4_0000).is_mmio());
    m.mem.write_bytes(0x10_0000, &[7]);
    assert_eq!((m.byte(0x10_0000), version(&mut m, 1, 0xfee0_0000) & 0xff), (7, 0x14));
    m.on(0, |pc, at| pc.reset(at));
    assert_eq!(version(&mut m, 0, 0xfee0_0000) & 0xff, 0x14);
}

#[test]
fn the_clock_s_alarm_is_an_event_of_power_management() {
    let mut m = machine();
    m.pci(0x0b, 0x40, 0x601);
    m.pci(0x0b, 0x80, 1);
    m.store(0xfee0_00f0, 0x1ff);
    m.store(0xfee0_0350, 0x1_0000);
    m.store(0xfec0_0000, 0x10 + 2 * 9);
    m.store(0xfec0_0010, 0x8039);
    m.output(0xb2, 0xf1); // SCI instead of SMI
    m.output(0x603, 0x04); // RTC_EN
    for (index, value) in [(1, 0xc0), (3, 0xc0), (5, 0xc0), (0x0b, 0x22)] {
        m.output(0x70, index);
        m.output(0x71, value); // an alarm each second
    }
    assert!(!m.pc.intr(0));
    while m.input(0x601) & 4 == 0 {
        m.step();
    }
    assert!(m.now <= 2_000_000_000, "{}", m.now);
    assert_eq!(m.acknowledge(0), 0x39);
    m.output(0x601, 0x04);
    m.store(0xfee0_00b0, 0);
    assert!(!m.pc.intr(0));
}

#[test]
fn a_key_arrives_as_irq_1_with_its_scan_code() {
    let mut m = machine();
    m.set_pics(1 << 1);
    m.output(0x64, 0x60);
    m.output(0x60, 0x41);
    m.on(0, |pc, at| pc.key_event(at, Key::ENTER, true));
    m.step();
    assert_eq!(m.acknowledge(0), 0x09);
    assert_eq!(m.input(0x60), 0x1c);
}

#[test]
fn serial_output_arrives_and_interrupts() {
    let mut m = machine();
    m.set_pics(1 << 4);
    m.output(0x3f9, 2);
    assert_eq!(m.acknowledge(0), 0x0c);
    m.on(0, |pc, at| pc.port_write(at, 0x3f8, 1, 0x41));
    m.output(0x20, 0x20);
    assert!(m.pc.intr(0), "the edge after a write");
    assert_eq!(m.pc.serial_output(0), b"A");
}

struct Text(std::vec::IntoIter<u8>);

impl ByteSource for Text {
    fn next(&mut self, _sent: &mut Vec<u8>) -> NextByte {
        self.0.next().map_or(NextByte::End, NextByte::Byte)
    }
}

#[test]
fn a_console_source_is_read_at_the_pace_of_the_line() {
    let mut m = machine();
    let source = Box::new(Text(b"hi".to_vec().into_iter()));
    m.on(0, |pc, at| pc.set_console_source(at, 0, source));
    assert_eq!(m.pc.next_event(), NEVER, "nobody listens");
    m.output(0x3f9, 1);
    let mut seen = Vec::new();
    while m.pc.next_event() != NEVER {
        m.step();
        while m.input(0x3fd) & 1 != 0 {
            seen.push(m.input(0x3f8));
        }
    }
    assert_eq!(seen, b"hi");
    // 9600 baud with 5 data bits: 7 bits each; the end of the source is noticed a character later.
    assert!((3 * 729_000..3 * 730_000).contains(&m.now), "{}", m.now);
}

#[test]
fn both_ways_to_a20_agree() {
    let mut m = machine();
    m.output(0x92, 0);
    assert!(!m.mem.a20());
    m.output(0x64, 0xd0);
    assert_eq!(m.input(0x60) & 2, 0);
    m.output(0x64, 0xd1);
    m.output(0x60, 0xdf);
    assert!(m.mem.a20());
    assert_eq!(m.input(0x92) & 2, 2);
}

#[test]
fn requests_reach_the_driver() {
    let config = PcConfig { bios: bios(), debug_exit_port: Some(0x501), ..PcConfig::default() };
    let mut m = Machine::new(config);
    assert_eq!(m.pc.take_request(), None);
    m.on(0, |pc, at| pc.port_write(at, 0x501, 4, 0x1234_5678));
    assert_eq!(m.pc.take_request(), Some(Request::DebugExit(0x1234_5678)));
    for (port, value) in [(0x64, 0xfe), (0x92, 1), (0xcf9, 6)] {
        m.output(port, value);
        assert_eq!(m.pc.take_request(), Some(Request::Reset), "port {port:x}");
        assert_eq!(m.pc.take_request(), None);
        m.on(0, |pc, at| pc.reset(at));
    }
}

#[test]
fn byte_chips_split_wide_accesses_and_nothing_reads_as_ones() {
    let mut m = machine();
    let old_rtc = m.on(0, |pc, at| {
        pc.port_write(at, 0x70, 2, 0x5510); // index 10h, data 55h
        pc.port_read(at, 0x70, 2)
    });
    assert_eq!(old_rtc, 0x55ff);
    assert_eq!(m.on(0, |pc, at| pc.port_read(at, 0x1234, 4)), 0xffff_ffff);
    assert_eq!(m.on(0, |pc, at| pc.port_read(at, 0xe8, 2)), 0xe9ff);
    assert_eq!(m.input(0xe9), 0xe9);
}

#[test]
fn init_and_sipi_reach_the_other_processor() {
    let mut m = Machine::new(PcConfig { bios: bios(), cpus: 2, ..PcConfig::default() });
    m.store(0xfee0_0300, 0x000c_4500);
    assert!(m.pc.take_signals(1).init && !m.pc.take_signals(0).init);
    m.store(0xfee0_0310, 0x0100_0000);
    m.store(0xfee0_0300, 0x0000_4608);
    assert_eq!(m.pc.take_signals(1).sipi, Some(8));
}

#[test]
fn smis_come_by_message_and_from_the_apmc_port() {
    let mut m = Machine::new(PcConfig { bios: bios(), cpus: 2, ..PcConfig::default() });
    m.store(0xfee0_0310, 0x0100_0000);
    m.store(0xfee0_0300, 0x0000_4200);
    assert!(m.pc.take_signals(1).smi && !m.pc.take_signals(0).smi);
    m.pci(0xb, 0x40, 0x601);
    m.pci(0xb, 0x80, 1);
    m.pci(0xb, 0x58, 1 << 25);
    m.on(0, |pc, at| pc.port_write(at, 0x628, 4, 1));
    m.on(1, |pc, at| pc.port_write(at, 0xb2, 1, 0));
    assert!(!m.pc.take_signals(1).smi, "SMI# is the bootstrap processor's");
    assert!(m.pc.take_signals(0).smi && !m.pc.take_signals(0).smi);
}

#[test]
fn smram_lies_over_the_display_in_management_mode() {
    let mut m = machine();
    m.pci(0, 0x70, 0x004a_0000);
    m.mem.write_bytes(0xa_1234, &[0x5a]); // open: everybody's
    m.pci(0, 0x70, 0x000a_0000);
    assert_eq!(m.byte(0xa_1234), 0xff);
    m.mem.set_management(true);
    assert!(!m.mem.page(0xa_1234).is_mmio() && !m.mem.code_page(0xb_ffff).is_mmio());
    assert_eq!(m.byte(0xa_1234), 0xff, "not for bus masters");
    m.pci(0, 0x70, 0x002a_0000); // closed to data
    assert!(m.mem.page(0xa_1234).is_mmio() && !m.mem.code_page(0xa_1234).is_mmio());
    m.pci(0, 0x70, 0x0002_0000);
    assert!(m.mem.code_page(0xa_1234).is_mmio());
}

#[test]
fn lowest_priority_goes_to_the_least_busy_processor() {
    let mut m = Machine::new(PcConfig { bios: bios(), cpus: 2, ..PcConfig::default() });
    for cpu in 0..2 {
        m.on(cpu, |pc, at| {
            pc.mmio_write(at, 0xfee0_00f0, 4, 0x1ff);
            pc.mmio_write(at, 0xfee0_00d0, 4, 1 << (24 + cpu));
        });
    }
    m.pc.set_task_priority(0, 3);
    m.store(0xfee0_0310, 0x0300_0000);
    m.store(0xfee0_0300, 0x0000_4961); // lowest priority, logical, vector 61h
    assert!(!m.pc.intr(0));
    assert_eq!(m.acknowledge(1), 0x61);
}

#[test]
fn an_x87_error_is_irq_13_until_port_f0() {
    let mut m = machine();
    m.set_pics(1 << 13);
    m.pc.set_ferr(0, true);
    assert_eq!(m.acknowledge(0), 0x75);
    assert!(!m.pc.ignne(0));
    m.output(0xf0, 0);
    assert!(m.pc.ignne(0), "until FERR# goes away");
    m.output(0xa0, 0x0a);
    assert_eq!(m.input(0xa0) & 0x20, 0);
    m.pc.set_ferr(0, false);
    assert!(!m.pc.ignne(0));
    m.output(0xf0, 0);
    assert!(!m.pc.ignne(0), "no error, nothing to ignore");
}

#[test]
fn a_level_triggered_pin_interrupts_again_after_eoi() {
    let mut m = machine();
    m.store(0xfee0_00f0, 0x1ff);
    m.store(0xfec0_0000, 0x10 + 2 * 11);
    m.store(0xfec0_0010, 0x8042);
    m.pci(8, 0x60, 0x8080_800b); // PIIX3: PIRQA# to IRQ 11
    m.on(0, |pc, at| pc.set_pci_interrupt(at, 1, 0, true)); // slot 1, INTA#
    assert_eq!(m.acknowledge(0), 0x42);
    m.store(0xfee0_00b0, 0);
    assert_eq!(m.acknowledge(0), 0x42);
    m.on(0, |pc, at| pc.set_pci_interrupt(at, 1, 0, false));
    m.store(0xfee0_00b0, 0);
    assert!(!m.pc.intr(0));
}

#[test]
fn nonsense_configurations_are_refused() {
    let refused = |change: fn(&mut PcConfig)| {
        let mut config = PcConfig { ram_size: 1 << 20, bios: bios(), ..PcConfig::default() };
        change(&mut config);
        Pc::new(config).is_err()
    };
    assert!(!refused(|_| {}));
    assert!(refused(|c| c.ram_size = 0xff000));
    assert!(refused(|c| c.ram_size += 1));
    assert!(refused(|c| c.bios.truncate(0x8000)));
    assert!(refused(|c| c.bios.push(0)));
    assert!(refused(|c| c.cpus = 0));
    assert!(refused(|c| c.cpus = 256));
    assert!(refused(|c| c.vga_rom = Some(vec![0; 0x20001])));
}
