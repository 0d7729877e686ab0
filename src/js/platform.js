// @ts-check
// The other services of the platform for Wasm: the clock, timers, variables and bindings, the
// cache, and TCP. A function that fails throws a PlatformFailure.

import { isOverCallLimit } from './failures.js';
import {
  PlatformFailure, REJECTED, TIMEOUT, TOO_LARGE, UNREACHABLE, decodePoint,
} from './protocol.js';
import { startDeadline } from './timer.js';

export function now() {
  return Date.now();
}

export function log(/** @type {string} */ line) {
  console.log(line);
}

/**
 * Returns the names of all variables, secrets and bindings, one per line.
 * @param {Record<string, unknown>} env
 */
export function names(env) {
  return Object.keys(env).join('\n');
}

/**
 * Returns a plain variable or a secret as text; `undefined` for other bindings.
 * @param {Record<string, unknown>} env
 * @param {string} name
 */
export function variable(env, name) {
  const value = env[name];
  if (['string', 'number', 'boolean'].includes(typeof value)) return String(value);
  const plain = Array.isArray(value) || (value && Object.getPrototypeOf(value) === Object.prototype);
  return plain ? JSON.stringify(value) : undefined;
}

/**
 * Returns a binding other than a plain variable.
 * @param {Record<string, unknown>} env
 * @param {string} name
 */
export function binding(env, name) {
  const found = env[name];
  return typeof found === 'object' ? found : undefined;
}

/**
 * Returns whether a binding can be sent requests, as a service can.
 * @param {Record<string, unknown>} env
 * @param {string} name
 */
export function canFetch(env, name) {
  return typeof (/** @type {Fetcher | undefined} */ (env[name]))?.fetch === 'function';
}

/**
 * Reads secrets of Secrets Store bindings. Returns their texts, with `undefined` for each that
 * cannot be read in time.
 * @param {Record<string, unknown>} env
 * @param {string} names one a line
 * @param {number} ms
 */
export async function readSecrets(env, names, ms) {
  const read = async (/** @type {string} */ name) => {
    const secret = /** @type {SecretsStoreSecret} */ (env[name]).get();
    secret.catch(() => {});
    const text = await sooner(secret, ms);
    return typeof text === 'string' && text.trim() !== '' ? text : undefined;
  };
  return Promise.all(names.split('\n').map((name) => read(name).catch(() => undefined)));
}

/**
 * Returns a text of a list.
 * @param {(string | undefined)[] | undefined} list
 * @param {number} at
 */
export function textAt(list, at) {
  return list?.[at];
}

/**
 * Returns whether the platform's rate limiter admits one more; `undefined` if it fails or is late.
 * @param {RateLimit} limiter
 * @param {string} key
 */
export async function limit(limiter, key) {
  try {
    const outcome = limiter.limit({ key });
    outcome.catch(() => {});
    return (await sooner(outcome, LOCAL_DEADLINE_MS))?.success;
  } catch {
    return undefined;
  }
}

/**
 * Writes a data point. A failure is ignored, because the request matters more.
 * @param {AnalyticsEngineDataset} dataset
 * @param {string} point
 */
export function writePoint(dataset, point) {
  try {
    const { index, blobs, doubles } = decodePoint(point);
    dataset.writeDataPoint({ indexes: [index], blobs, doubles });
  } catch {
    // A failure is ignored, as documented.
  }
}

/** @returns {Promise<undefined>} */
export function sleep(/** @type {number} */ ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Settles with the promise, or with `undefined` after `ms`. The work continues.
 * @template T
 * @param {Promise<T>} promise
 * @param {number} ms
 */
export function sooner(promise, ms) {
  /** @type {PromiseWithResolvers<undefined>} */
  const { promise: late, resolve } = Promise.withResolvers();
  const stop = startDeadline(ms, () => resolve(undefined));
  return Promise.race([promise, late]).finally(stop);
}

/** Creates a notification by which one task wakes another. */
export function createNotify() {
  return Promise.withResolvers();
}

export function notify(/** @type {PromiseWithResolvers<undefined>} */ notification) {
  notification.resolve(undefined);
}

/**
 * @param {PromiseWithResolvers<undefined>} notification
 * @param {number} ms
 */
export function notified(notification, ms) {
  return sooner(notification.promise, ms);
}

/**
 * Reads from the platform's cache, which the isolates of one location share.
 * @param {string} url
 */
export async function cacheGet(url) {
  try {
    const found = caches.default.match(url).then((response) => response?.text());
    found.catch(() => {});
    return await sooner(found, LOCAL_DEADLINE_MS);
  } catch {
    return undefined;
  }
}

/**
 * Writes to the platform's cache. A failure is ignored, because the cache is only a second tier.
 * @param {string} url
 * @param {string} text
 * @param {number} seconds
 */
export async function cachePut(url, text, seconds) {
  try {
    const headers = { 'cache-control': `max-age=${seconds}` };
    const put = caches.default.put(url, new Response(text, { headers }));
    put.catch(() => {});
    await sooner(put, LOCAL_DEADLINE_MS);
  } catch {
    // A failure is ignored, as documented.
  }
}

/**
 * Sends a batch to a memcached server and returns the reply up to the end of its last command. Each
 * request opens its own connection, because the platform does not let requests share one.
 * @param {string} address
 * @param {boolean} tls
 * @param {string} batch
 * @param {number} deadlineMs
 * @param {number} bytesMax
 */
export async function exchange(address, tls, batch, deadlineMs, bytesMax) {
  const abort = new AbortController();
  const stop = startDeadline(deadlineMs, () => abort.abort());
  /** @type {Socket | undefined} */
  let socket;
  try {
    // Imported here, because only Cloudflare's runtime has the module.
    const { connect } = await import('cloudflare:sockets');
    socket = connect(address, { secureTransport: tls ? 'on' : 'off', allowHalfOpen: false });
    socket.closed.catch(() => {});
    const writer = socket.writable.getWriter();
    writer.write(new TextEncoder().encode(batch)).catch(() => {});
    return await readReply(socket.readable, bytesMax, abort.signal);
  } catch (error) {
    if (error instanceof PlatformFailure) throw error;
    if (isOverCallLimit(error)) throw new PlatformFailure(REJECTED);
    throw new PlatformFailure(abort.signal.aborted ? TIMEOUT : UNREACHABLE);
  } finally {
    stop();
    socket?.close().catch(() => {});
  }
}

/**
 * @param {ReadableStream<Uint8Array>} readable
 * @param {number} bytesMax
 * @param {AbortSignal} signal
 */
async function readReply(readable, bytesMax, signal) {
  const reader = readable.getReader();
  /** @type {Promise<never>} */
  const aborted = new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new Error('aborted')));
  });
  aborted.catch(() => {});
  const decoder = new TextDecoder();
  let text = '';
  for (;;) {
    const { done, value } = await Promise.race([reader.read(), aborted]);
    if (done) throw new PlatformFailure(UNREACHABLE);
    text += decoder.decode(value, { stream: true });
    if (text.length >= bytesMax) throw new PlatformFailure(TOO_LARGE);
    if (text === 'MN\r\n' || text.endsWith('\r\nMN\r\n')) return text;
  }
}

/** The longest time that the platform's own services may take. */
const LOCAL_DEADLINE_MS = 250;
