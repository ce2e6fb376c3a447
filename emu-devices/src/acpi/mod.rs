//! ACPI tables of the board, as files for its firmware.
//!
//! Manual: ACPI 6.5, "ACPI Software Programming Model". The layout of headers and AML comes from the crate
//! `acpi_tables`. Given: RSDP (with RSDT and XSDT), FADT, FACS, MADT, HPET, DSDT. The firmware loads the files by the
//! script of [`loader`], which fills in where they came to lie. Left out: sleep states other than soft-off, hot plug,
//! processor power states.

mod dsdt;
mod fixed;
pub mod loader;
#[cfg(test)]
mod tests;

use loader::{Loader, Zone};

/// The files.
pub const TABLES_FILE: &str = "etc/acpi/tables";
/// The RSDP, which lies where it is searched for.
pub const RSDP_FILE: &str = "etc/acpi/rsdp";
/// The script.
pub const LOADER_FILE: &str = "etc/table-loader";

const OEM_ID: [u8; 6] = *b"EMU   ";
const OEM_TABLE_ID: [u8; 8] = *b"EMUPC   ";
const OEM_REVISION: u32 = 1;

/// The interrupt of power management.
const SCI: u8 = 9;
/// The interrupts that a PIRQ may be steered to.
const PIRQ_CHOICES: [u8; 3] = [5, 10, 11];

/// The FACS must lie on such a boundary; it comes first in its file.
const FACS_ALIGN: u32 = 64;
const RSDP_ALIGN: u32 = 16;
const CHECKSUM: usize = 9;
/// Bytes of an RSDP, and of the part of it that ACPI 1.0 knows.
const RSDP_SIZE: usize = 36;
const RSDP_OLD_SIZE: usize = 20;

/// What the firmware gets.
#[derive(Debug)]
pub struct AcpiFiles {
    /// All tables one after the other; pointers are offsets in this file.
    pub tables: Vec<u8>,
    /// The RSDP.
    pub rsdp: Vec<u8>,
    /// The script that loads them.
    pub loader: Vec<u8>,
}

/// Tables under construction, with the script that finishes them.
#[derive(Default)]
struct Tables {
    bytes: Vec<u8>,
    loader: Loader,
}

impl Tables {
    /// Adds a table with pointers at these offsets, each of so many bytes; returns where it starts.
    fn add(&mut self, table: &[u8], pointers: &[(usize, u8)]) -> usize {
        let start = self.bytes.len().next_multiple_of(16);
        self.bytes.resize(start, 0);
        self.bytes.extend_from_slice(table);
        for &(offset, size) in pointers {
            self.loader.add_pointer(TABLES_FILE, start + offset, size, TABLES_FILE);
        }
        if !pointers.is_empty() {
            // The checksum is that of the final addresses.
            self.bytes[start + CHECKSUM] = 0;
            self.loader.add_checksum(TABLES_FILE, start + CHECKSUM, start, table.len());
        }
        start
    }
}

/// Makes the tables of a board with so much RAM below 4 GiB and so many processors.
pub fn files(low_ram: u64, cpus: usize) -> AcpiFiles {
    let mut tables = Tables::default();
    tables.loader.allocate(TABLES_FILE, FACS_ALIGN, Zone::High);
    tables.loader.allocate(RSDP_FILE, RSDP_ALIGN, Zone::FSegment);
    let facs = tables.add(&fixed::facs(), &[]);
    let dsdt = tables.add(&dsdt::dsdt(low_ram as u32, cpus), &[]);
    let fadt = fixed::fadt(facs as u32, dsdt as u32);
    let fadt = tables.add(&fadt, &[(fixed::FADT_FACS, 4), (fixed::FADT_DSDT, 4)]);
    let listed = [fadt, tables.add(&fixed::madt(cpus), &[]), tables.add(&fixed::hpet(), &[])];
    let rsdt = add_list(&mut tables, *b"RSDT", 4, &listed);
    let xsdt = add_list(&mut tables, *b"XSDT", 8, &listed);

    let mut rsdp = Vec::with_capacity(RSDP_SIZE);
    rsdp.extend(b"RSD PTR \0");
    rsdp.extend(OEM_ID);
    rsdp.push(2); // revision
    rsdp.extend((rsdt as u32).to_le_bytes());
    rsdp.extend((RSDP_SIZE as u32).to_le_bytes());
    rsdp.extend((xsdt as u64).to_le_bytes());
    rsdp.resize(RSDP_SIZE, 0);
    let loader = &mut tables.loader;
    loader.add_pointer(RSDP_FILE, 16, 4, TABLES_FILE);
    loader.add_pointer(RSDP_FILE, 24, 8, TABLES_FILE);
    loader.add_checksum(RSDP_FILE, 8, 0, RSDP_OLD_SIZE);
    loader.add_checksum(RSDP_FILE, 32, 0, RSDP_SIZE);
    AcpiFiles { loader: loader.bytes().to_vec(), tables: tables.bytes, rsdp }
}

/// Adds an RSDT or XSDT: a list of pointers of so many bytes each.
fn add_list(tables: &mut Tables, signature: [u8; 4], size: u8, listed: &[usize]) -> usize {
    let mut list = fixed::table(signature, 1);
    for &offset in listed {
        list.append_slice(&(offset as u64).to_le_bytes()[..usize::from(size)]);
    }
    let header = list.len() - listed.len() * usize::from(size);
    let pointers: Vec<_> = (0..listed.len()).map(|n| (header + n * usize::from(size), size)).collect();
    tables.add(list.as_slice(), &pointers)
}
