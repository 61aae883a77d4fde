// The time range of the page: in the URL, resolved at every tick, refreshed automatically when asked.
import { router } from './router.svelte';
import { DEFAULT_RANGE, moveRange, parseDuration, resolve, scaleRange, type Interval, type TimeRange } from './time';

export const REFRESH_CHOICES = ['', '5s', '15s', '30s', '1m', '5m'];
const RECENTS_KEY = 'taffrail.recentRanges';

class Clock {
  #nowMs = $state(Date.now());
  range: TimeRange = $derived({
    from: router.query.get('from') ?? DEFAULT_RANGE.from,
    to: router.query.get('to') ?? DEFAULT_RANGE.to,
  });
  interval: Interval = $derived(resolve(this.range, this.#nowMs));
  refresh = $derived(router.query.get('refresh') ?? '15s');
  recents: TimeRange[] = $state(readRecents());

  get nowMs(): number {
    return this.#nowMs;
  }

  tick(): void {
    this.#nowMs = Date.now();
  }

  set(range: TimeRange): void {
    this.#nowMs = Date.now();
    router.set({ from: range.from, to: range.to });
    this.recents = [range, ...this.recents.filter((r) => r.from !== range.from || r.to !== range.to)].slice(0, 5);
    try {
      localStorage.setItem(RECENTS_KEY, JSON.stringify(this.recents));
    } catch {
      // Storage may be forbidden; recents then last as long as the page.
    }
  }

  /** Zooms to part of a chart. */
  zoomTo(fromMs: number, toMs: number): void {
    const from = Math.round(fromMs);
    this.set({ from: String(from), to: String(Math.max(from + 1000, Math.round(toMs))) });
  }

  zoom(factor: number): void {
    this.set(scaleRange(this.range, factor, Date.now()));
  }

  move(direction: -1 | 1): void {
    this.set(moveRange(this.range, direction, Date.now()));
  }

  setRefresh(text: string): void {
    router.set({ refresh: text === '15s' ? undefined : text || 'off' }, true);
  }
}

function readRecents(): TimeRange[] {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(RECENTS_KEY) ?? '[]');
    if (!Array.isArray(value)) return [];
    return value.filter((r): r is TimeRange => typeof r?.from === 'string' && typeof r?.to === 'string').slice(0, 5);
  } catch {
    return [];
  }
}

export const clock = new Clock();

/** Ticks while the page is visible and the range ends now. Call inside a component. */
export function runClock(): void {
  $effect(() => {
    const seconds = parseDuration(clock.refresh);
    if (seconds === null || seconds <= 0 || !clock.range.to.startsWith('now')) return;
    const timer = setInterval(() => {
      if (!document.hidden) clock.tick();
    }, seconds * 1000);
    return () => clearInterval(timer);
  });
  $effect(() => {
    const onVisible = () => {
      if (!document.hidden) clock.tick();
    };
    document.addEventListener('visibilitychange', onVisible);
    return () => document.removeEventListener('visibilitychange', onVisible);
  });
}
