//! Services, operations, names and values of attributes: from the head's spans and the parts' indexes, and from blocks only
//! where the index does not list them.
//!
//! Parts are looked at by block: what is stored beside spans of the range is listed, too. Implements
//! [`model::TraceSource`]; the rest of it is in `scan` and `edges`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use model::{
    AttributeScope, AttributeValue, Attributes, Budget, Edge, EdgePlan, Operation, Result,
    TimeRange, Trace, TracePlan, TraceSource,
};
use storage::codec::Reader;

use crate::attributes::{AttributeColumns, Values};
use crate::part::{Part, service_of};
use crate::record::kind_of;
use crate::rows::{Rows, Stretch};
use crate::screen::may_have;
use crate::store::Store;
use crate::value::{self, kind};
use crate::view::View;

impl TraceSource for Store {
    fn trace(&self, trace_id: u128, budget: &Budget) -> Result<Option<Trace>> {
        self.read_trace(trace_id, budget)
    }

    fn scan(
        &self,
        plan: &TracePlan,
        budget: &Budget,
        visit: &mut dyn FnMut(&Trace) -> ControlFlow<()>,
    ) -> Result<()> {
        self.scan_traces(plan, budget, visit)
    }

    fn services(&self, range: TimeRange, budget: &Budget) -> Result<Vec<String>> {
        let mut services = BTreeSet::new();
        self.each_operation(range, budget, &mut |service, _, _| {
            if let Some(service) = service
                && !services.contains(service)
            {
                services.insert(service.to_owned());
            }
        })?;
        Ok(services.into_iter().collect())
    }

    fn operations(
        &self,
        service: &str,
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<Operation>> {
        let mut operations = BTreeSet::new();
        self.each_operation(range, budget, &mut |of, name, kind| {
            if of == Some(service) {
                operations.insert(Operation { name: name.to_owned(), kind });
            }
        })?;
        Ok(operations.into_iter().collect())
    }

    fn edges(&self, plan: &EdgePlan, budget: &Budget) -> Result<Vec<Edge>> {
        self.sum_edges(plan, budget)
    }

    fn attribute_names(
        &self,
        range: TimeRange,
        budget: &Budget,
    ) -> Result<Vec<(AttributeScope, String)>> {
        let mut names: BTreeSet<(AttributeScope, String)> = BTreeSet::new();
        let view = self.shared.snapshot();
        for rows in rows_in(&view, range, budget)? {
            for scope in AttributeScope::ALL {
                each_in_rows(rows, range, scope, &mut |name, _| {
                    names.insert((scope, name.to_owned()));
                    Ok(())
                })?;
            }
        }
        for (part, number) in blocks_in(&view, range) {
            budget.check()?;
            if let Some(keys) = &part.index.blocks[number].keys {
                let key = |key: &u32| part.index.keys[*key as usize];
                names.extend(keys.iter().map(key).map(|(s, t)| (s, part.text(t).to_owned())));
                continue;
            }
            for scope in AttributeScope::ALL {
                part.guard(number, || {
                    each_in_block(part, number, scope, None, &mut |name, _| {
                        names.insert((scope, name.to_owned()));
                        Ok(())
                    })
                })?;
            }
        }
        Ok(names.into_iter().collect())
    }

    fn attribute_values(
        &self,
        scope: AttributeScope,
        name: &str,
        range: TimeRange,
        limit: usize,
        budget: &Budget,
    ) -> Result<Vec<AttributeValue>> {
        // By text, and by type: 1 and "1" are two values.
        let mut values: BTreeMap<(String, u8), AttributeValue> = BTreeMap::new();
        let mut note = |value: AttributeValue| {
            values.entry((value.to_string(), kind_number(&value))).or_insert(value);
            if values.len() > limit {
                values.pop_last();
            }
        };
        let view = self.shared.snapshot();
        for rows in rows_in(&view, range, budget)? {
            each_in_rows(rows, range, scope, &mut |key, value| {
                if key == name {
                    note(value()?);
                }
                Ok(())
            })?;
        }
        for (part, number) in blocks_in(&view, range) {
            let block = &part.index.blocks[number];
            if !may_have(part, block, &[scope], name) {
                continue;
            }
            budget.charge_samples(u64::from(block.rows))?;
            part.guard(number, || {
                each_in_block(part, number, scope, Some(name), &mut |_, value| {
                    note(value()?);
                    Ok(())
                })
            })?;
        }
        Ok(values.into_values().collect())
    }
}

fn kind_number(value: &AttributeValue) -> u8 {
    match value {
        AttributeValue::Empty => kind::EMPTY,
        AttributeValue::String(_) => kind::STRING,
        AttributeValue::Bool(_) => kind::BOOL,
        AttributeValue::Int(_) => kind::INT,
        AttributeValue::Double(_) => kind::DOUBLE,
        AttributeValue::Bytes(_) => kind::BYTES,
        AttributeValue::Array(_) | AttributeValue::Map(_) => kind::NESTED,
    }
}

/// Called with a name and a way to its value.
type Visit<'v> = dyn FnMut(&str, &dyn Fn() -> Result<AttributeValue>) -> Result<()> + 'v;

fn rows_in<'v>(view: &'v View, range: TimeRange, budget: &Budget) -> Result<Vec<&'v Rows>> {
    let chunks = view.chunks.iter().filter(|c| range.overlaps(c.min_ns, c.max_ns));
    let rows: Vec<&Rows> = chunks.map(|c| &c.rows).collect();
    budget.charge_samples(rows.iter().map(|r| r.len() as u64).sum())?;
    Ok(rows)
}

