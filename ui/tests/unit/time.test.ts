// Time: what people type, ranges, steps, ticks.
import { describe as group, expect, test } from 'vitest';
import { describe, formatTick, moveRange, parseDuration, parseTime, parseTyped, resolve, scaleRange, stepFor } from '../../src/lib/time';

const NOW = new Date(2026, 10, 22, 15, 30, 45).getTime();
const at = (y: number, mo: number, d: number, h = 0, mi = 0, s = 0, ms = 0) => new Date(y, mo - 1, d, h, mi, s, ms).getTime();

group('parseTime', () => {
  test.each([
    ['now', NOW],
    ['now-1h', NOW - 3_600_000],
    ['now-90s', NOW - 90_000],
    ['now+5m', NOW + 300_000],
    ['now/d', at(2026, 11, 22)],
    ['now/d+8h', at(2026, 11, 22, 8)],
    ['now-1d/d', at(2026, 11, 21)],
    ['now-1M/M', at(2026, 10, 1)],
    ['now/w', at(2026, 11, 16)],
    ['now/Q', at(2026, 10, 1)],
    ['now/y', at(2026, 1, 1)],
    ['2026-11-22', at(2026, 11, 22)],
    ['2026-11-22 10:00', at(2026, 11, 22, 10)],
    ['2026-11-22T10:00:05.25', at(2026, 11, 22, 10, 0, 5, 250)],
    ['2026-11-22T10:00:00Z', Date.UTC(2026, 10, 22, 10)],
    ['2026-11-22 10:00:00+02:00', Date.UTC(2026, 10, 22, 8)],
    ['1795359600000', 1795359600000],
    ['1795359600', 1795359600000],
  ])('%s', (text, expected) => expect(parseTime(text, NOW)).toBe(expected));

  test.each(['', 'yesterday', 'now-', 'now-1x', 'now-1h)', '2026-13-01', '2026-11-22 25:00', '12', 'now<script>'])('no time: %s', (text) =>
    expect(parseTime(text, NOW)).toBeNull(),
  );

  test('the end of a range rounds up', () => {
    expect(parseTime('now/d', NOW, true)).toBe(at(2026, 11, 23) - 1);
    expect(parseTime('2026-11-22', NOW, true)).toBe(at(2026, 11, 23) - 1);
  });
});

group('ranges', () => {
  test('typed forms', () => {
    expect(parseTyped('13h', NOW)).toEqual({ from: 'now-13h', to: 'now' });
    expect(parseTyped('last 2d', NOW)).toEqual({ from: 'now-2d', to: 'now' });
    expect(parseTyped('now-2d', NOW)).toEqual({ from: 'now-2d', to: 'now' });
    expect(parseTyped('now-2d to now-1d', NOW)).toEqual({ from: 'now-2d', to: 'now-1d' });
    expect(parseTyped('2026-11-22 10:00 to 2026-11-22 11:00', NOW)).toEqual({ from: '2026-11-22 10:00', to: '2026-11-22 11:00' });
    expect(parseTyped('now to now-1h', NOW)).toBeNull();
    expect(parseTyped('nonsense', NOW)).toBeNull();
  });

  test('a broken range falls back to an hour', () => {
    expect(resolve({ from: 'x', to: 'now' }, NOW)).toEqual({ fromMs: NOW - 3_600_000, toMs: NOW });
    expect(resolve({ from: 'now', to: 'now-1h' }, NOW)).toEqual({ fromMs: NOW - 3_600_000, toMs: NOW });
  });

  test('zooming keeps now, or the centre', () => {
    expect(scaleRange({ from: 'now-1h', to: 'now' }, 2, NOW)).toEqual({ from: 'now-2h', to: 'now' });
    expect(scaleRange({ from: 'now-1h', to: 'now' }, 0.5, NOW)).toEqual({ from: 'now-30m', to: 'now' });
    expect(scaleRange({ from: '1000000000000', to: '1000000100000' }, 2, NOW)).toEqual({ from: '999999950000', to: '1000000150000' });
    expect(moveRange({ from: '1000000000000', to: '1000000100000' }, -1, NOW)).toEqual({ from: '999999950000', to: '1000000050000' });
  });

  test('descriptions', () => {
    expect(describe({ from: 'now-1h', to: 'now' })).toBe('Last 1 hour');
    expect(describe({ from: 'now-13h', to: 'now' })).toBe('Last 13 hours');
    expect(describe({ from: 'now-2d', to: 'now-1d' })).toBe('now-2d → now-1d');
    expect(describe({ from: String(at(2026, 11, 22, 10)), to: 'now' })).toBe('2026-11-22 10:00:00 → now');
    expect(describe({ from: String(at(2026, 11, 22, 10)), to: String(at(2026, 11, 22, 11)) })).toBe('2026-11-22 10:00:00 → 11:00:00');
    expect(describe({ from: String(at(2026, 11, 22, 10)), to: String(at(2026, 11, 23, 11)) })).toBe('2026-11-22 10:00:00 → 2026-11-23 11:00:00');
  });
});

test('steps are friendly and give at most the points asked for', () => {
  const hour = { fromMs: 0, toMs: 3_600_000 };
  expect(stepFor(hour, 60)).toBe(60);
  expect(stepFor(hour, 250)).toBe(15);
  expect(stepFor({ fromMs: 0, toMs: 86_400_000 }, 200)).toBe(600);
  expect(stepFor({ fromMs: 0, toMs: 365 * 86_400_000 }, 100)).toBe(4 * 86_400);
});

test('durations', () => {
  expect(parseDuration('15s')).toBe(15);
  expect(parseDuration('1m30s')).toBe(90);
  expect(parseDuration('60')).toBe(60);
  expect(parseDuration('off')).toBeNull();
  expect(parseDuration('')).toBeNull();
});

test('ticks show the date at midnight only', () => {
  expect(formatTick(at(2026, 11, 22) / 1000, 3600)).toBe('11-22');
  expect(formatTick(at(2026, 11, 22, 6) / 1000, 3600)).toBe('06:00');
  expect(formatTick(at(2026, 11, 22, 6, 0, 15) / 1000, 15)).toBe('06:00:15');
  expect(formatTick(at(2026, 11, 22, 6) / 1000, 86_400)).toBe('11-22');
});
