// Containers, events, keys, frames and sparklines.
import { expect, test } from 'vitest';
import { gridFor, lastValue, toFrame } from '../../src/api/prometheus';
import type { Container } from '../../src/api/taffrail';
import { sparkPaths } from '../../src/charts/spark';
import { exitMeaning, healthWords, latestByName, stateWords, urgency } from '../../src/lib/container-state';
import { dockerNotice } from '../../src/lib/docker-notice';
import { readEvent, toMarkers } from '../../src/lib/events';
import { createMatcher, keyName } from '../../src/lib/hotkeys';
import { fromStreams } from '../../src/lib/logs';

const make = (change: Partial<Container>): Container => ({
  id: 'id', name: 'a', image: '', imageId: '', state: 'running', health: 'none', createdAtMs: 1, startedAtMs: 1, finishedAtMs: null,
  exitCode: null, oomKilled: false, restartCount: 0, composeProject: null, composeService: null, memoryLimitBytes: null, cpuLimitCores: null,
  ...change,
});

test('states in words', () => {
  expect(stateWords(make({}))).toMatchObject({ text: 'running', tone: 'good' });
  expect(stateWords(make({ state: 'exited', exitCode: 0 }))).toMatchObject({ text: 'exited 0', tone: 'quiet' });
  expect(stateWords(make({ state: 'exited', exitCode: 137, oomKilled: true }))).toMatchObject({ text: 'exited 137', tone: 'bad' });
  expect(stateWords(make({ state: 'hibernating' }))).toMatchObject({ text: 'hibernating', tone: 'quiet' });
  expect(healthWords(make({ health: 'unhealthy' }))).toMatchObject({ tone: 'bad' });
  expect(healthWords(make({ state: 'exited', health: 'unhealthy' }))).toBeNull();
  expect(exitMeaning(137)).toBe('SIGKILL');
  expect(exitMeaning(127)).toBe('command not found');
  expect(exitMeaning(3)).toBe('error');
  expect(urgency(make({ health: 'unhealthy' }))).toBeLessThan(urgency(make({})));
});

test('one container per name: the living one, else the newest', () => {
  const old = make({ id: 'old', state: 'removed', createdAtMs: 9 });
  const alive = make({ id: 'alive', createdAtMs: 1 });
  expect(latestByName([old, alive]).map((c) => c.id)).toEqual(['alive']);
  expect(latestByName([make({ id: '1', state: 'exited', createdAtMs: 1 }), make({ id: '2', state: 'exited', createdAtMs: 2 })])[0]!.id).toBe('2');
});

test('events', () => {
  const read = (line: string) => readEvent(fromStreams([{ stream: { stream: 'events' }, values: [['1795359600000000000', line]] }])[0]!);
  expect(read('{"event":"die","exit_code":137,"oom_killed":true}')).toMatchObject({ text: 'died, killed for lack of memory (exit 137)', kind: 'bad' });
  expect(read('{"event":"die","exit_code":0}')).toMatchObject({ text: 'ended (exit 0)', kind: 'neutral' });
  expect(read('{"event":"die","exit_code":143}')).toMatchObject({ text: 'died with exit 143 (SIGTERM)', kind: 'bad' });
  expect(read('{"event":"health_status: unhealthy"}')).toMatchObject({ text: 'became unhealthy', kind: 'bad' });
  expect(read('{"event":"health_status","status":"healthy"}')).toMatchObject({ kind: 'good' });
  expect(read('{"event":"exec_start"}')).toBeNull();
  expect(read('{"event":"health_status","health":"unhealthy"}')).toMatchObject({ text: 'became unhealthy', kind: 'bad' });
  expect(read('{"event":"rename","old_name":"b"}')).toMatchObject({ text: 'renamed from b' });
  expect(read('{"event":"die","exit_code":0,"observed":"late"}')).toMatchObject({ text: 'ended (exit 0), seen only later' });
  expect(read('not json')).toBeNull();
  expect(read('{"event":"something_new"}')).toMatchObject({ text: 'something new', kind: 'neutral' });
  expect(toMarkers([read('{"event":"kill"}')!, read('{"event":"start"}')!]).map((marker) => marker.label)).toEqual(['started']);
});

test('why there are no containers', () => {
  expect(dockerNotice(undefined)).toBeNull();
  expect(dockerNotice({ docker: { state: 'connected' } })).toBeNull();
  expect(dockerNotice({ docker: { state: 'unavailable', message: 'no such file', endpoint: 'unix:///x' } })).toEqual({ title: 'Docker at unix:///x cannot be reached: watching the host only', text: 'no such file' });
  expect(dockerNotice({ docker: { state: 'denied' } })!.text).toContain('docker group');
});

test('key sequences', () => {
  const ran: string[] = [];
  let now = 0;
  const key = (keys: string) => ({ keys, label: '', group: 'Page' as const, run: () => void ran.push(keys) });
  const feed = createMatcher([key('g c'), key('t z'), key('?'), key('ctrl+k')], () => now);
  expect(feed('g')).toBe(true);
  expect(feed('c')).toBe(true);
  expect(feed('c')).toBe(false);
  feed('g');
  now += 2000;
  expect(feed('c')).toBe(false);
  feed('g');
  expect(feed('?')).toBe(true);
  expect(ran).toEqual(['g c', '?']);
  expect(keyName({ key: 'K', ctrlKey: true, metaKey: false })).toBe('ctrl+k');
  expect(keyName({ key: 'ArrowLeft', ctrlKey: false, metaKey: false })).toBe('arrowleft');
});

test('frames sit on one grid with gaps', () => {
  const grid = gridFor({ fromMs: 60_500, toMs: 120_000 }, 15);
  expect(grid).toEqual({ startS: 60, endS: 120, stepS: 15 });
  const frame = toFrame([{ metric: { a: 'b' }, values: [[60, '1'], [90, '3'], [105, 'NaN'], [900, '7']] }], grid);
  expect(frame.times).toEqual([60, 75, 90, 105, 120]);
  expect(frame.series[0]!.values).toEqual([1, null, 3, null, null]);
  expect(lastValue(frame.series[0]!.values)).toBe(3);
  expect(lastValue([1, null, null, null, null, null, null])).toBeNull();
});

test('sparklines keep gaps', () => {
  const { line } = sparkPaths([1, 2, null, 2, 1], 40, 10);
  expect(line.match(/M/g)).toHaveLength(2);
  expect(sparkPaths([], 40, 10)).toEqual({ line: '', area: '' });
  expect(sparkPaths([null, null], 40, 10).line).toBe('');
});
