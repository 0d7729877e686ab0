// The entrypoint for the service bindings of other Workers.

import { WorkerEntrypoint } from 'cloudflare:workers';
import { gate } from './worker/gate.js';

/**
 * Returns a class to export from a Worker. Other Workers name it as the entrypoint of a binding.
 * @param {string | object} policy
 */
export function gateService(policy) {
  return class extends WorkerEntrypoint {
    check(request) {
      return gate(this.env, policy).verdict(request, this.ctx);
    }

    fetch(request) {
      return gate(this.env, policy).fetch(request, this.ctx);
    }
  };
}
