// The edge's algorithm in hand-written JavaScript: verified tokens are cached, one POST fetches
// everything that a verdict needs from the store, the encrypted record is decrypted, and the
// identity is forwarded. REVOCATION_SECONDS_MAX is how long a verdict is cached.
const TOKENS_MAX = 4096;
const BYTES_MAX = 64 * 1024;
const STORE_DEADLINE_MS = 1000;
const UPSTREAM_DEADLINE_MS = 30_000;
const LEEWAY_SECONDS = 5;
const LOCAL = /^(x-forwarded-|x-real-ip$|x-request-id$|forwarded$|true-client-ip$|cf-connecting-ip$|(x-)?portcullis-)/;
const HOP_BY_HOP = new Set([
  'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'te', 'trailer', 'transfer-encoding', 'upgrade',
]);

const known = new Map();
let older = new Map();
let setup;

export default {
  async fetch(request, env) {
    const id = crypto.randomUUID();
    const begun = Date.now();
    try {
      const { pathname, search } = new URL(request.url);
      if (!pathname.startsWith('/api/')) return refuse(request, 404, 'route_not_found', id, begun);
      setup ??= { env, keys: undefined, seal: undefined, prefix: env.PREFIX };
      const holder = await authenticate(request, env, begun);
      if (typeof holder === 'string') return refuse(request, 401, holder, id, begun);
      const verdict = await judge(holder, env, id, begun);
      if (verdict) return refuse(request, verdict[0], verdict[1], id, begun);
      const response = await forward(request, env, env.UPSTREAM_URL + pathname + search, holder.claims, id);
      log(request, { outcome: 'forwarded', status: response.status, kid: holder.kid }, id, begun);
      return response;
    } catch (error) {
      const code = error.name === 'TimeoutError' ? 'timeout' : 'unreachable';
      return refuse(request, 503, code, id, begun);
    }
  },
};

async function authenticate(request, env, nowMs) {
  const field = request.headers.get('authorization');
  if (!field) return 'token_missing';
  if (field.length > 8192 || !/^bearer /i.test(field)) return 'credential_malformed';
  const token = field.slice(7);
  const now = nowMs / 1000;
  const seen = known.get(token) ?? older.get(token);
  if (seen) return seen.claims.exp + LEEWAY_SECONDS > now ? seen : 'token_expired';
  const parts = token.split('.');
  if (parts.length !== 3) return 'token_malformed';
  let header;
  let claims;
  try {
    header = JSON.parse(new TextDecoder().decode(bytes(parts[0])));
    claims = JSON.parse(new TextDecoder().decode(bytes(parts[1])));
  } catch {
    return 'token_malformed';
  }
  if (header.alg !== 'EdDSA' || header.typ !== 'at+jwt' || header.crit) return 'algorithm_refused';
  if (claims.iss !== env.ISSUER) return 'issuer_unknown';
  if (claims.aud !== env.AUDIENCE) return 'audience_mismatch';
  if (!(claims.exp + LEEWAY_SECONDS > now) || claims.nbf > now + LEEWAY_SECONDS) return 'token_expired';
  const key = (await keys(env)).get(header.kid);
  if (!key) return 'key_unknown';
  const input = new TextEncoder().encode(`${parts[0]}.${parts[1]}`);
  if (!(await crypto.subtle.verify('Ed25519', key, bytes(parts[2]), input))) return 'signature_invalid';
  const hash = text(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(token)));
  const marker = async (kind, name) => `${env.PREFIX}:revoked:${kind}:${await digest(claims.iss, name)}`;
  const holder = {
    claims,
    kid: header.kid,
    record: `${env.PREFIX}:token:${hash}`,
    markers: [
      await marker('sub', claims.sub), await marker('client', claims.client_id),
      await marker('jti', claims.jti), await marker('sid', claims.sid),
    ],
    sealed: undefined,
    opened: undefined,
    clearedUntilMs: 0,
  };
  const limit = `${env.PREFIX}:limit:api:${await digest('api', claims.sub)}`;
  const limited = env.LIMIT_SCRIPT_SHA1
    ? [['EVALSHA', env.LIMIT_SCRIPT_SHA1, 1, limit, ...JSON.parse(env.LIMIT_ARGUMENTS)]] : [];
  holder.question = JSON.stringify([['MGET', ...holder.markers], ['GET', holder.record], ...limited]);
  if (known.size >= TOKENS_MAX) {
    older = new Map(known);
    known.clear();
  }
  known.set(token, holder);
  return holder;
}

async function keys(env) {
  if (!setup.keys) {
    const { keys } = await (await fetch(env.JWKS_URL)).json();
    const imported = keys.map(async (jwk) => [
      jwk.kid, await crypto.subtle.importKey('jwk', jwk, 'Ed25519', false, ['verify']),
    ]);
    setup.keys = new Map(await Promise.all(imported));
  }
  return setup.keys;
}

