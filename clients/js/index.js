// A session of Portcullis in a browser. It holds the access token, has it renewed ahead of its end, once for all tabs
// (Web Locks), tells the other tabs (BroadcastChannel), and sends a request once more after a 401.
//
// In cookie mode the refresh token is in an HttpOnly cookie, out of every script's reach, and the access token in
// memory alone. Otherwise the pair is in `storage`, where every script of the page can read it.

/** Why there is no session, or none can be had now. `code` is Portcullis's; `status` is 0 where nobody answered. */
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
      this.#channel.onmessage = ({ data }) => this.#hear(data);
      this.#channel.unref?.();
    }
    if (!this.#cookie) this.#adopt(this.#stored()?.access);
  }

  /** Whether somebody is logged in, as far as is known without asking. */
  get active() {
    return this.#storage.getItem(this.#key) !== null;
  }

  /** Begins a session. */
  async login(username, password) {
    const body = { username, password, ...(this.#cookie && { cookie: true }) };
    const answer = await this.#post('/auth/login', body);
    this.#take(answer);
    return { scope: answer.scope };
  }

  /** Ends the session, here and in all tabs. It is over here also if the edge can't be told; that rejects. */
  async logout() {
    const pair = this.#stored();
    try {
      const body = this.#cookie ? undefined : { refresh_token: pair?.refresh };
      if (pair) await this.#post('/auth/logout', body);
    } finally {
      this.#end('logout', true);
    }
  }

  /** An access token that is good for a while, or null where nobody is logged in. */
  async token() {
    if (!this.#isFresh()) await this.#refresh((access) => this.#isFresh(access));
    return this.#access?.token ?? null;
  }

  /** `fetch` with the access token. After a 401 the token is renewed and the request sent once more. */
  async fetch(input, init) {
    const request = new Request(input instanceof Request ? input : new URL(input, this.#url), init);
    if (!this.#origins.includes(new URL(request.url).origin)) {
      throw new TypeError(`${new URL(request.url).origin} is none of the session's origins`);
    }
    // A second copy of the body, as long as it may be needed.
    const again = request.clone();
    const token = await this.token();
    const first = await send(request, token);
    if (first.status !== 401 || !token) {
      again.body?.cancel().catch(() => {});
      return first;
    }
    try {
      await this.#refresh((access) => access && access.token !== token);
    } catch {
      return first;
    }
    if (!this.#access || this.#access.token === token) return first;
    first.body?.cancel().catch(() => {});
    return send(again, this.#access.token);
  }

  /** Lets go of timers and channels; the session itself goes on. */
  close() {
    clearTimeout(this.#timer);
    this.#channel?.close();
    this.#channel = undefined;
  }

  #isFresh(access = this.#access) {
    return access !== undefined && Date.now() < access.until - Math.min(this.#ahead, (access.until - access.made) / 2);
  }

  // Renews the access token, unless `enough` of one that another tab got meanwhile.
  #refresh(enough) {
    if (!this.active) return Promise.resolve();
    this.#refreshing ??= this.#locked((waited) => this.#renew(enough, waited)).finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  // Works while no other tab does; it is told whether one had to be waited for.
  async #locked(work) {
    const locks = globalThis.navigator?.locks;
    if (!locks) return work(false);
    const atOnce = (lock) => lock && work(false).then(() => true);
    if (await locks.request(this.#key, { ifAvailable: true }, atOnce)) return undefined;
    return locks.request(this.#key, () => work(true));
  }

  async #renew(enough, waited) {
    if (waited) await this.#catchUp(enough, WRITTEN_MS);
    else if (this.#isBehind()) await this.#catchUp(enough, ANSWER_MS);
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

  // Whether another tab got a token since.
  #isBehind() {
    const stored = this.#stored();
    return stored?.made > this.#made() && (stored.until ?? stored.access?.until) > Date.now();
  }

  // Waits for what the tab got that had the lock before. Neither the storage nor the channel is in step with locks: what was
  // written and said may still be on its way. A tab that was closed has got nothing; then the edge is asked.
  async #catchUp(enough, ms) {
    const begun = Date.now();
    for (let asked = false; this.active && Date.now() - begun < ms; asked = true) {
      if (!this.#cookie) this.#adopt(this.#stored()?.access);
      if (enough(this.#access) && !this.#isBehind()) return;
      if (!asked) this.#channel?.postMessage({ wants: this.#made() });
      await new Promise((resolve) => { setTimeout(resolve, 10); });
    }
  }

  #made() {
    return this.#access?.made ?? 0;
  }

  // POST of JSON. What can't do harm twice is tried once more: an answer that was lost is given again.
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
          signal: AbortSignal.timeout(DEADLINE_MS),
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

  // Keeps what the edge gave, and tells the other tabs.
  #take(answer) {
    const made = Math.max(Date.now(), (this.#stored()?.made ?? 0) + 1);
    const access = { token: answer.access_token, until: Date.now() + answer.expires_in * 1000, made };
    const kept = this.#cookie ? { made, until: access.until } : { made, access, refresh: answer.refresh_token };
    this.#storage.setItem(this.#key, JSON.stringify(kept));
    this.#adopt(access);
    this.#channel?.postMessage({ access: this.#cookie ? access : undefined });
    this.dispatchEvent(new Event('renewed'));
  }

  #adopt(access) {
    if (!access || access.made <= this.#made()) return;
    this.#access = access;
    clearTimeout(this.#timer);
    const life = access.until - Date.now();
    // Tabs come one after the other; the first renews for all.
    const wait = Math.max(0, life - Math.min(this.#ahead, life / 2)) + Math.random() * Math.min(1000, life / 10);
    this.#timer = setTimeout(() => { this.token().catch(() => {}); }, Math.min(wait, TIMER_MS_MAX));
    this.#timer.unref?.();
  }

  #hear(data) {
    if (data.ended) this.#end(data.ended, false);
    else if (data.wants !== undefined) {
      if (this.#cookie && this.#made() > data.wants) this.#channel?.postMessage({ access: this.#access });
    } else this.#adopt(this.#cookie ? data.access : this.#stored()?.access);
  }

  #end(code, tells) {
    const was = this.#access !== undefined || this.active;
    clearTimeout(this.#timer);
    this.#access = undefined;
    if (tells) {
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
    // A page may be forbidden to have one.
    return undefined;
  }
}

function memory() {
  const held = new Map();
  return {
    getItem: (name) => held.get(name) ?? null,
    setItem: (name, value) => { held.set(name, value); },
    removeItem: (name) => { held.delete(name); },
  };
}

// For how long a tab waits for what another has got: one that must have, and one that may be gone.
const WRITTEN_MS = 1000;
const ANSWER_MS = 200;
const DEADLINE_MS = 15_000;
const TIMER_MS_MAX = 2 ** 31 - 1;
