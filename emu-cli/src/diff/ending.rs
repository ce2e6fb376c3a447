//! Signals that end a comparison, so that its summary is told before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result};
use signal_hook::flag;

use crate::events::deadly_signals;

/// The signal that came, if one did.
#[derive(Debug)]
pub struct Ending {
    came: Arc<AtomicUsize>,
}

impl Ending {
    /// Watches for signals from now on. The second one ends the program at once.
    ///
    /// # Errors
    /// When handlers cannot be installed.
    pub fn watch() -> Result<Self> {
        let came = Arc::new(AtomicUsize::new(0));
        for signal in deadly_signals() {
            let again = Arc::new(AtomicBool::new(false));
            let install = || {
                flag::register_conditional_default(signal, Arc::clone(&again))?;
                flag::register(signal, Arc::clone(&again))?;
                flag::register_usize(signal, Arc::clone(&came), signal as usize)
            };
            install().context("signal handlers")?;
        }
        Ok(Self { came })
    }

    /// Its number.
    pub fn signal(&self) -> Option<i32> {
        let signal = self.came.load(Ordering::Relaxed);
        (signal != 0).then_some(signal as i32)
    }
}
