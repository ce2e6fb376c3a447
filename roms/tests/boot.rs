//! What the screen says when the machine starts, and when nothing boots.

mod support;

use support::{Machine, disk, drive, qemu_present, scratch};

#[test]
fn without_a_disk_the_screen_says_so() {
    if !qemu_present("without_a_disk_the_screen_says_so") {
        return;
    }
    let folder = scratch("no_disk");
    let screen = Machine::start(&folder, &["-m", "32"]).wait_for_screen("Halted.");
    assert!(screen[0].starts_with("emu BIOS 0.1  32 MB memory, no disk "), "{screen:#?}");
    assert!(screen[1].starts_with("No bootable disk found:"), "{screen:#?}");
    assert!(screen[2].contains("there is no disk on either IDE channel"), "{screen:#?}");
}

#[test]
fn disks_that_do_not_boot_are_named() {
    if !qemu_present("disks_that_do_not_boot_are_named") {
        return;
    }
    let folder = scratch("no_boot");
    let images = [folder.join("one.img"), folder.join("two.img")];
    disk(&images[0], &[], 10 << 11);
    disk(&images[1], &[], 20 << 11);
    let drives = [drive(&images[0], 0), drive(&images[1], 3)];
    let arguments = ["-drive", &drives[0], "-drive", &drives[1]];
    let screen = Machine::start(&folder, &arguments).wait_for_screen("Halted.");
    assert!(screen[0].contains("disk 80h 10 MB, disk 81h 20 MB"), "{screen:#?}");
    assert!(screen[2].contains("disk 80h: the first sector does not end in 55AAh"), "{screen:#?}");
    assert!(screen[3].contains("disk 81h: the first sector does not end in 55AAh"), "{screen:#?}");
}

#[test]
fn ctrl_alt_del_restarts_the_machine() {
    if !qemu_present("ctrl_alt_del_restarts_the_machine") {
        return;
    }
    let folder = scratch("ctrl_alt_del");
    let mut machine = Machine::start(&folder, &[]);
    machine.wait_for_screen("Halted.");
    machine.monitor("sendkey ctrl-alt-delete");
    assert_eq!(machine.exit_status(), Some(0), "QEMU leaves at a reset, by -no-reboot");
}
