// @ts-check
// HTTP for Wasm: text requests, forwarded requests, and responses.

import { targetOf } from './gates.js';
import {
  PlatformFailure, TIMEOUT, TOO_LARGE, UNREACHABLE, decodeForward, decodeRespond, encodeCaptured,
  encodeLocation, failed, responded,
} from './protocol.js';
import { startDeadline } from './timer.js';

/**
 * @typedef {import('./protocol.js').FetchText} FetchText
 * @typedef {import('./protocol.js').Forward} Forward
 * @typedef {import('./protocol.js').ForwardAgain} ForwardAgain
 * @typedef {import('./protocol.js').Resume} Resume
 * @typedef {import('./tasks.js').RequestTask} RequestTask
 */

/**
 * The headers of text requests. They are rebuilt only if they change, because fetch copies them.
 */
export class TextHeaders {
  headers = new Headers();
  authorization = '';
  contentType = '';

  of(/** @type {FetchText} */ { requestId, authorization, contentType }) {
    const changed = this.authorization !== authorization || this.contentType !== contentType;
    if (changed || !this.headers.has('accept')) {
      this.headers = new Headers({ accept: 'application/json', 'accept-encoding': 'identity' });
      if (authorization) this.headers.set('authorization', authorization);
      if (contentType) this.headers.set('content-type', contentType);
      this.authorization = authorization;
      this.contentType = contentType;
    }
    this.headers.set('x-request-id', requestId);
    return this.headers;
  }
}

/**
 * Fetches text within a deadline and a size limit, without following redirects.
 * @param {RequestTask} task
 * @param {FetchText} step
 * @param {TextHeaders} textHeaders
 * @returns {Promise<Resume>}
 */
export function fetchText(task, step, textHeaders) {
  return task.timer.within(step.deadlineMs, async () => {
    /** @type {RequestInit} */
    const init = { method: step.method, headers: textHeaders.of(step), redirect: 'manual' };
    if (step.contentType) init.body = step.body;
    else init.cache = 'no-store';
    const { fetcher, url } = targetOf(task.gate, step.url);
    const response = await fetcher.fetch(url, init);
    // A body whose length is announced need not be counted.
    if (announcedBytes(response.headers) <= step.bytesMax) {
      return responded(response.status, await response.text());
    }
    const bytes = await readBounded(response.body, step.bytesMax);
    return bytes ? responded(response.status, new TextDecoder().decode(bytes)) : failed(TOO_LARGE);
  });
}

/** Returns the announced length of a body, if it is also the length after decoding. */
export function announcedBytes(/** @type {Headers} */ headers) {
  const length = headers.get('content-length');
  const coded = headers.has('content-encoding') || headers.has('transfer-encoding');
  return length === null || coded ? Infinity : Number(length);
}

/**
 * Forwards the task's request, with the body that was read before, or else as a stream. Afterwards
 * the task no longer keeps the request.
 * @param {RequestTask} task
 * @param {Forward} step
 * @returns {Promise<Resume>}
 */
export function forward(task, step) {
  return task.timer.within(step.deadlineMs, async (isLate) => {
    const { fetcher, url } = targetOf(task.gate, step.url);
    const outbound = outboundRequest(task.takeRequest(), url, task.body, step);
    task.body = undefined;
    if (task.handler && step.permit) {
      return receive(task, task.handler(outbound, step.permit), isLate);
    }
    if (!outbound.body && task.headLength <= RESEND_HEAD_MAX) {
      task.resend = () => fetcher.fetch(outbound);
    }
    return receive(task, fetcher.fetch(outbound), isLate);
  });
}

/**
 * Sends the forwarded request again.
 * @param {RequestTask} task
 * @param {ForwardAgain} step
 * @returns {Promise<Resume>}
 */
export function forwardAgain(task, step) {
  return task.timer.within(step.deadlineMs, async (isLate) => {
    if (!task.resend) return failed(UNREACHABLE);
    return receive(task, task.resend(), isLate);
  });
}

/**
 * Awaits a response. The deadline covers only its head, because streams and WebSockets may last.
 * The closure that waits keeps no reference to the request.
 * @param {RequestTask} task
 * @param {Promise<Response>} pending
 * @param {() => boolean} isLate
 * @returns {Promise<Resume>}
 */
async function receive(task, pending, isLate) {
  const response = await pending;
  const { status } = response;
  if (isLate()) {
    response.body?.cancel().catch(() => {});
    return failed(TIMEOUT);
  }
  task.response = response;
  return responded(status, status < 500 ? '' : (response.headers.get('content-type') ?? ''));
}

/**
 * Returns the request with another address and other headers. A personal response must bypass the
 * platform's cache, which can't tell users apart.
 * @param {Request} request
 * @param {string} url
 * @param {Uint8Array | undefined} body
 * @param {Forward} step
 */
function outboundRequest(request, url, body, { personal, remove, set }) {
  const { method } = request;
  /** @type {RequestInit} */
  const init = { method, headers: request.headers, redirect: 'manual' };
  if (personal) init.cache = 'no-store';
  const bodiless = method === 'GET' || method === 'HEAD';
  if (!bodiless) init.body = body ?? request.body;
  const outbound = new Request(url, init);
  const { headers } = outbound;
  // With an announced length the platform assumes a body, and then refuses to send a GET or HEAD.
  if (bodiless && headers.has('content-length')) headers.delete('content-length');
  for (const name of remove) headers.delete(name);
  applyHeaders(headers, set);
  return outbound;
}

/**
 * Forwards a request and reads a successful response (200) to its end. Returns its headers, without
 * those of the connection, and its body as text. Returns any other response unread, and also one
 * that is too long or not UTF-8.
 * @param {number} gate
 * @param {Request} request
 * @param {string} step
 * @param {Uint8Array | undefined} body
 * @param {number} bytesMax
 */
