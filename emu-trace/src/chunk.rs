//! Chunks: columns packed by zstd behind a header that can be checked, each readable on its own.

use std::io::{self, Read, Seek, SeekFrom};

use zstd::bulk::Compressor;

use crate::model::{Coder, Definition, State, column, field};

/// How a trace file begins.
pub const MAGIC: [u8; 8] = *b"EMUTRACE";
/// Version of the format.
pub const VERSION: u32 = 1;
/// Bytes of the file's header.
pub const FILE_HEADER: u64 = 16;
/// How a chunk begins.
const CHUNK_MAGIC: [u8; 4] = *b"CHNK";
/// Bytes of a chunk's header.
pub const CHUNK_HEADER: usize = 56;
/// A chunk larger than this is taken for damage.
const MOST_BYTES: u32 = 1 << 30;
/// A column larger than this is taken for damage.
const MOST_COLUMN: u32 = 1 << 30;

/// What a chunk's header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Count of retired instructions at its start, on the processor that runs there.
    pub first: u64,
    /// The same at its end.
    pub last: u64,
    /// Steps: instructions and deliveries.
    pub steps: u64,
    /// A set of the physical pages that are written in it: bit `hash(page)` for each.
    pub written: u64,
    /// Bytes that follow the header.
    pub length: u32,
    /// CRC-32 of those.
    pub crc: u32,
}

