// The files of a new project.

import { readFileSync } from 'node:fs';
import { memcachedFault, urlFault } from './faults.mjs';

/** @typedef {import('./init.mjs').Answers} Answers */

/** The stores, and what an answer must be for each. */
export const STORES = {
  upstash: {
    about: 'Upstash Redis, by its REST URL',
    url: 'https://your-database.upstash.io',
    fault: urlFault,
    secrets: ['STORE_TOKEN'],
  },
  redis: {
    about: 'a Redis of your own, by the URL of its redis gateway',
    url: 'https://redis-gateway.internal.example',
    fault: urlFault,
    secrets: ['STORE_TOKEN'],
  },
  memcached: {
    about: 'a memcached, such as memcached://cache.example:11211; limits by fixed windows alone',
    url: 'memcached://cache.example:11211',
    fault: memcachedFault,
    secrets: /** @type {string[]} */ ([]),
  },
};

/** Who issues the tokens. */
export const PROVIDERS = {
  bundled: {
    about: 'the auth service of Portcullis',
    secrets: ['INTROSPECTION_SECRET', 'RECORD_ENCRYPTION_KEY', 'EDGE_AUTH_KEY'],
  },
  jwt: {
    about: 'a provider whose access tokens are JWTs, such as Auth0 or Okta',
    secrets: /** @type {string[]} */ ([]),
  },
  opaque: {
    about: 'a provider of opaque tokens, by its introspection endpoint',
    secrets: ['PROVIDER_SECRET'],
  },
};

/**
 * Returns portcullis.toml.
 * @param {Answers} answers
 */
export function policy(answers) {
  const auth = answers.provider === 'bundled' ? '[auth]\nurl = "${AUTH_URL}"\n\n' : '';
  return `#:schema ./node_modules/portcullis/portcullis.schema.json

# Which requests pass, with which tokens, how often, and where they go. "\${NAME}" is a variable of
# wrangler.jsonc. Secrets never stand here: npx wrangler secret put NAME.

[store]
url = "\${STORE_URL}"

${auth}[upstream]
url = "\${UPSTREAM_URL}"

${issuer(answers)}
# The first route that matches wins. A request that matches none is refused.
${answers.provider === 'bundled' ? authRoutes(answers) : ''}[[routes]]
name = "public"
path = "/public/*"
access = "public"

[[routes]]
name = "api"
path = "/api/*"
access = "protected"
${answers.provider === 'bundled' ? '' : '# Tokens of this provider have no record in the store; revocation markers are checked.\nrequire = "not_revoked"\n'}limit = ${limit(answers, 600, 'subject')}
`;
}

/** @param {Answers} answers */
function issuer({ store, provider, audience, algorithm, clientId }) {
  switch (provider) {
    case 'bundled': return `[[issuers]]
issuer = "\${ISSUER}"
audience = "${audience}"
algorithms = ["EdDSA"]
jwks_url = "\${JWKS_URL}"
token_type = "at+jwt"
${store === 'memcached' ? '' : 'sessions_in_store = true\n'}
# Asked about a token that has a valid signature, but no record in the store.
[issuers.introspection]
url = "\${INTROSPECTION_URL}"
client_id = "edge"
client_secret_variable = "INTROSPECTION_SECRET"
revocations_in_store = true
`;
    case 'jwt': return `[[issuers]]
issuer = "\${ISSUER}"
audience = "${audience}"
algorithms = ["${algorithm}"]
jwks_url = "\${JWKS_URL}"
# The typ header of its access tokens: "at+jwt" (RFC 9068) is safer where the provider offers it.
token_type = "jwt"
`;
    default: return `[[issuers]]
issuer = "\${ISSUER}"
audience = "${audience}"

[issuers.introspection]
url = "\${INTROSPECTION_URL}"
client_id = "${clientId}"
client_secret_variable = "PROVIDER_SECRET"
`;
  }
}

/** @param {Answers} answers */
function authRoutes(answers) {
  /** @type {(name: string, path: string, more: string) => string} */
  const route = (name, path, more) => `[[routes]]
name = "${name}"
path = "${path}"
access = "auth"
${more}
`;
  const few = `limit = ${limit(answers, 300, 'address')}\n`;
  return [
    route('login', '/auth/login', few),
    route('refresh', '/auth/refresh', `endpoint = "token"\n${few}`),
    route('logout', '/auth/logout', `endpoint = "revocation"\n${few}`),
    route('auth', '/auth/*', few),
    route('token', '/oauth/token', `endpoint = "token"\n${few}`),
    route('revoke', '/oauth/revoke', `endpoint = "revocation"\n${few}`),
    route('introspect', '/oauth/introspect', few),
    route('well-known', '/.well-known/*', 'methods = ["GET", "HEAD"]\n'),
  ].join('');
}

