//! `--kernel`, `--initrd` and `--append`: reads the files and has the board's crate check and place them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use emu_devices::linux_kernel::LinuxKernel;

use crate::args::RunArgs;

/// Nothing that goes below 4 GiB is larger.
const FILE_MAX: u64 = 1 << 32;

/// Reads and checks the kernel to boot, if one was asked for.
///
/// # Errors
/// When a file cannot be read, is no kernel, or does not fit the machine.
pub fn load(args: &RunArgs) -> Result<Option<LinuxKernel>> {
    let Some(path) = &args.kernel else { return Ok(None) };
    let image = read(path, "a Linux bzImage").with_context(|| format!("--kernel {}", path.display()))?;
    let initrd = match &args.initrd {
        Some(path) => {
            let expected = "an initial RAM disk";
            let bytes = read(path, expected).with_context(|| format!("--initrd {}", path.display()))?;
            if bytes.is_empty() {
                bail!("--initrd {}: expected {expected}, found an empty file", path.display());
            }
            bytes
        }
        None => Vec::new(),
    };
    let command_line = args.append.as_deref().unwrap_or_default().as_bytes();
    LinuxKernel::new(image, initrd, command_line, args.memory)
        .map(Some)
        .with_context(|| format!("--kernel {}", path.display()))
}

fn read(path: &Path, expected: &str) -> Result<Vec<u8>> {
    let meta = path.metadata().with_context(|| format!("expected {expected}"))?;
    if !meta.is_file() {
        let found = if meta.is_dir() { "a directory" } else { "no plain file" };
        bail!("expected {expected}, found {found}");
    }
    if meta.len() >= FILE_MAX {
        bail!("expected {expected}, found a file of {} bytes", meta.len());
    }
    let file = File::open(path).with_context(|| format!("expected {expected} that can be read"))?;
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    file.take(FILE_MAX).read_to_end(&mut bytes).context("it cannot be read")?;
    Ok(bytes)
}
