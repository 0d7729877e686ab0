// `portcullis dev`: Redis, redis gateway, auth service, demo API and the Worker on this machine.

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from './build.mjs';
import { find, findWrangler, missing } from './binaries.mjs';
import { UsageError, parseOptions } from './error.mjs';
import { Servers } from './servers.mjs';
import { audience, readSecrets, writeDevVars, writePrivate } from './state.mjs';

const HELP = `Usage: portcullis dev [OPTION...]

Runs Redis, the redis gateway, the auth service with a demo user, a demo API and, by wrangler dev, the
Worker, until Ctrl-C. State, logs and secrets are in .portcullis/. Everything listens on 127.0.0.1.

  --backends             Everything but the Worker; npx wrangler dev runs that
  --redis-url URL        A Redis of your own, such as redis://127.0.0.1:6379; none is started then
  --port N               The Worker (8787)
  --auth-port N          The auth service (8788)
  --auth-admin-port N    Its readiness and metrics (9788)
  --upstream-port N      The demo API (8789)
  --console-port N       The operator console (8790)
  --gateway-port N       The redis gateway (8379)
  --gateway-admin-port N Its readiness and metrics (9379)
  --redis-port N         Redis (8380)
`;

/** @type {Record<string, number>} */
const PORTS = {
  port: 8787,
  'auth-port': 8788,
  'auth-admin-port': 9788,
  'upstream-port': 8789,
  'console-port': 8790,
  'gateway-port': 8379,
  'gateway-admin-port': 9379,
  'redis-port': 8380,
};

// What the user `operator` may do: manage keys, clients, users, blocks and limits, read usage, and
// use the console.
const OPERATOR_SCOPE = 'api:read keys:manage keys:admin clients:admin users:admin blocks:admin '
  + 'limits:admin usage:read usage:admin console:read console:act';

/** An option with a text. */
const TEXT = { type: /** @type {const} */ ('string') };

/** @param {string[]} words */
export async function dev(words) {
  const { values } = parseOptions(() => parseArgs({
    args: words,
    options: {
      help: { type: 'boolean', short: 'h' },
      backends: { type: 'boolean' },
      'redis-url': { type: 'string' },
      ...Object.fromEntries(Object.keys(PORTS).map((name) => [name, TEXT])),
    },
  }));
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const given = /** @type {Record<string, string | undefined>} */ (values);
  const ports = Object.fromEntries(Object.entries(PORTS).map(([name, port]) => [name, portOf(name, given[name], port)]));
  const programs = findPrograms(values);
  const policyFile = resolve('portcullis.toml');
  if (!existsSync(policyFile)) throw new UsageError('no portcullis.toml here; run portcullis init');
  const status = build([]);
  if (status !== 0) return status;

  const folder = resolve('.portcullis');
  mkdirSync(join(folder, 'log'), { recursive: true, mode: 0o700 });
  writePrivate(join(folder, '.gitignore'), '*\n');
  const secrets = readSecrets(folder);
  const url = (/** @type {string} */ name) => `http://127.0.0.1:${ports[name]}`;
  const servers = new Servers(join(folder, 'log'));
  try {
    await servers.checkPorts(ports, [
      ...(values['redis-url'] ? ['redis-port'] : []), ...(values.backends ? ['port'] : []),
    ]);
    writeDevVars(readFileSync(policyFile, 'utf8'), {
      UPSTREAM_URL: url('upstream-port'),
      AUTH_URL: url('auth-port'),
      STORE_URL: url('gateway-port'),
      ISSUER: url('port'),
      JWKS_URL: `${url('auth-port')}/.well-known/jwks.json`,
      INTROSPECTION_URL: `${url('auth-port')}/oauth/introspect`,
      STORE_TOKEN: secrets.edgeToken,
      INTROSPECTION_SECRET: secrets.introspectionSecret,
      RECORD_ENCRYPTION_KEY: secrets.recordEncryptionKey,
      EDGE_AUTH_KEY: secrets.edgeAuthKey,
    });
    await startBackends({ programs, ports, url, folder, secrets, servers, redisUrl: values['redis-url'] });
    if (programs.wrangler) {
      const wrangler = ['dev', '--ip', '127.0.0.1', '--port', String(ports.port), '--inspector-port', '0',
        '--show-interactive-dev-session=false'];
      servers.start('edge', programs.wrangler, wrangler, { WRANGLER_SEND_METRICS: 'false', WRANGLER_HIDE_BANNER: 'true' });
      await servers.waitFor('edge', `${url('port')}/`, (code) => code > 0, 60_000);
    }
    process.stdout.write(welcome(url, secrets, programs.wrangler !== undefined));
    return await servers.untilStopped();
  } finally {
    await servers.stop();
  }
}

/**
 * @param {string} name
 * @param {string | undefined} text
 * @param {number} fallback
 */
function portOf(name, text, fallback) {
  if (text === undefined) return fallback;
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new UsageError(`--${name}: ${text} is not a port; give a number from 1 to 65535`);
  }
  return port;
}

/** @param {{ backends?: boolean, 'redis-url'?: string }} options */
function findPrograms(options) {
  const programs = {
    redis: options['redis-url'] ? undefined : find('redis-server'),
    gateway: find('portcullis-redis-gateway'),
    auth: find('portcullis-auth'),
    wrangler: options.backends ? undefined : findWrangler(),
  };
  const absent = missing([
    ...(options['redis-url'] || programs.redis ? [] : ['redis-server']),
    ...(programs.gateway ? [] : ['portcullis-redis-gateway']),
    ...(programs.auth ? [] : ['portcullis-auth']),
    ...(options.backends || programs.wrangler ? [] : ['wrangler']),
  ]);
  if (absent) throw new UsageError(absent);
  return programs;
}

