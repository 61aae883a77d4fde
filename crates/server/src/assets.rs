//! The embedded UI: hashed assets for ever, `index.html` with a fresh nonce each time, strict CSP on both.

use std::io::Read as _;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// One embedded file.
struct Asset {
    /// Path with a leading slash.
    path: &'static str,
    /// Gzip of the content.
    gzip: &'static [u8],
    /// Length of the content in bytes.
    len: usize,
}

static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// Stands in `index.html` where the nonce of this response belongs.
const NONCE_PLACEHOLDER: &str = "__CSP_NONCE__";

/// Answers a request for a page or an asset. Paths of the UI's own router get `index.html`.
pub(crate) fn serve(path: &str, headers: &HeaderMap) -> Response {
    match find(path) {
        Some(asset) if asset.path != "/index.html" => file(asset, headers),
        None if path.starts_with("/assets/") => plain(StatusCode::NOT_FOUND, "no such asset"),
        _ => index(),
    }
}

fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.binary_search_by(|a| a.path.cmp(path)).ok().and_then(|i| ASSETS.get(i))
}

fn file(asset: &'static Asset, headers: &HeaderMap) -> Response {
    let etag = format!("\"{:016x}\"", twox_hash::XxHash64::oneshot(0, asset.gzip));
    let mut response = Response::new(Body::empty());
    let out = response.headers_mut();
    let cache = if asset.path.starts_with("/assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    out.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(asset.path)));
    out.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if headers.get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == etag.as_bytes()) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else if accepts_gzip(headers) {
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        *response.body_mut() = Body::from(Bytes::from_static(asset.gzip));
    } else {
        *response.body_mut() = Body::from(inflate(asset));
    }
    if let Ok(value) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

fn index() -> Response {
    let page = find("/index.html").map(inflate).unwrap_or_default();
    let nonce = nonce();
    let page = String::from_utf8_lossy(&page).replace(NONCE_PLACEHOLDER, &nonce);
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    let mut response = Response::new(Body::from(page));
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    out.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    out.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    out.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        out.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// 128 random bits in hex, from the operating system.
fn nonce() -> String {
    let mut bits = [0u8; 16];
    let filled = rustix::rand::getrandom(&mut bits[..], rustix::rand::GetRandomFlags::empty());
    assert_eq!(filled, Ok(bits.len()), "BUG: the kernel gives up to 256 random bytes at once");
    format!("{:032x}", u128::from_ne_bytes(bits))
}

fn inflate(asset: &Asset) -> Vec<u8> {
    let mut content = Vec::with_capacity(asset.len);
    let inflated =
        flate2::read::GzDecoder::new(asset.gzip).take(asset.len as u64).read_to_end(&mut content);
    inflated.expect("BUG: an embedded asset does not inflate");
    content
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or("");
    accepted.split(',').any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim().eq_ignore_ascii_case("gzip") && !quality.trim().starts_with("q=0")
    })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "json" | "webmanifest" => "application/json",
        "woff2" => "font/woff2",
        "html" => "text/html; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

pub(crate) fn plain(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
