//! Bounds of pushed lines for the targets of their formats: small enough to be reached by what a fuzzer writes.

use ingest::pushed_lines::Limits;

/// Bounds of one request.
pub const LIMITS: Limits = Limits {
    rows_max: 1_000,
    labels_max: 16,
    name_bytes_max: 64,
    value_bytes_max: 64,
    line_fields_bytes_max: 1_000,
    field_bytes_max: 100_000,
    future_ms_max: 600_000,
};
