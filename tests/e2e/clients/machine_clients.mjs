// Two strict OAuth 2.0 clients, oauth4webapi and openid-client, get tokens for themselves (RFC 6749
// section 4.4) from the auth service behind the edge named in the environment: by a secret and by
// assertions (RFC 7523).
import assert from 'node:assert/strict';
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';

const { EDGE_URL, STACK_USERNAME, STACK_PASSWORD } = process.env;
const insecure = { [oauth.allowInsecureRequests]: true };
const issuer = new URL(EDGE_URL);
const json = { 'content-type': 'application/json' };

const login = await fetch(new URL('/auth/login', issuer), {
  method: 'POST', headers: json, body: JSON.stringify({ username: STACK_USERNAME, password: STACK_PASSWORD }),
});
const admin = (await login.json()).access_token;

async function create(settings) {
  const response = await fetch(new URL('/auth/clients', issuer), {
    method: 'POST', headers: { ...json, authorization: `Bearer ${admin}` }, body: JSON.stringify(settings),
  });
  const text = await response.text();
  assert.equal(response.status, 201, text);
  return JSON.parse(text);
}

const server = await oauth.processDiscoveryResponse(
  issuer,
  await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure }),
);
assert(server.grant_types_supported.includes('client_credentials'));
for (const method of ['client_secret_basic', 'client_secret_post', 'private_key_jwt']) {
  assert(server.token_endpoint_auth_methods_supported.includes(method), method);
}

const call = async (token) => {
  const headers = { authorization: `Bearer ${token}` };
  return (await fetch(new URL('/api/hello', issuer), { headers })).status;
};

/** Gets a token with oauth4webapi, and checks it by RFC 9068. */
async function grant(client_id, authentication, parameters = {}) {
  const client = { client_id };
  const response = await oauth.clientCredentialsGrantRequest(server, client, authentication, parameters, insecure);
  const tokens = await oauth.processClientCredentialsResponse(server, client, response);
  const headers = { authorization: `Bearer ${tokens.access_token}` };
  const request = new Request(new URL('/api/hello', issuer), { headers });
  const claims = await oauth.validateJwtAccessToken(server, request, 'https://api.example', insecure);
  assert.deepEqual([claims.sub, claims.client_id, claims.sid], [client_id, client_id, undefined]);
  assert.equal(tokens.refresh_token, undefined);
  assert.equal(await call(tokens.access_token), 200);
  return tokens;
}

/** Gets a token with openid-client, which finds everything by the metadata. */
async function grantByDiscovery(client_id, authentication, parameters = {}) {
  const options = { algorithm: 'oauth2', execute: [openid.allowInsecureRequests] };
  const config = await openid.discovery(issuer, client_id, undefined, authentication, options);
  const tokens = await openid.clientCredentialsGrant(config, parameters);
  assert.equal(await call(tokens.access_token), 200);
  return tokens;
}

// By a secret.
const scope = 'api:read api:write';
const bySecret = await create({ name: 'by secret', scope });
const { client_id, client_secret } = bySecret;
for (const method of [oauth.ClientSecretBasic, oauth.ClientSecretPost]) {
  assert.equal((await grant(client_id, method(client_secret))).scope, scope);
}
for (const method of [openid.ClientSecretBasic, openid.ClientSecretPost]) {
  const tokens = await grantByDiscovery(client_id, method(client_secret), { scope: 'api:read' });
  assert.deepEqual([tokens.token_type, tokens.scope], ['bearer', 'api:read']);
}
await assert.rejects(grant(client_id, oauth.ClientSecretBasic('wrong')), (error) => error.status === 401);
await assert.rejects(
  grant(client_id, oauth.ClientSecretBasic(client_secret), { scope: 'admin' }),
  (error) => error.error === 'invalid_scope',
);

// By assertions, of each algorithm.
for (const alg of ['EdDSA', 'ES256', 'PS256', 'RS256']) {
  const pair = await jose.generateKeyPair(alg, { extractable: true });
  const jwk = { ...(await jose.exportJWK(pair.publicKey)), kid: 'k', alg };
  const byKey = await create({ name: alg, scope, jwks: { keys: [jwk] } });
  assert.equal(byKey.client_secret, undefined);
  const key = { key: pair.privateKey, kid: 'k' };
  assert.equal((await grant(byKey.client_id, oauth.PrivateKeyJwt(key))).scope, scope);
  await grantByDiscovery(byKey.client_id, openid.PrivateKeyJwt(key));

  const sign = (more) => new jose.SignJWT({
    iss: byKey.client_id, sub: byKey.client_id, aud: server.issuer, jti: crypto.randomUUID(), ...more,
  }).setProtectedHeader({ alg, kid: 'k' }).setIssuedAt().setExpirationTime('1m').sign(pair.privateKey);
  const send = (assertion) => fetch(server.token_endpoint, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'client_credentials',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: assertion,
    }),
  });
  // One assertion from twenty connections: exactly one wins, and none afterwards.
  const assertion = await sign({});
  const statuses = (await Promise.all(Array.from({ length: 20 }, () => send(assertion)))).map((r) => r.status);
  assert.equal(statuses.filter((status) => status === 200).length, 1, statuses.join());
  assert.equal(statuses.filter((status) => status === 401).length, 19, statuses.join());
  assert.equal((await send(assertion)).status, 401);
  // Another audience, another client, and a forged signature.
  assert.equal((await send(await sign({ aud: 'https://other.example' }))).status, 401);
  assert.equal((await send(await sign({ iss: client_id, sub: client_id }))).status, 401);
  const good = await sign({});
  assert.equal((await send(`${good.slice(0, -8)}AAAAAAAA`)).status, 401);
  assert.equal((await send(good)).status, 200);
}
console.log('all of it held');