/// The bit of [`Header::written`] for a physical address.
pub fn written_bit(physical: u64) -> u64 {
    1 << ((physical >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}

/// The file's header.
pub fn file_header() -> [u8; FILE_HEADER as usize] {
    let mut bytes = [0; FILE_HEADER as usize];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

impl Header {
    /// Its bytes.
    pub fn bytes(&self) -> [u8; CHUNK_HEADER] {
        let mut bytes = [0; CHUNK_HEADER];
        bytes[..4].copy_from_slice(&CHUNK_MAGIC);
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        for (n, value) in [self.first, self.last, self.steps, self.written].into_iter().enumerate() {
            bytes[8 + 8 * n..16 + 8 * n].copy_from_slice(&value.to_le_bytes());
        }
        bytes[40..44].copy_from_slice(&self.crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..52]);
        bytes[52..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// From its bytes; `None` when they are damaged.
    pub fn from_bytes(bytes: &[u8; CHUNK_HEADER]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if bytes[..4] != CHUNK_MAGIC || word(52) != crc32fast::hash(&bytes[..52]) || word(4) > MOST_BYTES {
            return None;
        }
        Some(Self {
            first: long(8),
            last: long(16),
            steps: long(24),
            written: long(32),
            length: word(4),
            crc: word(40),
        })
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes the columns of one chunk.
#[derive(Debug, Default)]
pub struct Columns {
    bytes: [Vec<u8>; column::COUNT],
    /// Hits since the last miss.
    runs: [u64; column::COUNT],
    /// The code that is defined next.
    pub pending: Option<Definition>,
    /// The chunk as it is written.
    packed: Vec<u8>,
}

impl Coder for Columns {
    const WRITES: bool = true;

    #[inline]
    fn hit(&mut self, column: usize, actual: bool) -> bool {
        if actual {
            self.runs[column] += 1;
        } else {
            let run = std::mem::take(&mut self.runs[column]);
            varint(&mut self.bytes[column], run);
        }
        actual
    }

    #[inline]
    fn byte(&mut self, column: usize, actual: u8) -> u8 {
        self.bytes[column].push(actual);
        actual
    }

    #[inline]
    fn number(&mut self, column: usize, actual: u64) -> u64 {
        varint(&mut self.bytes[column], actual);
        actual
    }

    fn definition(&mut self) -> Definition {
        let definition = self.pending.take().unwrap_or_default();
        let out = &mut self.bytes[column::CODE];
        varint(out, definition.linear);
        varint(out, definition.linear.wrapping_sub(definition.ip));
        varint(out, definition.physical);
        varint(out, u64::from(definition.code_size));
        varint(out, definition.lengths.len() as u64);
        out.extend_from_slice(&definition.lengths);
        out.extend_from_slice(&definition.bytes);
        definition
    }
}

fn put_states(out: &mut Vec<u8>, states: &[State], current: usize) {
    varint(out, current as u64);
    varint(out, states.len() as u64);
    for state in states {
        let all = state.regs.iter().chain([&state.flags]).chain(&state.fields).chain([&state.count]);
        all.for_each(|&value| varint(out, value));
    }
}

impl Columns {
    /// Closes the chunk: packs the columns behind the states at its start, and gives all bytes, header first.
    ///
    /// # Errors
    /// When zstd has no memory.
    pub fn close(
        &mut self,
        states: &[State],
        current: usize,
        mut header: Header,
        packer: &mut Compressor<'static>,
    ) -> io::Result<&[u8]> {
        for column in [column::FLOW, column::SHAPE, column::PAGES, column::EVENT] {
            let run = std::mem::take(&mut self.runs[column]);
            varint(&mut self.bytes[column], run);
        }
        let mut start = Vec::new();
        put_states(&mut start, states, current);
        let body = CHUNK_HEADER + 4;
        let mut at = body + 8 * (column::COUNT + 1);
        let all = std::iter::once(&start).chain(&self.bytes);
        let most: usize = all.clone().map(|bytes| zstd::zstd_safe::compress_bound(bytes.len())).sum();
        // Of the last chunk's length at least, so that nothing is cleared that is overwritten.
        if self.packed.len() < at + most {
            self.packed.resize(at + most, 0);
        }
        for (n, bytes) in all.enumerate() {
            let length = packer.compress_to_buffer(bytes, &mut self.packed[at..])?;
            self.packed[body + 8 * n..][..4].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
            self.packed[body + 8 * n + 4..][..4].copy_from_slice(&(length as u32).to_le_bytes());
            at += length;
        }
        self.packed[CHUNK_HEADER..body].copy_from_slice(&[column::COUNT as u8 + 1, 0, 0, 0]);
        self.bytes.iter_mut().for_each(Vec::clear);
        header.length = (at - CHUNK_HEADER) as u32;
        header.crc = crc32fast::hash(&self.packed[CHUNK_HEADER..at]);
        self.packed[..CHUNK_HEADER].copy_from_slice(&header.bytes());
        Ok(&self.packed[..at])
    }
}

/// A column while it is read.
#[derive(Debug, Default)]
struct Input {
    bytes: Vec<u8>,
    at: usize,
    run: Option<u64>,
}

impl Input {
    fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let bytes = rest[..count.min(rest.len())].to_vec();
        self.at += bytes.len();
        bytes
    }

    fn number(&mut self) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte();
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
}

/// Reads the columns of one chunk.
#[derive(Debug)]
pub struct Inputs {
    columns: Vec<Input>,
}

impl Coder for Inputs {
    const WRITES: bool = false;

    #[inline]
    fn hit(&mut self, column: usize, _: bool) -> bool {
        let input = &mut self.columns[column];
        let run = match input.run {
            Some(run) => run,
            None => input.number(),
        };
        input.run = run.checked_sub(1);
        input.run.is_some()
    }

    #[inline]
    fn byte(&mut self, column: usize, _: u8) -> u8 {
        self.columns[column].byte()
    }

    #[inline]
    fn number(&mut self, column: usize, _: u64) -> u64 {
        self.columns[column].number()
    }

    fn definition(&mut self) -> Definition {
        let input = &mut self.columns[column::CODE];
        let linear = input.number();
        let ip = linear.wrapping_sub(input.number());
        let physical = input.number();
        let code_size = match input.number() {
            16 => 16,
            32 => 32,
            _ => 64,
        };
        let count = (input.number() as usize).min(4096);
        let lengths = input.take(count);
        let bytes = input.take(lengths.iter().map(|&length| usize::from(length)).sum());
        Definition { linear, ip, physical, code_size, lengths, bytes }
    }
}

/// Why a chunk cannot be read.
#[derive(Debug)]
pub enum Damage {
    /// The file ends in the middle of it, or its bytes are not what was written.
    Torn,
    /// The host could not read.
    Host(io::Error),
}

/// Reads a chunk's header at the place where `file` is; `None` at the end of the file.
///
/// # Errors
/// [`Damage`]; the file then ends here for whoever reads it.
pub fn read_header(file: &mut impl Read) -> Result<Option<Header>, Damage> {
    let mut bytes = [0; CHUNK_HEADER];
    let mut have = 0;
    while have < bytes.len() {
        match file.read(&mut bytes[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(Damage::Torn),
            Ok(count) => have += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Damage::Host(error)),
        }
    }
    Header::from_bytes(&bytes).map(Some).ok_or(Damage::Torn)
}

/// Skips a chunk's body.
///
/// # Errors
/// When the host cannot.
pub fn skip(file: &mut impl Seek, header: &Header) -> io::Result<u64> {
    file.seek(SeekFrom::Current(i64::from(header.length)))
}

/// Reads a chunk's body: the columns, the states at its start, and which processor runs there.
///
/// # Errors
/// [`Damage`].
pub fn read_body(file: &mut impl Read, header: &Header) -> Result<(Inputs, Vec<State>, usize), Damage> {
    let mut body = vec![0; header.length as usize];
    file.read_exact(&mut body).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Damage::Torn,
        _ => Damage::Host(error),
    })?;
    if crc32fast::hash(&body) != header.crc {
        return Err(Damage::Torn);
    }
    let count = usize::from(*body.first().ok_or(Damage::Torn)?);
    let table = body.get(4..4 + 8 * count).ok_or(Damage::Torn)?;
    let mut at = 4 + 8 * count;
    let mut columns = Vec::new();
    for entry in table.chunks_exact(8) {
        let word = |n: usize| u32::from_le_bytes(entry[n..n + 4].try_into().expect("four bytes"));
        let packed = body.get(at..at + word(4) as usize).ok_or(Damage::Torn)?;
        if word(0) > MOST_COLUMN {
            return Err(Damage::Torn);
        }
        let bytes = zstd::bulk::decompress(packed, word(0) as usize).map_err(|_| Damage::Torn)?;
        columns.push(Input { bytes, ..Input::default() });
        at += word(4) as usize;
    }
    if columns.len() <= column::COUNT {
        return Err(Damage::Torn);
    }
    let mut start = columns.remove(0);
    let current = start.number().min(255) as usize;
    let states = (0..start.number().min(256)).map(|_| {
        let mut state = State::default();
        state.regs.iter_mut().for_each(|value| *value = start.number());
        state.flags = start.number();
        (0..field::COUNT).for_each(|n| state.fields[n] = start.number());
        state.count = start.number();
        state
    });
    let states = states.collect();
    Ok((Inputs { columns }, states, current))
}
