//! Linux's driver of the floppy disk controller, which is a module of the full kernel.

use std::fs;
use std::time::Duration;

use emu_tests::cpio::Archive;
use emu_tests::debian::{self, Arch};
use emu_tests::emulator::emu;
use emu_tests::external::skip;
use emu_tests::process::run;
use emu_tests::scratch::Scratch;

const INIT: &str = "#!/busybox sh
/busybox mount -t devtmpfs dev /dev
/busybox insmod /floppy.ko
/busybox sleep 1
/busybox md5sum /dev/fd0
/busybox dd if=/busybox of=/dev/fd0 bs=512 count=200
echo done-$((6*7))
/busybox poweroff -f
";

fn files() -> Result<[std::path::PathBuf; 3], String> {
    let kernel = debian::file(Arch::Amd64, "linux-image-amd64", "boot/vmlinuz-")?;
    let modules = debian::file(Arch::Amd64, "linux-image-amd64", "lib/modules/6")?;
    let busybox = debian::file(Arch::Amd64, "busybox-static", "bin/busybox")?;
    Ok([kernel, modules.join("kernel/drivers/block/floppy.ko"), busybox])
}

#[test]
#[ignore = "takes half a minute"]
fn linux_reads_and_writes_a_diskette() {
    let [kernel, module, busybox] = match files() {
        Ok(files) => files,
        Err(reason) => return skip(&reason),
    };
    let scratch = Scratch::new("linux-diskette");
    let busybox = fs::read(busybox).expect("it was fetched");
    let mut archive = Archive::default();
    archive.directory("dev");
    archive.program("busybox", &busybox);
    archive.program("floppy.ko", &fs::read(module).expect("it was fetched"));
    archive.program("init", INIT.as_bytes());
    let initrd = scratch.write("initrd", &archive.finish());
    let diskette = scratch.write("a.img", &[0; 2880 * 512]);
    let mut command = emu(["--no-reboot", "--append", "console=ttyS0", "--kernel"]);
    command.arg(kernel).arg("--initrd").arg(initrd).arg("--floppy").arg(&diskette);
    let ended = run(command, b"", Duration::from_secs(600));
    let text = ended.text();
    // The sum is that of 1.44 MB of zeros.
    for line in [
        "fd0 is 1.44M",
        "FDC 0 is a post-1991 82077",
        "b37823c7a90d1917f719ba5927b23da8  /dev/fd0",
        "done-42",
    ] {
        assert!(text.contains(line), "{line:?} is missing in:\n{}", ended.story());
    }
    let after = fs::read(diskette).expect("it is still there");
    let (written, kept) = after.split_at(200 * 512);
    assert!(written == &busybox[..written.len()] && kept.iter().all(|&byte| byte == 0));
}
