//! Files out of Debian's packages, fetched by name with apt and kept.
//!
//! Apt works in a folder of its own within the one where they are kept, so neither its state on this host nor the
//! host's architecture matters, and nothing is installed.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// An architecture that Debian has packages for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// 64 bits.
    Amd64,
    /// 32 bits.
    I386,
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amd64 => "amd64",
            Self::I386 => "i386",
        })
    }
}

/// How the names of kernels' packages begin.
const KERNEL: &str = "linux-image-";

/// One test fetches at a time; others that want the same then find it.
static FETCHING: Mutex<()> = Mutex::new(());

/// The first file or folder in a package whose path, without the leading slash, starts like this. A kernel's package
/// without a version is empty and stands for the one that it depends on. It is kept in the folder `cache`.
///
/// # Errors
/// When apt cannot fetch the package or it holds no such file.
pub fn file(cache: &Path, arch: Arch, package: &str, path: &str) -> Result<PathBuf, String> {
    let lock = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = cache.join(format!("debian-{arch}"));
    let kept = folder.join(package).join(path.replace('/', "_"));
    if !kept.exists() {
        let work = folder.join(format!("work-{}", std::process::id()));
        let fetched = fetch(cache, arch, package, path, &work, &kept);
        let _ = fs::remove_dir_all(&work);
        fetched?;
    }
    drop(lock);
    Ok(kept)
}

fn fetch(
    cache: &Path,
    arch: Arch,
    package: &str,
    path: &str,
    work: &Path,
    kept: &Path,
) -> Result<(), String> {
    let trouble = |error: std::io::Error| format!("{}: {error}", work.display());
    fs::create_dir_all(work).map_err(trouble)?;
    let apt = Apt::new(arch, cache.join(format!("apt-{arch}")))?;
    if apt.download(package, work).is_err() {
        // The lists are missing, or older than what the archive holds now.
        apt.update();
        apt.download(package, work)?;
    }
    for entry in fs::read_dir(work).map_err(trouble)? {
        let file = entry.map_err(trouble)?.path();
        if file.extension().is_some_and(|end| end == "deb") {
            run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(work.join("root")))?;
        }
    }
    let wanted = work.join("root").join(path);
    let folder = wanted.parent().unwrap_or(work);
    let start = wanted.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let found = fs::read_dir(folder)
        .map_err(trouble)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start)))
        .ok_or_else(|| format!("the package {package} holds no {path}"))?;
    fs::create_dir_all(kept.parent().unwrap_or(work)).map_err(trouble)?;
    // Renamed when it is complete, so that what lies there can be used.
    fs::rename(found, kept).map_err(trouble)
}

/// Apt with lists of its own for one architecture.
struct Apt {
    arch: Arch,
    folder: PathBuf,
}

impl Apt {
    fn new(arch: Arch, folder: PathBuf) -> Result<Self, String> {
        for name in ["lists/partial", "cache/archives/partial"] {
            let path = folder.join(name);
            fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(Self { arch, folder })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut set = |option: String| {
            command.arg("-o").arg(option);
        };
        set(format!("APT::Architecture={}", self.arch));
        set(format!("APT::Architectures={}", self.arch));
        set(format!("Dir::State::lists={}", self.folder.join("lists").display()));
        set(format!("Dir::Cache={}", self.folder.join("cache").display()));
        set("Dir::State::status=/dev/null".into());
        set("APT::Sandbox::User=".into());
        set("Acquire::Retries=3".into());
        set("Acquire::Languages=none".into());
        command
    }

    /// Fetches the lists. A source that fails is no failure: the package may well be in another.
    fn update(&self) {
        let _ = run(self.command("apt-get").arg("update"));
    }

    fn download(&self, package: &str, into: &Path) -> Result<(), String> {
        let depends = run(self.command("apt-cache").args(["depends", package]))?;
        let real = depends
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|name| package.starts_with(KERNEL) && name.starts_with(KERNEL))
            .unwrap_or(package);
        run(self.command("apt-get").args(["download", real]).current_dir(into)).map(drop)
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}", errors.lines().last().unwrap_or("failed").trim()))
}
