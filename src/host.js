// What the edge asks of the platform, in few and coarse steps: a crossing between JavaScript and Wasm
// costs more than the work that it does. No judgement here; core has it all.

// Clock, request id, place and country, method, URL, then the header fields, a line each: one string, one crossing.
export function head(request) {
  const place = `${request.cf?.colo ?? ''} ${request.cf?.country ?? ''}`;
  let text = `${Date.now()}\n${crypto.randomUUID()}\n${place}\n${request.method}\n${request.url}`;
  for (const [name, value] of request.headers) text += `\n${name}\n${value}`;
  return text;
}

export function now() {
  return Date.now();
}

// Plain variables and secrets, as JSON; bindings of other kinds are left out.
export function variables(env) {
  const plain = {};
  for (const [name, value] of Object.entries(env)) {
    if (['string', 'number', 'boolean'].includes(typeof value)) plain[name] = String(value);
    else if (Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype) {
      plain[name] = JSON.stringify(value);
    }
  }
  return JSON.stringify(plain);
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
    await caches.default.put(url, new Response(text, { headers }));
  } catch {
    // It is only a second tier.
  }
}

// The answers of fetchText and forward where there is none from the other side.
const TIMEOUT = 'timeout';
const UNREACHABLE = 'unreachable';
const TOO_LARGE = 'too large';

// Fetches text within a deadline and a bound, without following redirects: "status\nbody", or one of
// the words above.
export async function fetchText(
  method, url, requestId, authorization, contentType, body, deadlineMs, bytesMax,
) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), deadlineMs);
  try {
    const headers = { accept: 'application/json', 'accept-encoding': 'identity', 'x-request-id': requestId };
    if (authorization) headers.authorization = authorization;
    if (body !== undefined) headers['content-type'] = contentType;
    const response = await fetch(url, {
      method, headers, body, redirect: 'manual', cache: 'no-store', signal: abort.signal,
    });
    const bytes = await bounded(response.body, bytesMax, abort.signal);
    return bytes ? `${response.status}\n${new TextDecoder().decode(bytes)}` : TOO_LARGE;
  } catch {
    return abort.signal.aborted ? TIMEOUT : UNREACHABLE;
  } finally {
    clearTimeout(timer);
  }
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
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), deadlineMs);
  try {
    return (await bounded(request.body, bytesMax, abort.signal)) ?? TOO_LARGE;
  } catch {
    return abort.signal.aborted ? TIMEOUT : UNREACHABLE;
  } finally {
    clearTimeout(timer);
  }
}

// Sends a request on. `remove` and `set` are lines: names, and names with values in turn. The deadline
// ends with the answer's head, so that streams and WebSockets may last. The body is the one that was read, or else
// a stream. What is `personal` stays out of the platform's cache, which does not know whose it is.
export async function forward(request, url, remove, set, deadlineMs, bodyRead, personal) {
  const headers = new Headers(request.headers);
  if (remove) for (const name of remove.split('\n')) headers.delete(name);
  put(headers, set);
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), deadlineMs);
  try {
    const { method } = request;
    let body = bodyRead ?? request.body;
    if (method === 'GET' || method === 'HEAD') {
      // The platform takes an announced length for a body, and then refuses to send one.
      body = undefined;
      headers.delete('content-length');
    }
    const init = { method, headers, body, redirect: 'manual', signal: abort.signal };
    if (personal) init.cache = 'no-store';
    return await fetch(url, init);
  } catch {
    return abort.signal.aborted ? TIMEOUT : UNREACHABLE;
  } finally {
    clearTimeout(timer);
  }
}

// The same, but a good answer with its body, as text: "+", then names and values of its fields but for those of the
// connection, a line each, an empty line, the body. Any other answer as it is, and one that is too long or no text.
export async function forwardWhole(request, url, remove, set, deadlineMs, body, bytesMax) {
  const signal = AbortSignal.timeout(deadlineMs);
  // Not every coding that a client knows is one that the platform undoes.
  const plain = `${set}\naccept-encoding\nidentity`;
  const answer = await forward(request, url, remove, plain, deadlineMs, body, true);
  if (typeof answer === 'string' || answer.status !== 200) return answer;
  try {
    const bytes = await bounded(answer.clone().body, bytesMax, signal);
    const decoded = bytes && decode(bytes);
    if (decoded === undefined) return answer;
    answer.body?.cancel().catch(() => {});
    let text = '+';
    for (const [name, value] of answer.headers) {
      if (value && !OF_THE_CONNECTION.includes(name)) text += `${name}\n${value}\n`;
    }
    return `${text}\n${decoded}`;
  } catch {
    return signal.aborted ? TIMEOUT : UNREACHABLE;
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
export function within(promise, ms) {
  return Promise.race([promise, sleep(ms)]);
}

export function reply(status, fields, body) {
  const headers = new Headers();
  put(headers, fields);
  return new Response(body || null, { status, headers });
}

// The same response with some fields set; its body is not touched. Where the gate says which pages may read
// it, nobody else does. A WebSocket's response can't be made anew, nor one whose status is none.
export function dress(response, fields, saysWhoReads) {
  if (response.webSocket || response.status < 200 || response.status > 599) return response;
  const dressed = new Response(response.body, response);
  for (const name of saysWhoReads ? [...dressed.headers.keys()] : []) {
    if (name.startsWith('access-control-')) dressed.headers.delete(name);
  }
  put(dressed.headers, fields);
  return dressed;
}

// A name that begins with ? is set where there is none yet; with -, it is taken out.
function put(headers, fields) {
  const pairs = fields.split('\n');
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    const [name, value] = [pairs[i], pairs[i + 1]];
    if (name === 'vary' || name === 'set-cookie') headers.append(name, value);
    else if (name[0] === '-') headers.delete(name.slice(1));
    else if (name[0] !== '?') headers.set(name, value);
    else if (!headers.has(name.slice(1))) headers.set(name.slice(1), value);
  }
}

// All bytes of a stream, or undefined if there are more than bytesMax. Rejects when the signal fires,
// also while the sender is silent.
async function bounded(stream, bytesMax, signal) {
  if (!stream) return new Uint8Array();
  const reader = stream.getReader();
  let onAbort;
  const aborted = new Promise((_, reject) => {
    onAbort = () => reject(new Error('aborted'));
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
  });
  aborted.catch(() => {});
  const chunks = [];
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), aborted]);
      if (done) break;
      length += value.length;
      if (length > bytesMax) {
        reader.cancel().catch(() => {});
        return undefined;
      }
      chunks.push(value);
    }
  } catch (error) {
    reader.cancel().catch(() => {});
    throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
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
