//! The binary translator.
