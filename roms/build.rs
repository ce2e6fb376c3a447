//! Assembles the BIOS, the VGA BIOS and the kernel boot ROM with the C compiler that Rust links with, and joins the first
//! two: the image of 128 KiB holds the VGA BIOS in its first half and the BIOS segment in its second.

#[path = "build/font.rs"]
mod font;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const BIOS_SEGMENT: usize = 0x10000;
const VGA_BIOS_MAX: usize = 0x8000;

fn main() {
    if let Err(message) = build() {
        eprintln!("error: {message}");
        std::process::exit(1);
    }
}

fn build() -> Result<(), String> {
    for path in ["build", "bios", "vgabios", "kernelboot", "include", "font"] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed=CC");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));

    make_fonts(&root, &out)?;
    let vga_bios = finish_option_rom(assemble(&root, &out, "vgabios")?)?;
    let bios = assemble(&root, &out, "bios")?;
    if bios.len() != BIOS_SEGMENT {
        return Err(format!("the BIOS segment is {} bytes, expected {BIOS_SEGMENT}", bios.len()));
    }
    let mut image = vga_bios.clone();
    image.resize(BIOS_SEGMENT, 0xFF);
    image.extend(bios);
    write(&out.join("vgabios.bin"), &vga_bios)?;
    write(&out.join("kernelboot.bin"), &finish_option_rom(assemble(&root, &out, "kernelboot")?)?)?;
    write(&out.join("bios.bin"), &image)
}

/// The three fonts, where `vgabios/fonts.S` includes them from.
fn make_fonts(root: &Path, out: &Path) -> Result<(), String> {
    let read = |name: &str| {
        let path = root.join("font").join(name);
        fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
    };
    let (ascii8, ascii16, symbols) = (read("ascii8.txt")?, read("ascii16.txt")?, read("symbols16.txt")?);
    for (height, ascii) in [(8, &ascii8), (14, &ascii16), (16, &ascii16)] {
        write(&out.join(format!("font{height}.bin")), &font::font(height, ascii, &symbols)?)?;
    }
    Ok(())
}

/// Assembles every source in a folder and links them by the folder's script into a flat binary.
fn assemble(root: &Path, out: &Path, folder: &str) -> Result<Vec<u8>, String> {
    let directory = root.join(folder);
    let mut sources: Vec<PathBuf> = fs::read_dir(&directory)
        .map_err(|e| format!("{}: {e}", directory.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "S"))
        .collect();
    sources.sort();
    let version =
        format!("-DVERSION=\"{}.{}\"", env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    let mut objects = Vec::new();
    for source in &sources {
        let name = source.file_stem().expect("a source has a name").to_string_lossy();
        let object = out.join(format!("{folder}-{name}.o"));
        let mut cc = compiler();
        cc.args(["-m32", "-c", "-x", "assembler-with-cpp", "-nostdinc", &version, "-I"]);
        cc.arg(root.join("include")).arg("-I").arg(out).arg("-Wa,-I").arg(format!("-Wa,{}", out.display()));
        cc.arg("-o").arg(&object).arg(source);
        run(cc, &source.display().to_string())?;
        objects.push(object);
    }
    let binary = out.join(format!("{folder}-flat.bin"));
    let mut cc = compiler();
    cc.args(["-m32", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,noexecstack"]);
    cc.args(["-Wl,--oformat=binary", "-Wl,-T"]).arg(directory.join(format!("{folder}.ld")));
    cc.arg("-o").arg(&binary).args(&objects);
    run(cc, &format!("linking {folder}"))?;
    fs::read(&binary).map_err(|e| format!("{}: {e}", binary.display()))
}

fn compiler() -> Command {
    Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()))
}

fn run(mut command: Command, what: &str) -> Result<(), String> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| {
        format!(
            "{what}: `{tool}` does not start ({e}). The firmware is assembled by the C compiler that Rust \
             links with, and by its assembler and linker (on Debian: the packages gcc and binutils)"
        )
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{what}: `{tool}` failed ({}). It has to be a C compiler for x86 with GNU binutils.\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Fills in an option ROM's sizes and makes the bytes of its Plug and Play header, if any, and of all of it add up to
/// zero.
fn finish_option_rom(mut rom: Vec<u8>) -> Result<Vec<u8>, String> {
    let size = (rom.len() + 1).next_multiple_of(2048);
    if size > VGA_BIOS_MAX {
        return Err(format!("an option ROM takes {size} bytes, expected at most {VGA_BIOS_MAX}"));
    }
    rom.resize(size, 0);
    let units = (size / 512) as u8;
    let pointer = |at: usize| usize::from(u16::from_le_bytes([rom[at], rom[at + 1]]));
    let (pci_data, pnp_header) = (pointer(0x18), pointer(0x1A));
    let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte));
    rom[2] = units;
    if pci_data != 0 {
        rom[pci_data + 0x10] = units;
    }
    if pnp_header != 0 {
        rom[pnp_header + 9] = sum(&rom[pnp_header..pnp_header + 0x20]).wrapping_neg();
    }
    rom[size - 1] = sum(&rom).wrapping_neg();
    Ok(rom)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))
}
