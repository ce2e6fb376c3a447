//! The guests that hold the workloads: Linux from Debian's packages with an initial RAM disk made here, and the bundled
//! kernel.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cpio::Archive;
use crate::debian::{self, Arch};
use crate::error::Error;
use crate::iso;
use crate::workload::{self, KERNEL_WORKLOADS, WORKLOADS, Workload};

/// What runs the workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Guest {
    /// Debian's cloud kernel and 64-bit programs.
    Linux64,
    /// Debian's kernel for 686 and 32-bit programs.
    Linux32,
    /// The bundled kernel, booted from its disk by the firmware.
    Kernel,
}

/// The Linux kernel's words.
pub const APPEND: &str = "console=ttyS0 panic=-1";

const INIT: &str = "#!/busybox sh
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sys /sys
/busybox mount -t devtmpfs dev /dev
export WORK_SHELL=/busybox
exec /work serve
";

/// The workloads' program and the shell that it starts, which run on the host as well.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The program.
    pub work: PathBuf,
    /// The shell.
    pub busybox: PathBuf,
}

/// What a machine boots from.
#[derive(Clone, Debug)]
pub enum Medium {
    /// A bzImage and its initial RAM disk.
    Linux {
        /// The bzImage.
        kernel: PathBuf,
        /// The initial RAM disk.
        initrd: PathBuf,
    },
    /// An image of a hard disk.
    Disk(PathBuf),
}

/// What a report names of a Linux guest's files, so that the same can boot again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booted {
    /// The guest.
    pub guest: Guest,
    /// Its bzImage.
    pub kernel: PathBuf,
    /// Its initial RAM disk, which has the workloads' program.
    pub initrd: PathBuf,
}

/// The files of a guest.
#[derive(Debug)]
pub struct Files {
    /// What can run on the host.
    pub programs: Option<Programs>,
    /// What boots.
    pub medium: Medium,
    /// Where more can be made.
    folder: PathBuf,
    cache: PathBuf,
}

impl Guest {
    /// All guests.
    pub const ALL: [Self; 3] = [Self::Linux64, Self::Linux32, Self::Kernel];

    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linux64 => "linux64",
            Self::Linux32 => "linux32",
            Self::Kernel => "kernel",
        }
    }

    /// What it can run.
    pub fn workloads(self) -> &'static [Workload] {
        match self {
            Self::Linux64 | Self::Linux32 => &WORKLOADS,
            Self::Kernel => &KERNEL_WORKLOADS,
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
            Self::Kernel => return bundled(cache),
        };
        let work = workload::program(cache, bits)?;
        let fetch = |package, path| fetch(cache, arch, package, path);
        let (kernel, fetched) = (fetch(package, "boot/vmlinuz-")?, fetch("busybox-static", "bin/busybox")?);
        // Busybox does what its name says.
        let busybox = work.with_file_name(format!("busybox-for-{arch}"));
        if !busybox.exists() {
            write(&busybox, &read(&fetched)?)?;
            let mode = fs::metadata(&fetched).map_err(Error::host(fetched.display()))?.permissions();
            fs::set_permissions(&busybox, mode).map_err(Error::host(busybox.display()))?;
        }
        let mut archive = Archive::default();
        ["proc", "sys", "dev", "tmp"].iter().for_each(|name| archive.directory(name));
        archive.program("busybox", &read(&busybox)?);
        archive.program("work", &read(&work)?);
        archive.program("init", INIT.as_bytes());
        let initrd = work.with_extension("initrd");
        write(&initrd, &archive.finish())?;
        let folder = work.parent().unwrap_or(cache).to_owned();
        let programs = Some(Programs { work, busybox });
        Ok(Files { programs, medium: Medium::Linux { kernel, initrd }, folder, cache: cache.into() })
    }
}

fn bundled(cache: &Path) -> Result<Files, Error> {
    fs::create_dir_all(cache).map_err(Error::host(cache.display()))?;
    let disk = cache.join(format!("bundled-{}.img", std::process::id()));
    write(&disk, emu_guest::DISK_IMAGE)?;
    Ok(Files { programs: None, medium: Medium::Disk(disk), folder: cache.into(), cache: cache.into() })
}

fn fetch(cache: &Path, arch: Arch, package: &str, path: &str) -> Result<PathBuf, Error> {
    debian::file(cache, arch, package, path)
        .map_err(|why| Error::Missing(format!("the package {package} for {arch}: {why}")))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(Error::host(path.display()))
}

/// Writes a file that appears under its name when it is complete.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let part = path.with_extension(format!("part-{}", std::process::id()));
    fs::write(&part, bytes).map_err(Error::host(part.display()))?;
    fs::rename(&part, path).map_err(Error::host(path.display()))
}

impl Files {
    /// What a report names of them: nothing of the bundled kernel, which is part of each build of emu.
    pub fn booted(&self, guest: Guest) -> Option<Booted> {
        match &self.medium {
            Medium::Linux { kernel, initrd } => {
                Some(Booted { guest, kernel: kernel.clone(), initrd: initrd.clone() })
            }
            Medium::Disk(_) => None,
        }
    }

    /// These, but for what an earlier report booted.
    pub(crate) fn earlier(&self, booted: &Booted) -> Self {
        let (kernel, initrd) = (booted.kernel.clone(), booted.initrd.clone());
        Self {
            programs: None,
            medium: Medium::Linux { kernel, initrd },
            folder: self.folder.clone(),
            cache: self.cache.clone(),
        }
    }

    /// A disc that boots Linux by ISOLINUX, for emulators that cannot boot a kernel by themselves.
    ///
    /// # Errors
    /// When the packages isolinux and syslinux-common cannot be had, or this is no Linux.
    pub fn disc(&self) -> Result<PathBuf, Error> {
        let Medium::Linux { kernel, initrd } = &self.medium else {
            return Err(Error::Missing("only Linux comes on a disc".into()));
        };
        let packaged =
            |package, path| fetch(&self.cache, Arch::Amd64, package, path).and_then(|path| read(&path));
        let loader = packaged("isolinux", "usr/lib/ISOLINUX/isolinux.bin")?;
        let module = packaged("syslinux-common", "usr/lib/syslinux/modules/bios/ldlinux.c32")?;
        let words = format!(
            "DEFAULT linux\nPROMPT 0\nLABEL linux\n  KERNEL /vmlinuz\n  INITRD /initrd.img\n  APPEND {APPEND}\n"
        );
        let files: [(&str, &[u8]); 5] = [
            ("ISOLINUX.BIN", &loader),
            ("ISOLINUX.CFG", words.as_bytes()),
            ("LDLINUX.C32", &module),
            ("VMLINUZ.", &read(kernel)?),
            ("INITRD.IMG", &read(initrd)?),
        ];
        let boot = iso::Boot { file: "ISOLINUX.BIN", media: 0, sectors: 4, table: true };
        let path = self.folder.join(format!("linux-{}.iso", std::process::id()));
        write(&path, &iso::disc(&files, Some(boot)))?;
        Ok(path)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Medium::Disk(path) = &self.medium {
            let _ = fs::remove_file(path);
        }
    }
}
