//! BIOS services, called by small guests under QEMU (see `guests/`), which check the answers.

mod support;

use support::{Machine, disk, qemu_present, run_guest, scratch};

#[test]
fn memory_services_tell_what_qemu_was_given() {
    if qemu_present("memory_services") {
        run_guest("memory", &["-m", "64"]);
    }
}
