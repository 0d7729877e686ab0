// `portcullis build`: what `wrangler dev` and `wrangler deploy` run first.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { workerModule } from '../policy/portcullis_policy_node.js';
import { UsageError, parseOptions } from './error.mjs';
import { execute } from './policy.mjs';

const HELP = `Usage: portcullis build [--project FOLDER] [--wrangler FILE]

Validates portcullis.toml for each of its environments, with the variables of wrangler's
configuration, and writes the Worker into build/. An invalid policy is not built.

  --project FOLDER   The folder with portcullis.toml; the current one by default
  --wrangler FILE    wrangler's configuration; by default the first of wrangler.json, wrangler.jsonc
                     and wrangler.toml in that folder
`;

/** @param {string[]} words */
export function build(words) {
  const { values } = parseOptions(() => parseArgs({
    args: words,
    options: {
      help: { type: 'boolean', short: 'h' },
      project: { type: 'string', default: '.' },
      wrangler: { type: 'string' },
    },
  }));
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const file = join(values.project, 'portcullis.toml');
  const wrangler = values.wrangler ?? WRANGLER_FILES.map((name) => join(values.project, name)).find(existsSync);
  if (!wrangler) {
    throw new UsageError(`no wrangler.jsonc in ${values.project}; run portcullis init, or give --wrangler FILE`);
  }
  const { text, status } = execute(['check', file, '--wrangler', wrangler]);
  if (status !== 0) {
    process.stderr.write(status === 2 ? text : `the policy is invalid:\n${text}`);
    return 1;
  }
  const folder = join(values.project, 'build');
  mkdirSync(folder, { recursive: true });
  for (const name of WORKER_FILES) {
    writeIfChanged(join(folder, name), readFileSync(new URL(`../worker/${name}`, import.meta.url)));
  }
  const module = workerModule(readFileSync(file, 'utf8'));
  writeIfChanged(join(folder, 'policy.js'), Buffer.from(module));
  return 0;
}

/**
 * Writes a file, unless it holds the same: an untouched file starts no reload.
 * @param {string} path
 * @param {Buffer} content
 */
function writeIfChanged(path, content) {
  if (existsSync(path) && readFileSync(path).equals(content)) return;
  writeFileSync(path, content);
}

/** The Worker as it was built for the package; `policy.js` is the project's own. */
const WORKER_FILES = ['index.js', 'index_bg.wasm'];

/** The configuration files of wrangler, in its order. */
export const WRANGLER_FILES = ['wrangler.json', 'wrangler.jsonc', 'wrangler.toml'];
