// Prometheus' query API, and its answers as columns on one time grid.
import type { Interval } from '../lib/time';
import { getJson } from './http';

export interface PromSeries {
  metric: Record<string, string>;
  values?: [number, string][];
  value?: [number, string];
}

export interface PromStats {
  timings?: { evalTotalTime?: number; execTotalTime?: number };
  samples?: { totalQueryableSamples?: number; peakSamples?: number };
}

interface PromAnswer {
  status: string;
  data: { resultType: 'matrix' | 'vector' | 'scalar' | 'string'; result: PromSeries[] | [number, string]; stats?: PromStats };
  warnings?: string[];
  infos?: string[];
}

/** Columns: every series has one value per entry of `times` (Unix seconds), null where there is none. */
export interface Frame {
  times: number[];
  series: { labels: Record<string, string>; values: (number | null)[] }[];
  stats?: PromStats;
  warnings: string[];
}

export interface InstantResult {
  series: { labels: Record<string, string>; value: string; atMs: number }[];
  stats?: PromStats;
  warnings: string[];
}

export interface Grid {
  startS: number;
  endS: number;
  stepS: number;
}

/** Aligns a range to its step, so that refreshing does not make curves wobble. */
export function gridFor(interval: Interval, stepS: number): Grid {
  return {
    startS: Math.floor(interval.fromMs / 1000 / stepS) * stepS,
    endS: Math.floor(interval.toMs / 1000 / stepS) * stepS,
    stepS,
  };
}

export function toFrame(series: PromSeries[], grid: Grid): Frame {
  const count = Math.max(1, Math.round((grid.endS - grid.startS) / grid.stepS) + 1);
  const times = Array.from({ length: count }, (_, index) => grid.startS + index * grid.stepS);
  return {
    times,
    warnings: [],
    series: series.map(({ metric, values = [] }) => {
      const column: (number | null)[] = new Array<number | null>(count).fill(null);
      for (const [at, text] of values) {
        const index = Math.round((at - grid.startS) / grid.stepS);
        const value = Number(text);
        if (index >= 0 && index < count && Number.isFinite(value)) column[index] = value;
      }
      return { labels: metric, values: column };
    }),
  };
}

export async function queryRange(query: string, grid: Grid, signal?: AbortSignal, stats = false): Promise<Frame> {
  const answer = await getJson<PromAnswer>(
    '/api/v1/query_range',
    { query, start: grid.startS, end: grid.endS, step: grid.stepS, stats: stats ? 'all' : undefined },
    signal,
  );
  const frame = toFrame(answer.data.result as PromSeries[], grid);
  frame.stats = answer.data.stats;
  frame.warnings = [...(answer.warnings ?? []), ...(answer.infos ?? [])];
  return frame;
}

export async function queryInstant(query: string, atMs: number, signal?: AbortSignal, stats = false): Promise<InstantResult> {
  const answer = await getJson<PromAnswer>('/api/v1/query', { query, time: atMs / 1000, stats: stats ? 'all' : undefined }, signal);
  const { resultType, result } = answer.data;
  const warnings = [...(answer.warnings ?? []), ...(answer.infos ?? [])];
  if (resultType === 'scalar' || resultType === 'string') {
    const [at, value] = result as [number, string];
    return { series: [{ labels: {}, value, atMs: at * 1000 }], stats: answer.data.stats, warnings };
  }
  const series = (result as PromSeries[]).flatMap(({ metric, value, values }) => {
    const points = value ? [value] : (values ?? []);
    return points.map(([at, text]) => ({ labels: metric, value: text, atMs: at * 1000 }));
  });
  return { series, stats: answer.data.stats, warnings };
}

/** Instant values by one label. */
export async function valuesBy(label: string, query: string, atMs: number, signal?: AbortSignal): Promise<Map<string, number>> {
  const { series } = await queryInstant(query, atMs, signal);
  return new Map(series.map((one) => [one.labels[label] ?? '', Number(one.value)]));
}

/** The last value that is not null, or null when it is older than `pointsMax` points. */
export function lastValue(values: (number | null)[], pointsMax = 5): number | null {
  for (let index = values.length - 1; index >= Math.max(0, values.length - pointsMax); index -= 1) {
    const value = values[index];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

export interface Target {
  scrapePool: string;
  scrapeUrl: string;
  health: string;
  lastError: string;
  lastScrape: string;
  lastScrapeDuration: number;
  labels: Record<string, string>;
}

export async function targets(signal?: AbortSignal): Promise<Target[]> {
  const answer = await getJson<{ data?: { activeTargets?: Target[] | null } }>('/api/v1/targets', { state: 'active' }, signal);
  return answer.data?.activeTargets ?? [];
}
