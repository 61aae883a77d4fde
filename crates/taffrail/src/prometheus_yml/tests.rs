//! Files in, jobs, notes or an error with its place out.