fn blocks_in(view: &View, range: TimeRange) -> impl Iterator<Item = (&Part, usize)> {
    view.parts.iter().flat_map(move |part| {
        let blocks = part.index.blocks.iter().enumerate();
        let wanted = blocks.filter(move |(_, b)| range.overlaps(b.min_ns, b.max_ns));
        wanted.map(move |(number, _)| (&**part, number))
    })
}

impl Store {
    /// Calls `f` with service, name and kind of what is within `range`; more than once, perhaps.
    fn each_operation(
        &self,
        range: TimeRange,
        budget: &Budget,
        f: &mut dyn FnMut(Option<&str>, &str, u8),
    ) -> Result<()> {
        let view = self.shared.snapshot();
        for rows in rows_in(&view, range, budget)? {
            let mut services = Vec::new();
            for origin in 0..rows.origins.len() as u32 {
                services.push(rows.resource(origin)?.service().map(str::to_owned));
            }
            for row in rows.rows.iter().filter(|row| range.contains(row.start_ns)) {
                f(services[row.origin as usize].as_deref(), rows.str(row.name)?, row.kind as u8);
            }
        }
        for (part, number) in blocks_in(&view, range) {
            budget.check()?;
            if let Some(operations) = &part.index.blocks[number].operations {
                for operation in operations {
                    let operation = &part.index.operations[*operation as usize];
                    let service = operation.service.map(|s| part.text(s));
                    f(service, part.text(operation.name), operation.kind);
                }
                continue;
            }
            budget.charge_samples(u64::from(part.index.blocks[number].rows))?;
            part.guard(number, || {
                let core = part.core(number)?;
                let services: Vec<Option<String>> =
                    core.origins.iter().map(|(r, _)| service_of(r)).collect::<Result<_>>()?;
                for row in 0..core.starts_ns.len() {
                    let service = services[core.origin_codes[row] as usize].as_deref();
                    let name = String::from_utf8_lossy(core.names.get(row));
                    f(service, &name, kind_of(core.kinds[row])?.0 as u8);
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

fn each_of(attributes: &Attributes, f: &mut Visit<'_>) -> Result<()> {
    attributes.iter().try_for_each(|(name, value)| f(name, &|| Ok(value.clone())))
}

fn each_in_rows(
    rows: &Rows,
    range: TimeRange,
    scope: AttributeScope,
    f: &mut Visit<'_>,
) -> Result<()> {
    let all = || rows.rows.iter().filter(|row| range.contains(row.start_ns));
    let origins: BTreeSet<u32> = all().map(|row| row.origin).collect();
    let mut each = |of: Stretch| {
        rows.attributes[of.range()]
            .iter()
            .try_for_each(|a| f(rows.str(a.key)?, &|| rows.value(a.value)))
    };
    match scope {
        AttributeScope::Span => all().try_for_each(|row| each(row.attributes)),
        AttributeScope::Event => all()
            .flat_map(|row| &rows.events[row.events.range()])
            .try_for_each(|event| each(event.attributes)),
        AttributeScope::Link => all()
            .flat_map(|row| &rows.links[row.links.range()])
            .try_for_each(|link| each(link.attributes)),
        AttributeScope::Resource => {
            origins.into_iter().try_for_each(|o| each_of(&rows.resource(o)?.attributes, f))
        }
        AttributeScope::Instrumentation => {
            origins.into_iter().try_for_each(|o| each_of(&rows.scope(o)?.attributes, f))
        }
    }
}

/// Calls `f` with the names of a block's attributes, or the values of `name`, each of them about once.
fn each_in_block(
    part: &Part,
    number: usize,
    scope: AttributeScope,
    name: Option<&str>,
    f: &mut Visit<'_>,
) -> Result<()> {
    let is_wanted = |key: &str| name.is_none_or(|name| key == name);
    match scope {
        AttributeScope::Resource | AttributeScope::Instrumentation => {
            for (resource, of_scope) in part.core(number)?.origins {
                let attributes = if scope == AttributeScope::Resource {
                    value::decode_resource(&resource)?.attributes
                } else {
                    value::decode_scope(&of_scope)?.attributes
                };
                let wanted = attributes.into_iter().filter(|(key, _)| is_wanted(key)).collect();
                each_of(&wanted, f)?;
            }
            Ok(())
        }
        AttributeScope::Span => each_in_columns(&part.attributes(number)?, name, f),
        AttributeScope::Event => each_in_columns(&part.rest(number)?.event_attributes, name, f),
        AttributeScope::Link => each_in_columns(&part.rest(number)?.link_attributes, name, f),
    }
}

fn each_in_columns(
    columns: &AttributeColumns,
    name: Option<&str>,
    f: &mut Visit<'_>,
) -> Result<()> {
    for (number, column) in columns.columns.iter().enumerate() {
        let key = String::from_utf8_lossy(&column.key);
        let Some(name) = name else {
            f(&key, &|| Ok(AttributeValue::Empty))?;
            continue;
        };
        if key != name {
            continue;
        }
        match columns.values(number)? {
            Values::Empty => f(name, &|| Ok(AttributeValue::Empty))?,
            Values::Bools(values) => {
                let values: BTreeSet<bool> = values.into_iter().map(|v| v != 0).collect();
                values.into_iter().try_for_each(|v| f(name, &|| Ok(AttributeValue::Bool(v))))?;
            }
            Values::Ints(values) => {
                let values: BTreeSet<i64> = values.into_iter().collect();
                values.into_iter().try_for_each(|v| f(name, &|| Ok(AttributeValue::Int(v))))?;
            }
            Values::Doubles(values) => {
                let values: BTreeSet<u64> = values.into_iter().map(f64::to_bits).collect();
                values.into_iter().try_for_each(|bits| {
                    f(name, &|| Ok(AttributeValue::Double(f64::from_bits(bits))))
                })?;
            }
            Values::Texts(texts) => {
                for code in 0..texts.distinct() {
                    let text = texts.text(code);
                    f(name, &|| {
                        Ok(match column.kind {
                            kind::BYTES => AttributeValue::Bytes(text.to_vec()),
                            kind::NESTED => value::decode(&mut Reader::new(text))?,
                            _ => AttributeValue::String(text_of(text)?),
                        })
                    })?;
                }
            }
        }
    }
    Ok(())
}

fn text_of(text: &[u8]) -> Result<String> {
    String::from_utf8(text.to_vec())
        .map_err(|e| model::Error::corrupt(format!("attribute is not UTF-8: {e}")))
}
