import type { WorkerEntrypoint } from 'cloudflare:workers';
import type { CheckedRequest, Verdict } from './index.js';

/** What a Worker can call whose service binding names the entrypoint of a gate. */
export interface GateService {
  /**
   * Checks a request without forwarding it to an upstream, and logs and counts it. A request of a
   * route with `access = "auth"` is sent to the auth service, without its body, and takes effect
   * there. Rejects with a TypeError if the URL or the method is invalid.
   *
   * A `Request` may be passed as well. Its body goes with it: the caller cannot read it afterwards.
   */
  check(request: CheckedRequest): Promise<Verdict>;

  /** Checks a request and forwards it to the upstream of its route, as for a client. */
  fetch(request: Request): Promise<Response>;
}

/**
 * Returns a class to export from a Worker. Other Workers name it as the entrypoint of a binding.
 *
 * @param policy The policy, as JSON or parsed: what `portcullis build` writes into build/policy.js.
 */
export declare function gateService(policy: string | object): {
  new (context: ExecutionContext, env: unknown): WorkerEntrypoint & {
    check(request: CheckedRequest): Promise<Verdict>;
    fetch(request: Request): Promise<Response>;
  };
};
