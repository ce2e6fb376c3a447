//! Bochs as a child process: its configuration, and the commands of its debugger.
//!
//! The debugger reads its commands from a pipe that always has some more of them, and prints to another one.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use rustix::pipe::{PipeFlags, pipe_with};

use super::child::{self, Means, Reference};
use super::recipe::Recipe;
use crate::outcome::usage;

/// What it is called.
const NAME: &str = "Bochs";
/// The program without `--bochs`.
const PROGRAM: &str = "bochs";
/// What switches everything on that [`emu_diff::bochs::trace`] reads, and shows the first state.
const BEGIN: &str = "show dbg_all\ntrace on\ntrace-reg on\ntrace-mem on\nsreg\ncreg\ndreg\n";
/// Runs of instructions in one write.
const RUNS: usize = 64;

/// Starts it on the same machine as `recipe`; it shows all registers every `whole` instructions. Returns the end of
/// the pipe that its trace comes out of.
///
/// # Errors
/// When it is missing, has no debugger, or does not start, and for machines that it cannot be.
pub fn start(recipe: &Recipe, program: Option<&Path>, whole: u64) -> Result<(Reference, File)> {
    let program = program.unwrap_or(Path::new(PROGRAM));
    let version = version(program)?;
    let mut means = Means::new()?;
    let listener = if recipe.input.is_empty() {
        None
    } else {
        Some(TcpListener::bind(("127.0.0.1", 0)).context("a port for COM1 of Bochs")?)
    };
    let configuration = configuration(recipe, listener.as_ref(), &mut means)?;
    let configuration = means.in_memory(configuration.as_bytes())?;
    let (commands, give) = pipe_with(PipeFlags::CLOEXEC).context("a pipe for commands")?;
    let commands = means.keep(commands);
    let mut command = child::die_with_us(program);
    command.args(["-q", "-f", &configuration, "-rc", &commands]).stdin(Stdio::null());
    command.stdout(means.log.try_clone().context("a pipe for a trace")?);
    let (mut child, trace) = Reference::start((NAME, version), command, means, why)?;
    child.input = listener.map(child::Input::Socket);
    // It ends with an error when nobody has the other end any more.
    thread::spawn(move || feed(give, whole));
    Ok((child, trace))
}

/// Has the debugger run, and show all registers, for ever.
fn feed(to: OwnedFd, whole: u64) -> std::io::Result<()> {
    let mut to = File::from(to);
    to.write_all(BEGIN.as_bytes())?;
    let some = format!("s {whole}\nsreg\ncreg\ndreg\n").repeat(RUNS);
    loop {
        to.write_all(some.as_bytes())?;
    }
}

/// What it says behind its banner when it gives up.
fn why(errors: &str) -> Option<&str> {
    let mut lines = errors.lines();
    lines.find(|line| line.contains("exiting with the following message"))?;
    lines.next()
}

/// Its version.
fn version(program: &Path) -> Result<String> {
    let name = program.display();
    let missing = || format!("--against bochs: {name} does not start; expected Bochs (Debian package bochs)");
    let output = Command::new(program).arg("--help").stdin(Stdio::null()).output().with_context(missing)?;
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    if !text.contains("-rc filename") {
        bail!(
            "--against bochs: {name} has no debugger; expected Bochs with --enable-debugger, as Debian's is"
        );
    }
    let number = text.split_once("Emulator ").and_then(|(_, rest)| rest.split_whitespace().next());
    Ok(number.unwrap_or("of unknown version").into())
}

fn configuration(recipe: &Recipe, listener: Option<&TcpListener>, means: &mut Means) -> Result<String> {
    let args = &recipe.args;
    if args.smp > 1 {
        usage!("--smp {}: expected one processor with --against bochs", args.smp);
    }
    if args.kernel.is_some() {
        usage!("--kernel: expected --drive or --cdrom with --against bochs, which loads no kernels itself");
    }
    let bios = means.in_memory(recipe.bios.as_deref().unwrap_or(emu_roms::BIOS))?;
    let vga_bios = means.in_memory(recipe.vga_bios.as_deref().unwrap_or(emu_roms::VGA_BIOS))?;
    // The only display of Debian's package that needs no screen is one that others may connect to.
    let mut text = format!(
        "megs: {}
cpu: model=broadwell_ult, count=1, ips=100000000, reset_on_triple_fault=1
romimage: file={bios}
vgaromimage: file={vga_bios}
clock: sync=none, time0=1767225600
display_library: rfb, options=\"timeout=0\"
sound: driver=dummy
speaker: enabled=0
log: /dev/null
panic: action=fatal
error: action=ignore
info: action=ignore
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15
boot: {}
",
        args.memory >> 20,
        if recipe.boots_disc() { "cdrom" } else { "disk" }
    );
    const PLACES: [&str; 4] = ["ata0-master", "ata0-slave", "ata1-master", "ata1-slave"];
    if recipe.boots_bundled_disk() {
        let disk = means.in_memory(emu_guest::DISK_IMAGE)?;
        writeln!(text, "{}: type=disk, path=\"{disk}\", mode=flat", PLACES[0])?;
    }
    // What it writes goes to a file that it deletes as soon as it is open.
    let journal = std::env::temp_dir().join("emu-diff");
    for (spec, place) in args.drives.iter().zip(recipe.places()) {
        let (name, path) =
            (PLACES.get(place).context("--drive: expected at most four")?, spec.file.canonicalize());
        let path = path.with_context(|| format!("--drive {}", spec.file.display()))?;
        let (path, journal) = (path.display(), journal.display());
        writeln!(text, "{name}: type=disk, path=\"{path}\", mode=volatile, journal=\"{journal}\"")?;
    }
    if let Some(disc) = &args.cdrom {
        let path = disc.canonicalize().with_context(|| format!("--cdrom {}", disc.display()))?;
        writeln!(text, "{}: type=cdrom, path=\"{}\", status=inserted", PLACES[2], path.display())?;
    }
    if let Some(listener) = listener {
        let port = listener.local_addr().context("a port for COM1 of Bochs")?.port();
        writeln!(text, "com1: enabled=1, mode=socket-client, dev=localhost:{port}")?;
    } else {
        writeln!(text, "com1: enabled=1, mode=null")?;
    }
    Ok(text)
}
