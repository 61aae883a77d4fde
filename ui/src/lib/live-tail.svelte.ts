// A live tail as state: bounded, can be paused without losing lines, and counts what it had to drop.
import { tail } from '../api/loki';
import { appendBounded, type LogRecord } from './logs';

const LIMIT_LINES = 5000;

export class LiveTail {
  records: LogRecord[] = $state.raw([]);
  state: 'off' | 'connecting' | 'live' | 'closed' = $state('off');
  reason = $state('');
  paused = $state(false);
  waiting = $state(0);
  dropped = $state(0);
  #held: LogRecord[] = [];
  #stop: (() => void) | undefined;
  #frame = 0;

  /** Starts following; `first` are lines already on the page. Returns the stop function. */
  start(query: string, first: LogRecord[]): () => void {
    this.stop();
    this.records = first;
    this.dropped = 0;
    this.paused = false;
    this.#stop = tail(query, {
      onRecords: (records) => {
        this.#held = this.#held.concat(records);
        if (this.#held.length > LIMIT_LINES) {
          this.dropped += this.#held.length - LIMIT_LINES;
          this.#held = this.#held.slice(-LIMIT_LINES);
        }
        if (this.paused) this.waiting = this.#held.length;
        else this.#schedule();
      },
      onDropped: (count) => {
        this.dropped += count;
      },
      onState: (state, reason) => {
        this.state = state;
        this.reason = reason;
      },
    });
    return () => this.stop();
  }

  stop(): void {
    this.#stop?.();
    this.#stop = undefined;
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#held = [];
    this.waiting = 0;
    this.state = 'off';
  }

  togglePause(): void {
    this.paused = !this.paused;
    if (!this.paused) this.#schedule();
  }

  clear(): void {
    this.records = [];
    this.#held = [];
    this.waiting = 0;
    this.dropped = 0;
  }

  // One update per frame, however fast lines come.
  #schedule(): void {
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      const { records, dropped } = appendBounded(this.records, this.#held, LIMIT_LINES);
      this.#held = [];
      this.waiting = 0;
      this.records = records;
      this.dropped += dropped;
    });
  }
}
