//! Lists of attributes as columns: which names with which types each list has, and a column of values per name and type.
//!
//! Order, types and repetitions survive. Owns: encoding, decoding, and single columns for searches. Does not own: whose
//! lists they are (`block`).

use std::collections::BTreeSet;
use std::ops::Range;

use model::{Error, Result};
use rustc_hash::FxHashMap;
use storage::codec::{COUNT_MAX, Reader, floats, ints, put_bytes, put_count};

use crate::column::{Encoder, TextColumn, take_codes, take_ints, unpack};
use crate::rows::{Attribute, Rows, Stretch, Value};
use crate::texts::{Text, Texts};
use crate::value::kind;
use crate::values::{Hasher, Hashes};

/// Appends the attributes of `lists`, with their length; returns the names, and adds the hashes of their values.
///
/// # Errors
/// [`Bug`](model::ErrorKind::Bug) when a library refuses.
pub(crate) fn encode(
    texts: &Texts,
    attributes: &[Attribute],
    lists: &[Stretch],
    encoder: &mut Encoder,
    hashes: &mut Hashes,
    out: &mut Vec<u8>,
) -> Result<Vec<Text>> {
    let mut column_of: FxHashMap<(Text, u8), u32> = FxHashMap::default();
    let mut columns: Vec<(Text, u8, Vec<Value>)> = Vec::new();
    let mut shape_of: FxHashMap<Vec<u32>, u32> = FxHashMap::default();
    let mut shapes: Vec<Vec<u32>> = Vec::new();
    let mut codes = Vec::with_capacity(lists.len());
    let mut shape = Vec::new();
    for list in lists {
        shape.clear();
        for attribute in &attributes[list.range()] {
            let kind = attribute.value.kind();
            let column = *column_of.entry((attribute.key, kind)).or_insert_with(|| {
                columns.push((attribute.key, kind, Vec::new()));
                columns.len() as u32 - 1
            });
            columns[column as usize].2.push(attribute.value);
            shape.push(column);
        }
        let code = match shape_of.get(&shape) {
            Some(code) => *code,
            None => {
                let code = shapes.len() as u32;
                shape_of.insert(shape.clone(), code);
                shapes.push(shape.clone());
                code
            }
        };
        codes.push(i64::from(code));
    }
    let mut bodies = Vec::new();
    let mut head = Vec::new();
    put_count(&mut head, columns.len());
    for (key, kind, values) in &columns {
        let start = bodies.len();
        put_values(texts, *kind, values, encoder, &mut bodies)?;
        let hasher = Hasher::new(texts.get(*key));
        match *kind {
            kind::STRING => {
                let distinct = encoder.distinct().iter();
                hashes.texts.extend(distinct.map(|text| hasher.text(texts.get(*text))));
            }
            other => hashes.kinds.push(hasher.kind(other)),
        }
        put_bytes(&mut head, texts.get(*key));
        head.push(*kind);
        put_count(&mut head, values.len());
        put_count(&mut head, bodies.len() - start);
    }
    put_count(&mut head, shapes.len());
    for shape in &shapes {
        put_count(&mut head, shape.len());
        shape.iter().for_each(|column| put_count(&mut head, *column as usize));
    }
    let mut body = Vec::with_capacity(bodies.len() + head.len());
    encoder.pack(&head, &mut body)?;
    ints::encode(&codes, &mut body);
    body.extend_from_slice(&bodies);
    put_bytes(out, &body);
    let mut keys: Vec<Text> = columns.iter().map(|(key, ..)| *key).collect();
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

fn put_values(
    texts: &Texts,
    kind: u8,
    values: &[Value],
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
) -> Result<()> {
    match kind {
        kind::EMPTY => {}
        kind::BOOL | kind::INT => {
            let number = |value: &Value| match value {
                Value::Bool(value) => i64::from(*value),
                Value::Int(value) => *value,
                _ => 0,
            };
            ints::encode(&values.iter().map(number).collect::<Vec<_>>(), out);
        }
        kind::DOUBLE => {
            let number = |value: &Value| match value {
                Value::Double(bits) => f64::from_bits(*bits),
                _ => 0.0,
            };
            floats::encode(&values.iter().map(number).collect::<Vec<_>>(), out);
        }
        _ => {
            let text = |value: &Value| match value {
                Value::String(text) | Value::Bytes(text) | Value::Nested(text) => Some(*text),
                _ => None,
            };
            encoder.texts(texts, &values.iter().filter_map(text).collect::<Vec<_>>(), out)?;
        }
    }
    Ok(())
}

/// A column as its directory knows it.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) key: Vec<u8>,
    pub(crate) kind: u8,
    count: usize,
    body: Range<usize>,
}

