// Every action, performed in the page: the edge shows its effect with the next request.
import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { ask, claim, login, until } from './edge.mjs';

const OPEN = '/api/hello';
const LIMITED = '/api/limited';

export default async function actions(harness) {
  const { facts } = harness;
  const desk = await harness.desk();
  await desk.login();
  const begun = Math.floor(Date.now() / 1000) - 5;
  await sessions(desk, facts);
  await blocks(desk, facts);
  await users(desk, facts);
  await quotas(desk, facts);
  await keys(desk, facts);
  await clients(desk, facts);
  await signingKeys(desk, facts);
  await explanations(desk);
  await audited(desk, begun);
}

async function passes(facts, token, path = OPEN) {
  const { status, code } = await ask(facts, path, { token });
  assert.equal(status, 200, `${path}: ${code}`);
}

async function refused(facts, token, [expected, ...codes], path = OPEN) {
  const { status, code } = await ask(facts, path, { token });
  assert.equal(status, expected, `${path}: ${code}`);
  assert.ok(codes.includes(code), `${path}: ${code}, not ${codes.join(' or ')}`);
}

/** What the edge says of a token that ended: by its marker, or by introspection. */
const ENDED = [401, 'token_revoked', 'token_inactive'];

function stored({ status, said }) {
  assert.ok(status === 200 || status === 201, `status ${status}: ${said}`);
  assert.match(said, /Stored: in effect (with the next request|within a second)/);
}

async function userId(desk, username) {
  const { reply } = await desk.api('GET', `/users?q=${encodeURIComponent(username)}`);
  const found = reply.items.find((user) => user.username === username);
  assert.ok(found, `no user ${username}: ${JSON.stringify(reply)}`);
  return found.id;
}

async function sessions(desk, facts) {
  const { anna } = facts.users;
  const [one, two, three] = [await login(facts, anna), await login(facts, anna), await login(facts, anna)];
  for (const { access } of [one, two, three]) await passes(facts, access);

  // One, from its own page.
  await desk.visit(`/console/sessions/${claim(one.access, 'sid')}`);
  stored(await desk.act('end-session', 'ticket 1'));
  await refused(facts, one.access, ENDED);
  await passes(facts, two.access);
  await desk.page.getByText('Ended because').waitFor();

  // One, from the list.
  await desk.visit(`/console/sessions?q=${anna.username}&state=active`);
  const rows = desk.page.locator('main tbody tr', { has: desk.page.locator(`a[href$="${claim(two.access, 'sid')}"]`) });
  await rows.first().waitFor();
  stored(await desk.act('end-session', 'ticket 2', { row: rows.first() }));
  await refused(facts, two.access, ENDED);

  // All of a user.
  const four = await login(facts, anna);
  await desk.visit(`/console/users/${await userId(desk, anna.username)}`);
  stored(await desk.act('end-sessions', 'ticket 3'));
  for (const { access } of [three, four]) await refused(facts, access, ENDED);
  await passes(facts, (await login(facts, anna)).access);
}

async function blocks(desk, facts) {
  const { anna } = facts.users;
  const { access } = await login(facts, anna);
  await passes(facts, access);
  await desk.visit('/console/limits');
  const id = await userId(desk, anna.username);
  stored(await desk.act(desk.page.getByRole('button', { name: /^Block a caller/ }), 'ticket 4', {
    fields: { kind: 'subject', value: id },
  }));
  await refused(facts, access, [403, 'blocked']);
  const row = desk.page.locator('main tr', { hasText: id });
  await row.first().waitFor();
  stored(await desk.act(row.getByRole('button', { name: /^End/ }), 'ticket 5'));
  // The end of a block counts within a second.
  await until(async () => (await ask(facts, OPEN, { token: access })).status === 200, 'the end of the block', 3);
}

