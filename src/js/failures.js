// @ts-check
// Failures of the edge itself: their lines in the log, and their response.

/** @typedef {import('./protocol.js').Respond} Respond */

/**
 * Logs an exception, and returns the end of its task. The message may quote a header, so only the
 * place is logged.
 * @param {any} error
 * @param {string} requestId
 */
export function panicked(error, requestId) {
  const place = String(error?.stack ?? '').split('\n').slice(1, 8).map((line) => line.trim()).join(', ');
  logError({ event: 'panicked', request_id: requestId, fault: String(error?.name), place });
  return internalError(requestId);
}

/**
 * Writes a line to the log, in the format of platform/log.rs.
 * @param {{ event: string, [name: string]: string }} members
 */
export function logError(members) {
  const line = { time: new Date().toISOString(), level: 'error', program: 'edge', ...members };
  console.error(JSON.stringify(line));
}

/**
 * Returns the end of a task that failed through a defect of the edge.
 * @returns {Respond}
 */
export function internalError(/** @type {string} */ requestId) {
  const [title, detail] = ['Internal Server Error', 'see the log'];
  const body = { type: 'about:blank', title, status: 500, detail, code: 'internal', request_id: requestId };
  const fields = [
    'content-type', 'application/problem+json', 'cache-control', 'no-store', 'x-request-id', requestId,
  ];
  return { kind: 'respond', status: 500, fields, body: JSON.stringify(body) };
}

/**
 * Returns whether the platform refused a call because the request has made too many. Its target is
 * not to blame then.
 */
export function isOverCallLimit(/** @type {any} */ error) {
  return /too many subrequests/i.test(String(error?.message));
}
