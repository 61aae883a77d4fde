// Taffrail's own API: containers and status. Unknown words and missing keys are normal.
import { getJson } from './http';

export interface Container {
  id: string;
  name: string;
  image: string;
  imageId: string;
  state: string;
  health: string;
  createdAtMs: number | null;
  startedAtMs: number | null;
  finishedAtMs: number | null;
  exitCode: number | null;
  oomKilled: boolean;
  restartCount: number;
  composeProject: string | null;
  composeService: string | null;
  memoryLimitBytes: number | null;
  cpuLimitCores: number | null;
}

export async function containers(signal?: AbortSignal): Promise<Container[]> {
  const answer = await getJson<{ containers?: Partial<Container>[] | null }>('/api/taffrail/v1/containers', {}, signal);
  return (answer.containers ?? []).map((entry) => ({
    id: entry.id ?? '',
    name: (entry.name ?? entry.id ?? '').replace(/^\//, ''),
    image: entry.image ?? '',
    imageId: entry.imageId ?? '',
    state: entry.state ?? 'unknown',
    health: entry.health ?? 'none',
    createdAtMs: entry.createdAtMs ?? null,
    startedAtMs: entry.startedAtMs ?? null,
    finishedAtMs: entry.finishedAtMs ?? null,
    exitCode: entry.exitCode ?? null,
    oomKilled: entry.oomKilled ?? false,
    restartCount: entry.restartCount ?? 0,
    composeProject: entry.composeProject ?? null,
    composeService: entry.composeService ?? null,
    memoryLimitBytes: entry.memoryLimitBytes || null,
    cpuLimitCores: entry.cpuLimitCores || null,
  }));
}

export interface LedgerRow {
  source: string;
  signal: string;
  received: number;
  stored: number;
  rejected?: Record<string, number>;
  dropped?: Record<string, number>;
}

export interface StoreRow {
  name: string;
  series?: number;
  streams?: number;
  spans?: number;
  samples?: number;
  parts?: number;
  bytes?: number;
  /** Not yet in parts: in memory, and in the write-ahead log. */
  headBytes?: number;
  /** Parts that could not be read and were set aside. */
  quarantined?: number;
}

export interface Status {
  version?: string;
  startedAtMs?: number;
  nowMs?: number;
  hostName?: string;
  docker?: { state?: string; message?: string; endpoint?: string };
  ingest?: { state?: string; message?: string };
  reload?: { error?: string | null };
  memory?: { limitBytes?: number | null; rssBytes?: number };
  disk?: { usedBytes?: number; limitBytes?: number | null; freeBytes?: number };
  ledger?: LedgerRow[];
  stores?: StoreRow[];
  /** What was changed of pushed log lines. */
  receivedLogs?: {
    correctedTimes?: { receiver: string; reason: string; lines: number }[];
    demotedLabels?: { label: string; streams: number }[];
  };
}

export async function status(signal?: AbortSignal): Promise<Status> {
  return getJson<Status>('/api/taffrail/v1/status', {}, signal);
}

export interface Cardinality {
  series: number;
  newPerHour: number;
  metricCount: number;
  labelCount: number;
  pairCount: number;
  metrics: { name: string; series: number; newPerHour: number }[];
  labels: { name: string; values: number; series: number; bytes: number }[];
  pairs: { name: string; value: string; series: number }[];
  churn: { startMs: number; series: number; new: number }[];
  store?: { diskBytes?: number; bytesPerSample?: number | null };
}

/** What makes the series of a selector ('' for all) in a range. */
export async function cardinality(selector: string, startMs: number, endMs: number, limit: number, signal?: AbortSignal): Promise<Cardinality> {
  const params = { start: startMs / 1000, end: endMs / 1000, limit, 'match[]': selector || undefined };
  const answer = await getJson<Partial<Cardinality>>('/api/taffrail/v1/cardinality', params, signal);
  return {
    series: answer.series ?? 0,
    newPerHour: answer.newPerHour ?? 0,
    metricCount: answer.metricCount ?? 0,
    labelCount: answer.labelCount ?? 0,
    pairCount: answer.pairCount ?? 0,
    metrics: answer.metrics ?? [],
    labels: answer.labels ?? [],
    pairs: answer.pairs ?? [],
    churn: answer.churn ?? [],
    store: answer.store,
  };
}

export interface Drop {
  series: number;
  allSeries: number;
  ruleCount: number;
  rules: { file: string; group: string; name: string; reads: string; expression: string }[];
  problems: string[];
  dashboards: unknown;
}

/** What dropping the series of a selector would break. */
export async function dropped(selector: string, startMs: number, endMs: number, signal?: AbortSignal): Promise<Drop> {
  const params = { start: startMs / 1000, end: endMs / 1000, 'match[]': selector };
  const answer = await getJson<Partial<Drop>>('/api/taffrail/v1/cardinality/drop', params, signal);
  return {
    series: answer.series ?? 0,
    allSeries: answer.allSeries ?? 0,
    ruleCount: answer.ruleCount ?? 0,
    rules: answer.rules ?? [],
    problems: answer.problems ?? [],
    dashboards: answer.dashboards ?? null,
  };
}
