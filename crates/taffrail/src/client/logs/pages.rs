//! More lines than one answer may have: asked for page by page, each line once.
//!
//! Does not own: printing.

use anyhow::{Context as _, Result, bail};

use super::{ENCODING, LogAnswer, LogStream};
use crate::client::Client;

/// Lines the server gives out in one answer.
pub(super) const ANSWER_LINES_MAX: usize = 5_000;
/// Lines of a page; what is left of an answer is for lines that come again, because they have the time at which the page
/// before ended.
const PAGE_LINES: usize = 2_000;

/// A query whose answer is fetched in pages.
pub(super) struct Pages<'a> {
    client: &'a Client,
    query: &'a str,
    /// As the server reads times; none is now.
    start: String,
    end: String,
    is_forward: bool,
    /// Lines still wanted; none for all.
    left: Option<usize>,
    /// Time at which the last page ended.
    edge_ns: Option<i64>,
    /// Its lines of that time: labels and text.
    seen: Vec<(String, String)>,
    is_done: bool,
}

impl<'a> Pages<'a> {
    /// All lines from `start` to before `end`, oldest first; with `newest` only so many, newest first.
    pub(super) fn new(
        client: &'a Client,
        query: &'a str,
        (start, end): (&str, &str),
        newest: Option<usize>,
    ) -> Self {
        Self {
            client,
            query,
            start: start.to_owned(),
            end: end.to_owned(),
            is_forward: newest.is_none(),
            left: newest,
            edge_ns: None,
            seen: Vec::new(),
            is_done: false,
        }
    }

    /// The next page; `None` when there is none.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses the query; when more lines have one and the same time than an answer
    /// may have.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<LogStream>>> {
        if self.is_done {
            return Ok(None);
        }
        let wanted = self.left.map_or(PAGE_LINES, |left| left.min(PAGE_LINES)) + self.seen.len();
        if wanted > ANSWER_LINES_MAX {
            bail!(
                "{} lines and more have the same time; an answer may have {ANSWER_LINES_MAX}: ask for fewer streams",
                self.seen.len()
            );
        }
        let limit = wanted.to_string();
        let params = [
            ("query", self.query),
            ("start", self.start.as_str()),
            ("end", self.end.as_str()),
            ("limit", limit.as_str()),
            ("direction", if self.is_forward { "forward" } else { "backward" }),
        ];
        let body =
            self.client.get_with("/loki/api/v1/query_range", &params, Some(ENCODING)).await?;
        let answer: LogAnswer = serde_json::from_str(&body)
            .context("the answer holds no log lines; -n 0 is for log queries")?;
        Ok(self.take(answer.data.streams, wanted))
    }

    /// What of an answer was not on the page before; keeps where the next page begins.
    fn take(&mut self, mut streams: Vec<LogStream>, wanted: usize) -> Option<Vec<LogStream>> {
        let times = || streams.iter().flat_map(|s| &s.values).map(|row| row.t_ns());
        let count = times().count();
        self.is_done = count < wanted;
        let last_ns = if self.is_forward { times().max() } else { times().min() };
        let mut at_end = Vec::new();
        for stream in &mut streams {
            let labels = format!("{:?}", stream.stream);
            stream.values.retain(|row| {
                let t_ns = Some(row.t_ns());
                if t_ns != last_ns && t_ns != self.edge_ns {
                    return true;
                }
                let row_of = (labels.clone(), row.1.clone());
                let is_edge = t_ns == self.edge_ns;
                let seen = self.seen.iter().position(|seen| is_edge && *seen == row_of);
                if t_ns == last_ns {
                    at_end.push(row_of);
                }
                seen.map(|at| self.seen.swap_remove(at)).is_none()
            });
        }
        streams.retain(|stream| !stream.values.is_empty());
        (self.seen, self.edge_ns) = (at_end, last_ns);
        if let Some(last_ns) = last_ns {
            match self.is_forward {
                true => self.start = last_ns.to_string(),
                false => self.end = (last_ns + 1).to_string(),
            }
        }
        if let Some(left) = &mut self.left {
            let new: usize = streams.iter().map(|s| s.values.len()).sum();
            *left = left.saturating_sub(new);
            self.is_done |= *left == 0;
        }
        (!streams.is_empty()).then_some(streams)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser as _;

    use super::super::Row;
    use super::*;

    /// What a server answers of `all`, ascending by time.
    fn answer(all: &[(i64, &str)], pages: &Pages<'_>, limit: usize) -> Vec<LogStream> {
        let (start, end): (i64, i64) = (pages.start.parse().unwrap(), pages.end.parse().unwrap());
        let inside = all.iter().filter(|(t, _)| (start..end).contains(t));
        let rows: Vec<&(i64, &str)> = match pages.is_forward {
            true => inside.take(limit).collect(),
            false => inside.rev().take(limit).collect(),
        };
        let row = |(t, line): &&(i64, &str)| {
            Row(t.to_string(), (*line).to_owned(), super::super::Categories::default())
        };
        vec![LogStream { stream: BTreeMap::new(), values: rows.iter().map(row).collect() }]
    }

    #[test]
    fn each_line_comes_once_whatever_times_pages_end_at() {
        #[derive(clap::Parser)]
        struct Of {
            #[command(flatten)]
            client: crate::cli::ClientArgs,
        }
        // The client wants one, whatever it is asked for.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::new(&Of::parse_from(["x"]).client).unwrap();
        // Times that repeat, equal lines of one time, equal lines of several times.
        let all: Vec<(i64, &str)> =
            (0..60).map(|i| (i / 7, ["a", "b", "a", "c"][i as usize % 4])).collect();
        for (newest, page) in [(None, 3), (None, 10), (Some(25), 4), (Some(60), 9), (Some(99), 9)] {
            let mut pages = Pages::new(&client, "", ("0", "100"), newest);
            let mut got = Vec::new();
            while !pages.is_done {
                let wanted = pages.left.map_or(page, |left| left.min(page)) + pages.seen.len();
                let streams = answer(&all, &pages, wanted);
                let new = pages.take(streams, wanted).unwrap_or_default();
                got.extend(new.into_iter().flat_map(|s| s.values).map(|row| (row.t_ns(), row.1)));
            }
            got.sort();
            let from = newest.map_or(0, |n: usize| all.len().saturating_sub(n));
            let mut expected: Vec<(i64, String)> =
                all[from..].iter().map(|(t, line)| (*t, (*line).to_owned())).collect();
            expected.sort();
            assert_eq!(got, expected, "{newest:?} {page}");
        }
    }
}
