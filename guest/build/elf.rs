//! As much of ELF-64 as the image builder needs (System V ABI, "ELF Header", "Program Header").

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const PT_LOAD: u32 = 1;

fn read16(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn read64(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))).expect("a 64-bit host")
}

/// Offset, address and length in the file of each loadable segment.
fn segments(file: &[u8]) -> Vec<(usize, usize, usize)> {
    assert!(file.len() > HEADER && file.starts_with(b"\x7FELF\x02\x01"), "the linker makes ELF-64 files");
    let table = read64(file, 32);
    (0..read16(file, 56))
        .map(|i| &file[table + i * PROGRAM_HEADER..][..PROGRAM_HEADER])
        .filter(|header| header.starts_with(&PT_LOAD.to_le_bytes()))
        .map(|header| (read64(header, 8), read64(header, 16), read64(header, 32)))
        .collect()
}

/// The file without section table and symbols: the part that is needed to run it.
pub fn strip(file: &[u8]) -> Vec<u8> {
    let headers_end = read64(file, 32) + read16(file, 56) * PROGRAM_HEADER;
    let end = segments(file).iter().map(|(offset, _, length)| offset + length).fold(headers_end, usize::max);
    let mut stripped = file[..end].to_vec();
    stripped[40..48].fill(0); // e_shoff
    stripped[58..64].fill(0); // e_shentsize, e_shnum, e_shstrndx
    stripped
}

/// The memory that the segments fill, from the lowest address to the highest.
pub fn flatten(file: &[u8]) -> Vec<u8> {
    let segments: Vec<_> = segments(file).into_iter().filter(|segment| segment.2 > 0).collect();
    let start = segments.iter().map(|segment| segment.1).min().unwrap_or(0);
    let mut memory = Vec::new();
    for (offset, address, length) in segments {
        let at = address - start;
        memory.resize(memory.len().max(at + length), 0);
        memory[at..at + length].copy_from_slice(&file[offset..offset + length]);
    }
    memory
}
