//! The state of the board's chips, for monitors: what the structs hold, as they show it.

use super::Pc;

/// Chips whose state [`Pc::chip_state`] shows.
pub const CHIPS: [&str; 13] = [
    "pic", "pit", "rtc", "hpet", "keyboard", "com1", "com2", "control", "apic", "ioapic", "pci", "dma",
    "lines",
];

impl Pc {
    /// The state of a chip; `None` when there is none of that name.
    pub fn chip_state(&self, name: &str) -> Option<String> {
        Some(match name {
            "pic" => format!("{:?}", self.pic),
            "pit" => format!("{:?}", self.pit),
            "rtc" => format!("{:?}", self.rtc),
            "hpet" => format!("{:?}", self.hpet),
            "keyboard" => format!("{:?}", self.keyboard),
            "com1" => format!("{:?}", self.serial[0]),
            "com2" => format!("{:?}", self.serial[1]),
            "control" => format!("{:?}", self.control),
            "apic" => self.apics.iter().map(|apic| format!("{apic:?}\n")).collect(),
            "ioapic" => format!("{:?}", self.io_apic),
            "pci" => format!("{:?}", self.pci),
            "dma" => format!("{:?}", self.dma),
            "lines" => format!(
                "Lines {{ isa: {:#06x}, pirq: {:?}, ferr: {}, ignne: {}, next_event: {} }}",
                self.irqs, self.pirqs, self.ferr, self.ignne, self.next_event
            ),
            _ => return None,
        })
    }
}