/**
 * @param {Answers} answers
 * @param {number} quota
 * @param {string} by
 */
function limit({ store }, quota, by) {
  const algorithm = store === 'memcached' ? ', algorithm = "fixed_window"' : '';
  return `{ quota = ${quota}, window_seconds = 60, by = "${by}"${algorithm} }`;
}

/**
 * Returns wrangler.jsonc.
 * @param {Answers} answers
 */
export function wranglerConfig(answers) {
  const vars = variables(answers);
  const required = JSON.stringify(secrets(answers));
  const lines = (/** @type {string} */ indent) => Object.entries(vars)
    .map(([name, value]) => `${indent}${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(',\n');
  return `{
  "$schema": "node_modules/wrangler/config-schema.json",
  "name": ${JSON.stringify(answers.name)},
  "main": "build/index.js",
  "compatibility_date": "2026-11-01",
  // Tells of a client that resets its connection before the response.
  "compatibility_flags": ["enable_request_signal"],
  "build": {
    // Validates portcullis.toml; an invalid policy is neither served nor deployed.
    "command": "npx --no-install portcullis build",
    "watch_dir": ["portcullis.toml"]
  },
  "observability": { "enabled": true },
  // The variables that portcullis.toml names.
  "vars": {
${lines('    ')}
  },
  "secrets": { "required": ${required} },
  "env": {
    // npx wrangler deploy --env staging; [env.staging] in portcullis.toml holds larger differences.
    "staging": {
      "vars": {
${lines('        ')}
      },
      "secrets": { "required": ${required} }
    }
  }
}
`;
}

/**
 * Returns the variables that the policy names, with their values.
 * @param {Answers} answers
 */
function variables(answers) {
  /** @type {Record<string, string>} */
  const vars = { UPSTREAM_URL: answers.upstream, STORE_URL: answers.storeUrl, ISSUER: answers.issuer };
  const at = (/** @type {string} */ path) => `${answers.authUrl.replace(/\/$/, '')}${path}`;
  if (answers.provider === 'bundled') {
    vars.AUTH_URL = answers.authUrl;
    vars.JWKS_URL = at('/.well-known/jwks.json');
    vars.INTROSPECTION_URL = at('/oauth/introspect');
  }
  if (answers.provider === 'jwt') vars.JWKS_URL = answers.jwksUrl;
  if (answers.provider === 'opaque') vars.INTROSPECTION_URL = answers.introspectionUrl;
  return vars;
}

/** @param {Answers} answers */
function secrets({ store, provider }) {
  return [...STORES[store].secrets, ...PROVIDERS[provider].secrets];
}

/**
 * Returns an example of the secrets for `wrangler dev`.
 * @param {Answers} answers
 */
export function devVars(answers) {
  const lines = secrets(answers).map((name) => `${name}="${PLACEHOLDERS[name]}"\n`);
  return `# The secrets of \`wrangler dev\`: copy this file to .dev.vars, which git ignores, and fill it in.\n${lines.join('')}`;
}

/** @type {Record<string, string>} */
const PLACEHOLDERS = {
  STORE_TOKEN: 'the REST token of the database',
  INTROSPECTION_SECRET: 'openssl rand -hex 24',
  RECORD_ENCRYPTION_KEY: 'k1: and openssl rand -base64 32',
  EDGE_AUTH_KEY: 'openssl rand -base64 32',
  PROVIDER_SECRET: 'the client secret at the provider',
};

/**
 * Returns package.json of a project that has none.
 * @param {string} name
 */
export function packageJson(name) {
  return {
    name,
    private: true,
    type: 'module',
    scripts: { check: 'portcullis check', dev: 'portcullis dev', deploy: 'wrangler deploy' },
    devDependencies: { portcullis: `^${ownVersion()}`, wrangler: '^4.164.0' },
  };
}

/**
 * Returns the version of this package.
 * @returns {string}
 */
function ownVersion() {
  return JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version;
}
