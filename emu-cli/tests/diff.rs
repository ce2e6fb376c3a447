//! `emu diff`: what the user sees.

mod common;

use common::{emu, stderr};

#[test]
fn the_engines_are_the_same_over_the_beginning_of_a_boot() {
    let output = emu(&["diff", "run", "--against", "interp", "--max-insns", "3000000"]);
    let text = stderr(&output);
    assert!(text.contains("no difference in 3000000 instructions"), "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
}
