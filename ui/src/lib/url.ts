// Addresses: reading and writing view state, and the forms other tools' links use. Pure.
import { parseDuration, parseTime } from './time';

export type Query = Record<string, string | string[] | undefined>;

/** Serialises in insertion order; empty and undefined values are left out. */
export function buildQuery(query: Query): string {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (Array.isArray(value)) for (const item of value) params.append(key, item);
    else if (value !== undefined && value !== '') params.set(key, value);
  }
  return params.toString();
}

/** Joins a path and a query; no `?` when nothing is left to say. */
export function buildUrl(path: string, query: Query): string {
  const text = buildQuery(query);
  return text === '' ? path : `${path}?${text}`;
}

/** Applies a change to a query string and returns the new one. `undefined` and '' remove a key. */
export function patchQuery(search: string, change: Query): string {
  const params = new URLSearchParams(search);
  for (const [key, value] of Object.entries(change)) {
    params.delete(key);
    if (Array.isArray(value)) for (const item of value) params.append(key, item);
    else if (value !== undefined && value !== '') params.set(key, value);
  }
  return params.toString();
}

export function containerPath(name: string): string {
  return `/containers/${encodeURIComponent(name)}`;
}

/** Turns Prometheus' `/graph?g0.expr=…` into the parameters of our metrics view. */
export function fromPrometheusGraph(search: string): Query {
  const params = new URLSearchParams(search);
  const expr: string[] = [];
  for (let index = 0; params.has(`g${index}.expr`) && index < 20; index += 1) {
    const text = params.get(`g${index}.expr`)!;
    if (text.trim() !== '') expr.push(text);
  }
  const tab = params.get('g0.tab');
  const seconds = parseDuration(params.get('g0.range_input') ?? '');
  const end = params.get('g0.end_input') ?? params.get('g0.moment_input');
  // Prometheus writes `2026-11-22 10:00:00` in UTC.
  const endMs = end ? parseTime(/Z|[+-]\d{2}:?\d{2}$/.test(end) ? end : `${end}Z`, Date.now()) : null;
  const query: Query = { expr, tab: tab === '1' || tab === 'table' ? 'table' : 'graph' };
  if (endMs !== null) {
    query.from = String(endMs - (seconds ?? 3600) * 1000);
    query.to = String(endMs);
  } else if (seconds !== null) {
    query.from = `now-${Math.max(1, Math.round(seconds))}s`;
    for (const [unit, size] of [['d', 86_400], ['h', 3600], ['m', 60]] as const) {
      if (seconds >= size && seconds % size === 0) {
        query.from = `now-${seconds / size}${unit}`;
        break;
      }
    }
    query.to = 'now';
  }
  return query;
}
