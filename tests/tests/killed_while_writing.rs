//! Kills the emulator at a hundred random points while its guest writes to a disk image, and looks at the image.
//!
//! The guest is a boot sector that rewrites a range of sectors again and again, each round with a pattern of its own,
//! one or several sectors at a time, and says on COM1 when the drive has reported a command done. Whenever the
//! emulator dies, the range must hold what a prefix of those writes leaves: whole sectors, in order, everything that
//! was reported done; and the rest of the image must be as it was.

use std::fs;
use std::thread;
use std::time::Duration;

use emu_tests::emulator::emu;
use emu_tests::process::Running;
use emu_tests::random::Random;
use emu_tests::scratch::Scratch;
use iced_x86::code_asm::*;

const KILLS: u64 = 100;
/// Runs at the same time: they mostly sleep and start.
const AT_ONCE: u64 = 4;
const SECTOR: usize = 512;
const IMAGE_SECTORS: usize = 2048;
/// First sector that the guest writes.
const FIRST: usize = 1000;
/// Sectors that it writes each round.
const RANGE: usize = 64;
/// Sectors of each command, in turn; they add up to 16, so that four turns make a round.
const COUNTS: [u8; 4] = [1, 8, 2, 5];
/// The longest time between the guest's first sign of life and its end, in microseconds.
const LONGEST: u64 = 60_000;

/// What the guest writes to sector `index` of the range in `round`: words that start at the round and rise by an odd
/// step which is different in each sector.
fn pattern(round: u16, index: usize) -> Vec<u8> {
    let step = 2 * index as u16 + 1;
    (0..256u16).flat_map(|n| round.wrapping_add(n.wrapping_mul(step)).to_le_bytes()).collect()
}

