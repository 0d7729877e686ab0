// What the edge asks of the platform, in few and coarse steps: a crossing between JavaScript and Wasm costs more than
// the work that it does. No judgement here; core has it all.

// The place that serves, by the first request: an isolate stays where it is, and each look at `cf` has it parsed.
let colo = '';

// Clock, request id, place, method, URL, then the header fields, a line each: one string, one crossing.
export function head(request, id) {
  colo ||= request.cf?.colo ?? '';
  let text = `${Date.now()}\n${id}\n${colo}\n${request.method}\n${request.url}`;
  for (const [name, value] of request.headers) text += `\n${name}\n${value}`;
  return text;
}

// Where a request's client is, as Cloudflare has it.
export function country(request) {
  return request.cf?.country ?? '';
}

export function now() {
  return Date.now();
}

// A plain variable or secret, as text; a binding of another kind is none.
export function variable(env, name) {
  const value = env[name];
  if (['string', 'number', 'boolean'].includes(typeof value)) return String(value);
  const plain = Array.isArray(value) || (value && Object.getPrototypeOf(value) === Object.prototype);
  return plain ? JSON.stringify(value) : undefined;
}

// A binding that is no plain variable, if there is one of that name.
export function binding(env, name) {
  const found = env[name];
  return typeof found === 'object' ? found : undefined;
}

// Whether the platform's rate limiter admits one more; nothing where it can't say, or not in time.
export async function limit(limiter, key) {
  try {
    const answer = limiter.limit({ key });
    answer.catch(() => {});
    return (await Promise.race([answer, sleep(CACHE_DEADLINE_MS)]))?.success;
  } catch {
    return undefined;
  }
}

// One data point for Workers Analytics Engine, of texts and numbers, a line each.
export function point(dataset, index, blobs, doubles) {
  try {
    dataset.writeDataPoint({
      indexes: [index], blobs: blobs.split('\n'), doubles: doubles.split('\n').map(Number),
    });
  } catch {
    // A request is worth more than its point.
  }
}

export function nonce() {
  return crypto.getRandomValues(new Uint8Array(12));
}

export function log(line) {
  console.log(line);
}

export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// The platform's cache, which the isolates of one place share. Where there is none, nothing is found and
// nothing is kept.
export async function cacheGet(url) {
  try {
    const found = caches.default.match(url).then((response) => response?.text());
    found.catch(() => {});
    return await Promise.race([found, sleep(CACHE_DEADLINE_MS)]);
  } catch {
    return undefined;
  }
}

const CACHE_DEADLINE_MS = 250;

export async function cachePut(url, text, seconds) {
  try {
    const headers = { 'cache-control': `max-age=${seconds}` };
    const put = caches.default.put(url, new Response(text, { headers }));
    put.catch(() => {});
    await Promise.race([put, sleep(CACHE_DEADLINE_MS)]);
  } catch {
    // It is only a second tier.
  }
}

// What there is instead of an answer where none came from the other side.
export const TIMEOUT = 'timeout';
export const UNREACHABLE = 'unreachable';
const TOO_LARGE = 'too large';

// Fetches text within a deadline and a bound, without following redirects: status and text, or 0 and one of the words
// above. The step: method, URL, request id, Authorization, Content-Type, deadline, bound, a line each, then the body.
export function ask(visit, step) {
  const [method, url, requestId, authorization, contentType, deadlineMs, bytesMax] = step.split('\n', 7);
  return visit.within(Number(deadlineMs), async () => {
    const init = { method, headers: asking(requestId, authorization, contentType), redirect: 'manual' };
    if (contentType) init.body = rest(step, 7);
    else init.cache = 'no-store';
    const response = await fetch(url, init);
    // What says how long it is need not be counted.
    if (saidBytes(response.headers) <= bytesMax) return [response.status, await response.text()];
    const bytes = await bounded(response.body, Number(bytesMax));
    return bytes ? [response.status, new TextDecoder().decode(bytes)] : [0, TOO_LARGE];
  });
}

// The length of a body by its sender's word, where that is of the body as it is read.
function saidBytes(headers) {
  const length = headers.get('content-length');
  const counts = length !== null && !headers.has('content-encoding') && !headers.has('transfer-encoding');
  return counts ? Number(length) : Infinity;
}

