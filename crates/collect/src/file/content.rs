//! The bytes of a file by their offset, whether it is plain or compressed.
//!
//! A compressed file is read forwards; only what is behind the last offset asked for is kept. What stands in front of a
//! damaged place is read as any other; the damage itself is an error, and not an end.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

/// Bytes unpacked at a time.
const UNPACKED_STEP: usize = 64 << 10;
/// How the members of a gzip file begin.
const GZIP_MAGIC: u8 = 0x1f;
/// Memory that a zstd frame may ask for, as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = 26;

/// How a file is compressed, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// What the name says.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "gz" => Some(Self::Gzip),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Files that are compressed in a way that is not read.
const UNREAD_ENDINGS: [&str; 9] = ["bz2", "xz", "Z", "lz4", "lzma", "br", "zip", "tar", "tgz"];

/// Whether the name is that of a file that is compressed in a way that is not read.
pub(crate) fn is_unread(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| UNREAD_ENDINGS.contains(&ending))
}

/// The bytes of an open file.
pub(crate) enum Content {
    Plain(Arc<File>),
    Packed(Unpacked),
}

impl Content {
    /// The bytes of `file`, unpacked if it is packed.
    pub(crate) fn new(file: Arc<File>, packing: Option<Packing>) -> Self {
        match packing {
            None => Self::Plain(file),
            Some(packing) => Self::Packed(Unpacked {
                file,
                packing,
                decoder: None,
                damage: None,
                window: Vec::new(),
                start: 0,
                has_ended: false,
            }),
        }
    }

    /// Fills `buffer` from `offset` on; fewer bytes only at the end.
    ///
    /// # Errors
    /// What the system says; for compressed files also that they are damaged, or not written to the end yet.
    pub(crate) fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => {
                let mut filled = 0;
                while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                    match read_once(file, offset + filled as u64, rest)? {
                        0 => break,
                        read => filled += read,
                    }
                }
                Ok(filled)
            }
            Self::Packed(unpacked) => unpacked.read_at(offset, buffer),
        }
    }

    /// As [`read_at`](Self::read_at), but of a plain file what one call of the system gives, which may be less: it is not
    /// of two moments between which the file was emptied and written to; and of a damaged one, what stands in front of the
    /// damage.
    ///
    /// # Errors
    /// What the system says, but not of [damage](Self::damage).
    pub(crate) fn read_once_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => read_once(file, offset, buffer),
            Self::Packed(unpacked) => unpacked.read_before_damage(offset, buffer),
        }
    }

    /// Why what [`read_once_at`](Self::read_once_at) gave last ends where it does, if not because the file ends.
    pub(crate) fn damage(&self) -> Option<&io::Error> {
        match self {
            Self::Plain(_) => None,
            Self::Packed(unpacked) => unpacked.damage.as_ref(),
        }
    }

    /// Number of bytes, unpacked.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub(crate) fn len(&mut self) -> io::Result<u64> {
        match self {
            Self::Plain(file) => {
                super::others_act();
                Ok(file.metadata()?.len())
            }
            Self::Packed(unpacked) => {
                let (mut end, mut step) = (unpacked.start, vec![0; UNPACKED_STEP]);
                loop {
                    match unpacked.read_at(end, &mut step)? {
                        0 => return Ok(end),
                        read => end += read as u64,
                    }
                }
            }
        }
    }

    /// Exactly `len` bytes from `offset` on, or nothing when there are fewer.
    pub(crate) fn exactly(&mut self, offset: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; len];
        Ok((self.read_at(offset, &mut bytes)? == len).then_some(bytes))
    }
}

fn read_once(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        super::others_act();
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// A compressed file that is read forwards.
pub(crate) struct Unpacked {
    file: Arc<File>,
    packing: Packing,
    decoder: Option<Box<dyn Read + Send>>,
    /// What is wrong behind the window.
    damage: Option<io::Error>,
    /// Unpacked bytes from `start` on.
    window: Vec<u8>,
    start: u64,
    has_ended: bool,
}

impl Unpacked {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.read_before_damage(offset, buffer)?;
        match self.damage.take() {
            Some(damage) if len < buffer.len() => Err(damage),
            _ => Ok(len),
        }
    }

    fn read_before_damage(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if offset < self.start || self.decoder.is_none() {
            self.rewind()?;
        }
        loop {
            let before = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
            let dropped = before.min(self.window.len());
            self.window.drain(..dropped);
            self.start += dropped as u64;
            if self.has_ended
                || self.damage.is_some()
                || (self.start == offset && self.window.len() >= buffer.len())
            {
                break;
            }
            self.unpack()?;
        }
        if self.start < offset {
            return Ok(0);
        }
        let len = buffer.len().min(self.window.len());
        buffer[..len].copy_from_slice(&self.window[..len]);
        Ok(len)
    }

    fn rewind(&mut self) -> io::Result<()> {
        let file = FromStart { file: Arc::clone(&self.file), at: 0 };
        self.decoder = Some(match self.packing {
            Packing::Gzip => Box::new(Members::Between(BufReader::new(file))),
            Packing::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(file)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        });
        self.window.clear();
        (self.start, self.has_ended, self.damage) = (0, false, None);
        Ok(())
    }

    fn unpack(&mut self) -> io::Result<()> {
        let decoder = self.decoder.as_mut().expect("BUG: read before rewinding");
        let len = self.window.len();
        self.window.resize(len + UNPACKED_STEP, 0);
        let read = decoder.read(&mut self.window[len..]);
        self.window.truncate(len + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.has_ended = true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                // Perhaps the file is still being written: it is unpacked from its beginning when it is asked for again.
                self.decoder = None;
                self.damage = Some(error);
            }
        }
        Ok(())
    }
}

/// The members of a gzip file, one behind the other. NUL bytes behind the last one are filling, as tapes and blocks have it.
enum Members {
    Inside(flate2::bufread::GzDecoder<BufReader<FromStart>>),
    Between(BufReader<FromStart>),
    /// Behind the last one, or behind an error.
    Ended,
}

impl Read for Members {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(self, Self::Ended) {
                Self::Inside(mut member) => {
                    let read = member.read(buffer)?;
                    if read > 0 {
                        *self = Self::Inside(member);
                        return Ok(read);
                    }
                    *self = Self::Between(member.into_inner());
                }
                Self::Between(mut file) => {
                    // Whether there was a member before it: a file of NUL bytes alone is none.
                    let is_first = file.get_ref().at == 0;
                    let Some(first) = file.fill_buf()?.first().copied() else { return Ok(0) };
                    if first == GZIP_MAGIC || is_first {
                        *self = Self::Inside(flate2::bufread::GzDecoder::new(file));
                        continue;
                    }
                    if first != 0 {
                        let why = "something else follows the compressed data";
                        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                    }
                    let available = file.fill_buf()?;
                    let nuls = available.iter().take_while(|byte| **byte == 0).count();
                    file.consume(nuls);
                    *self = Self::Between(file);
                }
                Self::Ended => return Ok(0),
            }
        }
    }
}

/// A file from its beginning, with a position of its own.
struct FromStart {
    file: Arc<File>,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        super::others_act();
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
