//! A disk in a raw image file (or a block device of the host).
//!
//! Each disk has a thread that does the host's I/O, strictly in the order in which the guest asked. Writes go to
//! the file exactly as the guest sent them, sector for sector, and a flush is answered after the host says that the
//! data is on its medium. So whenever the emulator dies, the image holds what the guest wrote up to then. With
//! `snapshot=on` the file is only read, and writes go to an unnamed temporary file.
//!
//! The image is locked (flock): one writer at a time, or any number of readers (`snapshot=on`, and discs).

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use emu_devices::block::{BlockBackend, BlockError, BlockRequest, BlockResult, SECTOR_SIZE};
use emu_devices::floppy::Medium;
use rustix::fs::{Mode, OFlags};

use crate::say::report;

const SECTOR: u64 = SECTOR_SIZE as u64;

/// Sectors that one request may read, so that no guest makes us allocate without bound (LBA48 asks for 65536 at most).
const MAX_SECTORS: u32 = 65536;
/// Sectors of the diskettes that an image of an odd size may be meant for: 1.44M and 2.88M.
const DISKETTES: [u64; 2] = [2880, 5760];

/// The guest's end of a disk: what the board's drive talks to.
#[derive(Debug)]
pub struct DiskFile {
    sectors: u64,
    jobs: Sender<Job>,
    answers: Receiver<(u64, BlockResult)>,
    early: VecDeque<(u64, BlockResult)>,
}

/// The driver's end of a disk: lets it see to it that all is written before the program ends.
#[derive(Debug)]
pub struct DiskHandle {
    name: String,
    jobs: Sender<Job>,
}

#[derive(Debug)]
enum Job {
    Request(u64, BlockRequest),
    Finish(Sender<io::Result<()>>),
}

/// What may become of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The guest writes to it.
    Write,
    /// What the guest writes is thrown away at exit.
    Snapshot,
    /// The guest can only read: a disc, or a write-protected diskette.
    Read,
}

/// Opens and locks an image, and starts its thread.
///
/// # Errors
/// When the file cannot be opened, is in use, or is not made of whole sectors; nothing was written then.
pub fn open(path: &Path, access: Access) -> Result<(DiskFile, DiskHandle)> {
    let name = format!("disk image {}", path.display());
    let (file, size) = open_image(path, access, "a raw disk image").with_context(|| name.clone())?;
    if size == 0 || size % SECTOR != 0 {
        bail!("{name}: its size is {size} bytes; expected a multiple of {SECTOR}, and not empty");
    }
    start(name, file, size / SECTOR, access)
}

/// Opens a diskette image: to write if the file allows it, else write-protected. One that is smaller than the
/// diskette it is meant for is filled up with zeros, and write-protected.
///
/// # Errors
/// When the file cannot be opened, is in use, or has no size that a diskette has.
pub fn open_floppy(path: &Path) -> Result<(DiskFile, DiskHandle)> {
    let name = format!("--floppy {}", path.display());
    let file_type = path.metadata().map(|meta| meta.file_type());
    let disk = file_type.is_ok_and(|kind| kind.is_file() || kind.is_block_device());
    let writable = disk && OpenOptions::new().write(true).open(path).is_ok();
    let access = if writable { Access::Write } else { Access::Read };
    let (file, size) = open_image(path, access, "a diskette image").with_context(|| name.clone())?;
    let there = size / SECTOR;
    if size % SECTOR != 0 || !(1..=DISKETTES[1]).contains(&there) {
        bail!("{name}: its size is {size} bytes; expected a diskette image of 160K to 2.88M");
    }
    if Medium::of_sectors(there).is_some() {
        return start(name, file, there, access);
    }
    let sectors = DISKETTES[usize::from(there > DISKETTES[0])];
    report!("{name}: {size} bytes are less than a diskette; the rest is zeros, and it is write-protected");
    start(name, file, sectors, Access::Read)
}

/// Starts the thread of an image of `sectors` sectors; one that can only be read may have fewer in its file, the
/// others are zeros. Messages call it `name`.
///
/// # Errors
/// When the host gives no thread, or no temporary file for a snapshot.
pub fn start(name: String, file: File, sectors: u64, access: Access) -> Result<(DiskFile, DiskHandle)> {
    let overlay = if access == Access::Snapshot { Some(Overlay::new(sectors)?) } else { None };
    let writable = access != Access::Read;
    let (jobs, job_queue) = unbounded();
    let (answer, answers) = unbounded();
    let size = file.try_clone().and_then(|mut file| file.seek(SeekFrom::End(0)));
    let there = (size.with_context(|| name.clone())? / SECTOR).min(sectors);
    let mut store =
        Store { name: name.clone(), file, sectors, there, overlay, writable, trouble_told: false };
    thread::Builder::new()
        .name("disk".into())
        .spawn(move || store.serve(&job_queue, &answer))
        .with_context(|| format!("{name}: no thread for it"))?;
    let disk = DiskFile { sectors, jobs: jobs.clone(), answers, early: VecDeque::new() };
    Ok((disk, DiskHandle { name, jobs }))
}

