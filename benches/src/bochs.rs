//! The bundled kernel on Bochs (Debian packages bochs, bochsbios, vgabios), driven through its serial console.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use emu_guest::DISK_IMAGE;

const PROMPT: &[u8] = b"emu$ ";
/// No work takes longer.
const LIMIT: Duration = Duration::from_secs(600);

/// A Bochs that runs; killed when dropped.
#[derive(Debug)]
pub struct Bochs {
    child: Child,
    console: TcpStream,
    folder: PathBuf,
}

/// True when Bochs and its firmware are installed.
pub fn installed() -> bool {
    let files = ["/usr/share/bochs/BIOS-bochs-latest", "/usr/share/bochs/VGABIOS-lgpl-latest"];
    let help = Command::new("bochs").arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
    help.is_ok() && files.iter().all(|path| Path::new(path).is_file())
}

fn configuration(port: u16) -> String {
    format!(
        "megs: 256
cpu: model=corei7_haswell_4770, count=1, ips=100000000
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0: enabled=1
ata0-master: type=disk, path=disk.img, mode=flat
boot: disk
com1: enabled=1, mode=socket-server, dev=localhost:{port}
clock: sync=none, time0=1767225600
display_library: rfb, options=\"timeout=0\"
speaker: enabled=0
log: bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
"
    )
}

impl Bochs {
    /// Switches a PC on and waits for the shell's prompt.
    ///
    /// # Errors
    /// What the host could not do, or Bochs ended.
    pub fn boot() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("emu-bochs-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("disk.img"), DISK_IMAGE)?;
        // A port that is free now.
        let port = TcpListener::bind("localhost:0")?.local_addr()?.port();
        fs::write(folder.join("bochsrc"), configuration(port))?;
        // Debian's Bochs has its debugger built in, which asks before it starts.
        fs::write(folder.join("start"), "continue\n")?;
        let mut child = Command::new("bochs")
            .args(["-q", "-f", "bochsrc", "-rc", "start"])
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(File::create(folder.join("output"))?)
            .stderr(Stdio::null())
            .spawn()?;
        let started = Instant::now();
        let console = loop {
            match TcpStream::connect(("localhost", port)) {
                Ok(console) => break console,
                Err(error) if started.elapsed() > LIMIT || child.try_wait()?.is_some() => {
                    return Err(error);
                }
                Err(_) => thread::sleep(Duration::from_millis(100)),
            }
        };
        let mut bochs = Self { child, console, folder };
        bochs.wait_for(PROMPT)?;
        Ok(bochs)
    }

    /// Types a line, waits until the guest prints `marker`, and says how many seconds of processor time that took.
    ///
    /// # Errors
    /// As for [`boot`](Self::boot).
    pub fn run_until(&mut self, line: &str, marker: &[u8]) -> io::Result<f64> {
        let before = processor_seconds(self.child.id())?;
        self.console.write_all(format!("{line}\r").as_bytes())?;
        self.wait_for(marker)?;
        Ok(processor_seconds(self.child.id())? - before)
    }

    fn wait_for(&mut self, marker: &[u8]) -> io::Result<()> {
        self.console.set_read_timeout(Some(LIMIT))?;
        let mut seen = Vec::new();
        while !seen.windows(marker.len()).any(|part| part == marker) {
            let mut piece = [0; 4096];
            match self.console.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => seen.extend_from_slice(&piece[..count]),
            }
        }
        Ok(())
    }
}

impl Drop for Bochs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Processor time that a process has used in user mode, to the hundredth of a second.
///
/// # Errors
/// When there is no such process, or the host is no Linux.
pub fn processor_seconds(process: u32) -> io::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let mut fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.nth(11).and_then(|field| field.parse::<f64>().ok());
    ticks.map(|ticks| ticks / 100.0).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
