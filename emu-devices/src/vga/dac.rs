//! Video DAC: 256 colours of three times six bits (eight, if the Bochs extension says so). Ports 3C6h to 3C9h.

/// Colours, indices and the place within a colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dac {
    colors: [[u8; 3]; 256],
    /// PEL mask.
    pub mask: u8,
    read_index: u8,
    write_index: u8,
    /// Components read or written of the colour under way.
    component: usize,
    written: [u8; 3],
    /// The last index written was for reading.
    reading: bool,
    /// Components have eight bits.
    pub wide: bool,
}

impl Default for Dac {
    fn default() -> Self {
        Self {
            colors: [[0; 3]; 256],
            mask: 0xff,
            read_index: 0,
            write_index: 0,
            component: 0,
            written: [0; 3],
            reading: false,
            wide: false,
        }
    }
}

impl Dac {
    pub fn set_read_index(&mut self, index: u8) {
        (self.read_index, self.component, self.reading) = (index, 0, true);
    }

    pub fn set_write_index(&mut self, index: u8) {
        (self.write_index, self.component, self.reading) = (index, 0, false);
    }

    pub fn write_index(&self) -> u8 {
        self.write_index
    }

    /// DAC state: 3 while reading, 0 while writing.
    pub fn state(&self) -> u8 {
        if self.reading { 3 } else { 0 }
    }

    /// The next component. After blue comes the next colour.
    pub fn read(&mut self) -> u8 {
        let value = self.colors[usize::from(self.read_index)][self.component];
        self.component += 1;
        if self.component == 3 {
            self.component = 0;
            self.read_index = self.read_index.wrapping_add(1);
        }
        value
    }

    /// The next component. A colour changes when its blue arrives.
    pub fn write(&mut self, value: u8) {
        self.written[self.component] = if self.wide { value } else { value & 0x3f };
        self.component += 1;
        if self.component == 3 {
            self.component = 0;
            self.colors[usize::from(self.write_index)] = self.written;
            self.write_index = self.write_index.wrapping_add(1);
        }
    }

    /// The colour of an index after the PEL mask, eight bits for each component.
    pub fn rgb(&self, index: u8) -> [u8; 3] {
        let color = self.colors[usize::from(index & self.mask)];
        if self.wide { color } else { color.map(|part| part << 2 | part >> 4) }
    }
}
