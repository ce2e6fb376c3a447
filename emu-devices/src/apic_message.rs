//! What local APICs and I/O APICs send each other over the APIC bus.
//!
//! Manual: SDM 3A, "Interprocessor Interrupt (IPI) Message Format", "Determining IPI Destination".

/// The delivery mode of a message (bits 10:8 of the registers that hold one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// The vector, to every processor named.
    Fixed,
    /// The vector, to the one with the lowest priority among those named.
    LowestPriority,
    /// System-management interrupt.
    Smi,
    /// Non-maskable interrupt.
    Nmi,
    /// INIT.
    Init,
    /// Start-up IPI.
    StartUp,
    /// The vector comes from an 8259A.
    ExtInt,
}

impl DeliveryMode {
    /// Decodes bits 10:8; `None` for the reserved code.
    pub fn from_bits(register: u32) -> Option<Self> {
        Some(match register >> 8 & 7 {
            0 => Self::Fixed,
            1 => Self::LowestPriority,
            2 => Self::Smi,
            4 => Self::Nmi,
            5 => Self::Init,
            6 => Self::StartUp,
            7 => Self::ExtInt,
            _ => return None,
        })
    }
}

/// Who is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The local APIC with this ID; all ones for every one.
    Physical(u32),
    /// The local APICs whose logical ID matches; all ones for every one.
    Logical(u32),
    /// The sender.
    Itself,
    /// Everybody.
    All,
    /// Everybody but the sender.
    Others,
}

impl Destination {
    /// An 8-bit destination field, in which FFh means everybody.
    pub fn short(field: u8, logical: bool) -> Self {
        let field = if field == 0xff { u32::MAX } else { u32::from(field) };
        if logical { Self::Logical(field) } else { Self::Physical(field) }
    }
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApicMessage {
    /// Who is meant.
    pub destination: Destination,
    /// What it is.
    pub mode: DeliveryMode,
    /// The vector, for modes that have one.
    pub vector: u8,
    /// Level-triggered: the EOI is broadcast.
    pub level_triggered: bool,
    /// False only for the INIT level de-assert, which does nothing.
    pub assert: bool,
}
