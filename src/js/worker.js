// @ts-check
// The entry of the Worker: one gate, with the policy that it was built with.

import { env } from 'cloudflare:workers';
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