/// Opens and locks an image of the `expected` kind; also returns its size in bytes.
///
/// # Errors
/// When it cannot be opened or is in use.
pub fn open_image(path: &Path, access: Access, expected: &str) -> Result<(File, u64)> {
    // Looked at before it is opened: opening a pipe would wait, and opening a device can have effects.
    let kind = path.metadata().with_context(|| format!("expected {expected}"))?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        bail!("expected a file with {expected}, found {}", kind_name(kind));
    }
    let snapshot = access != Access::Write;
    let mut file = OpenOptions::new().read(true).write(!snapshot).open(path).map_err(|error| {
        let read_only =
            matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
        if read_only && !snapshot && File::open(path).is_ok() {
            anyhow::anyhow!(
                "it is read-only; expected a writable file, or snapshot=on to keep writes out of it"
            )
        } else {
            anyhow::Error::new(error).context(format!("expected {expected} that can be read"))
        }
    })?;
    let lock = if snapshot { file.try_lock_shared() } else { file.try_lock() };
    match lock {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!("it is in use already; expected to be its only writer"),
        Err(TryLockError::Error(error)) => return Err(error).context("it cannot be locked"),
    }
    let size = file.seek(SeekFrom::End(0)).context("its size cannot be told")?;
    Ok((file, size))
}

fn kind_name(kind: std::fs::FileType) -> &'static str {
    match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

impl DiskHandle {
    /// Waits until everything that the guest wrote is on the host's medium.
    ///
    /// # Errors
    /// When the host could not do it.
    pub fn finish(&self) -> Result<()> {
        let (done, result) = bounded(1);
        let answer = match self.jobs.send(Job::Finish(done)) {
            Ok(()) => result.recv().unwrap_or_else(|_| Err(io::Error::other("its thread is gone"))),
            Err(_) => Err(io::Error::other("its thread is gone")),
        };
        answer.with_context(|| format!("{}: the last writes could not be flushed", self.name))
    }
}

impl BlockBackend for DiskFile {
    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn submit(&mut self, id: u64, request: BlockRequest) {
        if self.jobs.send(Job::Request(id, request)).is_err() {
            self.early.push_back((id, Err(BlockError::Host)));
        }
    }

    fn wait(&mut self, id: u64) -> BlockResult {
        loop {
            if let Some(answer) = self.try_wait(id) {
                return answer;
            }
            match self.answers.recv() {
                Ok(answer) => self.early.push_back(answer),
                Err(_) => return Err(BlockError::Host),
            }
        }
    }

    fn try_wait(&mut self, id: u64) -> Option<BlockResult> {
        self.early.extend(self.answers.try_iter());
        let place = self.early.iter().position(|(number, _)| *number == id)?;
        self.early.remove(place).map(|(_, answer)| answer)
    }
}

/// What the thread owns.
struct Store {
    name: String,
    file: File,
    sectors: u64,
    /// Sectors that the file had at the start.
    there: u64,
    overlay: Option<Overlay>,
    writable: bool,
    trouble_told: bool,
}

impl Store {
    fn serve(&mut self, jobs: &Receiver<Job>, answers: &Sender<(u64, BlockResult)>) {
        for job in jobs {
            match job {
                Job::Request(id, request) => {
                    let answer = self.carry_out(request);
                    // Nobody listens any more when the machine is gone; later jobs still count.
                    let _ = answers.send((id, answer));
                }
                Job::Finish(done) => {
                    let _ = done.send(self.flush());
                }
            }
        }
    }

