// @ts-check
// The gate as a library: it checks requests for a Worker that answers them itself.

import { addGate } from './gates.js';
import { RequestTask } from './tasks.js';

/** @typedef {import('./tasks.js').Context} Context */

/**
 * What a permit says of its request. Members that do not apply are missing.
 * @typedef {{
 *   route: string, issuer?: string, subject?: string, scopes?: string[], clientId?: string,
 *   session?: string, expiresAt?: number, claims?: Record<string, unknown>, degraded?: string,
 *   wouldRefuse?: string,
 * }} Facts
 */

/**
 * What another Worker gets about its request, as plain data: the headers of the request and for the
 * response, if it is permitted; or else the response that the client gets.
 * @typedef {[string, string][]} Pairs
 * @typedef {{ permitted: true, requestHeaders: Pairs, responseHeaders: Pairs }} Headed
 * @typedef {{
 *   permitted: false, status: number, code?: string, headers: Pairs, body: string | null,
 * }} Refused
 * @typedef {(Facts & Headed) | Refused} Verdict
 */

/** A policy with its variables and bindings. */
export class Gate {
  #number;

  /**
   * @param {object} env the Worker's variables, secrets and bindings
   * @param {string | object} policy the policy, as JSON or parsed
   */
  constructor(env, policy) {
    const text = typeof policy === 'string' ? policy : JSON.stringify(policy);
    this.#number = addGate(/** @type {Record<string, unknown>} */ (env), text);
  }

  /**
   * Checks a request and forwards it to the upstream of its route.
   * @param {Request} request
   * @param {Context} context
   * @returns {Response | Promise<Response>}
   */
  fetch(request, context) {
    return new RequestTask(this.#number, request, context, crypto.randomUUID()).respond(request);
  }

  /**
   * Checks a request. Returns a permit, whose `finish` takes the Worker's response; or else the
   * response that the client gets: a refusal, a preflight's, a document, or the auth service's.
   * @param {Request} request
   * @param {Context} context
   * @returns {Promise<Permit | Response>}
   */
  check(request, context) {
    const task = new RequestTask(this.#number, request, context, crypto.randomUUID());
    const { url, cf } = request;
    /** @type {PromiseWithResolvers<Permit | Response>} */
    const permit = Promise.withResolvers();
    /** @type {PromiseWithResolvers<Response>} */
    const ended = Promise.withResolvers();
    // It refers to no request, because the task keeps it.
    task.handler = (outbound, facts) => {
      /** @type {PromiseWithResolvers<Response>} */
      const answer = Promise.withResolvers();
      const own = new Request(new Request(url, outbound), /** @type {RequestInit} */ ({ cf }));
      permit.resolve(new Permit(own, JSON.parse(facts), (response) => {
        answer.resolve(response);
        return ended.promise;
      }));
      return answer.promise;
    };
    ended.resolve(task.respond(request));
    ended.promise.then(permit.resolve, permit.reject);
    return permit.promise;
  }

  /**
   * Checks a request for a Worker that need not be this one. The request ends with the check.
   * @param {Request | { url: string, method?: string, headers?: HeadersInit, cf?: object }} request
   * @param {Context} context
   * @returns {Promise<Verdict>}
   */
  async verdict(request, context) {
    const { url, method, headers, cf } = request;
    const init = /** @type {RequestInit} */ ({ method, headers, cf });
    const permit = await this.check(request instanceof Request ? request : new Request(url, init), context);
    if (permit instanceof Response) return refusal(permit);
    const { request: own, ...facts } = permit;
    const finished = await permit.finish(new Response(null));
    // The edge may have failed in its last step.
    if (!finished.ok) return refusal(finished);
    const [requestHeaders, responseHeaders] = [[...own.headers], [...finished.headers]];
    return { permitted: true, ...facts, requestHeaders, responseHeaders };
  }
}

/**
 * Returns a response as data. The code is that of its problem details.
 * @param {Response} response
 * @returns {Promise<Verdict>}
 */
async function refusal(response) {
  const { status, headers } = response;
  const body = response.body && await response.text();
  const isProblem = headers.get('content-type') === 'application/problem+json';
  const code = isProblem ? codeOf(body) : undefined;
  return { permitted: false, status, code, headers: [...headers], body };
}

/** @returns {string | undefined} */
function codeOf(/** @type {string | null} */ problem) {
  try {
    return JSON.parse(problem ?? '').code;
  } catch {
    // The auth service may send anything.
    return undefined;
  }
}

/** The permit to answer a request. */
export class Permit {
  #finish;

  /**
   * @param {Request} request
   * @param {Facts} facts
   * @param {(response: Response) => Promise<Response>} finish
   */
  constructor(request, facts, finish) {
    /** The request as it would be forwarded, with the identity headers of the policy. */
    this.request = request;
    this.route = facts.route;
    this.issuer = facts.issuer;
    this.subject = facts.subject;
    this.scopes = facts.scopes ?? [];
    this.clientId = facts.clientId;
    this.session = facts.session;
    this.expiresAt = facts.expiresAt;
    this.claims = facts.claims ?? {};
    this.degraded = facts.degraded;
    this.wouldRefuse = facts.wouldRefuse;
    this.#finish = finish;
  }

  /**
   * Logs and counts the request, and returns the response with the gate's headers: of limits, of
   * CORS, and the request's id. Call it once, within the timeout of the upstream.
   * @param {Response} response
   */
  finish(response) {
    return this.#finish(response);
  }
}

/** @type {Map<string, Gate>} */
const made = new Map();

/**
 * Returns the gate for a policy. It is made once in an isolate, with the `env` of that time, which
 * is the same in each request.
 * @param {object} env
 * @param {string | object} policy
 */
export function gate(env, policy) {
  const text = typeof policy === 'string' ? policy : JSON.stringify(policy);
  let found = made.get(text);
  if (!found) made.set(text, found = new Gate(env, text));
  return found;
}
