//! Real instrumented programs, and where their libraries are installed.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Directory with the client libraries and peers that `cargo xtask test` installs; without it says that a test is
/// skipped.
pub fn clients_wanted() -> Option<PathBuf> {
    let dir = std::env::var_os("TAFFRAIL_TEST_CLIENTS").map(PathBuf::from);
    if dir.is_none() {
        eprintln!("skipped: needs client libraries and peers; `cargo xtask test` installs them");
    }
    dir
}

/// A program that is scraped; ended when dropped.
#[derive(Debug)]
pub struct Instrumented {
    child: Child,
    /// Its port on the loopback address.
    pub port: u16,
}

impl Instrumented {
    /// Starts it; the first line that it prints is its port.
    ///
    /// # Panics
    /// When it prints none.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        match line.trim().parse() {
            Ok(port) => Self { child, port },
            Err(e) => {
                let _ended = child.kill();
                panic!("{command:?} printed {line:?} instead of its port: {e}");
            }
        }
    }
}

impl Drop for Instrumented {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