/// Values of a column.
#[derive(Debug)]
pub(crate) enum Values {
    Empty,
    Bools(Vec<i64>),
    Ints(Vec<i64>),
    Doubles(Vec<f64>),
    /// Strings, bytes or nested values: the column's kind says which.
    Texts(TextColumn),
}

/// Columns of attributes, open for reading.
#[derive(Debug)]
pub(crate) struct AttributeColumns {
    bytes: Vec<u8>,
    pub(crate) columns: Vec<Column>,
    shapes: Vec<Vec<u32>>,
    codes: Vec<u32>,
}

impl AttributeColumns {
    /// Takes the attributes of `lists` lists.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt).
    pub(crate) fn decode(reader: &mut Reader<'_>, lists: usize) -> Result<Self> {
        let bytes = reader.bytes()?.to_vec();
        let mut reader = Reader::new(&bytes);
        let head = unpack(&mut reader)?;
        let mut head = Reader::new(&head);
        let mut columns = Vec::new();
        let mut lengths = Vec::new();
        for _ in 0..head.count(head.remaining() / 4)? {
            let (key, kind) = (head.bytes()?.to_vec(), head.u8()?);
            let count = head.count(COUNT_MAX)?;
            lengths.push(head.count(bytes.len())?);
            columns.push(Column { key, kind, count, body: 0..0 });
        }
        let mut shapes = Vec::new();
        for _ in 0..head.count(head.remaining())? {
            let count = head.count(head.remaining())?;
            let mut shape = Vec::with_capacity(count);
            for _ in 0..count {
                let column = head.count(columns.len())?;
                if column == columns.len() {
                    return Err(Error::corrupt(format!(
                        "attribute of column {column} is not there"
                    )));
                }
                shape.push(column as u32);
            }
            shapes.push(shape);
        }
        let codes = take_codes(&mut reader, lists, shapes.len())?;
        let mut at = reader.position();
        for (column, len) in columns.iter_mut().zip(lengths) {
            // Lengths were checked one by one, so sums of them do not overflow.
            column.body = at..at + len;
            at += len;
        }
        if at != bytes.len() {
            return Err(Error::corrupt(format!("columns end at {at} of {} bytes", bytes.len())));
        }
        let columns = Self { bytes, columns, shapes, codes };
        columns.check_counts()?;
        Ok(columns)
    }

    /// Columns must have as many values as the shapes of the lists say: readers rely on it.
    fn check_counts(&self) -> Result<()> {
        let mut uses = vec![0_usize; self.shapes.len()];
        self.codes.iter().for_each(|code| uses[*code as usize] += 1);
        let mut counts = vec![0_usize; self.columns.len()];
        let mut total = 0_usize;
        for (shape, uses) in self.shapes.iter().zip(&uses) {
            shape.iter().for_each(|column| counts[*column as usize] += uses);
            total = total.saturating_add(shape.len().saturating_mul(*uses));
        }
        let agree = self.columns.iter().zip(&counts).all(|(column, count)| column.count == *count);
        if !agree || total > COUNT_MAX {
            return Err(Error::corrupt(
                "columns of attributes do not have the values of their lists",
            ));
        }
        Ok(())
    }

