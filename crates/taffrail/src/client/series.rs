//! `taffrail series` and `taffrail labels`.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{Client, last, series_name, visible};
use crate::cli::{LabelsArgs, Output, SeriesArgs};

#[derive(Deserialize)]
struct Answer<T> {
    data: Vec<T>,
    #[serde(default)]
    warnings: Vec<String>,
}

/// Runs `taffrail series`.
///
/// # Errors
/// When the server cannot be reached or refuses a selector.
pub async fn series(args: &SeriesArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::new(&args.client)?;
    let ([start, end], limit) = (last(&args.since)?, args.limit.to_string());
    let mut params = vec![("start", start.as_str()), ("end", &end), ("limit", &limit)];
    params.extend(args.selectors.iter().map(|selector| ("match[]", selector.as_str())));
    let body = client.get("/api/v1/series", &params).await?;
    print::<BTreeMap<String, String>>(&body, args.client.output, out, series_name)
}

/// Runs `taffrail labels`.
///
/// # Errors
/// When the server cannot be reached or refuses the selector.
pub async fn labels(args: &LabelsArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::new(&args.client)?;
    let [start, end] = last(&args.since)?;
    let mut params = vec![("start", start.as_str()), ("end", &end)];
    params.extend(args.selector.as_deref().map(|selector| ("match[]", selector)));
    let path = match &args.name {
        Some(name) => format!("/api/v1/label/{}/values", escaped(name)),
        None => "/api/v1/labels".to_owned(),
    };
    let body = client.get(&path, &params).await?;
    print::<String>(&body, args.client.output, out, |text| visible(text))
}

/// One line per item; the server's answer as it is for [`Output::Json`].
fn print<T: for<'de> Deserialize<'de>>(
    body: &str,
    output: Output,
    out: &mut impl Write,
    line: impl Fn(&T) -> String,
) -> Result<()> {
    if output == Output::Json {
        writeln!(out, "{body}")?;
        return Ok(());
    }
    let answer: Answer<T> =
        serde_json::from_str(body).context("the server's answer is not Prometheus'")?;
    for item in &answer.data {
        writeln!(out, "{}", line(item))?;
    }
    for note in &answer.warnings {
        writeln!(std::io::stderr(), "note: {}", visible(note))?;
    }
    Ok(())
}

/// A label name as a path may hold it: anything beyond a plain word in `U__` escaping.
fn escaped(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.chars().all(plain) && !name.starts_with("U__") {
        return name.to_owned();
    }
    let mut out = String::from("U__");
    for c in name.chars() {
        match c {
            '_' => out.push_str("__"),
            c if c.is_ascii_alphanumeric() => out.push(c),
            c => out.push_str(&format!("_{:x}_", u32::from(c))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_for_paths() {
        assert_eq!(escaped("job"), "job");
        assert_eq!(escaped("http.status_code/é"), "U__http_2e_status__code_2f__e9_");
    }
}
