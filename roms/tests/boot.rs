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

/// A boot sector that writes these words and halts.
fn says(words: &str) -> Vec<u8> {
    // SI = the words; LODSB, write it, until a zero; HLT.
    let mut code =
        vec![0xbe, 0x12, 0x7c, 0xac, 0x84, 0xc0, 0x74, 0x07, 0xb4, 0x0e, 0xcd, 0x10, 0xeb, 0xf5, 0x90, 0xf4];
    code.extend([0xeb, 0xfd]);
    code.extend(words.bytes());
    code.resize(510, 0);
    code.extend([0x55, 0xaa]);
    code
}

/// QEMU tells the order in the fw_cfg file "bootorder".
#[test]
fn the_boot_order_of_the_board_is_followed() {
    if !qemu_present("the_boot_order_of_the_board_is_followed") {
        return;
    }
    let folder = scratch("boot_order");
    let images = [folder.join("one.img"), folder.join("two.img"), folder.join("empty.img")];
    disk(&images[0], &says("this is the first disk"), 10 << 11);
    disk(&images[1], &says("this is the second disk"), 10 << 11);
    disk(&images[2], &[], 10 << 11);
    let drives = images.each_ref().map(|image| format!("file={},format=raw,if=none,id=", image.display()));
    let drives: Vec<_> =
        drives.iter().zip(["a", "b", "c"]).map(|(drive, id)| format!("{drive}{id}")).collect();
    let start = |devices: [&str; 3]| {
        let mut arguments: Vec<&str> = drives.iter().flat_map(|drive| ["-drive", drive]).collect();
        arguments.extend(devices.iter().flat_map(|device| ["-device", device]));
        Machine::start(&folder, &arguments).wait_for_screen("this is")
    };
    let shown = |screen: Vec<String>, text: &str| screen.iter().any(|row| row.contains(text));
    // The empty one comes first and does not boot; then the second.
    let screen = start([
        "ide-hd,drive=a,bus=ide.0,unit=0,bootindex=3",
        "ide-hd,drive=b,bus=ide.1,unit=1,bootindex=2",
        "ide-hd,drive=c,bus=ide.0,unit=1,bootindex=1",
    ]);
    assert!(shown(screen, "this is the second disk"));
    // Nobody names a disk: the first of them.
    let screen = start([
        "ide-hd,drive=a,bus=ide.0,unit=0",
        "ide-hd,drive=b,bus=ide.1,unit=1",
        "ide-hd,drive=c,bus=ide.0,unit=1",
    ]);
    assert!(shown(screen, "this is the first disk"));
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
