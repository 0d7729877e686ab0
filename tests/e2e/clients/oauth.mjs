// A strict OAuth 2.0 client, oauth4webapi, against the auth service behind the edge named in the
// environment: metadata (RFC 8414), refresh grant (RFC 6749), access tokens (RFC 9068),
// introspection (RFC 7662), revocation (RFC 7009).
import assert from 'node:assert/strict';
import * as oauth from 'oauth4webapi';

const { EDGE_URL, INTROSPECTION_SECRET, STACK_USERNAME, STACK_PASSWORD } = process.env;
const insecure = { [oauth.allowInsecureRequests]: true };
const issuer = new URL(EDGE_URL);

const server = await oauth.processDiscoveryResponse(
  issuer,
  await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure }),
);
for (const endpoint of ['token_endpoint', 'revocation_endpoint', 'introspection_endpoint', 'jwks_uri']) {
  assert.equal(new URL(server[endpoint]).origin, issuer.origin, endpoint);
}
assert(server.grant_types_supported.includes('refresh_token'));
assert(server.token_endpoint_auth_methods_supported.includes('none'));
assert(server.introspection_endpoint_auth_methods_supported.includes('client_secret_basic'));
assert(Array.isArray(server.response_types_supported), 'required by RFC 8414');

const app = { client_id: 'portcullis' };
const edge = { client_id: 'edge' };

async function login() {
  const body = JSON.stringify({ username: STACK_USERNAME, password: STACK_PASSWORD });
  const response = await fetch(new URL('/auth/login', issuer), {
    method: 'POST', body, headers: { 'content-type': 'application/json' },
  });
  assert.equal(response.status, 200);
  return response.json();
}

async function refresh(token, additionalParameters) {
  const response = await oauth.refreshTokenGrantRequest(server, app, oauth.None(), token, {
    additionalParameters, ...insecure,
  });
  assert.equal(response.headers.get('cache-control'), 'no-store');
  return oauth.processRefreshTokenResponse(server, app, response);
}

async function introspect(token, authentication) {
  const response = await oauth.introspectionRequest(server, edge, authentication, token, insecure);
  return oauth.processIntrospectionResponse(server, edge, response);
}

async function revoke(token, additionalParameters) {
  const response = await oauth.revocationRequest(server, app, oauth.None(), token, {
    additionalParameters, ...insecure,
  });
  return oauth.processRevocationResponse(response);
}

const validate = (token) => {
  const headers = { authorization: `Bearer ${token}` };
  const request = new Request(new URL('/api/hello', issuer), { headers });
  return oauth.validateJwtAccessToken(server, request, 'https://api.example', insecure);
};

const call = async (token) => {
  const headers = { authorization: `Bearer ${token}` };
  return (await fetch(new URL('/api/hello', issuer), { headers })).status;
};

// The refresh grant.
const first = await login();
const second = await refresh(first.refresh_token);
assert.equal(second.token_type, 'bearer');
assert(second.expires_in > 0 && second.refresh_token && second.scope, JSON.stringify(second));
const claims = await validate(second.access_token);
assert.equal(claims.client_id, app.client_id);
assert.equal(await call(second.access_token), 200);
const narrow = await refresh(second.refresh_token, { scope: 'api:read' });
assert.equal(narrow.scope, 'api:read');
const isError = (code, status) => (error) => {
  assert(error instanceof oauth.ResponseBodyError, String(error));
  assert.deepEqual([error.error, error.status], [code, status]);
  return true;
};
await assert.rejects(refresh('never-issued'), isError('invalid_grant', 400));
await assert.rejects(refresh(narrow.refresh_token, { scope: 'admin' }), isError('invalid_scope', 400));

// Introspection, with the client's secret in a header and in the body.
for (const authentication of [oauth.ClientSecretBasic, oauth.ClientSecretPost]) {
  const state = await introspect(narrow.access_token, authentication(INTROSPECTION_SECRET));
  assert.deepEqual([state.active, state.scope, state.client_id], [true, 'api:read', app.client_id]);
  assert.equal(new URL(state.iss).href, issuer.href);
  assert(state.exp > state.iat && state.sub === claims.sub && state.jti);
}
const basic = oauth.ClientSecretBasic(INTROSPECTION_SECRET);
assert.equal((await introspect('never-issued', basic)).active, false);
await assert.rejects(introspect(narrow.access_token, oauth.ClientSecretBasic('wrong')));

// Revocation: of an access token, of a session by its refresh token, of an unknown token.
await revoke(narrow.access_token, { token_type_hint: 'access_token' });
assert.deepEqual([(await introspect(narrow.access_token, basic)).active, await call(narrow.access_token)], [false, 401]);
const last = await refresh(narrow.refresh_token);
await revoke(last.refresh_token, { token_type_hint: 'refresh_token' });
assert.deepEqual([(await introspect(last.access_token, basic)).active, await call(last.access_token)], [false, 401]);
await assert.rejects(refresh(last.refresh_token), isError('invalid_grant', 400));
await revoke('never-issued');
console.log('all of it held');
