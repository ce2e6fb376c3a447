//! SSE to SSE4.2, AES and SHA, AVX, AVX2, FMA and F16C, and the MMX instructions that share their mnemonics.
//!
//! The order of checks is that of SDM 2A, "Exception Conditions": #UD and #NM, then the memory operand with its
//! alignment, then the arithmetic exceptions. VEX encodings share the meanings; [`scheme`] has what they differ in.

pub mod aes;
pub mod arithmetic;
pub mod compare;
pub mod convert;
pub mod element;
pub mod exceptions;
pub mod float;
pub mod fma;
pub mod gather;
pub mod gfni;
pub mod integer;
pub mod lanes;
pub mod logic;
pub mod masked;
pub mod moves;
pub mod operand;
pub mod packed;
pub mod partial;
pub mod permute;
pub mod scheme;
pub mod sha;
pub mod shuffle;
pub mod state;
pub mod text;
