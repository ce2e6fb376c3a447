//! The thread that turns the recorder's words into chunks and writes them.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use zstd::bulk::Compressor;

use crate::chunk::{Columns, Header, file_header, written_bit};
use crate::model::{Access, Coder, Definition, Event, Model, Step, column, event, set_bits};
use crate::raw;

/// Steps in a chunk.
const CHUNK_STEPS: u64 = 1 << 20;
/// Words of the recorder after which a chunk ends whatever it holds: REP instructions have many accesses.
const CHUNK_WORDS: u64 = 1 << 24;
/// Buffers on their way.
const BUFFERS: usize = 8;
/// zstd's level: the columns are nearly all guesses that were right, so more effort buys little.
const LEVEL: i32 = 1;

/// What the recorder sends.
#[derive(Debug)]
pub enum Message {
    /// Whole records.
    Words(Vec<u64>),
    /// What there is should be readable now; whoever waits for that is told.
    Flush(Option<Sender<()>>),
}

/// The recorder's end of the thread.
#[derive(Debug)]
pub struct Writer {
    words: Sender<Message>,
    empty: Receiver<Vec<u64>>,
    thread: JoinHandle<io::Result<Totals>>,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Steps.
    pub steps: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Writer {
    /// Writes a trace into `file`, which is empty.
    ///
    /// # Errors
    /// When the file's header cannot be written, or there can be no thread.
    pub fn start(mut file: File) -> io::Result<Self> {
        file.write_all(&file_header())?;
        let packer = Compressor::new(LEVEL)?;
        let (words, input) = bounded(BUFFERS);
        let (back, empty) = bounded(BUFFERS + 2);
        let thread = std::thread::Builder::new()
            .name("trace".into())
            .spawn(move || Thread::new(file, packer).run(&input, &back))?;
        Ok(Self { words, empty, thread })
    }

    /// Sends words and gives an empty buffer for more. False when the thread has given up.
    pub fn send(&self, words: &mut Vec<u64>) -> bool {
        let next = self.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(raw::FULL + raw::FULL / 8));
        self.words.send(Message::Words(std::mem::replace(words, next))).is_ok()
    }

    /// Has everything that was sent become readable soon.
    pub fn flush(&self) {
        let _ = self.words.send(Message::Flush(None));
    }

    /// The same, and waits until it is.
    ///
    /// # Errors
    /// When the thread has given up.
    pub fn flush_and_wait(&self) -> io::Result<()> {
        let (done, waits) = bounded(1);
        let _ = self.words.send(Message::Flush(Some(done)));
        waits.recv().map_err(|_| io::Error::other("the thread that writes it has given up"))
    }

    /// Has the thread given up?
    pub fn failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Writes the last chunk.
    ///
    /// # Errors
    /// What the file's writes ran into, the first time. Chunks before that are good.
    pub fn finish(self) -> io::Result<Totals> {
        drop(self.words);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes the trace died")))
    }
}

struct Thread {
    file: File,
    written: u64,
    steps: u64,
    chunk: u64,
    words: u64,
    /// Code that the recorder has told of.
    known: Vec<Definition>,
    /// For each: the chunk in which it has numbers, and the first of them.
    numbered: Vec<(u64, u32)>,
    /// For each of the recorder's numbers: index into `known`, and place in the block.
    numbers: Vec<(u32, u32)>,
    model: Model,
    columns: Columns,
    packer: Compressor<'static>,
    header: Header,
    /// States at the start of the chunk.
    start: (Vec<crate::model::State>, usize),
    step: Step,
}

impl Thread {
    fn new(file: File, packer: Compressor<'static>) -> Self {
        Self {
            file,
            written: crate::chunk::FILE_HEADER,
            steps: 0,
            chunk: 1,
            words: 0,
            known: Vec::new(),
            numbered: Vec::new(),
            numbers: Vec::new(),
            model: Model::default(),
            columns: Columns::default(),
            packer,
            header: Header::default(),
            start: (Vec::new(), 0),
            step: Step::default(),
        }
    }

    fn run(mut self, input: &Receiver<Message>, back: &Sender<Vec<u64>>) -> io::Result<Totals> {
        for message in input {
            match message {
                Message::Words(mut words) => {
                    self.records(&words)?;
                    words.clear();
                    let _ = back.try_send(words);
                }
                Message::Flush(waits) => {
                    self.close()?;
                    if let Some(waits) = waits {
                        let _ = waits.send(());
                    }
                }
            }
        }
        self.close()?;
        Ok(Totals { steps: self.steps, bytes: self.written })
    }

