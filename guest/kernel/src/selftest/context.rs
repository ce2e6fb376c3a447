//! Switching between tasks: pre-emption, and what must survive it.

use super::{Check, Outcome, Why, ensure};
use crate::task::{self, Exit, Task};
use crate::{frames, program, timer};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

#[path = "../../../user/fpu_pattern.rs"]
mod fpu_pattern;

/// A task must have been switched to this often.
const SWITCHES: u64 = 3;

pub const CHECKS: &[Check] = &[
    ("task.kernel_preempted", kernel_preempted),
    ("task.user_preempted", user_preempted),
    ("task.fpu_state_kernel", fpu_kernel),
    ("task.fpu_state_user", fpu_user),
    ("task.blocked_uses_no_time", blocked),
    ("task.memory_returned", memory_returned),
];

static STOP: AtomicBool = AtomicBool::new(false);
static PROGRESS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static DAMAGE: AtomicU64 = AtomicU64::new(0);

/// Ticks come faster for a while, so that there is less to wait for.
fn with_fast_ticks<T>(body: impl FnOnce() -> T) -> T {
    timer::set_hz(1000);
    let result = body();
    timer::set_hz(timer::NORMAL_HZ);
    result
}

/// Runs two instances of a kernel task until both were switched to often enough.
fn two_kernel_tasks(function: fn(u64)) -> Result<[u64; 2], Why> {
    STOP.store(false, Relaxed);
    DAMAGE.store(0, Relaxed);
    PROGRESS.iter().for_each(|progress| progress.store(0, Relaxed));
    let ids = [0, 1].map(|i| task::spawn("worker", function, i));
    let enough = with_fast_ticks(|| {
        task::wait_until(timer::now_ns() + 5_000_000_000, || {
            ids.iter().all(|id| id.and_then(task::get).is_some_and(|task| task.switches >= SWITCHES))
                && PROGRESS.iter().all(|progress| progress.load(Relaxed) > 0)
        })
    });
    STOP.store(true, Relaxed);
    ids.into_iter().flatten().for_each(|id| {
        task::wait(id);
    });
    let progress = PROGRESS.each_ref().map(|progress| progress.load(Relaxed));
    ensure!(enough, "too few switches in five seconds; progress {progress:?}");
    Ok(progress)
}

/// Two loops in the kernel that never give way.
fn kernel_preempted() -> Outcome {
    two_kernel_tasks(|i| {
        while !STOP.load(Relaxed) {
            PROGRESS[i as usize].fetch_add(1, Relaxed);
        }
    })
    .map(|_| ())
}

fn fpu_kernel() -> Outcome {
    two_kernel_tasks(|i| {
        while !STOP.load(Relaxed) {
            if !fpu_pattern::survives(i + 1, 2000) {
                DAMAGE.fetch_add(1, Relaxed);
            }
            PROGRESS[i as usize].fetch_add(1, Relaxed);
        }
    })?;
    ensure!(DAMAGE.load(Relaxed) == 0, "the state changed {} times", DAMAGE.load(Relaxed));
    Ok(())
}

/// Runs two endless programs side by side until both came far enough, then stops them.
fn two_programs(programs: [(&str, u64); 2]) -> Outcome {
    let mut ids = [None; 2];
    for (id, (name, argument)) in ids.iter_mut().zip(programs) {
        if let Ok(program) = program::load(name, argument) {
            *id = task::spawn_program(name, program, true);
        }
    }
    let far = |task: &Task| task.switches >= SWITCHES && task.notes[0] >= 2;
    let ended = || ids.iter().any(|id| id.is_none_or(task::has_ended));
    let enough = with_fast_ticks(|| {
        task::wait_until(timer::now_ns() + 5_000_000_000, || {
            ended() || ids.iter().all(|id| id.and_then(task::get).is_some_and(|task| far(&task)))
        })
    });
    let ends = ids.map(|id| {
        id.and_then(|id| {
            task::kill(id);
            task::wait(id)
        })
    });
    for (end, (name, _)) in ends.iter().zip(programs) {
        match end {
            None => ensure!(false, "{name} did not start"),
            Some((Exit::Killed, task)) => {
                ensure!(enough && far(task), "{name}: {} switches, noted {}", task.switches, task.notes[0])
            }
            Some((exit, _)) => ensure!(false, "{name}: {exit:?}"),
        }
    }
    Ok(())
}

/// Two programs that never give way, one compiled, one assembly, at the same addresses.
fn user_preempted() -> Outcome {
    two_programs([("primes", 0), ("spin", 0)])
}

fn fpu_user() -> Outcome {
    two_programs([("fpu", 1), ("fpu", 2)])
}

/// A task that waits is hardly ever found running.
fn blocked() -> Outcome {
    let id = task::spawn(
        "sleeper",
        |_| {
            task::wait_until(timer::now_ns() + 60_000_000, || false);
        },
        0,
    );
    let Some((_, task)) = id.and_then(task::wait) else {
        ensure!(false, "did not run");
        return Ok(());
    };
    ensure!(task.ticks <= 5, "{} ticks of 15 while asleep", task.ticks);
    Ok(())
}

/// A program that has ended leaves nothing behind.
fn memory_returned() -> Outcome {
    let mut free = [0; 3];
    for free in &mut free {
        let id =
            program::load("primes", 50).ok().and_then(|program| task::spawn_program("primes", program, true));
        let end = id.and_then(task::wait).map(|end| end.0);
        ensure!(end == Some(Exit::Code(0)), "primes: {end:?}");
        *free = frames::counts().1;
    }
    ensure!(free[1] == free[2], "{} frames free, then {}", free[1], free[2]);
    Ok(())
}
