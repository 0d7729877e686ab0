// The same API gate, written as the documentation of common libraries shows: hono's middleware and
// its proxy helper, jose with the issuer's key set, @upstash/redis for revocation,
// @upstash/ratelimit for the rate limit.
import { Ratelimit } from '@upstash/ratelimit';
import { Redis } from '@upstash/redis/cloudflare';
import { Hono } from 'hono';
import { createMiddleware } from 'hono/factory';
import { proxy } from 'hono/proxy';
import { createRemoteJWKSet, errors, jwtVerify } from 'jose';

// These outlive a request, as both libraries recommend.
const ephemeralCache = new Map();
let keys;

const authenticate = createMiddleware(async (c, next) => {
  const [scheme, token] = (c.req.header('authorization') ?? '').split(' ');
  if (scheme !== 'Bearer' || !token) return c.json({ error: 'invalid_request' }, 401, { 'www-authenticate': 'Bearer' });
  keys ??= createRemoteJWKSet(new URL(c.env.JWKS_URL));
  try {
    const { payload } = await jwtVerify(token, keys, {
      issuer: c.env.ISSUER, audience: c.env.AUDIENCE, algorithms: ['EdDSA'], typ: 'at+jwt',
    });
    c.set('claims', payload);
  } catch (error) {
    if (!(error instanceof errors.JOSEError)) throw error;
    return c.json({ error: 'invalid_token' }, 401, { 'www-authenticate': 'Bearer error="invalid_token"' });
  }
  await next();
});

const refuseRevoked = createMiddleware(async (c, next) => {
  const redis = Redis.fromEnv(c.env);
  const { jti, sid, sub } = c.get('claims');
  const markers = await redis.mget(`revoked:jti:${jti}`, `revoked:sid:${sid}`, `revoked:sub:${sub}`);
  if (markers.some((marker) => marker !== null)) {
    return c.json({ error: 'invalid_token' }, 401, { 'www-authenticate': 'Bearer error="invalid_token"' });
  }
  c.set('redis', redis);
  await next();
});

const limit = createMiddleware(async (c, next) => {
  const ratelimit = new Ratelimit({
    redis: c.get('redis'), limiter: Ratelimit.slidingWindow(1_000_000, '60 s'), ephemeralCache, prefix: 'ref',
  });
  const { success, reset } = await ratelimit.limit(c.get('claims').sub);
  if (!success) {
    return c.json({ error: 'rate_limited' }, 429, { 'retry-after': String(Math.ceil((reset - Date.now()) / 1000)) });
  }
  await next();
});

const app = new Hono();
app.use('/api/*', authenticate, refuseRevoked, limit);
app.all('/api/*', (c) => {
  const { pathname, search } = new URL(c.req.url);
  const { sub, scope, sid } = c.get('claims');
  return proxy(c.env.UPSTREAM_URL + pathname + search, {
    ...c.req,
    headers: { ...c.req.header(), authorization: undefined, 'x-subject': sub, 'x-scope': scope, 'x-session': sid },
  });
});

export default app;
