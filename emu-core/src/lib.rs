//! Processor and memory.
