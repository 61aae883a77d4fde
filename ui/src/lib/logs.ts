// Log records in memory: building them from streams, ordering, merging overlapping answers, a bounded tail,
// and reading the fields of a JSON line. Pure.
import { detectLevel, type Level } from './level';

export interface LogRecord {
  /** Nanoseconds since the epoch as a decimal string: exact, and what the APIs speak. */
  ns: string;
  ms: number;
  line: string;
  labels: Record<string, string>;
  level: Level;
  /** Unique within the page; stable while the record lives. */
  key: number;
}

export interface LogStream {
  stream: Record<string, string>;
  values: [string, string, ...unknown[]][];
}

let nextKey = 1;

/** Flattens streams. A third element of a value (structured metadata) joins the labels. */
export function fromStreams(streams: LogStream[]): LogRecord[] {
  const records: LogRecord[] = [];
  for (const { stream, values } of streams) {
    for (const [ns, line, extra] of values) {
      const fields = extra && typeof extra === 'object' ? metadata(extra as Record<string, unknown>) : null;
      const labels = fields ? { ...stream, ...fields } : stream;
      records.push({ ns, ms: Math.floor(Number(ns) / 1e6), line, labels, level: detectLevel(line, labels), key: nextKey++ });
    }
  }
  return records;
}

// Loki sends {"structuredMetadata": {...}, "parsed": {...}} or the fields themselves.
function metadata(extra: Record<string, unknown>): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const [key, value] of Object.entries(extra)) {
    if (typeof value === 'string') fields[key] = value;
    else if (value && typeof value === 'object') Object.assign(fields, metadata(value as Record<string, unknown>));
  }
  return fields;
}

export function compareNs(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Stable sort, oldest first. */
export function sortRecords(records: LogRecord[]): LogRecord[] {
  return [...records].sort((a, b) => compareNs(a.ns, b.ns));
}

/**
 * Merges two answers that may overlap, oldest first. A line that appears in both is kept once per real
 * occurrence: two equal lines of the same nanosecond inside one answer are two lines.
 */
export function mergeRecords(have: LogRecord[], more: LogRecord[]): LogRecord[] {
  const counts = new Map<string, number>();
  for (const record of have) counts.set(identity(record), (counts.get(identity(record)) ?? 0) + 1);
  const fresh = more.filter((record) => {
    const left = counts.get(identity(record)) ?? 0;
    if (left > 0) counts.set(identity(record), left - 1);
    return left === 0;
  });
  return fresh.length === 0 ? have : sortRecords([...have, ...fresh]);
}

const identity = (r: LogRecord) => `${r.ns}\u0000${r.labels.container ?? ''}\u0000${r.labels.stream ?? ''}\u0000${r.line}`;

/** `next`, with the records of `have` in place of equal ones: a refreshed list keeps its open rows and its place. */
export function reuseRecords(have: LogRecord[], next: LogRecord[]): LogRecord[] {
  const known = new Map<string, LogRecord[]>();
  for (const record of have) {
    const key = identity(record);
    const same = known.get(key);
    if (same) same.push(record);
    else known.set(key, [record]);
  }
  return next.map((record) => known.get(identity(record))?.shift() ?? record);
}

/** A bounded buffer: appends and drops the oldest, counting what fell out. */
export function appendBounded(have: LogRecord[], more: LogRecord[], limit: number): { records: LogRecord[]; dropped: number } {
  const merged = mergeRecords(have, more);
  const dropped = Math.max(0, merged.length - limit);
  return { records: dropped === 0 ? merged : merged.slice(dropped), dropped };
}

/** The fields of a JSON object line, flattened one level with dots; null when the line is no JSON object. */
export function jsonFields(line: string): Record<string, string> | null {
  const value = parseJsonObject(line);
  if (!value) return null;
  const fields: Record<string, string> = {};
  for (const [key, item] of Object.entries(value)) {
    if (item && typeof item === 'object' && !Array.isArray(item)) {
      for (const [inner, leaf] of Object.entries(item)) fields[`${key}.${inner}`] = scalar(leaf);
    } else fields[key] = scalar(item);
  }
  return fields;
}

const scalar = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));

/** The line as indented JSON; null when it is no JSON object. */
export function prettyJson(line: string): string | null {
  const value = parseJsonObject(line);
  return value && JSON.stringify(value, null, 2);
}

function parseJsonObject(line: string): Record<string, unknown> | null {
  const text = line.trim();
  if (!text.startsWith('{') || !text.endsWith('}') || text.length > 200_000) return null;
  try {
    const value: unknown = JSON.parse(text);
    return value && typeof value === 'object' && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
