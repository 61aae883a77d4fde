//! Which pages of other origins may read the answers of Prometheus' API.
//!
//! Prometheus allows all by default. Here that holds where a token is asked for, which a foreign page does not have; the
//! open door on loopback stays closed to it unless the configuration names its origin.

use http::{HeaderMap, HeaderValue, header};

use crate::Config;

/// Adds the headers that allow `origin`, when it may read.
pub(crate) fn apply(config: &Config, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    let (Some(origin), Some(allowed)) = (origin, &config.cors_origin) else { return };
    let fixed = [
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
    ];
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if allowed.as_str() == ALL {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else if origin.to_str().is_ok_and(|text| allowed.is_match(text)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}

/// The anchored pattern of every origin.
const ALL: &str = "^(?s:.*)$";
