//! Several processors: starting them, messages between them, shared memory, and that their turns repeat.

mod guest;
mod messages;
mod sharing;
mod smram;
mod turns;
