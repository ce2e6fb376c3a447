//! Operands of vector instructions: XMM and MMX registers, and memory of 128 bits and less.

use crate::cpu::{Cpu, Fallible, Fault, Width};
use crate::interp::op::Op;
use crate::mem::PAGE_SIZE;

/// Exponent and sign of an x87 register whose significand an MMX instruction wrote.
const MMX_EXPONENT: u16 = 0xffff;

impl Cpu {
    /// Bits 127:0 of a vector register.
    #[inline(always)]
    pub fn xmm(&self, number: u8) -> u128 {
        let vector = &self.fpu.vectors[usize::from(number & 31)];
        u128::from(vector[0]) | u128::from(vector[1]) << 64
    }

    /// Writes bits 127:0 of a vector register and keeps those above, as legacy SSE instructions do.
    #[inline(always)]
    pub fn set_xmm(&mut self, number: u8, value: u128) {
        let vector = &mut self.fpu.vectors[usize::from(number & 31)];
        vector[0] = value as u64;
        vector[1] = (value >> 64) as u64;
    }

    /// Low bits of a vector register.
    #[inline(always)]
    pub fn xmm_low<W: Width>(&self, number: u8) -> W {
        W::from_u64(self.fpu.vectors[usize::from(number & 31)][0])
    }

    /// Writes the low bits of a vector register and keeps the others.
    #[inline(always)]
    pub fn set_xmm_low<W: Width>(&mut self, number: u8, value: W) {
        let low = &mut self.fpu.vectors[usize::from(number & 31)][0];
        *low = *low & !W::MASK | value.u64();
    }

    /// An MMX register.
    #[inline(always)]
    pub fn mmx(&self, number: u8) -> u64 {
        self.fpu.regs[usize::from(number & 7)].significand
    }

    /// Writes an MMX register: the exponent becomes all ones. SDM vol. 1, "MMX Instructions and the x87 FPU".
    #[inline(always)]
    pub fn set_mmx(&mut self, number: u8, value: u64) {
        let register = &mut self.fpu.regs[usize::from(number & 7)];
        register.significand = value;
        register.sign_exponent = MMX_EXPONENT;
    }

    /// What every MMX instruction but EMMS does to the x87 state: TOP = 0, all registers valid.
    #[inline(always)]
    pub fn enter_mmx(&mut self) {
        self.fpu.top = 0;
        self.fpu.valid = 0xff;
    }

    /// Reads 128 bits as legacy SSE does. `ALIGNED`: #GP(0) unless the address is a multiple of 16.
    ///
    /// # Errors
    /// Segment violations, #GP(0), #PF, #AC.
    #[inline(always)]
    pub fn read_vector<const ALIGNED: bool>(&mut self, segment: usize, offset: u64) -> Fallible<u128> {
        let linear = self.linear(segment, offset, 16, false)?;
        self.read_linear_vector::<ALIGNED>(segment, linear)
    }

    /// The same at a linear address, after the segment's checks.
    ///
    /// # Errors
    /// #GP(0), #PF, #AC.
    #[inline(always)]
    pub fn read_linear_vector<const ALIGNED: bool>(&mut self, segment: usize, linear: u64) -> Fallible<u128> {
        if ALIGNED && linear & 15 != 0 {
            return Err(Fault::GP0);
        }
        if let Some(value) = self.read_vector_quickly(linear) {
            return Ok(value);
        }
        self.read_vector_slow::<true>(segment, linear)
    }

    /// Reads 128 bits as VEX-encoded instructions do, to which alignment checks do not apply.
    ///
    /// # Errors
    /// #GP(0) or #SS(0) for an address that is not canonical, #PF.
    #[inline(always)]
    pub fn read_vex_vector(&mut self, segment: usize, linear: u64) -> Fallible<u128> {
        if let Some(value) = self.read_vector_quickly(linear) {
            return Ok(value);
        }
        self.read_vector_slow::<false>(segment, linear)
    }

    #[inline(always)]
    fn read_vector_quickly(&mut self, linear: u64) -> Option<u128> {
        let entry = self.tlb.read(self.context, linear);
        let within = linear.wrapping_sub(entry.tag);
        (within <= PAGE_SIZE - 16).then(|| self.ram.load((entry.host + within) as usize))
    }

    #[cold]
    #[inline(never)]
    fn read_vector_slow<const CHECKED: bool>(&mut self, segment: usize, linear: u64) -> Fallible<u128> {
        let read = if CHECKED { Self::read_slow } else { Self::read_slow_at_any_alignment };
        let low = read(self, segment, linear, 8)?;
        let high = read(self, segment, linear.wrapping_add(8) & self.linear_mask, 8)?;
        Ok(u128::from(low) | u128::from(high) << 64)
    }

