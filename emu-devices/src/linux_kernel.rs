//! A Linux kernel to boot directly: checks a bzImage, decides where its parts go, and fills in the fields of its
//! setup header that are the boot loader's.
//!
//! Manual: Linux's public "The Linux/x86 Boot Protocol".
//! Modelled: bzImages of boot protocol 2.02 and later, entered in real mode; command line, its `vga=`, and initial RAM
//! disk. Left out: zImages and older protocols. The 32-bit and 64-bit entries are in
//! `direct_boot`.

use crate::contents::Contents;
use crate::direct_boot::KernelError;
use crate::pc::low_ram;

/// Where the real-mode part (boot sector and setup code) goes: a segment of its own.
const SETUP_ADDRESS: u32 = 0x1_0000;
/// Where the command line goes, right behind that segment.
const COMMAND_LINE_ADDRESS: u32 = 0x2_0000;
/// Where the protected-mode part of a bzImage goes.
const KERNEL_ADDRESS: u32 = 0x10_0000;
/// The end of the setup code's heap, as an offset in its segment; its stack lies behind.
const HEAP_END: u16 = 0xfe00;
/// Left to the firmware's tables at the end of RAM below 4 GiB.
pub(crate) const FIRMWARE_RESERVE: u64 = 256 << 10;
/// Highest byte of the initial RAM disk, where the header does not say.
const OLD_INITRD_MAX: u32 = 0x37ff_ffff;
/// Longest command line, where the header does not say.
const OLD_COMMAND_LINE_MAX: u32 = 255;
const SECTOR: usize = 512;
/// Most bytes of a boot sector and setup code, whose sectors are counted by a byte.
const SETUP_MAX: usize = (1 + 0xff) * SECTOR;
const PAGE: u64 = 4096;

/// Offsets of header fields in the boot sector, by the protocol's names.
mod field {
    pub const SETUP_SECTS: usize = 0x1f1;
    pub const SYSSIZE: usize = 0x1f4;
    pub const VID_MODE: usize = 0x1fa;
    pub const BOOT_FLAG: usize = 0x1fe;
    pub const HEADER: usize = 0x202;
    pub const VERSION: usize = 0x206;
    pub const TYPE_OF_LOADER: usize = 0x210;
    pub const LOADFLAGS: usize = 0x211;
    pub const RAMDISK_IMAGE: usize = 0x218;
    pub const RAMDISK_SIZE: usize = 0x21c;
    pub const HEAP_END_PTR: usize = 0x224;
    pub const CMD_LINE_PTR: usize = 0x228;
    pub const INITRD_ADDR_MAX: usize = 0x22c;
    pub const CMDLINE_SIZE: usize = 0x238;
    pub const PREF_ADDRESS: usize = 0x258;
    pub const INIT_SIZE: usize = 0x260;
    /// Bytes that must be there for all of these.
    pub const END: usize = 0x264;
}

/// `type_of_loader` of a loader without a number of its own.
const LOADER_UNDEFINED: u8 = 0xff;
const LOADED_HIGH: u8 = 1 << 0;
const CAN_USE_HEAP: u8 = 1 << 7;

/// A kernel that fits this machine, taken apart, with an address for each part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinuxKernel {
    /// Boot sector and setup code, the loader's fields filled in.
    pub setup: Part,
    /// The protected-mode part.
    pub kernel: Large,
    /// The initial RAM disk, empty when there is none.
    pub initrd: Large,
    /// The command line with its final zero.
    pub command_line: Part,
}

/// Bytes and where they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Physical address.
    pub address: u32,
    /// What goes there.
    pub bytes: Vec<u8>,
}

/// The same for what may be large and is left where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Large {
    /// Physical address.
    pub address: u32,
    /// What goes there.
    pub bytes: Contents,
}

