// Runs clients/js in a real browser, in several tabs, against a running system. The pages are
// served through the edge.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';

const { EDGE_URL, AUTH_ADMIN_URL, PAGE_PORT, STACK_USERNAME, STACK_PASSWORD } = process.env;
const library = await readFile(new URL('../../../clients/js/index.js', import.meta.url));

// The upstream of the pages' route.
const pages = createServer((request, response) => {
  if (request.url === '/page/client.js') {
    response.setHeader('content-type', 'text/javascript');
    response.end(library);
    return;
  }
  response.setHeader('content-type', 'text/html');
  response.end(`<!doctype html><link rel="icon" href="data:,"><script type="module">
    import { Session, SessionError } from './client.js';
    // Delays what other tabs write to the storage and send on the channel.
    const lateStorage = (ms) => {
      const seen = new Map();
      addEventListener('storage', ({ key, newValue }) => setTimeout(() => seen.set(key, newValue), ms));
      const getItem = (name) => {
        if (!seen.has(name)) seen.set(name, localStorage.getItem(name));
        return seen.get(name);
      };
      const setItem = (name, value) => { seen.set(name, value); localStorage.setItem(name, value); };
      const removeItem = (name) => { seen.set(name, null); localStorage.removeItem(name); };
      return { getItem, setItem, removeItem };
    };
    const lateChannel = (ms) => class extends BroadcastChannel {
      postMessage(data) { setTimeout(() => super.postMessage(data), ms); }
    };
    window.begin = ({ lateMs, ...options }) => {
      if (lateMs) {
        options.storage = lateStorage(lateMs);
        window.BroadcastChannel = lateChannel(lateMs);
      }
      window.events = [];
      window.session = new Session({ aheadSeconds: 2, ...options });
      for (const name of ['renewed', 'ended']) {
        session.addEventListener(name, (event) => events.push(event.detail?.code ?? name));
      }
    };
    window.call = async (path = '/api/hello', init) => (await session.fetch(path, init)).status;
    window.ready = true;
  </script>`);
});
await new Promise((resolve) => pages.listen(Number(PAGE_PORT), '127.0.0.1', resolve));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});

async function refreshes() {
  const text = await (await fetch(`${AUTH_ADMIN_URL}/metrics`)).text();
  const line = text.split('\n').find((one) => one.includes('endpoint="refresh",outcome="done"'));
  return Number(line?.split(' ').at(-1) ?? 0);
}

// Opens tabs of a new browser, and records their requests to the edge.
async function tabs(count, options) {
  const context = await browser.newContext();
  const asked = [];
  const all = [];
  for (let place = 0; place < count; place += 1) {
    const tab = await context.newPage();
    tab.on('response', (response) => asked.push(`${new URL(response.url()).pathname} ${response.status()}`));
    await tab.goto(`${EDGE_URL}/page/`);
    await tab.waitForFunction(() => window.ready);
    await tab.evaluate((given) => window.begin(given), options);
    all.push(tab);
  }
  return { context, asked, all };
}

// Logs in with the first tab, and waits until the others have been told.
async function login(all) {
  await all[0].evaluate(([name, word]) => window.session.login(name, word), [STACK_USERNAME, STACK_PASSWORD]);
  for (const tab of all) await tab.waitForFunction(() => window.session.active);
}

const call = (tab, ...rest) => tab.evaluate((args) => window.call(...args), rest);
const among = (asked, text) => asked.filter((one) => one.startsWith(text)).length;

