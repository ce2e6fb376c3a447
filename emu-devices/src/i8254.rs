//! Intel 8254 programmable interval timer: three 16-bit down counters on ports 40h to 43h.
//!
//! Manual: Intel 231164, "Control Word Format", "Counter Latch Command", "Read-Back Command", "Mode Definitions".
//! Modelled: all six modes, binary and BCD, all access modes, both latches, GATE, OUT, null count. Counters
//! are brought up to date when somebody looks; between looks they are a formula of the time.
//! Where the manual says nothing: from the write of the first count to the CLK that loads it the counting
//! element is undefined; here it reads as that count. A CLK is hundreds of instructions long, and guests (our
//! own kernel among them) read a counter right after they have set it up.
//! Open questions: a count of 1 in modes 2 and 3, which the manual forbids, counts as 2; BCD digits above 9
//! count with their weight.

use emu_core::bus::{NEVER, OPEN_BUS, PortIo, TICKS_PER_SECOND, Tick};

/// Port of counter 0; 1 and 2 follow.
pub const COUNTER0: u16 = 0x40;
/// Port of the control word.
pub const CONTROL: u16 = 0x43;
/// Frequency of the CLK inputs in a PC.
pub const CLOCK_HZ: u64 = 1_193_182;

const READ_BACK: u8 = 0b11;
const ACCESS_LATCH: u8 = 0;
const ACCESS_LOW: u8 = 1;
const ACCESS_HIGH: u8 = 2;

/// CLK pulses since power-on.
fn clocks(now: Tick) -> u64 {
    let (seconds, rest) = (now / TICKS_PER_SECOND, now % TICKS_PER_SECOND);
    seconds * CLOCK_HZ + rest * CLOCK_HZ / TICKS_PER_SECOND
}

/// The first tick at which `clock` pulses have come.
fn tick_of(clock: u64) -> Tick {
    let (seconds, rest) = (clock / CLOCK_HZ, clock % CLOCK_HZ);
    let rest = (rest * TICKS_PER_SECOND).div_ceil(CLOCK_HZ);
    seconds.checked_mul(TICKS_PER_SECOND).and_then(|t| t.checked_add(rest)).unwrap_or(NEVER)
}

/// What the counting element does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Waits for a count or a trigger.
    #[default]
    Idle,
    /// The next CLK loads the count register into the counting element.
    Load,
    Counting,
}

/// One counter.
#[derive(Clone, Debug, Default, PartialEq)]
struct Counter {
    mode: u8,
    /// RW1:RW0.
    access: u8,
    bcd: bool,
    /// CR: the count register, as a number of pulses (1 to 65536).
    reload: u32,
    /// A count was written since the control word.
    written: bool,
    /// CE was loaded since the control word.
    loaded: bool,
    /// NULL COUNT: CR is not yet in the counting element.
    null: bool,
    gate: bool,
    out: bool,
    phase: Phase,
    /// CE: the counting element at `clock`.
    count: u32,
    /// Mode 3: this half cycle counts an odd N.
    odd: bool,
    /// Modes 0, 1, 4, 5: OUT has done what it does once.
    expired: bool,
    /// Pulse that this state is as of.
    clock: u64,
    /// OUT went up so many times.
    rises: u64,
    /// OL: the latched count.
    latched: Option<u16>,
    latched_status: Option<u8>,
    read_high_next: bool,
    write_high_next: bool,
    /// Low byte of a count whose high byte is to come.
    low: u8,
}

impl Counter {
    fn modulus(&self) -> u32 {
        if self.bcd { 10_000 } else { 0x1_0000 }
    }

    fn set_out(&mut self, out: bool) {
        self.rises += u64::from(out && !self.out);
        self.out = out;
    }

    fn load(&mut self) {
        self.odd = self.mode == 3 && self.reload % 2 == 1;
        self.count = if self.odd { self.reload - 1 } else { self.reload };
        self.loaded = true;
        self.null = false;
    }

    /// The counting element stands still: GATE is low in a mode where it enables counting.
    fn paused(&self) -> bool {
        !self.gate && !matches!(self.mode, 1 | 5)
    }

    /// Pulses until OUT changes, if it ever does by itself.
    fn pulses_to_change(&self) -> Option<u64> {
        match self.phase {
            Phase::Idle => None,
            Phase::Load => Some(1),
            Phase::Counting if self.mode >= 4 && !self.out => Some(1), // the strobe ends whatever GATE does
            Phase::Counting if self.paused() => None,
            Phase::Counting => match self.mode {
                2 if self.out => Some(u64::from(self.count) - 1),
                2 => Some(1),
                3 => Some(u64::from(self.count / 2) + u64::from(self.odd && self.out)),
                _ if self.expired => None,
                _ => Some(u64::from(self.count)),
            },
        }
    }

