// The one way to the server: requests, their errors, the session, and lists page by page.
import {
  createStore, useStore, useState, useEffect, useCallback, useRef,
} from './ui.js';
import { BASE } from './router.js';

const TIMEOUT_MS = 20_000;

/** A request that failed: what the server said, or that it said nothing. */
export class ApiError extends Error {
  constructor(problem) {
    super(problem.detail || problem.title || 'The request failed.');
    this.status = problem.status ?? 0;
    this.code = problem.code ?? 'unreachable';
    this.title = problem.title ?? '';
    this.requestId = problem.request_id ?? null;
    this.retryAfter = problem.retryAfter ?? null;
  }
}

/**
 * The session: `undefined` until the server was asked, `null` without one, otherwise what
 * `GET /console/api/session` returns. `notice` says why the last one ended.
 */
export const session = createStore(undefined);
export const ended = createStore('');

/** Whether the operator may act; without it no page shows a control that changes something. */
export const useMayAct = () => Boolean(useStore(session)?.may_act);

/** Returns the address of an API path, such as `apiUrl('/usage', { format: 'csv' })`. */
export function apiUrl(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== null && value !== '') query.set(name, String(value));
  }
  const text = query.toString();
  return `${BASE}/api${path}${text ? `?${text}` : ''}`;
}

async function problemOf(response) {
  const retryAfter = Number(response.headers.get('retry-after')) || null;
  const plain = { status: response.status, code: `http_${response.status}`, retryAfter };
  try {
    const body = await response.json();
    if (typeof body === 'object' && body !== null) {
      const text = (value) => (typeof value === 'string' ? value : undefined);
      return {
        ...plain,
        code: text(body.code) ?? plain.code,
        title: text(body.title),
        detail: text(body.detail),
        request_id: text(body.request_id) ?? response.headers.get('x-request-id'),
      };
    }
  } catch {
    // Not JSON: a proxy answered.
  }
  return { ...plain, detail: `The server returned ${response.status}.` };
}

async function request(method, path, { params, body, signal, background } = {}) {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const headers = { accept: 'application/json' };
  // An unattended page must not keep the session alive.
  if (background) headers['x-background'] = '1';
  if (method !== 'GET') {
    headers['content-type'] = 'application/json';
    const csrf = session.get()?.csrf;
    if (csrf) headers['x-csrf-token'] = csrf;
  }
  let response;
  try {
    response = await fetch(apiUrl(path, params), {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: 'same-origin',
      cache: 'no-store',
      redirect: 'error',
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    const detail = timeout.aborted
      ? 'The server did not respond in time.'
      : 'The server does not respond.';
    throw new ApiError({ detail });
  }
  if (response.ok) return response.status === 204 ? null : read(response, signal);
  const problem = await problemOf(response);
  if (response.status === 401 && path !== '/session') {
    if (session.get()) ended.set('Your session ended. Log in again to go on.');
    session.set(null);
  }
  // Another tab logged in: its session has another CSRF token, and perhaps another operator.
  if (problem.code === 'csrf_invalid') await resume();
  throw new ApiError(problem);
}

async function read(response, signal) {
  try {
    return await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError({ status: response.status, code: 'bad_response', detail: 'The response is not complete.' });
  }
}

/**
 * Fetches JSON: `get('/users', { q: 'ann' })`. With `background: true` among the options it
 * does not count as use of the session.
 */
export const get = (path, params, options) => request('GET', path, { ...options, params });

/** Sends an action: `send('POST', '/users/7/disable', { reason })`. */
export const send = (method, path, body = {}) => request(method, path, { body });

/** Asks whether the browser has a session. */
export async function resume() {
  try {
    session.set(await get('/session'));
  } catch (error) {
    session.set(null);
    if (error.status !== 401) ended.set(error.message);
  }
}

export async function logIn(username, password) {
  const opened = await request('POST', '/session', { body: { username, password } });
  ended.set('');
  session.set(opened);
}

export async function logOut() {
  try {
    await send('DELETE', '/session');
  } catch (error) {
    // The session must not look ended while it is not.
    if (error.status !== 401) throw error;
  }
  ended.set('');
  session.set(null);
}

/**
 * Fetches JSON for a component: `{ data, error, loading, isStale, reload, poll }`. While parameters
 * change, `data` stays what it was, and `isStale` says so. A `path` of `null` fetches nothing.
 * `poll` is `reload` for timers, and does not count as use of the session.
 */
export function useApi(path, params = {}) {
  const key = path === null ? null : apiUrl(path, params);
  const [state, setState] = useState({ key: null, data: null, error: null, loading: true });
  const control = useRef(null);
  const load = useCallback(async (background) => {
    control.current?.abort();
    if (key === null) return;
    const own = new AbortController();
    control.current = own;
    setState((last) => ({ ...last, loading: true }));
    try {
      const data = await get(path, params, { signal: own.signal, background: background === true });
      if (!own.signal.aborted) setState({ key, data, error: null, loading: false });
    } catch (error) {
      if (own.signal.aborted) return;
      // Old data next to an error would look current: it stays only if it answers this question.
      setState((last) => ({
        key, data: last.key === key ? last.data : null, error, loading: false,
      }));
    }
  }, [key]);
  useEffect(() => {
    load();
    return () => control.current?.abort();
  }, [load]);
  const poll = useCallback(() => load(true), [load]);
  return { ...state, isStale: state.data !== null && state.key !== key, reload: load, poll };
}

/**
 * Fetches a list page by page: `{ items, error, loading, more, reload }`. `more` is `null` at the
 * end of the list.
 */
export function usePages(path, params = {}) {
  const key = apiUrl(path, params);
  const [state, setState] = useState({ items: null, next: null, error: null, loading: true });
  const control = useRef(null);
  const load = useCallback(async (after) => {
    control.current?.abort();
    const own = new AbortController();
    control.current = own;
    setState((last) => ({ ...last, loading: true }));
    try {
      const page = await get(path, { ...params, after }, { signal: own.signal });
      if (own.signal.aborted) return;
      const items = Array.isArray(page?.items) ? page.items : [];
      setState((last) => ({
        items: after ? [...(last.items ?? []), ...items] : items,
        next: page?.next ?? null,
        error: null,
        loading: false,
      }));
    } catch (error) {
      if (own.signal.aborted) return;
      setState((last) => ({ ...last, items: after ? last.items : null, error, loading: false }));
    }
  }, [key]);
  useEffect(() => {
    load();
    return () => control.current?.abort();
  }, [load]);
  return {
    ...state,
    more: state.next === null ? null : () => load(state.next),
    reload: () => load(),
  };
}
