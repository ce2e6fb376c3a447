//! Where a disk keeps its sectors: the request and answer between a drive and whoever does the host I/O.
//!
//! A drive submits a request under a number of its own choice and collects the answer later, when the
//! guest time of its virtual latency has come. A backend may do the work on a thread of its own meanwhile;
//! [`MemoryDisk`] does it at once. Requests are carried out in the order in which they were submitted.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;

/// Bytes in a sector.
pub const SECTOR_SIZE: usize = 512;

/// What a drive asks of its backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockRequest {
    /// Read `count` sectors from sector `lba` on.
    Read {
        /// First sector.
        lba: u64,
        /// Number of sectors.
        count: u32,
    },
    /// Write whole sectors from sector `lba` on.
    Write {
        /// First sector.
        lba: u64,
        /// The contents, a multiple of [`SECTOR_SIZE`].
        data: Vec<u8>,
    },
    /// Make sure that all that was written before survives a loss of power.
    Flush,
}

/// Why a request failed. The guest sees it as an error of the drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// Some sector lies behind the end.
    Range,
    /// The disk must not be written.
    ReadOnly,
    /// The host could not do it.
    Host,
}

/// The answer: what was read, or nothing for writes and flushes.
pub type BlockResult = Result<Vec<u8>, BlockError>;

/// A store of sectors.
pub trait BlockBackend: Debug + Send {
    /// Capacity in sectors. Never changes.
    fn sectors(&self) -> u64;
    /// Starts a request. `id` is not in use by another unanswered request.
    fn submit(&mut self, id: u64, request: BlockRequest);
    /// Takes the answer to request `id`, waiting for it if need be.
    fn wait(&mut self, id: u64) -> BlockResult;
    /// Takes the answer to request `id` if it is there already.
    fn try_wait(&mut self, id: u64) -> Option<BlockResult>;
}

/// A disk in memory: an image that never changes, and the sectors that were written since on top of it.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    image: Image,
    written: BTreeMap<u64, Box<[u8; SECTOR_SIZE]>>,
    answers: VecDeque<(u64, BlockResult)>,
}

#[derive(Debug)]
enum Image {
    Static(&'static [u8]),
    Owned(Vec<u8>),
}

impl Default for Image {
    fn default() -> Self {
        Self::Static(&[])
    }
}

impl Image {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl From<&'static [u8]> for MemoryDisk {
    fn from(image: &'static [u8]) -> Self {
        Self { image: Image::Static(image), ..Self::default() }
    }
}

impl From<Vec<u8>> for MemoryDisk {
    fn from(image: Vec<u8>) -> Self {
        Self { image: Image::Owned(image), ..Self::default() }
    }
}

impl MemoryDisk {
    /// Number of sectors that differ from the image, because they were written.
    pub fn written_sectors(&self) -> usize {
        self.written.len()
    }

    fn check(&self, lba: u64, count: u64) -> Result<(), BlockError> {
        let end = lba.checked_add(count).ok_or(BlockError::Range)?;
        if end <= self.sectors() { Ok(()) } else { Err(BlockError::Range) }
    }

    fn carry_out(&mut self, request: BlockRequest) -> BlockResult {
        match request {
            BlockRequest::Read { lba, count } => {
                self.check(lba, u64::from(count))?;
                let mut data = Vec::with_capacity(count as usize * SECTOR_SIZE);
                for sector in lba..lba + u64::from(count) {
                    let start = sector as usize * SECTOR_SIZE;
                    match self.written.get(&sector) {
                        Some(bytes) => data.extend_from_slice(&bytes[..]),
                        None => {
                            let image = self.image.bytes();
                            let end = (start + SECTOR_SIZE).min(image.len());
                            data.extend_from_slice(&image[start..end]);
                            data.resize(data.len().next_multiple_of(SECTOR_SIZE), 0);
                        }
                    }
                }
                Ok(data)
            }
            BlockRequest::Write { lba, data } => {
                let (sectors, rest) = data.as_chunks::<SECTOR_SIZE>();
                debug_assert!(rest.is_empty(), "drives write whole sectors");
                self.check(lba, sectors.len() as u64)?;
                for (number, sector) in (lba..).zip(sectors) {
                    self.written.insert(number, Box::new(*sector));
                }
                Ok(Vec::new())
            }
            BlockRequest::Flush => Ok(Vec::new()),
        }
    }
}

impl BlockBackend for MemoryDisk {
    /// Capacity; an image that ends within a sector is filled up with zeros.
    fn sectors(&self) -> u64 {
        self.image.bytes().len().div_ceil(SECTOR_SIZE) as u64
    }

    fn submit(&mut self, id: u64, request: BlockRequest) {
        let answer = self.carry_out(request);
        self.answers.push_back((id, answer));
    }

    fn wait(&mut self, id: u64) -> BlockResult {
        self.try_wait(id).unwrap_or(Err(BlockError::Host))
    }

    fn try_wait(&mut self, id: u64) -> Option<BlockResult> {
        let place = self.answers.iter().position(|(number, _)| *number == id)?;
        self.answers.remove(place).map(|(_, answer)| answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(disk: &mut MemoryDisk, request: BlockRequest) -> BlockResult {
        disk.submit(7, request);
        disk.wait(7)
    }

    #[test]
    fn written_sectors_lie_over_the_image() {
        let mut disk = MemoryDisk::from(vec![1; 3 * 512]);
        let write = BlockRequest::Write { lba: 1, data: vec![2; 512] };
        assert_eq!(ask(&mut disk, write), Ok(Vec::new()));
        let data = ask(&mut disk, BlockRequest::Read { lba: 0, count: 3 }).unwrap();
        assert_eq!([data[511], data[512], data[1023], data[1024]], [1, 2, 2, 1]);
        assert_eq!(disk.written_sectors(), 1);
    }

    #[test]
    fn sectors_behind_the_end_are_refused_and_nothing_is_written() {
        let mut disk = MemoryDisk::from(vec![0; 1024]);
        let write = BlockRequest::Write { lba: 1, data: vec![2; 1024] };
        assert_eq!(ask(&mut disk, write), Err(BlockError::Range));
        assert_eq!(disk.written_sectors(), 0);
        let read = BlockRequest::Read { lba: u64::MAX, count: 2 };
        assert_eq!(ask(&mut disk, read), Err(BlockError::Range));
    }

    #[test]
    fn a_last_sector_cut_short_reads_as_zeros_behind_its_end() {
        let mut disk = MemoryDisk::from(vec![9; 513]);
        assert_eq!(disk.sectors(), 2);
        let data = ask(&mut disk, BlockRequest::Read { lba: 1, count: 1 }).unwrap();
        assert_eq!((data.len(), data[0], data[1]), (512, 9, 0));
    }

    #[test]
    fn answers_may_be_collected_in_any_order() {
        let mut disk = MemoryDisk::from(vec![0; 512]);
        disk.submit(1, BlockRequest::Flush);
        disk.submit(2, BlockRequest::Read { lba: 0, count: 1 });
        assert_eq!(disk.try_wait(3), None);
        assert_eq!(disk.wait(2).map(|data| data.len()), Ok(512));
        assert_eq!(disk.try_wait(1), Some(Ok(Vec::new())));
    }
}