export function forwardBuffered(gate, request, step, body, bytesMax) {
  const result = fetchBuffered(gate, request, decodeForward(step), body, bytesMax);
  // The task may end without awaiting it.
  result.catch(() => {});
  return result;
}

/**
 * @param {number} gate
 * @param {Request} request
 * @param {Forward} change
 * @param {Uint8Array | undefined} body
 * @param {number} bytesMax
 */
async function fetchBuffered(gate, request, change, body, bytesMax) {
  const { fetcher, url } = targetOf(gate, change.url);
  const outbound = outboundRequest(request, url, body, change);
  // A client may accept a coding that the platform does not decode.
  outbound.headers.set('accept-encoding', 'identity');
  const pending = fetcher.fetch(outbound);
  // What waits holds no request: its client may have left.
  return withinDeadline(change.deadlineMs, () => capture(pending, bytesMax));
}

/**
 * @param {Promise<Response>} pending
 * @param {number} bytesMax
 */
async function capture(pending, bytesMax) {
  const response = await pending;
  if (response.status !== 200) return response;
  const bytes = await readBounded(response.clone().body, bytesMax);
  const text = bytes && decodeUtf8(bytes);
  if (text === undefined) return response;
  response.body?.cancel().catch(() => {});
  const headers = [...response.headers];
  const kept = headers.filter(([name, value]) => value && !CONNECTION_HEADERS.includes(name));
  return encodeCaptured(/** @type {[string, string][]} */ (kept), text);
}

/**
 * Reads the body of a request, if it has one, within a deadline and a size limit.
 * @param {Request} request
 * @param {number} deadlineMs
 * @param {number} bytesMax
 */
export async function readBody(request, deadlineMs, bytesMax) {
  const { body } = request;
  if (!body) return undefined;
  if (Number(request.headers.get('content-length')) > bytesMax) throw new PlatformFailure(TOO_LARGE);
  return withinDeadline(deadlineMs, async () => {
    const bytes = await readBounded(body, bytesMax);
    if (!bytes) throw new PlatformFailure(TOO_LARGE);
    return bytes;
  });
}

/** Returns the client's location, as Cloudflare reports it. */
export function location(/** @type {Request} */ request) {
  return encodeLocation(/** @type {{ country?: string, asn?: number }} */ (request.cf ?? {}));
}

/** Builds a response from encoded parts. Throws if HTTP does not allow them. */
export function responseOf(/** @type {string} */ text) {
  const { status, fields, body } = decodeRespond(text);
  return respond(status, fields, body);
}

/**
 * @param {number} status
 * @param {string[]} fields
 * @param {string} body
 */
export function respond(status, fields, body) {
  const headers = new Headers();
  applyHeaders(headers, fields);
  return new Response(body || null, { status, headers });
}

/**
 * Returns the response with some headers set. If the edge has its own CORS headers, those of the
 * upstream are deleted. The response of a WebSocket, or one with an invalid status, can't be
 * copied.
 * @param {Response} response
 * @param {boolean} ownsCors
 * @param {string[]} fields
 */
export function decorate(response, ownsCors, fields) {
  if (response.webSocket || response.status < 200 || response.status > 599) return response;
  const decorated = new Response(response.body, response);
  for (const name of ownsCors ? [...decorated.headers.keys()] : []) {
    if (name.startsWith('access-control-')) decorated.headers.delete(name);
  }
  applyHeaders(decorated.headers, fields);
  return decorated;
}

/**
 * Sets headers from alternating names and values. A name with `?` is set only if it is missing; a
 * name with `-` is deleted.
 * @param {Headers} headers
 * @param {string[]} fields
 */
function applyHeaders(headers, fields) {
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const [name, value] = [fields[i], fields[i + 1]];
    if (name === 'vary' || name === 'set-cookie') headers.append(name, value);
    else if (name[0] === '-') headers.delete(name.slice(1));
    else if (name[0] !== '?') headers.set(name, value);
    else if (!headers.has(name.slice(1))) headers.set(name.slice(1), value);
  }
}

/**
 * Returns the result of `work`, or throws a PlatformFailure if it is late. Late work continues
 * until its request ends.
 * @template T
 * @param {number} ms
 * @param {() => Promise<T>} work
 */
async function withinDeadline(ms, work) {
  /** @type {PromiseWithResolvers<never>} */
  const { promise: late, reject } = Promise.withResolvers();
  const stop = startDeadline(ms, () => reject(new PlatformFailure(TIMEOUT)));
  try {
    return await Promise.race([work(), late]);
  } catch (error) {
    throw error instanceof PlatformFailure ? error : new PlatformFailure(UNREACHABLE);
  } finally {
    stop();
  }
}

/** Returns all bytes of a stream, or `undefined` if there are more than `bytesMax`. */
async function readBounded(
  /** @type {ReadableStream<Uint8Array> | null} */ stream, /** @type {number} */ bytesMax,
) {
  if (!stream) return new Uint8Array();
  const reader = stream.getReader();
  /** @type {Uint8Array[]} */
  const chunks = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > bytesMax) {
      reader.cancel().catch(() => {});
      return undefined;
    }
    chunks.push(value);
  }
  if (chunks.length === 1) return chunks[0];
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** Returns `undefined` if the bytes are not UTF-8. */
function decodeUtf8(/** @type {Uint8Array} */ bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * The largest head, in characters, that is kept for a second attempt. V8 does not count the memory
 * of a request, and is late to collect one that it has moved to its old generation.
 */
const RESEND_HEAD_MAX = 8192;
const CONNECTION_HEADERS = [
  'connection', 'content-encoding', 'content-length', 'date', 'keep-alive', 'trailer', 'transfer-encoding',
  'upgrade',
];