    /// Counts `pulses`, fewer than it takes to change OUT.
    fn count_down(&mut self, pulses: u64) {
        if self.phase != Phase::Counting || self.paused() {
            return;
        }
        let step = if self.mode == 3 { 2 * pulses } else { pulses };
        let modulus = u64::from(self.modulus());
        // The full count 0 keeps its upper name (65536 or 10000) until the first pulse. BCD digits above 9 make for
        // larger ones yet, which do not wrap before they are through.
        let count = u64::from(self.count);
        let wrapped = || (count + modulus - step % modulus) % modulus;
        self.count = count.checked_sub(step).unwrap_or_else(wrapped) as u32;
    }

    /// What happens with the pulse that changes OUT.
    fn change(&mut self) {
        if self.phase == Phase::Load {
            self.phase = Phase::Counting;
            self.expired = false;
            self.load();
            self.set_out(self.mode > 1);
            return;
        }
        match self.mode {
            2 if self.out => {
                self.count = 1;
                self.set_out(false);
            }
            2 | 3 => {
                self.load();
                self.set_out(!self.out);
            }
            4 | 5 if !self.out => {
                self.count_down(1);
                self.expired = true;
                self.set_out(true);
            }
            mode => {
                self.count = 0;
                self.expired = mode < 4;
                self.set_out(mode < 4);
            }
        }
    }

    /// Brings the counter to pulse `to`.
    fn run(&mut self, to: u64) {
        while self.clock < to {
            let left = to - self.clock;
            if self.phase == Phase::Counting && !self.null && !self.paused() && matches!(self.mode, 2 | 3) {
                let periods = left / u64::from(self.reload);
                self.clock += periods * u64::from(self.reload);
                self.rises += periods;
                if self.clock == to {
                    return;
                }
            }
            let left = to - self.clock;
            match self.pulses_to_change() {
                Some(pulses) if pulses <= left => {
                    self.clock += pulses;
                    self.change();
                }
                _ => {
                    self.count_down(left);
                    self.clock = to;
                }
            }
        }
    }

    fn control(&mut self, word: u8) {
        *self = Self {
            access: word >> 4 & 0b11,
            // Modes 6 and 7 are 2 and 3 with a "don't care" bit.
            mode: match word >> 1 & 0b111 {
                mode @ 6.. => mode - 4,
                mode => mode,
            },
            bcd: word & 1 != 0,
            null: true,
            reload: 2,
            gate: self.gate,
            out: self.out,
            clock: self.clock,
            rises: self.rises,
            ..Self::default()
        };
        self.set_out(self.mode != 0);
    }

    fn set_gate(&mut self, high: bool) {
        let rising = high && !self.gate;
        self.gate = high;
        match self.mode {
            1 | 5 | 2 | 3 if rising && self.written => self.phase = Phase::Load,
            2 | 3 if !high => self.set_out(true),
            _ => {}
        }
    }

    /// CE as a read shows it.
    fn shown(&self) -> u16 {
        let first = if self.written { self.reload } else { 0 };
        let count = if self.loaded { self.count } else { first } % self.modulus();
        if !self.bcd {
            return count as u16;
        }
        (0..4).fold(0, |bcd, digit| bcd | ((count / 10u32.pow(digit) % 10) << (4 * digit)) as u16)
    }

    fn latch_count(&mut self) {
        if self.latched.is_none() {
            self.latched = Some(self.shown());
        }
    }

    fn latch_status(&mut self) {
        if self.latched_status.is_none() {
            let word = self.access << 4 | self.mode << 1 | u8::from(self.bcd);
            self.latched_status = Some(u8::from(self.out) << 7 | u8::from(self.null) << 6 | word);
        }
    }

