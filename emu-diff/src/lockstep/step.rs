//! What a reference's log says about one step, whatever machine that is.

use std::collections::VecDeque;
use std::fmt;
use std::io;

use crate::state::{State, Vectors};

/// A read of a port or of a chip's register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Port number or physical address.
    pub address: u64,
    /// The value, in `size` bytes.
    pub value: u64,
    /// 1, 2, 4 or 8.
    pub size: u8,
}

/// One instruction or block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Registers before. Their upper halves are unknown when [`narrow`](Self::narrow).
    pub state: State,
    /// x87 and vector registers before, where the log has them.
    pub vectors: Option<Vectors>,
    /// No more is known than the general registers, RIP, RFLAGS and the selector in CS.
    pub partial: bool,
    /// Only the lower halves of the first eight general registers are known, as outside 64-bit code.
    pub narrow: bool,
    /// Only the lower halves of the bases in LDTR and TR are known.
    pub short_bases: bool,
    /// Only the lower halves of the vector registers are known.
    pub narrow_vectors: bool,
    /// What it wrote to memory last and how many bytes that is, where the log has that.
    pub written: Option<(u64, u8)>,
    /// What it read from ports and chips.
    pub reads: VecDeque<Answer>,
    /// Exceptions and software interrupts: vector and error code.
    pub exceptions: Vec<(u8, u16)>,
    /// Registers when the last of them was delivered, where the log has them.
    pub faulting: Option<Box<State>>,
    /// Vectors of external interrupts that were taken after it.
    pub interrupts: Vec<u8>,
    /// Offset of the instruction before which the first of them was taken.
    pub interrupted_at: Option<u64>,
    /// System management mode was entered after it.
    pub management: bool,
    /// A block that had to end after so many instructions; 0 for any other.
    pub most: usize,
    /// A block that ended before an access to a chip, which is done by a block of its own.
    pub rewound: bool,
}

/// Why there is no next step.
#[derive(Debug)]
pub enum LogError {
    /// The log of this machine cannot be read.
    Io(&'static str, io::Error),
    /// Its log ends in the middle of a step.
    CutShort(&'static str),
    /// A line of its log is not what it should be.
    Line(&'static str, String),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(name, error) => write!(f, "{name}'s log cannot be read: {error}"),
            Self::CutShort(name) => write!(f, "{name}'s log ends in the middle of a step"),
            Self::Line(name, line) => {
                write!(f, "{name}'s log has a line that this version does not know: {line}")
            }
        }
    }
}

impl std::error::Error for LogError {}

/// A machine whose steps are known one after the other.
pub trait Steps {
    /// The machine's name.
    const NAME: &'static str;
    /// It shows what instructions read from ports. Where it does not, their results tell.
    const SHOWS_PORTS: bool;
    /// A repeated string instruction has one more step, with its count at zero.
    const REPEATS_AT_ZERO: bool;
    /// XSAVE tells state components that are in use from others.
    const TRACKS_XINUSE: bool;

    /// The next step, if there is one.
    ///
    /// # Errors
    /// When the log cannot be read or understood.
    fn take(&mut self) -> Result<Option<Step>, LogError>;

    /// The step after the one that [`take`](Self::take) returned last.
    ///
    /// # Errors
    /// When the log cannot be read or understood.
    fn peek(&mut self) -> Result<Option<&Step>, LogError>;
}