async function users(desk, facts) {
  const { bert } = facts.users;
  const path = `/console/users/${await userId(desk, bert.username)}`;
  const { access } = await login(facts, bert);
  await passes(facts, access);
  await desk.visit(path);
  stored(await desk.act('disable-user', 'ticket 6'));
  await refused(facts, access, ENDED);
  await assert.rejects(login(facts, bert), { status: 401 });
  await desk.visit(path);
  stored(await desk.act('enable-user', 'ticket 7'));
  const again = await login(facts, bert);
  await passes(facts, again.access);

  await desk.visit(path);
  stored(await desk.act('change-claims', 'ticket 8', { fields: { scope: 'api:read admin', claims: '{"team": "gate"}' } }));
  const wider = await login(facts, bert);
  assert.equal(claim(wider.access, 'scope'), 'api:read admin');
  assert.equal(claim(wider.access, 'team'), 'gate');
  await passes(facts, wider.access, '/api/admin/x');

  // A colleague has changed the scope since this page was loaded.
  await desk.visit(path);
  const change = { scope: 'api:read', reason: 'ticket 8a' };
  assert.equal((await desk.api('POST', `${path.replace('/console', '')}/claims`, change)).status, 200);
  const late = await desk.act('change-claims', 'ticket 8b', { fields: { scope: 'api:read admin api:write' }, mayFail: true });
  assert.equal(late.status, 409);
  assert.match(late.said, /changed meanwhile/);
  assert.equal(claim((await login(facts, bert)).access, 'scope'), 'api:read');

  await desk.visit(path);
  stored(await desk.act('delete-user', 'ticket 9'));
  await refused(facts, wider.access, ENDED);
  await assert.rejects(login(facts, bert), { status: 401 });
}

async function quotas(desk, facts) {
  const { anna } = facts.users;
  const { access } = await login(facts, anna);
  const statuses = [];
  for (let turn = 0; turn < 7; turn += 1) statuses.push((await ask(facts, LIMITED, { token: access })).status);
  assert.ok(statuses.includes(429), `the limit is 5 requests: ${statuses}`);
  // The edge writes its counters with the first request after its interval.
  await desk.visit('/console/limits');
  const button = desk.page.locator('main tr', { hasText: 'limited' }).getByRole('button', { name: /quota/i }).first();
  await until(async () => {
    await ask(facts, '/public/x');
    return button.isVisible();
  }, 'the limit in the list', 60);
  stored(await desk.act(button, 'ticket 10', { fields: { part0: await userId(desk, anna.username), quota: 50 } }));
  // The isolate knows that the caller is over the limit, and asks again after Retry-After.
  const becomes = (expected) => until(
    async () => (await ask(facts, LIMITED, { token: access })).status === expected, `${expected} at the limit`, 70,
  );
  await becomes(200);
  const row = desk.page.locator('section', { has: desk.page.getByRole('heading', { name: 'Quotas of single callers' }) }).locator('tbody tr').first();
  await row.waitFor();
  stored(await desk.act(row.getByRole('button', { name: /^End/ }), 'ticket 11'));
  await becomes(429);
}

/** Returns the secret that a dialog shows, and closes it. */
async function takeSecret(desk) {
  const dialog = desk.page.locator('dialog[open]');
  const secret = await dialog.locator('.secret code').innerText();
  await dialog.locator('.dialog-foot button').click();
  await dialog.waitFor({ state: 'detached' });
  assert.ok(!(await desk.page.content()).includes(secret), 'the page keeps the secret');
  return secret;
}

async function keys(desk, facts) {
  const { anna } = facts.users;
  const owner = `user:${await userId(desk, anna.username)}`;
  await desk.visit('/console/keys');
  stored(await desk.act('create-key', 'ticket 12', { fields: { owner, name: 'deploy', scope: 'api:read' } }));
  const first = await takeSecret(desk);
  await passes(facts, first);

  const { reply } = await desk.api('GET', `/keys?owner=${owner}`);
  const path = `/console/keys/${reply.items[0].id}`;
  await desk.visit(path);
  assert.ok(!(await desk.page.content()).includes(first), 'no page shows a key');
  stored(await desk.act('change-key', 'ticket 13', { fields: { networks: '192.0.2.0/24' } }));
  await refused(facts, first, [403, 'key_network_denied']);
  await desk.visit(path);
  stored(await desk.act('change-key', 'ticket 14', { fields: { networks: '' } }));
  await passes(facts, first);

  await desk.visit(path);
  stored(await desk.act('roll-key', 'ticket 15', { fields: { grace_seconds: '0' } }));
  const second = await takeSecret(desk);
  const { status } = await ask(facts, OPEN, { token: first });
  assert.equal(status, 401, 'the old secret');
  await passes(facts, second);

  await desk.visit(path);
  stored(await desk.act('revoke-key', 'ticket 16'));
  assert.equal((await ask(facts, OPEN, { token: second })).status, 401, 'a revoked key');
}

