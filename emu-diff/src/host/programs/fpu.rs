//! State of x87 and vectors in one form: as a processor's XSAVE area has it, and as an engine has it.

use emu_core::cpu::fpu::{Fpu, YMM_AREA};
use emu_core::softfloat::F80;

/// Bytes of an XSAVE area with x87, SSE and AVX.
pub const AREA: usize = YMM_AREA + 256;

/// All of it but the x87 pointers, which a host's kernel may lose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Control word.
    pub control: u16,
    /// Status word.
    pub status: u16,
    /// The abridged tag word.
    pub valid: u8,
    /// ST(0) to ST(7), the empty ones too.
    pub st: [[u8; 10]; 8],
    /// MXCSR.
    pub mxcsr: u32,
    /// YMM0 to YMM15.
    pub vectors: [[u64; 4]; 16],
}

fn quadword(area: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(area[at..at + 8].try_into().expect("eight bytes"))
}

impl State {
    /// The area that XRSTOR loads it from.
    pub fn area(&self) -> [u8; AREA] {
        let mut area = [0; AREA];
        let mut put = |at: usize, bytes: &[u8]| area[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.control.to_le_bytes());
        put(2, &self.status.to_le_bytes());
        put(4, &[self.valid]);
        put(24, &self.mxcsr.to_le_bytes());
        put(512, &[7]);
        for (n, st) in self.st.iter().enumerate() {
            put(32 + 16 * n, st);
        }
        for (n, vector) in self.vectors.iter().enumerate() {
            for (at, value) in [160, 168, YMM_AREA, YMM_AREA + 8].into_iter().zip(vector) {
                put(at + 16 * n, &value.to_le_bytes());
            }
        }
        area
    }

    /// Takes it out of an area. Components that are not in use are as after a reset.
    pub fn of_area(area: &[u8; AREA]) -> Self {
        let word = |at: usize| u16::from_le_bytes([area[at], area[at + 1]]);
        let in_use = |component: usize| area[512] & 1 << component != 0;
        let mut state = Self { control: 0x37f, mxcsr: quadword(area, 24) as u32, ..Self::default() };
        if in_use(0) {
            (state.control, state.status, state.valid) = (word(0), word(2), area[4]);
            for (n, st) in state.st.iter_mut().enumerate() {
                st.copy_from_slice(&area[32 + 16 * n..42 + 16 * n]);
            }
        }
        for (n, vector) in state.vectors.iter_mut().enumerate() {
            if in_use(1) {
                (vector[0], vector[1]) = (quadword(area, 160 + 16 * n), quadword(area, 168 + 16 * n));
            }
            if in_use(2) {
                let at = YMM_AREA + 16 * n;
                (vector[2], vector[3]) = (quadword(area, at), quadword(area, at + 8));
            }
        }
        state
    }

    /// Gives it to a processor.
    pub fn load(&self, fpu: &mut Fpu) {
        fpu.init();
        (fpu.control, fpu.status, fpu.valid) = (self.control, self.status & !0x3800, self.valid);
        fpu.top = (self.status >> 11 & 7) as u8;
        fpu.mxcsr = self.mxcsr;
        for (n, st) in self.st.iter().enumerate() {
            let significand = quadword(st, 0);
            fpu.regs[(usize::from(fpu.top) + n) % 8] =
                F80 { significand, sign_exponent: u16::from_le_bytes([st[8], st[9]]) };
        }
        for (to, from) in fpu.vectors.iter_mut().zip(&self.vectors) {
            to[..4].copy_from_slice(from);
        }
    }

    /// Takes it from one.
    pub fn of(fpu: &Fpu) -> Self {
        Self {
            control: fpu.control,
            status: fpu.status_word(),
            valid: fpu.valid,
            st: std::array::from_fn(|n| fpu.regs[(usize::from(fpu.top) + n) % 8].to_bytes()),
            mxcsr: fpu.mxcsr,
            vectors: std::array::from_fn(|n| fpu.vectors[n][..4].try_into().expect("four quadwords")),
        }
    }

    /// What a guest has that is not as the host has it.
    pub fn differences(&self, guest: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let words = |s: &Self| {
            [
                ("FCW", s.control.into()),
                ("FSW", s.status.into()),
                ("tags", s.valid.into()),
                ("MXCSR", s.mxcsr),
            ]
        };
        for ((name, h), (_, g)) in words(self).into_iter().zip(words(guest)) {
            if h != g {
                found.push(format!("{name}: {g:x}, not {h:x}"));
            }
        }
        let registers = self.st.iter().zip(&guest.st).enumerate().filter(|(_, (h, g))| h != g);
        found.extend(registers.map(|(n, (h, g))| format!("st{n}: {g:02x?}, not {h:02x?}")));
        let vectors = self.vectors.iter().zip(&guest.vectors).enumerate().filter(|(_, (h, g))| h != g);
        found.extend(vectors.map(|(n, (h, g))| format!("ymm{n}: {g:x?}, not {h:x?}")));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_passes_through_both_forms() {
        let mut state =
            State { control: 0x27f, status: 0x1a45, valid: 0x81, mxcsr: 0x1fa0, ..State::default() };
        for (n, st) in (1..).zip(&mut state.st) {
            *st = [n; 10];
        }
        for (n, vector) in (1..).zip(&mut state.vectors) {
            *vector = [n, n << 8, n << 16, n << 24];
        }
        assert_eq!(State::of_area(&state.area()), state);
        let mut fpu = Fpu::default();
        state.load(&mut fpu);
        assert_eq!(State::of(&fpu), state);
        assert_eq!(fpu.regs[3].to_bytes(), [1; 10]);
    }
}