// The fields of a question, made anew only for others: fetch copies them.
let asked;
let askedFor;
function asking(requestId, authorization, contentType) {
  if (!asked || askedFor[0] !== authorization || askedFor[1] !== contentType) {
    const fields = { accept: 'application/json', 'accept-encoding': 'identity' };
    if (authorization) fields.authorization = authorization;
    if (contentType) fields['content-type'] = contentType;
    asked = new Headers(fields);
    askedFor = [authorization, contentType];
  }
  asked.set('x-request-id', requestId);
  return asked;
}

// What follows so many lines.
function rest(step, lines) {
  let at = 0;
  for (let line = 0; line < lines; line += 1) at = step.indexOf('\n', at) + 1;
  return step.slice(at);
}

// Writes a batch to a memcached and reads until the answer to its last word, within a deadline and a bound:
// "+answer", or one of the words above. A connection is a request's own: the platform lets nobody else use it.
export async function exchange(address, tls, batch, deadlineMs, bytesMax) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), deadlineMs);
  let socket;
  try {
    // Nobody else needs it, and other runtimes have no such module.
    const { connect } = await import('cloudflare:sockets');
    socket = connect(address, { secureTransport: tls ? 'on' : 'off', allowHalfOpen: false });
    socket.closed.catch(() => {});
    const writer = socket.writable.getWriter();
    writer.write(new TextEncoder().encode(batch)).catch(() => {});
    return await answer(socket.readable, bytesMax, abort.signal);
  } catch {
    return abort.signal.aborted ? TIMEOUT : UNREACHABLE;
  } finally {
    clearTimeout(timer);
    socket?.close().catch(() => {});
  }
}

async function answer(readable, bytesMax, signal) {
  const reader = readable.getReader();
  const aborted = new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new Error('aborted')));
  });
  aborted.catch(() => {});
  const decoder = new TextDecoder();
  let text = '+';
  for (;;) {
    const { done, value } = await Promise.race([reader.read(), aborted]);
    if (done) return UNREACHABLE;
    text += decoder.decode(value, { stream: true });
    if (text.length > bytesMax) return TOO_LARGE;
    if (text === '+MN\r\n' || text.endsWith('\r\nMN\r\n')) return text;
  }
}

export function importKey(algorithm, jwk, usage) {
  return crypto.subtle.importKey('jwk', JSON.parse(jwk), scheme(algorithm), false, [usage]);
}

export function verify(algorithm, key, signature, input) {
  return crypto.subtle.verify(scheme(algorithm), key, signature, input);
}

export async function sign(algorithm, key, input) {
  return new Uint8Array(await crypto.subtle.sign(scheme(algorithm), key, input));
}

// What WebCrypto calls an algorithm of RFC 7518: the hash's bits are in its name.
function scheme(algorithm) {
  const bits = Number(algorithm.slice(2));
  const hash = `SHA-${bits}`;
  switch (algorithm.slice(0, 2)) {
    case 'ES': return { name: 'ECDSA', namedCurve: bits === 512 ? 'P-521' : `P-${bits}`, hash };
    case 'HS': return { name: 'HMAC', hash };
    case 'PS': return { name: 'RSA-PSS', hash, saltLength: bits / 8 };
    case 'RS': return { name: 'RSASSA-PKCS1-v1_5', hash };
    default: return { name: 'Ed25519' };
  }
}

// A request's body, if it has one, all of it, within a deadline and a bound; or one of the words above. What goes wrong here
// is its client's doing.
export async function readBody(request, deadlineMs, bytesMax) {
  if (!request.body) return undefined;
  if (Number(request.headers.get('content-length')) > bytesMax) return TOO_LARGE;
  return within(deadlineMs, async () => (await bounded(request.body, bytesMax)) ?? TOO_LARGE);
}

// Sends a request on, with the body that was read, or else as a stream: status and, of an error, the media type of the
// answer; or 0 and one of the words above. The step: whether the answer is for its sender alone, URL, deadline, how many
// fields to take out, a line each; the names of those; then names and values of those to set, in turn. The deadline ends
// with the answer's head, so that streams and WebSockets may last.
export function forward(visit, step) {
  const lines = step.split('\n');
  const [personal, url, deadlineMs, removed] = lines;
  return visit.within(Number(deadlineMs), async (isLate) => {
    const outbound = addressed(visit.request, visit.body, url, personal);
    const { headers } = outbound;
    const set = 4 + Number(removed);
    for (let i = 4; i < set; i += 1) headers.delete(lines[i]);
    put(headers, lines, set);
    const response = await fetch(outbound);
    const { status } = response;
    if (isLate()) {
      response.body?.cancel().catch(() => {});
      return undefined;
    }
    visit.response = response;
    return [status, status < 500 ? '' : (response.headers.get('content-type') ?? '')];
  });
}

