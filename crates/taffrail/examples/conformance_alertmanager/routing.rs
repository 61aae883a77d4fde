//! Trees of routes, and which of them an alert goes to: `facts/routing.json`.

use std::collections::BTreeSet;
use std::path::Path;

use alert::route::{GROUP_INTERVAL_MS, GROUP_WAIT_MS, GroupBy, REPEAT_INTERVAL_MS, Route};
use model::Labels;
use serde_json::Value as Json;
use taffrail::alertmanager_yml;

use crate::{Tally, UPSTREAM, indented, texts};

pub(crate) fn run(cases: &[Json], tally: &mut Tally) {
    for case in cases {
        let name =
            format!("routing {} {}", case["test"].as_str().unwrap_or(""), case["alert_labels"]);
        if texts(&case["receivers"]).is_empty() {
            tally.skip(&name, "what must come of it is not among the facts");
            continue;
        }
        tally.verdict(&name, check(case));
    }
}

fn check(case: &Json) -> Result<(), String> {
    let tree = case["route_tree_yaml"].as_str().unwrap_or_default();
    let mut config = format!("route:\n{}receivers:\n", indented(tree, 2));
    let named = |line: &str| {
        let name = line.trim().trim_start_matches("- ").strip_prefix("receiver:")?;
        Some(name.trim().trim_matches(['\'', '"']).to_owned())
    };
    for name in tree.lines().filter_map(named).collect::<BTreeSet<_>>() {
        config.push_str(&format!("- name: {name}\n"));
    }
    let loaded = alertmanager_yml::load(Path::new("facts.yml"), &config, UPSTREAM, &|_| None)
        .map_err(|mistakes| mistakes.iter().map(|m| format!("{m}\n")).collect::<String>())?;
    let labels = case["alert_labels"].as_object().into_iter().flatten();
    let labels = Labels::from_pairs(labels.filter_map(|(k, v)| Some((k.as_str(), v.as_str()?))));
    let found = loaded.config.route.matching(&labels);
    same("receivers", found.iter().map(|r| r.receiver.as_str()), texts(&case["receivers"]))?;
    if !case["route_keys"].is_null() {
        same("keys", found.iter().map(|r| r.key.as_str()), texts(&case["route_keys"]))?;
    }
    let options = case["options"].as_array().into_iter().flatten();
    for (route, options) in found.iter().zip(options) {
        check_options(route, options)?;
    }
    Ok(())
}

fn same<'a>(
    what: &str,
    found: impl Iterator<Item = &'a str>,
    wanted: Vec<&str>,
) -> Result<(), String> {
    let found: Vec<&str> = found.collect();
    if found == wanted { Ok(()) } else { Err(format!("{what} {found:?}, must be {wanted:?}")) }
}

/// Options that are not named have their defaults.
fn check_options(route: &Route, options: &Json) -> Result<(), String> {
    let wanted: BTreeSet<&str> = match &options["GroupBy"] {
        Json::String(name) => BTreeSet::from([name.as_str()]),
        call => texts(&call["args"]).into_iter().collect(),
    };
    let group_by_fits = match &route.group_by {
        GroupBy::All => options["GroupByAll"] == true,
        GroupBy::Names(names) => {
            options["GroupByAll"] != true
                && names.iter().map(String::as_str).collect::<BTreeSet<_>>() == wanted
        }
    };
    if !group_by_fits {
        return Err(format!("groups by {:?}, must by {}", route.group_by, options["GroupBy"]));
    }
    for (name, found, default) in [
        ("GroupWait", route.group_wait_ms, GROUP_WAIT_MS),
        ("GroupInterval", route.group_interval_ms, GROUP_INTERVAL_MS),
        ("RepeatInterval", route.repeat_interval_ms, REPEAT_INTERVAL_MS),
    ] {
        let wanted = match options[name]["go"].as_str() {
            Some(text) => duration_ms(text).ok_or_else(|| format!("{name} {text:?} unknown"))?,
            None => default,
        };
        if found != wanted {
            return Err(format!("{name} is {found} ms, must be {wanted} ms"));
        }
    }
    Ok(())
}

/// `2 * time.Minute`
fn duration_ms(text: &str) -> Option<u64> {
    let (count, unit) = text.split_once(" * time.")?;
    let unit_ms = match unit {
        "Second" => 1000,
        "Minute" => 60_000,
        "Hour" => 3_600_000,
        _ => return None,
    };
    Some(count.parse::<u64>().ok()? * unit_ms)
}
