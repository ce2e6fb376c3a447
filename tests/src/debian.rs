//! Files out of Debian's packages, kept in the folder that `EMU_CACHE` names, else in cargo's target folder.

use std::path::{Path, PathBuf};

pub use emu_bench::debian::Arch;

use crate::emulator;

/// Where fetched files are kept.
pub fn cache() -> PathBuf {
    match std::env::var_os("EMU_CACHE") {
        Some(folder) if !folder.is_empty() => folder.into(),
        _ => {
            let profile = emulator::binary().parent().and_then(Path::parent);
            profile.expect("the binary lies in its profile's folder").join("tmp").join("emu-cache")
        }
    }
}

/// The first file or folder in a package whose path, without the leading slash, starts like this.
///
/// # Errors
/// As for [`emu_bench::debian::file`].
pub fn file(arch: Arch, package: &str, path: &str) -> Result<PathBuf, String> {
    emu_bench::debian::file(&cache(), arch, package, path)
}
