// A read-only operator, and two operators at once.
import assert from 'node:assert/strict';
import { claim, login } from './edge.mjs';
import { PAGES } from './screens.mjs';

/** Each action of the API, as a request that would be carried out if the operator might act. */
const ACTIONS = (user, session, key, client) => [
  ['POST', `/users/${user}/disable`], ['POST', `/users/${user}/enable`], ['POST', `/users/${user}/sessions/end`],
  ['POST', `/users/${user}/claims`, { scope: 'api:read' }], ['DELETE', `/users/${user}`],
  ['POST', `/sessions/${session}/end`],
  ['POST', '/keys', { owner: `user:${user}`, name: 'x' }], ['PATCH', `/keys/${key}`, { name: 'x' }],
  ['POST', `/keys/${key}/roll`], ['POST', `/keys/${key}/revoke`],
  ['POST', '/clients', { name: 'x' }], ['PATCH', `/clients/${client}`, { name: 'x' }], ['POST', `/clients/${client}/roll`],
  ['POST', `/clients/${client}/revoke-tokens`], ['DELETE', `/clients/${client}`],
  ['POST', '/signing-keys/rotate'],
  ['POST', '/limits/override', { limit: 'limited', by: [{ part: 'subject', value: user }], quota: 9, seconds: 60 }],
  ['DELETE', '/limits/override', { limit: 'limited', by: [{ part: 'subject', value: user }] }],
  ['POST', '/limits/credits', { limit: 'limited', by: [{ part: 'subject', value: user }], credits: 1 }],
  ['POST', '/blocks', { subject: user, seconds: 60 }], ['DELETE', '/blocks', { subject: user }],
];

export default async function roles(harness) {
  const { facts } = harness;
  const desk = await harness.desk();
  await desk.login();
  const { access } = await login(facts, facts.users.anna);
  const [user, session] = [claim(access, 'sub'), claim(access, 'sid')];
  const { reply: { id: key } } = await desk.api('POST', '/keys', { owner: `user:${user}`, name: 'of a test', reason: 'test' });
  const { reply: { client_id: client } } = await desk.api('POST', '/clients', { name: 'of a test', reason: 'test' });
  await readOnly(harness, [user, session, key, client]);
  await together(harness, desk, facts);
}

async function readOnly(harness, [user, session, key, client]) {
  const viewer = await harness.desk('viewer');
  await viewer.login();
  const details = [`users/${user}`, `sessions/${session}`, `keys/${key}`, `clients/${client}`];
  for (const screen of [...PAGES, ...details]) {
    await viewer.visit(`/console/${screen}`);
    assert.ok((await viewer.text()).length > 20, screen);
    const controls = await viewer.page.locator('main [data-action], main .button.primary:not(.explain *), main .button.danger').count();
    assert.equal(controls, 0, `${screen} offers an action`);
  }
  for (const [method, path, body] of ACTIONS(user, session, key, client)) {
    const { status, reply } = await viewer.api(method, path, { ...body, reason: 'test' });
    assert.deepEqual([status, reply.code], [403, 'scope_insufficient'], `${method} ${path}`);
  }
  // Without a session there is nothing at all.
  await viewer.page.context().clearCookies();
  const statuses = await viewer.page.evaluate(async (paths) => Promise.all(paths.map(async (path) => (await fetch(`/console/api/${path}`)).status)), ['users', 'audit', 'keys', 'policies', 'now?range=live']);
  assert.deepEqual(statuses, [401, 401, 401, 401, 401]);
  await viewer.page.context().close();
}

/** Two operators look at one session, and both end it. */
async function together(harness, one, facts) {
  const two = await harness.desk('second');
  await two.login();
  const { access } = await login(facts, facts.users.anna);
  const path = `/console/sessions/${claim(access, 'sid')}`;
  await Promise.all([one.visit(path), two.visit(path)]);
  const first = await one.act('end-session', 'the first');
  assert.equal(first.status, 200, first.said);
  // The other page is old by now: the action says so, or ends what has ended.
  const second = await two.act('end-session', 'the second', { mayFail: true });
  assert.ok([200, 404, 409].includes(second.status), `${second.status} ${second.said}`);
  await two.open(path);
  assert.match(await two.text(), /Ended/);
  assert.equal(await two.page.locator('[data-action=end-session]').count(), 0);
  const { reply } = await one.api('GET', `/audit?q=&limit=100`);
  const by = reply.items.filter((row) => row.session_id === claim(access, 'sid') && row.by).map((row) => row.by);
  assert.ok(by.includes(facts.operator.username), JSON.stringify(by));
  // The end of one operator's session leaves the other's.
  await one.page.getByRole('button', { name: 'Log out' }).click();
  await one.page.locator('[name=password]').waitFor();
  assert.equal((await two.api('GET', '/session')).status, 200);
  await two.open('/console/users');
  assert.match(await two.text(), new RegExp(facts.operator.username));
}
