// The documentation's site: `npm ci && npx vitepress build` in docs/, or `cargo xtask test lint`.
import { cpSync, mkdirSync, statSync } from 'node:fs';
import { dirname, join, normalize, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const DOCS = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const ROOT = resolve(DOCS, '..');
/** Files that pages link to, and that are no pages. They are copied below /source/. */
const linked = new Set();

/** Makes the same anchors as GitHub, so that a link works in both places. */
function slugify(heading) {
  return heading.trim().toLowerCase().replace(/[^\p{L}\p{N}\p{M}_\- ]/gu, '').replaceAll(' ', '-');
}

/** Returns the address of a copy: a browser shows Markdown and TOML only as plain text. */
function address(name) {
  return /\.(md|toml)$/.test(name) ? `/source/${name}.txt` : `/source/${name}`;
}

/** Lets links to files that are no pages lead to copies of them. */
function linkSources(md) {
  md.core.ruler.push('link-sources', ({ tokens, env }) => {
    for (const token of tokens.flatMap((block) => block.children ?? [])) {
      const href = token.type === 'link_open' ? (token.attrGet('href') ?? '') : '';
      const path = href.split('#')[0];
      if (path === '' || /^[a-z]+:|^\//.test(href)) continue;
      const file = normalize(join(DOCS, dirname(env.relativePath), path));
      const isPage = file.startsWith(`${DOCS}/`) && file.endsWith('.md');
      if (isPage || !file.startsWith(`${ROOT}/`) || !statSync(file, { throwIfNoEntry: false })?.isFile()) continue;
      const name = relative(ROOT, file);
      linked.add(name);
      token.attrSet('href', address(name));
      token.attrSet('target', '_blank');
    }
  });
  // Indented code is shown as it is, also where it looks like a template.
  const code = md.renderer.rules.code_block;
  md.renderer.rules.code_block = (...of) => code(...of).replace('<pre', '<pre v-pre');
  const inline = md.renderer.rules.code_inline;
  md.renderer.rules.code_inline = (...of) => inline(...of).replace('<code', '<code v-pre');
}

const page = (text, link) => ({ text, link });

export default {
  title: 'Portcullis',
  description: 'An API gate at the edge whose revocations land.',
  outDir: '../target/docs',
  cacheDir: '../target/docs-cache',
  srcExclude: ['node_modules/**'],
  metaChunk: true,
  markdown: { anchor: { slugify }, toc: { slugify }, config: linkSources },
  buildEnd({ outDir }) {
    for (const name of linked) {
      const to = join(outDir, address(name));
      mkdirSync(dirname(to), { recursive: true });
      cpSync(join(ROOT, name), to);
    }
  },
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [
      page('Tutorial', '/tutorial'),
      page('How-to', '/how-to/put-in-front-of-an-api'),
      page('Reference', '/configuration'),
      page('Explanation', '/explanation/life-of-a-request'),
    ],
    sidebar: [
      {
        text: 'Tutorial',
        items: [
          page('Refuse a revoked token', '/tutorial'),
          page('A key for a machine', '/tutorial-machines'),
        ],
      },
      {
        text: 'How-to',
        items: [
          page('Put it in front of an API', '/how-to/put-in-front-of-an-api'),
          page('Deploy without Rust', '/how-to/deploy-without-rust'),
          page('Use the gate as a library', '/how-to/use-as-a-library'),
          page('Choose a store', '/how-to/choose-a-store'),
          page('Use your identity provider', '/identity-providers'),
          page('Let the provider revoke', '/how-to/revoke-from-the-provider'),
          page('Limits and plans', '/how-to/limits-and-plans'),
          page('API keys', '/how-to/api-keys'),
          page('See who uses what', '/how-to/usage'),
          page('Ask for another login', '/how-to/step-up'),
          page('Protect several APIs', '/how-to/protect-several-apis'),
          page('Let machines get tokens', '/how-to/machine-clients'),
          page('Browsers and cookies', '/how-to/browsers-and-cookies'),
          page('Go live', '/how-to/go-live'),
          page('Run in containers', '/how-to/run-in-containers'),
          page('Run on Kubernetes', '/how-to/run-on-kubernetes'),
          page('Block a caller, or change a quota', '/how-to/block-and-adjust'),
          page('Operate by the console', '/how-to/console'),
          page('Monitor it', '/how-to/monitor'),
          page('What to do about an alert', '/how-to/alerts'),
          page('Read the logs at 3 a.m.', '/how-to/read-the-logs'),
          page('Troubleshooting', '/how-to/troubleshooting'),
          page('Rotate every key and secret', '/how-to/rotate-keys'),
          page('Back up and restore', '/how-to/back-up-and-restore'),
          page('Upgrade', '/how-to/upgrade'),
          page('Check, explain and compare policies', '/policy-tools'),
        ],
      },
      {
        text: 'Reference',
        items: [
          page('Every setting', '/configuration'),
          page('Every code', '/errors'),
          page('The auth service’s API', '/reference/auth-api'),
          page('The console’s API', '/reference/console-api'),
          page('The tokens of each provider', '/reference/provider-tokens'),
          page('Headers', '/reference/headers'),
          page('The edge’s log', '/reference/access-log'),
          page('Log events', '/reference/log-events'),
          page('Metrics', '/reference/metrics'),
          page('The console’s screens', '/reference/console'),
          page('What is stored', '/storage'),
          page('The redis gateway', '/redis-gateway'),
        ],
      },
      {
        text: 'Explanation',
        items: [
          page('The life of a request', '/explanation/life-of-a-request'),
          page('The life of a session', '/explanation/life-of-a-session'),
          page('What the revocation bound means', '/explanation/revocation'),
          page('If Redis dies, choose', '/explanation/when-redis-dies'),
          page('Threat model', '/explanation/threat-model'),
          page('Why one trip', '/explanation/why-one-trip'),
          page('What holds when something fails', '/reliability'),
          page('Performance', '/performance'),
          page('Decisions', '/decisions'),
          page('Glossary', '/explanation/glossary'),
        ],
      },
    ],
  },
};
