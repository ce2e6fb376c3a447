//! Linux kernels from Debian's packages, booted directly to a shell on the serial port, with both firmwares, on both
//! engines, and with more than one processor.
//!
//! Each is given the same session, and what its log complains of is held against what it complains of on QEMU with as
//! many processors. The short ones run always, the others by name: `cargo test --release -p emu-tests --test guests --
//! --ignored`.

mod ata_errors;
mod debian;
mod floppy;
mod kvm;
mod linux;
mod xv6;

use emu_tests::debian::Arch;
use linux::{Firmware, Guest, Setup, check, check_for};

const CLOUD: Guest = Guest { package: "linux-image-cloud-amd64", arch: Arch::Amd64, machine: "x86_64" };
const AMD64: Guest = Guest { package: "linux-image-amd64", arch: Arch::Amd64, machine: "x86_64" };
const I686: Guest = Guest { package: "linux-image-686", arch: Arch::I386, machine: "i686" };
const I686_PAE: Guest = Guest { package: "linux-image-686-pae", arch: Arch::I386, machine: "i686" };

const OURS: Setup = Setup::new(Firmware::Ours);
const SEABIOS: Setup = Setup::new(Firmware::SeaBios);

#[test]
fn cloud_kernel_with_our_bios() {
    check(&CLOUD, OURS);
}

#[test]
fn cloud_kernel_with_seabios() {
    check(&CLOUD, SEABIOS);
}

#[test]
fn cloud_kernel_on_the_interpreter() {
    check(&CLOUD, OURS.interpreted());
}

#[test]
fn cloud_kernel_on_two_processors() {
    check(&CLOUD, OURS.cpus(2));
}

#[test]
fn kernel_without_pae_with_our_bios() {
    check(&I686, OURS.restarts());
}

/// Without ACPI the kernel has only the MP table: for its processors, and for where interrupts go. SeaBIOS's table
/// has one processor for each package, here and on QEMU, so that one is not asked.
const BY_THE_MP_TABLE: Setup = OURS.cpus(2).append("acpi=off").restarts();
const FOUND: [&str; 3] = ["found SMP MP-table", "Intel MultiProcessor Specification v1.4", "Allowing 2 CPUs"];

#[test]
fn kernel_without_acpi_finds_its_processors_in_the_mp_table() {
    check_for(&I686, BY_THE_MP_TABLE, &FOUND);
}

#[test]
#[ignore = "takes minutes"]
fn kernels_without_acpi_find_their_processors_in_the_mp_table_on_both_engines() {
    check_for(&AMD64, BY_THE_MP_TABLE, &FOUND);
    check_for(&I686_PAE, BY_THE_MP_TABLE, &FOUND);
    check_for(&I686, BY_THE_MP_TABLE.interpreted(), &FOUND);
    check_for(&AMD64, BY_THE_MP_TABLE.interpreted(), &FOUND);
    check_for(&I686_PAE, BY_THE_MP_TABLE.interpreted(), &FOUND);
}

/// The setup code asks the VGA BIOS for the mode, and the kernel shows what it got.
#[test]
fn the_command_line_chooses_the_video_mode() {
    check_for(&CLOUD, OURS.append("vga=ext"), &["Console: colour VGA+ 80x50"]);
}

/// VBE of our VGA BIOS, as the kernel's driver of a linear frame buffer finds it.
#[test]
#[ignore = "takes half a minute; the short ones take the same ways"]
fn the_command_line_chooses_a_linear_mode() {
    let lines = [
        "vesafb: mode is 1024x768x16",
        "vesafb: Truecolor: size=0:5:6:5",
        "colour frame buffer device 128x48",
    ];
    check_for(&AMD64, OURS.append("vga=0x317"), &lines);
}

/// The same driver in 32 bits scrolls by VBE's protected-mode interface, where the VGA BIOS has one.
#[test]
#[ignore = "takes half a minute; the short ones take the same ways"]
fn the_frame_buffer_scrolls_by_the_protected_mode_interface() {
    let lines = [
        "vesafb: protected mode interface info at c000:",
        "vesafb: scrolling: ypan using protected mode interface",
        "colour frame buffer device 128x48",
    ];
    check_for(&I686, OURS.append("vga=0x317 video=vesafb:ypan").restarts(), &lines);
}

