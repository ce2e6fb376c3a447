//! What can go wrong while measuring.

use std::fmt;
use std::io;

/// Why a measurement did not come about.
#[derive(Debug)]
pub enum Error {
    /// The host could not do something.
    Host {
        /// What: a file or a program.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A file or program that is needed cannot be had.
    Missing(String),
    /// A program that was started ended, or did not answer in time.
    Peer(String),
    /// A guest computed something else than the host.
    Wrong(String),
    /// A file is not what it should be.
    Format(String),
    /// The user stopped it.
    Stopped,
}

impl Error {
    /// For `map_err`: trouble with this file or program.
    pub(crate) fn host(what: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Host { what: what.to_string(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { what, source } => write!(f, "{what}: {source}"),
            Self::Missing(text) | Self::Peer(text) | Self::Format(text) => f.write_str(text),
            Self::Wrong(text) => write!(f, "wrong answer: {text}"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

// The text has the source's already.
impl std::error::Error for Error {}
