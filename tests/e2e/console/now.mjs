// The screens Now and Refusals: what the edge did is in the page within seconds, live, and each
// refusal has its steps.
import assert from 'node:assert/strict';
import { ask, login, until } from './edge.mjs';
import { HOSTILE } from './harness.mjs';

export default async function now(harness) {
  const { facts } = harness;
  const desk = await harness.desk();
  await desk.login();
  const { access } = await login(facts, facts.users.anna);
  await live(desk, facts, access);
  await charts(desk);
  await ranges(desk);
  await refusals(desk, facts, access);
  await withoutStream(harness, facts, access);
}

/** The number of a figure of the first row, such as `Requests`. */
const figure = async (desk, label) => {
  const stat = desk.page.locator('.vitals .stat', { has: desk.page.getByText(label, { exact: true }) });
  const [, digits, thousands] = (await stat.locator('.stat-note').innerText()).replace(/,/g, '').match(/^([\d.]+)(K?)/) ?? [];
  return Number(digits) * (thousands ? 1000 : 1);
};

async function live(desk, facts, access) {
  const { page } = desk;
  await desk.visit('/console/now');
  await page.locator('[data-link=live]').waitFor({ timeout: 30_000 });
  const before = await figure(desk, 'Requests') || 0;
  for (let turn = 0; turn < 20; turn += 1) await ask(facts, '/api/hello', { token: access });
  for (let turn = 0; turn < 5; turn += 1) await ask(facts, '/api/hello');
  // Nothing is clicked and nothing is loaded: the stream brings the figures. An isolate writes its
  // counters with a later request.
  await until(async () => {
    await ask(facts, '/api/hello', { token: access });
    return await figure(desk, 'Requests') >= before + 25;
  }, 'the requests in the page', 90);
  const text = await desk.text();
  assert.match(text, /Nothing is wrong/);
  assert.match(text, /Store up/);
  await page.locator('section', { has: page.getByRole('heading', { name: 'Isolates' }) }).locator('tbody tr').first().waitFor();
  assert.ok(await page.locator('.meter').count() <= 1, 'the revocation delay beside its bound');
}

async function charts(desk) {
  const { page } = desk;
  const chart = page.locator('figure', { hasText: 'Requests per second' });
  const accepted = chart.locator('.legend-item', { hasText: 'Accepted' });
  assert.equal(await accepted.getAttribute('aria-pressed'), 'true');
  await accepted.click();
  assert.equal(await accepted.getAttribute('aria-pressed'), 'false');
  await accepted.click();

  // The pointer over one chart shows the values of all at that time.
  const plot = chart.locator('.u-over');
  const { x, y, width, height } = await plot.boundingBox();
  await page.mouse.move(x + width * 0.9, y + height / 2);
  const time = await chart.locator('.legend-time').innerText();
  assert.match(time, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/);
  assert.equal(await page.locator('figure', { hasText: 'Store latency' }).locator('.legend-time').innerText(), time);

  // The keyboard reaches the values as well.
  await page.mouse.move(0, 0);
  await chart.locator('.plot').focus();
  await page.keyboard.press('ArrowLeft');
  assert.notEqual(await chart.locator('.legend-value').first().innerText(), '');

  // The same numbers as a table.
  await chart.getByRole('button', { name: /show as a table/ }).click();
  assert.ok(await chart.locator('.chart-table tbody tr').count() > 0);
  await chart.getByRole('button', { name: /show as a chart/ }).click();
  await chart.locator('canvas').waitFor();
}

async function ranges(desk) {
  const { page } = desk;
  for (const [label, name] of [['Hour', 'hour'], ['Day', 'day'], ['Week', 'week']]) {
    await page.getByRole('radio', { name: label }).check({ force: true });
    await page.waitForURL((url) => url.searchParams.get('range') === name);
    await page.locator('.vitals').waitFor();
  }
  // The address keeps the range.
  await desk.open('/console/now?range=day');
  assert.equal(await page.getByRole('radio', { name: 'Day' }).isChecked(), true);
}

async function refusals(desk, facts, access) {
  const { page } = desk;
  const path = `/api/hello/${encodeURIComponent(HOSTILE)}`;
  const { status, code, reply } = await ask(facts, path, { token: `${access.slice(0, -8)}AAAAAAAA` });
  assert.ok(status === 401 || status === 400, `${status} ${code}`);
  const id = reply.request_id;
  await until(async () => {
    await ask(facts, '/api/hello', { token: access });
    return (await desk.api('GET', `/refusals/recent?id=${id}`)).reply.items.length === 1;
  }, `the refusal ${id}`, 60);

  await desk.visit(`/console/refusals?id=${id}`);
  const row = page.locator('tbody tr', { hasText: code });
  assert.equal(await row.count(), 1);
  await row.locator('button').click();
  const dialog = page.locator('dialog[open]');
  const shown = await dialog.innerText();
  assert.ok(shown.includes(id.slice(0, 12)), shown);
  assert.match(shown, /Steps/);
  assert.ok(await dialog.locator('.waterfall li').count() >= 1, shown);
  assert.ok(!(await page.content()).includes(access.slice(0, 40)), 'the page has the token');
  await desk.harmless('a refusal');
  await desk.accessible('a refusal');
  await desk.shot('refusal');
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });

  // A code chosen in the list filters the refusals below.
  await desk.visit('/console/refusals');
  await page.locator('.bars', { hasText: code }).first().getByRole('button', { name: new RegExp(code) }).click({ timeout: 90_000 });
  await page.waitForURL((url) => url.searchParams.get('code') === code);
  await until(async () => {
    const rows = await page.locator('tbody tr').allInnerTexts();
    return rows.length > 0 && rows.every((one) => one.includes(code));
  }, 'the filter');

  // An id that is not in the sample: the page says where to look.
  await desk.visit('/console/refusals?id=00000000000000000000000000000000');
  assert.match(await desk.text(), /not in the sample[\s\S]*"request_id":"00000000000000000000000000000000"/);
}

/** A server that has no stream left: the page asks again and again, and says so. */
async function withoutStream(harness, facts, access) {
  const desk = await harness.desk();
  await desk.page.route('**/console/api/now/events', (route) => route.fulfill({ status: 503, body: '' }));
  await desk.login();
  await desk.visit('/console/now');
  await desk.page.locator('[data-link=polling]').waitFor({ timeout: 30_000 });
  const before = await figure(desk, 'Requests') || 0;
  for (let turn = 0; turn < 10; turn += 1) await ask(facts, '/api/hello', { token: access });
  await until(async () => {
    await ask(facts, '/api/hello', { token: access });
    return await figure(desk, 'Requests') >= before + 10;
  }, 'the requests, by polling', 90);
  await desk.page.context().close();
}
