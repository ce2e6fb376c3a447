//! Options of `emu trace`, and those of `emu run` that say what is recorded.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use emu_trace::filter::{Filter, Trigger};

/// Options of `emu run --trace`.
#[derive(Clone, Debug, Default, Args)]
pub struct TraceArgs {
    /// Record every instruction, with registers and memory, to FILE (see `emu trace`)
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// Record only code at these linear addresses: FIRST-LAST or FIRST+BYTES; may be given again
    #[arg(long, value_name = "RANGE", requires = "trace", value_parser = range)]
    pub trace_range: Vec<RangeInclusive<u64>>,

    /// The same by physical addresses
    #[arg(long, value_name = "RANGE", requires = "trace", value_parser = range)]
    pub trace_physical: Vec<RangeInclusive<u64>>,

    /// Record only these privilege levels, for example 3 or 0,3
    #[arg(long, value_name = "LEVELS", requires = "trace", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(0..4))]
    pub trace_cpl: Vec<u8>,

    /// Record only under this CR3
    #[arg(long, value_name = "ADDRESS", requires = "trace", value_parser = number)]
    pub trace_cr3: Option<u64>,

    /// Begin at count:N, at:ADDRESS or port:PORT (when it is written)
    #[arg(long, value_name = "WHEN", requires = "trace", value_parser = trigger)]
    pub trace_start: Option<Trigger>,

    /// End likewise
    #[arg(long, value_name = "WHEN", requires = "trace", value_parser = trigger)]
    pub trace_stop: Option<Trigger>,

    /// Of every N instructions record M: M/N
    #[arg(long, value_name = "M/N", requires = "trace", value_parser = sample)]
    pub trace_sample: Option<(u64, u64)>,

    /// Leave memory accesses out
    #[arg(long, requires = "trace")]
    pub trace_no_memory: bool,

    /// Leave changes of vector and x87 registers out
    #[arg(long, requires = "trace")]
    pub trace_no_vectors: bool,
}

impl TraceArgs {
    /// What is recorded.
    pub fn filter(&self) -> Filter {
        Filter {
            linear: self.trace_range.clone(),
            physical: self.trace_physical.clone(),
            levels: self.trace_cpl.iter().fold(0, |levels, level| levels | 1 << level),
            cr3: self.trace_cr3,
            start: self.trace_start,
            stop: self.trace_stop,
            sample: self.trace_sample,
            no_memory: self.trace_no_memory,
            no_vectors: self.trace_no_vectors,
        }
    }
}

/// A number, decimal or with 0x in front.
pub fn number(text: &str) -> Result<u64, String> {
    let plain = text.replace('_', "");
    let parsed = match plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => plain.parse(),
    };
    parsed.map_err(|_| "expected a number, such as 4096 or 0x1000".into())
}

fn range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let expected =
        || "expected an address, FIRST-LAST or FIRST+BYTES, such as 0x1000-0x1fff or 0x1000+4096".to_owned();
    let (first, last) = if let Some((first, last)) = text.split_once('-') {
        (number(first)?, number(last)?)
    } else {
        let (first, bytes) = text.split_once('+').unwrap_or((text, "1"));
        let (first, bytes) = (number(first)?, number(bytes)?);
        (first, first.checked_add(bytes.checked_sub(1).ok_or_else(expected)?).ok_or_else(expected)?)
    };
    if first > last {
        return Err(expected());
    }
    Ok(first..=last)
}

fn trigger(text: &str) -> Result<Trigger, String> {
    let expected = "expected count:N, at:ADDRESS or port:PORT";
    let (kind, value) = text.split_once(':').ok_or(expected)?;
    let value = number(value)?;
    match kind {
        "count" => Ok(Trigger::Count(value)),
        "at" => Ok(Trigger::Address(value)),
        "port" => u16::try_from(value).map(Trigger::Port).map_err(|_| expected.into()),
        _ => Err(expected.into()),
    }
}

fn sample(text: &str) -> Result<(u64, u64), String> {
    let expected = || "expected M/N with M from 1 to N, such as 1000/1000000".to_owned();
    let (length, every) = text.split_once('/').ok_or_else(expected)?;
    let (length, every) = (number(length)?, number(every)?);
    if length == 0 || length > every {
        return Err(expected());
    }
    Ok((every, length))
}

/// Options of `emu trace`.
#[derive(Clone, Debug, Args)]
pub struct ReadArgs {
    /// What to do with the trace
    #[command(subcommand)]
    pub what: Query,
}

/// A part of a trace, and how instructions are shown.
#[derive(Clone, Debug, Args)]
pub struct Part {
    /// The trace
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// From this count of retired instructions on
    #[arg(long, value_name = "COUNT", value_parser = number)]
    pub from: Option<u64>,

    /// Up to this count
    #[arg(long, value_name = "COUNT", value_parser = number)]
    pub to: Option<u64>,

    /// Syntax of instructions
    #[arg(long, value_name = "SYNTAX", default_value = "intel")]
    pub syntax: Syntax,

    /// Names of addresses, from an ELF file or a System.map; FILE@OFFSET moves them
    #[arg(long = "symbols", value_name = "FILE[@OFFSET]")]
    pub symbols: Vec<String>,
}

/// `--syntax`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Syntax {
    /// Intel's.
    Intel,
    /// AT&T's.
    Att,
}

/// What is asked of a trace.
#[derive(Clone, Debug, Subcommand)]
pub enum Query {
    /// Instructions with what they changed
    Show(ShowArgs),
    /// Sizes, counts and the busiest instructions
    Stats(PartArgs),
    /// Instructions and events that match all that is asked for
    Grep(GrepArgs),
    /// The last write to an address
    WhoWrote(WhoWroteArgs),
    /// The last change of a register
    LastValue(LastValueArgs),
    /// The tree of calls
    Calls(CallsArgs),
    /// Which blocks ran, as a drcov file
    Coverage(OutputArgs),
    /// Folded stacks, or with --svg a picture of them
    Flame(FlameArgs),
    /// The first difference of two traces
    Diff(DiffArgs),
    /// The whole trace in another format
    Export(ExportArgs),
}

