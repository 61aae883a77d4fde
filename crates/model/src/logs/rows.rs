//! [`LogRows`]: the rows of a batch with their text in one allocation and their label sets shared.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::{LogRecord, LogRow};
use crate::Labels;

/// So many streams are looked through one by one; more get a table.
const STREAMS_SEARCHED: usize = 8;

/// Log rows in the order given.
///
/// Cost: the bytes of the lines, 24 bytes per row, and each label set once per run of rows that have it (streams once
/// altogether).
#[derive(Debug, Clone, Default)]
pub struct LogRows {
    text: String,
    rows: Vec<Row>,
    streams: Vec<Labels>,
    /// Number of each stream by labels, once there are many.
    stream_of: HashMap<Labels, u32>,
    /// Label sets beside lines; the first is empty.
    fields: Vec<Labels>,
    may_repeat: bool,
}

/// One row; its line begins where the previous one ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    t_ns: i64,
    end: usize,
    stream: u32,
    /// Index of `fields`.
    fields: u32,
}

impl LogRows {
    /// No rows, with room for `rows` of `bytes` altogether.
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        Self {
            text: String::with_capacity(bytes),
            rows: Vec::with_capacity(rows),
            ..Self::default()
        }
    }

    /// No rows, with room for as many as these and with what was [said](Self::set_may_repeat) of all of them: for rows that
    /// take their place.
    pub fn emptied(&self) -> Self {
        let room = Self::with_capacity(self.len(), self.line_bytes());
        Self { may_repeat: self.may_repeat, ..room }
    }

    /// Adds a row.
    pub fn push(&mut self, stream: &Labels, t_ns: i64, line: &str, fields: &Labels) {
        let stream = self.stream(stream);
        self.push_numbered(stream, t_ns, line, fields);
    }

    /// The number by which [`push_numbered`](Self::push_numbered) knows a stream; the same labels have the same one.
    pub fn stream(&mut self, labels: &Labels) -> u32 {
        let last = self.rows.last().map(|row| row.stream);
        if let Some(last) = last.filter(|last| self.streams[*last as usize].same_allocation(labels))
        {
            return last;
        }
        let known = if self.stream_of.is_empty() {
            self.streams.iter().position(|known| known == labels).map(|at| at as u32)
        } else {
            self.stream_of.get(labels).copied()
        };
        known.unwrap_or_else(|| {
            let number = self.streams.len() as u32;
            self.streams.push(labels.clone());
            if !self.stream_of.is_empty() {
                self.stream_of.insert(labels.clone(), number);
            } else if self.streams.len() > STREAMS_SEARCHED {
                self.stream_of = self.streams.iter().cloned().zip(0..).collect();
            }
            number
        })
    }

    /// Adds a row of a stream by its number.
    ///
    /// # Panics
    /// When [`stream`](Self::stream) never gave that number.
    pub fn push_numbered(&mut self, stream: u32, t_ns: i64, line: &str, fields: &Labels) {
        assert!(
            (stream as usize) < self.streams.len(),
            "BUG: row of stream {stream} that is not there"
        );
        self.text.push_str(line);
        if self.fields.is_empty() {
            self.fields.push(Labels::default());
        }
        let fields = if fields.is_empty() {
            0
        } else {
            let last = self.fields.last().filter(|last| self.fields.len() > 1 && *last == fields);
            if last.is_none() {
                self.fields.push(fields.clone());
            }
            self.fields.len() as u32 - 1
        };
        self.rows.push(Row { t_ns, end: self.text.len(), stream, fields });
    }

    /// Adds rows of `other` after these.
    pub fn append(&mut self, other: &Self) {
        let numbers: Vec<u32> = other.streams.iter().map(|stream| self.stream(stream)).collect();
        if self.fields.is_empty() && !other.is_empty() {
            self.fields.push(Labels::default());
        }
        let (text, fields) = (self.text.len(), self.fields.len() as u32);
        self.text.push_str(&other.text);
        self.fields.extend(other.fields.iter().skip(1).cloned());
        self.rows.extend(other.rows.iter().map(|row| Row {
            end: text + row.end,
            stream: numbers[row.stream as usize],
            fields: if row.fields == 0 { 0 } else { fields + row.fields - 1 },
            ..*row
        }));
    }

    /// Says that the sender may send rows again, not knowing whether they arrived: those that are stored already, with
    /// the same stream, time, line and fields, shall not be stored twice.
    pub fn set_may_repeat(&mut self) {
        self.may_repeat = true;
    }

    /// Whether [`set_may_repeat`](Self::set_may_repeat) was said.
    pub fn may_repeat(&self) -> bool {
        self.may_repeat
    }

    /// Sets rows that are equal in stream, time, line and fields a nanosecond apart, in their order: as one request, sent
    /// once, they are several; sent again they get the same times again.
    ///
    /// Cost: a hash of stream and time for each row; of all when any two share both.
    pub fn set_equal_apart(&mut self) {
        let mut times = HashSet::with_capacity_and_hasher(self.len(), RandomState::default());
        if self.rows.iter().all(|row| times.insert((row.stream, row.t_ns))) {
            return;
        }
        let mut taken = HashSet::with_capacity_and_hasher(self.len(), RandomState::default());
        let mut apart = Vec::new();
        for i in 0..self.len() {
            let (row, stream) = (self.row(i), self.stream_number(i));
            let mut t_ns = row.t_ns;
            // Times wrap rather than stop: there are fewer rows than times.
            while !taken.insert((stream, t_ns, row.line, row.fields)) {
                t_ns = t_ns.wrapping_add(1);
            }
            if t_ns != row.t_ns {
                apart.push((i, t_ns));
            }
        }
        for (i, t_ns) in apart {
            if let Some(row) = self.rows.get_mut(i) {
                row.t_ns = t_ns;
            }
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of all lines.
    pub fn line_bytes(&self) -> usize {
        self.text.len()
    }

    /// All lines, one behind the other.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Bytes these rows take in memory, about.
    pub fn memory_bytes(&self) -> usize {
        let fields: usize = self.fields.iter().map(|f| f.packed_len() + 32).sum();
        self.text.len() + self.rows.len() * size_of::<Row>() + fields
    }

    /// Streams by number; each has been named, not every one need have a row.
    pub fn streams(&self) -> &[Labels] {
        &self.streams
    }

    /// Sets of fields by number; the first is empty.
    pub fn field_sets(&self) -> &[Labels] {
        &self.fields
    }

    /// Replaces the labels of stream `number` by equal ones, to share their allocation.
    ///
    /// # Panics
    /// When there is no such stream.
    pub fn share_stream(&mut self, number: u32, labels: Labels) {
        debug_assert!(self.streams[number as usize] == labels, "BUG: shared labels differ");
        self.streams[number as usize] = labels;
    }

    /// Gives rows that do not have it the field `name`, with the value that `value` has for the row and its stream's
    /// number. Rows without other fields share theirs.
    pub fn set_field(
        &mut self,
        name: &str,
        mut value: impl FnMut(u32, &LogRow<'_>) -> &'static str,
    ) {
        /// A set of fields that was there, and what it became for one value.
        struct Made {
            from: u32,
            plain: Labels,
            value: &'static str,
            number: u32,
        }
        let mut of_none: Vec<(&'static str, u32)> = Vec::new();
        let mut last: Option<Made> = None;
        for i in 0..self.rows.len() {
            let Row { stream, fields: from, .. } = self.rows[i];
            let is_begun = last.as_ref().is_some_and(|made| made.from == from);
            if !is_begun && self.fields[from as usize].get(name).is_some() {
                continue;
            }
            let value = value(stream, &self.row(i));
            let number = if from == 0 {
                match of_none.iter().find(|(known, _)| *known == value) {
                    Some((_, number)) => *number,
                    None => {
                        let number = self.fields.len() as u32;
                        self.fields.push(Labels::from_pairs([(name, value)]));
                        of_none.push((value, number));
                        number
                    }
                }
            } else {
                // Rows of one set follow each other: it is replaced when the first comes, and a copy made for other values.
                match &mut last {
                    Some(made) if made.from == from && made.value == value => made.number,
                    Some(made) if made.from == from => {
                        made.number = self.fields.len() as u32;
                        made.value = value;
                        self.fields.push(made.plain.with(name, value));
                        made.number
                    }
                    _ => {
                        let set = &mut self.fields[from as usize];
                        let plain = set.clone();
                        *set = plain.with(name, value);
                        last = Some(Made { from, plain, value, number: from });
                        from
                    }
                }
            };
            self.rows[i].fields = number;
        }
    }

    /// Gives all streams the label `name`, whatever value it has with them.
    pub fn set_stream_label(&mut self, name: &str, value: &str) {
        let (streams, mut rows) =
            (std::mem::take(&mut self.streams), std::mem::take(&mut self.rows));
        self.stream_of.clear();
        // Streams that differed in that label are one now.
        let numbers: Vec<u32> =
            streams.iter().map(|labels| self.stream(&labels.with(name, value))).collect();
        rows.iter_mut().for_each(|row| row.stream = numbers[row.stream as usize]);
        self.rows = rows;
    }

    /// Row `i`.
    ///
    /// # Panics
    /// When there are no more than `i`.
    pub fn row(&self, i: usize) -> LogRow<'_> {
        let row = &self.rows[i];
        LogRow {
            stream: &self.streams[row.stream as usize],
            t_ns: row.t_ns,
            line: self.text.get(self.start(i)..row.end).unwrap_or_default(),
            fields: &self.fields[row.fields as usize],
        }
    }

    fn start(&self, i: usize) -> usize {
        i.checked_sub(1).map_or(0, |before| self.rows[before].end)
    }

    /// Time of row `i`, Unix nanoseconds.
    ///
    /// # Panics
    /// When there are no more than `i`.
    pub fn t_ns(&self, i: usize) -> i64 {
        self.rows[i].t_ns
    }

    /// Number of the stream of row `i`.
    ///
    /// # Panics
    /// When there are no more than `i`.
    pub fn stream_number(&self, i: usize) -> u32 {
        self.rows[i].stream
    }

    /// Number of the fields of row `i`; 0 when it has none.
    ///
    /// # Panics
    /// When there are no more than `i`.
    pub fn fields_number(&self, i: usize) -> u32 {
        self.rows[i].fields
    }

    /// Bytes of the line of row `i`.
    ///
    /// # Panics
    /// When there are no more than `i`.
    pub fn line_len(&self, i: usize) -> usize {
        self.rows[i].end - self.start(i)
    }

    /// The rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = LogRow<'_>> {
        (0..self.rows.len()).map(|i| self.row(i))
    }
}

/// The same rows in the same order, however they are held.
impl PartialEq for LogRows {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for LogRows {}

impl Extend<LogRecord> for LogRows {
    fn extend<I: IntoIterator<Item = LogRecord>>(&mut self, records: I) {
        for record in records {
            self.push(&record.stream, record.t_ns, &record.line, &record.fields);
        }
    }
}

impl FromIterator<LogRecord> for LogRows {
    fn from_iter<I: IntoIterator<Item = LogRecord>>(records: I) -> Self {
        let mut rows = Self::default();
        rows.extend(records);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_given() {
        let stream = |i: i64| Labels::from_pairs([("app", i.to_string().as_str())]);
        let records: Vec<LogRecord> = (0..200)
            .map(|i| LogRecord {
                stream: stream(i % 21),
                t_ns: 1_000 - i,
                line: "é\n\0".repeat((i % 5) as usize),
                fields: Labels::from_pairs([("n", ["", "1", "1", "2"][(i % 4) as usize])]),
            })
            .collect();
        let rows: LogRows = records.iter().cloned().collect();
        assert_eq!(rows.iter().map(LogRow::to_record).collect::<Vec<_>>(), records);
        assert_eq!(rows.streams().len(), 21);
        assert_eq!(rows.line_bytes(), records.iter().map(|r| r.line.len()).sum::<usize>());
        let (before, behind) = records.split_at(77);
        let mut joined: LogRows = before.iter().cloned().collect();
        joined.append(&behind.iter().cloned().collect());
        assert!(joined == rows);
        assert!(joined != before.iter().cloned().collect());
    }

    #[test]
    fn equal_rows_are_set_apart_alike_each_time() {
        let (web, db) = (Labels::from_pairs([("app", "web")]), Labels::from_pairs([("app", "db")]));
        let (none, some) = (Labels::default(), Labels::from_pairs([("n", "1")]));
        let mut rows = LogRows::default();
        for (stream, t_ns, line, fields) in [
            (&web, 5, "a", &none),
            (&web, 6, "a", &none),
            (&web, 5, "a", &none),
            (&db, 5, "a", &none),
            (&web, 5, "a", &some),
            (&web, 5, "b", &none),
            (&web, 5, "a", &none),
        ] {
            rows.push(stream, t_ns, line, fields);
        }
        let before = rows.clone();
        rows.set_equal_apart();
        let times: Vec<i64> = (0..rows.len()).map(|i| rows.t_ns(i)).collect();
        assert_eq!(times, [5, 6, 7, 5, 5, 5, 8]);
        let mut again = before;
        again.set_equal_apart();
        assert!(again == rows);
        again.set_equal_apart();
        assert!(again == rows, "what is apart stays");
    }

    #[test]
    fn streams_get_a_label_and_may_become_one() {
        let stream =
            |app: i64, t: &str| Labels::from_pairs([("app", app.to_string().as_str()), ("t", t)]);
        let records: Vec<LogRecord> = (0..60)
            .map(|i| LogRecord {
                stream: stream(i % 15, ["", "x", "y"][(i % 3) as usize]),
                t_ns: i,
                line: i.to_string(),
                fields: Labels::default(),
            })
            .collect();
        let mut rows: LogRows = records.iter().cloned().collect();
        rows.set_stream_label("t", "z");
        rows.push(&stream(3, "z"), 60, "60", &Labels::default());
        assert_eq!(rows.streams().len(), 15);
        for (i, row) in rows.iter().enumerate() {
            assert_eq!(
                (row.stream, row.line),
                (
                    &stream(i as i64 % 15 - if i == 60 { -3 } else { 0 }, "z"),
                    i.to_string().as_str()
                )
            );
        }
    }
}
