//! Part files: any trailer and block, and a good file with up to three wrong bits gives right blocks or errors.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use storage::fs::{FaultyFs, Fs};
use storage::part::{PartReader, PartWriter, decode_block, decode_footer};
use taffrail_fuzz::Input;

const PATH: &str = "/parts/a.part";

fn foreign(mut input: Input<'_>) {
    let (kind, offset) = (input.u8(), input.u64());
    let bytes = input.rest();
    decode_footer(bytes).ok();
    if let Ok(block) = decode_block(bytes, offset, kind) {
        assert!(block.len() < bytes.len());
    }
    let fs = FaultyFs::new();
    fs.put(Path::new(PATH), bytes);
    if let Ok(part) = PartReader::open(&fs, Path::new(PATH)) {
        assert!(part.meta().len() < bytes.len());
    }
}

fn damaged(mut input: Input<'_>) {
    let fs = FaultyFs::new();
    fs.create_dir_all(Path::new("/parts")).expect("the disk works");
    let flips = [input.u16(), input.u16(), input.u16()];
    let flip_count = usize::from(input.u8() % 4);
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let mut writer = PartWriter::create(shared, Path::new(PATH)).expect("the disk works");
    let mut blocks = Vec::new();
    let meta = input.slice();
    while !input.is_empty() {
        let (kind, bytes) = (input.u8() & 0x7f, input.slice());
        blocks.push((writer.block(kind, bytes).expect("the disk works"), kind, bytes));
    }
    let file_bytes = writer.finish(meta).expect("the disk works");
    for flip in flips.iter().take(flip_count) {
        fs.flip_bit(Path::new(PATH), u64::from(*flip) % (file_bytes * 8)).expect("inside the file");
    }
    let part = match PartReader::open(&fs, Path::new(PATH)) {
        Ok(part) => part,
        Err(e) => {
            assert!(flip_count > 0, "{e}");
            return;
        }
    };
    assert_eq!(part.meta(), meta);
    for (block, kind, bytes) in blocks {
        match part.block(block, kind) {
            Ok(read) => assert_eq!(read, bytes),
            Err(e) => assert!(flip_count > 0, "{e}"),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    if input.u8() == 0 { foreign(input) } else { damaged(input) }
});
