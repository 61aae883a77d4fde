// The address bar as state: path and query, links handled in place, history kept honest.
import { buildUrl, patchQuery, type Query } from './url';

class Router {
  path = $state(location.pathname);
  search = $state(location.search);
  query = $derived(new URLSearchParams(this.search));

  get(name: string): string {
    return this.query.get(name) ?? '';
  }

  /** Goes to an address of ours. Time and refresh travel along unless the address says otherwise. */
  go(url: string, replace = false): void {
    const target = new URL(url, location.href);
    for (const key of ['from', 'to', 'refresh']) {
      const value = this.query.get(key);
      if (value !== null && !target.searchParams.has(key)) target.searchParams.set(key, value);
    }
    const address = target.pathname + target.search;
    if (replace) history.replaceState(null, '', address);
    else history.pushState(null, '', address);
    const moved = target.pathname !== this.path;
    this.read();
    if (moved) scrollTo(0, 0);
  }

  /** Changes parameters of the current page. `replace` for what is not worth a step back. */
  set(change: Query, replace = false): void {
    const search = patchQuery(this.search, change);
    if (search === this.search.replace(/^\?/, '')) return;
    const address = search === '' ? this.path : `${this.path}?${search}`;
    if (replace) history.replaceState(null, '', address);
    else history.pushState(null, '', address);
    this.read();
  }

  /** An address with the current time range, for `href`. */
  href(path: string, query: Query = {}): string {
    const keep: Query = {};
    for (const key of ['from', 'to', 'refresh']) keep[key] = this.query.get(key) ?? undefined;
    return buildUrl(path, { ...keep, ...query });
  }

  read(): void {
    this.path = location.pathname;
    this.search = location.search;
  }
}

export const router = new Router();

/** Listens for history moves and clicks on our own links. */
export function startRouter(): void {
  addEventListener('popstate', () => router.read());
  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (!link || link.target !== '' || link.origin !== location.origin || link.hasAttribute('download')) return;
    if (link.pathname.startsWith('/api/') || link.pathname.startsWith('/loki/') || link.getAttribute('href')?.startsWith('#')) return;
    event.preventDefault();
    router.go(link.href);
  });
}
