//! The other processors, as far as there are any. Without local APICs there are none.

use super::{Check, Outcome, ensure};
use crate::{apic, processors, task, timer};

pub const CHECKS: &[Check] = &[("processors.start", start), ("processors.lock", lock)];

/// INIT and the start-up messages bring each of them to the kernel once.
fn start() -> Outcome {
    let expected = processors::expected();
    if !apic::present() {
        return Ok(());
    }
    ensure!(processors::start(), "no memory for page tables");
    task::wait_until(timer::now_ns() + 1_000_000_000, || processors::counts().0 >= expected);
    let (started, _) = processors::counts();
    ensure!(started == expected, "{started} of {expected} started");
    Ok(())
}

/// A sum that all of them add to under one lock comes out right.
fn lock() -> Outcome {
    let sum = processors::work();
    let (started, done) = processors::counts();
    ensure!(done == started, "{done} of {started} have finished");
    let right = (started + 1) * processors::ROUNDS;
    ensure!(sum == right, "{sum} where {right} is right");
    Ok(())
}
