//! `emu trace`: what a trace has to tell.

pub mod args;
mod calls;
mod coverage;
mod diff;
mod export;
mod flame;
mod query;
pub mod symbols;
mod text;
mod walk;

use std::io;

use anyhow::Result;

use crate::outcome::Outcome;
use crate::say::report;
use args::Query;

/// Answers a question.
///
/// # Errors
/// Wrong usage, or what the files ran into.
pub fn run(query: &Query) -> Result<Outcome> {
    let done = match query {
        Query::Show(args) => query::show(args).map(|()| Outcome::Done),
        Query::Stats(args) => query::stats(args).map(|()| Outcome::Done),
        Query::Grep(args) => query::grep(args).map(|()| Outcome::Done),
        Query::WhoWrote(args) => {
            query::who_wrote(args).map(|found| told(found, "no write to that address is in the trace"))
        }
        Query::LastValue(args) => {
            query::last_value(args).map(|found| told(found, "no change of that register is in the trace"))
        }
        Query::Calls(args) => calls::run(args).map(|()| Outcome::Done),
        Query::Coverage(args) => coverage::run(args).map(|()| Outcome::Done),
        Query::Flame(args) => flame::run(args).map(|()| Outcome::Done),
        Query::Diff(args) => diff::run(args),
        Query::Export(args) => export::run(args).map(|()| Outcome::Done),
    };
    match done {
        Err(error) if closed(&error) => Ok(Outcome::OutputClosed),
        other => other,
    }
}

fn told(found: bool, otherwise: &str) -> Outcome {
    if !found {
        report!("{otherwise}");
    }
    Outcome::Done
}

/// Has whoever reads our output gone away?
fn closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
