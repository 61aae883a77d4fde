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
}

export async function status(signal?: AbortSignal): Promise<Status> {
  return getJson<Status>('/api/taffrail/v1/status', {}, signal);
}
