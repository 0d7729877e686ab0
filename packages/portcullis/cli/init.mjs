// `portcullis init`: a project of its own, with a policy that is valid.

import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { parseArgs } from 'node:util';
import { UsageError, parseOptions } from './error.mjs';
import { nameFault, oneOf, textFault, urlFault } from './faults.mjs';
import { execute } from './policy.mjs';
import { PROVIDERS, STORES, devVars, packageJson, policy, wranglerConfig } from './project.mjs';

const HELP = `Usage: portcullis init [FOLDER] [OPTION...]

Writes wrangler.jsonc, portcullis.toml, .dev.vars.example, .gitignore and package.json. Asks for what
the options do not say, if it runs in a terminal. Existing files are kept; package.json is completed.

  --name NAME             The Worker's name; the folder's by default
  --upstream URL          Your API
  --store STORE           ${Object.keys(STORES).join(', ')}
  --store-url URL         The store; see below
  --provider PROVIDER     ${Object.keys(PROVIDERS).join(', ')}
  --auth-url URL          bundled: the auth service
  --issuer URL            The tokens' iss; bundled: your API's own URL
  --audience TEXT         The tokens' aud
  --jwks-url URL          jwt: the key set; by default ISSUER/.well-known/jwks.json
  --algorithm NAME        jwt: the one algorithm of the keys; RS256 by default
  --introspection-url URL opaque: the introspection endpoint (RFC 7662)
  --client-id TEXT        opaque: your client at the provider

Stores: ${Object.entries(STORES).map(([name, { about }]) => `\n  ${name.padEnd(10)} ${about}`).join('')}
Providers: ${Object.entries(PROVIDERS).map(([name, { about }]) => `\n  ${name.padEnd(10)} ${about}`).join('')}
`;

/**
 * What a project is made of.
 * @typedef {{
 *   name: string, upstream: string, store: keyof typeof STORES, storeUrl: string,
 *   provider: keyof typeof PROVIDERS, authUrl: string, issuer: string, audience: string,
 *   jwksUrl: string, algorithm: string, introspectionUrl: string, clientId: string,
 * }} Answers
 */

/** @param {string[]} words */
export async function init(words) {
  const { values, positionals } = parseOptions(() => parseArgs({
    args: words,
    allowPositionals: true,
    options: {
      help: { type: 'boolean', short: 'h' },
      ...Object.fromEntries(TEXTS.map((name) => [name, { type: /** @type {const} */ ('string') }])),
    },
  }));
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (positionals.length > 1) throw new UsageError('give one folder at most');
  const folder = resolve(positionals[0] ?? '.');
  const answers = await complete(/** @type {Record<string, string>} */ (values), folder);
  const files = {
    'portcullis.toml': policy(answers),
    'wrangler.jsonc': wranglerConfig(answers),
    '.dev.vars.example': devVars(answers),
    '.gitignore': '/node_modules/\n/build/\n/.wrangler/\n/.portcullis/\n/.dev.vars\n',
  };
  const taken = ['portcullis.toml', 'wrangler.jsonc', 'wrangler.json', 'wrangler.toml']
    .filter((name) => existsSync(join(folder, name)));
  if (taken.length > 0) {
    throw new UsageError(`${folder} has ${taken.join(' and ')} already; choose another folder, or remove the file`);
  }
  mkdirSync(folder, { recursive: true });
  // It is read first, since it may be wrong: nothing is written then.
  const packageText = completedPackageJson(folder, answers.name);
  for (const [name, text] of Object.entries(files)) {
    if (!existsSync(join(folder, name))) writeFileSync(join(folder, name), text);
  }
  completeGitignore(join(folder, '.gitignore'), files['.gitignore']);
  writeFileSync(join(folder, 'package.json'), packageText);
  const check = execute([
    'check', join(folder, 'portcullis.toml'), '--wrangler', join(folder, 'wrangler.jsonc'),
  ]);
  process.stdout.write(check.text);
  if (check.status !== 0) return check.status;
  process.stdout.write(nextSteps(folder, answers));
  return 0;
}

/**
 * Returns all answers: of the options, of a person at a terminal, or by default.
 * @param {Record<string, string | undefined>} given
 * @param {string} folder
 * @returns {Promise<Answers>}
 */
