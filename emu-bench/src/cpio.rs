//! Archives in the format that Linux unpacks as its first root file system ("newc").

/// An archive under construction.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: usize,
}

impl Archive {
    /// Adds a directory that everybody may read. What it lies in comes first.
    pub fn directory(&mut self, name: &str) {
        self.entry(0o040_755, name, &[]);
    }

    /// Adds an executable file.
    pub fn program(&mut self, name: &str, bytes: &[u8]) {
        self.entry(0o100_755, name, bytes);
    }

    fn entry(&mut self, mode: usize, name: &str, bytes: &[u8]) {
        self.entries += 1;
        // Number, mode, owner, group, links, time, size, device, its device, length of the name, check.
        let fields = [self.entries, mode, 0, 0, 1, 0, bytes.len(), 0, 0, 0, 0, name.len() + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(bytes);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(0, "TRAILER!!!", &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_start_on_multiples_of_four() {
        let mut archive = Archive::default();
        archive.directory("dev");
        archive.program("init", b"#!/x\n");
        let bytes = archive.finish();
        let starts: Vec<_> = bytes.windows(6).enumerate().filter(|(_, part)| *part == b"070701").collect();
        assert_eq!(starts.len(), 3);
        assert!(starts.iter().all(|(at, _)| at % 4 == 0));
        assert_eq!(&bytes[110..114], b"dev\0");
        assert_eq!(&bytes[14..22], b"000041ed");
    }
}
