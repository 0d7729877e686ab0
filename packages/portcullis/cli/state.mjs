// What `portcullis dev` keeps between its runs: secrets, and the variables for wrangler.

import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from './error.mjs';

/**
 * @typedef {{
 *   edgeToken: string, authToken: string, introspectionSecret: string, recordEncryptionKey: string,
 *   edgeAuthKey: string, masterKey: string, password: string,
 * }} Secrets
 */

/**
 * Returns the secrets of this project's system, and makes them the first time.
 * @param {string} folder
 * @returns {Secrets}
 */
export function readSecrets(folder) {
  const path = join(folder, 'secrets.json');
  if (existsSync(path)) {
    try {
      const held = JSON.parse(readFileSync(path, 'utf8'));
      if (NAMES.every((name) => typeof held[name] === 'string')) return held;
    } catch {
      // It is replaced, as below.
    }
  }
  // The database has a user with the older password, and keys under the older master key.
  for (const name of ['auth.db', 'auth.db-wal', 'auth.db-shm']) rmSync(join(folder, name), { force: true });
  const text = () => randomBytes(24).toString('hex');
  const key = () => randomBytes(32).toString('base64');
  const secrets = {
    edgeToken: text(),
    authToken: text(),
    introspectionSecret: text(),
    recordEncryptionKey: `dev:${key()}`,
    edgeAuthKey: key(),
    masterKey: `dev:${key()}`,
    password: text(),
  };
  writePrivate(path, JSON.stringify(secrets));
  return secrets;
}

/**
 * Writes the variables that the policy names, and the secrets, where `wrangler dev` reads them.
 * @param {string} policy
 * @param {Record<string, string>} variables
 */
export function writeDevVars(policy, variables) {
  if (existsSync('.dev.vars') && !readFileSync('.dev.vars', 'utf8').startsWith(MARK)) {
    throw new UsageError('.dev.vars is your own; portcullis dev would replace it. Move it away first');
  }
  /** @param {string} name */
  const isUsed = (name) => SECRETS.includes(name) || policy.includes(`\${${name}}`);
  const lines = Object.entries(variables).filter(([name]) => isUsed(name)).map(([name, value]) => `${name}='${value}'\n`);
  writePrivate('.dev.vars', `${MARK}\n${lines.join('')}`);
}

/**
 * Returns the audience that the policy asks of tokens.
 * @param {string} policy
 */
export function audience(policy) {
  return /^\s*audience\s*=\s*"([^"]*)"/m.exec(policy)?.[1] ?? 'https://api.example';
}

/**
 * Writes a file that others cannot read. It is there as a whole, or not at all.
 * @param {string} path
 * @param {string} text
 */
export function writePrivate(path, text) {
  const next = `${path}.next`;
  writeFileSync(next, text, { mode: 0o600 });
  chmodSync(next, 0o600);
  renameSync(next, path);
}

const NAMES = [
  'edgeToken', 'authToken', 'introspectionSecret', 'recordEncryptionKey', 'edgeAuthKey', 'masterKey', 'password',
];
const SECRETS = ['STORE_TOKEN', 'INTROSPECTION_SECRET', 'RECORD_ENCRYPTION_KEY', 'EDGE_AUTH_KEY'];
const MARK = '# Written by portcullis dev.';
