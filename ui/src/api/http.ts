// The one place that calls fetch: JSON in, typed errors out, cancellation by signal.

/** What the server said, or why it could not be asked. `status` 0 means no answer. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

export type Params = Record<string, string | number | string[] | undefined>;

const GET_LIMIT_CHARS = 3000;

function encode(params: Params): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    if (Array.isArray(value)) for (const item of value) search.append(key, item);
    else if (value !== undefined) search.set(key, String(value));
  }
  return search.toString();
}

/** GETs JSON; long queries go as a POST form. Throws ApiError, or AbortError when cancelled. */
export async function getJson<T>(path: string, params: Params = {}, signal?: AbortSignal): Promise<T> {
  const body = encode(params);
  const long = body.length > GET_LIMIT_CHARS;
  let response: Response;
  try {
    response = long
      ? await fetch(path, { method: 'POST', signal, headers: { 'content-type': 'application/x-www-form-urlencoded' }, body })
      : await fetch(body === '' ? path : `${path}?${body}`, { signal, headers: { accept: 'application/json' } });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError('The server does not answer. Is Taffrail still running?', 0);
  }
  const text = await response.text();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (!response.ok) throw new ApiError(errorText(value, text, response), response.status);
  if (value === undefined) throw new ApiError(`${path} answered with something that is not JSON.`, response.status);
  return value as T;
}

// Prometheus answers {"error": "..."}, Loki plain text, Taffrail {"message": "..."} or {"error": "..."}.
function errorText(value: unknown, text: string, response: Response): string {
  if (value && typeof value === 'object') {
    const { error, message } = value as { error?: unknown; message?: unknown };
    if (typeof error === 'string') return error;
    if (typeof message === 'string') return message;
  }
  const plain = text.trim().slice(0, 500);
  if (plain !== '' && !plain.startsWith('<')) return plain;
  return `The server answered ${response.status} ${response.statusText}`.trim();
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
