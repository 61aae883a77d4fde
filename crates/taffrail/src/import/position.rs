//! How far an import came: a small file beside the target, replaced in one step.
//!
//! It names the target and the source, so that another source starts at its own beginning.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use storage::fs::{Fs as _, RealFs};

use super::target::Target;
use crate::cli::ImportTarget;

/// How far one piece of the source (a block, a file) came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Block or file.
    pub(super) piece: String,
    /// Series of a block or bytes of a file that are done.
    pub(super) done: u64,
}

/// The file.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    state: State,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    source: String,
    target: String,
    positions: Vec<Position>,
}

impl Journal {
    /// Reads what an earlier run wrote, unless told to start over.
    pub(super) fn open(
        args: &ImportTarget,
        target: &Target,
        source: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let target_name = target.name();
        let path = match &args.state {
            Some(path) => path.clone(),
            None => {
                let hash = short_name(&format!("{source}\n{target_name}"));
                target.state_dir(env).join(format!("{hash}.json"))
            }
        };
        let fresh = State { source: source.to_owned(), target: target_name, positions: Vec::new() };
        let state = match RealFs.read(&path) {
            Ok(json) if !args.again => {
                let state: State = serde_json::from_slice(&json).with_context(|| {
                    format!(
                        "{} is no position of an import; remove it or give another --state",
                        path.display()
                    )
                })?;
                if (&state.source, &state.target) == (&fresh.source, &fresh.target) {
                    state
                } else {
                    fresh
                }
            }
            Ok(_) => fresh,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => fresh,
            Err(e) => return Err(e).with_context(|| format!("read {}", path.display())),
        };
        Ok(Self { path, state })
    }

    /// What is done.
    pub(super) fn positions(&self) -> &[Position] {
        &self.state.positions
    }

    /// Says that an earlier run came somewhere: what it brought in is not read again, even if the target has lost it.
    pub(super) fn say(&self, out: &mut impl Write) -> std::io::Result<()> {
        if self.state.positions.is_empty() {
            return Ok(());
        }
        let path = self.path.display();
        writeln!(out, "going on where an earlier run stopped ({path}); --again starts over")
    }

    /// Everything up to `position` is durable at the target.
    pub(super) fn note(&mut self, position: Position) -> Result<()> {
        match self.state.positions.iter_mut().find(|p| p.piece == position.piece) {
            Some(known) => *known = position,
            None => self.state.positions.push(position),
        }
        let json = serde_json::to_vec_pretty(&self.state)?;
        replace(&self.path, &json).with_context(|| format!("write {}", self.path.display()))
    }
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        RealFs.create_dir_all(dir)?;
    }
    let new = path.with_extension("tmp");
    RealFs.create(&new)?.write_all(bytes)?;
    RealFs.rename(&new, path)
}

/// A short name for a text.
fn short_name(text: &str) -> String {
    // Not for security: two imports that share a name would only start over, because the file names both.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}
