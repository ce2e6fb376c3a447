//! Walking through a trace.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::chunk::{self, Damage, FILE_HEADER, Header, Inputs, MAGIC, VERSION};
use crate::model::{DELIVERY, Definition, Event, Model, State, Step, event};
use crate::op::Form;

/// Why a file is no trace.
#[derive(Debug)]
pub enum NoTrace {
    /// The host could not open or read it.
    Host(io::Error),
    /// It is something else.
    Foreign,
    /// It is a trace of another version.
    Version(u32),
}

impl std::fmt::Display for NoTrace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(error) => write!(f, "{error}"),
            Self::Foreign => write!(f, "expected a trace that `emu run --trace` wrote"),
            Self::Version(version) => write!(f, "a trace of version {version}; expected version {VERSION}"),
        }
    }
}

impl std::error::Error for NoTrace {}

/// Where a chunk lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its header.
    pub header: Header,
    /// Offset of its body in the file.
    pub body: u64,
}

/// A trace file.
#[derive(Debug)]
pub struct Trace {
    file: BufReader<File>,
    /// Its chunks.
    pub chunks: Vec<Place>,
    /// The file ends within a chunk, or with something else.
    pub torn: bool,
    /// Bytes up to the end of the last chunk.
    pub bytes: u64,
}

impl Trace {
    /// Opens a trace and finds its chunks. What is written later is not seen.
    ///
    /// # Errors
    /// [`NoTrace`].
    pub fn open(path: &Path) -> Result<Self, NoTrace> {
        let mut file = BufReader::new(File::open(path).map_err(NoTrace::Host)?);
        let mut header = [0; FILE_HEADER as usize];
        file.read_exact(&mut header).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => NoTrace::Foreign,
            _ => NoTrace::Host(error),
        })?;
        if header[..8] != MAGIC {
            return Err(NoTrace::Foreign);
        }
        let version = u32::from_le_bytes(header[8..12].try_into().expect("four bytes"));
        if version != VERSION {
            return Err(NoTrace::Version(version));
        }
        let size = file.get_ref().metadata().map_err(NoTrace::Host)?.len();
        let (mut chunks, mut at, mut torn) = (Vec::new(), FILE_HEADER, false);
        loop {
            match chunk::read_header(&mut file) {
                Ok(None) => break,
                Ok(Some(header)) => {
                    let body = at + chunk::CHUNK_HEADER as u64;
                    if body + u64::from(header.length) > size {
                        torn = true;
                        break;
                    }
                    chunks.push(Place { header, body });
                    at = body + u64::from(header.length);
                    chunk::skip(&mut file, &header).map_err(NoTrace::Host)?;
                }
                Err(Damage::Torn) => {
                    torn = true;
                    break;
                }
                Err(Damage::Host(error)) => return Err(NoTrace::Host(error)),
            }
        }
        Ok(Self { file, chunks, torn, bytes: at })
    }

    /// Reads chunk number `number`.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn chunk(&mut self, number: usize) -> Result<Chunk, Damage> {
        let place = self.chunks.get(number).copied().ok_or(Damage::Torn)?;
        self.file.seek(SeekFrom::Start(place.body)).map_err(Damage::Host)?;
        let (inputs, states, current) = chunk::read_body(&mut self.file, &place.header)?;
        Ok(Chunk {
            inputs,
            model: Model::new(states, current),
            left: place.header.steps,
            ended: false,
            step: Step::default(),
            before: State::default(),
        })
    }
}

/// A chunk that is walked through.
#[derive(Debug)]
pub struct Chunk {
    inputs: Inputs,
    /// What is known after the last item.
    pub model: Model,
    left: u64,
    ended: bool,
    step: Step,
    before: State,
}

/// One item of a trace.
#[derive(Debug)]
pub enum Item<'a> {
    /// An instruction.
    Instruction(Executed<'a>),
    /// The delivery of the event before: what it stored and changed.
    Delivery(&'a Step, &'a State),
    /// Something between instructions.
    Event(Event),
}

/// An instruction that was executed.
#[derive(Clone, Copy, Debug)]
pub struct Executed<'a> {
    /// Number of the processor.
    pub cpu: usize,
    /// State before it.
    pub before: &'a State,
    /// State after it.
    pub after: &'a State,
    /// What it did.
    pub step: &'a Step,
    /// The code that it belongs to.
    pub definition: &'a Definition,
    /// Where in that.
    pub form: &'a Form,
}

impl Executed<'_> {
    /// Its linear address.
    pub fn linear(&self) -> u64 {
        self.definition.linear.wrapping_add(self.form.start.into())
    }

    /// Its RIP.
    pub fn ip(&self) -> u64 {
        self.definition.ip.wrapping_add(self.form.start.into())
    }

    /// Its physical address.
    pub fn physical(&self) -> u64 {
        self.definition.physical.wrapping_add(self.form.start.into())
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        let start = usize::from(self.form.start).min(self.definition.bytes.len());
        let end = (start + usize::from(self.form.length)).min(self.definition.bytes.len());
        &self.definition.bytes[start..end]
    }

    /// Decodes it.
    pub fn decode(&self) -> iced_x86::Instruction {
        let options = iced_x86::DecoderOptions::NONE;
        iced_x86::Decoder::with_ip(self.definition.code_size, self.bytes(), self.ip(), options).decode()
    }
}

impl Chunk {
    /// The next item; `None` at the end.
    pub fn item(&mut self) -> Option<Item<'_>> {
        if self.ended {
            return None;
        }
        if let Some(event) = self.model.event(&mut self.inputs, None) {
            if event.kind == event::END {
                self.ended = true;
                return None;
            }
            return Some(Item::Event(event));
        }
        if self.left == 0 {
            self.ended = true;
            return None;
        }
        self.left -= 1;
        let state = self.model.state();
        (self.before.regs, self.before.flags, self.before.count) = (state.regs, state.flags, state.count);
        self.before.fields = state.fields;
        self.model.step(&mut self.inputs, &mut self.step);
        let model = &self.model;
        let after = &model.cpus[model.current];
        if self.step.op == DELIVERY {
            return Some(Item::Delivery(&self.step, after));
        }
        Some(Item::Instruction(Executed {
            cpu: model.current,
            before: &self.before,
            after,
            step: &self.step,
            definition: &model.definitions[model.of[self.step.op as usize] as usize],
            form: &model.forms[self.step.op as usize],
        }))
    }
}