impl LinuxKernel {
    /// Checks `image` and places it, `initrd` (empty for none) and the command line in a machine of so much RAM.
    ///
    /// # Errors
    /// When `image` is no whole bzImage, or something does not fit.
    pub fn new(
        image: Contents,
        initrd: Contents,
        command_line: &[u8],
        ram_size: u64,
    ) -> Result<Self, KernelError> {
        let mut setup = image.head(SETUP_MAX);
        let header = Header::read(&setup, image.len())?;
        if header.setup_size > usize::from(HEAP_END) {
            return Err(KernelError::Setup(header.setup_size, usize::from(HEAP_END)));
        }
        setup.truncate(header.setup_size);
        let most = header.command_line_max.min(0xffff) as usize;
        if command_line.len() > most {
            return Err(KernelError::CommandLine(command_line.len(), most));
        }
        let kernel_size = image.len() - header.setup_size as u64;
        let kernel_end = header.runs_up_to.max(u64::from(KERNEL_ADDRESS) + kernel_size);
        let ram_end = low_ram(ram_size).saturating_sub(FIRMWARE_RESERVE);
        if kernel_end > ram_end {
            return Err(KernelError::Memory(kernel_end, ram_end));
        }
        let initrd_end = ram_end.min(u64::from(header.initrd_max) + 1);
        let room = (initrd_end & !(PAGE - 1)).saturating_sub(kernel_end.next_multiple_of(PAGE));
        if initrd.len() > room {
            return Err(KernelError::Initrd(initrd.len(), room));
        }
        let initrd_address = ((initrd_end - initrd.len()) & !(PAGE - 1)) as u32;

        let kernel = image.behind(header.setup_size as u64);
        let mut put = |at: usize, bytes: &[u8]| setup[at..at + bytes.len()].copy_from_slice(bytes);
        put(field::TYPE_OF_LOADER, &[LOADER_UNDEFINED]);
        put(field::LOADFLAGS, &[header.loadflags | CAN_USE_HEAP]);
        if let Some(mode) = video_mode(command_line) {
            put(field::VID_MODE, &mode.to_le_bytes());
        }
        put(field::HEAP_END_PTR, &HEAP_END.to_le_bytes());
        put(field::CMD_LINE_PTR, &COMMAND_LINE_ADDRESS.to_le_bytes());
        if !initrd.is_empty() {
            put(field::RAMDISK_IMAGE, &initrd_address.to_le_bytes());
            put(field::RAMDISK_SIZE, &(initrd.len() as u32).to_le_bytes());
        }
        Ok(Self {
            setup: Part { address: SETUP_ADDRESS, bytes: setup },
            kernel: Large { address: KERNEL_ADDRESS, bytes: kernel },
            initrd: Large { address: initrd_address, bytes: initrd },
            command_line: Part { address: COMMAND_LINE_ADDRESS, bytes: [command_line, &[0]].concat() },
        })
    }
}

/// What the last `vga=` of a command line asks the setup code for: `normal`, `ext`, `ask` or a number. The protocol has
/// the boot loader see to it. Other words ask for nothing.
fn video_mode(command_line: &[u8]) -> Option<u16> {
    let words = command_line.split(u8::is_ascii_whitespace);
    let value = words.filter_map(|word| word.strip_prefix(b"vga=")).next_back()?;
    match std::str::from_utf8(value).ok()? {
        "normal" => Some(0xffff),
        "ext" => Some(0xfffe),
        "ask" => Some(0xfffd),
        number => match number.strip_prefix("0x") {
            Some(digits) => u16::from_str_radix(digits, 16).ok(),
            None => number.parse().ok(),
        },
    }
}

/// True when the file calls itself a Linux kernel.
pub fn has_setup_header(image: &[u8]) -> bool {
    image.get(field::BOOT_FLAG..field::BOOT_FLAG + 2) == Some(&[0x55, 0xaa])
        && image.get(field::HEADER..field::HEADER + 4) == Some(b"HdrS")
}

/// What the setup header says, with the protocol's defaults for what its version does not have.
struct Header {
    setup_size: usize,
    loadflags: u8,
    command_line_max: u32,
    initrd_max: u32,
    /// End of the memory that the kernel needs before it looks at the memory map.
    runs_up_to: u64,
}

