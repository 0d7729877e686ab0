// A Portcullis session in a browser. It holds the access token and refreshes it before it expires.
// One tab refreshes for all (Web Locks) and notifies the others (BroadcastChannel). A request with
// a 401 is retried once.
//
// In cookie mode, the refresh token is in an HttpOnly cookie, which scripts can't read, and the
// access token only in memory. Otherwise the pair is in `storage`, which every script of the page
// can read.

/**
 * Reports that there is no session, or that it can't be refreshed. `status` is 0 without a
 * response.
 */
export class SessionError extends Error {
  constructor(code, status) {
    super(`${code} (${status})`);
    this.name = 'SessionError';
    this.code = code;
    this.status = status;
  }
}

export class Session extends EventTarget {
  #url;
  #cookie;
  #storage;
  #ahead;
  #origins;
  #key;
  #channel;
  #access; // { token, until, made }, times in milliseconds
  #refreshing;
  #timer;

  constructor(options = {}) {
    super();
    const here = globalThis.location?.origin;
    this.#url = (options.url ?? here ?? '').replace(/\/$/, '');
    if (!this.#url) throw new TypeError('url: is not set; give the URL of the edge');
    this.#cookie = options.cookie ?? false;
    this.#storage = options.storage ?? browserStorage() ?? memory();
    this.#ahead = (options.aheadSeconds ?? 60) * 1000;
    this.#origins = [this.#url, ...(options.origins ?? [])].map((url) => new URL(url).origin);
    this.#key = `portcullis:${options.name ?? this.#url}`;
    if (globalThis.BroadcastChannel) {
      this.#channel = new BroadcastChannel(this.#key);
      this.#channel.onmessage = ({ data }) => this.#receive(data);
      this.#channel.unref?.();
    }
    if (!this.#cookie) this.#adopt(this.#stored()?.access);
  }

  /** Whether there is a session, as far as local state shows. */
  get active() {
    return this.#storage.getItem(this.#key) !== null;
  }

  /** Starts a session. */
  async login(username, password) {
    const body = { username, password, ...(this.#cookie && { cookie: true }) };
    const answer = await this.#post('/auth/login', body);
    this.#take(answer);
    return { scope: answer.scope };
  }

  /** Ends the session in all tabs. If the edge is unreachable, ends it locally and rejects. */
  async logout() {
    const pair = this.#stored();
    try {
      const body = this.#cookie ? undefined : { refresh_token: pair?.refresh };
      if (pair) await this.#post('/auth/logout', body);
    } finally {
      this.#end('logout', true);
    }
  }

  /** Returns a fresh access token, or `null` without a session. */
  async token() {
    if (!this.#isFresh()) await this.#refresh((access) => this.#isFresh(access));
    return this.#access?.token ?? null;
  }

  /** `fetch` with the access token. After a 401, refreshes the token and retries once. */
  async fetch(input, init) {
    const request = new Request(input instanceof Request ? input : new URL(input, this.#url), init);
    if (!this.#origins.includes(new URL(request.url).origin)) {
      throw new TypeError(`${new URL(request.url).origin} is not one of the session's origins; add it to origins`);
    }
    // Keeps a copy of the body for a retry.
    const retry = request.clone();
    const token = await this.token();
    const first = await send(request, token);
    if (first.status !== 401 || !token) {
      retry.body?.cancel().catch(() => {});
      return first;
    }
    try {
      await this.#refresh((access) => access && access.token !== token);
    } catch {
      return first;
    }
    if (!this.#access || this.#access.token === token) return first;
    first.body?.cancel().catch(() => {});
    return send(retry, this.#access.token);
  }

  /** Releases timers and channels. The session itself continues. */
  close() {
    clearTimeout(this.#timer);
    this.#channel?.close();
    this.#channel = undefined;
  }

  #isFresh(access = this.#access) {
    return access !== undefined && Date.now() < access.until - Math.min(this.#ahead, (access.until - access.made) / 2);
  }

  // Refreshes the access token, unless another tab already got one that satisfies `enough`.
  #refresh(enough) {
    if (!this.active) return Promise.resolve();
    this.#refreshing ??= this.#locked((waited) => this.#renew(enough, waited)).finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  // Runs `work` while no other tab does. Its argument says whether it had to wait for another tab.
  async #locked(work) {
    const locks = globalThis.navigator?.locks;
    if (!locks) return work(false);
    const ifFree = (lock) => lock && work(false).then(() => true);
    if (await locks.request(this.#key, { ifAvailable: true }, ifFree)) return undefined;
    return locks.request(this.#key, () => work(true));
  }

  async #renew(enough, waited) {
    if (waited) await this.#catchUp(enough, SHARED_MS);
    else if (this.#isBehind()) await this.#catchUp(enough, REQUESTED_MS);
    const stored = this.#stored();
    if (!stored) return this.#end('session_ended', false);
    if (!this.#cookie) this.#adopt(stored.access);
    if (enough(this.#access)) return undefined;
    const body = this.#cookie ? undefined : { refresh_token: stored.refresh };
    try {
      this.#take(await this.#post('/auth/refresh', body, 1));
    } catch (error) {
      const over = error instanceof SessionError && [400, 401, 403].includes(error.status);
      if (over) this.#end(error.code, true);
      throw error;
    }
    return undefined;
  }

  // Returns whether another tab has a newer token.
  #isBehind() {
    const stored = this.#stored();
    return stored?.made > this.#made() && (stored.until ?? stored.access?.until) > Date.now();
  }

  // Waits for the token of the tab that had the lock before. Writes to the storage and messages on
  // the channel may arrive after the lock is free. If that tab was closed, nothing arrives, and
  // this tab refreshes.
  async #catchUp(enough, ms) {
    const started = Date.now();
    for (let requested = false; this.active && Date.now() - started < ms; requested = true) {
      if (!this.#cookie) this.#adopt(this.#stored()?.access);
      if (enough(this.#access) && !this.#isBehind()) return;
      if (!requested) this.#channel?.postMessage({ wants: this.#made() });
      await new Promise((resolve) => { setTimeout(resolve, 10); });
    }
  }

  #made() {
    return this.#access?.made ?? 0;
  }

  // Sends JSON with POST. Only idempotent requests set `retries`: the edge repeats a lost response.
  async #post(path, body, retries = 0) {
    let failure;
    for (let attempt = 0; attempt <= retries; attempt += 1) {
      if (attempt > 0) await new Promise((resolve) => { setTimeout(resolve, 300 + Math.random() * 700); });
      let response;
      try {
        response = await fetch(this.#url + path, {
          method: 'POST',
          headers: body === undefined ? {} : { 'content-type': 'application/json' },
          body: body === undefined ? undefined : JSON.stringify(body),
          credentials: this.#cookie ? 'include' : 'omit',
          cache: 'no-store',
          signal: AbortSignal.timeout(TIMEOUT_MS),
        });
        const answer = response.status === 204 ? {} : await response.json();
        if (response.ok) return answer;
        failure = new SessionError(answer.code ?? 'unknown', response.status);
      } catch {
        failure = new SessionError('unreachable', response?.ok === false ? response.status : 0);
      }
      if (failure.status !== 0 && failure.status < 500) break;
    }
    throw failure;
  }

  // Stores the edge's response, and notifies the other tabs.
  #take(answer) {
    const made = Math.max(Date.now(), (this.#stored()?.made ?? 0) + 1);
    const access = { token: answer.access_token, until: Date.now() + answer.expires_in * 1000, made };
    const state = this.#cookie ? { made, until: access.until } : { made, access, refresh: answer.refresh_token };
    this.#storage.setItem(this.#key, JSON.stringify(state));
    this.#adopt(access);
    this.#channel?.postMessage({ access: this.#cookie ? access : undefined });
    this.dispatchEvent(new Event('renewed'));
  }

  #adopt(access) {
    if (!access || access.made <= this.#made()) return;
    this.#access = access;
    clearTimeout(this.#timer);
    const lifetime = access.until - Date.now();
    // The jitter spreads the tabs out, so that the first one refreshes for all.
    const jitter = Math.random() * Math.min(1000, lifetime / 10);
    const wait = Math.max(0, lifetime - Math.min(this.#ahead, lifetime / 2)) + jitter;
    this.#timer = setTimeout(() => { this.token().catch(() => {}); }, Math.min(wait, TIMER_MS_MAX));
    this.#timer.unref?.();
  }

  #receive(data) {
    if (data.ended) this.#end(data.ended, false);
    else if (data.wants !== undefined) {
      if (this.#cookie && this.#made() > data.wants) this.#channel?.postMessage({ access: this.#access });
    } else this.#adopt(this.#cookie ? data.access : this.#stored()?.access);
  }

  #end(code, notifies) {
    const was = this.#access !== undefined || this.active;
    clearTimeout(this.#timer);
    this.#access = undefined;
    if (notifies) {
      this.#storage.removeItem(this.#key);
      this.#channel?.postMessage({ ended: code });
    }
    if (was) this.dispatchEvent(new CustomEvent('ended', { detail: { code } }));
  }

  #stored() {
    try {
      return JSON.parse(this.#storage.getItem(this.#key)) ?? undefined;
    } catch {
      return undefined;
    }
  }
}

function send(request, token) {
  if (token) request.headers.set('authorization', `Bearer ${token}`);
  return fetch(request);
}

function browserStorage() {
  try {
    return globalThis.localStorage;
  } catch {
    // The page may have no access to the storage.
    return undefined;
  }
}

function memory() {
  const items = new Map();
  return {
    getItem: (name) => items.get(name) ?? null,
    setItem: (name, value) => { items.set(name, value); },
    removeItem: (name) => { items.delete(name); },
  };
}

// How long a tab waits for another tab's token: after waiting for its lock, and if it may be
// closed.
const SHARED_MS = 1000;
const REQUESTED_MS = 200;
const TIMEOUT_MS = 15_000;
const TIMER_MS_MAX = 2 ** 31 - 1;
