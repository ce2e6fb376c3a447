//! A drive's requests to its backend: submitted in order, and answered in order.

use std::collections::VecDeque;

use crate::block::{BlockBackend, BlockRequest, BlockResult};

/// The backend with what it was asked and has not answered yet.
#[derive(Debug)]
pub struct Requests {
    backend: Box<dyn BlockBackend>,
    last: u64,
    pending: VecDeque<u64>,
    /// Whether answers are waited for (virtual time), or looked for (host time).
    pub wait_for_host: bool,
}

impl Requests {
    /// Nothing was asked yet.
    pub fn new(backend: Box<dyn BlockBackend>) -> Self {
        Self { backend, last: 0, pending: VecDeque::new(), wait_for_host: true }
    }

    /// Capacity in sectors of 512 bytes.
    pub fn sectors(&self) -> u64 {
        self.backend.sectors()
    }

    /// Asks for something.
    pub fn submit(&mut self, request: BlockRequest) {
        self.last += 1;
        self.pending.push_back(self.last);
        self.backend.submit(self.last, request);
    }

    /// The backend's answer to all that was submitted; `None` when the host has not got it yet.
    pub fn collect(&mut self) -> Option<BlockResult> {
        let mut answer = Ok(Vec::new());
        while let Some(&request) = self.pending.front() {
            let result = if self.wait_for_host {
                self.backend.wait(request)
            } else {
                self.backend.try_wait(request)?
            };
            self.pending.pop_front();
            if answer.is_ok() {
                answer = result;
            }
        }
        Some(answer)
    }

    /// Forgets what was asked. What the backend was asked to write is still written.
    pub fn abandon(&mut self) {
        while let Some(request) = self.pending.pop_front() {
            // Whether it failed matters to nobody any more.
            let _ = self.backend.wait(request);
        }
    }
}