    fn read(&mut self) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let [low, high] = self.latched.unwrap_or_else(|| self.shown()).to_le_bytes();
        let (value, done) = match self.access {
            ACCESS_LOW => (low, true),
            ACCESS_HIGH => (high, true),
            _ if self.read_high_next => (high, true),
            _ => (low, false),
        };
        self.read_high_next = !done;
        if done {
            self.latched = None;
        }
        value
    }

    fn write(&mut self, value: u8) {
        match self.access {
            ACCESS_LOW => self.set_count(u16::from(value)),
            ACCESS_HIGH => self.set_count(u16::from(value) << 8),
            _ if self.write_high_next => {
                self.write_high_next = false;
                self.set_count(u16::from_le_bytes([self.low, value]));
            }
            _ => {
                self.low = value;
                self.write_high_next = true;
                if self.mode == 0 {
                    // "Mode 0": the first byte disables counting and takes OUT down.
                    self.phase = Phase::Idle;
                    self.set_out(false);
                }
            }
        }
    }

    fn set_count(&mut self, value: u16) {
        let count = if self.bcd {
            (0..4).map(|digit| u32::from(value >> (4 * digit) & 0xf) * 10u32.pow(digit)).sum()
        } else {
            u32::from(value)
        };
        self.reload = match (count, self.mode) {
            (0, _) => self.modulus(),
            (1, 2 | 3) => 2,
            (count, _) => count,
        };
        self.null = true;
        match self.mode {
            0 => {
                self.set_out(false);
                self.phase = Phase::Load;
            }
            4 => self.phase = Phase::Load,
            2 | 3 if self.phase == Phase::Idle => self.phase = Phase::Load,
            _ => {}
        }
        self.written = true;
    }
}

/// The 8254.
#[derive(Clone, Debug, PartialEq)]
pub struct I8254 {
    counters: [Counter; 3],
    /// When OUT 0 changes next.
    due: Tick,
}

impl Default for I8254 {
    fn default() -> Self {
        Self::new(0)
    }
}

impl I8254 {
    /// Power-on: the manual leaves the counters open. Counter 1 refreshes memory from the start (18 pulses,
    /// as every PC BIOS sets it); 0 and 2 wait for a control word. GATE 0 and 1 are tied high.
    pub fn new(now: Tick) -> Self {
        let clock = clocks(now);
        let counter = |gate| Counter { clock, gate, null: true, access: 3, reload: 2, ..Counter::default() };
        let mut pit = Self { counters: [counter(true), counter(true), counter(false)], due: NEVER };
        pit.counters[1].control(0x54);
        pit.counters[1].write(18);
        pit
    }

    fn run(&mut self, now: Tick) {
        let clock = clocks(now);
        for counter in &mut self.counters {
            counter.run(clock);
        }
        let timer = &self.counters[0];
        self.due = timer.pulses_to_change().map_or(NEVER, |pulses| tick_of(timer.clock + pulses));
    }

    /// Level of OUT 0 (IRQ 0) as of the last access or [`advance`](Self::advance).
    pub fn out0(&self) -> bool {
        self.counters[0].out
    }

    /// How many times OUT 0 went up since power-on.
    pub fn rises0(&self) -> u64 {
        self.counters[0].rises
    }

    /// Level of OUT 2 (the speaker).
    pub fn out2(&mut self, now: Tick) -> bool {
        self.counters[2].run(clocks(now));
        self.counters[2].out
    }

    /// Toggles with every refresh request of counter 1.
    pub fn refresh_toggle(&mut self, now: Tick) -> bool {
        self.counters[1].run(clocks(now));
        self.counters[1].rises & 1 != 0
    }

    /// Sets GATE 2.
    pub fn set_gate2(&mut self, high: bool, now: Tick) {
        self.counters[2].run(clocks(now));
        self.counters[2].set_gate(high);
    }

    /// When OUT 0 changes next.
    pub fn next_event(&self) -> Tick {
        self.due
    }

    /// Brings OUT 0 up to date.
    pub fn advance(&mut self, now: Tick) {
        self.run(now);
    }

    fn control(&mut self, word: u8) {
        let select = word >> 6;
        if select == READ_BACK {
            for (number, counter) in self.counters.iter_mut().enumerate() {
                if word & 2 << number == 0 {
                    continue;
                }
                if word & 0x20 == 0 {
                    counter.latch_count();
                }
                if word & 0x10 == 0 {
                    counter.latch_status();
                }
            }
            return;
        }
        let counter = &mut self.counters[usize::from(select)];
        match word >> 4 & 0b11 {
            ACCESS_LATCH => counter.latch_count(),
            _ => counter.control(word),
        }
    }
}

impl PortIo for I8254 {
    fn read8(&mut self, port: u16, now: Tick) -> u8 {
        self.run(now);
        match port {
            COUNTER0..CONTROL => self.counters[usize::from(port - COUNTER0)].read(),
            _ => OPEN_BUS, // the control word cannot be read
        }
    }

