//! Compressed bytes: never more than the bound, and everything survives.

#![no_main]

use libfuzzer_sys::fuzz_target;
use storage::codec::blob;

const PLAIN_BYTES_MAX: usize = 256 << 20;

fuzz_target!(|bytes: &[u8]| {
    for bound in [0, 100, PLAIN_BYTES_MAX] {
        for plain in [blob::decompress_lz4(bytes, bound), blob::decompress_zstd(bytes, bound)] {
            assert!(plain.map_or(0, |p| p.len()) <= bound);
        }
    }
    let (mut lz4, mut zstd) = (Vec::new(), Vec::new());
    blob::compress_lz4(bytes, &mut lz4);
    blob::compress_zstd(bytes, 3, &mut zstd).expect("any bytes can be compressed");
    assert_eq!(blob::decompress_lz4(&lz4, bytes.len()).ok().as_deref(), Some(bytes));
    assert_eq!(blob::decompress_zstd(&zstd, bytes.len()).ok().as_deref(), Some(bytes));
});
