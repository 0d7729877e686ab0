// A real third-party provider, npm's oidc-provider, on loopback: node provider.mjs PORT.
//
// It is strict: a refresh token works once, and a second use ends the grant. Client `spa` is public
// (PKCE); client `edge` may introspect; others may register (RFC 7591). Tokens for
// https://api.example are JWTs (RFC 9068); those for https://opaque.example are opaque. RESOURCES
// names further resources, each with its scope, whose tokens are JWTs. Each sign-in is by alice,
// who grants everything. A sign-out sends a logout token (OpenID Connect Back-Channel Logout 1.0)
// to the URL that the test gives.
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider, { errors } from 'oidc-provider';

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const callback = `${issuer}/cb`;

// The provider's state, in memory. There must be no await between reading and consuming a token, or
// two requests could consume it.
const held = new Map();
class Memory {
  constructor(model) { this.model = model; }
  #name(id) { return `${this.model}:${id}`; }
  #first(fits) {
    for (const [name, payload] of held) if (name.startsWith(`${this.model}:`) && fits(payload)) return payload;
    return undefined;
  }
  async upsert(id, payload) { held.set(this.#name(id), payload); }
  async find(id) { return held.get(this.#name(id)); }
  async findByUid(uid) { return this.#first((payload) => payload.uid === uid); }
  async findByUserCode(code) { return this.#first((payload) => payload.userCode === code); }
  async consume(id) { held.get(this.#name(id)).consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { held.delete(this.#name(id)); }
  async revokeByGrantId(grantId) {
    for (const [name, payload] of held) {
      if (name.startsWith(`${this.model}:`) && payload.grantId === grantId) held.delete(name);
    }
  }
}

// When the provider called its client last.
let calledAt = 0;

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const sign = { alg: 'ES256' };
const resources = {
  'https://api.example': { scope: 'api:read', accessTokenFormat: 'jwt', jwt: { sign } },
  'https://opaque.example': { scope: 'api:read', accessTokenFormat: 'opaque' },
};
const more = Object.entries(JSON.parse(process.env.RESOURCES ?? '{}'));
for (const [url, scope] of more) resources[url] = { scope, accessTokenFormat: 'jwt', jwt: { sign } };
const provider = new Provider(issuer, {
  adapter: Memory,
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), ...sign, kid: 'one', use: 'sig' }] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  clients: [
    {
      client_id: 'spa', token_endpoint_auth_method: 'none', application_type: 'native', redirect_uris: [callback],
      grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
      backchannel_logout_uri: `${issuer}/unset`, backchannel_logout_session_required: true,
    },
    {
      client_id: 'edge', client_secret: process.env.EDGE_SECRET, grant_types: [], response_types: [], redirect_uris: [],
    },
  ],
  scopes: ['openid', 'offline_access', ...more.map(([, scope]) => scope)],
  responseTypes: ['code'],
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  features: {
    backchannelLogout: { enabled: true },
    devInteractions: { enabled: false },
    registration: { enabled: true },
    introspection: { enabled: true, allowedPolicy: (ctx, client) => client.clientId === 'edge' },
    revocation: { enabled: true, allowedPolicy: (ctx, client, token) => client.clientId === token.clientId },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(ctx, resource) {
        if (!resources[resource]) throw new errors.InvalidTarget();
        return resources[resource];
      },
      useGrantedResource: () => true,
    },
  },
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
  loadExistingGrant: (ctx) => ctx.oidc.result?.consent && ctx.oidc.provider.Grant.find(ctx.oidc.result.consent.grantId),
  expiresWithSession: () => false,
  extraTokenClaims: (ctx, token) => (token.sid ? { sid: token.sid } : undefined),
  // The provider's own dispatcher refuses loopback.
  fetch(url, { dispatcher, ...options }) {
    calledAt = Date.now();
    return fetch(url, options);
  },
  rotateRefreshToken: true,
  clientBasedCORS: () => false,
  renderError(ctx, out) { ctx.type = 'json'; ctx.body = out; },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  ttl: { AccessToken: 300, AuthorizationCode: 60, Grant: 3600, IdToken: 300, Interaction: 60, RefreshToken: 3600, Session: 3600 },
});

// The cookies of the last sign-in.
let jar = new Map();

// A server may close a connection that is kept for the next request, which would then fail.
const ONCE = { connection: 'close' };

async function withCookies(url, options = {}) {
  const cookie = [...jar].map((pair) => pair.join('=')).join('; ');
  const answer = await fetch(url, { redirect: 'manual', ...options, headers: { ...options.headers, ...ONCE, cookie } });
  for (const field of answer.headers.getSetCookie()) {
    const [, name, value] = /^([^=]+)=([^;]*)/.exec(field);
    jar.set(name, value);
  }
  return answer;
}

// The authorization code flow, by a client without a browser. The code is exchanged at `token_url`.
async function signIn({ resource, token_url: tokenUrl }) {
  const verifier = randomBytes(32).toString('base64url');
  let url = `${issuer}/auth?${new URLSearchParams({
    client_id: 'spa', response_type: 'code', scope: 'openid api:read', resource, redirect_uri: callback,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256',
  })}`;
  jar = new Map();
  for (let hops = 0; hops < 6 && !url.startsWith(`${callback}?`); hops += 1) {
    const answer = await withCookies(url);
    url = new URL(answer.headers.get('location'), url).href;
  }
  const body = new URLSearchParams({
    grant_type: 'authorization_code', client_id: 'spa', code: new URL(url).searchParams.get('code'),
    redirect_uri: callback, code_verifier: verifier,
  });
  const answer = await fetch(tokenUrl, { method: 'POST', body, headers: ONCE });
  return answer.json();
}

// Ends the session of the last sign-in. The logout token names the session if `session` is "yes".
async function signOut({ events_url: eventsUrl, session }) {
  const client = await provider.Client.find('spa');
  client.backchannelLogoutUri = eventsUrl;
  const page = await (await withCookies(`${issuer}/session/end?client_id=spa`)).text();
  const [, xsrf] = /name="xsrf" value="([^"]+)"/.exec(page);
  const delivered = new Promise((resolve) => {
    provider.once('backchannel.success', () => resolve({ delivered: true }));
    provider.once('backchannel.error', (ctx, error) => resolve({ delivered: false, error: String(error) }));
  });
  client.backchannelLogoutSessionRequired = session === 'yes';
  const body = new URLSearchParams({ xsrf, logout: 'yes' });
  await withCookies(`${issuer}/session/end/confirm`, { method: 'POST', body });
  client.backchannelLogoutSessionRequired = true;
  return { ...await delivered, called_at_ms: calledAt };
}

let refreshes = 0;
provider.use(async (ctx, next) => {
  if (ctx.path === '/test/refreshes') {
    ctx.body = { refreshes };
  } else if (ctx.path === '/test/sign-in') {
    ctx.body = await signIn(ctx.query);
  } else if (ctx.path === '/test/sign-out') {
    ctx.body = await signOut(ctx.query);
  } else if (ctx.path.startsWith('/interaction/')) {
    const { params } = await provider.interactionDetails(ctx.req, ctx.res);
    const grant = new provider.Grant({ accountId: 'alice', clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    grant.addResourceScope(params.resource, params.scope);
    const result = { login: { accountId: 'alice' }, consent: { grantId: await grant.save() } };
    ctx.respond = false; // The next line sends the response itself.
    await provider.interactionFinished(ctx.req, ctx.res, result);
  } else {
    await next();
    if (ctx.path === '/token' && ctx.oidc?.params?.grant_type === 'refresh_token') refreshes += 1;
  }
});
provider.on('server_error', (ctx, error) => console.error(error));
provider.listen(port, '127.0.0.1', () => console.log(`listening on ${issuer}`));
process.on('SIGTERM', () => process.exit(0));
