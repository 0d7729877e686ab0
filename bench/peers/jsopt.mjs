// The edge's algorithm in hand-written JavaScript: verified tokens are cached, one POST fetches
// everything that a verdict needs from the store, the encrypted record is decrypted, and the
// identity is forwarded. REVOCATION_SECONDS_MAX is how long a clearance is cached, and
// LEASE_SECONDS how long quota that was taken in advance may be spent; 0 for none. Both are renewed
// in the background.
const TOKENS_MAX = 4096;
const BYTES_MAX = 64 * 1024;
const STORE_DEADLINE_MS = 1000;
const UPSTREAM_DEADLINE_MS = 30_000;
const LEEWAY_SECONDS = 5;
const KEYS_MAX = 8192;
const CLOCK_MARGIN_MS = 50;
// The questions that wait, those of one POST, the POSTs in flight, and those of one request.
const WAITING_MAX = 1024;
const PER_POST_MAX = 32;
const POSTS_MAX = 4;
const POSTS_PER_REQUEST_MAX = 8;
const LOCAL = /^(x-forwarded-|x-real-ip$|x-request-id$|forwarded$|true-client-ip$|cf-connecting-ip$|(x-)?portcullis-)/;
const HOP_BY_HOP = new Set([
  'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'te', 'trailer', 'transfer-encoding', 'upgrade',
]);

const known = new Map();
let older = new Map();
let leases = new Map();
let olderLeases = new Map();
const waiting = [];
let inFlight = 0;
let setup;

