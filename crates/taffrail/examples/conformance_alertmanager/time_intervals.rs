//! Time intervals, and moments inside and outside of them: `facts/time-intervals.json`.

use std::path::Path;

use alert::time_interval::{Range, TimeInterval, Times, any_contains, location};
use serde_json::Value as Json;
use taffrail::alertmanager_yml;

use crate::{Tally, UPSTREAM, indented, texts};

pub(crate) fn run(cases: &[Json], tally: &mut Tally) {
    for (i, case) in cases.iter().enumerate() {
        let table = case["table"].as_str().unwrap_or_default();
        tally.verdict(&format!("time interval {i} of {table}"), check(case));
    }
}

fn check(case: &Json) -> Result<(), String> {
    let intervals = match case["in"].as_str() {
        Some(yaml) => match (from_yaml(yaml), case["expectError"] == true) {
            (Ok(intervals), false) => intervals,
            (Ok(_), true) => return Err("read, must be refused".to_owned()),
            (Err(e), false) => return Err(e),
            (Err(e), true) => {
                let error = case["err"].as_str().unwrap_or_default();
                return if e.contains(error) { Ok(()) } else { Err(format!("{e}, not {error}")) };
            }
        },
        None => vec![from_struct(&case["timeInterval"]).ok_or("struct unknown")?],
    };
    for (keys, wanted) in
        [(["contains", "validTimeStrings"], true), (["excludes", "invalidTimeStrings"], false)]
    {
        for t in keys.iter().flat_map(|key| texts(&case[*key])) {
            let moment = jiff::fmt::strtime::parse("%d %b %y %H:%M %z", t)
                .and_then(|t| t.to_timestamp())
                .map_err(|e| format!("time {t:?}: {e}"))?;
            if any_contains(&intervals, moment.as_millisecond()) != wanted {
                return Err(format!("{t}: inside must be {wanted}"));
            }
        }
    }
    Ok(())
}

/// A list of intervals, or one.
fn from_yaml(yaml: &str) -> Result<Vec<TimeInterval>, String> {
    let lines = yaml.lines().filter(|line| *line != "---").map(|line| format!("{line}\n"));
    let yaml: String = lines.collect();
    let is_list = yaml.lines().any(|line| line.starts_with('-'));
    let specs = if is_list { indented(&yaml, 4) } else { format!("    -\n{}", indented(&yaml, 6)) };
    let config = format!(
        "route: {{receiver: x}}\nreceivers: [{{name: x}}]\ntime_intervals:\n  - name: x\n    time_intervals:\n{specs}"
    );
    let loaded = alertmanager_yml::load(Path::new("facts.yml"), &config, UPSTREAM, &|_| None)
        .map_err(|mistakes| mistakes.iter().map(|m| format!("{m}\n")).collect::<String>())?;
    Ok(loaded.config.time_intervals["x"].clone())
}

fn from_struct(json: &Json) -> Option<TimeInterval> {
    let ranges = |key: &str| -> Option<Vec<Range>> {
        let items = json[key].as_array().into_iter().flatten();
        let range = |item: &Json| {
            // Embedded structs are lists of one.
            let range = item.as_array().and_then(|list| list.first()).unwrap_or(item);
            let number = |key: &str| i32::try_from(range[key].as_i64()?).ok();
            Some(Range { first: number("Begin")?, last: number("End")? })
        };
        items.map(range).collect()
    };
    let times = json["Times"].as_array().into_iter().flatten().map(|times| {
        let minute = |key: &str| u16::try_from(times[key].as_u64()?).ok();
        Some(Times { start_minute: minute("StartMinute")?, end_minute: minute("EndMinute")? })
    });
    let zone = json["Location"].as_array().and_then(|call| call.first());
    let zone = zone.map(|call| location(texts(&call["args"]).first().copied().unwrap_or("")).ok());
    Some(TimeInterval {
        times: times.collect::<Option<_>>()?,
        weekdays: ranges("Weekdays")?,
        days_of_month: ranges("DaysOfMonth")?,
        months: ranges("Months")?,
        years: ranges("Years")?,
        location: match zone {
            Some(zone) => Some(zone?),
            None => None,
        },
    })
}
