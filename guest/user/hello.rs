//! The smallest program: says hello and who it is.
#![no_std]
#![no_main]
#[macro_use]
#[allow(dead_code)]
mod sys;

#[unsafe(no_mangle)]
extern "C" fn main(argument: u64) -> u64 {
    let id = sys::syscall(sys::GETPID, 0, 0);
    println!("Hello from ring 3! I am task {id}, my argument is {argument}.");
    0
}
