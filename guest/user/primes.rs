//! Counts primes by trial division, forever or up to its argument, and notes how far it has come. It never
//! gives way by itself: others run only because the kernel takes the processor away.
#![no_std]
#![no_main]
#[macro_use]
#[allow(dead_code)]
mod sys;

#[unsafe(no_mangle)]
extern "C" fn main(limit: u64) -> u64 {
    let mut found = 0;
    let mut number = 2;
    while limit == 0 || number < limit {
        if (2..).take_while(|d| d * d <= number).all(|d| number % d != 0) {
            found += 1;
            sys::syscall(sys::NOTE, 0, found);
        }
        number += 1;
    }
    println!("{found} primes below {limit}");
    0
}
