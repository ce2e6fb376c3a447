//! The board's wires: from the chips' pins to the interrupt controllers, and messages between the APICs.

use emu_core::bus::{Access, NEVER, Tick};

use super::Pc;
use crate::apic_message::{ApicMessage, DeliveryMode, Destination};
use crate::hpet;
use crate::test_device::TestDevice;
use crate::uart16550::NextByte;

/// How long a serial port leaves its source alone after it had nothing.
const SOURCE_PAUSE: Tick = 10_000_000;
/// I/O APIC pin of IRQ 0, whose own pin the 8259A could have.
const TIMER_PIN: usize = 2;

impl Pc {
    /// After anything that a chip may have noticed: wires, A20, the next event.
    pub(super) fn settle(&mut self, at: &mut Access<'_>) {
        if let Some(open) = self.keyboard.take_a20() {
            at.mem.set_a20(open);
            self.keyboard.set_a20(open);
        }
        self.update_irqs();
        self.update_next_event();
    }

    pub(super) fn update_next_event(&mut self) {
        let mut next = self.pit.next_event();
        let mut consider = |event: Tick| next = next.min(event);
        consider(self.rtc.next_event());
        consider(self.hpet.next_event());
        consider(self.keyboard.next_event());
        consider(self.pci.pm.next_event());
        self.serial.iter().for_each(|uart| consider(uart.next_event()));
        self.ata.iter().for_each(|channel| consider(channel.next_event()));
        consider(self.floppy.next_event());
        self.apics.iter().for_each(|apic| consider(apic.next_event()));
        self.next_event = next;
    }

    /// Levels of the ISA interrupt lines as the chips drive them.
    fn irq_levels(&self) -> u16 {
        let (timer, clock) = match self.hpet.replaces_legacy() {
            true => (self.hpet.line(0), self.hpet.line(1)),
            false => (self.pit.out0(), self.rtc.irq()),
        };
        let mut levels = u16::from(timer)
            | u16::from(self.keyboard.keyboard_irq()) << 1
            | u16::from(self.serial[1].irq()) << 3
            | u16::from(self.serial[0].irq()) << 4
            | u16::from(self.floppy.irq()) << 6
            | u16::from(clock) << 8
            | u16::from(self.pci.pm.sci()) << 9
            | u16::from(self.keyboard.aux_irq()) << 12
            | u16::from(self.fpu_error) << 13
            | u16::from(self.ata[0].irq()) << 14
            | u16::from(self.ata[1].irq()) << 15
            | self.test_device.as_ref().map_or(0, TestDevice::lines);
        for (pirq, _) in self.pirqs.iter().enumerate().filter(|&(_, &asserted)| asserted) {
            if let Some(irq) = self.pci.isa.route(pirq as u8) {
                levels |= 1 << irq;
            }
        }
        levels
    }

    /// Lines that were low for a moment since the last look, although they are high again.
    fn irq_pulses(&mut self) -> u16 {
        let pit = self.pit.rises0() != self.timer_rises;
        self.timer_rises = self.pit.rises0();
        let [first, second] = self.serial.each_mut().map(|uart| uart.take_drop());
        let rises = std::array::from_fn(|timer| self.hpet.rises(timer));
        let hpet = self.update_hpet_inputs(rises);
        let (timer, clock) = match self.hpet.replaces_legacy() {
            true => (hpet[0], hpet[1]),
            false => (pit, false),
        };
        u16::from(timer) | u16::from(second) << 3 | u16::from(first) << 4 | u16::from(clock) << 8
    }

    /// The HPET's own inputs of the I/O APIC; returns which timers' lines have risen.
    fn update_hpet_inputs(&mut self, rises: [u64; hpet::TIMERS]) -> [bool; hpet::TIMERS] {
        let risen = std::array::from_fn(|timer| rises[timer] != self.hpet_rises[timer]);
        self.hpet_rises = rises;
        let (mut levels, mut pulses) = (0, 0);
        for (timer, risen) in risen.iter().enumerate() {
            let Some(input) = self.hpet.route(timer) else { continue };
            levels |= u32::from(self.hpet.line(timer)) << input;
            pulses |= u32::from(*risen) << input;
        }
        let changed = (levels ^ self.hpet_inputs) | pulses & levels;
        self.hpet_inputs = levels;
        for input in (0..u32::BITS as usize).filter(|input| changed >> input & 1 != 0) {
            if pulses >> input & 1 != 0 {
                self.io_apic.set_pin(input, false);
            }
            self.io_apic.set_pin(input, levels >> input & 1 != 0);
        }
        if changed != 0 {
            self.send_messages();
        }
        risen
    }