    /// The values of a column.
    pub(crate) fn values(&self, column: usize) -> Result<Values> {
        let Column { kind, count, body, .. } = &self.columns[column];
        let mut reader = Reader::new(&self.bytes[body.clone()]);
        Ok(match *kind {
            kind::EMPTY => Values::Empty,
            kind::BOOL => Values::Bools(take_ints(&mut reader, *count)?),
            kind::INT => Values::Ints(take_ints(&mut reader, *count)?),
            kind::DOUBLE => {
                let mut values = Vec::new();
                floats::decode(&mut reader, *count, &mut values)?;
                Values::Doubles(values)
            }
            kind::STRING | kind::BYTES | kind::NESTED => {
                Values::Texts(TextColumn::decode(&mut reader, *count)?)
            }
            other => return Err(Error::corrupt(format!("unknown type {other} of an attribute"))),
        })
    }

    /// Calls `f` with each list that has values of `column`, and the index of each value.
    pub(crate) fn for_each(&self, column: usize, mut f: impl FnMut(usize, usize)) {
        let times: Vec<usize> = self
            .shapes
            .iter()
            .map(|shape| shape.iter().filter(|c| **c as usize == column).count())
            .collect();
        let mut index = 0;
        for (list, code) in self.codes.iter().enumerate() {
            for _ in 0..times[*code as usize] {
                f(list, index);
                index += 1;
            }
        }
    }

    /// A cursor at the first list, which leaves out attributes that are not `wanted`; all are for `None`.
    pub(crate) fn cursor(&self, wanted: Option<&BTreeSet<String>>) -> Cursor<'_> {
        let is_wanted = |column: &Column| {
            wanted.is_none_or(|names| {
                std::str::from_utf8(&column.key).is_ok_and(|key| names.contains(key))
            })
        };
        let open = |column| OpenColumn { is_wanted: is_wanted(column), ..OpenColumn::default() };
        Cursor { of: self, list: 0, columns: self.columns.iter().map(open).collect() }
    }
}

#[derive(Debug, Default)]
struct OpenColumn {
    is_wanted: bool,
    next: usize,
    values: Option<Values>,
    /// Numbers of key and texts in the rows that are filled.
    key: Option<Text>,
    texts: Vec<Option<Text>>,
}

/// Reads lists one after the other into rows: always the same ones.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    of: &'a AttributeColumns,
    list: usize,
    columns: Vec<OpenColumn>,
}

impl Cursor<'_> {
    /// Goes on to `list`, which is not behind.
    pub(crate) fn skip_to(&mut self, list: usize) {
        while self.list < list {
            for column in &self.of.shapes[self.of.codes[self.list] as usize] {
                self.columns[*column as usize].next += 1;
            }
            self.list += 1;
        }
    }

    /// Appends the next list to the attributes of `rows`.
    ///
    /// # Errors
    /// [`Corrupt`](model::ErrorKind::Corrupt).
    pub(crate) fn next_into(&mut self, rows: &mut Rows) -> Result<Stretch> {
        let start = rows.attributes.len() as u32;
        for number in &self.of.shapes[self.of.codes[self.list] as usize] {
            let number = *number as usize;
            let stored = &self.of.columns[number];
            let open = &mut self.columns[number];
            if !open.is_wanted {
                open.next += 1;
                continue;
            }
            let key = *open.key.get_or_insert_with(|| rows.texts.intern(&stored.key));
            let values = match &open.values {
                Some(values) => values,
                None => open.values.insert(self.of.values(number)?),
            };
            let index = open.next;
            open.next += 1;
            let value = match values {
                Values::Empty => Value::Empty,
                Values::Bools(values) => Value::Bool(values[index] != 0),
                Values::Ints(values) => Value::Int(values[index]),
                Values::Doubles(values) => Value::Double(values[index].to_bits()),
                Values::Texts(texts) => {
                    if open.texts.is_empty() {
                        open.texts.resize(texts.distinct(), None);
                    }
                    let code = texts.code(index);
                    let text = *open.texts[code]
                        .get_or_insert_with(|| rows.texts.intern(texts.text(code)));
                    match stored.kind {
                        kind::BYTES => Value::Bytes(text),
                        kind::NESTED => Value::Nested(text),
                        _ => Value::String(text),
                    }
                }
            };
            rows.attributes.push(crate::rows::Attribute { key, value });
        }
        self.list += 1;
        Ok(Stretch { start, end: rows.attributes.len() as u32 })
    }
}
