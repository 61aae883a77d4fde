//! The conditions of a plan, decided for spans in memory and for whole blocks, cheapest first.
//!
//! Does not own: which blocks are looked at, and what is said of the traces found (`find`).

use model::{AttributeScope, AttributeValue, Result, SpanPlan};
use storage::codec::Reader;

use crate::attributes::{AttributeColumns, Values};
use crate::block::Core;
use crate::part::{BlockMeta, Part};
use crate::record::kind_of;
use crate::rows::{Rows, Stretch, Value, duration_ns};
use crate::value::{self, kind};

/// Scopes in which a plan's attributes are looked for.
const SCOPES: [AttributeScope; 3] =
    [AttributeScope::Resource, AttributeScope::Span, AttributeScope::Event];

/// What is known of each origin: whether it satisfies the service, and each attribute.
struct OfOrigin {
    service: bool,
    attributes: Vec<bool>,
}

fn of_origin(plan: &SpanPlan, resource: &[u8]) -> Result<OfOrigin> {
    let resource = value::decode_resource(resource)?;
    let service = plan.service.as_deref().is_none_or(|s| resource.service() == Some(s));
    let has = |(key, wanted): &(String, String)| {
        let mut all = resource.attributes.iter();
        all.any(|(name, value)| **name == **key && is_text(value, wanted))
    };
    Ok(OfOrigin { service, attributes: plan.attributes.iter().map(has).collect() })
}

fn is_text(value: &AttributeValue, wanted: &str) -> bool {
    match value {
        AttributeValue::String(text) => text == wanted,
        other => other.to_string() == wanted,
    }
}

fn fits(plan: &SpanPlan, start_ns: i64, end_ns: i64) -> bool {
    let duration = duration_ns(start_ns, end_ns);
    plan.range.contains(start_ns)
        && plan.duration_ns_min.is_none_or(|min| duration >= min)
        && plan.duration_ns_max.is_none_or(|max| duration <= max)
}

