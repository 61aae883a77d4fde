//! What is shown of spans that cannot be true: ends before starts, ids that come twice, parents that are missing or go in
//! circles, and clocks that differ between hosts.
//!
//! Clocks are compared as Jaeger does it: a span that ran on another host than its parent, or on an unknown one, should lie
//! within its parent. If it is shorter it is centred there, assuming that the network took as long on the way back; if it is
//! longer it must not start earlier. Spans below it on the same host move along.
//!
//! Source: Jaeger, "Clock Skew Adjustment".

use std::fmt;

use model::{AttributeValue, Resource, Span, SpanKind, Trace};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::spans::find;

/// What is shown in place of a span's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) span_id: u64,
    pub(super) parent_id: u64,
    moved_ns: i64,
    pub(super) warnings: Vec<String>,
}

impl Shown {
    /// A moment of the span as it is shown.
    pub(super) fn at(&self, t_ns: i64) -> i64 {
        t_ns.saturating_add(self.moved_ns)
    }
}

/// Spans as they were sent, in the order of the groups.
pub(super) fn as_sent(trace: &Trace) -> Vec<Shown> {
    let spans = trace.groups.iter().flat_map(|group| &group.spans);
    spans
        .map(|span| Shown { span_id: span.span_id, parent_id: span.parent_id, ..Shown::default() })
        .collect()
}

/// Spans made unique and adjusted, likewise.
pub(super) fn adjusted(trace: &Trace, skew_ns_max: u64) -> Vec<Shown> {
    let mut shown = as_sent(trace);
    let spans: Vec<Node<'_>> = trace
        .groups
        .iter()
        .flat_map(|group| {
            let host = host(&group.resource);
            group.spans.iter().map(move |span| Node { span, host })
        })
        .collect();
    separate_shared(&spans, &mut shown);
    for (node, shown) in spans.iter().zip(&mut shown) {
        let Span { start_ns, end_ns, .. } = node.span;
        if end_ns < start_ns {
            let before = Duration(i128::from(*start_ns) - i128::from(*end_ns));
            shown
                .warnings
                .push(format!("span ends {before} before it starts; shown without a duration"));
        }
    }
    let tree = Tree::new(&mut shown);
    tree.adjust(&spans, &mut shown, skew_ns_max);
    shown
}

struct Node<'t> {
    span: &'t Span,
    host: Option<&'t str>,
}

/// Where a process ran.
fn host(resource: &Resource) -> Option<&str> {
    ["host.id", "host.ip", "ip", "host.name"].into_iter().find_map(|name| {
        match find(&resource.attributes, name)? {
            AttributeValue::String(text) => Some(text.as_str()),
            AttributeValue::Array(list) => match list.first() {
                Some(AttributeValue::String(text)) => Some(text.as_str()),
                _ => None,
            },
            _ => None,
        }
        .filter(|text| !text.is_empty())
    })
}

