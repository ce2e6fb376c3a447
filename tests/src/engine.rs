//! The engine under test: suites that build machines of their own run on each.

use emu_core::engine::Engine;
use emu_core::interp::Interpreter;
use emu_jit::Translator;
use emu_jit::analysis::MOST;

/// The interpreter and the translator, as `emu` has them.
pub const BOTH: [fn() -> Box<dyn Engine>; 2] = [interpreter, translator];

/// The interpreter.
pub fn interpreter() -> Box<dyn Engine> {
    Box::new(Interpreter::default())
}

/// The translator.
///
/// # Panics
/// When the host refuses memory for translated code.
pub fn translator() -> Box<dyn Engine> {
    Box::new(Translator::new().expect("the host has memory for translated code"))
}

/// The engine that `EMU_TEST_ENGINE` names: `interp` (the default), `jit` (everything is translated the first time
/// that it runs), or `jit-single` (the same, with blocks of one instruction).
///
/// # Panics
/// For another name, or when the host refuses memory for translated code.
pub fn engine() -> Box<dyn Engine> {
    let most = match std::env::var("EMU_TEST_ENGINE").as_deref() {
        Err(_) | Ok("interp") => return interpreter(),
        Ok("jit") => MOST,
        Ok("jit-single") => 1,
        Ok(other) => panic!("EMU_TEST_ENGINE={other}: expected interp, jit or jit-single"),
    };
    Box::new(Translator::with_limits(1, most).expect("the host has memory for translated code"))
}
