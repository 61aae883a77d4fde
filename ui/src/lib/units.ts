// Numbers as people read them: bytes, rates, percent, short, seconds, cores, durations. Pure.

export type Unit = 'short' | 'bytes' | 'bytesps' | 'percent' | 'seconds' | 'cores' | 'count';

/** At most `digits` significant digits, without trailing zeros and without exponents. */
export function significant(value: number, digits = 3): string {
  if (value === 0) return '0';
  const magnitude = Math.floor(Math.log10(Math.abs(value)));
  const decimals = Math.min(8, Math.max(0, digits - 1 - magnitude));
  const text = value.toFixed(decimals);
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const SHORT = ['', 'k', 'M', 'G', 'T', 'P'];

function scaled(value: number, base: number, names: string[], separator: string): string {
  let index = 0;
  let scaledValue = value;
  while (Math.abs(scaledValue) >= base - 0.5 && index < names.length - 1) {
    scaledValue /= base;
    index += 1;
  }
  const text = index === 0 && separator === ' ' ? String(Math.round(scaledValue)) : significant(scaledValue);
  return names[index] === '' ? text : `${text}${separator}${names[index]}`;
}

function seconds(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return '0 s';
  if (size < 1e-6) return `${significant(value * 1e9)} ns`;
  if (size < 1e-3) return `${significant(value * 1e6)} µs`;
  if (size < 1) return `${significant(value * 1e3)} ms`;
  if (size < 120) return `${significant(value)} s`;
  if (size < 7200) return `${significant(value / 60)} min`;
  if (size < 172_800) return `${significant(value / 3600)} h`;
  return `${significant(value / 86_400)} d`;
}

export function format(value: number | null | undefined, unit: Unit): string {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  if (!Number.isFinite(value)) return value > 0 ? '+∞' : '−∞';
  switch (unit) {
    case 'bytes':
      return scaled(value, 1024, BINARY, ' ');
    case 'bytesps':
      return `${scaled(value, 1024, BINARY, ' ')}/s`;
    case 'percent':
      return `${significant(value * 100)}%`;
    case 'seconds':
      return seconds(value);
    case 'cores':
      return value !== 0 && Math.abs(value) < 0.00005 ? '<0.0001' : significant(value, Math.abs(value) < 0.1 ? 2 : 3);
    case 'count':
      return Math.abs(value) < 10_000 ? String(Math.round(value)) : scaled(value, 1000, SHORT, '');
    case 'short':
      return Math.abs(value) < 0.001 && value !== 0 ? value.toExponential(2) : scaled(value, 1000, SHORT, '');
  }
}

/** A label of an axis: `format`, but never a bound, since the labels of one axis must differ. */
export function formatAxis(value: number, unit: Unit): string {
  return unit === 'cores' ? significant(value) : format(value, unit);
}

/** `3d 4h`, `5m 12s`: two largest parts of an age or uptime. */
export function duration(ms: number): string {
  const total = Math.max(0, Math.floor(ms / 1000));
  const parts: [number, string][] = [
    [Math.floor(total / 86_400), 'd'],
    [Math.floor(total / 3600) % 24, 'h'],
    [Math.floor(total / 60) % 60, 'm'],
    [total % 60, 's'],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first === -1) return '0s';
  return parts
    .slice(first, first + 2)
    .filter(([amount], index) => index === 0 || amount > 0)
    .map(([amount, name]) => `${amount}${name}`)
    .join(' ');
}

/** Guesses a unit from a metric name, as exporters name them. */
export function unitOf(expr: string): Unit {
  const rate = /\b(rate|irate|increase|delta|deriv)\s*\(/.test(expr);
  if (/_bytes(_total)?\b/.test(expr)) return rate && !/\bincrease\s*\(/.test(expr) ? 'bytesps' : 'bytes';
  if (/_seconds(_bucket|_sum)?\b/.test(expr) && !rate) return 'seconds';
  if (/_ratio\b/.test(expr)) return 'percent';
  return 'short';
}
