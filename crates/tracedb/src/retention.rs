//! How long which traces are kept: by their services, what is past its time, and what a change of rules would remove.
//!
//! A service belongs to the first rule that matches its name, or to none, for which the store's retention holds. A trace is
//! kept as long as the service in it that is kept longest, so that none is torn. Traces go when the last span of their part
//! is past their time: the part as a whole, or, written anew, without them. Does not own: writing and removing parts
//! (`merge`, `engine`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{Error, ErrorKind, Result, RetentionPreview, RetentionRule};
use rustc_hash::FxHashSet;

use crate::part::{Part, service_of};
use crate::store::Store;

/// Rules of retention at most.
pub const RULES_MAX: usize = 8;

/// Classes of services: bit *i* is rule *i*, the bit behind the last rule is the services that no rule matches.
pub(crate) type Classes = u16;

/// The rules of a store.
#[derive(Debug, Clone)]
pub(crate) struct Retention {
    rules: Vec<RetentionRule>,
    default_ms: i64,
}

impl Retention {
    pub(crate) fn new(rules: Vec<RetentionRule>, default_ms: i64) -> Result<Self> {
        if rules.len() > RULES_MAX {
            let message =
                format!("{} rules of retention for traces; at most {RULES_MAX}", rules.len());
            return Err(Error::invalid(message));
        }
        if rules.iter().map(|rule| rule.retention_ms).any(|ms| ms <= 0) || default_ms <= 0 {
            return Err(Error::invalid("retention_ms of the trace store must be above 0"));
        }
        Ok(Self { rules, default_ms })
    }

    /// Number of the class of a service, up to the number of rules.
    fn class(&self, service: Option<&str>) -> usize {
        let service = service.unwrap_or("");
        let is_its = |rule: &RetentionRule| rule.matchers.iter().all(|m| m.matches(service));
        self.rules.iter().position(is_its).unwrap_or(self.rules.len())
    }

    fn keep_ms(&self, class: usize) -> i64 {
        self.rules.get(class).map_or(self.default_ms, |rule| rule.retention_ms)
    }

    /// First nanosecond that a class keeps at `now_ms`.
    fn oldest_ns(&self, class: usize, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.keep_ms(class)).saturating_mul(1_000_000)
    }

    /// How long the class that is kept longest is kept, in milliseconds.
    pub(crate) fn longest_ms(&self) -> i64 {
        self.rules.iter().map(|rule| rule.retention_ms).fold(self.default_ms, i64::max)
    }

    fn classes(&self) -> std::ops::RangeInclusive<usize> {
        0..=self.rules.len()
    }

    /// The classes of the services of `part`.
    fn classes_of(&self, part: &Part) -> Classes {
        *part.classes.get_or_init(|| {
            if self.rules.is_empty() {
                return 1;
            }
            let listed = part.index.operations.iter().map(|operation| {
                let service = operation.service.map(|service| part.text(service));
                1 << self.class(service)
            });
            let unlisted = || {
                let blocks = part.index.blocks.iter().enumerate();
                blocks.filter(|(_, block)| block.operations.is_none()).map(|(number, _)| number)
            };
            // What cannot be read may be of any class.
            let of_block = |number| {
                let read = self.each_trace(part, number, &mut |_, _, _| {});
                read.unwrap_or(Classes::MAX)
            };
            listed.chain(unlisted().map(of_block)).fold(0, |all, classes: Classes| all | classes)
        })
    }

    /// The classes that keep nothing up to `max_ns`.
    fn over(&self, max_ns: i64, now_ms: i64) -> Classes {
        let is_over = |class: &usize| max_ns < self.oldest_ns(*class, now_ms);
        self.classes().filter(is_over).fold(0, |classes, class| classes | 1 << class)
    }

    /// Whether all of `part` is past its time.
    pub(crate) fn is_over(&self, part: &Part, now_ms: i64) -> bool {
        self.classes_of(part) & !self.over(part.summary.max_ns, now_ms) == 0
    }

    /// Calls `f` with trace, classes of its services in this block and number of its rows; returns all classes.
    fn each_trace(
        &self,
        part: &Part,
        block: usize,
        f: &mut dyn FnMut(u128, Classes, u64),
    ) -> Result<Classes> {
        let read = part.guard(block, || {
            let core = part.core(block)?;
            let services = core.origins.iter().map(|(resource, _)| service_of(resource));
            let classes: Vec<Classes> = services
                .map(|service| Ok(1 << self.class(service?.as_deref())))
                .collect::<Result<_>>()?;
            let mut all = 0;
            for (number, run) in core.runs.iter().enumerate() {
                let (mut of_run, mut rows) = (0, 0);
                for row in core.rows_of(number) {
                    of_run |= classes[core.origin_codes[row] as usize];
                    rows += 1;
                }
                f(run.trace_id, of_run, rows);
                all |= of_run;
            }
            Ok(all)
        })?;
        read.ok_or_else(|| Error::new(ErrorKind::Corrupt, "block of a trace part is damaged"))
    }

    /// Traces of `part` that are past their time, while others are not. Looked for once for each set of classes whose time is over.
    ///
    /// Cost: reads the core of each block.
    pub(crate) fn gone(&self, part: &Part, now_ms: i64) -> Result<FxHashSet<u128>> {
        let over = self.over(part.summary.max_ns, now_ms);
        let all = self.classes_of(part);
        let is_partly_over = all & over != 0 && all & !over != 0;
        if !is_partly_over || part.looked_through.load(Ordering::Relaxed) == over {
            return Ok(FxHashSet::default());
        }
        let (mut gone, mut kept) = (FxHashSet::default(), FxHashSet::default());
        for block in 0..part.index.blocks.len() {
            self.each_trace(part, block, &mut |trace_id, classes, _| {
                if classes & !over == 0 {
                    gone.insert(trace_id)
                } else {
                    kept.insert(trace_id)
                };
            })?;
        }
        gone.retain(|trace_id| !kept.contains(trace_id));
        if gone.is_empty() {
            part.looked_through.store(over, Ordering::Relaxed);
        }
        Ok(gone)
    }

    /// Of several classes the one that is kept longest.
    fn longest_of(&self, classes: Classes) -> usize {
        let of = self.classes().filter(|class| classes & (1 << class) != 0);
        of.max_by_key(|class| self.keep_ms(*class)).unwrap_or(self.rules.len())
    }
}

