//! The conditions of a [`model::TracePlan`], decided for the rows of blocks and of the head: by the index where it can,
//! then by the core, and by attributes only for what is left.
//!
//! Does not own: which traces come of the rows, and their order (`scan`).

use model::{
    AttributeScope, AttributeValue, Attributes, Resource, Result, Scope, SpanCondition, SpanField,
    ValueTest,
};
use storage::codec::Reader;

use crate::attributes::{self, AttributeColumns};
use crate::block::{Core, Rest};
use crate::column::TextColumn;
use crate::part::{BlockMeta, Part};
use crate::record::kind_of;
use crate::rows::{Row, Rows, Stretch, duration_ns};
use crate::value::{self, kind};
use crate::values::Values;

/// Whether the block may have a span that satisfies `condition`, by what the index says.
pub(crate) fn may_match(condition: &SpanCondition, part: &Part, block: &BlockMeta) -> bool {
    match condition {
        SpanCondition::Always => true,
        SpanCondition::All(all) => all.iter().all(|c| may_match(c, part, block)),
        SpanCondition::Any(any) => any.iter().any(|c| may_match(c, part, block)),
        SpanCondition::Test(field, test) => {
            let has_operation = |holds: &dyn Fn(u32) -> bool| {
                block.operations.as_ref().is_none_or(|all| all.iter().any(|o| holds(*o)))
            };
            let text = |text: u32| AttributeValue::String(part.text(text).to_owned());
            let operations = &part.index.operations;
            match field {
                SpanField::Name => {
                    has_operation(&|o| test.holds(&text(operations[o as usize].name)))
                }
                SpanField::Kind => has_operation(&|o| {
                    test.holds(&AttributeValue::Int(i64::from(operations[o as usize].kind)))
                }),
                SpanField::Status | SpanField::Root => true,
                SpanField::Duration { ns_min } => block.duration_max_ns >= *ns_min,
                SpanField::Service => has_operation(&|o| {
                    operations[o as usize].service.is_some_and(|service| test.holds(&text(service)))
                }),
                SpanField::Attribute(scope, name) => may_have(part, block, &[*scope], name),
            }
        }
    }
}

/// Whether the block may have attributes `key` in one of `scopes`.
pub(crate) fn may_have(
    part: &Part,
    block: &BlockMeta,
    scopes: &[AttributeScope],
    key: &str,
) -> bool {
    let is_it = |number: &u32| {
        let (scope, text) = part.index.keys[*number as usize];
        scopes.contains(&scope) && part.text(text) == key
    };
    block.keys.as_ref().is_none_or(|keys| keys.iter().any(is_it))
}

/// Whether block `number` may have a span that satisfies one of `conditions`, by the filter of its values.
///
/// # Errors
/// [`Corrupt`](model::ErrorKind::Corrupt) or [`Io`](model::ErrorKind::Io).
pub(crate) fn may_hold(conditions: &[SpanCondition], part: &Part, number: usize) -> Result<bool> {
    // Read for texts alone.
    if conditions.iter().any(|condition| !has_texts(condition)) {
        return Ok(true);
    }
    let Some(bytes) = part.values(number)? else { return Ok(true) };
    let values = Values::decode(&bytes)?;
    Ok(conditions.iter().any(|condition| values_may_hold(condition, part, number, &values)))
}

/// Whether texts of attributes of spans may decide it.
fn has_texts(condition: &SpanCondition) -> bool {
    match condition {
        SpanCondition::Always => false,
        SpanCondition::Test(field, test) => {
            let is_of_span = matches!(field, SpanField::Attribute(AttributeScope::Span, _));
            is_of_span && test.text().is_some()
        }
        SpanCondition::All(all) => all.iter().any(has_texts),
        SpanCondition::Any(any) => any.iter().any(has_texts),
    }
}

fn values_may_hold(
    condition: &SpanCondition,
    part: &Part,
    number: usize,
    values: &Values<'_>,
) -> bool {
    let may_hold = |c: &SpanCondition| values_may_hold(c, part, number, values);
    match condition {
        SpanCondition::All(all) => all.iter().all(may_hold),
        SpanCondition::Any(any) => any.iter().any(may_hold),
        SpanCondition::Test(SpanField::Attribute(AttributeScope::Span, name), test) => {
            values.may_hold(name, test)
        }
        other => may_match(other, part, &part.index.blocks[number]),
    }
}

