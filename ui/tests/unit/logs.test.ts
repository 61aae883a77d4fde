// Log records: merging, bounds, JSON fields.
import { expect, test } from 'vitest';
import { appendBounded, fromStreams, jsonFields, mergeRecords, prettyJson, reuseRecords, sortRecords } from '../../src/lib/logs';

const NS = '1795359600000000000';
const at = (offset: number) => String(BigInt(NS) + BigInt(offset));
const records = (...entries: [number, string][]) => fromStreams([{ stream: { container: 'a' }, values: entries.map(([offset, line]) => [at(offset), line]) }]);
const lines = (list: { line: string }[]) => list.map((record) => record.line);

test('streams become records with exact times and levels', () => {
  const [record] = fromStreams([{ stream: { container: 'a', level: 'warn' }, values: [[at(1_500_000), 'x']] }]);
  expect(record).toMatchObject({ ns: at(1_500_000), ms: 1795359600001, line: 'x', level: 'warn', labels: { container: 'a' } });
});

test('structured metadata joins the labels', () => {
  const [record] = fromStreams([{ stream: { container: 'a' }, values: [[at(0), 'x', { structuredMetadata: { level: 'error', trace_id: '7' } }]] }]);
  expect(record!.labels).toEqual({ container: 'a', level: 'error', trace_id: '7' });
  expect(record!.level).toBe('error');
});

test('sorting keeps nanoseconds and the order of equals', () => {
  expect(lines(sortRecords(records([2, 'b'], [1, 'a'], [2, 'c'])))).toEqual(['a', 'b', 'c']);
});

test('overlapping answers are merged once', () => {
  const merged = mergeRecords(records([1, 'a'], [2, 'b']), records([2, 'b'], [3, 'c']));
  expect(lines(merged)).toEqual(['a', 'b', 'c']);
});

test('equal lines of one nanosecond in one answer are two lines', () => {
  const merged = mergeRecords(records([1, 'a'], [1, 'a']), records([1, 'a'], [1, 'a'], [1, 'a']));
  expect(merged).toHaveLength(3);
});

test('lines of other containers are not duplicates', () => {
  const other = fromStreams([{ stream: { container: 'b' }, values: [[at(1), 'a']] }]);
  expect(mergeRecords(records([1, 'a']), other)).toHaveLength(2);
});

test('a refresh keeps the records it already had', () => {
  const have = records([1, 'a'], [1, 'a'], [2, 'b']);
  const next = reuseRecords(have, records([1, 'a'], [2, 'b'], [3, 'c']));
  expect(lines(next)).toEqual(['a', 'b', 'c']);
  expect(next[0]).toBe(have[0]);
  expect(next[1]).toBe(have[2]);
  expect(have).not.toContain(next[2]);
});

test('a tail is bounded and counts what it lost', () => {
  const { records: kept, dropped } = appendBounded(records([1, 'a'], [2, 'b']), records([3, 'c'], [4, 'd']), 3);
  expect(lines(kept)).toEqual(['b', 'c', 'd']);
  expect(dropped).toBe(1);
});

test('fields of JSON lines', () => {
  expect(jsonFields('{"a":1,"b":{"c":"x"},"d":[1],"e":null}')).toEqual({ a: '1', 'b.c': 'x', d: '[1]', e: 'null' });
  expect(jsonFields('not json')).toBeNull();
  expect(jsonFields('[1]')).toBeNull();
  expect(prettyJson('{"a":1}')).toBe('{\n  "a": 1\n}');
  expect(prettyJson('{broken}')).toBeNull();
});
