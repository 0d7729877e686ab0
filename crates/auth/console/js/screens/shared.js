// What several screens show alike: tabs, action buttons, devices, owners, states.
import { html, classes } from '../ui.js';
import { useMayAct } from '../api.js';
import { href } from '../router.js';
import { object, text } from '../format.js';
import { Badge, Id } from '../components/basics.js';
import { askAction } from '../components/dialog.js';
import { Icon } from '../components/icon.js';
import { Tabs } from '../components/page.js';

/** When an end takes effect, for the sentence of an action. */
export const AT_ONCE = 'with the next request at every edge, at the latest after the revocation delay';

/**
 * A button that asks for an action. Operators who may only read do not get it. `spec` is what
 * `askAction` takes, or `onClick` asks; `action` is its stable name.
 */
export function Act({ action, label, icon, tone, small = true, title, spec, onClick }) {
  if (!useMayAct()) return null;
  return html`<button type="button" class=${classes('button', small && 'small', tone)} title=${title}
    data-action=${action} onClick=${onClick ?? (() => askAction(spec))}>
    ${icon && html`<${Icon} name=${icon} />`}${label}
  </button>`;
}

/** What a table takes of `usePages`. */
export const rest = (pages) => ({
  error: pages.error, loading: pages.loading, more: pages.more, onRetry: pages.reload,
});

/** Links to a download; the browser saves the response. */
export function Download({ to, label }) {
  return html`<a class="button small" href=${to} download>
    <${Icon} name="download" />${label}</a>`;
}

export const PeopleTabs = ({ current }) => html`<${Tabs} label="Users and sessions" items=${[
  { href: href('/users'), label: 'Users', current: current === 'users' },
  { href: href('/sessions'), label: 'Sessions', current: current === 'sessions' },
]} />`;

export const KeyTabs = ({ current }) => html`<${Tabs} label="Keys and clients" items=${[
  { href: href('/keys'), label: 'API keys', current: current === 'keys' },
  { href: href('/clients'), label: 'Clients', current: current === 'clients' },
  { href: href('/signing-keys'), label: 'Signing keys', current: current === 'signing' },
]} />`;

export const userHref = (id) => href(`/users/${encodeURIComponent(id)}`);
export const sessionHref = (id) => href(`/sessions/${encodeURIComponent(id)}`);
export const keyHref = (id) => href(`/keys/${encodeURIComponent(id)}`);
export const clientHref = (id) => href(`/clients/${encodeURIComponent(id)}`);

/** A link to a user, by the name if it is known. */
export function UserLink({ id, username }) {
  if (!id) return username ? html`<span class="clip">${username}</span>` : null;
  return html`<a class="clip" href=${userHref(id)} title=${username ?? id}>${username ?? id}</a>`;
}

/** The owner of a key, which is `user:ID` or `client:ID`. */
export function Owner({ owner }) {
  const [kind, id] = text(owner).split(/:(.*)/s);
  if (!id) return html`<span class="clip">${text(owner)}</span>`;
  const to = kind === 'client' ? clientHref(id) : userHref(id);
  return html`<span class="nowrap"><span class="dim">${kind}</span>${' '}
    <${Id} value=${id} href=${to} chars=${10} copy=${false} /></span>`;
}

