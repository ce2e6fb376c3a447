//! The kernel's one kind of lock. There is one processor, so data is safe when nobody can interrupt:
//! `with` turns interrupts off for as long as its closure runs. Closures are kept short.

use crate::cpu;
use core::cell::{Cell, UnsafeCell};

/// Data shared between tasks and interrupt handlers.
pub struct IrqCell<T> {
    value: UnsafeCell<T>,
    busy: Cell<bool>,
}

// SAFETY: one processor, and `with` is the only way in: interrupts are off and `busy` refuses re-entry.
unsafe impl<T> Sync for IrqCell<T> {}

impl<T> IrqCell<T> {
    /// A cell with a first value.
    pub const fn new(value: T) -> Self {
        Self { value: UnsafeCell::new(value), busy: Cell::new(false) }
    }

    /// Lends the value to `body`.
    ///
    /// # Panics
    /// When `body` comes back to the same cell.
    pub fn with<R>(&self, body: impl FnOnce(&mut T) -> R) -> R {
        cpu::without_interrupts(|| {
            assert!(!self.busy.replace(true), "lock taken twice");
            // SAFETY: `busy` was false, so this is the only reference.
            let result = body(unsafe { &mut *self.value.get() });
            self.busy.set(false);
            result
        })
    }
}
