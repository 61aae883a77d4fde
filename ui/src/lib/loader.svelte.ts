// A request as state: value, error, loading. A new run cancels the one before and keeps the old value on show.
import { isAbort, messageOf } from '../api/http';

export class Loader<T> {
  value: T | undefined = $state.raw();
  error: string | null = $state(null);
  loading = $state(true);
  /** Wall time of the last answer, milliseconds. */
  tookMs = $state(0);

  /** Starts a request and returns its cancellation, ready to be an effect's cleanup. */
  run(request: (signal: AbortSignal) => Promise<T>): () => void {
    const controller = new AbortController();
    const startedAt = performance.now();
    this.loading = true;
    request(controller.signal).then(
      (value) => {
        if (controller.signal.aborted) return;
        this.value = value;
        this.error = null;
        this.loading = false;
        this.tookMs = performance.now() - startedAt;
      },
      (error: unknown) => {
        if (controller.signal.aborted || isAbort(error)) return;
        this.error = messageOf(error);
        this.loading = false;
      },
    );
    return () => controller.abort();
  }

  clear(): void {
    this.value = undefined;
    this.error = null;
    this.loading = false;
  }
}