// The request with another address. The platform's cache does not know whose an answer is.
function addressed(request, bodyRead, url, personal) {
  const { method } = request;
  const init = { method, headers: request.headers, redirect: 'manual' };
  if (personal) init.cache = 'no-store';
  const bodiless = method === 'GET' || method === 'HEAD';
  if (!bodiless) init.body = bodyRead ?? request.body;
  const outbound = new Request(url, init);
  // The platform takes an announced length for a body, and then refuses to send one.
  if (bodiless && outbound.headers.has('content-length')) outbound.headers.delete('content-length');
  return outbound;
}

// The same, but a good answer with its body, as text: "+", then names and values of its fields but for those of the
// connection, a line each, an empty line, the body. Any other answer as it is, and one that is too long or no text.
export async function forwardWhole(request, url, remove, set, deadlineMs, body, bytesMax) {
  const outbound = addressed(request, body, url, true);
  if (remove) for (const name of remove.split('\n')) outbound.headers.delete(name);
  put(outbound.headers, set.split('\n'), 0);
  // Not every coding that a client knows is one that the platform undoes.
  outbound.headers.set('accept-encoding', 'identity');
  return within(deadlineMs, async () => {
    const answer = await fetch(outbound);
    if (answer.status !== 200) return answer;
    const bytes = await bounded(answer.clone().body, bytesMax);
    const decoded = bytes && decode(bytes);
    if (decoded === undefined) return answer;
    answer.body?.cancel().catch(() => {});
    let text = '+';
    for (const [name, value] of answer.headers) {
      if (value && !OF_THE_CONNECTION.includes(name)) text += `${name}\n${value}\n`;
    }
    return `${text}\n${decoded}`;
  });
}

// What some work comes to, or one of the words above. Work that is late is left to itself: it ends with its request.
async function within(ms, work) {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve(TIMEOUT), ms);
  });
  try {
    return await Promise.race([work(), late]);
  } catch {
    return UNREACHABLE;
  } finally {
    clearTimeout(timer);
  }
}

const OF_THE_CONNECTION = [
  'connection', 'content-encoding', 'content-length', 'date', 'keep-alive', 'trailer', 'transfer-encoding', 'upgrade',
];

function decode(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

// What a promise comes to, or nothing if that takes too long; it goes on all the same.
export function sooner(promise, ms) {
  return Promise.race([promise, sleep(ms)]);
}

// A response of another's parts, fields in lines.
export function replyOf(status, fields, body) {
  return reply(status, fields ? fields.split('\n') : [], body);
}

// Lets one task wait for another.
export function signal() {
  return Promise.withResolvers();
}

export function give(signal) {
  signal.resolve();
}

export function given(signal, ms) {
  return sooner(signal.promise, ms);
}

export function reply(status, fields, body) {
  const headers = new Headers();
  put(headers, fields, 0);
  return new Response(body || null, { status, headers });
}

// The same response with some fields set; its body is not touched. Where the edge says which pages may read
// it, nobody else does. A WebSocket's response can't be made anew, nor one whose status is none.
export function dress(response, saysWhoReads, fields) {
  if (response.webSocket || response.status < 200 || response.status > 599) return response;
  const dressed = new Response(response.body, response);
  for (const name of saysWhoReads ? [...dressed.headers.keys()] : []) {
    if (name.startsWith('access-control-')) dressed.headers.delete(name);
  }
  put(dressed.headers, fields, 0);
  return dressed;
}

// Names and values in turn. A name that begins with ? is set where there is none yet; with -, it is taken out.
function put(headers, lines, from) {
  for (let i = from; i + 1 < lines.length; i += 2) {
    const [name, value] = [lines[i], lines[i + 1]];
    if (name === 'vary' || name === 'set-cookie') headers.append(name, value);
    else if (name[0] === '-') headers.delete(name.slice(1));
    else if (name[0] !== '?') headers.set(name, value);
    else if (!headers.has(name.slice(1))) headers.set(name.slice(1), value);
  }
}

// All bytes of a stream, or undefined if there are more than bytesMax.
async function bounded(stream, bytesMax) {
  if (!stream) return new Uint8Array();
  const reader = stream.getReader();
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