for (const cookie of [true, false]) {
  const way = cookie ? 'by cookie' : 'by storage';
  {
    // Access tokens live for 6 s here, and are refreshed 2 s before they expire.
    const { context, asked, all } = await tabs(3, { cookie });
    assert.equal(await call(all[0]), 401, 'no user is logged in');
    await login(all);
    const before = await refreshes();
    const begun = Date.now();
    while (Date.now() - begun < 11_000) {
      const statuses = await Promise.all(all.map((tab) => call(tab)));
      assert.deepEqual(statuses, [200, 200, 200], way);
      await new Promise((resolve) => { setTimeout(resolve, 150); });
    }
    const done = await refreshes() - before;
    assert.equal(among(asked, '/api/hello 401'), 1, 'but for the first, none was late');
    assert.ok(done >= 2 && done <= 3, `${way}: ${done} refreshes for three tabs in 11 s`);
    // The parts that scripts can read.
    const reach = await all[1].evaluate(() => JSON.stringify([localStorage, document.cookie]));
    assert.equal(reach.includes('pcr_'), !cookie, reach);
    if (cookie) assert.ok(!reach.includes('eyJ'), reach);

    // A token that ends early: the request is sent again, with its body.
    const token = await all[0].evaluate(() => window.session.token());
    const form = new URLSearchParams({ token });
    assert.equal((await fetch(`${EDGE_URL}/oauth/revoke`, { method: 'POST', body: form })).status, 200);
    asked.length = 0;
    const posted = { method: 'POST', body: 'once' };
    assert.equal(await call(all[0], '/api/hello', posted), 200);
    assert.deepEqual(asked.filter((one) => one.startsWith('/api')), ['/api/hello 401', '/api/hello 200']);
    assert.deepEqual(await Promise.all(all.map((tab) => call(tab))), [200, 200, 200]);

    // Another origin does not receive the token.
    await assert.rejects(call(all[0], 'http://127.0.0.1:1/'), /not one of the session's origins/);

    await all[1].evaluate(() => window.session.logout());
    await all[2].waitForFunction(() => window.events.includes('logout'));
    await all[0].waitForFunction(() => window.events.includes('logout'));
    assert.deepEqual(await Promise.all(all.map((tab) => call(tab))), [401, 401, 401]);
    await context.close();
  }
  {
    // All tabs find their token expired at once, and receive another tab's token late.
    const { context, asked, all } = await tabs(6, { cookie, lateMs: 150, aheadSeconds: 0 });
    await login(all);
    assert.deepEqual(await Promise.all(all.map((tab) => call(tab))), all.map(() => 200));
    const token = await all[0].evaluate(() => window.session.token());
    await fetch(`${EDGE_URL}/oauth/revoke`, { method: 'POST', body: new URLSearchParams({ token }) });
    asked.length = 0;
    // The response is so slow that all tabs ask for the lock meanwhile.
    await context.route('**/auth/refresh', async (route) => {
      await new Promise((resolve) => { setTimeout(resolve, 500); });
      await route.continue();
    });
    const begun = Date.now();
    assert.deepEqual(await Promise.all(all.map((tab) => call(tab))), all.map(() => 200));
    assert.equal(among(asked, '/auth/refresh'), 1, `${way}: one for all`);
    const tookMs = Date.now() - begun;
    assert.ok(tookMs < 4000, `${way}: ${tookMs} ms, as if each waited for the one before it`);
    await context.close();
  }
  {
    // All tabs find their token expired at once. The tab with the lock is closed while it
    // refreshes.
    const { context, asked, all } = await tabs(4, { cookie, aheadSeconds: 0 });
    await login(all);
    assert.deepEqual(await Promise.all(all.map((tab) => call(tab))), [200, 200, 200, 200]);
    const token = await all[0].evaluate(() => window.session.token());
    await fetch(`${EDGE_URL}/oauth/revoke`, { method: 'POST', body: new URLSearchParams({ token }) });
    asked.length = 0;
    // The tab sends a refresh and never receives a response.
    const asks = new Promise((resolve) => { all[0].route('**/auth/refresh', resolve); });
    const lost = call(all[0]).catch(() => 'closed');
    await asks;
    const rest = all.slice(1).map((tab) => call(tab));
    await all[1].waitForFunction(async () => (await navigator.locks.query()).pending.length === 3);
    await all[0].close();
    assert.equal(await lost, 'closed');
    assert.deepEqual(await Promise.all(rest), [200, 200, 200]);
    assert.equal(among(asked, '/auth/refresh'), 1, 'one of the three');

    // The session ends elsewhere: every tab learns the reason, and returns its 401.
    const end = await fetch(`${EDGE_URL}/auth/sessions`, {
      method: 'DELETE', headers: { authorization: `Bearer ${await all[1].evaluate(() => window.session.token())}` },
    });
    assert.equal(end.status, 204);
    assert.equal(await call(all[1]), 401);
    await all[3].waitForFunction(() => window.events.includes('session_ended'));
    await all[2].waitForFunction(() => !window.session.active);
    await context.close();
  }
  {
    // The edge is unreachable for a moment: nothing is lost, and the session continues.
    const { context, all } = await tabs(1, { cookie, aheadSeconds: 0 });
    await login(all);
    let dropped = 0;
    await all[0].route('**/auth/refresh', (route) => { dropped += 1; return dropped === 1 ? route.abort() : route.continue(); });
    const token = await all[0].evaluate(() => window.session.token());
    await fetch(`${EDGE_URL}/oauth/revoke`, { method: 'POST', body: new URLSearchParams({ token }) });
    assert.equal(await call(all[0]), 200);
    assert.equal(dropped, 2);
    await all[0].unroute('**/auth/refresh');
    await all[0].route('**/auth/refresh', (route) => route.abort());
    const next = await all[0].evaluate(() => window.session.token());
    await fetch(`${EDGE_URL}/oauth/revoke`, { method: 'POST', body: new URLSearchParams({ token: next }) });
    assert.equal(await call(all[0]), 401, 'the first answer stands');
    assert.equal(await all[0].evaluate(() => window.session.active), true, 'and the session is not given up');
    await all[0].unroute('**/auth/refresh');
    assert.equal(await call(all[0]), 200);
    await assert.rejects(all[0].evaluate(() => window.session.login('unknown-user', 'wrong')), /credentials_invalid \(401\)/);
    await context.close();
  }
}

await browser.close();
pages.closeAllConnections();
pages.close();
console.log('all of it held');
