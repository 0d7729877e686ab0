/** Storage for the session's state, with the interface of `localStorage`. */
export interface SessionStorage {
  getItem(name: string): string | null;
  setItem(name: string, value: string): void;
  removeItem(name: string): void;
}

export interface SessionOptions {
  /** URL of the edge. Default: the page's origin. */
  url?: string;
  /** Whether the refresh token is in an HttpOnly cookie. Default: `false`. */
  cookie?: boolean;
  /** Seconds before expiry to refresh at; at most half of the token's lifetime. Default: 60. */
  aheadSeconds?: number;
  /** Other origins that may receive the access token. */
  origins?: string[];
  /** Sessions with the same name are one session in all tabs. Default: the URL. */
  name?: string;
  /** Default: `localStorage`, or memory if it is unavailable. */
  storage?: SessionStorage;
}

/** The reason why there is no session, or why it can't be refreshed now. */
export class SessionError extends Error {
  constructor(code: string, status: number);
  /** Portcullis's stable code, or `unreachable`. */
  readonly code: string;
  /** The HTTP status, or 0 without a response. */
  readonly status: number;
}

export interface SessionEvents {
  /** This tab received a new access token. */
  renewed: Event;
  /** The session is over; `detail.code` says why. */
  ended: CustomEvent<{ code: string }>;
}

/** A Portcullis session, shared by all tabs of a browser. */
export class Session extends EventTarget {
  constructor(options?: SessionOptions);
  /** Whether there is a session, as far as local state shows. */
  readonly active: boolean;
  /** Starts a session. Rejects with a {@link SessionError}. */
  login(username: string, password: string): Promise<{ scope: string }>;
  /** Ends the session in all tabs. If the edge is unreachable, ends it locally and rejects. */
  logout(): Promise<void>;
  /** Returns a fresh access token, or `null` without a session. */
  token(): Promise<string | null>;
  /** `fetch` with the access token. After a 401, refreshes the token and retries once. */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
  /** Releases timers and channels. The session itself continues. */
  close(): void;
  addEventListener<K extends keyof SessionEvents>(
    type: K, listener: (event: SessionEvents[K]) => void, options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions,
  ): void;
}