export default {
  async fetch(request, env, context) {
    const id = crypto.randomUUID();
    const begun = Date.now();
    try {
      const { pathname, search } = new URL(request.url);
      if (!pathname.startsWith('/api/')) return refuse(request, 404, 'route_not_found', id, begun);
      setup ??= {
        keys: undefined, seal: undefined, boundMs: Number(env.REVOCATION_SECONDS_MAX) * 1000, limit: limitOf(env),
      };
      const holder = await authenticate(request, env, begun);
      if (typeof holder === 'string') return refuse(request, 401, holder, id, begun);
      const verdict = await judge(holder, env, id, begun);
      if (waiting.length > 0 && inFlight < POSTS_MAX) context.waitUntil(renew(env, id));
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
    renewingUntilMs: 0,
    limit: `${env.PREFIX}:limit:api:bucket:${await digest('api', claims.sub)}`,
    lease: undefined,
  };
  holder.query = JSON.stringify(['MGET', ...holder.markers, holder.record]);
  if (setup.limit) {
    holder.count = count(holder, 1, 0);
    if (setup.limit.lifeMs) holder.lease = leaseOf(holder.limit, nowMs);
  }
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
  const cleared = nowMs < holder.clearedUntilMs;
  if (cleared) renewClearance(holder, nowMs);
  let counting = setup.limit ? holder.count : undefined;
  let ahead = 0;
  if (holder.lease) {
    const lease = holder.lease;
    const spent = spend(lease, nowMs);
    ahead = aheadOf(lease, spent, nowMs);
    lease.isKnown = true;
    if (spent) {
      counting = undefined;
      if (ahead > 0) wait({ holder, ahead, command: count(holder, 0, ahead) });
    } else if (ahead > 0) {
      counting = count(holder, 1, ahead);
    }
  }
  if (cleared && !counting) return undefined;
  // As at the edge, a trip that a limit needs asks about the token as well.
  const query = counting ? `${holder.query},${counting}` : holder.query;
  const replies = await ask(`[${query}]`, env, id);
  if (!replies) {
    if (holder.lease && counting) holder.lease.askingUntilMs = 0;
    return [503, 'store_bad_response'];
  }
  const counted = counting && replies[replies.length - 1];
  if (holder.lease && counted) grant(holder.lease, ahead, counted, nowMs, Date.now());
  const refusal = await clear(holder, replies[0], env);
  if (refusal) return refusal;
  if (counted) {
    if (counted.error) return [503, 'store_bad_response'];
    if (counted.result[0] !== 1) return [429, 'rate_limited'];
  }
  holder.clearedUntilMs = nowMs + setup.boundMs;
  return undefined;
}

// Returns the replies of the store; undefined without good ones.
async function ask(body, env, id) {
  const answer = await fetch(`${env.UPSTASH_REDIS_REST_URL}/pipeline`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${env.UPSTASH_REDIS_REST_TOKEN}`, 'content-type': 'application/json', 'x-request-id': id,
    },
    body,
    redirect: 'manual',
    signal: AbortSignal.timeout(STORE_DEADLINE_MS),
  });
  if (answer.status !== 200 || Number(answer.headers.get('content-length')) > BYTES_MAX) return undefined;
  return JSON.parse(await answer.text());
}

// Returns why the store's reply about the markers and the record refuses the token.
async function clear(holder, reply, env) {
  if (!Array.isArray(reply.result)) return [503, 'store_bad_response'];
  const [sub, client, jti, sid, record] = reply.result;
  const since = (marker) => marker !== null && holder.claims.iat <= Number(marker);
  if (since(sub) || since(client) || jti !== null || sid !== null) return [401, 'token_revoked'];
  if (typeof record !== 'string') return [401, 'token_not_registered'];
  // The same ciphertext decrypts to the same record.
  if (record !== holder.sealed) {
    holder.opened = await open(record, holder.record, env);
    holder.sealed = record;
  }
  if (holder.opened.sub !== holder.claims.sub) return [401, 'token_not_registered'];
  return undefined;
}

// Has a clearance renewed in the last quarter of its life.
function renewClearance(holder, nowMs) {
  const quarter = setup.boundMs / 4;
  if (nowMs + quarter < holder.clearedUntilMs || nowMs < holder.renewingUntilMs) return;
  holder.renewingUntilMs = nowMs + quarter;
  wait({ holder, ahead: 0, command: holder.query });
}

function wait(question) {
  if (waiting.length < WAITING_MAX) waiting.push(question);
}

// Sends the questions that wait, many in one POST.
async function renew(env, id) {
  inFlight += 1;
  try {
    for (let posts = 0; posts < POSTS_PER_REQUEST_MAX && waiting.length > 0; posts += 1) {
      const questions = waiting.splice(0, PER_POST_MAX);
      const askedMs = Date.now();
      const commands = questions.map(({ command }) => command).join(',');
      const replies = await ask(`[${commands}]`, env, id).catch(() => undefined);
      for (const [place, { holder, ahead }] of questions.entries()) {
        const reply = replies?.[place];
        if (ahead > 0) {
          grant(holder.lease, ahead, reply, askedMs, Date.now());
        } else if (reply) {
          const refusal = await clear(holder, reply, env);
          if (!refusal) holder.clearedUntilMs = askedMs + setup.boundMs;
          else if (refusal[0] === 401) holder.clearedUntilMs = 0;
        }
      }
    }
  } finally {
    inFlight -= 1;
  }
}

// The limit, and the terms of its leases as in crates/core/src/limits/lease.rs.
function limitOf(env) {
  if (!env.LIMIT_SCRIPT_SHA1) return undefined;
  const [quota, windowMs, seconds] = [Number(env.LIMIT_QUOTA), Number(env.LIMIT_WINDOW_MS), Number(env.LEASE_SECONDS)];
  const reserve = Math.min(Math.floor(quota * seconds * 1000 / windowMs), Math.floor(quota / 2));
  const lifeMs = Math.min(seconds * 1000, Math.floor(reserve * windowMs / quota));
  return { script: env.LIMIT_SCRIPT_SHA1, quota, windowMs, burst: quota - reserve, unitsMax: reserve, lifeMs };
}

function count(holder, cost, ahead) {
  const { script, quota, windowMs, burst } = setup.limit;
  const words = ['EVALSHA', script, 1, holder.limit, 'gcra', quota, windowMs, cost, burst];
  // Nothing is likely to be owed: the quota is far above what any caller uses.
  return JSON.stringify([...words, ahead, 0, 1]);
}

function leaseOf(key, nowMs) {
  let lease = leases.get(key) ?? olderLeases.get(key);
  if (!lease) {
    const [first, last] = [{ units: 0, untilMs: 0 }, { units: 0, untilMs: 0 }];
    lease = { first, last, isKnown: false, requested: 0, sinceMs: nowMs, askingUntilMs: 0 };
  }
  if (leases.size >= KEYS_MAX) {
    olderLeases = leases;
    leases = new Map();
  }
  leases.set(key, lease);
  return lease;
}

// Takes one request from the lease that ends first.
function spend(lease, nowMs) {
  const { first, last } = lease;
  if (nowMs >= first.untilMs) first.units = 0;
  if (nowMs >= last.untilMs) last.units = 0;
  const from = first.units > 0 ? first : last;
  if (from.units === 0) return false;
  from.units -= 1;
  return true;
}

// Returns how much to take in advance now: what the key's rate is expected to use in a lease's
// life, less what it still has.
function aheadOf(lease, spent, nowMs) {
  const { unitsMax, lifeMs } = setup.limit;
  const { first, last } = lease;
  let ahead = 0;
  if (lease.isKnown && nowMs >= lease.askingUntilMs) {
    const elapsedMs = Math.max(nowMs - lease.sinceMs, lifeMs / 4, 1);
    const expected = Math.min(Math.floor((lease.requested + 1) * lifeMs / elapsedMs), unitsMax);
    if (expected >= 2) {
      const units = first.units + last.units;
      const untilMs = Math.max(first.units > 0 ? first.untilMs : 0, last.units > 0 ? last.untilMs : 0);
      const leftMs = Math.max(untilMs - nowMs, 0);
      if (!spent || units < expected / 4 || leftMs < lifeMs / 4) {
        ahead = expected - Math.min(units, Math.floor(expected * leftMs / lifeMs));
      }
    }
  }
  lease.requested += 1;
  if (ahead > 0) {
    lease.askingUntilMs = nowMs + lifeMs;
    lease.sinceMs = nowMs;
    lease.requested = 0;
  }
  return ahead;
}

// Adds what the store granted. Its life counts from the moment at which the question was sent.
function grant(lease, ahead, reply, askedMs, nowMs) {
  lease.askingUntilMs = 0;
  if (!Array.isArray(reply?.result)) return;
  const units = Math.min(reply.result[4] ?? 0, ahead);
  const untilMs = askedMs + setup.limit.lifeMs - CLOCK_MARGIN_MS;
  if (units === 0 || nowMs < askedMs || nowMs >= untilMs) return;
  const { first, last } = lease;
  if (nowMs >= first.untilMs) first.units = 0;
  if (nowMs >= last.untilMs) last.units = 0;
  if (last.units === 0) {
    lease.last = { units, untilMs };
  } else if (first.units === 0) {
    lease.first = last;
    lease.last = { units, untilMs };
  } else {
    last.units += units;
    last.untilMs = Math.min(last.untilMs, untilMs);
  }
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
