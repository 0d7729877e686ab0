#!/usr/bin/env node
// The command line of the package. check, explain and diff run the edge's own code, compiled to
// Wasm.

import { readFileSync } from 'node:fs';
import { build } from './cli/build.mjs';
import { dev } from './cli/dev.mjs';
import { UsageError } from './cli/error.mjs';
import { init } from './cli/init.mjs';
import { runPolicyTools } from './cli/policy.mjs';

const HELP = `Usage: portcullis COMMAND [OPTION...]

  init      Write wrangler.jsonc, portcullis.toml and the rest of a project
  build     Validate the policy and write the Worker into build/
  dev       Run the whole system on this machine
  check     Find all errors of a policy file, and what it risks
  explain   Say what the edge would do with a request, and why
  diff      Say what changes between two policy files, what is weaker first

portcullis COMMAND --help has the options of a command.
`;

/** @type {Record<string, (words: string[]) => number | Promise<number>>} */
const COMMANDS = {
  build,
  dev,
  init,
  check: (words) => runPolicyTools(['check', ...words]),
  diff: (words) => runPolicyTools(['diff', ...words]),
  explain: (words) => runPolicyTools(['explain', ...words]),
};

const [name = '--help', ...words] = process.argv.slice(2);
if (name === '--help' || name === '-h' || name === 'help') {
  process.stdout.write(HELP);
} else if (name === '--version' || name === '-V') {
  const { version } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));
  process.stdout.write(`portcullis ${version}\n`);
} else {
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  try {
    if (!command) throw new UsageError(`unknown command ${name}; portcullis --help lists them`);
    process.exitCode = await command(words);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`error: ${error.message}\n`);
    process.exitCode = 2;
  }
}
