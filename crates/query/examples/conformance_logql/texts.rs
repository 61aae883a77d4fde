//! Cases that are about which texts are queries.

use query::logql;
use serde_json::Value as Json;

use crate::Outcome;

/// Runs a case of the parse, documentation or benchmark files.
pub(crate) fn run(file: &str, case: &Json) -> Outcome {
    match file {
        "logql-parse" => {
            expect(case["query"].as_str().unwrap_or(""), case["valid"].as_bool() == Some(true))
        }
        "bench-queries" => {
            let text = case["query_template"].as_str().unwrap_or("");
            let text = text
                .replace("${SELECTOR}", "{service_name=\"api\"}")
                .replace("${RANGE}", "5m")
                .replace("${LABEL_NAME}", "level")
                .replace("${LABEL_VALUE}", "error");
            expect(&text, true)
        }
        _ => documentation(case["query_or_fragment"].as_str().unwrap_or("")),
    }
}

fn documentation(text: &str) -> Outcome {
    if text.contains("<aggr-op>") || text.contains("// GOOD") {
        return Outcome::Skipped("documentation that is not one query");
    }
    if !text.trim_start().starts_with('|') {
        return expect(text, true);
    }
    // Each line that starts with a pipe is an alternative of its own.
    for fragment in text.lines() {
        if let Outcome::Failed(what) = expect(&format!("{{a=\"b\"}} {fragment}"), true) {
            return Outcome::Failed(what);
        }
    }
    Outcome::Passed
}

fn expect(text: &str, is_valid: bool) -> Outcome {
    match (logql::parse(text), is_valid) {
        (Ok(expr), true) => laid_out(text, &expr),
        (Err(_), false) => Outcome::Passed,
        (Err(e), true) if e.message().starts_with("error parsing regexp") => Outcome::Skipped(
            "an expression that does not compile is refused when parsed, not when run",
        ),
        (Ok(_), false) => Outcome::Failed(format!("accepted: {text}")),
        (Err(e), true) => Outcome::Failed(format!("{e}: {text}")),
    }
}

/// What is laid out for reading says the same, and is laid out the same again.
fn laid_out(text: &str, expr: &logql::Expr) -> Outcome {
    let pretty = match logql::prettify(text) {
        Ok(pretty) => pretty,
        Err(e) => return Outcome::Failed(format!("not laid out: {e}: {text}")),
    };
    match logql::parse(&pretty) {
        Ok(again) if format!("{again:?}") != format!("{expr:?}") => {
            Outcome::Failed(format!("laid out as something else: {pretty}"))
        }
        Ok(_) if logql::prettify(&pretty).ok().as_deref() != Some(&pretty) => {
            Outcome::Failed(format!("laid out differently the second time: {pretty}"))
        }
        Ok(_) => Outcome::Passed,
        Err(e) => Outcome::Failed(format!("laid out as no query: {e}: {pretty}")),
    }
}

/// Cases of a grammar file: `# name`, query, `==>`, tree, where a tree with a warning sign stands for an error.
pub(crate) fn grammar(text: &str) -> Vec<Outcome> {
    let cases = format!("\n{text}");
    cases
        .split("\n# ")
        .skip(1)
        .filter_map(|case| {
            let (query, tree) = case.split_once("==>")?;
            let (_, query) = query.split_once('\n')?;
            let query = query.trim();
            if tree.contains('⚠') && logql::parse(query).is_ok() {
                return Some(Outcome::Failed(format!("accepted: {query}")));
            }
            if tree.contains('⚠') {
                return Some(Outcome::Passed);
            }
            // The file is about form; some of its queries have no meaning.
            let is_meaningless = |e: &model::Error| {
                e.message().starts_with("queries require at least one")
                    || e.message().starts_with("at least one named capture")
            };
            if logql::parse(query).is_err_and(|e| is_meaningless(&e)) {
                return Some(Outcome::Skipped("well formed, but refused for its meaning"));
            }
            Some(expect(query, true))
        })
        .collect()
}
