//! The disk: reading, and writing back in the scratch area, which is put back as it was.

use super::{Check, Outcome, Why, ensure};
use crate::ide::{self, DiskError, Form, WORDS};
use crate::irq::{self, line};
use crate::layout::{IMAGE_SECTORS, SCRATCH_LBA, SCRATCH_SECTORS};

/// Sectors in one transfer.
const COUNT: usize = 4;
type Sectors = [[u16; WORDS]; COUNT];
const BLANK: Sectors = [[0; WORDS]; COUNT];

pub const CHECKS: &[Check] = &[
    ("disk.identify", identify),
    ("disk.boot_sector", boot_sector),
    ("disk.interrupts", interrupts),
    ("disk.write_lba28", || write_back(Form::Lba28)),
    ("disk.write_lba48", || write_back(Form::Lba48)),
    ("disk.write_chs", || write_back(Form::Chs)),
    ("disk.out_of_range", out_of_range),
    ("disk.flush", || {
        ensure!(ide::flush(), "FLUSH CACHE failed");
        Ok(())
    }),
];

fn why(error: DiskError) -> Why {
    Why::new(format_args!("{error:?}"))
}

fn identify() -> Outcome {
    let Some(drive) = ide::drive() else {
        ensure!(false, "no drive");
        return Ok(());
    };
    ensure!(drive.sectors >= IMAGE_SECTORS as u64, "{} sectors", drive.sectors);
    ensure!(drive.model.iter().any(|&c| c != b' ' && c != 0), "no model name");
    ensure!(drive.heads > 0 && drive.sectors_per_track > 0, "no geometry");
    Ok(())
}

fn boot_sector() -> Outcome {
    let mut sector = [[0; WORDS]];
    for form in [Form::Lba28, Form::Lba48, Form::Chs] {
        ide::read(0, form, &mut sector).map_err(why)?;
        ensure!(sector[0][255] == 0xAA55, "{form:?}: the signature is {:#x}", sector[0][255]);
    }
    Ok(())
}

/// PIO reading interrupts once for each sector.
fn interrupts() -> Outcome {
    let before = irq::count(line::IDE);
    let mut sectors = BLANK;
    ide::read(0, Form::Lba28, &mut sectors).map_err(why)?;
    let came = irq::count(line::IDE) - before;
    ensure!(came == COUNT as u64, "{came} interrupts for {COUNT} sectors");
    Ok(())
}

/// Writes a pattern in one form and reads it in all three.
fn write_back(form: Form) -> Outcome {
    let place = (SCRATCH_LBA + form as usize * COUNT) as u64;
    assert!((form as usize + 1) * COUNT <= SCRATCH_SECTORS);
    let mut old = BLANK;
    ide::read(place, Form::Lba28, &mut old).map_err(why)?;
    let mut pattern = BLANK;
    let mut state = 0x1234_5678 + form as u32;
    for word in pattern.as_flattened_mut() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *word = (state >> 16) as u16;
    }
    let outcome = compare(place, form, &pattern);
    ide::write(place, Form::Lba28, &old).map_err(why)?;
    outcome
}

fn compare(place: u64, form: Form, pattern: &Sectors) -> Outcome {
    ide::write(place, form, pattern).map_err(why)?;
    for reader in [Form::Lba28, Form::Lba48, Form::Chs] {
        let mut seen = BLANK;
        ide::read(place, reader, &mut seen).map_err(why)?;
        ensure!(seen == *pattern, "written by {form:?}, differs when read by {reader:?}");
    }
    // One sector alone, from the middle.
    let mut one = [[0; WORDS]];
    ide::read(place + 2, form, &mut one).map_err(why)?;
    ensure!(one[0] == pattern[2], "sector 2 alone differs");
    Ok(())
}

/// The last sector exists, the one behind it does not: the drive aborts (ABRT) or does not find it (IDNF).
fn out_of_range() -> Outcome {
    let sectors = ide::drive().map_or(0, |drive| drive.sectors);
    let mut sector = [[0; WORDS]];
    ide::read(sectors - 1, Form::Lba28, &mut sector).map_err(why)?;
    let beyond = ide::read_unchecked(sectors, Form::Lba28, &mut sector);
    ensure!(matches!(beyond, Err(DiskError::Drive(error)) if error & 0x14 != 0), "{beyond:?}");
    // And it works again afterwards.
    ide::read(0, Form::Lba28, &mut sector).map_err(why)
}