async function clients(desk, facts) {
  const token = async (id, secret) => ask(facts, '/oauth/token', {
    method: 'POST',
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      authorization: `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64')}`,
    },
    body: 'grant_type=client_credentials',
  });
  await desk.visit('/console/clients');
  stored(await desk.act('create-client', 'ticket 17', { fields: { name: 'billing', scope: 'api:read' } }));
  const first = await takeSecret(desk);
  const link = desk.page.locator('main tbody a', { hasText: 'billing' });
  await link.waitFor();
  const path = await link.evaluate((element) => element.pathname);
  const id = path.split('/').at(-1);
  const { reply: { access_token: access } } = await token(id, first);
  await passes(facts, access);

  await desk.visit(path);
  stored(await desk.act('revoke-client-tokens', 'ticket 18'));
  await refused(facts, access, ENDED);
  await desk.visit(path);
  stored(await desk.act('roll-client', 'ticket 19', { fields: { grace_seconds: '0' } }));
  const second = await takeSecret(desk);
  assert.equal((await token(id, first)).status, 401, 'the old secret');
  // Tokens are revoked by the second of their issue.
  const next = await until(async () => {
    const { reply } = await token(id, second);
    return (await ask(facts, OPEN, { token: reply.access_token })).status === 200 && reply.access_token;
  }, 'a token after the revocation', 5);

  await desk.visit(path);
  stored(await desk.act('change-client', 'ticket 20', { fields: { scope: 'api:read api:write', token_seconds: 60 } }));
  assert.equal(claim((await token(id, second)).reply.access_token, 'scope'), 'api:read api:write');
  await desk.visit(path);
  stored(await desk.act('disable-client', 'ticket 21'));
  await refused(facts, next, ENDED);
  assert.equal((await token(id, second)).status, 401, 'a disabled client');
  await desk.visit(path);
  stored(await desk.act('enable-client', 'ticket 22'));
  assert.equal((await token(id, second)).status, 200);
  await desk.visit(path);
  stored(await desk.act('delete-client', 'ticket 23'));
  assert.equal((await token(id, second)).status, 401, 'a deleted client');
}

async function signingKeys(desk, facts) {
  const kid = (token) => JSON.parse(Buffer.from(token.split('.')[0], 'base64url').toString()).kid;
  const before = await login(facts, facts.users.anna);
  await desk.visit('/console/signing-keys');
  const early = await desk.act('rotate-keys', 'too early', { mayFail: true });
  assert.equal(early.status, 409, early.said);
  assert.match(early.said, /signing_key_too_new/);
  // Verifiers know the next key a quarter of an hour after it was made.
  const database = new DatabaseSync(facts.database_url.replace('sqlite://', ''));
  database.exec('PRAGMA busy_timeout = 20000; UPDATE signing_keys SET created_at = created_at - 1000');
  database.close();
  await desk.visit('/console/signing-keys');
  stored(await desk.act('rotate-keys', 'ticket 24'));
  const after = await until(async () => {
    const { access } = await login(facts, facts.users.anna);
    return kid(access) !== kid(before.access) && access;
  }, 'a token of the next key');
  await passes(facts, after);
  await passes(facts, before.access);
}

async function explanations(desk) {
  const { page } = desk;
  await until(async () => {
    await desk.visit('/console/policy');
    return page.locator('form.explain').count();
  }, 'the policy of an edge');
  const explain = async (target, claims) => {
    // Without the answer to the question before.
    await desk.open('/console/policy');
    await page.fill('form.explain [name=target]', target);
    if (claims) {
      await page.click('form.explain summary');
      await page.fill('form.explain [name=claims]', JSON.stringify(claims));
    }
    await page.click('form.explain button[type=submit]');
    await page.locator('.explained').waitFor();
    return page.innerText('.explained');
  };
  assert.match(await explain('/api/hello'), /Refused\s+401/);
  assert.match(await explain('/api/hello', { sub: 'alice', scope: 'api:read' }), /Forwarded/);
  assert.match(await explain('/nowhere'), /Refused\s+404/);
  const { status, reply } = await desk.api('GET', '/policies');
  assert.equal(status, 200);
  const refused = await desk.api('POST', `/policies/${reply.items[0].hash}/explain`, {
    method: 'GET', target: '/api/hello', headers: [['authorization', 'Bearer eyJhbGciOiJFZERTQSJ9.e30.x']],
  });
  assert.deepEqual([refused.status, refused.reply.code], [400, 'token_not_accepted']);
}

/** Every action above is in the log, by this operator, with its reason. */
async function audited(desk, begun) {
  const { reply } = await desk.api('GET', `/audit?from=${begun}&limit=1000`);
  const reasons = new Map(reply.items.filter((row) => row.reason).map((row) => [row.reason, row]));
  for (let number = 1; number <= 24; number += 1) {
    const row = reasons.get(`ticket ${number}`);
    assert.ok(row, `ticket ${number} is not audited: ${[...reasons.keys()]}`);
    assert.equal(row.actor, 'operator');
    assert.equal(row.by, desk.facts.operator.username);
  }
  await desk.visit('/console/audit');
  assert.match(await desk.text(), /ticket 24/);
}