#[test]
#[ignore = "takes half a minute; the short ones take the same ways"]
fn the_command_line_chooses_the_video_mode_on_both_engines() {
    check_for(&CLOUD, SEABIOS.append("vga=ext"), &["Console: colour VGA+ 80x50"]);
    check_for(&CLOUD, OURS.append("vga=ext").interpreted(), &["Console: colour VGA+ 80x50"]);
    check_for(&CLOUD, SEABIOS.append("vga=ext").interpreted(), &["Console: colour VGA+ 80x50"]);
}

#[test]
#[ignore = "takes half a minute; the short ones take the same ways"]
fn cloud_kernel_on_four_processors_with_both_firmwares() {
    check(&CLOUD, OURS.cpus(4));
    check(&CLOUD, SEABIOS.cpus(4).restarts());
}

#[test]
#[ignore = "takes half a minute; the short ones take the same ways"]
fn cloud_kernel_on_eight_processors() {
    check(&CLOUD, OURS.cpus(8));
    check(&CLOUD, SEABIOS.cpus(8).interpreted());
}

#[test]
#[ignore = "takes half a minute; the short ones take the same ways"]
fn cloud_kernel_on_two_and_four_processors_on_the_interpreter() {
    check(&CLOUD, OURS.cpus(2).interpreted());
    check(&CLOUD, SEABIOS.cpus(4).interpreted());
}

#[test]
#[ignore = "takes half a minute; the short ones take the same ways"]
fn cloud_kernel_with_seabios_on_the_interpreter() {
    check(&CLOUD, SEABIOS.interpreted().restarts());
}

#[test]
#[ignore = "takes half a minute; the short ones take the same ways"]
fn kernel_without_pae_with_seabios() {
    check(&I686, SEABIOS);
}

#[test]
#[ignore = "takes minutes"]
fn kernel_without_pae_on_the_interpreter_with_both_firmwares() {
    check(&I686, OURS.interpreted());
    check(&I686, SEABIOS.interpreted());
}

#[test]
#[ignore = "takes minutes"]
fn kernel_without_pae_on_two_and_four_processors() {
    check(&I686, OURS.cpus(2));
    check(&I686, SEABIOS.cpus(4));
}

#[test]
#[ignore = "takes minutes"]
fn kernel_without_pae_on_two_and_four_processors_on_the_interpreter() {
    check(&I686, OURS.cpus(2).interpreted());
    check(&I686, SEABIOS.cpus(4).interpreted());
}

#[test]
#[ignore = "takes half a minute; the short ones take the same ways"]
fn kernel_with_pae_with_our_bios() {
    check(&I686_PAE, OURS);
}

#[test]
#[ignore = "takes half a minute; the short ones take the same ways"]
fn kernel_with_pae_with_seabios() {
    check(&I686_PAE, SEABIOS.restarts());
}

#[test]
#[ignore = "takes minutes"]
fn kernel_with_pae_on_the_interpreter_with_both_firmwares() {
    check(&I686_PAE, OURS.interpreted());
    check(&I686_PAE, SEABIOS.interpreted());
}

#[test]
#[ignore = "takes minutes"]
fn kernel_with_pae_on_two_and_four_processors() {
    check(&I686_PAE, OURS.cpus(2));
    check(&I686_PAE, SEABIOS.cpus(4));
}

#[test]
#[ignore = "takes minutes"]
fn kernel_with_pae_on_two_and_four_processors_on_the_interpreter() {
    check(&I686_PAE, OURS.cpus(2).interpreted());
    check(&I686_PAE, SEABIOS.cpus(4).interpreted());
}

#[test]
#[ignore = "takes half a minute; the short ones take the same ways"]
fn full_kernel_with_our_bios() {
    check(&AMD64, OURS);
}

#[test]
#[ignore = "takes half a minute; the short ones take the same ways"]
fn full_kernel_with_seabios() {
    check(&AMD64, SEABIOS.restarts());
}

#[test]
#[ignore = "takes minutes"]
fn full_kernel_on_the_interpreter_with_both_firmwares() {
    check(&AMD64, OURS.interpreted());
    check(&AMD64, SEABIOS.interpreted());
}

#[test]
#[ignore = "takes minutes"]
fn full_kernel_on_two_and_four_processors() {
    check(&AMD64, OURS.cpus(2));
    check(&AMD64, SEABIOS.cpus(4));
}

#[test]
#[ignore = "takes minutes"]
fn full_kernel_on_two_and_four_processors_on_the_interpreter() {
    check(&AMD64, OURS.cpus(2).interpreted());
    check(&AMD64, SEABIOS.cpus(4).interpreted());
}