/// The boot sector.
fn guest() -> Vec<u8> {
    let mut a = CodeAssembler::new(16).unwrap();
    assemble(&mut a).unwrap();
    let mut sector = a.assemble(0x7c00).unwrap();
    assert!(sector.len() <= 400, "{} bytes leave room for the table", sector.len());
    sector.resize(SECTOR, 0);
    sector[400..404].copy_from_slice(&COUNTS);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// BP is the round, DI the next sector's index, BX the place in the table of counts, CL the count.
fn assemble(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    let (mut round, mut command, mut sector, mut word) =
        (a.create_label(), a.create_label(), a.create_label(), a.create_label());
    let (mut busy, mut full) = (a.create_label(), a.create_label());
    a.xor(ax, ax)?;
    a.mov(ds, ax)?;
    a.mov(dx, 0x3f6)?; // nIEN: no interrupts from the drive
    a.mov(al, 2)?;
    a.out(dx, al)?;
    a.mov(dx, 0x3fb)?; // COM1: 115200 baud, 8N1
    a.mov(al, 0x80)?;
    a.out(dx, al)?;
    a.mov(dx, 0x3f8)?;
    a.mov(ax, 1)?;
    a.out(dx, ax)?;
    a.mov(dx, 0x3fb)?;
    a.mov(al, 3)?;
    a.out(dx, al)?;
    a.xor(bp, bp)?;

    a.set_label(&mut round)?;
    a.inc(bp)?;
    a.xor(di, di)?;
    a.mov(bx, 0x7c00 + 400)?;

    a.set_label(&mut command)?;
    a.mov(cl, byte_ptr(bx))?;
    a.mov(dx, 0x1f2)?; // count
    a.mov(al, cl)?;
    a.out(dx, al)?;
    a.lea(ax, word_ptr(di + FIRST as i32))?;
    a.inc(dx)?; // LBA
    a.out(dx, al)?;
    a.inc(dx)?;
    a.mov(al, ah)?;
    a.out(dx, al)?;
    a.inc(dx)?;
    a.xor(al, al)?;
    a.out(dx, al)?;
    a.inc(dx)?;
    a.mov(al, 0xe0)?;
    a.out(dx, al)?;
    a.inc(dx)?;
    a.mov(al, 0x30)?; // WRITE SECTORS
    a.out(dx, al)?;

    a.set_label(&mut sector)?;
    a.mov(dx, 0x1f7)?;
    a.in_(al, dx)?;
    a.test(al, 0x80)?;
    a.jnz(sector)?;
    a.test(al, 8)?;
    a.jz(sector)?;
    a.mov(ax, bp)?;
    a.lea(si, word_ptr(di))?;
    a.add(si, si)?;
    a.inc(si)?;
    a.mov(dx, 0x1f0)?;
    a.mov(ch, 0)?; // 256 words
    a.set_label(&mut word)?;
    a.out(dx, ax)?;
    a.add(ax, si)?;
    a.dec(ch)?;
    a.jnz(word)?;
    a.inc(di)?;
    a.dec(cl)?;
    a.jnz(sector)?;

    a.set_label(&mut busy)?;
    a.mov(dx, 0x1f7)?;
    a.in_(al, dx)?;
    a.test(al, 0x80)?;
    a.jnz(busy)?;
    a.test(al, 0x21)?; // ERR or DF: say so and stay
    a.jz(full)?;
    a.mov(dx, 0x3f8)?;
    a.mov(al, b'E' as i32)?;
    a.out(dx, al)?;
    a.cli()?;
    a.hlt()?;

    a.set_label(&mut full)?; // room in the transmitter
    a.mov(dx, 0x3fd)?;
    a.in_(al, dx)?;
    a.test(al, 0x20)?;
    a.jz(full)?;
    a.mov(dx, 0x3f8)?;
    a.mov(al, b'.' as i32)?;
    a.out(dx, al)?;

    a.inc(bx)?;
    a.cmp(bx, 0x7c00 + 404)?;
    let mut same_turn = a.create_label();
    a.jne(same_turn)?;
    a.mov(bx, 0x7c00 + 400)?;
    a.set_label(&mut same_turn)?;
    a.cmp(di, RANGE as i32)?;
    a.jb(command)?;
    a.jmp(round)
}

/// An image with the guest, round 0 in its range and noise everywhere else.
fn image() -> Vec<u8> {
    let mut image = Random::new(1).bytes(IMAGE_SECTORS * SECTOR);
    image[..SECTOR].copy_from_slice(&guest());
    for index in 0..RANGE {
        let start = (FIRST + index) * SECTOR;
        image[start..start + SECTOR].copy_from_slice(&pattern(0, index));
    }
    image
}

/// How many sectors were written in all, from what the range holds.
fn writes_in(image: &[u8]) -> Result<usize, String> {
    let sector = |index: usize| &image[(FIRST + index) * SECTOR..][..SECTOR];
    let round = u16::from_le_bytes([sector(0)[0], sector(0)[1]]);
    let new = (0..RANGE).take_while(|&index| sector(index) == pattern(round, index)).count();
    if new == 0 {
        return Err(format!("sector 0 is neither old nor new (round {round}?)"));
    }
    for index in new..RANGE {
        if round == 0 || sector(index) != pattern(round - 1, index) {
            return Err(format!("sector {index} of round {round} is neither old nor new, or out of order"));
        }
    }
    // A range that is all of one round could also be the end of it; both are the same image.
    Ok((usize::from(round) * RANGE + new).saturating_sub(RANGE))
}

/// Sectors behind this many completed commands.
fn sectors_done(commands: usize) -> usize {
    let turn: usize = COUNTS.iter().map(|&count| usize::from(count)).sum();
    let rest: usize = COUNTS[..commands % COUNTS.len()].iter().map(|&count| usize::from(count)).sum();
    commands / COUNTS.len() * turn + rest
}

/// Runs the guest, kills it, looks. Returns how many sectors were written.
fn kill_once(scratch: &Scratch, number: u64) -> usize {
    let before = image();
    let path = scratch.write(&format!("disk{number}.img"), &before);
    let command = emu([
        "run",
        "-m",
        "2M",
        "--time",
        "virtual",
        "--timeout", // should this test itself be killed
        "30",
        "--drive",
        path.to_str().expect("the scratch folder has a plain name"),
    ]);
    let mut random = Random::new(number);
    let mut running = Running::start(command, Duration::from_secs(30));
    if !running.wait_for(".") {
        panic!("the guest does not write: {}", running.finish().story());
    }
    thread::sleep(Duration::from_micros(random.below(LONGEST)));
    let ended = running.kill();
    let after = fs::read(&path).expect("the image is still there");
    let _ = fs::remove_file(&path);

    assert_eq!(after.len(), before.len(), "kill {number}: the image's size");
    let range = FIRST * SECTOR..(FIRST + RANGE) * SECTOR;
    let damaged = (0..before.len()).find(|at| !range.contains(at) && before[*at] != after[*at]);
    assert_eq!(damaged, None, "kill {number}: a byte outside the range changed");
    let written = writes_in(&after).unwrap_or_else(|what| panic!("kill {number}: {what}"));
    let text = ended.text();
    assert!(!text.contains('E'), "kill {number}: the drive reported an error");
    let done = sectors_done(text.matches('.').count());
    assert!(written >= done, "kill {number}: {done} sectors were reported done, {written} are there");
    written
}

#[test]
fn whatever_the_moment_the_image_holds_a_prefix_of_the_writes() {
    let scratch = Scratch::new("killed_while_writing");
    let written: Vec<usize> = thread::scope(|scope| {
        let scratch = &scratch;
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|worker| {
                scope.spawn(move || {
                    let mine = (worker..KILLS).step_by(AT_ONCE as usize);
                    mine.map(|number| kill_once(scratch, number)).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("see above")).collect()
    });
    assert_eq!(written.len() as u64, KILLS);
    // The kills must have come at different points, within rounds and not only between them.
    let within = written.iter().filter(|count| *count % RANGE != 0).count();
    assert!(within > KILLS as usize / 2, "{within} of {KILLS} kills came within a round: {written:?}");
}

#[test]
fn damage_would_be_noticed() {
    let mut good = image();
    for index in 0..10 {
        let start = (FIRST + index) * SECTOR;
        good[start..start + SECTOR].copy_from_slice(&pattern(1, index));
    }
    assert_eq!(writes_in(&good), Ok(10));
    let mut torn = good.clone();
    torn[(FIRST + 10) * SECTOR + 511] ^= 1;
    assert!(writes_in(&torn).is_err(), "half a sector");
    let mut disordered = good.clone();
    disordered[(FIRST + 20) * SECTOR..][..SECTOR].copy_from_slice(&pattern(1, 20));
    assert!(writes_in(&disordered).is_err(), "a later sector before an earlier one");
    assert_eq!(sectors_done(5), 17);
}