impl Store {
    /// What `rules`, with `default_ms` for all other services, would keep and remove now: one entry per rule, then one for
    /// the rest. A trace belongs to the service in it that is kept longest. Nothing changes.
    ///
    /// Cost: reads the core of each block of all parts.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) with more than [`RULES_MAX`] rules; a failure to read.
    pub fn preview_retention(
        &self,
        rules: Vec<RetentionRule>,
        default_ms: i64,
    ) -> Result<Vec<RetentionPreview>> {
        let retention = Retention::new(rules, default_ms)?;
        let now_ms = self.clock.now_ms();
        let view = self.shared.snapshot();
        let preview = |class| RetentionPreview {
            keep_ms: retention.keep_ms(class),
            ..RetentionPreview::default()
        };
        let mut all: Vec<RetentionPreview> = retention.classes().map(preview).collect();
        let mut services: BTreeSet<String> = BTreeSet::new();
        for part in &view.parts {
            let known = part.index.operations.iter().filter_map(|operation| operation.service);
            services.extend(known.map(|service| part.text(service).to_owned()));
            let mut traces: BTreeMap<u128, (Classes, u64)> = BTreeMap::new();
            for (block, meta) in part.index.blocks.iter().enumerate() {
                if meta.operations.is_none() {
                    services.extend(unlisted_services(part, block)?);
                }
                let read = retention.each_trace(part, block, &mut |trace_id, classes, rows| {
                    let known = traces.entry(trace_id).or_default();
                    *known = (known.0 | classes, known.1 + rows);
                });
                match read {
                    // Damage is told elsewhere, and what is damaged is not counted.
                    Err(e) if e.kind() == ErrorKind::Corrupt => {}
                    read => drop(read?),
                }
            }
            add_part(&retention, part, &traces, now_ms, &mut all);
        }
        for chunk in &view.chunks {
            let names: Vec<Option<String>> = (0..chunk.rows.origins.len() as u32)
                .map(|origin| Ok(chunk.rows.resource(origin)?.service().map(str::to_owned)))
                .collect::<Result<_>>()?;
            let mut traces: BTreeMap<u128, (Classes, u64, i64)> = BTreeMap::new();
            for row in &chunk.rows.rows {
                let class = retention.class(names[row.origin as usize].as_deref());
                let known = traces.entry(row.trace_id).or_insert((0, 0, row.start_ns));
                *known = (known.0 | 1 << class, known.1 + 1, known.2.min(row.start_ns));
            }
            for (classes, rows, start_ns) in traces.into_values() {
                let of = &mut all[retention.longest_of(classes)];
                of.rows += rows;
                of.oldest_ns = Some(of.oldest_ns.map_or(start_ns, |known| known.min(start_ns)));
            }
            services.extend(names.into_iter().flatten());
        }
        for service in &services {
            all[retention.class(Some(service))].streams += 1;
        }
        Ok(all)
    }
}

/// Services of a block whose operations are too many for the index; none when it is damaged.
fn unlisted_services(part: &Part, block: usize) -> Result<Vec<String>> {
    let read = part.guard(block, || {
        let core = part.core(block)?;
        let services = core.origins.iter().map(|(resource, _)| service_of(resource));
        services.filter_map(Result::transpose).collect()
    })?;
    Ok(read.unwrap_or_default())
}

fn add_part(
    retention: &Retention,
    part: &Arc<Part>,
    traces: &BTreeMap<u128, (Classes, u64)>,
    now_ms: i64,
    all: &mut [RetentionPreview],
) {
    let bytes_per_row = part.bytes as f64 / part.summary.rows.max(1) as f64;
    let over = retention.over(part.summary.max_ns, now_ms);
    let mut rows_of = vec![0_u64; all.len()];
    for (classes, rows) in traces.values() {
        rows_of[retention.longest_of(*classes)] += rows;
    }
    for (class, rows) in rows_of.into_iter().enumerate().filter(|(_, rows)| *rows > 0) {
        let (of, bytes) = (&mut all[class], (rows as f64 * bytes_per_row).round() as u64);
        of.rows += rows;
        of.disk_bytes += bytes;
        let min_ns = part.summary.min_ns;
        of.oldest_ns = Some(of.oldest_ns.map_or(min_ns, |known| known.min(min_ns)));
        if over & (1 << class) != 0 {
            of.going_rows += rows;
            of.going_disk_bytes += bytes;
        }
    }
}
