// Mints the tokens of tests/e2e/it/clients/providers.rs, and verifies each with jose. Reads the
// description on standard input: the keys of each set, and each token's set, header and claims.
import { randomBytes } from 'node:crypto';
import * as jose from 'jose';

const LEEWAY_SECONDS = 30;

let text = '';
for await (const chunk of process.stdin) text += chunk;
const { sets, tokens } = JSON.parse(text);

/** Generates a key for each algorithm, which is in no set. */
async function generateOthers() {
  const algorithms = new Set(Object.values(sets).flat().map(({ alg }) => alg));
  const pair = async (alg) => [alg, await jose.generateKeyPair(alg, { extractable: true })];
  return Object.fromEntries(await Promise.all([...algorithms].map(pair)));
}

async function generate(keys) {
  const pair = async ({ kid, alg }) => [kid, await jose.generateKeyPair(alg, { extractable: true })];
  return Object.fromEntries(await Promise.all(keys.map(pair)));
}

async function publish(keys, pairs) {
  return Promise.all(keys.map(async ({ kid, alg, members }) => {
    return { ...await jose.exportJWK(pairs[kid].publicKey), kid, alg, use: 'sig', ...members };
  }));
}

const others = await generateOthers();
const pairs = {};
const jwks = {};
const pem = {};
await Promise.all(Object.entries(sets).map(async ([name, keys]) => {
  pairs[name] = await generate(keys);
  jwks[name] = { keys: await publish(keys, pairs[name]) };
  pem[name] = await jose.exportSPKI(pairs[name][keys[0].kid].publicKey);
}));

const encode = (value) => jose.base64url.encode(JSON.stringify(value));

async function mint({ set, form, header, claims }) {
  if (form === 'opaque') return randomBytes(32).toString('base64url');
  if (form === 'unsigned') return `${encode({ ...header, alg: 'none' })}.${encode(claims)}.`;
  if (form === 'jwe') {
    const encrypted = new jose.EncryptJWT(claims);
    const own = { alg: 'dir', enc: 'A256GCM', iss: claims.iss };
    return encrypted.setProtectedHeader(own).encrypt(randomBytes(32));
  }
  const signed = new jose.SignJWT(claims).setProtectedHeader(header);
  // The published key as a shared secret is the classical attack.
  if (header.alg.startsWith('HS')) return signed.sign(new TextEncoder().encode(pem[set]));
  const pair = form === 'forged' ? others[header.alg] : pairs[set][header.kid];
  return signed.sign(pair.privateKey);
}

/** Returns null, or the code of jose's refusal, for options that say what the policy says. */
async function judge(token, { set, judge: { issuer, audience, algorithms } }) {
  const options = { issuer, algorithms, clockTolerance: LEEWAY_SECONDS, requiredClaims: ['exp', 'sub'] };
  if (audience) options.audience = audience;
  try {
    await jose.jwtVerify(token, jose.createLocalJWKSet(jwks[set]), options);
    return null;
  } catch (error) {
    return error.code ?? String(error);
  }
}

const minted = [];
const verdicts = [];
for (const described of tokens) {
  const token = await mint(described);
  minted.push(token);
  verdicts.push(await judge(token, described));
}
process.stdout.write(JSON.stringify({ jwks, pem, tokens: minted, verdicts }));
