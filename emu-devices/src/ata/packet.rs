//! The packets that a CD-ROM drive understands, and its answers. MMC-3, "Commands"; SPC-3, "Commands for all device
//! types".
//!
//! Left out: audio, writing, READ DVD STRUCTURE, raw sectors (2352 bytes), multisession discs, READ TOC formats
//! other than 0 and 1.

use super::cdrom::{Answer, Cdrom, PACKET_SIZE};
use super::sense::Sense;

/// What GET EVENT STATUS NOTIFICATION tells of the medium.
pub(super) mod event {
    pub const NEW_MEDIUM: u8 = 2;
    pub const MEDIUM_REMOVED: u8 = 3;
}

/// The most blocks that a CD has, 90 minutes of 75 in a second; a larger disc is a DVD.
const CD_BLOCKS: u32 = 90 * 60 * 75;
const PROFILE_CD_ROM: u16 = 0x0008;
const PROFILE_DVD_ROM: u16 = 0x0010;
/// Number of the lead-out in a table of contents, and what its tracks are: data, digital copy prohibited.
const LEAD_OUT: u8 = 0xaa;
const DATA_TRACK: u8 = 0x14;
/// Blocks before the first one: two seconds.
const PREGAP: u32 = 150;

type Packet = [u8; PACKET_SIZE];

fn be16(packet: &Packet, at: usize) -> usize {
    usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]))
}

fn be32(packet: &Packet, at: usize) -> u32 {
    u32::from_be_bytes(std::array::from_fn(|byte| packet[at + byte]))
}

fn data(bytes: impl Into<Vec<u8>>, allocation: usize) -> Result<Answer, Sense> {
    let mut bytes = bytes.into();
    bytes.truncate(allocation);
    Ok(Answer::Data(bytes))
}

impl Cdrom {
    /// Carries a packet out, or says why not.
    pub(super) fn answer(&mut self, packet: &Packet) -> Result<Answer, Sense> {
        // INQUIRY, REQUEST SENSE, GET CONFIGURATION and GET EVENT STATUS NOTIFICATION leave a condition pending.
        if !matches!(packet[0], 0x12 | 0x03 | 0x46 | 0x4a)
            && let Some(sense) = self.attention.take()
        {
            return Err(sense);
        }
        match packet[0] {
            0x00 => self.medium().map(|()| Answer::Nothing), // TEST UNIT READY
            0x03 => self.request_sense(packet),
            0x12 => inquiry(packet, &self.unit.model),
            0x1b => self.start_stop_unit(packet),
            0x1e => {
                self.locked = packet[4] & 1 != 0; // PREVENT ALLOW MEDIUM REMOVAL
                Ok(Answer::Nothing)
            }
            0x25 => self.read_capacity(),
            0x28 => self.read(be32(packet, 2), be16(packet, 7) as u32), // READ(10)
            0x2b => self.read(be32(packet, 2), 1).map(|_| Answer::Nothing), // SEEK(10)
            0x42 => self.read_sub_channel(packet),
            0x43 => self.read_toc(packet),
            0x46 => self.get_configuration(packet),
            0x4a => self.get_event_status(packet),
            0x51 => self.read_disc_information(packet),
            0x5a => self.mode_sense(packet),
            0xa8 => self.read(be32(packet, 2), be32(packet, 6)), // READ(12)
            0xbb => Ok(Answer::Nothing),                         // SET CD SPEED
            0xbd => self.mechanism_status(packet),
            0xbe => self.read_cd(packet),
            _ => Err(Sense::NO_SUCH_COMMAND),
        }
    }

    /// Fails when there is no disc to be had.
    fn medium(&self) -> Result<(), Sense> {
        if self.tray_open { Err(Sense::TRAY_OPEN) } else { Ok(()) }
    }

    fn request_sense(&mut self, packet: &Packet) -> Result<Answer, Sense> {
        let sense = if self.sense == Sense::NONE { self.attention.take() } else { None };
        data(sense.unwrap_or(self.sense).data(), usize::from(packet[4]))
    }

    /// LoEj and Start: what they do to the tray. A disc that leaves is the one that comes back.
    fn start_stop_unit(&mut self, packet: &Packet) -> Result<Answer, Sense> {
        match packet[4] & 0b11 {
            0b10 if self.locked => return Err(Sense::LOCKED),
            0b10 if !self.tray_open => {
                self.tray_open = true;
                self.event = event::MEDIUM_REMOVED;
            }
            0b11 if self.tray_open => {
                self.tray_open = false;
                self.event = event::NEW_MEDIUM;
                self.attention = Some(Sense::MEDIUM_CHANGED);
            }
            _ => {}
        }
        Ok(Answer::Nothing)
    }

