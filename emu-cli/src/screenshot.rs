//! `--screenshot FILE.png`.

use std::fs::File;
use std::io::BufWriter;

use anyhow::{Context, Result};
use emu_devices::vga::Image;
use png::{BitDepth, ColorType, Encoder};

/// Writes a picture of the screen as PNG. A screen that is off is one black pixel.
///
/// # Errors
/// When the file cannot be written.
pub fn write(picture: &Image, file: File) -> Result<()> {
    let off = Image { width: 1, height: 1, rgb: vec![0; 3] };
    let picture = if picture.rgb.is_empty() { &off } else { picture };
    let (width, height) = (u32::try_from(picture.width)?, u32::try_from(picture.height)?);
    let mut encoder = Encoder::new(BufWriter::new(file), width, height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header().context("it cannot be written")?;
    writer.write_image_data(&picture.rgb).context("it cannot be written")?;
    writer.finish().context("it cannot be written")
}
