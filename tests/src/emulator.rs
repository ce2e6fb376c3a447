//! Finds the `emu` binary, and builds it when it is missing or older than its sources.
//!
//! Cargo tells only the tests of its own package where a binary is. The others find it beside themselves: a test
//! runs as `TARGET/PROFILE/deps/NAME`, the binary is `TARGET/PROFILE/emu`.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The `emu` binary, of the same profile as this test.
///
/// # Panics
/// When it has to be built and cannot be.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("the host knows what it runs");
        let folder = test
            .ancestors()
            .find(|path| path.file_name() == Some(OsStr::new("deps")))
            .and_then(Path::parent)
            .expect("tests lie in the folder deps of their profile");
        let binary = folder.join("emu");
        if !up_to_date(&binary) {
            build(folder);
        }
        assert!(binary.is_file(), "{} was built", binary.display());
        binary
    })
}

/// A command that runs `emu` with these arguments.
pub fn emu<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments);
    command
}

/// True when the binary is newer than every source file that cargo's note beside it lists.
fn up_to_date(binary: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let Some(built) = changed(binary) else { return false };
    let Ok(note) = fs::read_to_string(binary.with_extension("d")) else { return false };
    let Some((_, sources)) = note.split_once(": ") else { return false };
    // A space within a name is written `\ `.
    sources.replace("\\ ", "\0").split_whitespace().all(|source| {
        let time: Option<SystemTime> = changed(Path::new(&source.replace('\0', " ")));
        time.is_some_and(|time| time <= built)
    })
}

fn build(folder: &Path) {
    let profile = match folder.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let target = folder.parent().expect("a profile's folder lies in the target folder");
    // Told even where output is captured: this can take minutes, and would look like a test that hangs.
    let _ = writeln!(std::io::stderr(), "emu is missing or older than its sources: building it");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "-p", "emu-cli", "--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .expect("cargo starts");
    assert!(status.success(), "emu-cli builds");
}