    fn read_capacity(&self) -> Result<Answer, Sense> {
        self.medium()?;
        let last = self.blocks().saturating_sub(1);
        data([last.to_be_bytes(), 2048u32.to_be_bytes()].concat(), 8)
    }

    fn read(&self, lba: u32, count: u32) -> Result<Answer, Sense> {
        self.medium()?;
        let there = self.blocks();
        if lba > there || count > there - lba {
            return Err(Sense::OUT_OF_RANGE.at(lba.max(there)));
        }
        Ok(if count == 0 { Answer::Nothing } else { Answer::Blocks { lba, count } })
    }

    /// READ CD: the user data of mode 1 sectors.
    fn read_cd(&self, packet: &Packet) -> Result<Answer, Sense> {
        let count = be32(packet, 5) & 0x00ff_ffff;
        match (packet[9] & 0xf8, packet[10] & 0b111) {
            (0x10, 0) => self.read(be32(packet, 2), count),
            (0x00, 0) => self.read(be32(packet, 2), count).map(|_| Answer::Nothing),
            _ => Err(Sense::INVALID_FIELD),
        }
    }

    /// The current position: no audio plays.
    fn read_sub_channel(&self, packet: &Packet) -> Result<Answer, Sense> {
        self.medium()?;
        let mut answer = vec![0, 0x15, 0, 0];
        if packet[2] & 0x40 != 0 {
            if packet[3] != 1 {
                return Err(Sense::INVALID_FIELD);
            }
            answer[3] = 12;
            answer.extend([1, DATA_TRACK, 1, 1]);
            answer.extend(address(0, packet[1] & 2 != 0));
            answer.extend(address(0, false));
        }
        data(answer, be16(packet, 7))
    }

    fn read_toc(&self, packet: &Packet) -> Result<Answer, Sense> {
        self.medium()?;
        let msf = packet[1] & 2 != 0;
        // SFF-8020i has the format in the last byte.
        let format = if packet[2] & 0xf != 0 { packet[2] & 0xf } else { packet[9] >> 6 };
        let track = |number: u8, lba: u32| [[0, DATA_TRACK, number, 0], address(lba, msf)].concat();
        let (header, tracks) = match format {
            0 => {
                let first = packet[6];
                if first > 1 && first != LEAD_OUT {
                    return Err(Sense::INVALID_FIELD);
                }
                let mut tracks = if first <= 1 { track(1, 0) } else { Vec::new() };
                tracks.extend(track(LEAD_OUT, self.blocks()));
                ([1, 1], tracks)
            }
            // One session, whose first track is track 1.
            1 => ([1, 1], track(1, 0)),
            _ => return Err(Sense::INVALID_FIELD),
        };
        let len = (tracks.len() + 2) as u16;
        data([&len.to_be_bytes()[..], &header, &tracks].concat(), be16(packet, 7))
    }

    fn profile(&self) -> u16 {
        match self.blocks() {
            _ if self.tray_open => 0,
            0..=CD_BLOCKS => PROFILE_CD_ROM,
            _ => PROFILE_DVD_ROM,
        }
    }

    fn get_configuration(&self, packet: &Packet) -> Result<Answer, Sense> {
        let current = self.profile();
        let is_current = |profile: u16| u8::from(current == profile);
        let disc = u8::from(current != 0);
        let [dvd, cd] = [PROFILE_DVD_ROM, PROFILE_CD_ROM];
        // Feature code, version in bits 5:2 with "persistent" and "current" below, and what is special to it.
        let features: [(u16, u8, &[u8]); 6] = [
            (0x0000, 0b11, &[0, dvd as u8, is_current(dvd), 0, 0, cd as u8, is_current(cd), 0]), // profiles
            (0x0001, 0b11, &[0, 0, 0, 2]),             // core: ATAPI
            (0x0003, 0b11, &[0x29, 0, 0, 0]),          // removable medium: tray, can eject and lock
            (0x0010, disc, &[0, 0, 8, 0, 0, 1, 0, 0]), // random readable: blocks of 2048
            (0x001e, is_current(cd), &[0, 0, 0, 0]),   // CD read
            (0x001f, is_current(dvd), &[]),            // DVD read
        ];
        let start = be16(packet, 2) as u16;
        let mut answer = vec![0; 6];
        answer.extend(current.to_be_bytes());
        for (code, flags, special) in features {
            let wanted = match packet[1] & 0b11 {
                0 => code >= start,
                1 => code >= start && flags & 1 != 0,
                2 => code == start,
                _ => return Err(Sense::INVALID_FIELD),
            };
            if wanted {
                answer.extend(code.to_be_bytes());
                answer.extend([flags, special.len() as u8]);
                answer.extend(special);
            }
        }
        let len = answer.len() as u32 - 4;
        answer[..4].copy_from_slice(&len.to_be_bytes());
        data(answer, be16(packet, 7))
    }