    /// Writes 128 bits as legacy SSE does. `ALIGNED`: #GP(0) unless the address is a multiple of 16.
    ///
    /// # Errors
    /// Segment violations, #GP(0), #PF, #AC; nothing is written then.
    #[inline(always)]
    pub fn write_vector<const ALIGNED: bool>(
        &mut self,
        segment: usize,
        offset: u64,
        value: u128,
    ) -> Fallible {
        let linear = self.linear(segment, offset, 16, true)?;
        if ALIGNED && linear & 15 != 0 {
            return Err(Fault::GP0);
        }
        if self.write_vector_quickly(linear, value) {
            return Ok(());
        }
        self.write_vector_slow(segment, offset, linear, value)
    }

    /// Writes 128 bits as VEX-encoded instructions do, to which alignment checks do not apply.
    ///
    /// # Errors
    /// Segment violations, #PF; nothing is written then.
    #[inline(always)]
    pub fn write_vex_vector(&mut self, segment: usize, offset: u64, value: u128) -> Fallible {
        let linear = self.linear(segment, offset, 16, true)?;
        if self.write_vector_quickly(linear, value) {
            return Ok(());
        }
        self.write_vex_vector_slow(segment, offset, linear, value)
    }

    /// False where the slow path must write.
    #[inline(always)]
    fn write_vector_quickly(&mut self, linear: u64, value: u128) -> bool {
        let entry = self.tlb.write(self.context, linear);
        let within = linear.wrapping_sub(entry.tag);
        if within > PAGE_SIZE - 16 {
            return false;
        }
        self.ram.store((entry.host + within) as usize, value);
        true
    }

    #[cold]
    #[inline(never)]
    fn write_vector_slow(&mut self, segment: usize, offset: u64, linear: u64, value: u128) -> Fallible {
        if !self.writable_observed(linear, 16) {
            self.probe_write(segment, offset, 16)?;
        }
        self.write_slow(segment, linear, 8, value as u64)?;
        self.write_slow(segment, linear.wrapping_add(8) & self.linear_mask, 8, (value >> 64) as u64)
    }

    #[cold]
    #[inline(never)]
    fn write_vex_vector_slow(&mut self, segment: usize, offset: u64, linear: u64, value: u128) -> Fallible {
        if !self.writable_observed(linear, 16) {
            self.probe_write_at_any_alignment(segment, offset, 16)?;
        }
        self.write_slow_at_any_alignment(segment, linear, 8, value as u64)?;
        let upper = linear.wrapping_add(8) & self.linear_mask;
        self.write_slow_at_any_alignment(segment, upper, 8, (value >> 64) as u64)
    }

    /// Reads one element of a vector that is spread over memory or masked, to which alignment checks do not apply.
    ///
    /// # Errors
    /// Segment violations, #PF.
    pub fn read_element<W: Width>(&mut self, segment: usize, offset: u64) -> Fallible<W> {
        let linear = self.linear(segment, offset, W::BYTES, false)?;
        let entry = self.tlb.read(self.context, linear);
        let within = linear.wrapping_sub(entry.tag);
        if within <= PAGE_SIZE - W::BYTES {
            return Ok(self.ram.load((entry.host + within) as usize));
        }
        Ok(W::from_u64(self.read_slow_at_any_alignment(segment, linear, W::BYTES)?))
    }

    /// Writes one element, likewise.
    ///
    /// # Errors
    /// Segment violations, #PF; nothing is written then.
    pub fn write_element<W: Width>(&mut self, segment: usize, offset: u64, value: W) -> Fallible {
        let linear = self.linear(segment, offset, W::BYTES, true)?;
        let entry = self.tlb.write(self.context, linear);
        let within = linear.wrapping_sub(entry.tag);
        if within <= PAGE_SIZE - W::BYTES {
            self.ram.store((entry.host + within) as usize, value);
            return Ok(());
        }
        self.write_slow_at_any_alignment(segment, linear, W::BYTES, value.u64())
    }
}

/// Where a vector instruction reads its source.
pub trait Source {
    /// All 128 bits.
    ///
    /// # Errors
    /// Faults of the memory access.
    fn vector(cpu: &mut Cpu, op: &Op) -> Fallible<u128>;

    /// `N` pieces of 128 bits; where the source has only one, all are equal.
    ///
    /// # Errors
    /// Faults of the memory access.
    #[inline(always)]
    fn pieces<const N: usize>(cpu: &mut Cpu, op: &Op) -> Fallible<[u128; N]> {
        Ok([Self::vector(cpu, op)?; N])
    }

    /// The low bits, all that scalar instructions read.
    ///
    /// # Errors
    /// Faults of the memory access.
    fn low<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W>;
}

/// Operand N is an XMM register.
#[derive(Clone, Copy, Debug)]
pub struct Xmm<const N: usize>;

/// Operand N is an MMX register.
#[derive(Clone, Copy, Debug)]
pub struct Mmx<const N: usize>;

/// Memory, which must be aligned where 128 bits are read.
#[derive(Clone, Copy, Debug)]
pub struct Aligned;

