// Drives the operator console in Debian's Chromium. A suite exports `async (harness) => {}`.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const axeSource = createRequire(import.meta.url)('axe-core').source;

/** Text that runs as a script, and loads an image, wherever it is taken for markup. */
export const HOSTILE = '"><img src=x onerror="globalThis.hostileRan=true">';

/** The widths of the screenshots: a phone, a laptop, and 2 K. */
export const WIDTHS = { narrow: 360, medium: 1280, wide: 2048 };

/** The longest time from a navigation to the screen with its data. */
export const SCREEN_MS_MAX = 300;

/** The screens that the navigation lists. */
export const SCREENS = ['now', 'refusals', 'limits', 'users', 'keys', 'usage', 'audit', 'policy'];

/** Starts the browser for a running system, which `facts` describes. */
export async function start(facts, { shots } = {}) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
  if (shots) await mkdir(shots, { recursive: true });
  const desks = [];
  return {
    facts,
    shots,
    /** Opens a window of a new browser profile. `who` names an operator of the facts. */
    async desk(who = 'operator', { scheme = 'light', width = WIDTHS.medium, height = 900 } = {}) {
      const context = await browser.newContext({
        colorScheme: scheme, viewport: { width, height }, baseURL: facts.console, reducedMotion: 'reduce',
      });
      const desk = new Desk(await context.newPage(), { who, scheme, width, facts, shots });
      desks.push(desk);
      return desk;
    },
    async close() {
      await browser.close();
      const faults = desks.flatMap((desk) => desk.faults);
      assert.deepEqual(faults, [], 'faults in the pages');
    },
  };
}

