//! Matchers, and what they are read as: `facts/matcher-parse.json`. What is said of the UTF-8 grammar, too, holds for it and
//! for the two grammars together.

use alert::matcher::{Matchers, Syntax};
use serde_json::Value as Json;

use crate::Tally;

pub(crate) fn run(cases: &[Json], tally: &mut Tally) {
    for case in cases {
        let input = case["input"].as_str().unwrap_or_default();
        tally.verdict(&format!("matchers {input}"), check(case, input));
    }
}

fn check(case: &Json, input: &str) -> Result<(), String> {
    let wanted: Vec<(&str, &str, &str)> = case["want_matchers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|m| Some((m["name"].as_str()?, m["op"].as_str()?, m["value"].as_str()?)))
        .collect();
    let compare = |syntax: Syntax, with_text: bool| -> Result<(), String> {
        match (syntax.parse(input), case["error"].as_str()) {
            (Ok(parsed), None) if as_facts(&parsed.matchers) == wanted => Ok(()),
            (Ok(parsed), None) => Err(format!("{syntax:?}: read as {}", parsed.matchers)),
            (Ok(parsed), Some(_)) => {
                Err(format!("{syntax:?}: read as {}, must be refused", parsed.matchers))
            }
            (Err(e), None) => Err(format!("{syntax:?}: {}", e.message())),
            (Err(e), Some(error)) if with_text && e.message() != error => {
                Err(format!("{syntax:?}: {:?}, must be {error:?}", e.message()))
            }
            (Err(_), Some(_)) => Ok(()),
        }
    };
    compare(Syntax::Classic, true)?;
    if case["classic_parser_only"] != true {
        compare(Syntax::Utf8, false)?;
    }
    compare(Syntax::Fallback, true)
}

fn as_facts(matchers: &Matchers) -> Vec<(&str, &str, &str)> {
    matchers.0.iter().map(|m| (m.name(), m.op().as_str(), m.value())).collect()
}
