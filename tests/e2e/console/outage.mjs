// The store does not answer: every page says so. An action says that it is pending, and takes
// effect when the store is back.
import assert from 'node:assert/strict';
import { ask, claim, login, until } from './edge.mjs';
import { SCREENS } from './harness.mjs';

export default async function outage(harness) {
  const { facts } = harness;
  const desk = await harness.desk();
  await desk.login();
  const { access } = await login(facts, facts.users.anna);
  const banner = desk.page.locator('[data-banner=store]');
  assert.equal(await banner.count(), 0, 'all is well before');
  const pid = facts.pids.redis;
  process.kill(pid, 'SIGSTOP');
  try {
    await desk.visit('/console/now');
    await banner.waitFor({ timeout: 60_000 });
    for (const screen of SCREENS) {
      await desk.visit(`/console/${screen}`);
      assert.equal(await banner.count(), 1, screen);
      await desk.shot(`outage-${screen}`);
    }
    await desk.visit(`/console/sessions/${claim(access, 'sid')}`);
    const { status, said } = await desk.act('end-session', 'during an outage');
    assert.equal(status, 202, said);
    assert.match(said, /Pending/);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  await banner.waitFor({ state: 'detached', timeout: 60_000 });
  await until(async () => (await ask(facts, '/api/hello', { token: access })).status === 401, 'the end of the session', 60);
}
