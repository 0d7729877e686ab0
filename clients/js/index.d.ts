/** Where the session's state is kept; `localStorage` has this form. */
export interface SessionStorage {
  getItem(name: string): string | null;
  setItem(name: string, value: string): void;
  removeItem(name: string): void;
}

export interface SessionOptions {
  /** URL of the edge; the page's own origin by default. */
  url?: string;
  /** The refresh token in an HttpOnly cookie, out of every script's reach. Default: `false`. */
  cookie?: boolean;
  /** How long before its end an access token is renewed, in seconds; no more than half of its life. Default: 60. */
  aheadSeconds?: number;
  /** Other origins that may be given the access token. */
  origins?: string[];
  /** Sessions of one name are one session in all tabs. Default: the URL. */
  name?: string;
  /** Default: `localStorage`; in memory where there is none. */
  storage?: SessionStorage;
}

/** Why there is no session, or none can be had now. */
export class SessionError extends Error {
  constructor(code: string, status: number);
  /** Portcullis's stable code, or `unreachable`. */
  readonly code: string;
  /** The HTTP status; 0 where nobody answered. */
  readonly status: number;
}

export interface SessionEvents {
  /** There is a new access token, by this tab's doing. */
  renewed: Event;
  /** The session is over; `detail.code` says why. */
  ended: CustomEvent<{ code: string }>;
}

/** A session of Portcullis, one for all tabs of a browser. */
export class Session extends EventTarget {
  constructor(options?: SessionOptions);
  /** Whether somebody is logged in, as far as is known without asking. */
  readonly active: boolean;
  /** Begins a session; rejects with a {@link SessionError}. */
  login(username: string, password: string): Promise<{ scope: string }>;
  /** Ends the session, here and in all tabs; here also if the edge can't be told, which rejects. */
  logout(): Promise<void>;
  /** An access token that is good for a while, or null where nobody is logged in. */
  token(): Promise<string | null>;
  /** `fetch` with the access token; after a 401 the token is renewed and the request sent once more. */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
  /** Lets go of timers and channels; the session itself goes on. */
  close(): void;
  addEventListener<K extends keyof SessionEvents>(
    type: K, listener: (event: SessionEvents[K]) => void, options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions,
  ): void;
}
