//! The workloads: what they are called, what they are about, and their program, which the C compiler makes.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What a workload mostly is about; means are taken over each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Integers, branches, memory.
    Integer,
    /// Floating point and vectors.
    Float,
    /// Copies by repeated string instructions.
    Rep,
    /// System calls, processes, faults, code that changes.
    System,
    /// From the start of the process to the guest's program.
    Boot,
}

/// One workload.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// As in the program.
    pub name: &'static str,
    /// What it is about.
    pub class: Class,
    /// In a few words, for `--list`.
    pub about: &'static str,
}

/// The name of the boot itself.
pub const BOOT: &str = "boot";

const fn of(name: &'static str, class: Class, about: &'static str) -> Workload {
    Workload { name, class, about }
}

/// All of them, in the order in which they run and are shown.
pub const WORKLOADS: [Workload; 29] = [
    of(BOOT, Class::Boot, "from the start of the process to the guest's first program"),
    of("crc", Class::Integer, "CRC-32 by table"),
    of("sort", Class::Integer, "qsort of 150,000 integers"),
    of("calls", Class::Integer, "Fibonacci by recursion"),
    of("sieve", Class::Integer, "sieve of Eratosthenes in 1 MB"),
    of("bytecode", Class::Integer, "bytecode interpreter with a switch"),
    of("sha256", Class::Integer, "SHA-256 of 2 MB"),
    of("compress", Class::Integer, "compression and its reverse: hash chains, range coder"),
    of("lua-like", Class::Integer, "small scripting language: tree of closures, tables"),
    of("strings", Class::Integer, "the C library's string functions"),
    of("chase", Class::Integer, "pointers through 8 MB at random"),
    of("memcpy", Class::Integer, "the C library's memcpy, 2 MB at a time"),
    of("matrix-double", Class::Float, "matrix product, double"),
    of("matrix-single", Class::Float, "matrix product, single"),
    of("mandelbrot", Class::Float, "Mandelbrot set in scalar SSE2"),
    of("nbody-sse2", Class::Float, "five bodies in SSE2"),
    of("nbody-x87", Class::Float, "five bodies in x87"),
    of("x87-functions", Class::Float, "FSINCOS and FYL2X"),
    of("simd-sse2", Class::Float, "integer vectors with SSE2"),
    of("simd-avx2", Class::Float, "integer vectors with AVX2"),
    of("simd-fma", Class::Float, "scalar product with FMA"),
    of("rep-movsb", Class::Rep, "REP MOVSB of 4 KB blocks"),
    of("rep-stosb", Class::Rep, "REP STOSB of 4 KB blocks"),
    of("syscalls", Class::System, "60,000 system calls"),
    of("fork-wait", Class::System, "200 times fork and wait"),
    of("pipes", Class::System, "4,000 bytes to another process and back"),
    of("page-faults", Class::System, "6,144 pages touched for the first time"),
    of("self-modify", Class::System, "150,000 changes of code that then runs"),
    of("script", Class::System, "shell script that starts 40 processes"),
];

/// What the bundled kernel can do; the names are commands of its shell.
pub const KERNEL_WORKLOADS: [Workload; 3] = [
    of(BOOT, Class::Boot, "from the start of the process to the shell's prompt"),
    of("run primes 300000", Class::Integer, "primes by trial division, in user mode"),
    of("selftest", Class::System, "the kernel's self-test: exceptions, paging, segments, devices"),
];

macro_rules! sources {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../benches/workloads/", $name)))),*]
    };
}

/// The program's source.
const SOURCES: [(&str, &str); 10] = sources!("work.h" "main.c" "integer.c" "memory.c" "float.c" "vectors.c" "system.c"
                                            "compress.c" "script.c" "curves.c");

/// The statically linked program for 64 or 32 bits, compiled when it is not there yet.
///
/// # Errors
/// When there is no C compiler for it.
pub fn program(cache: &Path, bits: u32) -> Result<PathBuf, Error> {
    let options: &[&str] = match bits {
        64 => &["-m64", "-O2", "-static"],
        _ => &["-m32", "-O2", "-msse2", "-static"],
    };
    let mut hasher = DefaultHasher::new();
    (SOURCES, options).hash(&mut hasher);
    let folder = cache.join(format!("workloads-{:016x}", hasher.finish()));
    let program = folder.join(format!("work{bits}"));
    if program.exists() {
        return Ok(program);
    }
    fs::create_dir_all(&folder).map_err(Error::host(folder.display()))?;
    for (name, text) in SOURCES {
        let path = folder.join(name);
        fs::write(&path, text).map_err(Error::host(path.display()))?;
    }
    let part = folder.join(format!("part-{}", std::process::id()));
    let output = Command::new("cc")
        .args(options)
        .args(SOURCES.iter().map(|(name, _)| name).filter(|name| name.ends_with(".c")))
        .arg("-o")
        .arg(&part)
        .arg("-lm")
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .map_err(Error::host("cc"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let first = errors.lines().find(|line| line.contains("error")).unwrap_or("it failed");
        let hint = if bits == 32 { " (Debian package gcc-multilib)" } else { "" };
        return Err(Error::Missing(format!("cc {}: {first}{hint}", options.join(" "))));
    }
    // Renamed when it is complete, so that what lies there can be used.
    fs::rename(&part, &program).map_err(Error::host(program.display()))?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_the_program() {
        for (n, workload) in WORKLOADS.iter().enumerate() {
            assert!(WORKLOADS[..n].iter().all(|other| other.name != workload.name));
            let quoted = format!("{{\"{}\",", workload.name);
            assert!(
                workload.name == BOOT || SOURCES.iter().any(|(_, text)| text.contains(&quoted)),
                "{} is in the program",
                workload.name
            );
        }
    }
}
