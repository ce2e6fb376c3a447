//! Diskettes by the size of their image, and the drives that they need.

/// Data rates as the controller's CCR and DSR have them.
const KBIT_500: u8 = 0;
const KBIT_250: u8 = 2;
const KBIT_1000: u8 = 3;

/// What a diskette is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Medium {
    /// Tracks on each side.
    pub tracks: u8,
    /// Sides.
    pub heads: u8,
    /// Sectors on a track, of 512 bytes each.
    pub sectors: u8,
    /// Data rate.
    pub rate: u8,
    /// The drive for it, as CMOS 10h has it: 1 360K, 2 1.2M, 3 720K, 4 1.44M, 5 2.88M.
    pub drive: u8,
}

const fn medium(tracks: u8, heads: u8, sectors: u8, rate: u8, drive: u8) -> Medium {
    Medium { tracks, heads, sectors, rate, drive }
}

/// Every kind of diskette that there is.
const MEDIA: [Medium; 10] = [
    medium(40, 1, 8, KBIT_250, 1),
    medium(40, 1, 9, KBIT_250, 1),
    medium(40, 2, 8, KBIT_250, 1),
    medium(40, 2, 9, KBIT_250, 1),
    medium(80, 2, 9, KBIT_250, 3),
    medium(80, 2, 15, KBIT_500, 2),
    medium(80, 2, 18, KBIT_500, 4),
    medium(80, 2, 21, KBIT_500, 4),
    medium(82, 2, 21, KBIT_500, 4),
    medium(80, 2, 36, KBIT_1000, 5),
];

impl Medium {
    /// The diskette with so many sectors, if there is one.
    pub fn of_sectors(sectors: u64) -> Option<Self> {
        MEDIA.into_iter().find(|medium| medium.total() == sectors)
    }

    /// Sectors in all.
    pub fn total(self) -> u64 {
        u64::from(self.tracks) * u64::from(self.heads) * u64::from(self.sectors)
    }

    /// Number of a sector in the image; sectors of a track count from 1.
    pub fn lba(self, track: u8, head: u8, sector: u8) -> Option<u64> {
        let there = track < self.tracks && head < self.heads && (1..=self.sectors).contains(&sector);
        let number = (u64::from(track) * u64::from(self.heads) + u64::from(head)) * u64::from(self.sectors);
        there.then(|| number + u64::from(sector) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diskettes_are_known_by_their_size() {
        for (kib, sectors, drive) in [(360, 9, 1), (720, 9, 3), (1200, 15, 2), (1440, 18, 4), (2880, 36, 5)] {
            let medium = Medium::of_sectors(kib * 2).unwrap();
            assert_eq!((medium.sectors, medium.drive), (sectors, drive), "{kib}K");
        }
        assert_eq!(Medium::of_sectors(2879), None);
    }

    #[test]
    fn sectors_lie_side_by_side_track_by_track() {
        let medium = Medium::of_sectors(2880).unwrap();
        assert_eq!(
            [medium.lba(0, 0, 1), medium.lba(0, 1, 1), medium.lba(79, 1, 18)],
            [Some(0), Some(18), Some(2879)]
        );
        assert_eq!(
            [medium.lba(0, 0, 0), medium.lba(0, 0, 19), medium.lba(0, 2, 1), medium.lba(80, 0, 1)],
            [None; 4]
        );
    }
}
