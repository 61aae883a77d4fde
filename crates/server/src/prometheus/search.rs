//! Searching metric names, label names and label values: `search/*`, answered as lines of JSON.
//!
//! Source: Prometheus documentation, "Searching metric names, label names, and label values". How well a text matches
//! is this program's own measure: 1 for the whole text, then by how much of it the search covers.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use model::{Budget, Error, METRIC_NAME, Matcher, Result, TimeRange};
use serde_json::{Value, json};

use super::{flag, selectors, series_range};
use crate::params::Params;
use crate::{App, error, streamed};

const CONTENT_TYPE: &str = "application/x-ndjson; charset=utf-8";
const ROWS: usize = 100;
const ROWS_MAX: usize = 10_000;

/// What all three endpoints read.
struct Search {
    terms: Vec<String>,
    threshold: f64,
    jaro_winkler: bool,
    case_sensitive: bool,
    by_score: bool,
    descending: bool,
    include_score: bool,
    selectors: Vec<Vec<Matcher>>,
    range: TimeRange,
    limit: usize,
    batch: usize,
}

impl Search {
    fn read(params: &Params) -> Result<Self> {
        let refused = |what: String| Err(Error::invalid(what));
        let threshold = match params.non_empty("fuzz_threshold").map(str::parse::<u8>) {
            None => 0,
            Some(Ok(n)) if n <= 100 => n,
            Some(_) => {
                let text = params.get("fuzz_threshold");
                return refused(format!("invalid fuzz_threshold {text:?}: must be 0-100"));
            }
        };
        let jaro_winkler = match params.get("fuzz_alg") {
            "" | "subsequence" => false,
            "jarowinkler" => true,
            other => {
                return refused(format!(
                    "unsupported fuzz_alg {other:?}: must be \"subsequence\" or \"jarowinkler\""
                ));
            }
        };
        let by_score = match params.get("sort_by") {
            "" | "alpha" => false,
            "score" => true,
            other => return refused(format!("invalid sort_by {other:?}: must be alpha or score")),
        };
        let descending = match params.get("sort_dir") {
            "" => false,
            _ if params.get("sort_by") != "alpha" => {
                return refused("sort_dir is only valid with sort_by=alpha".to_owned());
            }
            "asc" => false,
            "dsc" => true,
            other => {
                return refused(format!("invalid sort_dir {other:?}: must be \"asc\" or \"dsc\""));
            }
        };
        let count = |name: &str| match params.non_empty(name).map(str::parse::<usize>) {
            None | Some(Ok(0)) => Ok(ROWS),
            Some(Ok(n)) => Ok(n.min(ROWS_MAX)),
            Some(Err(_)) => Err(Error::invalid(format!(
                "invalid {name} {:?}: must be non-negative integer",
                params.get(name)
            ))),
        };
        let case_sensitive =
            params.get("case_sensitive").is_empty() || flag(params, "case_sensitive")?;
        let lower = |text: &str| if case_sensitive { text.to_owned() } else { text.to_lowercase() };
        Ok(Self {
            terms: params.all("search[]").filter(|t| !t.is_empty()).map(lower).collect(),
            threshold: f64::from(threshold) / 100.0,
            jaro_winkler,
            case_sensitive,
            by_score,
            descending,
            include_score: flag(params, "include_score")?,
            selectors: selectors(params)?,
            range: series_range(params)?,
            limit: count("limit")?,
            batch: count("batch_size")?,
        })
    }

    /// How well `text` matches, from 0 to 1; `None` when it does not.
    fn score(&self, text: &str) -> Option<f64> {
        if self.terms.is_empty() {
            return Some(1.0);
        }
        let lowered;
        let text = if self.case_sensitive {
            text
        } else {
            lowered = text.to_lowercase();
            &lowered
        };
        let best = self
            .terms
            .iter()
            .filter_map(|term| {
                if self.jaro_winkler {
                    let similar = jaro_winkler(term, text);
                    let score =
                        if text.contains(term.as_str()) { similar.max(1.0) } else { similar };
                    Some(score).filter(|score| *score > 0.0)
                } else {
                    subsequence(term, text)
                }
            })
            .fold(None, |best: Option<f64>, score| Some(best.map_or(score, |b| b.max(score))))?;
        (best >= self.threshold).then_some(best)
    }

    /// The texts that match, in order, and whether there are more than the limit.
    fn choose(&self, texts: Vec<String>) -> (Vec<(String, f64)>, bool) {
        let mut found: Vec<(String, f64)> = texts
            .into_iter()
            .filter_map(|text| self.score(&text).map(|score| (text, score)))
            .collect();
        if self.by_score {
            found.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| a.cmp(b)));
        } else if self.descending {
            found.reverse();
        }
        let more = found.len() > self.limit;
        found.truncate(self.limit);
        (found, more)
    }
}

/// How much of `text` the search covers when its letters occur in order: joined letters count more than scattered ones.
fn subsequence(term: &str, text: &str) -> Option<f64> {
    if term == text {
        return Some(1.0);
    }
    let share = term.chars().count() as f64 / text.chars().count().max(1) as f64;
    if text.contains(term) {
        return Some(0.5 + share / 2.0);
    }
    let mut rest = text.chars();
    let all = term.chars().all(|c| rest.any(|t| t == c));
    all.then_some(share / 2.0)
}

