// Every screen: it renders with its data, in time, fits every width, has no violation that axe-core
// finds, and shows hostile texts as texts. Takes the screenshots.
import assert from 'node:assert/strict';
import { SCREENS, SCREEN_MS_MAX, WIDTHS } from './harness.mjs';

/** The pages of one thing, by the screen that lists it. */
const DETAILS = [
  ['user', '/console/users', 'main tbody tr a[href*="/users/"]'],
  ['session', '/console/sessions', 'main tbody tr a[href*="/sessions/"]'],
  ['key', '/console/keys', 'main tbody tr a[href*="/keys/"]'],
  ['client', '/console/clients', 'main tbody tr a[href*="/clients/"]'],
];

export const PAGES = [...SCREENS, 'sessions', 'clients', 'signing-keys'];

export default async function screens(harness) {
  const first = await harness.desk();
  await first.login();
  const details = await findDetails(first);
  await inTime(first, details);
  for (const [scheme, width] of VIEWS) {
    const desk = await harness.desk('operator', { scheme, width });
    await desk.shotOf('login', '/console/');
    await desk.login();
    for (const [name, path] of [...PAGES.map((screen) => [screen, `/console/${screen}`]), ...details]) {
      await desk.visit(path);
      await desk.fits(name);
      await desk.harmless(name);
      await desk.accessible(name);
      await desk.shot(name);
    }
    await desk.page.context().close();
  }
}

/** Both schemes and all widths. */
const VIEWS = [['light', WIDTHS.medium], ['dark', WIDTHS.medium], ['light', WIDTHS.narrow], ['dark', WIDTHS.wide]];

/** Returns name and path of one page for each kind of thing that the system has. */
async function findDetails(desk) {
  const found = [];
  for (const [name, list, selector] of DETAILS) {
    await desk.visit(list);
    const link = desk.page.locator(selector).first();
    assert.ok(await link.count() > 0, `${list} lists nothing`);
    found.push([name, await link.evaluate((element) => element.pathname)]);
  }
  return found;
}

/** Fails if a screen needs longer than its bound, twice in a row. Modules are loaded before. */
async function inTime(desk, details) {
  const slow = [];
  for (const [name, path] of [...PAGES.map((screen) => [screen, `/console/${screen}`]), ...details]) {
    await desk.visit(path);
    const times = [];
    for (let turn = 0; turn < 3; turn += 1) {
      await desk.visit('/console/signing-keys');
      times.push(await desk.visit(path));
    }
    console.log(`${name}: ${times.join(', ')} ms`);
    if (Math.min(...times) > SCREEN_MS_MAX) slow.push(`${name}: ${times.join(', ')} ms`);
  }
  assert.deepEqual(slow, [], `screens that need more than ${SCREEN_MS_MAX} ms`);
}