    fn records(&mut self, words: &[u64]) -> io::Result<()> {
        let mut at = 0;
        while at < words.len() {
            let (id, mask) = ((words[at] >> 32) as u32, words[at] as u16);
            let (count, flags) = ((words[at + 1] >> 32) as usize, words[at + 1] & 0xffff_ffff);
            at += 2;
            match id {
                raw::EVENT => {
                    let event = Event { kind: mask as u8, data: words[at..at + count].to_vec() };
                    self.model.event(&mut self.columns, Some(&event));
                    at += count;
                }
                raw::DEFINE => {
                    self.define(&words[at..at + count]);
                    at += count;
                }
                _ => {
                    self.step.accesses.clear();
                    for _ in 0..count {
                        self.step.accesses.push(access(&words[at..at + 3]));
                        at += 3;
                    }
                    // What may have changed, of which what has changed is kept.
                    let (old, mut changed) = (&self.model.state().regs, 0);
                    for number in set_bits(mask) {
                        self.step.regs[number] = words[at];
                        changed |= u16::from(words[at] != old[number]) << number;
                        at += 1;
                    }
                    self.step.mask = changed;
                    self.step(id, flags);
                }
            }
            self.words += count as u64;
            if self.header.steps >= CHUNK_STEPS || self.words > CHUNK_WORDS {
                self.close()?;
            }
        }
        Ok(())
    }

    fn define(&mut self, words: &[u64]) {
        let &[first, linear, ip, physical, sizes, ref packed @ ..] = words else { return };
        let (code_size, count, length) =
            (sizes as u32 & 0xff, (sizes >> 8) as usize & 0xffff, (sizes >> 24) as usize);
        let bytes: Vec<u8> = packed.iter().flat_map(|word| word.to_le_bytes()).collect();
        let definition = Definition {
            linear,
            ip,
            physical,
            code_size,
            lengths: bytes[..count].to_vec(),
            bytes: bytes[count..count + length].to_vec(),
        };
        self.numbers.resize(first as usize, (0, 0));
        self.numbers.extend((0..count as u32).map(|place| (self.known.len() as u32, place)));
        self.known.push(definition);
        self.numbered.push((0, 0));
    }

    fn step(&mut self, id: u32, flags: u64) {
        self.step.op = match self.numbers.get(id as usize) {
            Some(&(known, place)) => {
                let new = self.model.forms.len() as u32;
                let numbered = &mut self.numbered[known as usize];
                if numbered.0 != self.chunk {
                    *numbered = (self.chunk, new);
                    self.columns.pending = Some(self.known[known as usize].clone());
                }
                numbered.1 + place
            }
            None => crate::model::DELIVERY,
        };
        for access in self.step.accesses.iter().filter(|access| access.write) {
            self.header.written |= written_bit(access.physical);
        }
        self.step.flags = flags;
        self.model.event(&mut self.columns, None);
        if self.header.steps == 0 {
            self.header.first = self.model.state().count;
        }
        self.model.step(&mut self.columns, &mut self.step);
        self.header.steps += 1;
        if self.model.state().flags != flags {
            // An instruction that was not expected to touch EFLAGS did.
            let event = Event { kind: event::SYNC, data: vec![1 << 16, flags] };
            self.model.event(&mut self.columns, Some(&event));
        }
    }

    /// Ends the chunk and writes it.
    fn close(&mut self) -> io::Result<()> {
        if self.words == 0 && self.header.steps == 0 {
            return Ok(());
        }
        self.columns.hit(column::EVENT, false);
        self.columns.byte(column::EVENTS, event::END);
        self.columns.number(column::EVENTS, 0);
        self.header.last = self.model.state().count;
        let bytes = self.columns.close(&self.start.0, self.start.1, self.header, &mut self.packer)?;
        let length = bytes.len() as u64;
        if let Err(error) = self.file.write_all(bytes) {
            // What is there of the chunk is of no use to anybody.
            let _ = self.file.set_len(self.written);
            let _ = self.file.seek(SeekFrom::Start(self.written));
            return Err(error);
        }
        self.written += length;
        self.steps += self.header.steps;
        self.chunk += 1;
        self.words = 0;
        self.header = Header::default();
        self.start.0.clone_from(&self.model.cpus);
        self.start.1 = self.model.current;
        self.model.restart();
        Ok(())
    }
}

fn access(words: &[u64]) -> Access {
    let bits = words[2];
    Access {
        linear: words[0],
        value: words[1],
        physical: bits & !0xfff | words[0] & 0xfff,
        size: (bits & raw::access::SIZE) as u8,
        write: bits & raw::access::WRITE != 0,
        bus: bits & raw::access::BUS != 0,
    }
}