    pub(super) fn update_irqs(&mut self) {
        let clock = self.rtc.irq();
        if clock && !self.clock_irq {
            self.pci.pm.note_clock_interrupt();
        }
        self.clock_irq = clock;
        let levels = self.irq_levels();
        let pulses = self.irq_pulses() & levels & self.irqs;
        let changed = (levels ^ self.irqs) | pulses;
        if changed == 0 {
            return;
        }
        self.irqs = levels;
        for irq in (0..16).filter(|irq| changed >> irq & 1 != 0) {
            if pulses >> irq & 1 != 0 {
                self.set_irq(irq, false);
            }
            self.set_irq(irq, levels >> irq & 1 != 0);
        }
        self.update_lint0();
        self.send_messages();
    }

    fn set_irq(&mut self, irq: u8, high: bool) {
        self.pic.set_irq(irq, high);
        self.io_apic.set_pin(if irq == 0 { TIMER_PIN } else { usize::from(irq) }, high);
        self.send_messages();
    }

    /// INT of the 8259A pair drives LINT0 of every processor.
    pub(super) fn update_lint0(&mut self) {
        let int = self.pic.int();
        self.apics.iter_mut().for_each(|apic| apic.set_lint(0, int));
    }

    /// Sends what the I/O APIC has to send.
    pub(super) fn send_messages(&mut self) {
        while let Some(message) = self.io_apic.take_message() {
            self.send(None, &message);
        }
    }

    /// After an access to the local APIC of `cpu`: its IPI and its EOI go out.
    pub(super) fn after_local_apic(&mut self, cpu: usize) {
        let apic = &mut self.apics[cpu];
        let (message, eoi) = (apic.take_message(), apic.take_eoi());
        if let Some(message) = message {
            self.send(Some(cpu), &message);
        }
        if let Some(vector) = eoi {
            self.io_apic.end_of_interrupt(vector);
            self.send_messages();
        }
        self.update_next_event();
    }

    /// Carries a message to everybody it names.
    fn send(&mut self, sender: Option<usize>, message: &ApicMessage) {
        let named = |cpu: usize, apic: &crate::local_apic::LocalApic| match message.destination {
            Destination::Itself => sender == Some(cpu),
            Destination::All => true,
            Destination::Others => sender != Some(cpu),
            destination => apic.is_named(destination),
        };
        if message.mode == DeliveryMode::LowestPriority {
            let chosen = (self.apics.iter_mut().enumerate())
                .filter(|(cpu, apic)| named(*cpu, apic) && apic.competes())
                .min_by_key(|(_, apic)| apic.arbitration_priority());
            if let Some((_, apic)) = chosen {
                apic.deliver(message);
            }
            return;
        }
        for (cpu, apic) in self.apics.iter_mut().enumerate() {
            if named(cpu, apic) {
                apic.deliver(message);
            }
        }
    }

    /// Lets every chip act whose time has come.
    pub(super) fn run_chips(&mut self, at: &mut Access<'_>) {
        let now = at.now;
        let due = |event: Tick| event <= now && event != NEVER;
        if due(self.pit.next_event()) {
            self.pit.advance(now);
        }
        if due(self.rtc.next_event()) {
            self.rtc.advance(now);
        }
        if due(self.hpet.next_event()) {
            self.hpet.advance(now);
        }
        if due(self.keyboard.next_event()) {
            self.keyboard.advance(now);
        }
        if due(self.pci.pm.next_event()) {
            self.pci.pm.advance(now);
        }
        for port in 0..self.serial.len() {
            if due(self.serial[port].next_event()) && self.serial[port].advance(now) {
                self.ask_source(port, now);
            }
        }
        for channel in 0..self.ata.len() {
            if due(self.ata[channel].next_event()) {
                self.ata[channel].advance(now);
                self.serve_ata(at, channel);
            }
        }
        if due(self.floppy.next_event()) {
            self.floppy.advance(now);
            self.serve_floppy(at);
        }
        for apic in &mut self.apics {
            if due(apic.next_event()) {
                apic.advance(now);
            }
        }
        self.settle(at);
    }

    /// Gives a serial port its next character from the source behind it.
    fn ask_source(&mut self, port: usize, now: Tick) {
        let uart = &mut self.serial[port];
        let source = self.sources[port].0.as_mut();
        match source.map_or(NextByte::End, |source| source.next(uart.output_mut())) {
            NextByte::Byte(byte) => uart.receive(byte, now),
            NextByte::Later => uart.wait_until(now.saturating_add(SOURCE_PAUSE)),
            NextByte::End => {
                self.sources[port].0 = None;
                uart.set_source(false, now);
            }
        }
    }

    /// After anything that the floppy disk controller or the DMA controllers have noticed: DMA channel 2.
    pub(super) fn serve_floppy(&mut self, at: &mut Access<'_>) {
        self.dma.serve(2, &mut self.floppy, at.mem, at.now);
    }

    /// After anything that an ATA channel has noticed: its bus master.
    pub(super) fn serve_ata(&mut self, at: &mut Access<'_>, channel: usize) {
        self.pci.ide.service(channel, &mut self.ata[channel], at.mem, at.now);
    }
}
