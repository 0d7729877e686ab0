// The page of examples/browser-session in a real browser, against a running system.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const { EDGE_URL, PAGE_URL, STACK_USERNAME, STACK_PASSWORD } = process.env;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
const context = await browser.newContext();
const open = async () => {
  const tab = await context.newPage();
  await tab.goto(`${PAGE_URL}/?edge=${EDGE_URL}`);
  return tab;
};
const shows = (tab, start) => tab.waitForFunction(
  (text) => document.querySelector('#state').textContent.startsWith(text),
  start,
  { timeout: 15_000 },
);

const first = await open();
await first.click('#call');
await shows(first, '401');
await first.fill('[name=username]', STACK_USERNAME);
await first.fill('[name=password]', 'wrong');
await first.click('#login button');
await shows(first, 'not logged in: credentials_invalid');
await first.fill('[name=password]', STACK_PASSWORD);
await first.click('#login button');
await shows(first, 'logged in');
await first.click('#call');
await shows(first, '200');

// Scripts reach no token: only times are stored, and the cookie is HttpOnly.
const reach = await first.evaluate(() => JSON.stringify([localStorage, document.cookie]));
assert.ok(!reach.includes('pcr_') && !reach.includes('eyJ'), reach);

// A second tab, and the first one after a reload, have the session.
const second = await open();
await second.click('#call');
await shows(second, '200');
await first.reload();
await first.click('#call');
await shows(first, '200');

// A logout in one tab ends it in both.
await second.click('#logout');
await shows(second, 'the session ended: logout');
await shows(first, 'the session ended: logout');
await first.click('#call');
await shows(first, '401');
await browser.close();
