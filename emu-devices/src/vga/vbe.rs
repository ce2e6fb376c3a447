//! The Bochs extension: linear modes by sixteen-bit registers at ports 1CEh (index) and 1CFh (data).
//!
//! Manual: "VBE Display Interface" of the Bochs VGA BIOS. Modelled: identification, modes of 8, 15, 16, 24 and 32
//! bits, virtual size and offsets, the bank at A0000h, eight-bit DAC. Left out: the four-bit mode.

/// Bytes of memory in units of 64 KiB.
const MEMORY_64K: u16 = (super::memory::MEMORY_SIZE >> 16) as u16;
const MAX_WIDTH: u16 = 2560;
const MAX_HEIGHT: u16 = 1600;
const MAX_DEPTH: u16 = 32;

const ID: u16 = 0;
const XRES: u16 = 1;
const YRES: u16 = 2;
const BPP: u16 = 3;
const ENABLE: u16 = 4;
const BANK: u16 = 5;
const VIRT_WIDTH: u16 = 6;
const VIRT_HEIGHT: u16 = 7;
const X_OFFSET: u16 = 8;
const Y_OFFSET: u16 = 9;
const VIDEO_MEMORY_64K: u16 = 10;

const NEWEST_ID: u16 = 0xb0c5;
const ENABLED: u16 = 0x01;
const GET_CAPABILITIES: u16 = 0x02;
const EIGHT_BIT_DAC: u16 = 0x20;
const NO_CLEAR: u16 = 0x80;

/// Index and registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vbe {
    pub index: u16,
    registers: [u16; 10],
}

/// What the rest of the chip has to do after a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Zero this many bytes of memory.
    pub clear: usize,
    /// Eight-bit DAC on or off.
    pub wide_dac: Option<bool>,
}

impl Default for Vbe {
    fn default() -> Self {
        let mut registers = [0; 10];
        registers[usize::from(ID)] = NEWEST_ID;
        Self { index: 0, registers }
    }
}

impl Vbe {
    fn get(&self, index: u16) -> u16 {
        self.registers[usize::from(index)]
    }

    fn set(&mut self, index: u16, value: u16) {
        self.registers[usize::from(index)] = value;
    }

    /// A linear mode is on.
    pub fn enabled(&self) -> bool {
        self.get(ENABLE) & ENABLED != 0
    }

    /// Reads a register.
    pub fn read(&self, index: u16) -> u16 {
        let capabilities = self.get(ENABLE) & GET_CAPABILITIES != 0;
        match index {
            XRES if capabilities => MAX_WIDTH,
            YRES if capabilities => MAX_HEIGHT,
            BPP if capabilities => MAX_DEPTH,
            VIDEO_MEMORY_64K => MEMORY_64K,
            _ => self.registers.get(usize::from(index)).copied().unwrap_or(0),
        }
    }

    /// Writes a register. Sizes that cannot be shown are refused.
    pub fn write(&mut self, index: u16, value: u16) -> Effect {
        let mut effect = Effect::default();
        match index {
            ID if (0xb0c0..=NEWEST_ID).contains(&value) => self.set(ID, value),
            XRES if !self.enabled() && value <= MAX_WIDTH => self.set(XRES, value),
            YRES if !self.enabled() && value <= MAX_HEIGHT => self.set(YRES, value),
            BPP if !self.enabled() && matches!(value, 8 | 15 | 16 | 24 | 32) => self.set(BPP, value),
            ENABLE => effect = self.enable(value),
            BANK if value < MEMORY_64K => self.set(BANK, value),
            VIRT_WIDTH if self.enabled() => self.set_virtual_width(value),
            X_OFFSET if self.enabled() && value <= self.get(VIRT_WIDTH) - self.get(XRES) => {
                self.set(X_OFFSET, value);
            }
            Y_OFFSET if self.enabled() && value <= self.get(VIRT_HEIGHT) - self.get(YRES) => {
                self.set(Y_OFFSET, value);
            }
            _ => {}
        }
        effect
    }

    fn enable(&mut self, value: u16) -> Effect {
        let was_enabled = self.enabled();
        let mut effect = Effect { clear: 0, wide_dac: Some(value & EIGHT_BIT_DAC != 0) };
        let shown = self.get(XRES) != 0 && self.get(YRES) != 0 && self.get(BPP) != 0;
        let bytes = usize::from(self.get(XRES)) * usize::from(self.get(YRES)) * self.bytes_per_pixel();
        let fits = shown && bytes <= super::memory::MEMORY_SIZE;
        self.set(ENABLE, if fits { value } else { value & !ENABLED });
        if self.enabled() && !was_enabled {
            for index in [BANK, X_OFFSET, Y_OFFSET] {
                self.set(index, 0);
            }
            self.set_virtual_width(self.get(XRES));
            if value & NO_CLEAR == 0 {
                effect.clear = bytes;
            }
        }
        effect
    }

    fn set_virtual_width(&mut self, width: u16) {
        let pitch = usize::from(width) * self.bytes_per_pixel();
        let height = super::memory::MEMORY_SIZE / pitch.max(1);
        if width < self.get(XRES) || height < usize::from(self.get(YRES)) {
            return;
        }
        self.set(VIRT_WIDTH, width);
        self.set(VIRT_HEIGHT, height.min(0xffff) as u16);
        self.set(X_OFFSET, 0);
        self.set(Y_OFFSET, 0);
    }

    /// Width and height of the picture.
    pub fn size(&self) -> (usize, usize) {
        (self.get(XRES).into(), self.get(YRES).into())
    }

    /// Bits of a pixel.
    pub fn depth(&self) -> u16 {
        self.get(BPP)
    }

    /// Bytes that a pixel takes in memory.
    pub fn bytes_per_pixel(&self) -> usize {
        usize::from(self.depth().div_ceil(8))
    }

    /// Where in memory a row of the picture begins.
    pub fn row(&self, y: usize) -> usize {
        let row = (usize::from(self.get(Y_OFFSET)) + y) * usize::from(self.get(VIRT_WIDTH));
        (row + usize::from(self.get(X_OFFSET))) * self.bytes_per_pixel()
    }

    /// Where in memory the window at A0000h begins.
    pub fn bank(&self) -> usize {
        usize::from(self.get(BANK)) << 16
    }
}
