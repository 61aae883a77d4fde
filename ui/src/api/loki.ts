// Loki's query API: log streams, metric results, labels, and the live tail over WebSocket.
import { fromStreams, type LogRecord, type LogStream } from '../lib/logs';
import type { Interval } from '../lib/time';
import { getJson } from './http';
import { toFrame, type Frame, type Grid, type PromSeries } from './prometheus';

interface LokiAnswer {
  data: { resultType: 'streams' | 'matrix' | 'vector'; result: unknown[]; stats?: { summary?: LokiSummary } };
}

export interface LokiSummary {
  bytesProcessedPerSecond?: number;
  totalBytesProcessed?: number;
  totalLinesProcessed?: number;
  execTime?: number;
}

export interface LogAnswer {
  records: LogRecord[];
  summary?: LokiSummary;
}

const ns = (ms: number) => `${Math.round(ms)}000000`;

export async function queryLogs(
  query: string,
  interval: Interval,
  limit: number,
  direction: 'backward' | 'forward',
  signal?: AbortSignal,
): Promise<LogAnswer> {
  const answer = await getJson<LokiAnswer>(
    '/loki/api/v1/query_range',
    { query, start: ns(interval.fromMs), end: ns(interval.toMs), limit, direction },
    signal,
  );
  return { records: fromStreams(answer.data.result as LogStream[]), summary: answer.data.stats?.summary };
}

export async function queryLogMetric(query: string, grid: Grid, signal?: AbortSignal): Promise<Frame> {
  const answer = await getJson<LokiAnswer>(
    '/loki/api/v1/query_range',
    { query, start: ns(grid.startS * 1000), end: ns(grid.endS * 1000), step: `${grid.stepS}s` },
    signal,
  );
  return toFrame(answer.data.result as PromSeries[], grid);
}

export async function labelNames(interval: Interval, signal?: AbortSignal): Promise<string[]> {
  const answer = await getJson<{ data?: string[] }>('/loki/api/v1/labels', { start: ns(interval.fromMs), end: ns(interval.toMs) }, signal);
  return answer.data ?? [];
}

export async function labelValues(name: string, interval: Interval, signal?: AbortSignal): Promise<string[]> {
  const answer = await getJson<{ data?: string[] }>(
    `/loki/api/v1/label/${encodeURIComponent(name)}/values`,
    { start: ns(interval.fromMs), end: ns(interval.toMs) },
    signal,
  );
  return answer.data ?? [];
}

export interface TailEvents {
  onRecords: (records: LogRecord[]) => void;
  /** Lines the server could not send, because this page read too slowly. */
  onDropped: (count: number) => void;
  onState: (state: 'connecting' | 'live' | 'closed', reason: string) => void;
}

interface TailMessage {
  streams?: LogStream[];
  dropped_entries?: { labels?: Record<string, string> }[] | null;
}

// Loki lists every dropped line; Taffrail gives their number in a label.
function countDropped(message: TailMessage): number {
  return (message.dropped_entries ?? []).reduce((sum, entry) => sum + (Number(entry.labels?.dropped_rows) || 1), 0);
}

const RECONNECT_MS = [500, 1000, 2000, 5000];

/** Follows a query until the returned function is called; reconnects, resuming from the newest line seen. */
export function tail(query: string, events: TailEvents): () => void {
  let socket: WebSocket | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let attempts = 0;
  let newestNs = ns(Date.now());
  let stopped = false;

  const connect = () => {
    events.onState('connecting', '');
    const params = new URLSearchParams({ query, limit: '500', start: newestNs });
    socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/loki/api/v1/tail?${params}`);
    socket.onopen = () => {
      attempts = 0;
      events.onState('live', '');
    };
    socket.onmessage = (message: MessageEvent<unknown>) => {
      if (typeof message.data !== 'string') return;
      let body: TailMessage;
      try {
        body = JSON.parse(message.data) as TailMessage;
      } catch {
        return;
      }
      const dropped = countDropped(body);
      if (dropped > 0) events.onDropped(dropped);
      const records = fromStreams(body.streams ?? []);
      for (const record of records) if (record.ns > newestNs) newestNs = record.ns;
      if (records.length > 0) events.onRecords(records);
    };
    socket.onclose = (event) => {
      if (stopped) return;
      const wait = RECONNECT_MS[Math.min(attempts, RECONNECT_MS.length - 1)]!;
      attempts += 1;
      events.onState('closed', event.reason);
      timer = setTimeout(connect, wait);
    };
  };
  connect();
  return () => {
    stopped = true;
    clearTimeout(timer);
    if (socket?.readyState === WebSocket.CONNECTING) socket.onopen = () => socket?.close();
    else socket?.close();
  };
}
