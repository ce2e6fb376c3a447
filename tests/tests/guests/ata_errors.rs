//! Linux on disks whose files fail: one loses its second half, the other may not be written to the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use emu_tests::cpio::Archive;
use emu_tests::debian::{self, Arch};
use emu_tests::emulator::binary;
use emu_tests::external::skip;
use emu_tests::process::Running;
use emu_tests::scratch::Scratch;

const LIMIT: Duration = Duration::from_secs(900);

/// What the driver of the IDE controller and that of disks need, in their order.
const MODULES: [&str; 9] = [
    "crypto/crct10dif_common",
    "lib/crc-t10dif",
    "lib/crc64",
    "lib/crc64-rocksoft",
    "block/t10-pi",
    "drivers/scsi/scsi_common",
    "drivers/scsi/scsi_mod",
    "drivers/scsi/sd_mod",
    "drivers/ata/libata",
];

/// Of which Linux reads and writes at least one.
const PAGE: usize = 4096;
const CUT: usize = 8 << 20;
/// More than the guest's memory, which is a file to the host, too.
const FULL: usize = 256 << 20;

fn files() -> Result<(PathBuf, Archive), String> {
    let kernel = debian::file(Arch::Amd64, "linux-image-amd64", "boot/vmlinuz-")?;
    let modules = debian::file(Arch::Amd64, "linux-image-amd64", "lib/modules/6")?.join("kernel");
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let mut archive = Archive::default();
    let mut init = "#!/busybox sh\n/busybox mount -t devtmpfs dev /dev\n".to_owned();
    archive.directory("dev");
    archive.program("busybox", &read(&debian::file(Arch::Amd64, "busybox-static", "bin/busybox")?)?);
    for module in MODULES.iter().chain(&["drivers/ata/ata_piix"]) {
        let name = module.rsplit('/').next().unwrap_or(module);
        archive.program(&format!("{name}.ko"), &read(&modules.join(format!("{module}.ko")))?);
        init += &format!("/busybox insmod /{name}.ko\n");
    }
    init += "/busybox sleep 1\nexec /busybox sh\n";
    archive.program("init", init.as_bytes());
    Ok((kernel, archive))
}

fn sees_errors(engine: &str) {
    let (kernel, archive) = match files() {
        Ok(files) => files,
        Err(reason) => return skip(&reason),
    };
    let scratch = Scratch::new(&format!("ata-errors-{engine}"));
    let initrd = scratch.write("initrd", &archive.finish());
    let before = vec![0x5a; CUT];
    let (cut, full) = (scratch.write("cut.img", &before), scratch.path("full.img"));
    let size = |path: &Path, size: usize| {
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path);
        file.and_then(|file| file.set_len(size as u64)).expect("the scratch folder has room");
    };
    size(&full, FULL);
    // In units of 512 bytes; the signal that comes with the error is ignored.
    let limit = (FULL - PAGE) / 512;
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {limit}; exec \"$@\"")).arg("sh").arg(binary());
    command.args(["--accel", engine, "-m", "192M", "--no-reboot", "--append", "console=ttyS0", "--kernel"]);
    command.arg(kernel).arg("--initrd").arg(initrd).arg("--drive").arg(&cut).arg("--drive").arg(&full);
    let mut running = Running::start(command, LIMIT);
    running.wait_for("/ # ");
    size(&cut, CUT / 2);
    let dd = |rest: &str| format!("/busybox dd bs={PAGE} count=1 {rest} && echo o$((0))k\n");
    let (beyond, last) = (CUT / PAGE - 100, FULL / PAGE - 1);
    for (done, line) in [
        dd(&format!("if=/dev/sda skip={beyond} of=/dev/null")),
        dd("if=/dev/sda skip=1 of=/first"),
        dd(&format!("if=/first of=/dev/sdb seek={last} conv=fsync")),
        dd("if=/first of=/dev/sdb seek=3 conv=fsync"),
    ]
    .iter()
    .enumerate()
    {
        running.send(line.as_bytes());
        running.wait_for_times("/ # ", done + 2);
    }
    running.send(b"/busybox poweroff -f\n");
    let ended = running.finish();
    assert_eq!(ended.code(), Some(0), "{}", ended.story());
    let text = ended.text();
    for line in ["ata1.00: error: { UNC }", "ata1.01: error: { ABRT }", "dev sda, sector", "dev sdb, sector"]
    {
        assert!(text.contains(line), "{line:?} is missing: {}", ended.story());
    }
    assert_eq!(text.matches("\no0k").count(), 2, "one read and one write do, two do not: {}", ended.story());
    let told = String::from_utf8_lossy(&ended.errors).into_owned();
    for (file, what) in [("cut.img", "reading failed"), ("full.img", "writing failed")] {
        let lines = told.lines().filter(|line| line.contains(file) && line.contains(what)).count();
        assert_eq!(lines, 1, "{file}: {}", ended.story());
    }
    assert!(fs::read(cut).expect("it is still there") == before[..CUT / 2], "nothing on the disk changes");
    let after = fs::read(full).expect("it is still there");
    for (number, page) in after.chunks(PAGE).enumerate() {
        let byte = if number == 3 { 0x5a } else { 0 };
        assert!(page.iter().all(|&found| found == byte), "page {number}");
    }
    assert_eq!(after.len(), FULL);
}

#[test]
#[ignore = "takes half a minute"]
fn linux_sees_the_errors_of_disks_that_fail() {
    sees_errors("jit");
}

#[test]
#[ignore = "takes a minute"]
fn linux_sees_the_errors_of_disks_that_fail_on_the_interpreter() {
    sees_errors("interp");
}
