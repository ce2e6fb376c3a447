//! The files as a firmware would load them.

use super::*;

/// Carries out the script with the tables at one address and the RSDP at another.
fn load(files: &AcpiFiles, at: u64) -> (Vec<u8>, Vec<u8>) {
    let (mut tables, mut rsdp) = (files.tables.clone(), files.rsdp.clone());
    let name = |command: &[u8], from: usize| -> String {
        command[from..from + 56].iter().take_while(|&&byte| byte != 0).map(|&byte| char::from(byte)).collect()
    };
    for command in files.loader.chunks(128) {
        let number =
            |from: usize| u32::from_le_bytes(std::array::from_fn(|byte| command[from + byte])) as usize;
        let file = if name(command, 4) == RSDP_FILE { &mut rsdp } else { &mut tables };
        match number(0) {
            1 => {}
            2 => {
                assert_eq!(name(command, 60), TABLES_FILE);
                let (offset, size) = (number(116), usize::from(command[120]));
                let mut value = [0; 8];
                value[..size].copy_from_slice(&file[offset..offset + size]);
                let value = u64::from_le_bytes(value) + at;
                file[offset..offset + size].copy_from_slice(&value.to_le_bytes()[..size]);
            }
            3 => {
                let (offset, start, length) = (number(60), number(64), number(68));
                file[offset] = file[offset].wrapping_sub(sum(&file[start..start + length]));
            }
            other => panic!("command {other}"),
        }
    }
    (tables, rsdp)
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
}

fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    (0..size).rev().fold(0, |sum, byte| sum << 8 | u64::from(bytes[at + byte]))
}

const AT: u64 = 0x0fff_0000;

/// The table that starts at an address, whole and with a good checksum.
fn table_at(tables: &[u8], address: u64) -> &[u8] {
    let table = &tables[(address - AT) as usize..];
    let table = &table[..number(table, 4, 4) as usize];
    assert_eq!(sum(table), 0, "{:?}", std::str::from_utf8(&table[..4]));
    table
}

#[test]
fn rsdp_leads_to_the_same_tables_by_rsdt_and_xsdt() {
    let (tables, rsdp) = load(&files(256 << 20, 1), AT);
    assert_eq!((&rsdp[..8], sum(&rsdp[..20]), sum(&rsdp)), (&b"RSD PTR "[..], 0, 0));
    let rsdt = table_at(&tables, number(&rsdp, 16, 4));
    let xsdt = table_at(&tables, number(&rsdp, 24, 8));
    let by_rsdt: Vec<u64> = rsdt[36..].chunks(4).map(|entry| number(entry, 0, 4)).collect();
    let by_xsdt: Vec<u64> = xsdt[36..].chunks(8).map(|entry| number(entry, 0, 8)).collect();
    assert_eq!(by_rsdt, by_xsdt);
    let signatures: Vec<&[u8]> = by_xsdt.iter().map(|&at| &table_at(&tables, at)[..4]).collect();
    assert_eq!(signatures, [b"FACP", b"APIC", b"HPET"]);
}

#[test]
fn fadt_points_at_an_aligned_facs_and_the_dsdt() {
    let (tables, rsdp) = load(&files(256 << 20, 1), AT);
    let xsdt = table_at(&tables, number(&rsdp, 24, 8));
    let fadt = table_at(&tables, number(xsdt, 36, 8));
    let facs = number(fadt, 36, 4);
    assert_eq!((facs % 64, &tables[(facs - AT) as usize..][..4]), (0, &b"FACS"[..]));
    assert_eq!(&table_at(&tables, number(fadt, 40, 4))[..4], b"DSDT");
    assert_eq!((number(fadt, 46, 2), number(fadt, 56, 4), number(fadt, 64, 4)), (9, 0x600, 0x604));
    // Reset register: port CF9h, a byte, value 6.
    assert_eq!((&fadt[116..120], number(fadt, 120, 8), fadt[128]), (&[1, 8, 0, 1][..], 0xcf9, 6));
}

#[test]
fn madt_lists_every_processor() {
    let entries = |cpus| {
        let table = fixed::madt(cpus);
        let (mut kinds, mut at) = (Vec::new(), 44);
        while at < table.len() {
            kinds.push((table[at], table[at + 3]));
            at += usize::from(table[at + 1]);
        }
        kinds
    };
    assert_eq!(entries(1), [(0, 0), (1, 0), (2, 0), (2, 5), (2, 10), (2, 11), (2, 9), (4, 0)]);
    assert_eq!(entries(4)[..5], [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]);
}

#[test]
fn dsdt_begins_with_soft_off_and_names_its_devices() {
    let table = dsdt::dsdt(0x1000_0000, 2);
    assert_eq!(table[36..47], [8, b'_', b'S', b'5', b'_', 0x12, 6, 4, 0, 0, 0]);
    for name in [b"PCI0", b"_PRT", b"LNKA", b"LNKS", b"ISA_", b"COM1", b"FDC0", b"HPET", b"C001"] {
        assert!(table.windows(4).any(|part| part == name), "{:?}", std::str::from_utf8(name));
    }
}
