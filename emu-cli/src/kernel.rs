//! `--kernel`, `--initrd` and `--append`: reads the files and has the board's crate check and place them.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use emu_devices::contents::{Contents, ReadAt};
use emu_devices::direct_boot::{self, BootKernel, LinuxEntry, Module, Request};

use crate::args::{KernelEntry, RunArgs};
use crate::say::report;

/// Nothing that goes below 4 GiB is larger.
const FILE_MAX: u64 = 1 << 32;

/// Reads and checks the kernel to boot, if one was asked for; also says which files were read.
///
/// # Errors
/// When a file cannot be read, is no kernel, or does not fit the machine.
pub fn load(args: &RunArgs) -> Result<(Option<BootKernel>, Vec<PathBuf>)> {
    let Some(path) = &args.kernel else { return Ok((None, Vec::new())) };
    let context = || format!("--kernel {}", path.display());
    let mut paths = vec![path.clone()];
    let image = read(path, "a kernel").with_context(context)?;
    let mut modules = Vec::new();
    if let Some(initrd) = &args.initrd {
        let (expected, files) = if direct_boot::takes_modules(&image) {
            ("a Multiboot module", module_list(initrd))
        } else {
            ("an initial RAM disk", vec![(initrd.clone(), Vec::new())])
        };
        for (path, text) in files {
            let context = || format!("--initrd {}", path.display());
            let bytes = read(&path, expected).with_context(context)?;
            if bytes.is_empty() && text.is_empty() {
                return Err(anyhow::anyhow!("expected {expected}, found an empty file"))
                    .with_context(context);
            }
            modules.push(Module { bytes, text });
            paths.push(path);
        }
    }
    let request = Request {
        image,
        name: path.as_os_str().as_encoded_bytes().to_vec(),
        command_line: args.append.as_deref().unwrap_or_default().as_bytes().to_vec(),
        modules,
        linux_entry: match args.kernel_entry {
            KernelEntry::Real => LinuxEntry::Real,
            KernelEntry::Protected => LinuxEntry::Protected,
            KernelEntry::Long => LinuxEntry::Long,
        },
        ram_size: args.memory,
    };
    let kernel = BootKernel::new(request).with_context(context)?;
    Ok((Some(kernel), paths))
}

/// Multiboot modules: files by commas (a comma in a name is written twice), each with words behind it that belong to
/// its string.
fn module_list(list: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let bytes = list.as_os_str().as_encoded_bytes();
    let mut modules = vec![Vec::new()];
    let mut rest = bytes.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte == b',' && rest.next_if_eq(&b',').is_none() {
            modules.push(Vec::new());
        } else if let Some(module) = modules.last_mut() {
            module.push(byte);
        }
    }
    modules
        .into_iter()
        .map(|text| {
            let name = text.split(|&byte| byte == b' ').next().unwrap_or_default();
            (path_of(name), text)
        })
        .collect()
}

fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes)).to_owned()
}

/// A file that is read when the firmware asks for it.
#[derive(Debug)]
struct Lying {
    file: File,
    path: PathBuf,
    /// The user knows that it cannot be read.
    told: AtomicBool,
}

impl ReadAt for Lying {
    fn read_at(&self, offset: u64, out: &mut [u8]) {
        if let Err(why) = self.file.read_exact_at(out, offset) {
            out.fill(0);
            if !self.told.swap(true, Ordering::Relaxed) {
                let why = match why.kind() {
                    ErrorKind::UnexpectedEof => "it has become shorter".into(),
                    _ => why.to_string(),
                };
                report!("{}: {why}; the guest reads zeros", self.path.display());
            }
        }
    }
}

fn read(path: &Path, expected: &str) -> Result<Contents> {
    let meta = path.metadata().with_context(|| format!("expected {expected}"))?;
    if !meta.is_file() {
        let found = if meta.is_dir() { "a directory" } else { "no plain file" };
        bail!("expected {expected}, found {found}");
    }
    if meta.len() >= FILE_MAX {
        bail!("expected {expected}, found a file of {} bytes", meta.len());
    }
    let mut file = File::open(path).with_context(|| format!("expected {expected} that can be read"))?;
    // A file that cannot be read at all is told now.
    let _ = file.read(&mut [0]).context("it cannot be read")?;
    let lying = Lying { file, path: path.to_owned(), told: AtomicBool::new(false) };
    Ok(Contents::elsewhere(Arc::new(lying), meta.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_late_and_what_is_gone_by_then_is_zeros() {
        let path = std::env::temp_dir().join(format!("emu-kernel-late-{}", std::process::id()));
        std::fs::write(&path, [7; 100]).unwrap();
        let contents = read(&path, "a kernel").unwrap();
        assert_eq!((contents.len(), contents.head(4)), (100, vec![7; 4]));
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
        assert_eq!((contents.head(10), contents.behind(20).to_vec()), (vec![7; 10], vec![0; 80]));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn modules_stand_between_commas_and_have_words() {
        let found = module_list(Path::new("a b c,d,,e  f,g"));
        let expected = [("a", "a b c"), ("d,e", "d,e  f"), ("g", "g")];
        assert_eq!(found, expected.map(|(name, text)| (PathBuf::from(name), text.as_bytes().to_vec())));
    }
}