async function judge(holder, env, id, nowMs) {
  if (nowMs < holder.clearedUntilMs) return undefined;
  const answer = await fetch(`${env.UPSTASH_REDIS_REST_URL}/pipeline`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${env.UPSTASH_REDIS_REST_TOKEN}`, 'content-type': 'application/json', 'x-request-id': id,
    },
    body: holder.question,
    redirect: 'manual',
    signal: AbortSignal.timeout(STORE_DEADLINE_MS),
  });
  if (answer.status !== 200 || Number(answer.headers.get('content-length')) > BYTES_MAX) return [503, 'store_bad_response'];
  const [markers, record, limit] = JSON.parse(await answer.text());
  if (!Array.isArray(markers.result) || record.error || limit?.error) return [503, 'store_bad_response'];
  const [sub, client, jti, sid] = markers.result;
  const since = (marker) => marker !== null && holder.claims.iat <= Number(marker);
  if (since(sub) || since(client) || jti !== null || sid !== null) return [401, 'token_revoked'];
  if (typeof record.result !== 'string') return [401, 'token_not_registered'];
  // The same ciphertext decrypts to the same record.
  if (record.result !== holder.sealed) {
    holder.opened = await open(record.result, holder.record, env);
    holder.sealed = record.result;
  }
  if (holder.opened.sub !== holder.claims.sub) return [401, 'token_not_registered'];
  if (limit && limit.result[0] !== 1) return [429, 'rate_limited'];
  holder.clearedUntilMs = nowMs + Number(env.REVOCATION_SECONDS_MAX) * 1000;
  return undefined;
}

async function open(record, key, env) {
  const [, kid, sealed] = record.split('.');
  const [id, raw] = env.RECORD_ENCRYPTION_KEY.split(':');
  if (id !== kid) throw new Error('sealed by another key');
  setup.seal ??= await crypto.subtle.importKey('raw', bytes(raw), 'AES-GCM', false, ['decrypt']);
  const all = bytes(sealed);
  const algorithm = { name: 'AES-GCM', iv: all.subarray(0, 12), additionalData: new TextEncoder().encode(key) };
  const plain = await crypto.subtle.decrypt(algorithm, setup.seal, all.subarray(12));
  return JSON.parse(new TextDecoder().decode(plain));
}

function forward(request, env, url, claims, id) {
  const { method } = request;
  const body = method === 'GET' || method === 'HEAD' ? undefined : request.body;
  const signal = AbortSignal.timeout(UPSTREAM_DEADLINE_MS);
  const init = { method, headers: request.headers, body, redirect: 'manual', cache: 'no-store', signal };
  const outbound = new Request(url, init);
  const { headers } = outbound;
  const { host, protocol } = new URL(request.url);
  const scheme = protocol.slice(0, -1);
  const address = headers.get('cf-connecting-ip');
  const kept = headers.get('x-forwarded-for') === address && headers.get('x-forwarded-proto') === scheme;
  for (const name of request.headers.keys()) {
    const right = kept && (name === 'x-forwarded-for' || name === 'x-forwarded-proto');
    if (!right && (LOCAL.test(name) || HOP_BY_HOP.has(name))) headers.delete(name);
  }
  headers.delete('authorization');
  if (!kept) {
    if (address) headers.set('x-forwarded-for', address);
    headers.set('x-forwarded-proto', scheme);
  }
  headers.set('x-forwarded-host', host);
  headers.set('x-request-id', id);
  if (!headers.has('traceparent')) {
    const trace = id.replaceAll('-', '');
    headers.set('traceparent', `00-${trace}-${trace.slice(16)}-00`);
  }
  headers.set('portcullis-subject', encodeURIComponent(claims.sub));
  headers.set('portcullis-scope', claims.scope);
  headers.set('portcullis-session', claims.sid);
  headers.set('portcullis-client', claims.client_id);
  return fetch(outbound);
}

// Logs one line per request, like the edge.
function log({ method }, facts, id, begun) {
  const ms = Date.now() - begun;
  console.log(JSON.stringify({ level: 'info', event: 'request', request_id: id, method, route: 'api', ...facts, ms }));
}

function refuse(request, status, code, id, begun) {
  log(request, { outcome: 'refused', code, status }, id, begun);
  const headers = { 'content-type': 'application/problem+json', 'cache-control': 'no-store', 'x-request-id': id };
  if (status === 401) headers['www-authenticate'] = `Bearer error="invalid_token", error_description="${code}"`;
  return new Response(JSON.stringify({ type: 'about:blank', status, code, request_id: id }), { status, headers });
}

async function digest(realm, name) {
  return text(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(`${realm}\n${name}`)));
}

function text(digest) {
  const base64 = btoa(String.fromCharCode(...new Uint8Array(digest)));
  return base64.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

function bytes(base64url) {
  const binary = atob(base64url.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(binary, (c) => c.charCodeAt(0));
}
