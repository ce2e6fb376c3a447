//! `--trace` while the machine runs.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use emu_trace::filter::Filter;
use emu_trace::record::Recorder;
use emu_trace::write::Writer;

use crate::machine::Guest;

/// Time after which what was recorded can be read by others.
const FLUSH: Duration = Duration::from_secs(1);

/// A trace that is being written.
#[derive(Debug)]
pub struct Tracing {
    path: PathBuf,
    flushed: Instant,
    /// The count when the machine stood last.
    rested: u64,
}

impl Tracing {
    /// Begins to record what `guest` does.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn start(guest: &mut Guest, path: PathBuf, file: File, filter: Filter) -> Result<Self> {
        let writer = Writer::start(file).with_context(|| format!("--trace {}", path.display()))?;
        guest.machine().add_observer(Box::new(Recorder::new(writer, filter)));
        Ok(Self { path, flushed: Instant::now(), rested: 0 })
    }

    /// The count at which [`look`](Self::look) must be called next, if at a certain one.
    pub fn due(&self, guest: &mut Guest) -> Option<u64> {
        guest.machine().observer::<Recorder>()?.due()
    }

    /// Between two slices: begins if it is time, and sees to it that the file grows and is in order.
    ///
    /// # Errors
    /// When the file could not be written any more.
    pub fn look(&mut self, guest: &mut Guest) -> Result<()> {
        let count = guest.instructions();
        let flush = self.flushed.elapsed() >= FLUSH;
        let failed = if flush || self.due(guest).is_some_and(|due| count >= due) {
            self.flushed = Instant::now();
            guest.machine().with_observer(|recorder: &mut Recorder, cpu| {
                if recorder.due().is_some_and(|due| count >= due) {
                    recorder.begin(cpu);
                }
                recorder.flush(cpu);
                recorder.failed()
            })
        } else {
            guest.machine().observer::<Recorder>().map(|recorder| recorder.failed())
        };
        let failed = failed.unwrap_or(false);
        if failed {
            self.finish(guest)?;
            bail!("--trace {}: it cannot be written", self.path.display());
        }
        Ok(())
    }

    /// The machine stands, so somebody may look at what was recorded.
    pub fn rest(&mut self, guest: &mut Guest) {
        let count = guest.instructions();
        if std::mem::replace(&mut self.rested, count) != count {
            guest.machine().with_observer(|recorder: &mut Recorder, cpu| recorder.flush(cpu));
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// When the file could not be written, now or before.
    pub fn finish(&mut self, guest: &mut Guest) -> Result<()> {
        let machine = guest.machine();
        if let Some(recorder) = machine.remove_observer::<Recorder>() {
            let written = recorder.finish(machine.cpu());
            written.with_context(|| format!("--trace {}: it cannot be written", self.path.display()))?;
        }
        Ok(())
    }
}