/** An operator's window. */
export class Desk {
  constructor(page, options) {
    Object.assign(this, { page, faults: [], ...options });
    page.on('pageerror', (error) => this.faults.push(`${page.url()}: ${error.stack}`));
    page.on('dialog', (dialog) => {
      this.faults.push(`${page.url()}: a dialog of a script: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on('console', (message) => {
      // The browser logs each response of 4xx and 5xx.
      const isExpected = message.text().startsWith('Failed to load resource');
      if (message.type() === 'error' && !isExpected) this.faults.push(`${page.url()}: ${message.text()}`);
    });
  }

  /** Logs in by the form, and waits for the first screen. */
  async login() {
    const { username, password } = this.facts[this.who];
    await this.page.goto('/console/');
    await this.page.fill('[name=username]', username);
    await this.page.fill('[name=password]', password);
    await this.page.click('form button[type=submit]');
    await this.page.waitForFunction(() => !document.querySelector('[name=password]'));
    await this.rendered();
    return this;
  }

  /** Waits until the screen has its data. */
  async rendered() {
    await this.page.waitForFunction(() => document.querySelector('main h1')
      && !document.querySelector('main[aria-busy=true], main [aria-busy=true]'));
  }

  /** Loads a page again. */
  async open(path) {
    await this.page.goto(path);
    await this.rendered();
    return this;
  }

  /** Goes to a screen within the application. Returns the milliseconds until it has its data. */
  async visit(path) {
    return this.page.evaluate(async (to) => {
      const frame = () => new Promise((resolve) => { requestAnimationFrame(resolve); });
      const isRendered = () => document.querySelector('main h1')
        && !document.querySelector('main[aria-busy=true], main [aria-busy=true]');
      const begun = performance.now();
      history.pushState(null, '', to);
      dispatchEvent(new PopStateEvent('popstate'));
      await frame();
      for (;;) {
        const at = performance.now();
        if (at - begun > 20_000) throw new Error(`${to} was not rendered in 20 s`);
        if (isRendered()) {
          // A screen that begins to load in this frame is busy in the next one.
          await frame();
          await frame();
          if (isRendered()) return Math.round(at - begun);
        }
        await frame();
      }
    }, path);
  }

  /** Loads a page, and saves a screenshot of it. */
  async shotOf(name, path) {
    await this.page.goto(path);
    await this.page.waitForFunction(() => document.querySelector('main h1'));
    await this.shot(name);
  }

  /** Saves a screenshot of the window. */
  async shot(name) {
    if (!this.shots) return;
    await this.page.screenshot({ path: `${this.shots}/${name}-${this.scheme}-${this.width}.png` });
  }

  /** Records what axe-core finds: violations of WCAG 2 A or AA, and of best practices. */
  async accessible(name) {
    const cdp = await this.page.context().newCDPSession(this.page);
    await cdp.send('Runtime.evaluate', { expression: `globalThis.axe ?? (${'() => {'}${axeSource}\n})()` });
    await cdp.detach();
    const found = await this.page.evaluate(async () => {
      const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
      const { violations } = await globalThis.axe.run(document, { runOnly: tags });
      return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 200)} (${node.failureSummary})`).join(' | ')}`);
    });
    // All of them at the end: one run shows every fault.
    this.faults.push(...found.map((one) => `${name}, ${this.scheme}, ${this.width} px: ${one}`));
  }

  /** Records a page that is wider than the window. */
  async fits(name) {
    const [wide, window] = await this.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    if (wide > window) this.faults.push(`${name} is ${wide} px wide in a window of ${window} px`);
  }

  /** Fails if a hostile text became markup. */
  async harmless(name) {
    const [ran, images] = await this.page.evaluate(() => [
      globalThis.hostileRan === true, document.querySelectorAll('img[src=x], [onerror]').length,
    ]);
    assert.equal(ran, false, `${name}: a script ran`);
    assert.equal(images, 0, `${name}: a text became an element`);
  }

  /** Returns the visible text of the screen. */
  async text() {
    return this.page.innerText('main');
  }

  /**
   * Performs an action by its button and the dialog. Returns the status, and what the page says of
   * it. `action` is the name of the action, or the button. `fields` are further fields of the
   * dialog, by their names. `row` is the table row whose button it is.
   */
  async act(action, reason, { fields = {}, row, mayFail = false } = {}) {
    const { page } = this;
    const button = typeof action === 'string'
      ? (row ?? page.locator('main')).locator(`[data-action="${action}"]`) : action;
    await this.closeNotices();
    await button.first().click();
    const dialog = page.locator('dialog[open]');
    await dialog.waitFor();
    for (const [name, value] of Object.entries(fields)) {
      const field = dialog.locator(`[name="${name}"]`);
      if (await field.evaluate((element) => element.tagName === 'SELECT')) await field.selectOption(value);
      else await field.fill(String(value));
    }
    await dialog.locator('[name=reason]').fill(reason);
    const answer = page.waitForResponse((response) => response.request().method() !== 'GET');
    await dialog.locator('button[type=submit]').click();
    const status = (await answer).status();
    if (status >= 400) {
      const said = await dialog.locator('[role=alert]').innerText();
      assert.ok(mayFail, `${action}: ${status} ${said}`);
      await page.keyboard.press('Escape');
      return { status, said };
    }
    const notice = page.locator('.notices .notice').last();
    await notice.waitFor();
    return { status, said: await notice.innerText() };
  }

  /** Closes what the page said of earlier actions. */
  async closeNotices() {
    const buttons = this.page.locator('.notices button');
    while (await buttons.count() > 0) await buttons.first().click();
  }

  /** Sends a request to the console's API with this operator's cookie and CSRF token. */
  async api(method, path, body) {
    return this.page.evaluate(async ([verb, to, content]) => {
      const { csrf } = await (await fetch('/console/api/session')).json();
      const headers = verb === 'GET' ? {} : { 'content-type': 'application/json', 'x-csrf-token': csrf };
      const response = await fetch(`/console/api${to}`, {
        method: verb, headers, body: content === undefined ? undefined : JSON.stringify(content),
      });
      const text = await response.text();
      let reply = text;
      try { reply = JSON.parse(text); } catch { /* A reply without JSON stays a text. */ }
      return { status: response.status, reply };
    }, [method, path, body]);
  }
}