/// Rows of `rows` that satisfy `plan`.
pub(crate) fn rows_in_memory(plan: &SpanPlan, rows: &Rows) -> Result<Vec<usize>> {
    let texts = &rows.texts;
    let name = plan.name.as_ref().map(|name| texts.find(name.as_bytes()));
    let keys: Vec<_> = plan.attributes.iter().map(|(key, _)| texts.find(key.as_bytes())).collect();
    let of_origins: Vec<OfOrigin> = rows
        .origins
        .iter()
        .map(|origin| of_origin(plan, texts.get(origin.resource)))
        .collect::<Result<_>>()?;
    let has = |of: Stretch, condition: usize| -> Result<bool> {
        let wanted = &plan.attributes[condition].1;
        for attribute in &rows.attributes[of.range()] {
            if Some(attribute.key) == keys[condition] {
                let is_wanted = match attribute.value {
                    Value::String(text) => texts.get(text) == wanted.as_bytes(),
                    other => rows.value(other)?.to_string() == *wanted,
                };
                if is_wanted {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    };
    let mut found = Vec::new();
    'rows: for (index, row) in rows.rows.iter().enumerate() {
        let origin = &of_origins[row.origin as usize];
        if !fits(plan, row.start_ns, row.end_ns)
            || !origin.service
            || name.is_some_and(|name| name != Some(row.name))
            || plan.status.is_some_and(|status| status != row.status)
        {
            continue;
        }
        for condition in 0..plan.attributes.len() {
            let mut holds = origin.attributes[condition] || has(row.attributes, condition)?;
            for event in &rows.events[row.events.range()] {
                holds = holds || has(event.attributes, condition)?;
            }
            if !holds {
                continue 'rows;
            }
        }
        found.push(index);
    }
    Ok(found)
}

/// Whether a block may have spans that satisfy `plan`, by what the index says.
pub(crate) fn may_match(plan: &SpanPlan, part: &Part, block: &BlockMeta) -> bool {
    let index = &part.index;
    let is_of = |operation: &u32| {
        let operation = &index.operations[*operation as usize];
        let service = operation.service.map(|s| part.text(s));
        plan.service.as_deref().is_none_or(|wanted| service == Some(wanted))
            && plan.name.as_deref().is_none_or(|wanted| part.text(operation.name) == wanted)
    };
    plan.range.overlaps(block.min_ns, block.max_ns)
        && plan.duration_ns_min.is_none_or(|min| block.duration_max_ns >= min)
        && block.operations.as_ref().is_none_or(|all| all.iter().any(is_of))
        && plan.attributes.iter().all(|(key, _)| may_have(part, block, &SCOPES, key))
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

/// Rows of block `number` that satisfy `plan`, ascending.
pub(crate) fn rows_in_block(
    plan: &SpanPlan,
    part: &Part,
    number: usize,
    core: &Core,
) -> Result<Vec<usize>> {
    let of_origins: Vec<OfOrigin> = core
        .origins
        .iter()
        .map(|(resource, _)| of_origin(plan, resource))
        .collect::<Result<_>>()?;
    let names: Option<Vec<bool>> = plan.name.as_ref().map(|name| {
        (0..core.names.distinct()).map(|c| core.names.text(c) == name.as_bytes()).collect()
    });
    let mut found = Vec::new();
    for row in 0..core.starts_ns.len() {
        if fits(plan, core.starts_ns[row], core.ends_ns[row])
            && of_origins[core.origin_codes[row] as usize].service
            && names.as_ref().is_none_or(|names| names[core.names.code(row)])
            && (plan.status.is_none() || plan.status == Some(kind_of(core.kinds[row])?.1))
        {
            found.push(row);
        }
    }
    let meta = &part.index.blocks[number];
    let mut attributes = None;
    let mut rest = None;
    for (condition, (key, wanted)) in plan.attributes.iter().enumerate() {
        if found.is_empty() {
            return Ok(found);
        }
        let of_resource =
            |row: &usize| of_origins[core.origin_codes[*row] as usize].attributes[condition];
        if found.iter().all(of_resource) {
            continue;
        }
        let mut holds = vec![false; core.starts_ns.len()];
        if may_have(part, meta, &[AttributeScope::Span], key) {
            let columns = match &attributes {
                Some(columns) => columns,
                None => attributes.insert(part.attributes(number)?),
            };
            lists_with(columns, key, wanted, |row| holds[row] = true)?;
        }
        if may_have(part, meta, &[AttributeScope::Event], key) {
            let (rest, rows) = match &rest {
                Some(rest) => rest,
                None => {
                    let opened = part.rest(number)?;
                    let rows = opened.rows_of_events();
                    rest.insert((opened, rows))
                }
            };
            lists_with(&rest.event_attributes, key, wanted, |event| {
                holds[rows[event] as usize] = true;
            })?;
        }
        found.retain(|row| holds[*row] || of_resource(row));
    }
    Ok(found)
}

/// Calls `f` with the lists that have `key` with `wanted` as its text.
fn lists_with(
    columns: &AttributeColumns,
    key: &str,
    wanted: &str,
    mut f: impl FnMut(usize),
) -> Result<()> {
    for (number, column) in columns.columns.iter().enumerate() {
        if column.key != key.as_bytes() {
            continue;
        }
        match columns.values(number)? {
            Values::Empty if wanted.is_empty() => columns.for_each(number, |list, _| f(list)),
            Values::Empty => {}
            Values::Bools(values) => columns.for_each(number, |list, i| {
                if AttributeValue::Bool(values[i] != 0).to_string() == wanted {
                    f(list);
                }
            }),
            Values::Ints(values) => {
                // A number has one text only.
                let number_wanted = wanted.parse().ok().filter(|n: &i64| n.to_string() == wanted);
                let Some(wanted) = number_wanted else { continue };
                columns.for_each(number, |list, i| {
                    if values[i] == wanted {
                        f(list);
                    }
                });
            }
            Values::Doubles(values) => columns.for_each(number, |list, i| {
                if AttributeValue::Double(values[i]).to_string() == wanted {
                    f(list);
                }
            }),
            Values::Texts(texts) => {
                let mut is_wanted = vec![false; texts.distinct()];
                for (code, is_wanted) in is_wanted.iter_mut().enumerate() {
                    let text = texts.text(code);
                    *is_wanted = match column.kind {
                        kind::STRING => text == wanted.as_bytes(),
                        kind::BYTES => AttributeValue::Bytes(text.to_vec()).to_string() == wanted,
                        _ => value::decode(&mut Reader::new(text))?.to_string() == wanted,
                    };
                }
                if is_wanted.contains(&true) {
                    columns.for_each(number, |list, i| {
                        if is_wanted[texts.code(i)] {
                            f(list);
                        }
                    });
                }
            }
        }
    }
    Ok(())
}
