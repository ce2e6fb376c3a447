//! A disk image that keeps what QEMU writes apart from the file of the user: an empty qcow2 image with that file behind
//! it, in memory. With `snapshot=on` QEMU would make a temporary file, which stays behind when it is killed too early.
//!
//! The form is version 2 of "qcow2 image file format" (docs/interop/qcow2.txt of QEMU); all numbers are big-endian.

use std::path::Path;

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Bytes of a disk that one entry of the L1 table covers: a cluster of entries of eight bytes, a cluster each.
const COVERED: u64 = CLUSTER / 8 * CLUSTER;
const SECTOR: u64 = 512;
const HEADER: usize = 72;
/// Clusters: the header, the refcount table, its one block, and the L1 table behind them.
const REFCOUNT_TABLE: u64 = CLUSTER;
const REFCOUNT_BLOCK: u64 = 2 * CLUSTER;
const L1_TABLE: u64 = 3 * CLUSTER;
/// Header extension: the format of the file behind.
const BACKING_FORMAT: u32 = 0xe279_2aca;
/// A longer name than the format allows.
const LONGEST_NAME: usize = 1023;

/// An empty overlay over a raw image of so many bytes; `None` when its name is too long. The path must be absolute.
pub fn over(raw: &Path, size: u64) -> Option<Vec<u8>> {
    let name = raw.as_os_str().as_encoded_bytes();
    if name.len() > LONGEST_NAME {
        return None;
    }
    let entries = size.div_ceil(COVERED);
    let clusters = 3 + (entries * 8).div_ceil(CLUSTER).max(1);
    let mut image = vec![0; (clusters * CLUSTER) as usize];
    let extension = [BACKING_FORMAT, 3, u32::from_be_bytes(*b"raw\0"), 0, 0, 0];
    let backing_name = HEADER + 4 * extension.len();
    let pair = |value: u64| [(value >> 32) as u32, value as u32];
    let header = [
        &[u32::from_be_bytes(*b"QFI\xfb"), 2][..],
        &pair(backing_name as u64),
        &[name.len() as u32, CLUSTER_BITS],
        &pair(size.next_multiple_of(SECTOR)),
        // Not encrypted.
        &[0, entries as u32],
        &pair(L1_TABLE),
        &pair(REFCOUNT_TABLE),
        // One cluster of it; no snapshots.
        &[1, 0, 0, 0],
        &extension,
    ]
    .concat();
    let header: Vec<u8> = header.into_iter().flat_map(u32::to_be_bytes).collect();
    image[..header.len()].copy_from_slice(&header);
    image[backing_name..][..name.len()].copy_from_slice(name);
    image[REFCOUNT_TABLE as usize..][..8].copy_from_slice(&REFCOUNT_BLOCK.to_be_bytes());
    for cluster in 0..clusters as usize {
        image[REFCOUNT_BLOCK as usize + 2 * cluster + 1] = 1;
    }
    Some(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(image: &[u8], at: usize) -> u64 {
        u64::from_be_bytes(image[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn an_overlay_names_the_image_behind_and_has_no_clusters_of_its_own() {
        let image = over(Path::new("/a/disk"), 3 << 30).unwrap();
        assert_eq!(&image[..8], b"QFI\xfb\0\0\0\x02");
        let name = long(&image, 8) as usize;
        assert_eq!((&image[name..name + 7], &image[16..20]), (&b"/a/disk"[..], &[0, 0, 0, 7][..]));
        assert_eq!((long(&image, 24), long(&image, 40), long(&image, 48)), (3 << 30, L1_TABLE, CLUSTER));
        assert_eq!(image[36..40], [0, 0, 0, 6], "512 MiB each");
        assert!(image[L1_TABLE as usize..].iter().all(|&byte| byte == 0));
        assert_eq!(long(&over(Path::new("/d"), 513).unwrap(), 24), 1024);
        assert!(over(Path::new(&"x".repeat(2000)), 512).is_none());
    }
}
