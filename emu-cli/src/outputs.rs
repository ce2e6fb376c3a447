//! The files that a run writes: all are opened before it starts, and none is touched when one of them cannot be.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Opens output files. Dropped without [`keep`](Self::keep), it leaves everything as it was.
#[derive(Debug, Default)]
pub struct Outputs {
    opened: Vec<File>,
    created: Vec<PathBuf>,
    /// Device and inode of the files that the run reads or writes already.
    in_use: BTreeSet<(u64, u64)>,
}

impl Outputs {
    /// Says that the run reads `path`, so that no output may go there.
    pub fn reads(&mut self, path: &Path) {
        if let Ok(meta) = path.metadata() {
            self.in_use.insert((meta.dev(), meta.ino()));
        }
    }

    /// Opens `path` for writing, without touching what it holds yet.
    ///
    /// # Errors
    /// When that is impossible, or the run uses the file for something else.
    pub fn open(&mut self, option: &str, path: &Path) -> Result<File> {
        self.open_file(path).with_context(|| format!("{option} {}", path.display()))
    }

    fn open_file(&mut self, path: &Path) -> Result<File> {
        let file = match OpenOptions::new().write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(path)
                    .context("expected a file that can be written")?;
                self.created.push(path.to_owned());
                file
            }
            Err(error) => return Err(error).context("expected a file that can be written"),
        };
        let meta = file.metadata().context("expected a file that can be written")?;
        if meta.is_file() {
            if !self.in_use.insert((meta.dev(), meta.ino())) {
                bail!("expected a file that this run uses for nothing else");
            }
            self.opened.push(file.try_clone().context("no second handle")?);
        }
        Ok(file)
    }

    /// Everything is in order: empties the files that were there already.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn keep(mut self) -> Result<()> {
        self.created.clear();
        for file in &self.opened {
            file.set_len(0).context("an output file cannot be emptied")?;
        }
        Ok(())
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        for path in &self.created {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("emu-outputs-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn nothing_changes_when_one_file_cannot_be_opened() {
        let folder = folder("undo");
        std::fs::write(folder.join("old"), "old").unwrap();
        let mut outputs = Outputs::default();
        outputs.open("--stats", &folder.join("old")).unwrap();
        outputs.open("--debugcon", &folder.join("new")).unwrap();
        let error = outputs.open("--hash-log", &folder.join("no/such")).unwrap_err();
        assert!(format!("{error:#}").starts_with("--hash-log "), "{error:#}");
        drop(outputs);
        assert!(!folder.join("new").exists());
        assert_eq!(std::fs::read(folder.join("old")).unwrap(), b"old");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn kept_files_start_empty() {
        let folder = folder("keep");
        std::fs::write(folder.join("old"), "old").unwrap();
        let mut outputs = Outputs::default();
        outputs.open("--stats", &folder.join("old")).unwrap();
        outputs.open("--debugcon", &folder.join("new")).unwrap();
        outputs.keep().unwrap();
        assert_eq!(std::fs::read(folder.join("old")).unwrap(), b"");
        assert!(folder.join("new").exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_has_one_use() {
        let folder = folder("once");
        std::fs::write(folder.join("disk"), "disk").unwrap();
        let mut outputs = Outputs::default();
        outputs.reads(&folder.join("disk"));
        std::fs::hard_link(folder.join("disk"), folder.join("same")).unwrap();
        assert!(outputs.open("--stats", &folder.join("same")).is_err());
        outputs.open("--stats", &folder.join("a")).unwrap();
        assert!(outputs.open("--debugcon", &folder.join("a")).is_err());
        outputs.open("--stats", Path::new("/dev/null")).unwrap();
        outputs.open("--debugcon", Path::new("/dev/null")).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
