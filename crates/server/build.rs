//! Embeds `ui/dist` (or a page that says the UI was not built) as gzip-compressed bytes. Never calls npm.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a build script talks to cargo and to the file system"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Taffrail</title></head><body>\
<h1>The web UI is not part of this build</h1><p>Run <code>cargo xtask run</code>, or <code>npm ci &amp;&amp; npm run build</code> in \
<code>ui/</code> and build again. The HTTP APIs work without it.</p></body></html>";

fn main() {
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let dist = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../ui/dist");
    // A path that does not exist yet still triggers a rebuild once it does.
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    collect(&dist, &dist, &mut files);
    if !files.iter().any(|(name, _)| name == "/index.html") {
        files = vec![("/index.html".to_owned(), NOT_BUILT.as_bytes().to_vec())];
    }
    files.sort();
    let mut table = String::from("&[\n");
    for (number, (name, bytes)) in files.iter().enumerate() {
        let path = out.join(format!("asset{number}.gz"));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(bytes).unwrap();
        fs::write(&path, gzip.finish().unwrap()).unwrap();
        writeln!(
            table,
            "    Asset {{ path: {name:?}, gzip: include_bytes!({path:?}), len: {} }},",
            bytes.len()
        )
        .unwrap();
    }
    table.push_str("]\n");
    fs::write(out.join("assets.rs"), table).unwrap();
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_none_or(|e| e != "map") {
            let name = format!("/{}", path.strip_prefix(root).unwrap().to_string_lossy());
            files.push((name, fs::read(&path).unwrap()));
        }
    }
}
