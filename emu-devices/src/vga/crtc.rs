//! CRT controller: timing, the order in which memory is shown, the cursor. Ports 3D4h and 3D5h (3B4h, 3B5h).

const HORIZONTAL_TOTAL: usize = 0x00;
const HORIZONTAL_DISPLAY_END: usize = 0x01;
const VERTICAL_TOTAL: usize = 0x06;
const OVERFLOW: usize = 0x07;
const PRESET_ROW_SCAN: usize = 0x08;
const MAXIMUM_SCAN_LINE: usize = 0x09;
const CURSOR_START: usize = 0x0a;
const CURSOR_END: usize = 0x0b;
const START_ADDRESS_HIGH: usize = 0x0c;
const START_ADDRESS_LOW: usize = 0x0d;
const CURSOR_LOCATION_HIGH: usize = 0x0e;
const CURSOR_LOCATION_LOW: usize = 0x0f;
const VERTICAL_RETRACE_START: usize = 0x10;
const VERTICAL_RETRACE_END: usize = 0x11;
const VERTICAL_DISPLAY_END: usize = 0x12;
const OFFSET: usize = 0x13;
const UNDERLINE_LOCATION: usize = 0x14;
const MODE_CONTROL: usize = 0x17;
const LINE_COMPARE: usize = 0x18;

/// Vertical retrace end: registers 0 to 7 cannot be written, but for bit 4 of the overflow register.
const PROTECT: u8 = 1 << 7;
const LINE_COMPARE_8: u8 = 1 << 4;
/// Cursor start: no cursor.
const CURSOR_OFF: u8 = 1 << 5;
/// Underline location: addresses count by four, addresses are doublewords.
const COUNT_BY_4: u8 = 1 << 5;
const DOUBLEWORD: u8 = 1 << 6;
/// Mode control: address bits 13 and 14 are not row-scan bits; count by two; word mode; wrap at bit 15; bytes.
const BIT_13: u8 = 1 << 0;
const BIT_14: u8 = 1 << 1;
const LINES_BY_2: u8 = 1 << 2;
const COUNT_BY_2: u8 = 1 << 3;
const WRAP_15: u8 = 1 << 5;
const BYTE_MODE: u8 = 1 << 6;

/// Index and registers CR00 to CR18.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crtc {
    pub index: u8,
    registers: [u8; 0x19],
}

/// One scan line of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLine {
    /// Address counter at the left edge.
    pub address: u32,
    /// Scan line within the row of characters.
    pub row_scan: u8,
    /// At or after the line compare.
    pub split: bool,
}

impl Crtc {
    pub fn read(&self) -> Option<u8> {
        self.registers.get(usize::from(self.index)).copied()
    }

    pub fn write(&mut self, value: u8) {
        let index = usize::from(self.index);
        let protected = self.registers[VERTICAL_RETRACE_END] & PROTECT != 0;
        let Some(register) = self.registers.get_mut(index) else { return };
        match index {
            OVERFLOW if protected => *register = *register & !LINE_COMPARE_8 | value & LINE_COMPARE_8,
            HORIZONTAL_TOTAL..=OVERFLOW if protected => {}
            _ => *register = value,
        }
    }

    fn register(&self, index: usize) -> u32 {
        u32::from(self.registers[index])
    }

    fn bit(&self, index: usize, bit: u32) -> u32 {
        self.register(index) >> bit & 1
    }

    /// A ten-bit vertical value: its register, and bits 8 and 9 in the overflow register.
    fn vertical(&self, index: usize, bit_8: u32, bit_9: u32) -> u32 {
        self.register(index) | self.bit(OVERFLOW, bit_8) << 8 | self.bit(OVERFLOW, bit_9) << 9
    }

    /// Character clocks in a line.
    pub fn horizontal_total(&self) -> u32 {
        self.register(HORIZONTAL_TOTAL) + 5
    }

    /// Character clocks shown in a line.
    pub fn horizontal_display(&self) -> u32 {
        self.register(HORIZONTAL_DISPLAY_END) + 1
    }

    fn lines(&self, count: u32) -> u32 {
        if self.registers[MODE_CONTROL] & LINES_BY_2 != 0 { 2 * count } else { count }
    }

    /// Lines in a frame.
    pub fn vertical_total(&self) -> u32 {
        self.lines(self.vertical(VERTICAL_TOTAL, 0, 5) + 2)
    }

    /// Lines shown in a frame.
    pub fn vertical_display(&self) -> u32 {
        self.lines(self.vertical(VERTICAL_DISPLAY_END, 1, 6) + 1)
    }

