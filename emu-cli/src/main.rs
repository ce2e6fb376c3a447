//! The `emu` command: arguments, terminal, files and sockets around the machine.

#![forbid(unsafe_code)]

mod args;
mod bench;
mod cdrom;
mod clock;
mod console;
mod cpu_model;
mod debug;
mod diff;
mod disk_file;
mod display;
mod drive;
mod events;
mod explain;
mod gdb;
mod hash_log;
mod info;
mod kernel;
mod keys;
mod lint;
mod machine;
mod monitor;
mod outcome;
mod outputs;
mod piped;
mod run;
mod say;
mod screenshot;
mod session;
mod size;
mod stats;
mod terminal;
mod timed;
mod trace;
mod tracing;
mod typed;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command};
use outcome::{Outcome, STATUS_HOST, STATUS_USAGE, Usage};
use say::report;

fn main() {
    terminal::install_panic_hook();
    let result = Cli::try_parse().map_err(anyhow::Error::new).and_then(|cli| match cli.command {
        Some(Command::Info(args)) => info::run(&args),
        Some(Command::Diff(args)) => diff::run(&args.what),
        Some(Command::Trace(args)) => trace::run(&args.what),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Bench(args)) => bench::run(&args),
        None => run::run(&cli.run),
    });
    terminal::restore();
    std::process::exit(status(result));
}

/// The one place where results become exit statuses and errors become a line.
fn status(result: anyhow::Result<Outcome>) -> i32 {
    let error = match result {
        Ok(Outcome::Signal(signal)) => {
            events::die_of(signal);
            return Outcome::Signal(signal).status();
        }
        Ok(outcome) => return outcome.status(),
        Err(error) => error,
    };
    if let Some(error) = error.downcast_ref::<clap::Error>() {
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return if error.print().is_ok() { 0 } else { STATUS_HOST };
        }
        report!("{}", args::one_line(error));
        return STATUS_USAGE;
    }
    report!("{}", format!("{error:#}").replace('\n', " "));
    if error.downcast_ref::<Usage>().is_some() { STATUS_USAGE } else { STATUS_HOST }
}
