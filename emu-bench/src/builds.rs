//! Builds of emu that reports were made with. They are kept, so that a later build can run in turn with them: seconds
//! of another day say as much about the host's weather as about a build.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::Error;

/// So many are kept, the last used ones.
const KEPT: usize = 8;
/// What their names begin with.
const PREFIX: &str = "emu-";

/// The name of a build: a digest of its file.
///
/// # Errors
/// When it cannot be read.
pub fn name(emu: &Path) -> Result<String, Error> {
    let bytes = fs::read(emu).map_err(Error::host(emu.display()))?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    Ok(format!("{PREFIX}{:016x}", hasher.finish()))
}

fn folder(cache: &Path) -> PathBuf {
    cache.join("builds")
}

/// Keeps a copy of this build and returns its name; of too many the one that was not used for longest goes.
///
/// # Errors
/// When it cannot be read, or the copy not written.
pub fn keep(cache: &Path, emu: &Path) -> Result<String, Error> {
    let (folder, name) = (folder(cache), name(emu)?);
    fs::create_dir_all(&folder).map_err(Error::host(folder.display()))?;
    let kept = folder.join(&name);
    if !kept.is_file() {
        // Renamed when it is complete, so that what lies there can be used.
        let part = folder.join(format!("part-{}", std::process::id()));
        let copied = fs::copy(emu, &part).and_then(|_| fs::rename(&part, &kept));
        if copied.is_err() {
            let _ = fs::remove_file(&part);
        }
        copied.map_err(Error::host(kept.display()))?;
    }
    used(&kept);
    forget(&folder);
    Ok(name)
}

/// The kept build of this name; `None` when it is not kept (any more).
pub fn find(cache: &Path, name: &str) -> Option<PathBuf> {
    // A report is a file from anywhere: what it names is looked for among the kept ones only.
    let plain = name.strip_prefix(PREFIX)?.bytes().all(|byte| byte.is_ascii_hexdigit());
    let kept = folder(cache).join(name);
    let found = plain && kept.is_file();
    if found {
        used(&kept);
    }
    found.then_some(kept)
}

/// Notes that it is used now.
fn used(kept: &Path) {
    if let Ok(file) = fs::File::open(kept) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// Removes all but the last used ones. What cannot be removed stays.
fn forget(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let ours = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(PREFIX);
    let mut builds: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .filter(ours)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    builds.sort();
    for (_, path) in builds.iter().rev().skip(KEPT) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_used_builds_are_kept_and_found_by_their_names() {
        let cache = std::env::temp_dir().join(format!("emu-builds-{}", std::process::id()));
        let _ = fs::remove_dir_all(&cache);
        fs::create_dir_all(&cache).unwrap();
        let emu = cache.join("emu");
        let names: Vec<String> = (0..KEPT + 2)
            .map(|n| {
                fs::write(&emu, format!("build {n}")).unwrap();
                keep(&cache, &emu).unwrap()
            })
            .collect();
        assert_eq!(keep(&cache, &emu).unwrap(), names[KEPT + 1], "the same build has the same name");
        let found: Vec<bool> = names.iter().map(|name| find(&cache, name).is_some()).collect();
        assert!(!found[0] && !found[1] && found[2..].iter().all(|found| *found), "{found:?}");
        assert_eq!(fs::read_to_string(find(&cache, &names[5]).unwrap()).unwrap(), "build 5");
        assert_eq!(find(&cache, "emu-../../emu"), None);
        fs::remove_dir_all(&cache).unwrap();
    }
}
