//! Linux kernels from Debian's packages, booted directly to a shell on the serial port, with both firmwares.
//!
//! Each is given the same session, and what its log complains of is held against what it complains of on QEMU.
//! Two boots and the shortest in 32 bits run always, the others by name: `cargo test --release -p emu-tests --test
//! guests -- --ignored`.

mod linux;

use emu_tests::debian::Arch;
use linux::{End, Firmware, Guest, check};

const CLOUD: Guest = Guest { package: "linux-image-cloud-amd64", arch: Arch::Amd64, machine: "x86_64" };
const AMD64: Guest = Guest { package: "linux-image-amd64", arch: Arch::Amd64, machine: "x86_64" };
const I686: Guest = Guest { package: "linux-image-686", arch: Arch::I386, machine: "i686" };
const I686_PAE: Guest = Guest { package: "linux-image-686-pae", arch: Arch::I386, machine: "i686" };

#[test]
fn cloud_kernel_with_our_bios() {
    check(&CLOUD, Firmware::Ours, End::PowerOff);
}

#[test]
fn cloud_kernel_with_seabios() {
    check(&CLOUD, Firmware::SeaBios, End::PowerOff);
}

#[test]
fn kernel_without_pae_with_our_bios() {
    check(&I686, Firmware::Ours, End::Restart);
}

#[test]
#[ignore = "takes half a minute; the cloud kernel takes the same ways"]
fn kernel_without_pae_with_seabios() {
    check(&I686, Firmware::SeaBios, End::PowerOff);
}

#[test]
#[ignore = "takes half a minute; the cloud kernel takes the same ways"]
fn kernel_with_pae_with_our_bios() {
    check(&I686_PAE, Firmware::Ours, End::PowerOff);
}

#[test]
#[ignore = "takes half a minute; the cloud kernel takes the same ways"]
fn kernel_with_pae_with_seabios() {
    check(&I686_PAE, Firmware::SeaBios, End::Restart);
}

#[test]
#[ignore = "takes half a minute; the cloud kernel takes the same ways"]
fn full_kernel_with_our_bios() {
    check(&AMD64, Firmware::Ours, End::PowerOff);
}

#[test]
#[ignore = "takes half a minute; the cloud kernel takes the same ways"]
fn full_kernel_with_seabios() {
    check(&AMD64, Firmware::SeaBios, End::Restart);
}
