// Levels of log lines as real programs write them.
import { expect, test } from 'vitest';
import { detectLevel, normalizeLevel } from '../../src/lib/level';

test.each([
  ['level=info msg="x"', 'info'],
  ['ts=1 level="warning" msg=x', 'warn'],
  ['time=… lvl=eror', 'error'],
  ['{"level":"error","msg":"info about it"}', 'error'],
  ['{"time":1,"level":30,"msg":"x"}', 'info'],
  ['{"severity":"WARNING"}', 'warn'],
  ['2026-11-22 10:00:00 ERROR something', 'error'],
  ['[WARN] careful', 'warn'],
  ['[2026-11-22] [debug] x', 'debug'],
  ['2026-11-22 UTC [1] LOG:  database system is ready', 'info'],
  ['2026-11-22 UTC [1] FATAL:  no pg_hba.conf entry', 'fatal'],
  ['\u001b[32mINFO\u001b[0m served', 'info'],
  ['E1122 10:00:00.1 1 main.go:1] x', 'error'],
  ['GET /error 200', 'unknown'],
  ['an information desk', 'unknown'],
  ['', 'unknown'],
])('%s is %s', (line, level) => expect(detectLevel(line)).toBe(level));

test('labels win over the line', () => {
  expect(detectLevel('ERROR x', { level: 'info' })).toBe('info');
  expect(detectLevel('ERROR x', { detected_level: 'warn' })).toBe('warn');
  expect(detectLevel('ERROR x', { detected_level: 'unknown' })).toBe('error');
});

test('numbers of pino', () => {
  expect([10, 20, 30, 40, 50, 60].map(normalizeLevel)).toEqual(['trace', 'debug', 'info', 'warn', 'error', 'fatal']);
});
