//! PIIX3 ISA bridge.

/// The function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piix3 {}

impl Piix3 {
    pub(super) fn new() -> Self {
        Self {}
    }
    /// The ISA interrupt that PIRQA# to PIRQD# (0 to 3) is steered to, if any.
    pub fn route(&self, _pirq: u8) -> Option<u8> {
        None
    }
}
