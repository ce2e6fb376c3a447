//! Reads a line and answers.
#![no_std]
#![no_main]
#[macro_use]
#[allow(dead_code)]
mod sys;

#[unsafe(no_mangle)]
extern "C" fn main(_: u64) -> u64 {
    println!("What is your name?");
    let mut line = [0u8; 64];
    let count = sys::syscall(sys::READ, line.as_mut_ptr() as u64, line.len() as u64);
    let name = usize::try_from(count).ok().and_then(|count| line.get(..count)).unwrap_or(b"");
    println!("Hello, {}!", core::str::from_utf8(name).unwrap_or("stranger").trim());
    0
}
