// Lifecycle events: from log records of stream "events" to words and chart markers. Pure.
import type { Marker } from '../charts/chart';
import type { MarkerKind } from '../charts/palette';
import { exitMeaning } from './container-state';
import type { LogRecord } from './logs';

export interface LifecycleEvent {
  key: number;
  ms: number;
  event: string;
  text: string;
  kind: MarkerKind;
  /** The new health, of events that tell one. */
  health?: string;
}

// Steps of a stop or of a command inside the container; the event that follows says it better.
const MINOR = /^(exec_|attach|top|resize|detach|archive-path|copy|export|commit)/;

export function readEvent(record: LogRecord): LifecycleEvent | null {
  let body: Record<string, unknown>;
  try {
    const value: unknown = JSON.parse(record.line);
    if (!value || typeof value !== 'object') return null;
    body = value as Record<string, unknown>;
  } catch {
    return null;
  }
  const word = body.event ?? body.action ?? record.labels.event;
  if (typeof word !== 'string' || MINOR.test(word)) return null;
  const event = word.split(':')[0]!.trim();
  const { text, kind } = describe(event, word, body);
  const health = event === 'health_status' ? healthWord(word, body) : undefined;
  return { key: record.key, ms: record.ms, event, kind, health, text: body.observed === 'late' ? `${text}, seen only later` : text };
}

function healthWord(word: string, body: Record<string, unknown>): string {
  return String(body.status ?? body.health ?? word.split(':')[1] ?? '').trim();
}

function describe(event: string, word: string, body: Record<string, unknown>): { text: string; kind: MarkerKind } {
  const code = body.exit_code ?? body.exitCode;
  const exit = code === undefined || code === null || code === '' ? null : Number(code);
  switch (event) {
    case 'die': {
      const oom = body.oom_killed === true || body.oomKilled === true;
      if (oom) return { text: `died, killed for lack of memory${exit === null ? '' : ` (exit ${exit})`}`, kind: 'bad' };
      if (exit === null) return { text: 'died', kind: 'bad' };
      return { text: exit === 0 ? 'ended (exit 0)' : `died with exit ${exit} (${exitMeaning(exit)})`, kind: exit === 0 ? 'neutral' : 'bad' };
    }
    case 'oom':
      return { text: 'out of memory', kind: 'bad' };
    case 'start':
      return { text: 'started', kind: 'good' };
    case 'restart':
      return { text: 'restarted', kind: 'good' };
    case 'health_status': {
      const status = healthWord(word, body);
      return { text: status === '' ? 'health changed' : `became ${status}`, kind: status === 'unhealthy' ? 'bad' : status === 'healthy' ? 'good' : 'neutral' };
    }
    case 'kill': {
      const signal = body.signal;
      return { text: signal ? `got signal ${typeof signal === 'string' || typeof signal === 'number' ? signal : '?'}` : 'got a signal', kind: 'neutral' };
    }
    case 'create':
      return { text: 'created', kind: 'neutral' };
    case 'destroy':
      return { text: 'removed', kind: 'neutral' };
    case 'stop':
      return { text: 'stopped', kind: 'neutral' };
    case 'pause':
      return { text: 'paused', kind: 'neutral' };
    case 'unpause':
      return { text: 'continued', kind: 'neutral' };
    case 'rename':
      return { text: typeof body.old_name === 'string' && body.old_name !== '' ? `renamed from ${body.old_name}` : 'renamed', kind: 'neutral' };
    default:
      return { text: event.replace(/_/g, ' '), kind: 'neutral' };
  }
}

// Markers say when something changed; a signal and a stop beside a death only repeat it.
const QUIET_ON_CHARTS = new Set(['kill', 'stop', 'create', 'rename']);

export function toMarkers(events: LifecycleEvent[]): Marker[] {
  return events.filter((event) => !QUIET_ON_CHARTS.has(event.event)).map(({ ms, text, kind }) => ({ ms, label: text, kind }));
}
