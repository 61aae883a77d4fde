// What a container was over time, the ledger as people read it, and the range for young data.
import { expect, test } from 'vitest';
import type { LifecycleEvent } from '../../src/lib/events';
import { foldLedger } from '../../src/lib/ledger';
import { rangeSince } from '../../src/lib/time';
import { shareOf, timeline, type Known } from '../../src/lib/timeline';

let key = 0;
const event = (ms: number, name: string, more: Partial<LifecycleEvent> = {}): LifecycleEvent => ({ key: key++, ms, event: name, text: name, kind: 'neutral', ...more });
const die = (ms: number) => event(ms, 'die', { text: 'died with exit 1', kind: 'bad' });
const known = (change: Partial<Known>): Known => ({ fromMs: 0, toMs: 100_000, events: [], up: null, healthy: null, startedMs: null, ...change });

test('a crash loop: bands between events, starts that are no first start', () => {
  const made = timeline(known({ events: [die(40_000), event(10_000, 'create'), event(10_000, 'start'), event(60_000, 'start')] }));
  expect(made.state).toEqual([
    { fromMs: 10_000, toMs: 40_000, text: 'running', tone: 'good' },
    { fromMs: 40_000, toMs: 60_000, text: 'died with exit 1', tone: 'bad' },
    { fromMs: 60_000, toMs: 100_000, text: 'running', tone: 'good' },
  ]);
  expect(made.restarts).toEqual([60_000]);
  expect(made.health).toEqual([]);
  expect(shareOf(made.state, 'running')).toBeCloseTo(70 / 90);
});

test('metrics tell what was before the first event, and nothing more', () => {
  const made = timeline(known({ events: [die(50_000)], up: { ms: 20_000, value: 1 } }));
  expect(made.state.map((band) => [band.fromMs, band.text])).toEqual([[20_000, 'running'], [50_000, 'died with exit 1']]);
  expect(timeline(known({ events: [event(5_000, 'start')], up: { ms: 20_000, value: 0 } })).state).toHaveLength(1);
});

test('a run that began before anything was stored is known from the engine', () => {
  expect(timeline(known({ startedMs: -5_000, up: { ms: 70_000, value: 1 } })).state).toEqual([{ fromMs: 0, toMs: 100_000, text: 'running', tone: 'good' }]);
  expect(shareOf([], 'running')).toBeNull();
});

test('health: starting, healthy, unhealthy, ended by death', () => {
  const events = [event(10_000, 'start'), event(20_000, 'health_status', { health: 'healthy' }), event(50_000, 'health_status', { health: 'unhealthy' }), die(80_000)];
  expect(timeline(known({ events })).health.map((band) => [band.fromMs, band.toMs, band.text])).toEqual([
    [10_000, 20_000, 'starting'],
    [20_000, 50_000, 'healthy'],
    [50_000, 80_000, 'unhealthy'],
  ]);
  expect(timeline(known({ healthy: { ms: 0, value: -1 }, events: [event(1, 'start')] })).health).toEqual([]);
  expect(timeline(known({ healthy: { ms: 0, value: 1 } })).health).toEqual([{ fromMs: 0, toMs: 100_000, text: 'healthy', tone: 'good' }]);
});

test('the ledger folds container logs without loss and names those with', () => {
  const id = (digit: string) => digit.repeat(64);
  const row = (source: string, more = {}) => ({ source, signal: 'logs', received: 10, stored: 10, ...more });
  const folded = foldLedger([row('docker/events'), row(`docker/${id('a')}`), row(`docker/${id('b')}`), row(`docker/${id('c')}`, { stored: 9, dropped: { line_too_long: 1 } })], new Map([[id('c'), 'web']]));
  expect(folded.map((one) => [one.source, one.received])).toEqual([['docker/events', 10], ['docker/web', 10], ['docker, 2 containers without loss', 20]]);
});

test('young data asks for a shorter range', () => {
  const hour = { fromMs: 0, toMs: 3_600_000 };
  expect(rangeSince(3_600_000 - 120_000, hour)).toEqual({ from: 'now-5m', to: 'now' });
  expect(rangeSince(3_600_000 - 600_000, hour)).toEqual({ from: 'now-15m', to: 'now' });
  expect(rangeSince(1_000_000, hour)).toBeNull();
  expect(rangeSince(3_600_000 - 10_000, { fromMs: 3_300_000, toMs: 3_600_000 })).toBeNull();
});