    /// True in the lines of the vertical retrace. Its end is told by the lowest four bits.
    pub fn vertical_retrace(&self, line: u32) -> bool {
        let start = self.vertical(VERTICAL_RETRACE_START, 2, 7);
        let length = self.register(VERTICAL_RETRACE_END).wrapping_sub(start) & 0x0f;
        (self.lines(start)..self.lines(start + length)).contains(&line)
    }

    fn line_compare(&self) -> u32 {
        let low = self.register(LINE_COMPARE) | self.bit(OVERFLOW, 4) << 8;
        self.lines(low | self.bit(MAXIMUM_SCAN_LINE, 6) << 9)
    }

    /// Scan lines in a row of characters.
    pub fn row_height(&self) -> u8 {
        (self.registers[MAXIMUM_SCAN_LINE] & 0x1f) + 1
    }

    fn start_address(&self) -> u32 {
        self.register(START_ADDRESS_HIGH) << 8 | self.register(START_ADDRESS_LOW)
    }

    /// What each line of the picture shows, from the top.
    pub fn scan_lines(&self) -> impl Iterator<Item = ScanLine> {
        let repeat = 1 + self.bit(MAXIMUM_SCAN_LINE, 7);
        let (pitch, height) = (2 * self.register(OFFSET), self.row_height());
        let compare = self.line_compare();
        let byte_panning = self.register(PRESET_ROW_SCAN) >> 5 & 3;
        let mut line = ScanLine {
            address: self.start_address() + byte_panning,
            row_scan: (self.registers[PRESET_ROW_SCAN] & 0x1f) % height,
            split: false,
        };
        let mut repeated = 0;
        (0..self.vertical_display()).map(move |number| {
            let shown = line;
            repeated += 1;
            if number == compare {
                line = ScanLine { address: 0, row_scan: 0, split: true };
                repeated = 0;
            } else if repeated == repeat {
                repeated = 0;
                line.row_scan += 1;
                if line.row_scan >= height {
                    line.row_scan = 0;
                    line.address = line.address.wrapping_add(pitch);
                }
            }
            shown
        })
    }

    /// Address counter of a character clock of a line.
    pub fn counter(&self, line: ScanLine, column: u32) -> u32 {
        let column = if self.registers[UNDERLINE_LOCATION] & COUNT_BY_4 != 0 {
            column / 4
        } else if self.registers[MODE_CONTROL] & COUNT_BY_2 != 0 {
            column / 2
        } else {
            column
        };
        line.address.wrapping_add(column) & 0xffff
    }

    /// Offset within the planes that a counter value stands for.
    pub fn offset(&self, counter: u32, row_scan: u8) -> u32 {
        let mode = self.registers[MODE_CONTROL];
        let mut offset = if self.registers[UNDERLINE_LOCATION] & DOUBLEWORD != 0 {
            counter << 2 | counter >> 12 & 3
        } else if mode & BYTE_MODE != 0 {
            counter
        } else {
            counter << 1 | counter >> (if mode & WRAP_15 != 0 { 15 } else { 13 }) & 1
        };
        if mode & BIT_13 == 0 {
            offset = offset & !(1 << 13) | u32::from(row_scan & 1) << 13;
        }
        if mode & BIT_14 == 0 {
            offset = offset & !(1 << 14) | u32::from(row_scan >> 1 & 1) << 14;
        }
        offset & 0xffff
    }

    /// Address counter of the cursor, unless it is switched off.
    pub fn cursor(&self) -> Option<u32> {
        let on = self.registers[CURSOR_START] & CURSOR_OFF == 0;
        let start = self.registers[CURSOR_START] & 0x1f;
        let visible = on && start <= self.registers[CURSOR_END] & 0x1f && start < self.row_height();
        let skew = self.register(CURSOR_END) >> 5 & 3;
        let location = self.register(CURSOR_LOCATION_HIGH) << 8 | self.register(CURSOR_LOCATION_LOW);
        visible.then_some(location.wrapping_add(skew) & 0xffff)
    }

    /// True in the scan lines that the cursor covers.
    pub fn cursor_covers(&self, row_scan: u8) -> bool {
        let [start, end] = [CURSOR_START, CURSOR_END].map(|index| self.registers[index] & 0x1f);
        (start..=end).contains(&row_scan)
    }

    /// Scan line of the underline.
    pub fn underline(&self) -> u8 {
        self.registers[UNDERLINE_LOCATION] & 0x1f
    }
}
