//! Chips and the board.
