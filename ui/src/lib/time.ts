// Time ranges as people type them (now-1h, now/d+8h, epoch ms, dates) and as queries need them
// (milliseconds, a step). Pure; local time zone.

export interface TimeRange {
  from: string;
  to: string;
}

/** Resolved range, Unix milliseconds, `[fromMs, toMs)`. */
export interface Interval {
  fromMs: number;
  toMs: number;
}

export const DEFAULT_RANGE: TimeRange = { from: 'now-1h', to: 'now' };

export const QUICK_RANGES: { from: string; label: string }[] = [
  { from: 'now-5m', label: 'Last 5 minutes' },
  { from: 'now-15m', label: 'Last 15 minutes' },
  { from: 'now-30m', label: 'Last 30 minutes' },
  { from: 'now-1h', label: 'Last 1 hour' },
  { from: 'now-3h', label: 'Last 3 hours' },
  { from: 'now-6h', label: 'Last 6 hours' },
  { from: 'now-12h', label: 'Last 12 hours' },
  { from: 'now-24h', label: 'Last 24 hours' },
  { from: 'now-2d', label: 'Last 2 days' },
  { from: 'now-7d', label: 'Last 7 days' },
  { from: 'now-30d', label: 'Last 30 days' },
  { from: 'now-90d', label: 'Last 90 days' },
];

const UNIT_NAMES: Record<string, string> = {
  s: 'second',
  m: 'minute',
  h: 'hour',
  d: 'day',
  w: 'week',
  M: 'month',
  Q: 'quarter',
  y: 'year',
};

const UNIT_MS: Record<string, number> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  M: 30 * 86_400_000,
  Q: 91 * 86_400_000,
  y: 365 * 86_400_000,
};

function shift(date: Date, amount: number, unit: string): void {
  switch (unit) {
    case 'M':
      date.setMonth(date.getMonth() + amount);
      break;
    case 'Q':
      date.setMonth(date.getMonth() + 3 * amount);
      break;
    case 'y':
      date.setFullYear(date.getFullYear() + amount);
      break;
    case 'd':
      date.setDate(date.getDate() + amount);
      break;
    case 'w':
      date.setDate(date.getDate() + 7 * amount);
      break;
    default:
      date.setTime(date.getTime() + amount * UNIT_MS[unit]!);
  }
}

function floorTo(date: Date, unit: string): void {
  date.setMilliseconds(0);
  if (unit === 's') return;
  date.setSeconds(0);
  if (unit === 'm') return;
  date.setMinutes(0);
  if (unit === 'h') return;
  date.setHours(0);
  if (unit === 'd') return;
  if (unit === 'w') {
    date.setDate(date.getDate() - ((date.getDay() + 6) % 7));
    return;
  }
  date.setDate(1);
  if (unit === 'M') return;
  date.setMonth(unit === 'Q' ? date.getMonth() - (date.getMonth() % 3) : 0);
}

/**
 * Resolves one end of a range. `roundUp` makes `/d` mean the end of the day, as the `to` end wants.
 * Returns null when the text is no time.
 */
export function parseTime(text: string, nowMs: number, roundUp = false): number | null {
  const input = text.trim();
  if (input.startsWith('now')) {
    const date = new Date(nowMs);
    let rest = input.slice(3);
    while (rest !== '') {
      const move = /^\s*([+-])\s*(\d+)([smhdwMQy])/.exec(rest);
      const round = /^\s*\/([smhdwMQy])/.exec(rest);
      if (move) {
        shift(date, (move[1] === '-' ? -1 : 1) * Number(move[2]), move[3]!);
        rest = rest.slice(move[0].length);
      } else if (round) {
        floorTo(date, round[1]!);
        rest = rest.slice(round[0].length);
        if (roundUp) {
          shift(date, 1, round[1]!);
          date.setTime(date.getTime() - 1);
        }
      } else {
        return null;
      }
    }
    return Number.isNaN(date.getTime()) ? null : date.getTime();
  }
  if (/^\d{9,10}$/.test(input)) return Number(input) * 1000;
  if (/^\d{12,14}$/.test(input)) return Number(input);
  const day = /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,3}))?)?)?(Z|[+-]\d{2}:?\d{2})?$/.exec(input);
  if (!day) return null;
  if (day[8]) {
    const ms = Date.parse(input.replace(' ', 'T'));
    return Number.isNaN(ms) ? null : ms;
  }
  const [year, month, date, hour, minute, second] = day.slice(1, 7).map((part) => Number(part ?? 0));
  if (month! < 1 || month! > 12 || date! < 1 || date! > 31 || hour! > 23 || minute! > 59 || second! > 59) return null;
  const local = new Date(year!, month! - 1, date!, hour!, minute!, second!, Number((day[7] ?? '').padEnd(3, '0')));
  if (roundUp && day[4] === undefined) local.setTime(local.getTime() + 86_400_000 - 1);
  return local.getTime();
}

/** Resolves a range; a broken or empty one becomes the default, so that a page always has an interval. */
export function resolve(range: TimeRange, nowMs: number): Interval {
  const fromMs = parseTime(range.from, nowMs);
  const toMs = parseTime(range.to, nowMs, true);
  if (fromMs === null || toMs === null || fromMs >= toMs) return { fromMs: nowMs - 3_600_000, toMs: nowMs };
  return { fromMs, toMs };
}

