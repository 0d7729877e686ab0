// The programs that `portcullis dev` runs, and what to do where they are missing.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';

/**
 * Returns the path of a program: from the folder PORTCULLIS_BINARIES, from this platform's package,
 * or from PATH.
 * @param {string} name
 */
export function find(name) {
  const folders = [process.env.PORTCULLIS_BINARIES, platformFolder(), ...(process.env.PATH ?? '').split(delimiter)];
  return folders.filter((folder) => folder !== undefined && folder !== '')
    .map((folder) => join(/** @type {string} */ (folder), name)).find(existsSync);
}

/** Returns the project's wrangler, or that of PATH. */
export function findWrangler() {
  const own = join(process.cwd(), 'node_modules/.bin/wrangler');
  return existsSync(own) ? own : find('wrangler');
}

/** Returns the folder of the programs in this platform's package, if that is installed. */
function platformFolder() {
  try {
    const packageJson = `portcullis-${process.platform}-${process.arch}/package.json`;
    return join(dirname(createRequire(import.meta.url).resolve(packageJson)), 'bin');
  } catch {
    return undefined;
  }
}

/**
 * Returns what to do about programs that are missing; empty if none is.
 * @param {string[]} names
 */
export function missing(names) {
  if (names.length === 0) return '';
  const lines = names.map((name) => `\n  ${name}: ${FIXES[name]}`);
  return `portcullis dev needs programs that are not here:${lines.join('')}`;
}

const PLATFORM = `${process.platform}-${process.arch}`;

const BUILD = `${['linux-arm64', 'linux-x64'].includes(PLATFORM)
  ? `it is in the package portcullis-${PLATFORM}: install its archive, as you installed that of portcullis; or`
  : `there is no package of it for ${PLATFORM};`} build it from the sources with cargo build --release -p PROGRAM, \
and name its folder in PORTCULLIS_BINARIES`;

/** @type {Record<string, string>} */
const FIXES = {
  'redis-server': 'install Redis (apt install redis-server, or brew install redis), or give --redis-url',
  'portcullis-redis-gateway': BUILD.replace('PROGRAM', 'portcullis-redis-gateway'),
  'portcullis-auth': BUILD.replace('PROGRAM', 'portcullis-auth'),
  wrangler: 'npm install --save-dev wrangler',
};
