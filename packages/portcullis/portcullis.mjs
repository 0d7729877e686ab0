#!/usr/bin/env node
// The command line of the policy tools: check, explain and diff.
import { readFileSync } from 'node:fs';
import { run } from './portcullis_policy_node.js';
import { verifySignature } from './signature.mjs';

const { text, status } = run(
  ['portcullis', ...process.argv.slice(2)],
  (path) => readFileSync(path, 'utf8'),
  verifySignature,
  Math.floor(Date.now() / 1000),
  process.stdout.isTTY === true,
);
(status === 2 ? process.stderr : process.stdout).write(text);
process.exitCode = status;