/// What it takes to decide conditions for one block; pieces are read when they are needed.
pub(crate) struct Screen<'a> {
    part: &'a Part,
    number: usize,
    core: &'a Core,
    origins: Option<Vec<(Resource, Scope)>>,
    attributes: Option<AttributeColumns>,
    rest: Option<Rest>,
}

impl<'a> Screen<'a> {
    pub(crate) fn new(part: &'a Part, number: usize, core: &'a Core) -> Self {
        Self { part, number, core, origins: None, attributes: None, rest: None }
    }

    /// The pieces that were read, for who reads on.
    pub(crate) fn into_pieces(self) -> (Option<AttributeColumns>, Option<Rest>) {
        (self.attributes, self.rest)
    }

    /// Which rows satisfy `condition`.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt) or [`Io`](model::ErrorKind::Io).
    pub(crate) fn rows(&mut self, condition: &SpanCondition) -> Result<Vec<bool>> {
        let count = self.core.starts_ns.len();
        Ok(match condition {
            SpanCondition::Always => vec![true; count],
            SpanCondition::Test(field, test) => self.test(field, test)?,
            SpanCondition::All(all) => {
                let mut all: Vec<&SpanCondition> = all.iter().collect();
                all.sort_by_key(|c| cost(c));
                let mut holds = vec![true; count];
                for condition in all {
                    let also = self.rows(condition)?;
                    holds.iter_mut().zip(also).for_each(|(holds, also)| *holds &= also);
                    if !holds.contains(&true) {
                        break;
                    }
                }
                holds
            }
            SpanCondition::Any(any) => {
                let mut holds = vec![false; count];
                for condition in any {
                    let also = self.rows(condition)?;
                    holds.iter_mut().zip(also).for_each(|(holds, also)| *holds |= also);
                }
                holds
            }
        })
    }

    fn test(&mut self, field: &SpanField, test: &ValueTest) -> Result<Vec<bool>> {
        let core = self.core;
        Ok(match field {
            SpanField::Name => {
                let by_code = texts_that_hold(test, &core.names);
                (0..core.starts_ns.len()).map(|row| by_code[core.names.code(row)]).collect()
            }
            SpanField::Kind | SpanField::Status => {
                let holds = |code: &u8| {
                    let (kind, status) = kind_of(*code)?;
                    let number =
                        if *field == SpanField::Kind { kind as i64 } else { status as i64 };
                    Ok(test.holds(&AttributeValue::Int(number)))
                };
                core.kinds.iter().map(holds).collect::<Result<_>>()?
            }
            SpanField::Root => {
                let by_value = [false, true].map(|value| test.holds(&AttributeValue::Bool(value)));
                let rows = 0..core.starts_ns.len();
                rows.map(|row| by_value[usize::from(core.is_root(row))]).collect()
            }
            SpanField::Duration { .. } => {
                let times = core.starts_ns.iter().zip(&core.ends_ns);
                let durations = times.map(|(start, end)| duration_ns(*start, *end));
                match test.ints() {
                    Some(ints) => durations.map(|ns| ints.contains(&clamped(ns))).collect(),
                    None => durations.map(|ns| holds_for(test, ns)).collect(),
                }
            }
            SpanField::Service
            | SpanField::Attribute(AttributeScope::Resource | AttributeScope::Instrumentation, _) =>
            {
                let by_origin: Vec<bool> = self
                    .origins()?
                    .iter()
                    .map(|origin| origin_holds(field, test, origin))
                    .collect();
                core.origin_codes.iter().map(|code| by_origin[*code as usize]).collect()
            }
            SpanField::Attribute(scope, name) => {
                let mut holds = vec![false; core.starts_ns.len()];
                let block = &self.part.index.blocks[self.number];
                if !may_have(self.part, block, &[*scope], name) {
                    return Ok(holds);
                }
                match scope {
                    AttributeScope::Event => {
                        let rest = self.rest()?;
                        let rows = rest.rows_of_events();
                        each_list(&rest.event_attributes, name, test, &mut |list| {
                            holds[rows[list] as usize] = true;
                        })?;
                    }
                    AttributeScope::Link => {
                        let rest = self.rest()?;
                        let rows = rest.rows_of_links();
                        each_list(&rest.link_attributes, name, test, &mut |list| {
                            holds[rows[list] as usize] = true;
                        })?;
                    }
                    _ => {
                        let columns = self.attributes()?;
                        each_list(columns, name, test, &mut |row| holds[row] = true)?;
                    }
                }
                holds
            }
        })
    }