    fn carry_out(&mut self, request: BlockRequest) -> BlockResult {
        match request {
            BlockRequest::Read { lba, count } => {
                self.check(lba, u64::from(count))?;
                if count > MAX_SECTORS {
                    return Err(BlockError::Range);
                }
                let mut data = vec![0; count as usize * SECTOR_SIZE];
                let here = self.there.saturating_sub(lba).min(u64::from(count)) * SECTOR;
                let result = self.read(lba, &mut data[..here as usize]);
                self.told(result, "reading")?;
                Ok(data)
            }
            BlockRequest::Write { lba, data } => {
                self.check(lba, data.len() as u64 / SECTOR)?;
                if !self.writable {
                    return Err(BlockError::ReadOnly);
                }
                let result = match &mut self.overlay {
                    Some(overlay) => overlay.write(lba, &data),
                    None => self.file.write_all_at(&data, lba * SECTOR),
                };
                self.told(result, "writing")?;
                Ok(Vec::new())
            }
            BlockRequest::Flush => {
                let result = self.flush();
                self.told(result, "flushing")?;
                Ok(Vec::new())
            }
        }
    }

    fn check(&self, lba: u64, count: u64) -> Result<(), BlockError> {
        match lba.checked_add(count) {
            Some(end) if end <= self.sectors => Ok(()),
            _ => Err(BlockError::Range),
        }
    }

    fn read(&self, lba: u64, data: &mut [u8]) -> io::Result<()> {
        let Some(overlay) = &self.overlay else { return self.file.read_exact_at(data, lba * SECTOR) };
        if !overlay.holds_all(lba, data.len()) {
            self.file.read_exact_at(data, lba * SECTOR)?;
        }
        overlay.read(lba, data)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.overlay.is_some() || !self.writable { Ok(()) } else { self.file.sync_data() }
    }

    /// Gives the host's error to the guest as an error of the drive; the user hears of the first one.
    fn told(&mut self, result: io::Result<()>, doing: &str) -> Result<(), BlockError> {
        result.map_err(|error| {
            if !std::mem::replace(&mut self.trouble_told, true) {
                report!("{}: {doing} failed, the guest sees an error: {error}", self.name);
            }
            BlockError::Host
        })
    }
}

/// Sectors that were written since the start, in a temporary file without a name.
struct Overlay {
    file: File,
    written: Vec<u64>,
}

impl Overlay {
    fn new(sectors: u64) -> Result<Self> {
        let folder = std::env::temp_dir();
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(&folder, flags, Mode::RUSR | Mode::WUSR)
            .with_context(|| format!("snapshot=on: no temporary file in {}", folder.display()))?;
        let words = usize::try_from(sectors.div_ceil(64)).context("snapshot=on: the disk is too large")?;
        Ok(Self { file: file.into(), written: vec![0; words] })
    }

    fn holds(&self, sector: u64) -> bool {
        self.written[(sector / 64) as usize] >> (sector % 64) & 1 != 0
    }

