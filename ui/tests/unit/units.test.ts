// Units: numbers as people read them.
import { expect, test } from 'vitest';
import { duration, format, formatAxis, significant, unitOf, type Unit } from '../../src/lib/units';

test.each<[number | null, Unit, string]>([
  [0, 'bytes', '0 B'],
  [1023, 'bytes', '1023 B'],
  [1024, 'bytes', '1 KiB'],
  [1536, 'bytes', '1.5 KiB'],
  [256 * 2 ** 20, 'bytes', '256 MiB'],
  [1023.9 * 2 ** 20, 'bytes', '1 GiB'],
  [-65_536, 'bytesps', '-64 KiB/s'],
  [0.1234, 'percent', '12.3%'],
  [1, 'percent', '100%'],
  [1234, 'short', '1.23k'],
  [999, 'short', '999'],
  [0.5, 'short', '0.5'],
  [12_345_678, 'short', '12.3M'],
  [0.00012, 'short', '1.20e-4'],
  [0.0042, 'seconds', '4.2 ms'],
  [90, 'seconds', '90 s'],
  [7200, 'seconds', '2 h'],
  [0.25, 'cores', '0.25'],
  [0.0004, 'cores', '0.0004'],
  [0.00001, 'cores', '<0.0001'],
  [0.01234, 'cores', '0.012'],
  [9999, 'count', '9999'],
  [18_240, 'count', '18.2k'],
  [null, 'bytes', '–'],
  [NaN, 'short', '–'],
  [Infinity, 'short', '+∞'],
])('%s as %s is %s', (value, unit, expected) => expect(format(value, unit)).toBe(expected));

test('labels of one axis differ', () => {
  expect([0, 0.00002, 0.00004].map((value) => formatAxis(value, 'cores'))).toEqual(['0', '0.00002', '0.00004']);
  expect(formatAxis(2048, 'bytes')).toBe('2 KiB');
});

test('significant digits', () => {
  expect(significant(100)).toBe('100');
  expect(significant(1234.5)).toBe('1235');
  expect(significant(0.10001)).toBe('0.1');
});

test('durations', () => {
  expect(duration(0)).toBe('0s');
  expect(duration(59_999)).toBe('59s');
  expect(duration(3_600_000)).toBe('1h');
  expect(duration(3_661_000)).toBe('1h 1m');
  expect(duration(90_000_000)).toBe('1d 1h');
  expect(duration(-5)).toBe('0s');
});

test('units of expressions', () => {
  expect(unitOf('sum(container_memory_working_set_bytes)')).toBe('bytes');
  expect(unitOf('rate(container_network_receive_bytes_total[1m])')).toBe('bytesps');
  expect(unitOf('rate(container_cpu_usage_seconds_total[1m])')).toBe('short');
  expect(unitOf('scrape_duration_seconds')).toBe('seconds');
  expect(unitOf('up')).toBe('short');
});
