//! The same work of the bundled kernel on emu's interpreter and on Bochs, where that is installed: processor time in
//! user mode from the typed line to what the guest prints at the end, three runs of each in turn.

use emu_benches::bochs::{Bochs, installed, processor_seconds};
use emu_benches::kernel::Kernel;

const WORK: [(&str, &str, &[u8]); 2] =
    [("primes", "run primes 400000", b"primes below 400000"), ("selftest", "selftest", b" ok, 0 failed")];

fn interpreter(line: &str, marker: &[u8]) -> (f64, u64) {
    let mut kernel = Kernel::power_on();
    kernel.boot();
    let seconds = || processor_seconds(std::process::id()).expect("the host is a Linux");
    let (before, count) = (seconds(), kernel.instructions());
    kernel.run_until(line, marker);
    (seconds() - before, kernel.instructions() - count)
}

fn main() {
    let bochs = installed();
    if !bochs {
        println!("SKIPPED: no Bochs (Debian packages bochs, bochsbios and vgabios)");
    }
    for (name, line, marker) in WORK {
        let (mut ours, mut theirs, mut instructions) = (f64::MAX, f64::MAX, 0);
        for _ in 0..3 {
            let (seconds, count) = interpreter(line, marker);
            (ours, instructions) = (ours.min(seconds), count);
            if bochs {
                let run = Bochs::boot().and_then(|mut bochs| bochs.run_until(line, marker));
                theirs = theirs.min(run.expect("Bochs runs the bundled kernel"));
            }
        }
        let mips = instructions as f64 / ours / 1e6;
        println!("{name}: emu {ours:.2} s ({mips:.0} million instructions a second)");
        if bochs {
            println!("{name}: Bochs {theirs:.2} s, {:.2} times as long", theirs / ours);
        }
    }
}