/// Zipkin's clients give both sides of a call one id. The server's side gets another and becomes the child of the client's.
fn separate_shared(spans: &[Node<'_>], shown: &mut [Shown]) {
    let used: FxHashSet<u64> = spans.iter().map(|node| node.span.span_id).collect();
    let of_kind = |kind| spans.iter().filter(move |node| node.span.kind == kind);
    let clients: FxHashSet<u64> = of_kind(SpanKind::Client).map(|node| node.span.span_id).collect();
    let mut renamed = FxHashMap::default();
    let mut next = 0_u64;
    for (node, shown) in spans.iter().zip(shown.iter_mut()) {
        let id = node.span.span_id;
        if node.span.kind == SpanKind::Server && clients.contains(&id) {
            // There are fewer spans than ids.
            next += 1;
            while used.contains(&next) {
                next += 1;
            }
            (shown.span_id, shown.parent_id) = (next, id);
            renamed.entry(id).or_insert(next);
        }
    }
    // What the server called are children of its side.
    for (node, shown) in spans.iter().zip(shown) {
        let is_renamed = shown.span_id != node.span.span_id;
        if let Some(server) = renamed.get(&shown.parent_id).filter(|_| !is_renamed) {
            shown.parent_id = *server;
        }
    }
}

/// Who is whose child, by places in the list of spans.
struct Tree {
    roots: Vec<usize>,
    /// First child and next sibling.
    children: Vec<(Option<usize>, Option<usize>)>,
    /// Whether another span had the id before; such spans are in no tree.
    is_duplicate: Vec<bool>,
}

impl Tree {
    fn new(shown: &mut [Shown]) -> Self {
        let mut places = FxHashMap::default();
        let mut is_duplicate = vec![false; shown.len()];
        for (at, shown) in shown.iter_mut().enumerate() {
            if *places.entry(shown.span_id).or_insert(at) != at {
                is_duplicate[at] = true;
                let why = "duplicate span IDs; skipping clock skew adjustment";
                shown.warnings.push(why.to_owned());
            }
        }
        let children = vec![(None, None); shown.len()];
        let mut tree = Self { roots: Vec::new(), children, is_duplicate };
        for at in (0..shown.len()).rev() {
            let parent_id = shown[at].parent_id;
            if tree.is_duplicate[at] {
                continue;
            }
            if parent_id == 0 {
                tree.roots.push(at);
            } else if let Some(parent) = places.get(&parent_id) {
                tree.children[at].1 = tree.children[*parent].0.replace(at);
            } else {
                shown[at].warnings.push(format!(
                    "parent span ID={parent_id:016x} is not in the trace; skipping clock skew adjustment"
                ));
                tree.roots.push(at);
            }
        }
        tree
    }

    fn adjust(&self, spans: &[Node<'_>], shown: &mut [Shown], skew_ns_max: u64) {
        let mut is_seen = self.is_duplicate.clone();
        // Places, their parents, and by how much the parent's host is wrong.
        let mut open: Vec<(usize, Option<usize>, i64)> =
            self.roots.iter().map(|root| (*root, None, 0)).collect();
        while let Some((at, parent, mut skew_ns)) = open.pop() {
            is_seen[at] = true;
            if let Some(parent) = parent {
                let is_elsewhere = spans[at].host.is_none() || spans[at].host != spans[parent].host;
                if is_elsewhere {
                    skew_ns = skew(spans[at].span, spans[parent].span, &shown[parent]);
                }
            }
            move_by(&mut shown[at], skew_ns, skew_ns_max);
            let mut child = self.children[at].0;
            while let Some(at_child) = child {
                open.push((at_child, Some(at), skew_ns));
                child = self.children[at_child].1;
            }
        }
        for (shown, is_seen) in shown.iter_mut().zip(is_seen) {
            if !is_seen {
                let why = "its parents form a circle; skipping clock skew adjustment";
                shown.warnings.push(why.to_owned());
            }
        }
    }
}

/// By how much `child` must move to lie within `parent` as it is shown.
fn skew(child: &Span, parent: &Span, shown: &Shown) -> i64 {
    let start_ns = i128::from(shown.at(parent.start_ns));
    let (child_start_ns, child_ns) = (i128::from(child.start_ns), i128::from(child.duration_ns()));
    let parent_ns = i128::from(parent.duration_ns());
    let needed = if child_ns > parent_ns {
        (start_ns - child_start_ns).max(0)
    } else if child_start_ns >= start_ns && child_start_ns + child_ns <= start_ns + parent_ns {
        0
    } else {
        start_ns + (parent_ns - child_ns) / 2 - child_start_ns
    };
    i64::try_from(needed).unwrap_or(if needed < 0 { i64::MIN } else { i64::MAX })
}

fn move_by(shown: &mut Shown, skew_ns: i64, skew_ns_max: u64) {
    if skew_ns == 0 {
        return;
    }
    let skew = Duration(i128::from(skew_ns));
    shown.warnings.push(if skew_ns.unsigned_abs() <= skew_ns_max {
        shown.moved_ns = skew_ns;
        format!("This span's timestamps were adjusted by {skew}")
    } else if skew_ns_max == 0 {
        format!("clock skew adjustment disabled; not applying calculated delta of {skew}")
    } else {
        let max = Duration(i128::from(skew_ns_max));
        format!("max clock skew adjustment delta of {max} exceeded; not applying calculated delta of {skew}")
    });
}

/// Nanoseconds as Go writes durations: `1.5ms`, `1h2m3.5s`.
struct Duration(i128);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let (unit_ns, unit) = match ns {
            0 => return f.write_str("0s"),
            1..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        let mut whole = ns / unit_ns;
        if unit == "s" {
            let (hours, minutes) = (whole / 3_600, whole / 60 % 60);
            if hours > 0 {
                write!(f, "{hours}h")?;
            }
            if hours > 0 || minutes > 0 {
                write!(f, "{minutes}m")?;
            }
            whole %= 60;
        }
        write!(f, "{whole}")?;
        let digits = unit_ns.ilog10() as usize;
        let fraction = format!("{:0digits$}", ns % unit_ns);
        let fraction = fraction.trim_end_matches('0');
        if digits > 0 && !fraction.is_empty() {
            write!(f, ".{fraction}")?;
        }
        f.write_str(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        let check = |ns, expected: &str| assert_eq!(Duration(ns).to_string(), expected);
        check(0, "0s");
        check(1, "1ns");
        check(-1_100, "-1.1µs");
        check(2_000_000, "2ms");
        check(1_000_000_001, "1.000000001s");
        check(62_500_000_000, "1m2.5s");
        check(3_600_000_000_000, "1h0m0s");
        check(i128::from(i64::MIN), "-2562047h47m16.854775808s");
    }
}
