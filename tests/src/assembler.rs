//! Small guests from source, with the C compiler that Rust links with.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::scratch::Scratch;

/// A boot sector, assembled and linked to run at 7C00h; the source's path starts at the folder of this package.
///
/// # Panics
/// When the compiler does not start or refuses the source.
pub fn boot_sector(folder: &Scratch, source: &str) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    assemble(folder, &source, "-Ttext=0x7c00")
}

/// A guest that checks the firmware's services, from those of the package `emu-roms`: a boot sector and what it loads.
///
/// # Panics
/// When the compiler does not start or refuses the source.
pub fn service_guest(folder: &Scratch, name: &str) -> Vec<u8> {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../roms/tests/guests");
    let layout = format!("-T,{}", guests.join("test.ld").display());
    assemble(folder, &guests.join(name).with_extension("S"), &layout)
}

/// `layout` is for the linker.
fn assemble(folder: &Scratch, source: &Path, layout: &str) -> Vec<u8> {
    let (object, binary) = (folder.path("boot.o"), folder.path("boot.bin"));
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let link = ["-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,--oformat=binary"];
    let mut compile = Command::new(&compiler);
    compile.args(["-m32", "-c", "-x", "assembler-with-cpp", "-o"]).arg(&object).arg(source);
    assert!(compile.status().expect("the C compiler starts").success());
    let mut combine = Command::new(&compiler);
    combine.args(["-m32", "-nostdlib", "-static", "-no-pie"]).args(link).arg(format!("-Wl,{layout}"));
    assert!(combine.arg("-o").arg(&binary).arg(object).status().expect("the C compiler starts").success());
    fs::read(binary).expect("it was linked")
}
