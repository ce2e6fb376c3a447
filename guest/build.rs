//! Builds the kernel, its user programs and the disk image.
//!
//! Nothing is needed but what cargo needs anyway: `rustc` for the host target and the C compiler that it links
//! with, which also assembles. The kernel is `no_std` and linked at its own addresses, so it does not matter
//! that the target is called x86_64-unknown-linux-gnu. The same source gives the same bytes every time: no
//! times, no paths of the building machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

#[path = "build/elf.rs"]
mod elf;
#[path = "build/image.rs"]
mod image;
#[allow(dead_code)]
#[path = "layout.rs"]
mod layout;

/// User programs: name in the catalogue, source file. Assembly ends in `.s`.
const PROGRAMS: &[(&str, &str)] = &[
    ("hello", "hello.rs"),
    ("primes", "primes.rs"),
    ("fpu", "fpu.rs"),
    ("calls", "calls.rs"),
    ("greet", "greet.rs"),
    ("spin", "spin.s"),
];

fn main() {
    for path in ["build.rs", "build", "layout.rs", "boot", "kernel", "user"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let build = Build {
        source: PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")),
        out: PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")),
    };
    let target = env::var("TARGET").expect("cargo sets it");
    if !target.starts_with("x86_64-") || !target.contains("linux") {
        fail(&format!(
            "the guest is built with the host's own tools, which must be x86-64 Linux, not {target}"
        ));
    }

    let boot = build.boot();
    let kernel_file = build.kernel();
    let kernel = elf::strip(&build.read(&kernel_file));
    let programs: Vec<(&str, Vec<u8>)> = PROGRAMS
        .iter()
        .map(|(name, source)| (*name, elf::strip(&build.read(&build.program(name, source)))))
        .collect();
    let disk = image::build(&boot, &kernel, &programs).unwrap_or_else(|problem| fail(&problem));
    let path = build.out.join("disk.img");
    fs::write(&path, disk).unwrap_or_else(|error| fail(&format!("{}: {error}", path.display())));
}

struct Build {
    source: PathBuf,
    out: PathBuf,
}

impl Build {
    /// Boot sector and loader: one flat piece.
    fn boot(&self) -> Vec<u8> {
        let folder = self.source.join("boot");
        let objects = ["bootsector", "loader16", "loader32"]
            .map(|name| self.assemble(&folder, &format!("{name}.s"), &format!("{name}.o")));
        let out = self.out.join("boot.elf");
        let mut link = self.link_command(&folder.join("boot.ld"));
        run(link.args(&objects).arg("-o").arg(&out), "linking the boot sector");
        elf::flatten(&self.read(&out))
    }

    fn kernel(&self) -> PathBuf {
        let out = self.out.join("kernel.elf");
        let mut rustc = self.rustc("kernel", &out, &self.source.join("kernel/kernel.ld"));
        rustc.args(["-C", "code-model=kernel"]).arg("guest/kernel/src/main.rs");
        run(&mut rustc, "compiling the kernel");
        out
    }

    fn program(&self, name: &str, source: &str) -> PathBuf {
        let folder = self.source.join("user");
        let out = self.out.join(format!("{name}.elf"));
        if source.ends_with(".s") {
            let object = self.assemble(&folder, source, &format!("{name}.o"));
            let mut link = self.link_command(&folder.join("user.ld"));
            run(link.arg(object).arg("-o").arg(&out), &format!("linking {source}"));
        } else {
            let mut rustc = self.rustc(name, &out, &folder.join("user.ld"));
            rustc.args(["-C", "code-model=small"]).arg(format!("guest/user/{source}"));
            run(&mut rustc, &format!("compiling {source}"));
        }
        out
    }

    /// A `rustc` that makes a static program without any library but `core`. It runs in the folder above, so
    /// that source paths are relative and equal everywhere.
    fn rustc(&self, crate_name: &str, out: &Path, script: &Path) -> Command {
        let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let above = self.source.parent().expect("the package lies in the workspace");
        command
            .current_dir(above)
            .env("GUEST_VERSION", env::var("CARGO_PKG_VERSION").expect("cargo sets it"));
        command.args(["--edition", "2024", "--crate-type", "bin", "--crate-name", crate_name]);
        command.args(["--color", "never", "--emit", "link"]).arg("-o").arg(out);
        for option in [
            "opt-level=2",
            "panic=abort",
            "relocation-model=static",
            "no-redzone=yes",
            "codegen-units=1",
            "debuginfo=0",
            "overflow-checks=no",
            "linker=cc",
            "linker-features=-lld",
            "link-arg=-nostdlib",
            "link-arg=-static",
            "link-arg=-no-pie",
            "link-arg=-Wl,--build-id=none",
            "link-arg=-Wl,--gc-sections",
            "link-arg=-Wl,-z,max-page-size=4096",
            "link-arg=-Wl,-z,noexecstack",
        ] {
            command.args(["-C", option]);
        }
        command.arg("-C").arg(format!("link-arg=-Wl,-T,{}", script.display()));
        command.arg(format!("--remap-path-prefix={}=", above.display()));
        command.arg(format!("--remap-path-prefix={}=out", self.out.display()));
        command
    }

    fn assemble(&self, folder: &Path, source: &str, object: &str) -> PathBuf {
        let out = self.out.join(object);
        let mut command = Command::new("cc");
        command.current_dir(folder).args(["-c", "-x", "assembler", "-Wa,-I,.", source, "-o"]).arg(&out);
        run(&mut command, &format!("assembling {source}"));
        out
    }

    fn link_command(&self, script: &Path) -> Command {
        let mut command = Command::new("cc");
        command.args(["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,max-page-size=4096"]);
        command.arg("-Wl,-z,noexecstack").arg(format!("-Wl,-T,{}", script.display()));
        command
    }

    fn read(&self, path: &Path) -> Vec<u8> {
        fs::read(path).unwrap_or_else(|error| fail(&format!("{}: {error}", path.display())))
    }
}

/// Runs a tool. What it says is shown when it fails, and as warnings otherwise.
fn run(command: &mut Command, what: &str) {
    let output = command.output().unwrap_or_else(|error| {
        fail(&format!("{what}: cannot start {}: {error}", command.get_program().display()))
    });
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        fail(&format!("{what} failed ({}):\n{said}", output.status));
    }
    for line in said.lines().filter(|line| !line.trim().is_empty()) {
        println!("cargo::warning={line}");
    }
}

/// Ends the build with a message and without a backtrace.
fn fail(message: &str) -> ! {
    eprintln!("guest: {message}");
    std::process::exit(1)
}
