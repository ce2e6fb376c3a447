//! What the tests of the command share: scratch folders, tiny firmware images, and running the real binary.

#![allow(dead_code, reason = "no test file uses all of it")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder of its own for one test, gone when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("emu-cli-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The same as text, for command lines.
    pub fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.name(name)
    }

    /// A 64 KiB firmware image that runs `code` at F000:E000 after reset.
    pub fn bios(&self, code: &[u8]) -> String {
        let mut image = vec![0; 0x1_0000];
        image[0xe000..0xe000 + code.len()].copy_from_slice(code);
        image[0xfff0..0xfff5].copy_from_slice(&[0xea, 0x00, 0xe0, 0x00, 0xf0]); // jmp F000:E000
        self.write("bios.bin", &image)
    }

    /// Names of everything in the folder, sorted.
    pub fn list(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The command, with a limit on its time so that no test hangs.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emu"));
    command.args(args);
    command
}

/// Runs the command with nothing on standard input.
pub fn emu(args: &[&str]) -> Output {
    command(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs the command with `input` on standard input.
pub fn emu_with_input(args: &[&str], input: &[u8]) -> Output {
    let mut child =
        command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A guest that stops before it read everything is no failure here.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Checks that the command failed with `status` and said why in one line that names all `parts`.
#[track_caller]
pub fn refused(args: &[&str], status: i32, parts: &[&str]) {
    let output = emu(args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(status), "emu {args:?}: {text}");
    assert!(text.starts_with("emu: ") && text.ends_with('\n'), "emu {args:?}: {text}");
    assert_eq!(text.lines().count(), 1, "emu {args:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "emu {args:?}: {part:?} is missing in: {text}");
    }
    assert!(output.stdout.is_empty(), "emu {args:?} printed to standard output");
}

/// True when a file without write permission can be written all the same, because we are root.
pub fn permissions_do_not_count(read_only: &Path) -> bool {
    fs::OpenOptions::new().write(true).open(read_only).is_ok()
}
