//! The guests that hold the workloads: Linux from Debian's packages with an initial RAM disk made here.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cpio::Archive;
use crate::debian::{self, Arch};
use crate::error::Error;
use crate::workload;

/// What runs the workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Guest {
    /// Debian's cloud kernel and 64-bit programs.
    Linux64,
    /// Debian's kernel for 686 and 32-bit programs.
    Linux32,
}

/// The kernel's words.
pub const APPEND: &str = "console=ttyS0 panic=-1";

const INIT: &str = "#!/busybox sh
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sys /sys
/busybox mount -t devtmpfs dev /dev
export WORK_SHELL=/busybox
exec /work serve
";

/// The files of a guest.
#[derive(Clone, Debug)]
pub struct Files {
    /// The workloads' program, which also runs on the host.
    pub program: PathBuf,
    /// The shell for scripts, likewise.
    pub busybox: PathBuf,
    /// The kernel, a bzImage.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: PathBuf,
}

impl Guest {
    /// All guests.
    pub const ALL: [Self; 2] = [Self::Linux64, Self::Linux32];

    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linux64 => "linux64",
            Self::Linux32 => "linux32",
        }
    }

    /// Makes or fetches its files, in the folder `cache`.
    ///
    /// # Errors
    /// When there is no C compiler, or no package.
    pub fn files(self, cache: &Path) -> Result<Files, Error> {
        let (bits, arch, package) = match self {
            Self::Linux64 => (64, Arch::Amd64, "linux-image-cloud-amd64"),
            Self::Linux32 => (32, Arch::I386, "linux-image-686"),
        };
        let program = workload::program(cache, bits)?;
        let fetch = |package, path| {
            debian::file(cache, arch, package, path)
                .map_err(|why| Error::Missing(format!("the package {package} for {arch}: {why}")))
        };
        let (kernel, fetched) = (fetch(package, "boot/vmlinuz-")?, fetch("busybox-static", "bin/busybox")?);
        // Busybox does what its name says.
        let busybox = program.with_file_name(format!("busybox-for-{arch}"));
        let part = program.with_extension(format!("part-{}", std::process::id()));
        if !busybox.exists() {
            fs::copy(&fetched, &part).map_err(Error::host(part.display()))?;
            fs::rename(&part, &busybox).map_err(Error::host(busybox.display()))?;
        }
        let read = |path: &Path| fs::read(path).map_err(Error::host(path.display()));
        let mut archive = Archive::default();
        ["proc", "sys", "dev", "tmp"].iter().for_each(|name| archive.directory(name));
        archive.program("busybox", &read(&busybox)?);
        archive.program("work", &read(&program)?);
        archive.program("init", INIT.as_bytes());
        let initrd = program.with_extension("initrd");
        fs::write(&part, archive.finish()).map_err(Error::host(part.display()))?;
        fs::rename(&part, &initrd).map_err(Error::host(initrd.display()))?;
        Ok(Files { program, busybox, kernel, initrd })
    }
}
