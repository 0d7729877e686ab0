// @ts-check
// The wire format between Wasm and JavaScript. Only this file splits lines. The other side is
// src/platform/protocol.rs; protocol.golden has an example of each variant.

/**
 * A fetch of text, under a deadline and a bound.
 * @typedef {{
 *   kind: 'fetchText', method: string, url: string, requestId: string, authorization: string,
 *   contentType: string, deadlineMs: number, bytesMax: number, body: string,
 * }} FetchText
 *
 * How the task's request changes on its way. `set` has names and values in turn. `permit` is JSON,
 * or empty if the request is for a server.
 * @typedef {{
 *   kind: 'forward', deadlineMs: number, personal: boolean, permit: string, url: string,
 *   remove: string[], set: string[],
 * }} Forward
 *
 * The same once more, for a request without a body.
 * @typedef {{ kind: 'forwardAgain', deadlineMs: number }} ForwardAgain
 *
 * The wait for the task's promise, which takes no longer than this unless the client has left.
 * @typedef {{ kind: 'settle', withinMs: number }} Settle
 *
 * The same for a computation of the platform, which ends before a client could leave.
 * @typedef {{ kind: 'compute', withinMs: number }} Compute
 *
 * A response of the edge's own. `fields` has names and values in turn.
 * @typedef {{ kind: 'respond', status: number, fields: string[], body: string }} Respond
 *
 * The forwarded response with these fields. The edge's own CORS fields may replace the upstream's.
 * @typedef {{ kind: 'decorate', ownsCors: boolean, fields: string[] }} Decorate
 *
 * The forwarded response as it is.
 * @typedef {{ kind: 'pass' }} Pass
 *
 * A fault of the edge, answered with 500.
 * @typedef {{ kind: 'failed', event: string }} Failed
 *
 * @typedef {FetchText | Forward | ForwardAgain | Settle | Compute} Step
 * @typedef {Respond | Decorate | Pass | Failed} End
 *
 * The result of a step: the status of a response or one of the codes below, and a text.
 * @typedef {readonly [number, string]} Resume
 */

export const TIMEOUT = 'timeout';
export const TOO_LARGE = 'too large';
export const UNREACHABLE = 'unreachable';
export const REJECTED = 'rejected';

const FAILED = 0;

/** @type {Resume} */
export const SETTLED = [1, ''];
/** @type {Resume} */
export const START = [2, ''];

/** @returns {Resume} */
export function failed(/** @type {string} */ word) {
  return [FAILED, word];
}

/** @returns {Resume} */
export function responded(/** @type {number} */ status, /** @type {string} */ text) {
  // HTTP has no status 0 to 2; they are the codes of other results.
  return status > 2 ? [status, text] : failed(UNREACHABLE);
}

/** An error whose word Wasm knows. Wasm reads any other error as `rejected`. */
export class PlatformFailure extends Error {
  /** @param {string} word */
  constructor(word) {
    super(word);
    this.word = word;
  }
}

const encoder = new TextEncoder();
const buffer = new Uint8Array(16_384);

/**
 * Encodes a text as UTF-8, until the next call. The glue of wasm-bindgen would copy a text
 * character by character, which takes ten times as long.
 */
export function utf8(/** @type {string} */ text) {
  const { read, written } = encoder.encodeInto(text, buffer);
  return read === text.length ? buffer.subarray(0, written) : encoder.encode(text);
}

/**
 * Encodes a request: time, id, location, method and URL, then names and values of headers.
 * @param {number} nowMs
 * @param {string} id
 * @param {string} colo
 * @param {{ method: string, url: string, headers: Iterable<[string, string]> }} request
 */
export function encodeRequest(nowMs, id, colo, request) {
  let text = `${nowMs}\n${id}\n${colo}\n${request.method}\n${request.url}`;
  for (const [name, value] of request.headers) text += `\n${name}\n${value}`;
  return text;
}

/**
 * Encodes the location of a client: country and autonomous system, each empty if it is unknown.
 * @param {{ country?: string | null, asn?: number | null }} cf
 */
export function encodeLocation({ country, asn }) {
  return `${country ?? ''}\n${asn ?? ''}`;
}

/**
 * Encodes a response that was read to its end: headers, an empty line, and the body.
 * @param {Iterable<[string, string]>} headers
 * @param {string} body
 */
export function encodeCaptured(headers, body) {
  let text = '';
  for (const [name, value] of headers) text += `${name}\n${value}\n`;
  return `${text}\n${body}`;
}

/**
 * Decodes what Wasm returns. The first character is a tag.
 * @param {string} text
 * @returns {Step | End}
 */
export function decodeStep(text) {
  switch (text[0]) {
    case 'A': return decodeFetchText(text);
    case 'F': return decodeForward(text);
    case 'G': return { kind: 'forwardAgain', deadlineMs: Number(text.slice(1)) };
    case 'S': return { kind: 'settle', withinMs: Number(text.slice(1)) };
    case 'C': return { kind: 'compute', withinMs: Number(text.slice(1)) };
    case 'R': return decodeRespond(text);
    case 'D': {
      const [ownsCors, ...fields] = text.slice(1).split('\n');
      return { kind: 'decorate', ownsCors: ownsCors === '1', fields };
    }
    case undefined: return { kind: 'pass' };
    case 'X': return { kind: 'failed', event: text.slice(1) };
    default: throw new Error('a step with an unknown tag');
  }
}

/** @returns {FetchText} */
function decodeFetchText(/** @type {string} */ text) {
  const [method, url, requestId, authorization, contentType, deadlineMs, bytesMax] =
    text.slice(1).split('\n', 7);
  return {
    kind: 'fetchText', method, url, requestId, authorization, contentType,
    deadlineMs: Number(deadlineMs), bytesMax: Number(bytesMax), body: afterLines(text, 7),
  };
}

/** @returns {Forward} */
export function decodeForward(/** @type {string} */ text) {
  const lines = text.slice(1).split('\n');
  const [deadlineMs, personal, permit, url, removed] = lines;
  const set = 5 + Number(removed);
  return {
    kind: 'forward', deadlineMs: Number(deadlineMs), personal: personal === '1', permit, url,
    remove: lines.slice(5, set), set: lines.slice(set),
  };
}

/** @returns {Respond} */
export function decodeRespond(/** @type {string} */ text) {
  const count = Number(text.split('\n', 2)[1]);
  const lines = text.split('\n', count + 2);
  const body = afterLines(text, count + 2);
  return { kind: 'respond', status: Number(lines[0].slice(1)), fields: lines.slice(2), body };
}

/** Decodes a data point for Workers Analytics Engine. */
export function decodePoint(/** @type {string} */ text) {
  const [index, count, ...values] = text.slice(1).split('\n');
  const blobs = values.slice(0, Number(count));
  return { index, blobs, doubles: values.slice(Number(count)).map(Number) };
}

/**
 * Returns the text after the given number of lines.
 * @param {string} text
 * @param {number} lines
 */
function afterLines(text, lines) {
  let at = 0;
  for (let line = 0; line < lines; line += 1) at = text.indexOf('\n', at) + 1;
  return text.slice(at);
}
