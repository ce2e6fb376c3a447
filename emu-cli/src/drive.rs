//! `--drive FILE[,format=raw][,if=ide][,index=N][,snapshot=on]`.

use std::path::PathBuf;

use anyhow::Result;

use emu_devices::pc::CDROM_PLACE;

use crate::outcome::usage;

/// How many IDE disks the board takes: two channels of two.
pub const MAX_DRIVES: usize = 4;

/// One `--drive`, as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveSpec {
    /// The image.
    pub file: PathBuf,
    /// Place among the IDE disks: 0 is the primary master.
    pub index: Option<usize>,
    /// Writes are thrown away at exit.
    pub snapshot: bool,
}

impl DriveSpec {
    /// Parses the option's value. A comma in the file's name is written twice, as in QEMU.
    ///
    /// # Errors
    /// One sentence that names the part which is wrong and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = split_at_commas(text).into_iter();
        let first = parts.next().unwrap_or_default();
        let file = first.strip_prefix("file=").unwrap_or(&first);
        if file.is_empty() {
            return Err("expected the name of a disk image first".into());
        }
        let mut spec = Self { file: file.into(), index: None, snapshot: false };
        for part in parts {
            match part.split_once('=').unwrap_or((&part, "")) {
                ("format", "raw") | ("if", "ide") => {}
                ("format", "qcow2") => return Err("this version reads raw images only, not qcow2".into()),
                ("if", "virtio") => return Err("this version has IDE disks only, no virtio".into()),
                ("format", _) => return Err(format!("{part}: expected format=raw")),
                ("if", _) => return Err(format!("{part}: expected if=ide")),
                ("index", number) => match number.parse() {
                    Ok(index) if index < MAX_DRIVES => spec.index = Some(index),
                    _ => return Err(format!("{part}: expected index=0 to index={}", MAX_DRIVES - 1)),
                },
                ("snapshot", "on") => spec.snapshot = true,
                ("snapshot", "off") => spec.snapshot = false,
                ("snapshot", _) => return Err(format!("{part}: expected snapshot=on or snapshot=off")),
                _ => return Err(format!("{part}: expected format=, if=, index= or snapshot=")),
            }
        }
        Ok(spec)
    }
}

fn split_at_commas(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ',' && chars.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

/// Gives every drive its place: those with an index theirs, the others the first free one, in order. A CD-ROM has the
/// secondary master.
///
/// # Errors
/// When two drives claim one place or there are too many.
pub fn places(specs: &[DriveSpec], cdrom: bool) -> Result<Vec<usize>> {
    let mut taken = [false; MAX_DRIVES];
    taken[CDROM_PLACE] = cdrom;
    for spec in specs {
        if let Some(index) = spec.index
            && std::mem::replace(&mut taken[index], true)
        {
            let other = if cdrom && index == CDROM_PLACE { "the CD-ROM" } else { "another drive" };
            usage!("--drive {}: index={index} is taken by {other}", spec.file.display());
        }
    }
    let mut places = Vec::new();
    for spec in specs {
        let place = match spec.index {
            Some(index) => index,
            None => match taken.iter().position(|taken| !taken) {
                Some(free) => {
                    taken[free] = true;
                    free
                }
                None => {
                    let most = MAX_DRIVES - usize::from(cdrom);
                    usage!("--drive {}: expected at most {most} drives", spec.file.display())
                }
            },
        };
        places.push(place);
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive(text: &str) -> DriveSpec {
        DriveSpec::parse(text).unwrap()
    }

    #[test]
    fn all_parts_are_understood() {
        let spec = drive("a.img,format=raw,if=ide,index=2,snapshot=on");
        assert_eq!(spec, DriveSpec { file: "a.img".into(), index: Some(2), snapshot: true });
        assert_eq!(drive("file=a.img"), drive("a.img"));
        assert_eq!(drive("a,,b.img,index=1").file, PathBuf::from("a,b.img"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("", "disk image"),
            ("a,format=qcow2", "qcow2"),
            ("a,format=vmdk", "format=raw"),
            ("a,if=virtio", "virtio"),
            ("a,if=scsi", "if=ide"),
            ("a,index=4", "index=3"),
            ("a,index=", "index="),
            ("a,snapshot", "snapshot=on"),
            ("a,cache=none", "cache=none"),
            ("a,", "expected"),
        ] {
            let message = DriveSpec::parse(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn drives_take_their_index_or_the_first_free_place() {
        let specs = [drive("a"), drive("b,index=0"), drive("c")];
        assert_eq!(places(&specs, false).unwrap(), [1, 0, 2]);
    }

    #[test]
    fn the_cdrom_has_the_secondary_master() {
        assert_eq!(places(&["a", "b", "c"].map(drive), true).unwrap(), [0, 1, 3]);
        let message = places(&[drive("a,index=2")], true).unwrap_err().to_string();
        assert!(message.contains("the CD-ROM"), "{message}");
        assert!(places(&["a", "b", "c", "d"].map(drive), true).is_err());
    }

    #[test]
    fn a_place_is_given_only_once() {
        assert!(places(&[drive("a,index=1"), drive("b,index=1")], false).is_err());
        assert!(places(&["a", "b", "c", "d", "e"].map(drive), false).is_err());
    }
}