/** Reads what people type into the picker: `13h`, `now-2d`, `a to b`. Null when it is no range. */
export function parseTyped(text: string, nowMs: number): TimeRange | null {
  const input = text.trim();
  const amount = /^(?:last\s+)?(\d+)\s*([smhdwMQy])$/i.exec(input);
  if (amount && amount[2]! in UNIT_NAMES) return { from: `now-${amount[1]}${amount[2]}`, to: 'now' };
  const parts = input.split(/\s+(?:to|→)\s+/);
  const [from, to] = parts.length === 2 ? parts : [input, 'now'];
  const fromMs = parseTime(from!, nowMs);
  const toMs = parseTime(to!, nowMs, true);
  if (fromMs === null || toMs === null || fromMs >= toMs) return null;
  return { from: from!, to: to! };
}

const two = (n: number) => String(n).padStart(2, '0');

/** `2026-11-22 10:00:05`, local. */
export function formatDateTime(ms: number): string {
  const d = new Date(ms);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${formatClock(ms)}`;
}

/** `10:00:05`, local. */
export function formatClock(ms: number): string {
  const d = new Date(ms);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** `11-22 10:00:05.123`, local: the stamp of a log line. */
export function formatStamp(ms: number): string {
  const d = new Date(ms);
  return `${two(d.getMonth() + 1)}-${two(d.getDate())} ${formatClock(ms)}.${String(d.getMilliseconds()).padStart(3, '0')}`;
}

/** Axis label for a tick; `incrementS` is the distance of two ticks. Midnight shows the date. */
export function formatTick(seconds: number, incrementS: number): string {
  const d = new Date(seconds * 1000);
  const date = `${two(d.getMonth() + 1)}-${two(d.getDate())}`;
  if (incrementS >= 28 * 86_400) return `${d.getFullYear()}-${two(d.getMonth() + 1)}`;
  if (incrementS >= 86_400) return date;
  if (d.getHours() === 0 && d.getMinutes() === 0 && d.getSeconds() === 0) return date;
  const clock = `${two(d.getHours())}:${two(d.getMinutes())}`;
  return incrementS < 60 ? `${clock}:${two(d.getSeconds())}` : clock;
}

export function describe(range: TimeRange): string {
  const quick = range.to === 'now' && QUICK_RANGES.find((entry) => entry.from === range.from);
  if (quick) return quick.label;
  const relative = /^now-(\d+)([smhdwMQy])$/.exec(range.from);
  if (relative && range.to === 'now') {
    return `Last ${relative[1]} ${UNIT_NAMES[relative[2]!]}${relative[1] === '1' ? '' : 's'}`;
  }
  const from = describeEnd(range.from);
  const to = describeEnd(range.to);
  const day = from.slice(0, 11);
  return `${from} → ${/^\d{4}-\d\d-\d\d $/.test(day) && to.startsWith(day) ? to.slice(11) : to}`;
}

function describeEnd(text: string): string {
  if (text.startsWith('now')) return text;
  const ms = parseTime(text, 0);
  return ms === null ? text : formatDateTime(ms);
}

/**
 * The quick range that shows data beginning at `beginMs` best, or null while the present one does: when data
 * fills a fifth of it or more, or nothing shorter would do.
 */
export function rangeSince(beginMs: number, interval: Interval): TimeRange | null {
  const span = interval.toMs - interval.fromMs;
  const age = interval.toMs - beginMs;
  if (age <= 0 || age >= span / 5) return null;
  const quick = QUICK_RANGES.find(({ from }) => interval.toMs - parseTime(from, interval.toMs)! >= age);
  return quick && interval.toMs - parseTime(quick.from, interval.toMs)! < span ? { from: quick.from, to: 'now' } : null;
}

/** Scales a range around its centre; a range that ends now keeps ending now. `factor` 2 zooms out. */
export function scaleRange(range: TimeRange, factor: number, nowMs: number): TimeRange {
  const { fromMs, toMs } = resolve(range, nowMs);
  const span = Math.max(1000, Math.round((toMs - fromMs) * factor));
  if (range.to === 'now') {
    const seconds = Math.max(1, Math.round(span / 1000));
    for (const [unit, size] of [['d', 86_400], ['h', 3600], ['m', 60]] as const) {
      if (seconds % size === 0) return { from: `now-${seconds / size}${unit}`, to: 'now' };
    }
    return { from: `now-${seconds}s`, to: 'now' };
  }
  const centre = (fromMs + toMs) / 2;
  return { from: String(Math.round(centre - span / 2)), to: String(Math.round(centre + span / 2)) };
}

/** Moves a range by half of its length into the past (-1) or the future (+1). */
export function moveRange(range: TimeRange, direction: -1 | 1, nowMs: number): TimeRange {
  const { fromMs, toMs } = resolve(range, nowMs);
  const by = Math.round((toMs - fromMs) / 2) * direction;
  return { from: String(fromMs + by), to: String(toMs + by) };
}

const STEPS_S = [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400];

/** The smallest friendly step, in seconds, that gives at most `points` points. */
export function stepFor(interval: Interval, points: number, minS = 15): number {
  const raw = (interval.toMs - interval.fromMs) / 1000 / Math.max(1, points);
  for (const step of STEPS_S) if (step >= raw && step >= minS) return step;
  return Math.max(minS, Math.ceil(raw / 86_400) * 86_400);
}

/** Parses `15s`, `1m30s`, `0.5`, `60` into seconds; null when it is no duration. */
export function parseDuration(text: string): number | null {
  const input = text.trim();
  if (/^\d+(\.\d+)?$/.test(input)) return Number(input);
  if (!/^(\d+(ms|[smhdwy]))+$/.test(input)) return null;
  let ms = 0;
  for (const part of input.matchAll(/(\d+)(ms|[smhdwy])/g)) ms += Number(part[1]) * UNIT_MS[part[2]!]!;
  return ms / 1000;
}
