//! Grafana dashboard and provisioning files: read, migrate, check, list.
//!
//! Owns nothing yet: this release ships its own pages and reads no dashboard files. Rendering will never live here; it
//! is the job of `ui/`.