const BROWSERS = [
  [/\bEdg(?:e|A|iOS)?\/(\d+)/, 'Edge'], [/\bOPR\/(\d+)/, 'Opera'], [/\bFirefox\/(\d+)/, 'Firefox'],
  [/\bFxiOS\/(\d+)/, 'Firefox'], [/\b(?:Chrome|CriOS|HeadlessChrome)\/(\d+)/, 'Chrome'],
  [/\bVersion\/(\d+)[\d.]* (?:Mobile\/\S+ )?Safari\//, 'Safari'],
];
const SYSTEMS = [
  [/Windows NT/, 'Windows'], [/iPhone|iPad|iPod/, 'iOS'], [/Android/, 'Android'],
  [/Mac OS X/, 'macOS'], [/CrOS/, 'ChromeOS'], [/Linux|X11/, 'Linux'],
];

/** Returns a short name of a user agent: `Chrome 142 on Linux`. An unknown one stays as it is. */
export function deviceName(agent) {
  const own = text(agent);
  const found = BROWSERS.map(([pattern, name]) => [pattern.exec(own), name]).find(([match]) => match);
  const system = SYSTEMS.find(([pattern]) => pattern.test(own));
  // No browser sends markup as its user agent: it is shown whole.
  if (/[<>"]/.test(own) || !found) return own;
  return `${found[1]} ${found[0][1]}${system ? ` on ${system[1]}` : ''}`;
}

/** A user agent in short; its title is the whole. */
export const Device = ({ agent }) => (agent
  ? html`<span class="clip" title=${agent}>${deviceName(agent)}</span>`
  : null);

const countries = (() => {
  try {
    return new Intl.DisplayNames(['en'], { type: 'region', fallback: 'none' });
  } catch {
    return null;
  }
})();

/** A country's name, with its code. */
export function Country({ code }) {
  if (!code) return null;
  let name;
  try { name = countries?.of(code); } catch { /* Not a code, such as T1 for Tor. */ }
  return html`<span class="nowrap" title=${name ?? code}>${name ?? code}</span>`;
}

/** Names separated by spaces, each as a small mark. */
export function Scope({ scope, show = 4 }) {
  const names = text(scope) === '–' ? [] : String(scope).split(' ').filter(Boolean);
  if (names.length === 0) return null;
  return html`<span class="marks" title=${names.join(' ')}>
    ${names.slice(0, show).map((name) => html`<code class="mark" key=${name}>${name}</code>`)}
    ${names.length > show && html`<span class="dim num">+${names.length - show}</span>`}
  </span>`;
}

/** A document as indented JSON. */
export function Json({ value, label }) {
  return html`<pre class="code" tabindex="0" role="region" aria-label=${label}><code>${JSON.stringify(value, null, 2)}</code></pre>`;
}

/** Returns whether an object has members. */
export const hasMembers = (value) => Object.keys(object(value)).length > 0;

export const UserState = ({ user }) => (user?.disabled_at || user?.disabled
  ? html`<${Badge} tone="bad" dot>Disabled<//>`
  : html`<${Badge} tone="ok" dot>Active<//>`);

/** Reads JSON that an operator typed. An empty text is `undefined`. */
export function typedJson(value, name) {
  if (String(value ?? '').trim() === '') return undefined;
  let parsed;
  try {
    parsed = JSON.parse(value);
  } catch {
    throw new Error(`${name} is no valid JSON; give an object such as {"plan": "pro"}.`);
  }
  if (object(parsed) !== parsed) throw new Error(`${name} must be an object such as {"plan": "pro"}.`);
  return parsed;
}

/** Returns the typed list: items separated by commas, spaces or lines. */
export const typedList = (value) => String(value ?? '').split(/[\s,]+/).filter(Boolean);

/** Leaves out the members that were not given. */
export const given = (members) => Object.fromEntries(
  Object.entries(members).filter(([, value]) => value !== undefined && value !== ''),
);

const isSame = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/**
 * Leaves out the members that are as they were when the dialog opened: what a colleague changed
 * since stays. With `was`, the server refuses to replace what a colleague has changed.
 */
export function changed(before, after) {
  const members = Object.entries(after).filter(([name, value]) => value !== undefined && !isSame(value, before[name]));
  if (members.length === 0) throw new Error('Nothing is changed.');
  const replaced = members.filter(([name]) => Object.hasOwn(before, name)).map(([name]) => [name, before[name]]);
  return { ...Object.fromEntries(members), was: Object.fromEntries(replaced) };
}

/**
 * Returns the members that a typed object changes in `before`, with `null` for those that it leaves
 * out. It is `undefined` if it changes none.
 */
export function typedChange(before, typed, name) {
  const old = object(before);
  const own = typedJson(typed, name) ?? {};
  const names = new Set([...Object.keys(old), ...Object.keys(own)]);
  const patch = [...names].map((key) => [key, Object.hasOwn(own, key) ? own[key] : null])
    .filter(([key, value]) => !(Object.hasOwn(old, key) && isSame(value, old[key])));
  return patch.length > 0 ? Object.fromEntries(patch) : undefined;
}

const DAYS = [['', 'Never'], ['3600', 'In 1 hour'], ['86400', 'In 1 day'], ['604800', 'In 7 days'],
  ['2592000', 'In 30 days'], ['7776000', 'In 90 days'], ['31536000', 'In 1 year']];

/** The field of a dialog that asks when something expires. */
export const EXPIRES = { name: 'expires_in', label: 'Expires', type: 'select', options: DAYS };

/** The field of a dialog that asks how long an old secret works. */
export const GRACE = {
  name: 'grace_seconds', label: 'The old secret works for', type: 'select', required: true,
  value: '86400', options: [['0', 'No longer'], ['3600', '1 more hour'], ['86400', '1 more day'],
    ['604800', '7 more days'], ['2592000', '30 more days']],
};