/**
 * @param {{
 *   programs: ReturnType<typeof findPrograms>, ports: Record<string, number>,
 *   url: (name: string) => string, folder: string, secrets: import('./state.mjs').Secrets,
 *   servers: Servers, redisUrl: string | undefined,
 * }} system
 */
async function startBackends({ programs, ports, url, folder, secrets, servers, redisUrl }) {
  const { gateway, auth } = /** @type {{ gateway: string, auth: string }} */ (programs);
  const demo = fileURLToPath(new URL('../demo/upstream.mjs', import.meta.url));
  servers.start('upstream', process.execPath, [demo, String(ports['upstream-port'])]);
  if (programs.redis) {
    mkdirSync(join(folder, 'redis'), { recursive: true });
    servers.start('redis', programs.redis, ['--bind', '127.0.0.1', '--save', '', '--appendonly', 'yes', '--port',
      String(ports['redis-port']), '--dir', join(folder, 'redis')]);
  }
  const tokens = readFileSync(new URL('redis-gateway-tokens.toml', import.meta.url), 'utf8')
    .replace('EDGE_TOKEN', secrets.edgeToken).replace('AUTH_TOKEN', secrets.authToken);
  writePrivate(join(folder, 'redis-gateway-tokens.toml'), tokens);
  const loopback = (/** @type {string} */ name) => `127.0.0.1:${ports[name]}`;
  servers.start('redis-gateway', gateway, ['--listen', loopback('gateway-port'), '--admin-listen',
    loopback('gateway-admin-port'), '--tokens-file', join(folder, 'redis-gateway-tokens.toml')], {
    REDIS_URL: redisUrl ?? `redis://${loopback('redis-port')}`,
  });
  await servers.waitFor('redis-gateway', `${url('gateway-admin-port')}/readyz`, (code) => code === 200, 20_000);
  const settings = {
    AUTH_LISTEN: loopback('auth-port'),
    AUTH_ADMIN_LISTEN: loopback('auth-admin-port'),
    CONSOLE_LISTEN: loopback('console-port'),
    DATABASE_URL: `sqlite://${join(folder, 'auth.db')}`,
    ISSUER: url('port'),
    AUDIENCE: audience(readFileSync('portcullis.toml', 'utf8')),
    STORE_URL: url('gateway-port'),
    STORE_TOKEN: secrets.authToken,
    RECORD_ENCRYPTION_KEY: secrets.recordEncryptionKey,
    EDGE_AUTH_KEY: secrets.edgeAuthKey,
    MASTER_KEY: secrets.masterKey,
    INTROSPECTION_CLIENTS: `edge=${secrets.introspectionSecret}`,
  };
  await addUser(auth, settings, 'alice', 'api:read api:write', secrets.password);
  await addUser(auth, settings, 'operator', OPERATOR_SCOPE, secrets.password);
  servers.start('auth', auth, ['serve'], settings);
  await servers.waitFor('auth', `${url('auth-admin-port')}/readyz`, (code) => code === 200, 20_000);
  await servers.waitFor('upstream', `${url('upstream-port')}/`, (code) => code === 200, 20_000);
}

/**
 * Adds a user, unless the database has it.
 * @param {string} auth
 * @param {Record<string, string>} settings
 * @param {string} username
 * @param {string} scope
 * @param {string} password
 */
function addUser(auth, settings, username, scope, password) {
  const child = spawn(auth, ['user', 'add', '--username', username, '--scope', scope], {
    env: { ...process.env, ...settings },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  // A program that ends early is reported by its status.
  child.stdin.on('error', () => {});
  child.stdin.end(password);
  let text = '';
  child.stdout.on('data', (part) => { text += part; });
  return new Promise((done, fail) => {
    child.on('error', fail);
    child.on('close', (code) => {
      if (code === 0 || text.includes('exists already')) done(undefined);
      else fail(new UsageError(`the user ${username} cannot be added:\n${text}`));
    });
  });
}

/**
 * @param {(name: string) => string} url
 * @param {import('./state.mjs').Secrets} secrets
 * @param {boolean} hasEdge
 */
function welcome(url, secrets, hasEdge) {
  const edge = url('port');
  const next = hasEdge ? '' : '\nNow run the edge in another terminal: npx wrangler dev\n';
  return `
Portcullis is up. Ctrl-C stops it. Logs are in .portcullis/log/.

  edge      ${edge}
  auth      ${url('auth-port')} (metrics at ${url('auth-admin-port')}/metrics)
  console   ${url('console-port')} (as operator, with the password ${secrets.password})
  gateway   ${url('gateway-port')} (metrics at ${url('gateway-admin-port')}/metrics)
  upstream  ${url('upstream-port')} (a demo API)
${next}
Paste, in another terminal:

  curl -i -w '\\n' ${edge}/api/hello
  PAIR=$(curl -s ${edge}/auth/login -H 'content-type: application/json' \\
    -d '{"username":"alice","password":"${secrets.password}"}')
  TOKEN=$(echo "$PAIR" | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')
  curl -i -w '\\n' ${edge}/api/hello -H "authorization: Bearer $TOKEN"
  curl -i -w '\\n' -X POST ${edge}/auth/logout -H "authorization: Bearer $TOKEN"
  curl -i -w '\\n' ${edge}/api/hello -H "authorization: Bearer $TOKEN"
`;
}
