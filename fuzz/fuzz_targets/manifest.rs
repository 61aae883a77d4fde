//! Manifests: bad bytes are survived, and a second start finds what the first one did.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use storage::fs::{FaultyFs, Fs};
use storage::manifest::{self, Edit, MANIFEST_FILE, Manifest};
use taffrail_fuzz::{Input, assert_bounded, frames, header};

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let file = match input.u8() {
        0 => input.rest().to_vec(),
        _ => {
            let mut file = header(b"TFRLMAN\n", &[]);
            file.extend_from_slice(&frames(input, 1));
            file
        }
    };
    let Ok(decoded) = manifest::decode(&file) else { return };
    let entries = decoded.parts.iter().chain(&decoded.values);
    assert_bounded(entries.map(|(name, value)| name.len() + value.len()).sum(), file.len());

    let (fs, dir) = (FaultyFs::new(), Path::new("/store"));
    fs.put(&dir.join(MANIFEST_FILE), &file);
    let shared: Arc<dyn Fs> = Arc::new(fs);
    let (mut opened, state) =
        Manifest::open(Arc::clone(&shared), dir).expect("damage is not an error");
    assert_eq!((&state.parts, &state.values), (&decoded.parts, &decoded.values));
    let edit = Edit::Set { key: "k".to_owned(), value: b"v".to_vec() };
    opened.commit(&[edit]).expect("the disk works");
    drop(opened);
    let (opened, again) = Manifest::open(shared, dir).expect("a clean manifest");
    assert_eq!(again.damage, None);
    assert_eq!(again.parts, state.parts);
    assert_eq!(opened.value("k"), Some(&b"v"[..]));
});
