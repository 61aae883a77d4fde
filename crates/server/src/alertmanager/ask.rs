//! Parameters that choose alerts and silences.

use ::alert::matcher::{Matcher, Op, Syntax};
use model::{Error, Result};
use regex::Regex;

use crate::params::Params;

/// Longest regular expression for receivers; longer ones are refused.
const REGEX_BYTES_MAX: usize = 4096;

/// The conditions of all parameters `filter`.
///
/// # Errors
/// Invalid, in Alertmanager's words.
pub(super) fn filters(params: &Params) -> Result<Vec<Matcher>> {
    params.all("filter").map(|text| Syntax::default().parse_one(text)).collect()
}

/// Whether what has the value `of(name)` for each name meets all conditions. As in Alertmanager, an empty value asks
/// whether the label is there.
pub(super) fn meets<'a>(filters: &[Matcher], of: impl Fn(&str) -> Option<&'a str>) -> bool {
    filters.iter().all(|filter| {
        let value = of(filter.name());
        let is_negative = matches!(filter.op(), Op::NotEqual | Op::NotRegex);
        if filter.value().is_empty() && value.is_some() == is_negative {
            return true;
        }
        filter.matches_value(value.unwrap_or(""))
    })
}

/// A switch that is on unless it says otherwise. As Alertmanager, what is no truth value is `false`.
pub(super) fn is_on(params: &Params, name: &str) -> bool {
    const TRUE: [&str; 9] = ["true", "1", "yes", "ok", "y", "on", "selected", "checked", "t"];
    let text = params.get(name).to_ascii_lowercase();
    text.is_empty() || TRUE.contains(&&*text) || text == "enabled"
}

/// Names of receivers that are wanted.
///
/// # Errors
/// Invalid, naming the expression.
pub(super) fn receiver(params: &Params) -> Result<Option<Regex>> {
    let Some(text) = params.non_empty("receiver") else { return Ok(None) };
    if text.len() > REGEX_BYTES_MAX {
        let len = text.len();
        let message = format!("receiver param of {len} bytes is over {REGEX_BYTES_MAX}");
        return Err(Error::invalid(message));
    }
    let regex = Regex::new(&format!("^(?:{text})$"));
    regex.map(Some).map_err(|e| Error::invalid(format!("failed to parse receiver param: {e}")))
}
