//! WAL segments: bad bytes are survived, what was shown once is shown again, and the log goes on.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use storage::fs::{FaultyFs, Fs};
use storage::wal::{Durability, Recovery, Wal, WalConfig, decode_frames};
use taffrail_fuzz::{Input, frames, header};

type Shown = Vec<(u64, u8, Vec<u8>)>;

fn open(fs: &FaultyFs) -> (Wal, Recovery, Shown) {
    let config = WalConfig { segment_bytes: 4096, durability: Durability::Strict };
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    let mut shown = Vec::new();
    let opened = Wal::open(fs, Path::new("/wal"), config, &mut |record| {
        shown.push((record.seq, record.kind, record.payload.to_vec()));
        Ok(())
    });
    let (wal, recovery) = opened.expect("damaged bytes are not errors");
    assert!(shown.windows(2).all(|w| w[0].0 < w[1].0), "sequence numbers rise");
    assert_eq!(recovery.records, shown.len() as u64);
    (wal, recovery, shown)
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let choice = input.u8();
    if choice == 0 {
        let bytes = input.rest();
        let decoded = decode_frames(bytes, 1, &mut |_| Ok(())).expect("the visitor takes all");
        assert!(decoded.consumed <= bytes.len());
        return;
    }
    let fs = FaultyFs::new();
    let mut first_seq = 1;
    for _ in 0..1 + choice % 3 {
        let mut segment = header(b"TFRLWAL\n", &u64::to_le_bytes(first_seq));
        if choice & 0x80 != 0 {
            segment[usize::from(choice) % 24] ^= 1;
        }
        segment.extend_from_slice(&frames(Input::new(input.slice()), first_seq));
        fs.put(&Path::new("/wal").join(format!("{first_seq:020}.wal")), &segment);
        first_seq += 1 + u64::from(input.u8());
    }
    let (wal, _, shown) = open(&fs);
    drop(wal);
    let (mut wal, recovery, again) = open(&fs);
    assert_eq!(shown, again);
    assert_eq!(
        (recovery.damage, recovery.torn_bytes),
        (Vec::new(), 0),
        "the second start is clean"
    );
    let Ok(seq) = wal.append(7, b"next") else { return };
    wal.sync().expect("the disk works");
    drop(wal);
    let (_, _, mut last) = open(&fs);
    assert_eq!(last.pop(), Some((seq, 7, b"next".to_vec())));
    assert_eq!(last, shown);
});
