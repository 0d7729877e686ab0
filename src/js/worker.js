// @ts-check
// The entry of the Worker: one gate, with the policy that it was built with.

import { WorkerEntrypoint, env } from 'cloudflare:workers';
import { Gate } from './gate.js';
import POLICY from './policy.js';

const own = new Gate(env, POLICY);

/** @type {ExportedHandler} */
const handler = {
  fetch(request, _, context) {
    return own.fetch(request, context);
  },
};

export default handler;

/** The gate for other Workers, whose service bindings name this entrypoint. */
export class GateService extends WorkerEntrypoint {
  /** Checks a request without forwarding it. */
  check(/** @type {Parameters<Gate['verdict']>[0]} */ request) {
    return own.verdict(request, this.ctx);
  }

  /** Checks a request and forwards it, as for a client. */
  fetch(/** @type {Request} */ request) {
    return own.fetch(request, this.ctx);
  }
}
