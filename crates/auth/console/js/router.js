// Paths of the page: history routing below /console.
import { createStore, useStore, useCallback } from './ui.js';

export const BASE = '/console';

const read = () => ({
  path: location.pathname.slice(BASE.length).replace(/\/+$/, '') || '/now',
  search: location.search,
});

export const place = createStore(read());

addEventListener('popstate', () => place.set(read()));

/** Returns the address of a screen, such as `href('/users', { q: 'ann' })`. */
export function href(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== null && value !== '') query.set(name, String(value));
  }
  const text = query.toString();
  return BASE + path + (text ? `?${text}` : '');
}

/** Shows another screen. `to` is what `href` returns. */
export function navigate(to, { replace = false } = {}) {
  history[replace ? 'replaceState' : 'pushState'](null, '', to);
  place.set(read());
  if (!replace) scrollTo(0, 0);
}

/** Lets plain links between screens load nothing. */
export function followLinks(event) {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest?.('a[href]');
  if (!link || link.target || link.hasAttribute('download')) return;
  const url = new URL(link.href, location.href);
  if (url.origin !== location.origin || !url.pathname.startsWith(`${BASE}/`)) return;
  if (url.pathname.startsWith(`${BASE}/api/`) || url.hash) return;
  event.preventDefault();
  navigate(url.pathname + url.search);
}

/**
 * Returns the query parameters as an object, and a function that changes some of them.
 * An empty value removes a parameter. The address changes in place, so that a reload shows the
 * same.
 */
export function useParams() {
  const { search } = useStore(place);
  const params = Object.fromEntries(new URLSearchParams(search));
  const change = useCallback((changes) => {
    const now = read();
    const merged = { ...Object.fromEntries(new URLSearchParams(now.search)), ...changes };
    navigate(href(now.path, merged), { replace: true });
  }, []);
  return [params, change];
}