impl Header {
    /// From the first bytes of an image of so many.
    fn read(image: &[u8], found: u64) -> Result<Self, KernelError> {
        let word = |at: usize| u16::from_le_bytes([image[at], image[at + 1]]);
        let dword = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| image[at + byte]));
        if !has_setup_header(image) {
            return Err(KernelError::NoBzImage);
        }
        if image.len() < field::END {
            return Err(KernelError::Truncated { found: image.len() as u64, expected: field::END as u64 });
        }
        let (version, loadflags) = (word(field::VERSION), image[field::LOADFLAGS]);
        if version < 0x202 || loadflags & LOADED_HIGH == 0 {
            return Err(KernelError::TooOld(version));
        }
        // Zero stands for four, for the sake of kernels older than the field.
        let sectors = match image[field::SETUP_SECTS] {
            0 => 4,
            sectors => usize::from(sectors),
        };
        let setup_size = (sectors + 1) * SECTOR;
        // The upper half of syssize counts from protocol 2.04 on.
        let paragraphs = if version >= 0x204 { dword(field::SYSSIZE) } else { word(field::SYSSIZE).into() };
        let expected = setup_size as u64 + u64::from(paragraphs) * 16;
        if found <= setup_size as u64 || found.next_multiple_of(16) < expected {
            return Err(KernelError::Truncated { found, expected });
        }
        let since = |protocol: u16, value: u32, before: u32| if version >= protocol { value } else { before };
        let pref_address =
            (0..8).rev().fold(0, |sum, byte| sum << 8 | u64::from(image[field::PREF_ADDRESS + byte]));
        Ok(Self {
            setup_size,
            loadflags,
            command_line_max: since(0x206, dword(field::CMDLINE_SIZE), OLD_COMMAND_LINE_MAX),
            initrd_max: since(0x203, dword(field::INITRD_ADDR_MAX), OLD_INITRD_MAX),
            runs_up_to: match version {
                0x20a.. => pref_address.saturating_add(dword(field::INIT_SIZE).into()),
                _ => 0,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, seeds};

    const MIB: usize = 1 << 20;

    /// A bzImage of protocol 2.15: three sectors of setup, 64 KiB of kernel that wants 1 MiB at 16 MiB.
    fn image() -> Vec<u8> {
        let mut image = vec![0; 4 * 512 + 0x1_0000];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x1f1, &[3]);
        put(0x1f4, &0x1000u32.to_le_bytes());
        put(0x1fe, &[0x55, 0xaa]);
        put(0x202, b"HdrS\x0f\x02");
        put(0x211, &[0x01]);
        put(0x22c, &0x7fff_ffffu32.to_le_bytes());
        put(0x238, &2047u32.to_le_bytes());
        put(0x258, &(16u64 << 20).to_le_bytes());
        put(0x260, &(1u32 << 20).to_le_bytes());
        image[2048] = 0x77; // the kernel's first byte
        image
    }

    fn place(image: Vec<u8>, initrd: usize, ram: usize) -> Result<LinuxKernel, KernelError> {
        LinuxKernel::new(image.into(), vec![9; initrd].into(), b"console=ttyS0", ram as u64)
    }

    #[test]
    fn the_parts_go_where_the_protocol_wants_them() {
        let placed = place(image(), 5000, 64 * MIB).unwrap();
        assert_eq!((placed.setup.address, placed.setup.bytes.len()), (0x1_0000, 2048));
        assert_eq!((placed.kernel.address, placed.kernel.bytes.len()), (0x10_0000, 0x1_0000));
        assert_eq!(placed.kernel.bytes.head(1), [0x77]);
        assert_eq!(placed.command_line, Part { address: 0x2_0000, bytes: b"console=ttyS0\0".to_vec() });
        let initrd = (64 * MIB - 256 * 1024 - 8192) as u32; // as high as possible, on a page
        assert_eq!(placed.initrd.address, initrd);
        let setup = placed.setup.bytes;
        assert_eq!((setup[0x210], setup[0x211]), (0xff, 0x81));
        assert_eq!(setup[0x218..0x220], [initrd.to_le_bytes(), 5000u32.to_le_bytes()].concat());
        assert_eq!((&setup[0x224..0x226], &setup[0x228..0x22c]), (&[0, 0xfe][..], &[0, 0, 2, 0][..]));
    }

    #[test]
    fn the_initrd_stays_below_the_address_that_the_header_names() {
        let mut old = image();
        old[0x22c..0x230].copy_from_slice(&0x1fff_ffffu32.to_le_bytes());
        assert_eq!(place(old, 4096, 2048 * MIB).unwrap().initrd.address, 0x1fff_f000);
        let mut older = image();
        older[0x206] = 0x02; // 2.02 has no such field
        assert_eq!(place(older, 4096, 2048 * MIB).unwrap().initrd.address, 0x37ff_f000);
    }

    #[test]
    fn the_last_vga_word_is_the_headers_video_mode() {
        for (line, mode) in [
            ("console=ttyS0", [0, 0]),
            ("vga=normal quiet", [0xff, 0xff]),
            ("quiet vga=ext", [0xfe, 0xff]),
            ("vga=0x317", [0x17, 3]),
            ("vga=ask vga=791", [0x17, 3]),
            ("vga=70000", [0, 0]),
            ("vga= novga=3", [0, 0]),
        ] {
            let placed =
                LinuxKernel::new(image().into(), Contents::default(), line.as_bytes(), 64 << 20).unwrap();
            assert_eq!(placed.setup.bytes[0x1fa..0x1fc], mode, "{line}");
        }
    }

    #[test]
    fn without_an_initrd_the_header_names_none() {
        assert_eq!(place(image(), 0, 64 * MIB).unwrap().setup.bytes[0x218..0x220], [0; 8]);
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        let mut no_magic = image();
        no_magic[0x202] = b'h';
        let mut no_flag = image();
        no_flag[0x1fe] = 0;
        for bad in [Vec::new(), vec![0x7f; 600], image()[..0x205].to_vec(), no_magic, no_flag] {
            assert_eq!(place(bad, 0, 64 * MIB), Err(KernelError::NoBzImage));
        }
        let mut old = image();
        old[0x206] = 0x01;
        assert_eq!(place(old, 0, 64 * MIB), Err(KernelError::TooOld(0x201)));
        let mut low = image();
        low[0x211] = 0;
        assert_eq!(place(low, 0, 64 * MIB), Err(KernelError::TooOld(0x20f)));
    }

    #[test]
    fn a_truncated_kernel_is_refused() {
        let whole = image();
        for length in [0x264, 2047, 2048, 2049, whole.len() - 16] {
            let expected = Err(KernelError::Truncated { found: length as u64, expected: whole.len() as u64 });
            assert_eq!(place(whole[..length].to_vec(), 0, 64 * MIB), expected);
        }
        assert!(place([whole, vec![0; 1000]].concat(), 0, 64 * MIB).is_ok(), "a signature may follow");
    }

    /// Damaged and truncated files: refused, or placed where there is RAM and where nothing else is.
    #[test]
    fn damaged_kernels_do_no_harm() {
        for seed in seeds(3..4) {
            let mut random = Random::new(seed);
            for _ in 0..2000 {
                let mut damaged = image();
                for _ in 0..1 + random.below(6) {
                    // Mostly the header's fields, and values at the edge.
                    let at =
                        if random.below(8) == 0 { random.below(2048) } else { 0x1f1 + random.below(0x78) };
                    let bytes = [0, 0xff, random.next() as u8, 0x7f];
                    damaged[at as usize] = bytes[random.below(4) as usize];
                }
                if random.below(8) == 0 {
                    damaged.truncate(random.below(damaged.len() as u32) as usize);
                }
                let ram = (1 + random.below(64) as usize) * MIB;
                let Ok(placed) = place(damaged, random.below(100_000) as usize, ram) else { continue };
                let small = [placed.setup, placed.command_line]
                    .map(|part| (u64::from(part.address), part.bytes.len() as u64));
                let large =
                    [placed.kernel, placed.initrd].map(|part| (u64::from(part.address), part.bytes.len()));
                let spans = [small, large].concat();
                let mut end = 0;
                for (address, length) in spans.into_iter().filter(|span| span.1 != 0) {
                    assert!(address >= end && address + length <= ram as u64, "{address:x} {length:x}");
                    end = address + length;
                }
            }
        }
    }

    /// More would run into the heap and the stack, and then into the command line.
    #[test]
    fn setup_code_beyond_its_segment_is_refused() {
        let with_sectors = |sectors: u8| {
            let mut image = image();
            image.resize(0x3_0000, 0);
            image[0x1f1] = sectors;
            place(image, 0, 64 * MIB).map(|placed| placed.setup.bytes.len())
        };
        assert_eq!(with_sectors(126), Ok(0xfe00));
        assert_eq!(with_sectors(127), Err(KernelError::Setup(0x1_0000, 0xfe00)));
        assert_eq!(with_sectors(0xff), Err(KernelError::Setup(0x2_0000, 0xfe00)));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(place(image(), 0, 18 * MIB).is_ok());
        assert_eq!(
            place(image(), 0, 17 * MIB),
            Err(KernelError::Memory(17 * MIB as u64, (17 * MIB - 256 * 1024) as u64))
        );
        let room = MIB - 256 * 1024;
        assert!(place(image(), room, 18 * MIB).is_ok());
        assert_eq!(
            place(image(), room + 1, 18 * MIB),
            Err(KernelError::Initrd(room as u64 + 1, room as u64))
        );
        let long = LinuxKernel::new(image().into(), Contents::default(), &[b'x'; 2048], 64 << 20);
        assert_eq!(long, Err(KernelError::CommandLine(2048, 2047)));
    }
}
