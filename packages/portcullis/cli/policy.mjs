// The policy tools: check, explain and diff.

import { readFileSync } from 'node:fs';
import { run } from '../policy/portcullis_policy_node.js';
import { verifySignature } from '../signature.mjs';

/**
 * Runs a command of the policy tools. Returns what it prints and its exit status.
 * @param {string[]} words
 */
export function execute(words) {
  return run(
    ['portcullis', ...words],
    (/** @type {string} */ path) => readFileSync(path, 'utf8'),
    verifySignature,
    Math.floor(Date.now() / 1000),
    process.stdout.isTTY === true,
  );
}

/**
 * Runs a command of the policy tools, and prints what it says. Returns the exit status.
 * @param {string[]} words
 */
export function runPolicyTools(words) {
  const { text, status } = execute(words);
  (status === 2 ? process.stderr : process.stdout).write(text);
  return status;
}