    fn origins(&mut self) -> Result<&[(Resource, Scope)]> {
        if self.origins.is_none() {
            let decode = |(resource, scope): &(Vec<u8>, Vec<u8>)| {
                Ok((value::decode_resource(resource)?, value::decode_scope(scope)?))
            };
            self.origins = Some(self.core.origins.iter().map(decode).collect::<Result<_>>()?);
        }
        Ok(self.origins.as_deref().unwrap_or_default())
    }

    fn attributes(&mut self) -> Result<&AttributeColumns> {
        Ok(match &mut self.attributes {
            Some(attributes) => attributes,
            slot => slot.insert(self.part.attributes(self.number)?),
        })
    }

    fn rest(&mut self) -> Result<&Rest> {
        Ok(match &mut self.rest {
            Some(rest) => rest,
            slot => slot.insert(self.part.rest(self.number)?),
        })
    }
}

/// What comes first when several conditions must hold.
fn cost(condition: &SpanCondition) -> u8 {
    match condition {
        SpanCondition::Always => 0,
        SpanCondition::Test(SpanField::Attribute(scope, _), _) => match scope {
            AttributeScope::Resource | AttributeScope::Instrumentation => 1,
            AttributeScope::Span => 2,
            AttributeScope::Event | AttributeScope::Link => 3,
        },
        SpanCondition::Test(..) => 1,
        SpanCondition::All(all) => all.iter().map(cost).min().unwrap_or(0),
        SpanCondition::Any(any) => any.iter().map(cost).max().unwrap_or(0),
    }
}

/// Which texts of a column of strings satisfy the test, by their codes.
fn texts_that_hold(test: &ValueTest, texts: &TextColumn) -> Vec<bool> {
    if let Some(wanted) = test.text() {
        return texts.equal(wanted.as_bytes());
    }
    let all = (0..texts.distinct()).map(|code| texts.text(code));
    // One string for all of them.
    let mut value = AttributeValue::String(String::new());
    let holds = |text: &[u8]| {
        if let AttributeValue::String(value) = &mut value {
            value.clear();
            value.push_str(&String::from_utf8_lossy(text));
        }
        test.holds(&value)
    };
    all.map(holds).collect()
}

fn clamped(duration_ns: u64) -> i64 {
    i64::try_from(duration_ns).unwrap_or(i64::MAX)
}

fn holds_for(test: &ValueTest, duration_ns: u64) -> bool {
    test.holds(&AttributeValue::Int(clamped(duration_ns)))
}

fn origin_holds(field: &SpanField, test: &ValueTest, origin: &(Resource, Scope)) -> bool {
    let (resource, scope) = origin;
    let has = |attributes: &Attributes, name: &str| {
        attributes.iter().any(|(key, value)| **key == *name && test.holds(value))
    };
    match field {
        SpanField::Service => {
            resource.service().is_some_and(|s| test.holds(&AttributeValue::String(s.to_owned())))
        }
        SpanField::Attribute(AttributeScope::Resource, name) => has(&resource.attributes, name),
        SpanField::Attribute(AttributeScope::Instrumentation, name) => has(&scope.attributes, name),
        _ => false,
    }
}

