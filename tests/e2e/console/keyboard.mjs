// The console without a mouse: skip link, navigation, dialogs, and the colour scheme that stays.
import assert from 'node:assert/strict';

const focused = (page) => page.evaluate(() => {
  const own = document.activeElement;
  return { tag: own.tagName, text: own.textContent.trim(), name: own.getAttribute('name'), action: own.dataset.action, inDialog: Boolean(own.closest('dialog')) };
});

export default async function keyboard(harness) {
  const desk = await harness.desk();
  const { page } = desk;
  await page.goto('/console/');
  await page.locator('[name=username]').waitFor();
  assert.equal((await focused(page)).name, 'username', 'the form begins with the name');
  await page.keyboard.type(desk.facts.operator.username);
  await page.keyboard.press('Tab');
  await page.keyboard.type(desk.facts.operator.password);
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => !document.querySelector('[name=password]'));
  await desk.rendered();

  // A screen begins at its title. Before the navigation is a link that skips it.
  await desk.open('/console/clients');
  // The title gets the focus after it is painted.
  await page.waitForFunction(() => document.activeElement.tagName === 'H1', null, { timeout: 5000 });
  await page.locator('.skip').focus();
  assert.equal(await page.locator('.skip').evaluate((own) => own.getBoundingClientRect().top >= 0), true, 'the link is seen');
  await page.keyboard.press('Enter');
  assert.equal((await focused(page)).tag, 'MAIN');

  // A dialog keeps the focus, and gives it back.
  const button = page.locator('main [data-action=create-client]');
  await button.focus();
  await page.keyboard.press('Enter');
  await page.locator('dialog[open]').waitFor();
  for (let stop = 0; stop < 12; stop += 1) {
    await page.keyboard.press('Tab');
    const { inDialog, tag } = await focused(page);
    assert.ok(inDialog || tag === 'BODY', 'the focus leaves the dialog');
  }
  assert.equal(await page.locator('dialog[open] button[type=submit]').isDisabled(), true, 'an action needs a reason');
  await page.keyboard.press('Escape');
  await page.locator('dialog[open]').waitFor({ state: 'detached' });
  assert.equal((await focused(page)).action, 'create-client');

  // Navigation by the keyboard, back and forth.
  await page.locator('nav a[href="/console/audit"]').focus();
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => location.pathname === '/console/audit');
  await desk.rendered();
  assert.match(await page.title(), /^Audit/);
  await page.goBack();
  await page.waitForFunction(() => location.pathname === '/console/clients');
  await desk.rendered();

  // The switch of the scheme, kept over a reload.
  const scheme = () => page.evaluate(() => getComputedStyle(document.documentElement).colorScheme);
  const toggle = page.locator('.account .icon-button').first();
  const seen = new Set([await scheme()]);
  for (let turn = 0; turn < 3 && seen.size < 2; turn += 1) {
    await toggle.click();
    seen.add(await scheme());
  }
  assert.ok(seen.has('dark') && seen.has('light'), [...seen].join());
  const chosen = await scheme();
  await desk.open('/console/clients');
  assert.equal(await scheme(), chosen);
}