    fn write8(&mut self, port: u16, value: u8, now: Tick) {
        self.run(now);
        match port {
            COUNTER0..CONTROL => self.counters[usize::from(port - COUNTER0)].write(value),
            _ => self.control(value),
        }
        self.run(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sets counter `number` up; the count is written at time 0, so pulse 1 loads it.
    fn counter(number: u16, mode: u8, count: u16) -> I8254 {
        let mut pit = I8254::new(0);
        pit.set_gate2(true, 0);
        pit.write8(0x43, (number as u8) << 6 | 0x30 | mode << 1, 0);
        let [low, high] = count.to_le_bytes();
        pit.write8(0x40 + number, low, 0);
        pit.write8(0x40 + number, high, 0);
        pit
    }

    fn read(pit: &mut I8254, number: u16, clock: u64) -> u16 {
        pit.write8(0x43, (number as u8) << 6, tick_of(clock));
        let low = pit.read8(0x40 + number, tick_of(clock));
        let high = pit.read8(0x40 + number, tick_of(clock));
        u16::from_le_bytes([low, high])
    }

    /// OUT 2 at each of the first pulses.
    fn wave(pit: &mut I8254, pulses: u64) -> String {
        (1..=pulses).map(|clock| if pit.out2(tick_of(clock)) { '#' } else { '_' }).collect()
    }

    #[test]
    fn mode_0_raises_out_n_plus_1_pulses_after_the_write() {
        assert_eq!(wave(&mut counter(2, 0, 4), 8), "____####");
    }

    #[test]
    fn the_first_count_reads_back_before_its_clk() {
        let mut pit = counter(2, 0, 0x1234);
        assert_eq!(read(&mut pit, 2, 0), 0x1234);
    }

    #[test]
    fn mode_0_counts_on_through_ffff() {
        let mut pit = counter(2, 0, 4);
        assert_eq!(read(&mut pit, 2, 1), 4);
        assert_eq!(read(&mut pit, 2, 5), 0);
        assert_eq!(read(&mut pit, 2, 6), 0xffff);
    }

    #[test]
    fn mode_0_waits_while_gate_is_low() {
        let mut pit = counter(2, 0, 4);
        pit.set_gate2(false, tick_of(2));
        assert_eq!(read(&mut pit, 2, 100), 3);
        pit.set_gate2(true, tick_of(100));
        assert!(!pit.out2(tick_of(102)));
        assert!(pit.out2(tick_of(103)));
    }

    #[test]
    fn mode_1_is_a_retriggerable_one_shot() {
        let mut pit = counter(2, 1, 3);
        assert_eq!(wave(&mut pit, 4), "####", "no trigger yet");
        pit.set_gate2(false, tick_of(4));
        pit.set_gate2(true, tick_of(4));
        assert!(!pit.out2(tick_of(5)));
        pit.set_gate2(false, tick_of(6));
        pit.set_gate2(true, tick_of(6));
        assert!(!pit.out2(tick_of(9)), "started again at pulse 7");
        assert!(pit.out2(tick_of(10)));
    }

    /// Found by random accesses: an event that stayed due, so that the board never came to an end with it.
    #[test]
    fn bcd_digits_above_nine_leave_no_event_due() {
        for (mode, pulses) in (0..6).flat_map(|mode| (1..20_000).map(move |pulses| (mode, pulses))) {
            let mut pit = I8254::new(0);
            pit.write8(CONTROL, 0x31 | mode << 1, 0);
            pit.write8(COUNTER0, 0xff, 0);
            pit.write8(COUNTER0, 0xff, 0);
            for now in [tick_of(1), tick_of(1 + pulses)] {
                pit.advance(now);
                assert!(pit.next_event() > now, "mode {mode}, after {pulses} pulses: {pit:?}");
            }
        }
    }

    #[test]
    fn mode_2_is_low_for_the_last_pulse_of_n() {
        assert_eq!(wave(&mut counter(2, 2, 3), 9), "##_##_##_");
        assert_eq!(wave(&mut counter(2, 2, 4), 9), "###_###_#");
    }

    #[test]
    fn mode_2_takes_a_new_count_at_the_end_of_the_cycle() {
        let mut pit = counter(2, 2, 4);
        pit.write8(0x42, 3, tick_of(1));
        pit.write8(0x42, 0, tick_of(1));
        assert_eq!(wave(&mut pit, 10), "###_##_##_");
    }

    #[test]
    fn mode_3_is_square_and_odd_counts_are_high_longer() {
        assert_eq!(wave(&mut counter(2, 3, 4), 9), "##__##__#");
        assert_eq!(wave(&mut counter(2, 3, 5), 11), "###__###__#");
    }

    #[test]
    fn mode_3_reads_even_numbers() {
        let mut pit = counter(2, 3, 5);
        let seen: Vec<_> = (1..=6).map(|clock| read(&mut pit, 2, clock)).collect();
        assert_eq!(seen, [4, 2, 0, 4, 2, 4]);
    }

    #[test]
    fn gate_low_forces_out_high_in_modes_2_and_3_and_rising_restarts() {
        let mut pit = counter(2, 3, 4);
        assert!(!pit.out2(tick_of(3)));
        pit.set_gate2(false, tick_of(3));
        assert!(pit.out2(tick_of(50)));
        pit.set_gate2(true, tick_of(50));
        assert!(pit.out2(tick_of(52)));
        assert!(!pit.out2(tick_of(53)));
    }

    #[test]
    fn mode_4_strobes_once() {
        assert_eq!(wave(&mut counter(2, 4, 3), 8), "###_####");
    }

    #[test]
    fn mode_5_strobes_after_a_trigger() {
        let mut pit = counter(2, 5, 3);
        assert_eq!(wave(&mut pit, 5), "#####");
        pit.set_gate2(false, tick_of(5));
        pit.set_gate2(true, tick_of(5));
        assert!(pit.out2(tick_of(8)));
        assert!(!pit.out2(tick_of(9)));
        assert!(pit.out2(tick_of(10)));
    }

    #[test]
    fn bcd_counts_in_decimal() {
        let mut pit = I8254::new(0);
        pit.set_gate2(true, 0);
        pit.write8(0x43, 0xb1, 0);
        pit.write8(0x42, 0x00, 0);
        pit.write8(0x42, 0x01, 0);
        assert_eq!(read(&mut pit, 2, 1), 0x100);
        assert_eq!(read(&mut pit, 2, 2), 0x99);
        assert_eq!(read(&mut pit, 2, 102), 0x9999);
    }

    #[test]
    fn a_latched_count_stands_until_it_is_read() {
        let mut pit = counter(2, 2, 1000);
        pit.write8(0x43, 0x80, tick_of(11));
        pit.write8(0x43, 0x80, tick_of(51));
        assert_eq!(pit.read8(0x42, tick_of(61)), (990u16 & 0xff) as u8);
        assert_eq!(pit.read8(0x42, tick_of(71)), 3);
        assert_eq!(pit.read8(0x42, tick_of(71)), (930u16 & 0xff) as u8, "live again");
    }

    #[test]
    fn reading_and_writing_toggle_apart() {
        let mut pit = counter(2, 2, 0x1000);
        let _low = pit.read8(0x42, tick_of(1));
        pit.write8(0x42, 0x34, tick_of(2));
        let _high = pit.read8(0x42, tick_of(3));
        pit.write8(0x42, 0x12, tick_of(4));
        assert_eq!(read(&mut pit, 2, 0x1001), 0x1234);
    }

    #[test]
    fn read_back_latches_status_before_count() {
        let mut pit = I8254::new(0);
        pit.set_gate2(true, 0);
        pit.write8(0x43, 0xb6, 0);
        pit.write8(0x42, 100, 0);
        pit.write8(0x42, 0, 0);
        pit.write8(0x43, 0xe8, 0); // status of counter 2
        assert_eq!(pit.read8(0x42, 0), 0xf6, "OUT high, null count, mode 3, two bytes");
        pit.write8(0x43, 0xc8, tick_of(1)); // both
        assert_eq!(pit.read8(0x42, tick_of(9)), 0xb6);
        assert_eq!(pit.read8(0x42, tick_of(9)), 100);
    }

    #[test]
    fn counter_0_ticks_18_point_2_times_a_second_without_drift() {
        let mut pit = counter(0, 2, 0);
        let hour = 3600 * TICKS_PER_SECOND;
        while pit.next_event() <= hour {
            pit.advance(pit.next_event());
        }
        // 1193182 * 3600 / 65536; the first cycle starts one pulse late.
        assert_eq!(pit.rises0() - 1, 65543);
        // In one jump it comes to the same.
        let mut jump = counter(0, 2, 0);
        pit.advance(hour);
        jump.advance(hour);
        assert_eq!(pit, jump);
    }

    #[test]
    fn the_next_event_is_the_first_tick_of_its_pulse() {
        for clock in [1, 2, 65536, 1_193_181, 1_193_182, 1 << 40] {
            assert_eq!(clocks(tick_of(clock)), clock);
            assert_eq!(clocks(tick_of(clock) - 1), clock - 1);
        }
        assert_eq!(tick_of(u64::MAX), NEVER);
    }

    #[test]
    fn refresh_toggles_every_15_microseconds() {
        let mut pit = I8254::new(0);
        let flips = (1..=1_000_000u64).step_by(1000).fold((0, pit.refresh_toggle(0)), |(count, old), t| {
            let new = pit.refresh_toggle(t);
            (count + u32::from(new != old), new)
        });
        assert_eq!(flips.0, 66); // 1 ms / (18 / 1.193182 MHz)
    }
}
