// Runs suites of the console's tests against a running system.
//
//   FACTS=stack.json [SHOTS=folder] node run.mjs SUITE [SUITE ...]
//
// FACTS has the members of `cargo xtask stack --json`, and those that a suite asks for.
import { readFile } from 'node:fs/promises';
import { start } from './harness.mjs';

const facts = JSON.parse(await readFile(process.env.FACTS, 'utf8'));
const suites = process.argv.slice(2);
if (suites.length === 0) throw new Error('no suite; name files of this folder, such as screens');
for (const name of suites) {
  const begun = Date.now();
  const { default: suite } = await import(new URL(`./${name}.mjs`, import.meta.url));
  const harness = await start(facts, { shots: process.env.SHOTS });
  try {
    await suite(harness);
  } finally {
    await harness.close();
  }
  console.log(`${name}: passed in ${((Date.now() - begun) / 1000).toFixed(1)} s`);
}
