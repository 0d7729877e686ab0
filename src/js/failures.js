// @ts-check
// Defects of the edge itself: their log lines, and their response.

/** @typedef {import('./protocol.js').Respond} Respond */

/**
 * Logs an exception, and returns the end of its task. The log has only the place of the exception,
 * because its message may quote a header.
 * @param {any} error
 * @param {string} requestId
 */
export function panicked(error, requestId) {
  const lines = String(error?.stack ?? '').split('\n').filter((line) => line.startsWith('    at '));
  const place = lines.slice(0, 7).map((line) => line.trim()).join(', ');
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
 * Returns the end of a task that failed because of a defect of the edge.
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
 * Returns whether the platform refused a call because the request made too many. Then the target of
 * the call did not fail.
 */
export function isOverCallLimit(/** @type {any} */ error) {
  return /too many subrequests/i.test(String(error?.message));
}
