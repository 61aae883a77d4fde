//! Time intervals and their names.

use std::collections::BTreeMap;

use alert::time_interval::{
    Range, TimeInterval, Times, days_of_month, location, months, weekdays, years,
};

use super::{Reading, key_line, line_of};
use crate::prometheus_yml::node::Node;

/// One range of a kind.
type ReadRange = fn(&str) -> model::Result<Range>;

impl Reading<'_> {
    /// All of the file by name, the old mute time intervals with them.
    pub(super) fn time_intervals(&mut self, root: &Node) -> BTreeMap<String, Vec<TimeInterval>> {
        let mut found = BTreeMap::new();
        for (key, what) in
            [("mute_time_intervals", "mute time interval"), ("time_intervals", "time interval")]
        {
            for node in root.get(key).map(Node::items).unwrap_or_default() {
                let name = node.text_of("name").unwrap_or("");
                if name.is_empty() {
                    self.mistakes.push((key_line(node, "name"), format!("missing name in {what}")));
                } else if found.contains_key(name) {
                    let why = format!("{what} {name:?} is not unique");
                    self.mistakes.push((line_of(node, "name"), why));
                }
                let specs = node.get("time_intervals").map(Node::items).unwrap_or_default();
                let intervals = specs.iter().map(|spec| self.time_interval(spec)).collect();
                found.entry(name.to_owned()).or_insert(intervals);
            }
        }
        found
    }

    fn time_interval(&mut self, node: &Node) -> TimeInterval {
        let mut ranges = |key: &str, read: ReadRange| -> Vec<Range> {
            let items = node.get(key).map(Node::items).unwrap_or_default();
            let found = items.iter().filter_map(|item| {
                let range = read(item.text().unwrap_or(""));
                range.map_err(|e| self.mistakes.push((item.line, e.message().to_owned()))).ok()
            });
            found.collect()
        };
        let mut interval = TimeInterval {
            times: Vec::new(),
            weekdays: ranges("weekdays", weekdays),
            days_of_month: ranges("days_of_month", days_of_month),
            months: ranges("months", months),
            years: ranges("years", years),
            location: None,
        };
        if let Some(name) = node.get("location") {
            match location(name.text().unwrap_or("")) {
                Ok(zone) => interval.location = Some(zone),
                Err(e) => self.mistakes.push((name.line, e.message().to_owned())),
            }
        }
        for times in node.get("times").map(Node::items).unwrap_or_default() {
            interval.times.extend(self.times(times));
        }
        interval
    }

    fn times(&mut self, node: &Node) -> Option<Times> {
        let text = |key: &str| node.text_of(key).unwrap_or("");
        let (start, end) = (text("start_time"), text("end_time"));
        match Times::parse(start, end) {
            Ok(times) if times.is_over_midnight() && self.options.strict => {
                self.mistakes.push((node.line, Times::BACKWARDS.to_owned()));
                None
            }
            Ok(times) => {
                if times.is_over_midnight() {
                    let why = format!(
                        "{start} to {end} goes over midnight and means 00:00 to {end} and {start} to 24:00 of each day; \
                         Alertmanager refuses it: write these two"
                    );
                    self.warnings.push((node.line, why));
                }
                Some(times)
            }
            Err(e) => {
                self.mistakes.push((node.line, e.message().to_owned()));
                None
            }
        }
    }
}
