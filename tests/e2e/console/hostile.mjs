// Texts that are markup and scripts, wherever a stranger may write: each is shown as it is.
import assert from 'node:assert/strict';
import { HOSTILE } from './harness.mjs';
import { ask, claim, login, until } from './edge.mjs';
import { PAGES } from './screens.mjs';

export default async function hostile(harness) {
  const { facts } = harness;
  const desk = await harness.desk();
  await desk.login();
  // Headers are Latin-1, and paths are encoded.
  const { access } = await login(facts, facts.users.hostile, HOSTILE);
  const [user, session] = [claim(access, 'sub'), claim(access, 'sid')];
  const made = async (path, body) => {
    const { status, reply } = await desk.api('POST', path, { ...body, reason: HOSTILE });
    assert.ok(status < 300, `${path}: ${status} ${JSON.stringify(reply)}`);
    return reply;
  };
  const { id: key } = await made('/keys', { owner: `user:${user}`, name: HOSTILE, metadata: { [HOSTILE]: HOSTILE } });
  const { client_id: client } = await made('/clients', { name: HOSTILE, plan: HOSTILE, claims: { note: HOSTILE } });
  await made('/blocks', { client: HOSTILE, seconds: 600 });
  await ask(facts, `/api/${encodeURIComponent(HOSTILE)}?${encodeURIComponent(HOSTILE)}`, { headers: { 'user-agent': HOSTILE, 'x-request-id': 'x' } });
  await ask(facts, '/auth/login', {
    method: 'POST', headers: { 'content-type': 'application/json', 'user-agent': HOSTILE },
    body: JSON.stringify({ username: HOSTILE, password: HOSTILE }),
  });

  const shows = [
    ['users', 1], [`users/${user}`, 1], ['sessions', 1], [`sessions/${session}`, 1], ['keys', 1], [`keys/${key}`, 2],
    ['clients', 1], [`clients/${client}`, 2], ['audit', 1], ['limits', 1],
  ];
  for (const [screen, times] of shows) {
    await desk.visit(`/console/${screen}`);
    await desk.harmless(screen);
    const found = (await desk.page.evaluate(() => document.querySelector('main').textContent)).split('<img src=x').length - 1;
    assert.ok(found >= times, `${screen} shows the text ${found} times`);
  }
  // The edge writes refusals to the ring with the first request after its interval.
  await until(async () => {
    await ask(facts, '/public/x');
    await desk.visit('/console/refusals');
    return (await desk.api('GET', '/refusals/recent')).reply.items?.length > 0;
  }, 'a refusal in the ring', 60);
  for (const screen of PAGES) {
    await desk.visit(`/console/${screen}`);
    await desk.harmless(screen);
  }
  // Dialogs, notices and errors show texts, too.
  await desk.visit(`/console/keys/${key}`);
  await desk.page.locator('[data-action=revoke-key]').first().click();
  await desk.page.locator('dialog[open]').waitFor();
  await desk.harmless('the dialog');
  await desk.page.keyboard.press('Escape');
  await desk.visit(`/console/users?q=${encodeURIComponent(HOSTILE)}`);
  assert.equal(await desk.page.locator('main tbody tr').count(), 1, 'the search takes it literally');
  await desk.visit(`/console/audit?q=${encodeURIComponent(HOSTILE)}&by=${encodeURIComponent(HOSTILE)}`);
  await desk.harmless('filters');
  await desk.visit(`/console/policy/${encodeURIComponent(HOSTILE)}`);
  await desk.harmless('a path');
  await desk.page.context().close();
}
