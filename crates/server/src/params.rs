//! Request parameters, from the query string and from a form body alike, as Prometheus and Loki clients send them.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use http::{StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use model::Error;

/// A form body may not be larger; the longest query text allowed is far below.
const FORM_BYTES_MAX: usize = 1 << 20;
/// Time a client has to send its form.
const FORM_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// All parameters in order; the query string after the form, as Go's `Request.Form` has them.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// From a query string alone, for requests without a body.
    pub(crate) fn from_query(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// First value of `name`; `""` when absent.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// First non-empty value of `name`.
    pub(crate) fn non_empty(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|v| !v.is_empty())
    }

    /// All values of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// All parameters, in order.
    pub(crate) fn pairs(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A non-negative whole number, or `None` when absent.
    ///
    /// # Errors
    /// Names the parameter and its text.
    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>, Error> {
        self.non_empty(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    Error::invalid(format!(
                        "invalid parameter {name:?}: {text:?} is not a number of 0 or more"
                    ))
                })
            })
            .transpose()
    }
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = (StatusCode, String);

    async fn from_request(request: Request<Body>, _state: &S) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        let mut pairs = Vec::new();
        let is_form = parts.headers.get(header::CONTENT_TYPE).is_some_and(|v| {
            v.as_bytes().to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded")
        });
        if is_form {
            let collected =
                tokio::time::timeout(FORM_TIME_MAX, Limited::new(body, FORM_BYTES_MAX).collect())
                    .await
                    .map_err(|_| {
                        (StatusCode::REQUEST_TIMEOUT, "request body took over 10 s".to_owned())
                    })?
                    .map_err(|e| {
                        (
                            StatusCode::PAYLOAD_TOO_LARGE,
                            format!("read form of at most {FORM_BYTES_MAX} bytes: {e}"),
                        )
                    })?;
            pairs.extend(form_urlencoded::parse(&collected.to_bytes()).into_owned());
        }
        if let Some(query) = parts.uri.query() {
            pairs.extend(form_urlencoded::parse(query.as_bytes()).into_owned());
        }
        Ok(Self(pairs))
    }
}

/// A time as Prometheus accepts it: Unix seconds with a fraction, or RFC 3339. Milliseconds, UTC.
pub(crate) fn prometheus_time_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return in_ms(seconds);
    }
    rfc3339_ns(text).map(|ns| ns.div_euclid(1_000_000))
}

/// A time as Loki accepts it: Unix nanoseconds, Unix seconds (ten digits or fewer, or with a fraction), or RFC 3339.
/// Nanoseconds, UTC.
pub(crate) fn loki_time_ns(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        let digits = text.trim_start_matches('-').len();
        return if digits <= 10 { number.checked_mul(1_000_000_000) } else { Some(number) };
    }
    if let Ok(seconds) = text.parse::<f64>() {
        // Split first: nanoseconds of today do not fit into an f64's mantissa.
        let whole = seconds.floor();
        let ns = ((seconds - whole) * 1e9).round();
        return (whole.abs() < 9.2e9).then(|| whole as i64 * 1_000_000_000 + ns as i64);
    }
    rfc3339_ns(text)
}

/// A duration as the APIs accept it for `step` and `timeout`: seconds with a fraction, or `1h30m`. Milliseconds.
pub(crate) fn duration_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return in_ms(seconds);
    }
    collect::scrape::parse_duration(text).and_then(|ms| i64::try_from(ms).ok())
}

fn in_ms(seconds: f64) -> Option<i64> {
    let ms = (seconds * 1000.0).round();
    (ms.is_finite() && ms.abs() < 9.2e18).then_some(ms as i64)
}

/// A time in RFC 3339 in Unix nanoseconds.
pub(crate) fn rfc3339_ns(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations() {
        assert_eq!(prometheus_time_ms("1435781451.781"), Some(1_435_781_451_781));
        assert_eq!(prometheus_time_ms("2015-07-01T20:10:51.781Z"), Some(1_435_781_451_781));
        assert_eq!(prometheus_time_ms("x"), None);
        assert_eq!(prometheus_time_ms("1e300"), None);
        assert_eq!(loki_time_ns("1435781451"), Some(1_435_781_451_000_000_000));
        assert_eq!(loki_time_ns("1435781451781000001"), Some(1_435_781_451_781_000_001));
        assert_eq!(loki_time_ns("1435781451.5"), Some(1_435_781_451_500_000_000));
        assert_eq!(loki_time_ns("14357811451.781"), None);
        assert_eq!(loki_time_ns("NaN"), None);
        assert_eq!(duration_ms("15"), Some(15_000));
        assert_eq!(duration_ms("1h30m"), Some(5_400_000));
        assert_eq!(duration_ms("1d500ms"), Some(86_400_500));
        assert_eq!(duration_ms("1x"), None);
        assert_eq!(duration_ms(""), None);
        assert_eq!(duration_ms("99999999999999y"), None);
    }

    #[test]
    fn repeated_parameters_are_kept() {
        let params = Params::from_query("match[]=a&match%5B%5D=b&limit=3&empty=");
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(params.count("limit").unwrap(), Some(3));
        assert!(params.count("match[]").is_err());
        assert_eq!(params.non_empty("empty"), None);
    }
}
