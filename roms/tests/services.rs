//! BIOS services, called by small guests under QEMU (see `guests/`), which check the answers.

mod support;

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use support::{Machine, assemble, disk, drive, qemu_present, run_guest, scratch};

/// Guest time from the instruction count, so that a busy host does not stretch what the guest measures.
const STEADY: [&str; 4] = ["-icount", "shift=6,sleep=off", "-rtc", "base=2019-07-30T03:25:00,clock=vm"];

#[test]
fn memory_services_tell_what_qemu_was_given() {
    if qemu_present("memory_services") {
        run_guest("memory", &[&["-m", "64"], &STEADY[..]].concat());
    }
}

#[test]
fn memory_map_reaches_past_4_gib() {
    if qemu_present("memory_map_reaches_past_4_gib") {
        let log = run_guest("big_memory", &["-m", "3584"]);
        assert!(log.contains("ok 512 MiB above 4 GiB"), "{log}");
    }
}

#[test]
fn mp_table_counts_processors_and_adds_up() {
    if qemu_present("mp") {
        run_guest("mp", &["-smp", "3"]);
    }
}

#[test]
fn text_and_graphics_read_back_what_was_written() {
    if qemu_present("video") {
        run_guest("video", &[]);
    }
}

#[test]
fn display_states_come_back_and_the_monitor_answers() {
    if qemu_present("state") {
        run_guest("state", &[]);
    }
}

#[test]
fn pci_clock_and_ports_answer() {
    if qemu_present("board") {
        run_guest("board", &STEADY);
    }
}

/// A sector holds its own number in its first dword, and the complement in its last.
fn number_sectors(path: &Path, numbers: impl Iterator<Item = u32>) {
    let mut file = OpenOptions::new().write(true).open(path).expect("it was just made");
    for number in numbers {
        file.seek(SeekFrom::Start(u64::from(number) * 512)).expect("a file can be sought");
        file.write_all(&number.to_le_bytes()).expect("the sparse file has room");
        file.seek(SeekFrom::Start(u64::from(number) * 512 + 508)).expect("a file can be sought");
        file.write_all(&(!number).to_le_bytes()).expect("the sparse file has room");
    }
}

#[test]
fn disks_read_and_write_by_chs_and_edd() {
    if !qemu_present("disk") {
        return;
    }
    let folder = scratch("disk");
    let images = [folder.join("boot.img"), folder.join("small.img"), folder.join("big.img")];
    disk(&images[0], &assemble("disk", &folder), 16 << 11);
    disk(&images[1], &[], 100 << 11);
    number_sectors(&images[1], 0..2048);
    disk(&images[2], &[], 9 << 21);
    number_sectors(&images[2], (9 << 21) - 4..9 << 21);
    let drives: Vec<String> = images.iter().enumerate().map(|(i, image)| drive(image, i)).collect();
    let arguments = drives.iter().flat_map(|drive| ["-drive", drive]).collect::<Vec<_>>();
    Machine::start(&folder, &arguments).passed();

    // What the guest wrote is where it said, and nothing else was touched.
    let image = std::fs::read(&images[1]).expect("the image is still there");
    let word = |sector: usize, index: usize| {
        let at = sector * 512 + index * 2;
        u16::from_le_bytes([image[at], image[at + 1]])
    };
    let written = |index: usize| (0x1234 + 7 * index) as u16;
    for index in 0..1024 {
        assert_eq!(word(1200, index), written(index), "EDD write, word {index}");
    }
    let chs = (2 * 16 + 7) * 63 + 5;
    for index in 0..256 {
        assert_eq!(word(chs, index), written(256 + index), "CHS write, word {index}");
    }
    let expected = |sector: usize| if sector < 2048 { sector as u32 } else { 0 };
    for sector in (0..100 << 11).filter(|s| !(1200..1204).contains(s) && *s != chs) {
        let found = u32::from(word(sector, 1)) << 16 | u32::from(word(sector, 0));
        assert_eq!(found, expected(sector), "sector {sector} was not to be written");
    }
}

#[test]
fn disks_beyond_28_bits_and_bad_sectors() {
    if !qemu_present("large_disk") {
        return;
    }
    let folder = scratch("large_disk");
    let (boot, large, cd) = (folder.join("boot.img"), folder.join("large.img"), folder.join("cd.iso"));
    disk(&boot, &assemble("large_disk", &folder), 16 << 11);
    disk(&large, &[], 200 << 21);
    number_sectors(&large, 0x0FFF_FFF8..0x1000_0008);
    disk(&cd, &[], 1 << 11);
    // QEMU's block debugging layer refuses every read of one sector.
    let rules = folder.join("bad.conf");
    std::fs::write(&rules, "[inject-error]\nevent = \"read_aio\"\nsector = \"4101\"\nonce = \"off\"\n")
        .expect("the target folder can be written");
    let boot = drive(&boot, 0);
    let large = format!(
        "driver=raw,if=ide,index=1,rerror=report,file.driver=blkdebug,file.config={},\
         file.image.driver=file,file.image.filename={}",
        rules.display(),
        large.display()
    );
    let cd = format!("{},media=cdrom", drive(&cd, 2));
    Machine::start(&folder, &["-drive", &boot, "-drive", &large, "-drive", &cd]).passed();
}

#[test]
fn restarts_resume_and_post_leaves_things_in_order() {
    if qemu_present("restart") {
        run_guest("restart", &[]);
    }
}

#[test]
fn mouse_reports_reach_the_handler() {
    if !qemu_present("mouse") {
        return;
    }
    let folder = scratch("mouse");
    let image = folder.join("disk.img");
    disk(&image, &assemble("mouse", &folder), 16 << 11);
    let mut machine = Machine::start(&folder, &["-drive", &drive(&image, 0)]);
    machine.wait_for("ready\n");
    machine.monitor("mouse_move 20 10");
    machine.monitor("mouse_button 1");
    machine.passed();
}

#[test]
fn keys_come_through_as_typed() {
    if !qemu_present("keys") {
        return;
    }
    let folder = scratch("keys");
    let image = folder.join("disk.img");
    disk(&image, &assemble("keys", &folder), 16 << 11);
    let mut machine = Machine::start(&folder, &["-drive", &drive(&image, 0)]);
    machine.wait_for("ready\n");
    let keys = [
        ("a", "1E61"),
        ("shift-a", "1E41"),
        ("ctrl-c", "2E03"),
        ("alt-x", "2D00"),
        ("2", "0332"),
        ("shift-2", "0340"),
        ("ret", "1C0D"),
        ("backspace", "0E08"),
        ("f1", "3B00"),
        ("shift-f1", "5400"),
        ("f12", "8600"),
        ("up", "48E0"),
        ("ctrl-left", "73E0"),
        ("delete", "53E0"),
        ("kp_enter", "E00D"),
        ("kp_divide", "E02F"),
        ("kp_7", "4700"),
        ("caps_lock", ""),
        ("b", "3042"),
        ("shift-b", "3062"),
        ("num_lock", ""),
        ("kp_7", "4737"),
        ("slash", "352F"),
        ("esc", "011B"),
    ];
    let mut expected = String::from("ready\n");
    for (key, code) in keys {
        machine.monitor(&format!("sendkey {key} 10"));
        if !code.is_empty() {
            expected += &format!("0000{code}\n");
            machine.wait_for(&expected);
        }
    }
    machine.passed();
}
