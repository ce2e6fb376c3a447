//! A guest of a guest: Linux under emu loads KVM, and a program there runs a virtual machine by way of /dev/kvm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use emu_tests::cpio::Archive;
use emu_tests::debian::{self, Arch};
use emu_tests::emulator::emu;
use emu_tests::external::skip;
use emu_tests::process::run;
use emu_tests::scratch::Scratch;

/// In the order in which they depend on each other.
const MODULES: [&str; 3] = ["virt/lib/irqbypass.ko", "arch/x86/kvm/kvm.ko", "arch/x86/kvm/kvm-intel.ko"];

const INIT: &str = "#!/busybox sh
/busybox mount -t devtmpfs dev /dev
/busybox insmod /irqbypass.ko
/busybox insmod /kvm.ko
/busybox insmod /kvm-intel.ko
/monitor
echo done-$((6*7))
/busybox poweroff -f
";

fn files() -> Result<[PathBuf; 3], String> {
    let kernel = debian::file(Arch::Amd64, "linux-image-amd64", "boot/vmlinuz-")?;
    let modules = debian::file(Arch::Amd64, "linux-image-amd64", "lib/modules/6")?;
    let busybox = debian::file(Arch::Amd64, "busybox-static", "bin/busybox")?;
    Ok([kernel, modules.join("kernel"), busybox])
}

/// The program that makes the virtual machine.
fn monitor(folder: &Scratch) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/kvm_guest.c");
    let program = folder.path("monitor");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut compile = Command::new(compiler);
    compile.args(["-O1", "-static", "-o"]).arg(&program).arg(source);
    assert!(compile.status().expect("the C compiler starts").success());
    program
}

#[test]
fn linux_runs_a_virtual_machine_by_kvm() {
    let [kernel, modules, busybox] = match files() {
        Ok(files) => files,
        Err(reason) => return skip(&reason),
    };
    let scratch = Scratch::new("linux-kvm");
    let mut archive = Archive::default();
    archive.directory("dev");
    archive.program("busybox", &fs::read(busybox).expect("it was fetched"));
    archive.program("monitor", &fs::read(monitor(&scratch)).expect("it was compiled"));
    for module in MODULES {
        let path = modules.join(module);
        let name = path.file_name().and_then(|name| name.to_str()).expect("modules have names");
        archive.program(name, &fs::read(&path).expect("it was fetched"));
    }
    archive.program("init", INIT.as_bytes());
    let initrd = scratch.write("initrd", &archive.finish());
    let mut command = emu(["--no-reboot", "--append", "console=ttyS0", "--kernel"]);
    command.arg(kernel).arg("--initrd").arg(initrd);
    let ended = run(command, b"", Duration::from_secs(600));
    let text = ended.text();
    for line in ["the guest says 5", "the guest halts", "done-42"] {
        assert!(text.contains(line), "{line:?} is missing in:\n{}", ended.story());
    }
}
