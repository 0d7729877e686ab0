// @ts-check
// The gates of a Worker. Each has a policy, and the variables and bindings that the policy names.
// They share the code, and no state.

/** @type {{ env: Record<string, unknown>, policy: string }[]} */
const gates = [];

/**
 * Adds a gate, and returns its number.
 * @param {Record<string, unknown>} env
 * @param {string} policy
 */
export function addGate(env, policy) {
  if (gates.length >= GATES_MAX) throw new Error(`a Worker has at most ${GATES_MAX} gates; make each once`);
  return gates.push({ env, policy }) - 1;
}

/** Returns all variables, secrets and bindings of a gate. */
export function environment(/** @type {number} */ gate) {
  return gates[gate].env;
}

/** Returns the policy of a gate, as JSON. */
export function policy(/** @type {number} */ gate) {
  return gates[gate].policy;
}

/**
 * Returns what sends a request of a gate, and its URL: a binding, for `binding:NAME URL`, or the
 * platform.
 * @param {number} gate
 * @param {string} text
 * @returns {{ fetcher: Pick<Fetcher, 'fetch'>, url: string }}
 */
export function targetOf(gate, text) {
  if (!text.startsWith(BINDING)) return { fetcher: globalThis, url: text };
  const [name, url] = text.slice(BINDING.length).split(' ');
  return { fetcher: /** @type {Fetcher} */ (gates[gate].env[name]), url };
}

const BINDING = 'binding:';

/** A gate is never deleted, so that a Worker that makes one for each request fails early. */
const GATES_MAX = 32;
