//! `emu info`: what is built in and what the host can do.

mod instructions;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context, Result};
use emu_core::cpu::model::MODELS;
use rustix::fs::MemfdFlags;
use serde::Serialize;

use crate::args::InfoArgs;
use crate::outcome::Outcome;

#[derive(Debug, Serialize)]
struct Info {
    version: &'static str,
    engines: &'static [&'static str],
    cpu_models: Vec<&'static str>,
    bundled: Bundled,
    host: Host,
}

#[derive(Debug, Serialize)]
struct Bundled {
    bios_bytes: usize,
    vga_bios_bytes: usize,
    disk_image_bytes: usize,
}

#[derive(Debug, Serialize)]
struct Host {
    architecture: &'static str,
    cpu: Option<String>,
    threads: Option<usize>,
    features: Vec<&'static str>,
    memfd: bool,
    qemu: Option<PathBuf>,
}

/// Prints the information to standard output.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: &InfoArgs) -> Result<Outcome> {
    let text = if args.instructions {
        instructions::list(args.json)?
    } else {
        let info = gather();
        if args.json { serde_json::to_string_pretty(&info)? + "\n" } else { in_words(&info) }
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Outcome::OutputClosed),
        result => result.map(|()| Outcome::Done).context("standard output"),
    }
}

fn gather() -> Info {
    Info {
        version: env!("CARGO_PKG_VERSION"),
        engines: if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
            &["interp", "jit"]
        } else {
            &["interp"]
        },
        cpu_models: MODELS.iter().map(|model| model.name).collect(),
        bundled: Bundled {
            bios_bytes: emu_roms::BIOS.len(),
            vga_bios_bytes: emu_roms::VGA_BIOS.len(),
            disk_image_bytes: emu_guest::DISK_IMAGE.len(),
        },
        host: Host {
            architecture: std::env::consts::ARCH,
            cpu: cpu_brand(),
            threads: std::thread::available_parallelism().ok().map(usize::from),
            features: features(),
            memfd: rustix::fs::memfd_create("emu", MemfdFlags::CLOEXEC).is_ok(),
            qemu: in_path("qemu-system-x86_64"),
        },
    }
}

fn in_words(info: &Info) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<12} {value}");
    };
    line("emu", info.version);
    line("engines", &info.engines.join(" "));
    line("cpu models", &info.cpu_models.join(" "));
    line("BIOS", &format!("{} bytes", info.bundled.bios_bytes));
    line("VGA BIOS", &format!("{} bytes", info.bundled.vga_bios_bytes));
    line("disk image", &format!("{} bytes", info.bundled.disk_image_bytes));
    line("host", info.host.architecture);
    line("host CPU", info.host.cpu.as_deref().unwrap_or("unknown"));
    line("threads", &info.host.threads.map_or("unknown".into(), |threads| threads.to_string()));
    line("features", &info.host.features.join(" "));
    line("memfd", if info.host.memfd { "yes" } else { "no" });
    let qemu = info.host.qemu.as_ref().map(|path| path.display().to_string());
    line("QEMU", qemu.as_deref().unwrap_or("not found"));
    out
}

/// The processor's own name for itself (CPUID leaves 8000_0002h to 8000_0004h).
#[cfg(target_arch = "x86_64")]
pub fn cpu_brand() -> Option<String> {
    use std::arch::x86_64::__cpuid;
    if __cpuid(0x8000_0000).eax < 0x8000_0004 {
        return None;
    }
    let bytes: Vec<u8> = (0x8000_0002..=0x8000_0004)
        .map(__cpuid)
        .flat_map(|leaf| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx])
        .flat_map(u32::to_le_bytes)
        .take_while(|&byte| byte != 0)
        .collect();
    Some(String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(not(target_arch = "x86_64"))]
pub fn cpu_brand() -> Option<String> {
    None
}

/// Features of the host CPU that matter to an engine.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    macro_rules! present {
        ($($name:tt)*) => {
            [$(($name, std::arch::is_x86_feature_detected!($name))),*]
        };
    }
    present!("sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "aes" "pclmulqdq" "sha" "rdrand" "rdseed" "bmi1" "bmi2"
             "lzcnt" "movbe" "adx" "f16c" "fma" "avx" "avx2" "avx512f" "cmpxchg16b" "xsave" "xsavec")
    .into_iter()
    .filter_map(|(name, present)| present.then_some(name))
    .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

fn in_path(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}