/// Jaro-Winkler similarity, from 0 to 1.
fn jaro_winkler(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let window = (a.len().max(b.len()) / 2).saturating_sub(1);
    let mut taken = vec![false; b.len()];
    let mut matched = Vec::new();
    for (i, c) in a.iter().enumerate() {
        let range = i.saturating_sub(window)..(i + window + 1).min(b.len());
        if let Some(j) = range.into_iter().find(|j| !taken[*j] && b[*j] == *c) {
            taken[j] = true;
            matched.push(*c);
        }
    }
    if matched.is_empty() {
        return 0.0;
    }
    let others = b.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(c, _)| c);
    let swapped = matched.iter().zip(others).filter(|(x, y)| x != y).count() as f64 / 2.0;
    let m = matched.len() as f64;
    let jaro = (m / a.len() as f64 + m / b.len() as f64 + (m - swapped) / m) / 3.0;
    let prefix = a.iter().zip(&b).take(4).take_while(|(x, y)| x == y).count() as f64;
    jaro + prefix * 0.1 * (1.0 - jaro)
}

pub(crate) async fn metric_names(State(app): State<Arc<App>>, params: Params) -> Response {
    let answer = async {
        let (search, metadata) = (Search::read(&params)?, flag(&params, "include_metadata")?);
        let known = app.metrics.clone();
        let describe = move |row: &mut Value, name: &str| {
            let found = if metadata { known.metadata(Some(name)) } else { Vec::new() };
            if let Some(about) = found.first() {
                row["type"] = json!(about.kind.as_str());
                row["help"] = json!(about.help);
                if !about.unit.is_empty() {
                    row["unit"] = json!(about.unit);
                }
            }
        };
        lines(&app, search, "name", Some(METRIC_NAME.to_owned()), describe).await
    };
    answer.await.unwrap_or_else(|e| error::prometheus(&e))
}

pub(crate) async fn label_names(State(app): State<Arc<App>>, params: Params) -> Response {
    let answer = async { lines(&app, Search::read(&params)?, "name", None, |_, _| {}).await };
    answer.await.unwrap_or_else(|e| error::prometheus(&e))
}

pub(crate) async fn label_values(State(app): State<Arc<App>>, params: Params) -> Response {
    let answer = async {
        let label = params.get("label").to_owned();
        if label.is_empty() {
            return Err(Error::invalid("label parameter is required"));
        }
        lines(&app, Search::read(&params)?, "value", Some(label), |_, _| {}).await
    };
    answer.await.unwrap_or_else(|e| error::prometheus(&e))
}

/// Searches the values of `label` (label names for `None`) and answers in batches.
async fn lines(
    app: &Arc<App>,
    search: Search,
    key: &'static str,
    label: Option<String>,
    describe: impl Fn(&mut Value, &str) + Send + 'static,
) -> Result<Response> {
    let source = app.metrics.clone();
    let work = move |budget: &Budget| {
        let texts = match &label {
            Some(label) => source.label_values(label, &search.selectors, search.range, budget)?,
            None => source.label_names(&search.selectors, search.range, budget)?,
        };
        let (found, more) = search.choose(texts);
        Ok((search, found, more))
    };
    let (search, found, more) = app.queries.run(None, work).await?;
    let row = move |(text, score): &(String, f64)| {
        let mut row = json!({ key: text });
        if search.include_score {
            row["score"] = json!(score);
        }
        describe(&mut row, text);
        row
    };
    let batches: Vec<Vec<Value>> =
        found.chunks(search.batch).map(|batch| batch.iter().map(&row).collect()).collect();
    let batches = if batches.is_empty() { vec![Vec::new()] } else { batches };
    let trailer = json!({"status": "success", "has_more": more});
    let lines = batches.into_iter().map(|rows| json!({ "results": rows })).chain([trailer]);
    let lines = lines.map(|line| format!("{line}\n").into_bytes());
    Ok(streamed::respond(lines, CONTENT_TYPE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matches_better_comes_first() {
        let search = |query: &str| Search::read(&Params::from_query(query)).unwrap();
        let texts = || ["http_requests_total", "go_http", "up", "http"].map(str::to_owned).to_vec();
        let (found, more) = search("search[]=http&sort_by=score").choose(texts());
        let names: Vec<&str> = found.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!((names, more), (vec!["http", "go_http", "http_requests_total"], false));
        assert_eq!(search("search[]=htl&limit=1").choose(texts()).0[0].0, "http_requests_total");
        assert_eq!(search("search[]=HTTP&case_sensitive=false").choose(texts()).0.len(), 3);
        assert_eq!(search("search[]=htl&fuzz_threshold=50").choose(texts()).0.len(), 0);
        assert!((jaro_winkler("martha", "marhta") - 0.961).abs() < 0.001);
        for bad in ["fuzz_threshold=101", "fuzz_alg=x", "sort_by=size", "sort_dir=asc", "limit=-1"]
        {
            assert!(Search::read(&Params::from_query(bad)).is_err(), "{bad}");
        }
    }
}