/// Memory at any address. Alignment checks apply to scalars only.
#[derive(Clone, Copy, Debug)]
pub struct Unaligned;

/// Memory at any address, subject to alignment checks: MOVUPS. The manual leaves it to the processor (SDM 3A,
/// "Alignment Check Exception (#AC)"); the host's processor makes them.
#[derive(Clone, Copy, Debug)]
pub struct Checked;

/// One vector of 128 bits for all pieces: the count of a shift.
#[derive(Clone, Copy, Debug)]
pub struct Shared<S>(S);

impl<S: Source> Source for Shared<S> {
    #[inline(always)]
    fn vector(cpu: &mut Cpu, op: &Op) -> Fallible<u128> {
        S::vector(cpu, op)
    }

    #[inline(always)]
    fn low<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W> {
        S::low(cpu, op)
    }
}

/// Memory of fewer than 128 bits, taken as a vector.
#[derive(Clone, Copy, Debug)]
pub struct Narrow<W>(W);

/// The immediate byte: the count of a shift.
#[derive(Clone, Copy, Debug)]
pub struct Count;

impl<const N: usize> Source for Xmm<N> {
    #[inline(always)]
    fn vector(cpu: &mut Cpu, op: &Op) -> Fallible<u128> {
        Ok(cpu.xmm(op.reg[N]))
    }

    #[inline(always)]
    fn pieces<const P: usize>(cpu: &mut Cpu, op: &Op) -> Fallible<[u128; P]> {
        Ok(cpu.pieces(op.reg[N]))
    }

    #[inline(always)]
    fn low<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W> {
        Ok(cpu.xmm_low(op.reg[N]))
    }
}

impl<const N: usize> Source for Mmx<N> {
    #[inline(always)]
    fn vector(cpu: &mut Cpu, op: &Op) -> Fallible<u128> {
        Ok(cpu.mmx(op.reg[N]).into())
    }

    #[inline(always)]
    fn low<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W> {
        Ok(W::from_u64(cpu.mmx(op.reg[N])))
    }
}

impl Source for Aligned {
    #[inline(always)]
    fn vector(cpu: &mut Cpu, op: &Op) -> Fallible<u128> {
        let linear = op.linear(cpu, 16, false)?;
        cpu.read_linear_vector::<true>(op.segment(), linear)
    }

    #[inline(always)]
    fn pieces<const N: usize>(cpu: &mut Cpu, op: &Op) -> Fallible<[u128; N]> {
        let size = 16 * N as u64;
        if op.linear(cpu, size, false)? & (size - 1) != 0 {
            return Err(Fault::GP0);
        }
        Unaligned::pieces(cpu, op)
    }

    #[inline(always)]
    fn low<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W> {
        let linear = op.linear(cpu, W::BYTES, false)?;
        cpu.read_linear(op.segment(), linear)
    }
}

impl Source for Checked {
    #[inline(always)]
    fn vector(cpu: &mut Cpu, op: &Op) -> Fallible<u128> {
        let linear = op.linear(cpu, 16, false)?;
        cpu.read_linear_vector::<false>(op.segment(), linear)
    }

    #[inline(always)]
    fn low<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W> {
        Unaligned::low(cpu, op)
    }
}

impl Source for Unaligned {
    #[inline(always)]
    fn vector(cpu: &mut Cpu, op: &Op) -> Fallible<u128> {
        let linear = op.linear(cpu, 16, false)?;
        cpu.read_vex_vector(op.segment(), linear)
    }

    #[inline(always)]
    fn pieces<const N: usize>(cpu: &mut Cpu, op: &Op) -> Fallible<[u128; N]> {
        let linear = op.linear(cpu, 16 * N as u64, false)?;
        let mut value = [0; N];
        for (i, piece) in value.iter_mut().enumerate() {
            let at = linear.wrapping_add(16 * i as u64) & cpu.linear_mask;
            *piece = cpu.read_vex_vector(op.segment(), at)?;
        }
        Ok(value)
    }

    #[inline(always)]
    fn low<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W> {
        let linear = op.linear(cpu, W::BYTES, false)?;
        cpu.read_linear(op.segment(), linear)
    }
}

impl<M: Width> Source for Narrow<M> {
    fn vector(cpu: &mut Cpu, op: &Op) -> Fallible<u128> {
        Ok(Unaligned::low::<M>(cpu, op)?.u64().into())
    }

    fn low<W: Width>(cpu: &mut Cpu, op: &Op) -> Fallible<W> {
        Unaligned::low(cpu, op)
    }
}

impl Source for Count {
    #[inline(always)]
    fn vector(_: &mut Cpu, op: &Op) -> Fallible<u128> {
        Ok(op.imm.into())
    }

    #[inline(always)]
    fn low<W: Width>(_: &mut Cpu, op: &Op) -> Fallible<W> {
        Ok(W::from_u64(op.imm))
    }
}
