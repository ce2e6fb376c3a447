//! Bochs as a peer (Debian packages bochs, bochsbios, vgabios): its configuration file and its start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::guest::{Files, Medium};

const BIOS: &str = "/usr/share/bochs/BIOS-bochs-latest";
const VGA_BIOS: &str = "/usr/share/bochs/VGABIOS-lgpl-latest";

/// `None` when Bochs and its firmware are installed, else what is missing.
pub fn missing() -> Option<String> {
    let help = Command::new("bochs").arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if help.is_err() {
        return Some("bochs does not start (Debian package bochs)".into());
    }
    let lost = [BIOS, VGA_BIOS].into_iter().find(|path| !Path::new(path).is_file());
    lost.map(|path| format!("{path} is missing (Debian packages bochsbios and vgabios)"))
}

/// The command that starts a guest whose COM1 is a socket that Bochs listens on at this port, and the folder that it
/// works in, to be removed afterwards.
///
/// # Errors
/// When the folder cannot be written or the guest's disc cannot be made.
pub(crate) fn command(files: &Files, megabytes: u64, port: u16) -> Result<(Command, PathBuf), Error> {
    let folder = std::env::temp_dir().join(format!("emu-bench-{}-bochs", std::process::id()));
    fs::create_dir_all(&folder).map_err(Error::host(folder.display()))?;
    let (disk, boot) = match &files.medium {
        Medium::Linux { .. } => {
            let path = files.disc()?;
            (format!("type=cdrom, path=\"{}\", status=inserted", path.display()), "cdrom")
        }
        Medium::Disk(path) => (format!("type=disk, path=\"{}\", mode=volatile", path.display()), "disk"),
    };
    let configuration = format!(
        "megs: {megabytes}
cpu: model=corei7_haswell_4770, count=1, ips=100000000
romimage: file={BIOS}
vgaromimage: file={VGA_BIOS}
ata0: enabled=1
ata0-master: {disk}
boot: {boot}
com1: enabled=1, mode=socket-server, dev=localhost:{port}
clock: sync=none, time0=1767225600
display_library: rfb, options=\"timeout=0\"
sound: driver=dummy
speaker: enabled=0
log: bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
"
    );
    for (name, text) in [("bochsrc", configuration.as_str()), ("start", "continue\n")] {
        fs::write(folder.join(name), text).map_err(Error::host(folder.join(name).display()))?;
    }
    let mut command = Command::new("bochs");
    // Debian's Bochs has its debugger built in, which asks before it starts.
    command.args(["-q", "-f", "bochsrc", "-rc", "start"]).current_dir(&folder);
    Ok((command, folder))
}
