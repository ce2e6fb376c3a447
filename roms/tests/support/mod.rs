//! Runs the BIOS in QEMU: assembles a test guest, boots it from a disk image, and collects what it
//! said on port E9h.

// Each test program uses its own part of this.
#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

const QEMU: &str = "qemu-system-x86_64";
/// No guest takes a second; a hung one is killed after this.
const LIMIT: Duration = Duration::from_secs(20);
/// What isa-debug-exit makes of the 10h that a guest without failures writes.
const PASSED: i32 = 0x10 << 1 | 1;

/// True when QEMU is here. Else says SKIPPED, which is a failure when the environment demands QEMU.
pub fn qemu_present(test: &str) -> bool {
    let found = Command::new(QEMU).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match found {
        Ok(status) if status.success() => true,
        _ => {
            assert!(
                env::var("EMU_REQUIRE_EXTERNAL").as_deref() != Ok("1"),
                "{test}: {QEMU} is required here and does not start"
            );
            eprintln!("SKIPPED {test}: {QEMU} is not installed");
            false
        }
    }
}

/// A folder for one test's files, empty.
pub fn scratch(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

/// Assembles `tests/guests/NAME.S` to a flat binary that starts at 7C00h.
pub fn assemble(name: &str, folder: &Path) -> Vec<u8> {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests");
    let object = folder.join("guest.o");
    let binary = folder.join("guest.bin");
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let assembled = Command::new(&compiler)
        .args(["-m32", "-c", "-x", "assembler-with-cpp", "-nostdinc", "-I"])
        .args([&guests, Path::new("-o"), &object, &guests.join(name).with_extension("S")])
        .status()
        .expect("the C compiler starts");
    assert!(assembled.success(), "{name} assembles");
    let linked = Command::new(&compiler)
        .args(["-m32", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,noexecstack"])
        .args(["-Wl,--oformat=binary", "-Wl,-T"])
        .args([&guests.join("test.ld"), Path::new("-o"), &binary, &object])
        .status()
        .expect("the C compiler starts");
    assert!(linked.success(), "{name} links");
    fs::read(&binary).expect("the linker wrote it")
}

/// A disk image of so many sectors that begins with these bytes.
pub fn disk(path: &Path, first: &[u8], sectors: u64) {
    fs::write(path, first).expect("the target folder can be written");
    let file = fs::OpenOptions::new().write(true).open(path).expect("it was just made");
    file.set_len(sectors * 512).expect("the target folder has room for a sparse file");
}

/// A running QEMU, killed when dropped.
pub struct Machine {
    child: Child,
    folder: PathBuf,
    started: Instant,
}

impl Machine {
    /// Starts our BIOS with these drives on top; its monitor is ours to talk to.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let bios = folder.join("bios.bin");
        fs::write(&bios, emu_roms::BIOS).expect("the target folder can be written");
        let child = Command::new(QEMU)
            .arg("-bios")
            .arg(&bios)
            .args(["-machine", "pc", "-accel", "tcg", "-display", "none", "-nic", "none"])
            .args(["-no-reboot", "-monitor", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"])
            .arg("-debugcon")
            .arg(format!("file:{}", folder.join("debug.log").display()))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("QEMU starts");
        Machine { child, folder: folder.to_path_buf(), started: Instant::now() }
    }

    /// Gives the monitor a command.
    pub fn monitor(&mut self, command: &str) {
        let stdin = self.child.stdin.as_mut().expect("it was piped");
        writeln!(stdin, "{command}").expect("QEMU listens");
        stdin.flush().expect("QEMU listens");
    }

    /// What the guest has written to port E9h.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("debug.log")).unwrap_or_default()).into_owned()
    }

    /// Waits until the log holds this text.
    pub fn wait_for(&mut self, text: &str) {
        while !self.log().contains(text) {
            let running = self.child.try_wait().expect("QEMU can be asked").is_none();
            assert!(running, "the guest ended before it said `{text}`:\n{}", self.log());
            self.rest(text);
        }
    }

    /// Waits for QEMU's end.
    pub fn exit_status(&mut self) -> Option<i32> {
        loop {
            if let Some(status) = self.child.try_wait().expect("QEMU can be asked") {
                return status.code();
            }
            self.rest("the end");
        }
    }

    /// Waits for the guest's end and returns its log; it must have had no failures.
    pub fn passed(mut self) -> String {
        let status = self.exit_status();
        let log = self.log();
        assert_eq!(status, Some(PASSED), "the guest's checks:\n{log}");
        assert!(!log.contains("FAIL"), "{log}");
        log
    }

    /// The text screen's 25 rows, by way of the monitor.
    pub fn screen(&mut self) -> Vec<String> {
        let dump = self.folder.join("screen.bin");
        let _ = fs::remove_file(&dump);
        self.monitor(&format!("pmemsave 0xb8000 4000 \"{}\"", dump.display()));
        loop {
            if let Ok(bytes) = fs::read(&dump)
                && bytes.len() == 4000
            {
                let text: String = bytes.chunks(2).map(|cell| char::from(cell[0])).collect();
                return text.as_bytes().chunks(80).map(|r| String::from_utf8_lossy(r).into_owned()).collect();
            }
            self.rest("the screen's memory");
        }
    }

    /// Waits until some row of the screen holds this text; returns the screen.
    pub fn wait_for_screen(&mut self, text: &str) -> Vec<String> {
        loop {
            let screen = self.screen();
            if screen.iter().any(|row| row.contains(text)) {
                return screen;
            }
            self.rest(text);
        }
    }

    fn rest(&self, for_what: &str) {
        assert!(self.started.elapsed() < LIMIT, "waited too long for {for_what}; log:\n{}", self.log());
        thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// QEMU's words for an image as IDE disk number `index`.
pub fn drive(image: &Path, index: usize) -> String {
    format!("file={},format=raw,if=ide,index={index}", image.display())
}

/// Boots a guest from a disk of its own, 16 MiB, as drive 80h, and returns its log.
pub fn run_guest(name: &str, arguments: &[&str]) -> String {
    let folder = scratch(name);
    let image = folder.join("disk.img");
    disk(&image, &assemble(name, &folder), 16 << 11);
    let drive = drive(&image, 0);
    let mut all = vec!["-drive", &drive];
    all.extend(arguments);
    Machine::start(&folder, &all).passed()
}