/// Calls `found` with the lists that have an attribute `name` with a value that satisfies `test`.
fn each_list(
    columns: &AttributeColumns,
    name: &str,
    test: &ValueTest,
    found: &mut dyn FnMut(usize),
) -> Result<()> {
    for (number, column) in columns.columns.iter().enumerate() {
        if column.key != name.as_bytes() {
            continue;
        }
        match columns.values(number)? {
            attributes::Values::Empty => {
                if test.holds(&AttributeValue::Empty) {
                    columns.for_each(number, |list, _| found(list));
                }
            }
            attributes::Values::Bools(values) => {
                let by_value = [false, true].map(|value| test.holds(&AttributeValue::Bool(value)));
                columns.for_each(number, |list, i| {
                    if by_value[usize::from(values[i] != 0)] {
                        found(list);
                    }
                });
            }
            attributes::Values::Ints(values) => match test.ints() {
                Some(ints) if !values.iter().any(|value| ints.contains(value)) => {}
                Some(ints) => columns.for_each(number, |list, i| {
                    if ints.contains(&values[i]) {
                        found(list);
                    }
                }),
                None => columns.for_each(number, |list, i| {
                    if test.holds(&AttributeValue::Int(values[i])) {
                        found(list);
                    }
                }),
            },
            attributes::Values::Doubles(values) => columns.for_each(number, |list, i| {
                if test.holds(&AttributeValue::Double(values[i])) {
                    found(list);
                }
            }),
            attributes::Values::Texts(texts) => {
                let all = || (0..texts.distinct()).map(|code| texts.text(code));
                let by_code: Vec<bool> = match column.kind {
                    kind::BYTES => {
                        all().map(|t| test.holds(&AttributeValue::Bytes(t.to_vec()))).collect()
                    }
                    kind::NESTED => all()
                        .map(|text| Ok(test.holds(&value::decode(&mut Reader::new(text))?)))
                        .collect::<Result<_>>()?,
                    _ => texts_that_hold(test, &texts),
                };
                if by_code.contains(&true) {
                    columns.for_each(number, |list, i| {
                        if by_code[texts.code(i)] {
                            found(list);
                        }
                    });
                }
            }
        }
    }
    Ok(())
}

/// Decides conditions for rows in memory.
pub(crate) struct HeadScreen<'r> {
    rows: &'r Rows,
    origins: Vec<(Resource, Scope)>,
}

impl<'r> HeadScreen<'r> {
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt).
    pub(crate) fn new(rows: &'r Rows) -> Result<Self> {
        let origins = 0..rows.origins.len() as u32;
        let origins = origins.map(|o| Ok((rows.resource(o)?, rows.scope(o)?)));
        Ok(Self { rows, origins: origins.collect::<Result<_>>()? })
    }

    /// Whether the row satisfies `condition`.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt).
    pub(crate) fn holds(&self, condition: &SpanCondition, row: &Row) -> Result<bool> {
        let rows = self.rows;
        let (field, test) = match condition {
            SpanCondition::Always => return Ok(true),
            SpanCondition::All(all) => {
                for condition in all {
                    if !self.holds(condition, row)? {
                        return Ok(false);
                    }
                }
                return Ok(true);
            }
            SpanCondition::Any(any) => {
                for condition in any {
                    if self.holds(condition, row)? {
                        return Ok(true);
                    }
                }
                return Ok(false);
            }
            SpanCondition::Test(field, test) => (field, test),
        };
        let has = |of: Stretch, key: Option<u32>| -> Result<bool> {
            for attribute in &rows.attributes[of.range()] {
                if Some(attribute.key) == key && test.holds(&rows.value(attribute.value)?) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        match field {
            SpanField::Name => {
                Ok(test.holds(&AttributeValue::String(rows.str(row.name)?.to_owned())))
            }
            SpanField::Kind => Ok(test.holds(&AttributeValue::Int(row.kind as i64))),
            SpanField::Status => Ok(test.holds(&AttributeValue::Int(row.status as i64))),
            SpanField::Duration { .. } => Ok(holds_for(test, row.duration_ns())),
            SpanField::Root => Ok(test.holds(&AttributeValue::Bool(row.parent_id == 0))),
            SpanField::Service => Ok(origin_holds(field, test, &self.origins[row.origin as usize])),
            SpanField::Attribute(scope, name) => {
                let key = rows.texts.find(name.as_bytes());
                match scope {
                    AttributeScope::Resource | AttributeScope::Instrumentation => {
                        Ok(origin_holds(field, test, &self.origins[row.origin as usize]))
                    }
                    AttributeScope::Span => has(row.attributes, key),
                    AttributeScope::Event => {
                        let mut events = rows.events[row.events.range()].iter();
                        events.try_fold(false, |any, e| Ok(any || has(e.attributes, key)?))
                    }
                    AttributeScope::Link => {
                        let mut links = rows.links[row.links.range()].iter();
                        links.try_fold(false, |any, l| Ok(any || has(l.attributes, key)?))
                    }
                }
            }
        }
    }
}
