// What a container was at every moment of a time range, from its lifecycle events and what the metrics say
// at their first point. Pure.
import type { Tone } from './container-state';
import type { LifecycleEvent } from './events';

/** Part of a range in which one thing was true. */
export interface Band {
  fromMs: number;
  toMs: number;
  text: string;
  tone: Tone;
}

export interface Timeline {
  state: Band[];
  /** Empty when the container has no health check. */
  health: Band[];
  /** Times at which it was started again. */
  restarts: number[];
}

/** First point of a metric in the range; what held before the first event. */
export interface Seed {
  ms: number;
  value: number;
}

export interface Known {
  fromMs: number;
  /** End of what can be known: the end of the range or now. */
  toMs: number;
  /** In any order. */
  events: LifecycleEvent[];
  /** 1 runs, 0 does not. */
  up: Seed | null;
  /** 1 healthy, 0 not, -1 no health check. */
  healthy: Seed | null;
  /** Start of the present run, where it is known without an event. */
  startedMs: number | null;
}

interface Change {
  ms: number;
  /** Null: not known, or gone. */
  is: { text: string; tone: Tone } | null;
}

const RUNNING = { text: 'running', tone: 'good' } as const;
const STATE_EVENTS = new Set(['start', 'restart', 'unpause', 'die', 'pause', 'destroy', 'create']);
const SAME_START_MS = 3000;

export function timeline(known: Known): Timeline {
  const events = [...known.events].sort((a, b) => a.ms - b.ms);
  const { startedMs } = known;
  const startSeen = startedMs !== null && events.some((event) => event.event === 'start' && Math.abs(event.ms - startedMs) < SAME_START_MS);
  return {
    state: bands(withSeed(stateChanges(events, startSeen ? null : startedMs), seedState(known.up)), known),
    health: bands(healthChanges(events, known.healthy), known),
    restarts: restarts(events),
  };
}

function stateChanges(events: LifecycleEvent[], startedMs: number | null): Change[] {
  const changes: Change[] = startedMs === null ? [] : [{ ms: startedMs, is: RUNNING }];
  for (const { event, ms, text, kind } of events) {
    if (!STATE_EVENTS.has(event)) continue;
    if (event === 'die') changes.push({ ms, is: { text, tone: kind === 'bad' ? 'bad' : 'quiet' } });
    else if (event === 'pause') changes.push({ ms, is: { text: 'paused', tone: 'warn' } });
    else if (event === 'create') changes.push({ ms, is: { text: 'created', tone: 'quiet' } });
    else changes.push({ ms, is: event === 'destroy' ? null : RUNNING });
  }
  return changes.sort((a, b) => a.ms - b.ms);
}

function seedState(up: Seed | null): Change | null {
  return up && { ms: up.ms, is: up.value > 0 ? RUNNING : { text: 'not running', tone: 'quiet' } };
}

// A seed fills what lies before the first change, and nothing else: events are exact, points come late.
function withSeed(changes: Change[], seed: Change | null): Change[] {
  return seed && (changes.length === 0 || seed.ms < changes[0]!.ms) ? [seed, ...changes] : changes;
}

function healthChanges(events: LifecycleEvent[], seed: Seed | null): Change[] {
  const changes: Change[] = [];
  const first = seed && seed.value >= 0 ? { ms: seed.ms, is: seed.value > 0 ? healthOf('healthy') : { text: 'not healthy', tone: 'warn' as Tone } } : null;
  for (const { event, ms, health } of events) {
    if (event === 'health_status' && health) changes.push({ ms, is: healthOf(health) });
    else if (event === 'die' || event === 'destroy') changes.push({ ms, is: null });
    else if (event === 'start') changes.push({ ms, is: healthOf('starting') });
  }
  const checked = first !== null || changes.some((change) => change.is !== null && change.is.text !== 'starting');
  return checked ? withSeed(changes, first) : [];
}

function healthOf(word: string): { text: string; tone: Tone } {
  return { text: word, tone: word === 'healthy' ? 'good' : word === 'unhealthy' ? 'bad' : word === 'starting' ? 'warn' : 'quiet' };
}

// A start that does not follow the creation is a start again, whoever asked for it.
function restarts(events: LifecycleEvent[]): number[] {
  let created = false;
  const times: number[] = [];
  for (const { event, ms } of events) {
    if (event === 'create') created = true;
    else if (event === 'start') {
      if (!created) times.push(ms);
      created = false;
    }
  }
  return times;
}

function bands(changes: Change[], { fromMs, toMs }: Known): Band[] {
  const out: Band[] = [];
  changes.forEach(({ ms, is }, index) => {
    const start = Math.max(fromMs, ms);
    const end = Math.min(toMs, changes[index + 1]?.ms ?? Infinity);
    if (is === null || end <= start) return;
    const last = out.at(-1);
    if (last && last.toMs === start && last.text === is.text) last.toMs = end;
    else out.push({ fromMs: start, toMs: end, ...is });
  });
  return out;
}

/** Share of the known time in which `text` was true; null when nothing is known. */
export function shareOf(list: Band[], text: string): number | null {
  const length = (band: Band) => band.toMs - band.fromMs;
  const all = list.reduce((sum, band) => sum + length(band), 0);
  return all === 0 ? null : list.filter((band) => band.text === text).reduce((sum, band) => sum + length(band), 0) / all;
}
