//! Self-test.
/// x
pub fn command(_: &str) {}
