/** Checks requests for a Worker that answers them itself. */
export declare class Gate {
  /**
   * Makes a gate. A Worker makes each gate once; {@link gate} does that.
   *
   * @param env The Worker's variables, secrets and bindings.
   * @param policy The policy, as JSON or parsed: what `portcullis build` writes into build/policy.js.
   */
  constructor(env: object, policy: string | object);

  /** Checks a request and forwards it to the upstream of its route. */
  fetch(request: Request, context: Context): Response | Promise<Response>;

  /**
   * Checks a request. Returns a permit, or the response that the client gets: a refusal, a
   * preflight's, a document, or the auth service's.
   */
  check(request: Request, context: Context): Promise<Permit | Response>;

  /**
   * Checks a request, and returns plain data: for the Worker that answers, which may be another
   * one. The request is logged and counted at once.
   */
  verdict(request: CheckedRequest, context: Context): Promise<Verdict>;
}

/** The part of a request that is checked. A `Request` has these members. */
export interface CheckedRequest {
  readonly url: string;
  /** GET by default. */
  readonly method?: string;
  /** All of the client's headers: the token and the client's address are among them. */
  readonly headers?: Headers | [string, string][] | Record<string, string>;
  /** What Cloudflare says of the client: `request.cf`. */
  readonly cf?: object;
}

/** The facts about the caller of a permitted request. */
export interface Facts {
  /** The route's name. */
  readonly route: string;
  /** `iss` of the token; missing if there is none, on public and optional routes, as all that follows. */
  readonly issuer?: string;
  /** `sub` of the token. */
  readonly subject?: string;
  /** The scopes of the token; empty if there is none. */
  readonly scopes: string[];
  /** The client, by `client_id` or `azp`. */
  readonly clientId?: string;
  /** The session, `sid`. */
  readonly session?: string;
  /** When the token expires, in seconds since 1970. */
  readonly expiresAt?: number;
  /** The other claims that the policy uses, by the names or JSON Pointers that it uses. */
  readonly claims: Record<string, unknown>;
  /** What was decided without the store, because that was unavailable. */
  readonly degraded?: string;
  /** The code of the refusal that a route with `enforce = false` does not enforce. */
  readonly wouldRefuse?: string;
}

/** The outcome of a check, as plain data. */
export type Verdict = Permitted | Answered;

/** The request may be answered. */
export interface Permitted extends Facts {
  readonly permitted: true;
  /**
   * The request's headers with the identity headers of the policy, and without what the route takes
   * away, such as the token. Use them in the place of the client's.
   */
  readonly requestHeaders: [string, string][];
  /** Headers to set on the response: of limits, of CORS, and the request's id. */
  readonly responseHeaders: [string, string][];
}

/**
 * The response that the client gets: a refusal, a preflight's, or a document. It fits
 * `new Response(verdict.body, verdict)`.
 */
export interface Answered {
  readonly permitted: false;
  readonly status: number;
  /** The code of a refusal. */
  readonly code?: string;
  readonly headers: [string, string][];
  readonly body: string | null;
}

/** The permit to answer a request. */
export interface Permit extends Facts {}
export declare class Permit {
  private constructor();
  /**
   * The request with the identity headers of the policy. A protected route takes its token away,
   * unless it has `forward_token` or does not enforce.
   */
  readonly request: Request;

  /**
   * Logs and counts the request, and returns the response with the gate's headers: of limits, of
   * CORS, and the request's id. Call it once, within the upstream's timeout.
   */
  finish(response: Response): Promise<Response>;
}

/** The part of an execution context that a gate needs. */
export interface Context {
  waitUntil(promise: Promise<unknown>): void;
}

/**
 * Returns the gate for a policy. It is made once in an isolate, with the `env` of that time, which is
 * the same in each request.
 */
export declare function gate(env: object, policy: string | object): Gate;
