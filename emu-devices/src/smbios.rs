//! SMBIOS tables: what the machine is called and made of, as files for its firmware.
//!
//! Manual: DMTF DSP0134 2.8, "Entry Point Structure", "Structure Definitions".
//! Given: BIOS, system, chassis, processors, memory, boot status. The firmware loads the files, fills the tables'
//! address into the entry point and makes its two checksums.
//! Left out: everything that no hardware stands behind (serial numbers, slots, caches, sensors).

/// The structures, one after the other.
pub const TABLES_FILE: &str = "etc/smbios/smbios-tables";
/// The entry point, which lies where it is searched for.
pub const ANCHOR_FILE: &str = "etc/smbios/smbios-anchor";

const MANUFACTURER: &str = "emu";
const PRODUCT: &str = "PC (i440FX + PIIX3)";
/// The release that the tables describe; a constant, so that runs repeat.
const RELEASE_DATE: &str = "01/01/2026";
const MIB: u64 = 1 << 20;
const GIB4: u64 = 1 << 32;
/// Sizes from here on do not fit the 16-bit field and go into the extended one.
const LARGE_DEVICE: u64 = 0x7fff;

/// Structures under construction.
#[derive(Default)]
struct Structures {
    bytes: Vec<u8>,
    count: u16,
    longest: u16,
}

/// One structure: its formatted part, and the strings that its fields count from 1.
struct Structure {
    formatted: Vec<u8>,
    strings: Vec<u8>,
    used: u8,
}

impl Structure {
    fn new(kind: u8, handle: u16) -> Self {
        let [low, high] = handle.to_le_bytes();
        Self { formatted: vec![kind, 0, low, high], strings: Vec::new(), used: 0 }
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.formatted.extend_from_slice(bytes);
        self
    }

