//! One ATA disk.

use crate::block::BlockBackend;

/// A disk: its sectors and its name.
#[derive(Debug)]
pub struct AtaDisk {
    backend: Box<dyn BlockBackend>,
    model: String,
    serial: String,
}

impl AtaDisk {
    /// A disk with a model name (up to 40 ASCII characters) and a serial number (up to 20).
    pub fn new(backend: Box<dyn BlockBackend>, model: &str, serial: &str) -> Self {
        Self { backend, model: model.to_owned(), serial: serial.to_owned() }
    }
}