async function complete(given, folder) {
  const terminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
  const prompt = terminal ? createInterface({ input: process.stdin, output: process.stdout }) : undefined;
  /** @type {string[]} */
  const faults = [];
  /**
   * @param {string} name
   * @param {string} question
   * @param {string} fallback
   * @param {(text: string) => string | undefined} fault
   */
  const answer = async (name, question, fallback, fault) => {
    let text = given[name];
    while (prompt && text === undefined) {
      const typed = (await prompt.question(`${question} [${fallback}] `).catch(stopped)).trim() || fallback;
      const wrong = fault(typed);
      if (wrong) process.stdout.write(`  ${wrong}\n`);
      else text = typed;
    }
    text ??= fallback;
    const wrong = fault(text);
    if (wrong) faults.push(`--${name}: ${wrong}`);
    return text;
  };
  const safe = basename(folder).toLowerCase().replace(/[^a-z0-9-]+/g, '-').replace(/^-+|-+$/g, '');
  const name = await answer('name', 'Name of the Worker?', safe || 'gate', nameFault);
  const upstream = await answer('upstream', 'URL of your API?', 'https://api.internal.example', urlFault);
  const store = await answer('store', `Store (${Object.keys(STORES).join(', ')})?`, 'upstash', oneOf(STORES));
  const known = Object.entries(STORES).find(([name]) => name === store)?.[1] ?? STORES.upstash;
  const storeUrl = await answer('store-url', 'URL of the store?', known.url, known.fault);
  const provider = await answer(
    'provider', `Who issues the tokens (${Object.keys(PROVIDERS).join(', ')})?`, 'bundled', oneOf(PROVIDERS),
  );
  const of = (/** @type {string} */ wanted) => provider === wanted;
  const authUrl = of('bundled')
    ? await answer('auth-url', 'URL of the auth service?', 'https://auth.internal.example', urlFault) : '';
  const issuer = await answer('issuer', 'Issuer (iss) of the tokens?', 'https://api.example', urlFault);
  const audience = await answer('audience', 'Audience (aud) of the tokens?', 'https://api.example', textFault);
  const jwksUrl = of('jwt')
    ? await answer('jwks-url', 'URL of the key set?', `${issuer.replace(/\/$/, '')}/.well-known/jwks.json`, urlFault) : '';
  const algorithm = of('jwt')
    ? await answer('algorithm', 'Algorithm of the keys?', 'RS256', oneOf(ALGORITHMS)) : '';
  const introspectionUrl = of('opaque')
    ? await answer('introspection-url', 'URL of the introspection endpoint?', `${issuer.replace(/\/$/, '')}/oauth2/introspect`, urlFault) : '';
  const clientId = of('opaque')
    ? await answer('client-id', 'Your client id at the provider?', 'edge', textFault) : '';
  prompt?.close();
  if (faults.length > 0) throw new UsageError(faults.join('\n       '));
  return {
    name, upstream, store: /** @type {Answers['store']} */ (store), storeUrl,
    provider: /** @type {Answers['provider']} */ (provider), authUrl, issuer, audience, jwksUrl,
    algorithm, introspectionUrl, clientId,
  };
}

/**
 * Ctrl-C and Ctrl-D end the questions.
 * @returns {never}
 */
function stopped() {
  throw new UsageError('stopped; nothing was written');
}

/**
 * Adds to .gitignore the lines that it lacks: some of the files hold secrets.
 * @param {string} path
 * @param {string} wanted
 */
function completeGitignore(path, wanted) {
  const present = readFileSync(path, 'utf8').split(/\r?\n/);
  const missing = wanted.split('\n').filter((line) => line && !present.includes(line));
  if (missing.length > 0) appendFileSync(path, `\n${missing.join('\n')}\n`);
}

/**
 * Returns package.json with what the project needs. What is there stays.
 * @param {string} folder
 * @param {string} name
 */
function completedPackageJson(folder, name) {
  const path = join(folder, 'package.json');
  /** @type {Record<string, Record<string, string>>} */
  let found = {};
  if (existsSync(path)) {
    try {
      found = JSON.parse(readFileSync(path, 'utf8'));
    } catch (error) {
      throw new UsageError(`${path} is not JSON: ${/** @type {Error} */ (error).message}`);
    }
  }
  const wanted = packageJson(name);
  const has = (/** @type {string} */ dependency) => Boolean(
    found.dependencies?.[dependency] ?? found.devDependencies?.[dependency],
  );
  const missing = Object.entries(wanted.devDependencies).filter(([dependency]) => !has(dependency));
  // Scripts of an older project may need its own `type`.
  const completed = {
    ...(existsSync(path) ? found : { ...wanted, ...found }),
    scripts: { ...wanted.scripts, ...found.scripts },
    devDependencies: { ...found.devDependencies, ...Object.fromEntries(missing) },
  };
  return `${JSON.stringify(completed, null, 2)}\n`;
}

/**
 * @param {string} folder
 * @param {Answers} answers
 */
function nextSteps(folder, answers) {
  const secrets = PROVIDERS[answers.provider].secrets.concat(STORES[answers.store].secrets);
  const put = secrets.map((name) => `  npx wrangler secret put ${name}\n`).join('');
  const bundled = answers.provider === 'bundled'
    ? '  npx portcullis dev             # all of it on this machine, with a demo user and a demo API\n'
    : '  cp .dev.vars.example .dev.vars && npx wrangler dev\n';
  return `
The project is in ${folder}. Next, in that folder:

  npm install
${bundled}
To deploy, set the variables in wrangler.jsonc, then:

  npx wrangler login
${put}  npx wrangler deploy
`;
}

const ALGORITHMS = Object.fromEntries(
  ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'].map((name) => [name, true]),
);

/** The options that take a text. */
const TEXTS = [
  'name', 'upstream', 'store', 'store-url', 'provider', 'auth-url', 'issuer', 'audience', 'jwks-url',
  'algorithm', 'introspection-url', 'client-id',
];