    fn word(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn dword(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn text(mut self, text: &str) -> Self {
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.used += 1;
        let number = self.used;
        self.bytes(&[number])
    }
}

impl Structures {
    fn add(&mut self, mut structure: Structure) {
        structure.formatted[1] = structure.formatted.len() as u8;
        // A structure without strings ends in two zeros all the same.
        if structure.strings.is_empty() {
            structure.strings.push(0);
        }
        let length = structure.formatted.len() + structure.strings.len() + 1;
        self.longest = self.longest.max(length as u16);
        self.count += 1;
        self.bytes.extend(structure.formatted);
        self.bytes.extend(structure.strings);
        self.bytes.push(0);
    }
}

/// The structures and the entry point of a board with so much RAM, in all and below 4 GiB, and so many processors.
pub fn files(ram_size: u64, low_ram: u64, cpus: usize) -> (Vec<u8>, Vec<u8>) {
    let mut tables = Structures::default();
    tables.add(bios());
    tables.add(system());
    tables.add(chassis());
    for cpu in 0..cpus {
        tables.add(processor(cpu));
    }
    add_memory(&mut tables, ram_size, low_ram);
    // System boot information: no errors.
    tables.add(Structure::new(32, 0x2000).bytes(&[0; 6]).bytes(&[0]));
    tables.add(Structure::new(127, 0x7f00));
    let anchor = anchor(&tables);
    (tables.bytes, anchor)
}

fn bios() -> Structure {
    const CAN_BOOT_FROM_CD: u64 = 1 << 15;
    const SELECTABLE_BOOT: u64 = 1 << 16;
    const EDD: u64 = 1 << 19;
    const ACPI: u8 = 1 << 0;
    const VIRTUAL_MACHINE: u8 = 1 << 4;
    Structure::new(0, 0)
        .text(MANUFACTURER)
        .text(env!("CARGO_PKG_VERSION"))
        .word(0xe800)
        .text(RELEASE_DATE)
        .bytes(&[0]) // 64 KiB of ROM
        .bytes(&(CAN_BOOT_FROM_CD | SELECTABLE_BOOT | EDD).to_le_bytes())
        .bytes(&[ACPI, VIRTUAL_MACHINE])
        .bytes(&[0, 0]) // release
        .bytes(&[0xff, 0xff]) // no embedded controller
}

fn system() -> Structure {
    const POWER_SWITCH: u8 = 6;
    Structure::new(1, 0x100)
        .text(MANUFACTURER)
        .text(PRODUCT)
        .text(env!("CARGO_PKG_VERSION"))
        .bytes(&[0]) // serial number
        .bytes(&[0; 16]) // no UUID
        .bytes(&[POWER_SWITCH, 0, 0])
}

fn chassis() -> Structure {
    const OTHER: u8 = 1;
    const SAFE: u8 = 3;
    Structure::new(3, 0x300)
        .text(MANUFACTURER)
        .bytes(&[OTHER, 0, 0, 0])
        .bytes(&[SAFE, SAFE, SAFE, 2]) // states; security unknown
        .dword(0)
        .bytes(&[0, 0, 0, 0]) // height, cords, elements
        .bytes(&[0])
}

fn processor(cpu: usize) -> Structure {
    const CENTRAL_PROCESSOR: u8 = 3;
    const OTHER: u8 = 1;
    const ENABLED: u8 = 0x41;
    const NO_CACHE: u16 = 0xffff;
    const CAPABLE_OF_64_BITS: u16 = 1 << 2;
    Structure::new(4, 0x400 + cpu as u16)
        .text(&format!("CPU {cpu}"))
        .bytes(&[CENTRAL_PROCESSOR, OTHER])
        .text(MANUFACTURER)
        .bytes(&[0; 8]) // identification: CPUID knows
        .text("x86-64")
        .bytes(&[0]) // voltage
        .word(0)
        .word(1000)
        .word(1000)
        .bytes(&[ENABLED, OTHER])
        .word(NO_CACHE)
        .word(NO_CACHE)
        .word(NO_CACHE)
        .bytes(&[0, 0, 0])
        .bytes(&[1, 1, 1]) // cores, enabled ones, threads
        .word(CAPABLE_OF_64_BITS)
        .word(OTHER.into())
}

fn add_memory(tables: &mut Structures, ram_size: u64, low_ram: u64) {
    const ARRAY: u16 = 0x1000;
    const NO_ERROR_INFORMATION: u16 = 0xfffe;
    const IN_EXTENDED_FIELD: u32 = 0x8000_0000;
    let kib = ram_size >> 10;
    let short = if kib < u64::from(IN_EXTENDED_FIELD) { kib as u32 } else { IN_EXTENDED_FIELD };
    let array = Structure::new(16, ARRAY)
        .bytes(&[1, 3, 3]) // other place, system memory, no error correction
        .dword(short)
        .word(NO_ERROR_INFORMATION)
        .word(1)
        .bytes(&if short == IN_EXTENDED_FIELD { ram_size } else { 0 }.to_le_bytes());
    tables.add(array);
    let mib = ram_size / MIB;
    let (size, extended) =
        if mib < LARGE_DEVICE { (mib as u16, 0) } else { (LARGE_DEVICE as u16, mib as u32) };
    let device = Structure::new(17, 0x1100)
        .word(ARRAY)
        .word(NO_ERROR_INFORMATION)
        .word(64)
        .word(64)
        .word(size)
        .bytes(&[9, 0]) // a DIMM, of no set
        .text("DIMM 0")
        .bytes(&[0, 7]) // bank; RAM
        .word(1 << 1)
        .word(0) // speed
        .text(MANUFACTURER)
        .bytes(&[0, 0, 0, 0])
        .dword(extended)
        .word(0)
        .bytes(&[0; 6]); // voltages
    tables.add(device);
    let high = (GIB4, GIB4 + ram_size - low_ram);
    for (number, (start, end)) in
        [(0, low_ram), high].into_iter().filter(|(start, end)| start < end).enumerate()
    {
        let mapped = Structure::new(19, 0x1300 + number as u16);
        // KiB, or all ones with bytes in the extended fields.
        let last = (end >> 10) - 1;
        let mapped = match u32::try_from(last) {
            Ok(last) if last < u32::MAX => mapped.dword((start >> 10) as u32).dword(last),
            _ => mapped.dword(u32::MAX).dword(u32::MAX),
        };
        let extended = mapped_in_bytes(start, end, last);
        tables.add(mapped.word(ARRAY).bytes(&[1]).bytes(&extended));
    }
}

/// The extended addresses of a mapped array: zeros unless the others do not suffice.
fn mapped_in_bytes(start: u64, end: u64, last_kib: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    if last_kib >= u32::MAX.into() {
        bytes[..8].copy_from_slice(&start.to_le_bytes());
        bytes[8..].copy_from_slice(&(end - 1).to_le_bytes());
    }
    bytes
}

/// The 32-bit entry point, without address and checksums.
fn anchor(tables: &Structures) -> Vec<u8> {
    let mut anchor = b"_SM_\0\x1f\x02\x08".to_vec();
    anchor.extend(tables.longest.to_le_bytes());
    anchor.extend([0; 6]); // revision and formatted area
    anchor.extend(b"_DMI_\0");
    anchor.extend((tables.bytes.len() as u16).to_le_bytes());
    anchor.extend([0; 4]);
    anchor.extend(tables.count.to_le_bytes());
    anchor.push(0x28);
    anchor
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind, length of the formatted part and strings of each structure.
    fn structures(mut bytes: &[u8]) -> Vec<(u8, u8, Vec<String>)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let (kind, length) = (bytes[0], bytes[1]);
            let rest = &bytes[usize::from(length)..];
            let end = rest.windows(2).position(|pair| pair == [0, 0]).unwrap();
            let strings =
                rest[..end].split(|&byte| byte == 0).map(|text| String::from_utf8_lossy(text).into());
            found.push((kind, length, strings.filter(|text: &String| !text.is_empty()).collect()));
            bytes = &rest[end + 2..];
        }
        found
    }

    #[test]
    fn structures_have_the_lengths_of_version_2_8() {
        let (tables, anchor) = files(5 << 30, 3 << 30, 2);
        let found = structures(&tables);
        let kinds: Vec<_> = found.iter().map(|(kind, length, _)| (*kind, *length)).collect();
        let expected = [
            (0, 0x18),
            (1, 0x1b),
            (3, 0x16),
            (4, 0x2a),
            (4, 0x2a),
            (16, 0x17),
            (17, 0x28),
            (19, 0x1f),
            (19, 0x1f),
            (32, 0x0b),
            (127, 0x04),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(found[1].2, ["emu", "PC (i440FX + PIIX3)", "0.1.0"]);
        assert_eq!((anchor.len(), anchor[5]), (0x1f, 0x1f));
        assert_eq!(anchor[0x16..0x18], (tables.len() as u16).to_le_bytes());
        assert_eq!(anchor[0x1c..0x1e], [11, 0]);
    }

    #[test]
    fn memory_is_told_in_mib_and_kib() {
        let (tables, _) = files(256 << 20, 256 << 20, 1);
        let at = |kind| {
            tables.windows(2).position(|pair| pair == [kind, if kind == 17 { 0x28 } else { 0x1f }]).unwrap()
        };
        assert_eq!(tables[at(17) + 12..at(17) + 14], [0, 1]);
        assert_eq!(tables[at(19) + 4..at(19) + 12], [0, 0, 0, 0, 0xff, 0xff, 3, 0]);
    }
}
