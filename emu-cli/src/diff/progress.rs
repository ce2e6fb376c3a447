//! How far a comparison has come, for whoever waits at a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A line that counts upwards, to a known end or without one. Nothing is shown when standard error is no terminal.
pub fn count(what: &'static str, end: Option<u64>) -> ProgressBar {
    let (bar, template) = match end {
        Some(end) => {
            (ProgressBar::new(end), "{msg}: {human_pos} of {human_len} {bar:30} {per_sec}, {eta} left")
        }
        None => (ProgressBar::new_spinner(), "{spinner} {msg}: {human_pos}, {per_sec}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
