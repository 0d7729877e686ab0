// Runs signature vectors through the edge's own verification, src/js/crypto.js: as a Worker, or
// under node with the vectors on standard input. Each case is {algorithm, jwk, message, signature},
// the last two in hex. The result is true, false, or "key" if the platform can't import the key.
import { importKey, verify } from './crypto.js';

const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

async function judge({ algorithm, jwk, message, signature }) {
  let key;
  try {
    key = await importKey(algorithm, jwk, 'verify');
  } catch {
    return 'key';
  }
  return verify(algorithm, key, bytes(signature), bytes(message)).catch(() => false);
}

async function run(cases) {
  const verdicts = [];
  for (const each of cases) verdicts.push(await judge(each));
  return JSON.stringify(verdicts);
}

export default {
  async fetch(request) {
    return new Response(await run(await request.json()));
  },
};

if (globalThis.process?.argv?.[2] === '--stdin') {
  let text = '';
  for await (const chunk of process.stdin) text += chunk;
  process.stdout.write(await run(JSON.parse(text)));
}
