//! URLs that are put together.

use query::template::url_query;

/// `path` behind the path of `url`, before its query.
pub(super) fn join(url: &str, path: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let (base, rest) = url.split_at(end);
    format!("{base}{path}{rest}")
}

/// `path` behind the path of `url`, with one slash between them.
pub(super) fn join_segment(url: &str, path: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let (base, rest) = url.split_at(end);
    format!("{}/{path}{rest}", base.trim_end_matches('/'))
}

/// `text` as one segment of a path.
pub(super) fn segment(text: &str) -> String {
    url_query(text).replace('+', "%20")
}

/// Parameters by name, as the query of a URL or a form.
pub(super) fn query(parameters: &[(&str, &str)]) -> String {
    let mut sorted = parameters.to_vec();
    sorted.sort_by_key(|(name, _)| *name);
    let pair = |(name, value): &(&str, &str)| format!("{}={}", url_query(name), url_query(value));
    sorted.iter().map(pair).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: &str, expected: &str) {
        assert_eq!(found, expected);
    }

    #[test]
    fn urls_are_put_together() {
        check(&join("http://x/a/?k=v", "v2/alerts"), "http://x/a/v2/alerts?k=v");
        check(&join_segment("http://x", "api"), "http://x/api");
        check(&join_segment("http://x/", "api"), "http://x/api");
        check(&segment("a b/../c?"), "a%20b%2F..%2Fc%3F");
        check(&query(&[("b", "1&2"), ("a", "x y")]), "a=x+y&b=1%262");
    }
}
