//! Discs: ISO 9660 images with files in their root directory, and a boot record by El Torito.

/// Bytes in a block.
pub const BLOCK: usize = 2048;

const RECORD: usize = 17;
const TERMINATOR: usize = 18;
const PATH_TABLES: [usize; 2] = [19, 20];
const ROOT: usize = 21;
const CATALOGUE: usize = 22;
const FILES: usize = 23;

/// How a disc boots.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    /// The name of the file that is booted.
    pub file: &'static str,
    /// Media type: 0 no emulation, 1 to 3 diskettes of 1.2M, 1.44M and 2.88M, 4 hard disk.
    pub media: u8,
    /// Sectors of 512 bytes to load.
    pub sectors: u16,
    /// The file has room for a table that tells it where it lies.
    pub table: bool,
}

/// A number in both byte orders, as ISO 9660 has them.
fn both(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn directory_record(name: &[u8], block: usize, len: usize, directory: bool) -> Vec<u8> {
    let mut record = vec![0; (33 + name.len()).next_multiple_of(2)];
    record[0] = record.len() as u8;
    record[2..10].copy_from_slice(&both(block as u32));
    record[10..18].copy_from_slice(&both(len as u32));
    record[18..25].copy_from_slice(&[126, 1, 1, 0, 0, 0, 0]);
    record[25] = u8::from(directory) << 1;
    record[28..32].copy_from_slice(&[1, 0, 0, 1]);
    record[32] = name.len() as u8;
    record[33..33 + name.len()].copy_from_slice(name);
    record
}

/// A disc with these files, whose names are in capitals with a dot in them.
///
/// # Panics
/// When the directory does not fit into one block, or the file to boot is not there.
pub fn disc(files: &[(&str, &[u8])], boot: Option<Boot>) -> Vec<u8> {
    let mut files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (*name, bytes.to_vec())).collect();
    files.sort_by_key(|(name, _)| *name);
    let mut root =
        [directory_record(&[0], ROOT, BLOCK, true), directory_record(&[1], ROOT, BLOCK, true)].concat();
    let mut blocks = Vec::new();
    let mut end = FILES;
    for (name, bytes) in &files {
        root.extend(directory_record(format!("{name};1").as_bytes(), end, bytes.len(), false));
        blocks.push(end);
        end += bytes.len().div_ceil(BLOCK);
    }
    assert!(root.len() <= BLOCK, "the directory fits into a block");
    let mut disc = vec![0; end * BLOCK];
    let mut put = |block: usize, at: usize, bytes: &[u8]| {
        let start = block * BLOCK + at;
        disc[start..start + bytes.len()].copy_from_slice(bytes);
    };
    put(ROOT, 0, &root);
    // The path table has the root directory alone.
    put(PATH_TABLES[0], 0, &[1, 0, ROOT as u8, 0, 0, 0, 1, 0, 0, 0]);
    put(PATH_TABLES[1], 0, &[1, 0, 0, 0, 0, ROOT as u8, 0, 1, 0, 0]);

    put(16, 0, b"\x01CD001\x01");
    put(16, 8, &[b' '; 64]);
    put(16, 80, &both(end as u32));
    put(16, 120, &[1, 0, 0, 1, 1, 0, 0, 1, 0, 8, 8, 0]);
    put(16, 132, &both(10));
    put(16, 140, &[PATH_TABLES[0] as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, PATH_TABLES[1] as u8]);
    put(16, 156, &directory_record(&[0], ROOT, BLOCK, true));
    put(16, 190, &[b' '; 623]);
    put(16, 881, &[1]);
    put(TERMINATOR, 0, b"\xffCD001\x01");

    if let Some(boot) = boot {
        let place = files.iter().position(|(name, _)| *name == boot.file).expect("the file to boot is there");
        let lba = blocks[place] as u32;
        if boot.table {
            patch(&mut files[place].1, lba);
        }
        put(RECORD, 0, b"\0CD001\x01EL TORITO SPECIFICATION");
        put(RECORD, 0x47, &(CATALOGUE as u32).to_le_bytes());
        // The validation entry's sixteen words add up to zero: 0001h, 55AAh and AA55h.
        put(CATALOGUE, 0, &[1]);
        put(CATALOGUE, 0x1c, &[0xaa, 0x55, 0x55, 0xaa]);
        put(CATALOGUE, 0x20, &[0x88, boot.media]);
        put(CATALOGUE, 0x26, &boot.sectors.to_le_bytes());
        put(CATALOGUE, 0x28, &lba.to_le_bytes());
    }
    for ((_, bytes), block) in files.iter().zip(blocks) {
        put(block, 0, bytes);
    }
    disc
}

/// The boot information table at 8: the volume descriptor's block, the file's block, length and checksum.
fn patch(file: &mut [u8], lba: u32) {
    let words = file[64..].chunks(4).map(|word| {
        let mut bytes = [0; 4];
        bytes[..word.len()].copy_from_slice(word);
        u32::from_le_bytes(bytes)
    });
    let sum = words.fold(0, u32::wrapping_add);
    for (at, value) in [(8, 16), (12, lba), (16, file.len() as u32), (20, sum)] {
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_validation_entry_adds_up_to_zero_and_the_file_is_where_the_catalogue_says() {
        let boot = Boot { file: "B.BIN", media: 0, sectors: 4, table: false };
        let disc = disc(&[("B.BIN", &[7; 3000]), ("A.TXT", b"text")], Some(boot));
        let entry = &disc[CATALOGUE * BLOCK..][..32];
        let sum = entry
            .as_chunks::<2>()
            .0
            .iter()
            .fold(0u16, |sum, word| sum.wrapping_add(u16::from_le_bytes(*word)));
        assert_eq!((sum, &entry[30..]), (0, &[0x55, 0xaa][..]));
        let lba = usize::from(disc[CATALOGUE * BLOCK + 0x28]);
        assert_eq!(disc[lba * BLOCK..][..3000], [7; 3000]);
    }
}
