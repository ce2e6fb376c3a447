//! Two machines side by side: where do they part, and at which instruction?
//!
//! * [`state`] is what is compared, [`listing`] the instructions that led there.

pub mod listing;
pub mod state;
