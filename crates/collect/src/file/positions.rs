//! Promtail's positions file: how far it had read, so that a move neither loses nor repeats.
//!
//! ```text
//!  positions:
//!    /var/log/syslog: "48213"                    a file, and the bytes read of it
//!    cursor-journal: s=2f…;i=1a…                 a journal: "cursor-" and the job's name
//! ```

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use model::{Error, Result};
use serde::Deserialize;

use super::open::Seen;

/// Largest file.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What Promtail had read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions {
    /// What of files.
    pub files: FilePositions,
    /// Cursors of the journal, by job.
    pub journals: HashMap<String, String>,
    /// Entries that are neither; targets that are not files have such.
    pub other_count: usize,
}

/// How far files were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilePositions {
    /// Bytes read of what a path named when they were saved.
    pub offsets: HashMap<PathBuf, u64>,
    /// When that was, Unix nanoseconds; `None` where it is not known.
    pub saved_ns: Option<i64>,
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    positions: BTreeMap<String, String>,
}

impl Positions {
    /// Reads a positions file.
    ///
    /// # Errors
    /// [`Io`](model::ErrorKind::Io) when it cannot be read, [`Invalid`](model::ErrorKind::Invalid) when it is none.
    pub fn load(path: &Path) -> Result<Self> {
        let failed = |error| Error::io(format!("read positions file {}", path.display()), error);
        let file = std::fs::File::open(path).map_err(failed)?;
        let saved_ns = Seen::of(&file.metadata().map_err(failed)?).mtime_ns;
        let mut text = String::new();
        let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        if read as u64 > FILE_BYTES_MAX {
            let message =
                format!("positions file {} has more than {FILE_BYTES_MAX} bytes", path.display());
            return Err(Error::invalid(message));
        }
        let mut positions = Self::parse(&text)
            .map_err(|e| e.context(format!("positions file {}", path.display())))?;
        positions.files.saved_ns = Some(saved_ns);
        Ok(positions)
    }

    /// Reads the text of a positions file.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) when it is none.
    pub fn parse(text: &str) -> Result<Self> {
        let mut positions = Self::default();
        if text.trim().is_empty() {
            return Ok(positions);
        }
        let written: Written = serde_saphyr::from_str(text)
            .map_err(|error| Error::invalid(error.without_snippet().to_string()))?;
        for (key, value) in written.positions {
            if let Some(job) = key.strip_prefix("cursor-") {
                positions.journals.insert(job.to_owned(), value);
            } else if let (true, Ok(offset)) = (key.starts_with('/'), value.parse()) {
                positions.files.offsets.insert(PathBuf::from(key), offset);
            } else {
                positions.other_count += 1;
            }
        }
        Ok(positions)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn positions_of_files_and_journals() {
        let text = "positions:\n  /var/log/a.log: \"123\"\n  /var/log/b c.log: \"0\"\n  /var/log/n.log: 7\n  \
                    cursor-journal: s=1;i=2\n  docker-4af: \"17\"\n";
        let positions = Positions::parse(text).unwrap();
        let offset = |path: &str| positions.files.offsets.get(Path::new(path)).copied();
        assert_eq!(offset("/var/log/a.log"), Some(123));
        assert_eq!(offset("/var/log/b c.log"), Some(0));
        assert_eq!(offset("/var/log/n.log"), Some(7));
        assert_eq!(positions.journals["journal"], "s=1;i=2");
        assert_eq!((positions.files.offsets.len(), positions.other_count), (3, 1));
        assert_eq!(Positions::parse("").unwrap(), Positions::default());
        assert_eq!(Positions::parse("positions: {}\n").unwrap(), Positions::default());
        Positions::parse("positions: [1]\n").unwrap_err();
        Positions::load(Path::new("/nowhere/positions.yaml")).unwrap_err();
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_bounded(text in ".{0,200}", key in "[^\"\\\\]{0,20}") {
            for text in [text, format!("positions:\n  \"{key}\": \"1\"\n")] {
                if let Ok(positions) = Positions::parse(&text) {
                    prop_assert!(positions.files.offsets.len() <= text.len());
                }
            }
        }
    }
}