    fn get_event_status(&mut self, packet: &Packet) -> Result<Answer, Sense> {
        const MEDIA: u8 = 4;
        if packet[1] & 1 == 0 {
            return Err(Sense::INVALID_FIELD); // asynchronous notification
        }
        if packet[4] & 1 << MEDIA == 0 {
            return data([0, 2, 0x80, 1 << MEDIA], be16(packet, 7)); // no event of these classes
        }
        let status = if self.tray_open { 0b01 } else { 0b10 };
        let event = std::mem::take(&mut self.event);
        data([0, 6, MEDIA, 1 << MEDIA, event, status, 0, 0], be16(packet, 7))
    }

    /// One finished session with one track, not erasable.
    fn read_disc_information(&self, packet: &Packet) -> Result<Answer, Sense> {
        self.medium()?;
        if packet[1] & 0b111 != 0 {
            return Err(Sense::INVALID_FIELD);
        }
        let mut answer = [0; 34];
        answer[1] = 32;
        answer[2] = 0b1110; // complete disc, complete last session
        answer[3..7].fill(1); // first track; sessions; first and last track in the last session
        answer[7] = 0x20; // unrestricted use
        answer[16..24].fill(0xff); // no next session: no addresses for it
        data(answer, be16(packet, 7))
    }

    fn mode_sense(&self, packet: &Packet) -> Result<Answer, Sense> {
        let (control, code) = (packet[2] >> 6, packet[2] & 0x3f);
        if control == 3 {
            return Err(Sense::NOTHING_SAVED);
        }
        let recovery = [0x01, 6, 0, 5, 0, 0, 0, 0];
        let mut abilities = [0u8; 20];
        abilities[..2].copy_from_slice(&[0x2a, 18]);
        if control != 1 {
            abilities[2] = 0x08; // reads DVD-ROM
            abilities[4] = 0x70; // multisession, mode 2 forms 1 and 2
            abilities[6] = 0x29 | u8::from(self.locked) << 1; // tray; can eject and lock; is locked
            abilities[8..10].copy_from_slice(&706u16.to_be_bytes()); // most kB/s: four times a CD's
            abilities[10..12].copy_from_slice(&2u16.to_be_bytes());
            abilities[12..14].copy_from_slice(&512u16.to_be_bytes());
            abilities[14..16].copy_from_slice(&706u16.to_be_bytes());
        }
        let pages: Vec<u8> = match code {
            0x01 => recovery.to_vec(),
            0x2a => abilities.to_vec(),
            0x3f => [&recovery[..], &abilities].concat(),
            _ => return Err(Sense::INVALID_FIELD),
        };
        let mut answer = vec![0; 8];
        answer[2] = if self.tray_open { 0x71 } else { 0x01 };
        answer.extend(pages);
        let len = answer.len() as u16 - 2;
        answer[..2].copy_from_slice(&len.to_be_bytes());
        data(answer, be16(packet, 7))
    }

    fn mechanism_status(&self, packet: &Packet) -> Result<Answer, Sense> {
        let door = u8::from(self.tray_open) << 4;
        data([0, door, 0, 0, 0, 0, 0, 0], be16(packet, 8))
    }
}

fn inquiry(packet: &Packet, model: &str) -> Result<Answer, Sense> {
    if packet[1] & 1 != 0 || packet[2] != 0 {
        return Err(Sense::INVALID_FIELD); // vital product data
    }
    let mut answer = [b' '; 36];
    // CD-ROM, removable, no standard claimed, ATAPI version 2 with response format 1, 31 bytes follow.
    answer[..8].copy_from_slice(&[0x05, 0x80, 0x00, 0x21, 31, 0, 0, 0]);
    let words = model.split_once(' ').unwrap_or(("", model));
    for (field, text) in [(8..16, words.0), (16..32, words.1), (32..36, "1.0")] {
        answer[field].iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte);
    }
    data(answer, be16(packet, 3))
}

/// A block's address in a table of contents: its number, or minute, second and frame.
fn address(lba: u32, msf: bool) -> [u8; 4] {
    if !msf {
        return lba.to_be_bytes();
    }
    let frames = lba.saturating_add(PREGAP);
    [0, (frames / 75 / 60).min(255) as u8, (frames / 75 % 60) as u8, (frames % 75) as u8]
}
