//! VEX-encoded instructions whose memory operand reaches into a missing page, on the host's processor and on the
//! interpreter: what is written before the fault, which address faults, and what masks keep from faulting.

use emu_core::cpu::control::{CR0_PG, CR4_PAE};
use emu_core::cpu::{Cpu, Exception, Fallible, Fault};
use iced_x86::{Code, EncodingKind, Instruction, OpKind, Register};
use memmap2::{MmapMut, MmapOptions};

use super::guest::{self, ADDRESS};
use super::host::{BASE, Runner, State};
use super::random::Random;
use super::{cases, differences, exceptions, is_subject, vex_features};

const PAGE: usize = 4096;
/// Guest addresses of the four levels of page tables.
const TABLES: u64 = 0x8000;
/// Instructions per encoding, and operands for each.
const INSTRUCTIONS: usize = 4;
const PLACES: usize = 24;

/// One page of memory with nothing around it.
struct Island {
    map: MmapMut,
}

impl Island {
    fn new() -> Self {
        let map = MmapOptions::new().len(3 * PAGE).map_anon().unwrap();
        let start = map.as_ptr() as *mut libc::c_void;
        for page in [0, 2] {
            // SAFETY: the page lies in our own mapping, and nobody touches it from Rust.
            let result = unsafe { libc::mprotect(start.byte_add(page * PAGE), PAGE, libc::PROT_NONE) };
            assert_eq!(result, 0);
        }
        Self { map }
    }

    fn page(&mut self) -> &mut [u8] {
        &mut self.map[PAGE..2 * PAGE]
    }

    fn address(&self) -> u64 {
        self.map.as_ptr() as u64 + PAGE as u64
    }
}

/// The guest's side: the page at [`ADDRESS`] is the only one with data.
fn paged_processor() -> Cpu {
    let mut cpu = guest::processor(64);
    guest::enable_avx(&mut cpu);
    let mem = &mut cpu.system_mut().mem;
    let mut entry = |at: u64, value: u64| mem.write_bytes(at, &value.to_le_bytes());
    for level in 0..3 {
        entry(TABLES + level * 0x1000, (TABLES + (level + 1) * 0x1000) | 7);
    }
    entry(TABLES + 0x3000 + ADDRESS / 0x1000 * 8, ADDRESS | 7);
    cpu.cr3 = TABLES;
    cpu.cr4 |= CR4_PAE;
    cpu.cr0 |= CR0_PG;
    cpu.update_mode();
    cpu
}

/// Distance of the operand from the page: near one of its ends, or wherever a gather may go.
fn distance(size: usize, random: &mut Random) -> i64 {
    let size = size as i64;
    let near = random.below(2 * size as u64 + 8) as i64 - size - 4;
    if random.below(4) == 0 { near } else { PAGE as i64 + near }
}

/// Puts the operand at the start of R14's page plus the displacement; a gather has its elements around there.
fn place(insn: &mut Instruction, state: &mut State, random: &mut Random) {
    if insn.is_vsib() {
        // Mostly in the page.
        let reach = if random.below(4) == 0 { 6000 } else { 4100 };
        cases::fit_indices(insn, state, (-16, reach), random);
    }
}

fn fault_of(result: Fallible) -> Option<Exception> {
    match result {
        Ok(()) => None,
        Err(Fault::Exception(e)) => Some(e),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_page_faults_alike() {
    if !std::arch::is_x86_feature_detected!("avx2") {
        println!("SKIPPED: the host has no AVX2");
        return;
    }
    let mut random = Random::new("boundaries");
    let (mut island, mut cpu, mut runner) = (Island::new(), paged_processor(), Runner::new(true, 64));
    let (mut failures, mut faults, mut whole) = (Vec::new(), 0, 0);
    let subjects = Code::values().filter(|&code| is_subject(code, EncodingKind::VEX, 64, &vex_features()));
    for code in subjects.filter(|&code| !exceptions::points_to_memory(code)) {
        let mut reported = 0;
        for _ in 0..INSTRUCTIONS {
            let Some(mut insn) = cases::instruction(code, true, 64, &mut random) else { continue };
            if !(0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Memory) {
                continue;
            }
            assert_eq!(insn.memory_base(), Register::R14);
            insn.set_memory_displacement64(0);
            insn.set_memory_displ_size(1);
            let size = insn.memory_size().size();
            let bytes = cases::encode(&insn, 64).unwrap();
            runner.load(&bytes);
            for _ in 0..PLACES {
                let mut before = cases::state(&mut random);
                place(&mut insn, &mut before, &mut random);
                let away = if insn.is_vsib() { 0 } else { distance(size, &mut random) };
                let content: Vec<u8> = (0..PAGE).map(|_| random.bits() as u8).collect();
                let (mut host, mut guest) = (before.clone(), before.clone());
                island.page().copy_from_slice(&content);
                host.regs[BASE] = island.address().wrapping_add_signed(away);
                // SAFETY: the operand lies in the island or next to it, where nothing can be written.
                unsafe { runner.run_here(&mut host) };
                guest.regs[BASE] = ADDRESS.wrapping_add_signed(away);
                let result = fault_of(guest::run_at(&mut cpu, &bytes, runner.address, &mut guest, &content));
                let mut found = differences(code, &insn, &before, &host, &guest);
                let vector = result.map_or(0, |e| u64::from(e.vector));
                if (host.faulted, vector) == (14, 14) {
                    let address = cpu.fault_address.wrapping_sub(ADDRESS);
                    let expected = host.page_fault[0].wrapping_sub(island.address());
                    // The host's program is a user's.
                    let error = result.map_or(0, |e| u64::from(e.error)) | 4;
                    if (address, error) != (expected, host.page_fault[1]) {
                        found.push(format!("at {address:x}, not {expected:x}; error {error:x}"));
                    }
                    faults += 1;
                } else if host.faulted != vector {
                    found.push(format!("vector {vector}, not {}", host.faulted));
                } else {
                    whole += 1;
                }
                let mut stored = vec![0; PAGE];
                cpu.system().mem.read_bytes(ADDRESS, &mut stored);
                if let Some(at) = (0..PAGE).find(|&n| stored[n] != island.page()[n]) {
                    found.push(format!("memory at {at:x}"));
                }
                if !found.is_empty() && reported < 3 {
                    reported += 1;
                    failures.push(format!("{code:?} {bytes:02x?} at {away}: {}", found.join("; ")));
                }
            }
        }
    }
    println!("{faults} page faults, {whole} without one");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(faults > 5000 && whole > 5000);
}