/// `show`.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// The part
    #[command(flatten)]
    pub part: Part,
    /// Show so many instructions at most
    #[arg(long, short = 'n', value_name = "N")]
    pub lines: Option<u64>,
    /// Leave registers and memory out
    #[arg(long)]
    pub brief: bool,
}

/// A part alone.
#[derive(Clone, Debug, Args)]
pub struct PartArgs {
    /// The part
    #[command(flatten)]
    pub part: Part,
}

/// `grep`.
#[derive(Clone, Debug, Args)]
pub struct GrepArgs {
    /// The part
    #[command(flatten)]
    pub part: Part,
    /// Instructions whose text has this in it
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Instructions at these linear addresses
    #[arg(long, value_name = "RANGE", value_parser = range)]
    pub at: Option<RangeInclusive<u64>>,
    /// Instructions within this symbol
    #[arg(long, value_name = "NAME")]
    pub symbol: Option<String>,
    /// Instructions that read these linear addresses
    #[arg(long, value_name = "RANGE", value_parser = range)]
    pub reads: Option<RangeInclusive<u64>>,
    /// Instructions that write these linear addresses
    #[arg(long, value_name = "RANGE", value_parser = range)]
    pub writes: Option<RangeInclusive<u64>>,
    /// Instructions that move this value to or from memory, or into a register (of a vector: one of its quadwords)
    #[arg(long, value_name = "VALUE", value_parser = number)]
    pub value: Option<u64>,
    /// Instructions of this privilege level
    #[arg(long, value_name = "LEVEL")]
    pub cpl: Option<u64>,
    /// Accesses to this port
    #[arg(long, value_name = "PORT", value_parser = number)]
    pub port: Option<u64>,
    /// Deliveries of this vector
    #[arg(long, value_name = "VECTOR", value_parser = number)]
    pub vector: Option<u64>,
}

/// `who-wrote`.
#[derive(Clone, Debug, Args)]
pub struct WhoWroteArgs {
    /// The trace
    #[command(flatten)]
    pub part: Part,
    /// The address, linear unless --physical
    #[arg(value_name = "ADDRESS", value_parser = number)]
    pub address: u64,
    /// Bytes from there on
    #[arg(long, value_name = "BYTES", default_value = "1", value_parser = number)]
    pub size: u64,
    /// Before this count [default: at the end]
    #[arg(long, value_name = "COUNT", value_parser = number)]
    pub before: Option<u64>,
    /// The address is a physical one
    #[arg(long)]
    pub physical: bool,
    /// All writes, oldest first
    #[arg(long)]
    pub all: bool,
}

/// `last-value`.
#[derive(Clone, Debug, Args)]
pub struct LastValueArgs {
    /// The trace
    #[command(flatten)]
    pub part: Part,
    /// The register: rax, rflags, cr3, fs.base, xmm0, ymm0h (bits 255:128), st0, fstat, mxcsr, ...
    #[arg(value_name = "REGISTER")]
    pub register: String,
    /// Before this count [default: at the end]
    #[arg(long, value_name = "COUNT", value_parser = number)]
    pub before: Option<u64>,
}

/// `calls`.
#[derive(Clone, Debug, Args)]
pub struct CallsArgs {
    /// The part
    #[command(flatten)]
    pub part: Part,
    /// Levels of calls that are shown
    #[arg(long, value_name = "N", default_value = "64")]
    pub depth: usize,
}

/// Something with an output file.
#[derive(Clone, Debug, Args)]
pub struct OutputArgs {
    /// The part
    #[command(flatten)]
    pub part: Part,
    /// Where to write [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `flame`.
#[derive(Clone, Debug, Args)]
pub struct FlameArgs {
    /// The part and where to write
    #[command(flatten)]
    pub output: OutputArgs,
    /// Draw an SVG
    #[arg(long)]
    pub svg: bool,
}

/// `diff`.
#[derive(Clone, Debug, Args)]
pub struct DiffArgs {
    /// One trace
    #[command(flatten)]
    pub part: Part,
    /// The other
    #[arg(value_name = "OTHER")]
    pub other: PathBuf,
    /// Instructions shown before the difference
    #[arg(long, value_name = "N", default_value = "5")]
    pub context: usize,
}

/// `export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// The part and where to write
    #[command(flatten)]
    pub output: OutputArgs,
    /// The format
    #[arg(long, value_name = "FORMAT")]
    pub format: Format,
}

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// As `show` prints it.
    Text,
    /// One JSON object a line.
    Json,
    /// A timeline of calls for Perfetto and Chrome.
    Perfetto,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_triggers_are_read() {
        assert_eq!(range("0x1000-0x1fff"), Ok(0x1000..=0x1fff));
        assert_eq!(range("0x1000+16"), Ok(0x1000..=0x100f));
        assert!(range("5-4").is_err() && range("5+0").is_err() && range("five").is_err());
        assert_eq!(range("0x46c"), Ok(0x46c..=0x46c));
        assert_eq!(trigger("count:10"), Ok(Trigger::Count(10)));
        assert_eq!(trigger("port:0x80"), Ok(Trigger::Port(0x80)));
        assert!(trigger("port:65536").is_err() && trigger("when:1").is_err());
        assert_eq!(sample("1/10"), Ok((10, 1)));
        assert!(sample("11/10").is_err() && sample("0/1").is_err());
    }
}
