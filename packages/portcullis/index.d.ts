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
}

/** The permit to answer a request. */
export declare class Permit {
  private constructor();
  /**
   * The request with the identity headers of the policy. A protected route takes its token away,
   * unless it has `forward_token` or does not enforce.
   */
  readonly request: Request;
  /** The route's name. */
  readonly route: string;
  /** `iss` of the token; missing on public routes, as all that follows. */
  readonly issuer?: string;
  /** `sub` of the token. */
  readonly subject?: string;
  /** The scopes of the token; empty on public routes. */
  readonly scopes: string[];
  /** The client, by `client_id` or `azp`. */
  readonly clientId?: string;
  /** The session, `sid`. */
  readonly session?: string;
  /** When the token expires, in seconds since 1970. */
  readonly expiresAt?: number;
  /** The other claims that the policy uses. */
  readonly claims: Record<string, unknown>;
  /** What was decided without the store, because that was unavailable. */
  readonly degraded?: string;
  /** The code of the refusal that a route with `enforce = false` does not enforce. */
  readonly wouldRefuse?: string;

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
