// Query text: quoting, the stream selector of a LogQL query, adding filters to it, and positions in
// parser errors. Pure.

export interface Matcher {
  label: string;
  op: '=' | '!=' | '=~' | '!~';
  value: string;
}

/** A double-quoted PromQL/LogQL string. */
export function quote(text: string): string {
  return JSON.stringify(text).replace(/[\u007f-\u009f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Escapes for RE2. */
export function escapeRegex(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

export function selector(matchers: Matcher[]): string {
  return `{${matchers.map((m) => `${m.label}${m.op}${quote(m.value)}`).join(', ')}}`;
}

const MATCHER = /\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|`[^`]*`)\s*/y;

/** Splits a LogQL log query into its stream selector and the pipeline after it; null when it does not start with one. */
export function splitSelector(query: string): { matchers: Matcher[]; rest: string } | null {
  const text = query.trim();
  if (!text.startsWith('{')) return null;
  const matchers: Matcher[] = [];
  let at = 1;
  for (;;) {
    while (text[at] === ' ' || text[at] === '\n' || text[at] === '\t') at += 1;
    if (text[at] === '}') return { matchers, rest: text.slice(at + 1).trim() };
    MATCHER.lastIndex = at;
    const match = MATCHER.exec(text);
    if (!match) return null;
    matchers.push({ label: match[1]!, op: match[2] as Matcher['op'], value: unquote(match[3]!) });
    at = MATCHER.lastIndex;
    if (text[at] === ',') at += 1;
    else if (text[at] !== '}') return null;
  }
}

function unquote(literal: string): string {
  if (literal.startsWith('`')) return literal.slice(1, -1);
  try {
    return JSON.parse(literal) as string;
  } catch {
    return literal.slice(1, -1);
  }
}

export function joinSelector(matchers: Matcher[], rest: string): string {
  return rest === '' ? selector(matchers) : `${selector(matchers)} ${rest}`;
}

/** Where a field comes from decides where its filter goes. */
export type FieldOrigin = 'stream' | 'metadata' | 'json';

/** Adds `label op value`, or removes it when it is there already. Queries without a selector come back unchanged. */
export function toggleFilter(query: string, label: string, op: '=' | '!=', value: string, origin: FieldOrigin): string {
  const parts = splitSelector(query);
  if (!parts) return query;
  if (origin === 'stream') {
    const same = (m: Matcher) => m.label === label && m.value === value && m.op === op;
    const kept = parts.matchers.filter((m) => !(m.label === label && m.value === value));
    if (!parts.matchers.some(same)) kept.push({ label, op, value });
    return joinSelector(kept, parts.rest);
  }
  const field = label.replace(/[^A-Za-z0-9_]/g, '_');
  const filter = `| ${field} ${op} ${quote(value)}`;
  if (parts.rest.includes(filter)) return joinSelector(parts.matchers, parts.rest.replace(filter, '').replace(/\s{2,}/g, ' ').trim());
  const needsParser = origin === 'json' && !/\|\s*json\b/.test(parts.rest);
  const rest = [parts.rest, needsParser ? '| json' : '', filter].filter((part) => part !== '').join(' ');
  return joinSelector(parts.matchers, rest);
}

/** A log query starts with a selector; everything else computes numbers. */
export function isLogQuery(query: string): boolean {
  return query.trim().startsWith('{');
}

/** The place a parser complains about: 1-based line and column. Knows Prometheus' and Loki's wording. */
export function errorPosition(message: string): { line: number; column: number } | null {
  const match = /(?:^|[\s"])(\d+):(\d+): (?:parse error|unexpected)/.exec(message) ?? /line (\d+),? col(?:umn)? (\d+)/.exec(message);
  return match ? { line: Number(match[1]), column: Number(match[2]) } : null;
}

/** Series as PromQL writes them: `name{a="b"}`. */
export function seriesName(labels: Record<string, string>): string {
  const { __name__: name = '', ...rest } = labels;
  const pairs = Object.entries(rest).map(([key, value]) => `${key}=${quote(value)}`);
  if (pairs.length === 0) return name === '' ? '{}' : name;
  return `${name}{${pairs.join(', ')}}`;
}