    fn holds_all(&self, lba: u64, bytes: usize) -> bool {
        (lba..lba + bytes as u64 / SECTOR).all(|sector| self.holds(sector))
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, lba * SECTOR)?;
        for sector in lba..lba + data.len() as u64 / SECTOR {
            self.written[(sector / 64) as usize] |= 1 << (sector % 64);
        }
        Ok(())
    }

    /// Puts the written sectors over what was read from the image, a run of sectors at a time.
    fn read(&self, lba: u64, data: &mut [u8]) -> io::Result<()> {
        let count = data.len() as u64 / SECTOR;
        let mut at = 0;
        while at < count {
            let held = self.holds(lba + at);
            let run = (at..count).take_while(|&n| self.holds(lba + n) == held).count() as u64;
            if held {
                let part = &mut data[(at * SECTOR) as usize..((at + run) * SECTOR) as usize];
                self.file.read_exact_at(part, (lba + at) * SECTOR)?;
            }
            at += run;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// An image of `sectors` sectors, each filled with its own number; gone when dropped.
    struct Image(PathBuf);

    impl Image {
        fn new(name: &str, sectors: u8) -> Self {
            let path = std::env::temp_dir().join(format!("emu-disk-file-{}-{name}", std::process::id()));
            let bytes: Vec<u8> = (0..sectors).flat_map(|number| [number; SECTOR_SIZE]).collect();
            std::fs::write(&path, bytes).unwrap();
            Self(path)
        }

        fn bytes(&self) -> Vec<u8> {
            std::fs::read(&self.0).unwrap()
        }
    }

    impl Drop for Image {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn write(lba: u64, value: u8, sectors: usize) -> BlockRequest {
        BlockRequest::Write { lba, data: vec![value; sectors * SECTOR_SIZE] }
    }

    #[test]
    fn requests_are_carried_out_in_order() {
        let image = Image::new("order", 8);
        let (mut disk, handle) = open(&image.0, Access::Write).unwrap();
        assert_eq!(disk.sectors(), 8);
        disk.submit(1, write(2, 0xaa, 2));
        disk.submit(2, write(3, 0xbb, 1));
        disk.submit(3, BlockRequest::Read { lba: 1, count: 4 });
        disk.submit(4, BlockRequest::Flush);
        let read = disk.wait(3).unwrap();
        assert_eq!([0, 1, 2, 3].map(|sector| read[sector * SECTOR_SIZE]), [1, 0xaa, 0xbb, 4]);
        assert_eq!([disk.wait(1), disk.wait(2), disk.wait(4)], [Ok(vec![]), Ok(vec![]), Ok(vec![])]);
        handle.finish().unwrap();
        assert_eq!(
            image.bytes()[2 * SECTOR_SIZE..4 * SECTOR_SIZE],
            [[0xaa; SECTOR_SIZE], [0xbb; SECTOR_SIZE]].concat()
        );
    }

    #[test]
    fn sectors_behind_the_end_are_refused_and_the_file_does_not_grow() {
        let image = Image::new("range", 4);
        let (mut disk, handle) = open(&image.0, Access::Write).unwrap();
        disk.submit(1, write(3, 9, 2));
        disk.submit(2, BlockRequest::Read { lba: u64::MAX, count: 1 });
        assert_eq!([disk.wait(1), disk.wait(2)], [Err(BlockError::Range), Err(BlockError::Range)]);
        handle.finish().unwrap();
        assert_eq!(image.bytes().len(), 4 * SECTOR_SIZE);
        assert_eq!(image.bytes()[3 * SECTOR_SIZE], 3);
    }

    #[test]
    fn a_snapshot_sees_its_own_writes_and_leaves_the_file_alone() {
        let image = Image::new("snapshot", 8);
        let before = image.bytes();
        let (mut disk, handle) = open(&image.0, Access::Snapshot).unwrap();
        disk.submit(1, write(2, 0xaa, 1));
        disk.submit(2, write(5, 0xbb, 2));
        disk.submit(3, BlockRequest::Read { lba: 0, count: 8 });
        let read = disk.wait(3).unwrap();
        let firsts: Vec<u8> = read.iter().copied().step_by(SECTOR_SIZE).collect();
        assert_eq!(firsts, [0, 1, 0xaa, 3, 4, 0xbb, 0xbb, 7]);
        disk.submit(4, BlockRequest::Read { lba: 5, count: 2 });
        assert_eq!(disk.wait(4).unwrap(), [0xbb; 2 * SECTOR_SIZE]);
        handle.finish().unwrap();
        assert_eq!(image.bytes(), before);
    }

    #[test]
    fn a_diskette_image_that_is_short_is_filled_up_and_write_protected() {
        let image = Image::new("short", 100);
        let (mut disk, _handle) = open_floppy(&image.0).unwrap();
        assert_eq!(disk.sectors(), 2880);
        disk.submit(1, BlockRequest::Read { lba: 98, count: 4 });
        let read = disk.wait(1).unwrap();
        assert_eq!([0, 1, 2, 3].map(|sector| read[sector * SECTOR_SIZE]), [98, 99, 0, 0]);
        disk.submit(2, write(0, 1, 1));
        assert_eq!(disk.wait(2), Err(BlockError::ReadOnly));
        assert!(open_floppy(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn one_writer_or_many_readers() {
        let image = Image::new("lock", 1);
        let writer = open(&image.0, Access::Write).unwrap();
        let message = format!("{:#}", open(&image.0, Access::Write).unwrap_err());
        assert!(message.contains("in use already"), "{message}");
        assert!(open(&image.0, Access::Snapshot).is_err());
        drop(writer);
        // The file is closed by its thread, a moment later.
        let reader = (0..500).find_map(|_| {
            thread::sleep(std::time::Duration::from_millis(10));
            open(&image.0, Access::Snapshot).ok()
        });
        assert!(reader.is_some() && open(&image.0, Access::Snapshot).is_ok());
        assert!(open(&image.0, Access::Write).is_err());
    }

    #[test]
    fn a_file_that_lost_its_end_gives_the_guest_an_error() {
        let image = Image::new("cut", 4);
        let (mut disk, _handle) = open(&image.0, Access::Write).unwrap();
        OpenOptions::new().write(true).open(&image.0).unwrap().set_len(1024).unwrap();
        disk.submit(1, BlockRequest::Read { lba: 1, count: 2 });
        assert_eq!(disk.wait(1), Err(BlockError::Host));
    }
}
