// The shell: login, navigation, banners, and the screen of the current path.
import { html, render, useEffect, useState, useStore, useErrorBoundary } from './ui.js';
import { ended, logOut, resume, session } from './api.js';
import { followLinks, href, navigate, place } from './router.js';
import { live } from './live.js';
import { Icon, Logo } from './components/icon.js';
import { ErrorState, Loading } from './components/basics.js';
import { Dialogs } from './components/dialog.js';
import { Notices, notify } from './components/notices.js';
import { ThemeSwitch } from './components/theme.js';
import { Login } from './login.js';

// Each screen's module exports `default`, which is given `path`: its parts after the screen's name.
const SCREENS = [
  { name: 'now', label: 'Now', load: () => import('./screens/now.js') },
  { name: 'refusals', label: 'Refusals', load: () => import('./screens/refusals.js') },
  { name: 'limits', label: 'Limits', load: () => import('./screens/limits.js') },
  { name: 'users', label: 'Users and sessions', load: () => import('./screens/users.js'), also: { sessions: () => import('./screens/sessions.js') } },
  { name: 'keys', label: 'Keys and clients', load: () => import('./screens/keys.js'), also: { clients: () => import('./screens/clients.js'), 'signing-keys': () => import('./screens/signing.js') } },
  { name: 'usage', label: 'Usage', load: () => import('./screens/usage.js') },
  { name: 'audit', label: 'Audit', load: () => import('./screens/audit.js') },
  { name: 'policy', label: 'Policy', load: () => import('./screens/policy.js') },
];

function screenOf(path) {
  const [name, ...rest] = path.slice(1).split('/').map(part);
  for (const screen of SCREENS) {
    if (screen.name === name) return { screen, load: screen.load, rest };
    if (Object.hasOwn(screen.also ?? {}, name)) return { screen, load: screen.also[name], rest };
  }
  return null;
}

function part(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const modules = new Map();

function Screen({ path }) {
  const found = screenOf(path);
  const [, again] = useState(0);
  const load = found?.load;
  useEffect(() => {
    if (!load || modules.get(load)?.default) return;
    load().then((module) => modules.set(load, module), (error) => modules.set(load, { error }))
      .then(() => again((n) => n + 1));
  }, [load]);
  if (!found) {
    return html`<div class="page"><h1>No such screen</h1>
      <p>Nothing is at this address. <a href=${href('/now')}>See what happens now</a>.</p></div>`;
  }
  const module = modules.get(load);
  if (!module) return html`<div class="page"><${Loading} lines=${6} /></div>`;
  if (module.error) {
    return html`<div class="page"><${ErrorState} error=${{ message: 'This screen could not be loaded.', code: 'screen_unavailable' }}
      onRetry=${() => location.reload()} /></div>`;
  }
  return html`<${Guarded} key=${load} view=${module.default} path=${found.rest} />`;
}

/** A defect of one screen leaves the others usable. */
function Guarded({ view, path }) {
  const [error, reset] = useErrorBoundary((caught) => console.error(caught));
  if (error) {
    return html`<div class="page"><${ErrorState} onRetry=${reset}
      error=${{ message: 'This screen failed: a defect of the console.', code: String(error.message ?? error) }} /></div>`;
  }
  return html`<${view} path=${path} />`;
}

/** What is wrong for every screen. */
function Banners() {
  const { state, link } = useStore(live);
  return html`<div class="banners" role="status">
    ${state?.store === 'down' && html`<p class="banner bad" data-banner="store"><${Icon} name="warn" />
      <span><strong>The store does not answer.</strong> Changes are saved and reach the edges when it is back.
      Until then ended sessions and blocks may still be accepted, as each route's <code>on_store_outage</code> says.</span></p>`}
    ${state?.database === 'down' && html`<p class="banner bad" data-banner="database"><${Icon} name="warn" />
      <span><strong>The database does not answer.</strong> Logins, refreshes and changes fail until it is back.</span></p>`}
    ${link === 'reconnecting' && html`<p class="banner warn"><${Icon} name="warn" />
      <span><strong>The console is not connected.</strong> It tries again; what you see may be old.</span></p>`}
  </div>`;
}

const LINKS = {
  live: ['ok', 'Live'],
  polling: ['ok', 'Every 15 s'],
  connecting: ['muted', 'Connecting'],
  reconnecting: ['warn', 'Reconnecting'],
  off: ['muted', 'Paused'],
};

function LinkState() {
  const { link } = useStore(live);
  const [tone, label] = LINKS[link];
  return html`<span class=${`link-state ${tone}`} data-link=${link}>
    <span class="dot" aria-hidden="true"></span>${label}</span>`;
}

function Account({ own }) {
  const leave = async () => {
    try {
      await logOut();
    } catch (error) {
      notify('bad', `You are still logged in: ${error.message}`);
    }
  };
  return html`<div class="account">
    <div class="account-name" title=${own.username}>${own.username}
      <span class="dim">${own.may_act ? 'may act' : 'read only'}</span></div>
    <${ThemeSwitch} />
    <button type="button" class="icon-button" title="Log out" aria-label="Log out" onClick=${leave}>
      <${Icon} name="out" /></button>
  </div>`;
}

function Shell({ own }) {
  const { path } = useStore(place);
  const [menu, setMenu] = useState(false);
  const current = screenOf(path)?.screen.name;
  useEffect(() => setMenu(false), [path]);
  useEffect(() => {
    if (!menu) return undefined;
    const close = (event) => { if (event.key === 'Escape') setMenu(false); };
    addEventListener('keydown', close);
    return () => removeEventListener('keydown', close);
  }, [menu]);
  return html`<div class=${menu ? 'shell menu-open' : 'shell'}>
    <a class="skip" href="#main">Skip to the content</a>
    <header class="topbar">
      <a class="brand" href=${href('/now')}><${Logo} /><span>Portcullis</span></a>
      <${LinkState} />
      <button type="button" class="icon-button menu-button" aria-expanded=${menu ? 'true' : 'false'}
        aria-controls="menu" aria-label="Menu" onClick=${() => setMenu(!menu)}><${Icon} name=${menu ? 'close' : 'menu'} /></button>
    </header>
    <nav class="side" id="menu" aria-label="Screens">
      <ul>${SCREENS.map((screen) => html`<li key=${screen.name}>
        <a href=${href(`/${screen.name}`)} aria-current=${screen.name === current ? 'page' : undefined}>
          <${Icon} name=${screen.name} />${screen.label}</a></li>`)}</ul>
      <${Account} own=${own} />
    </nav>
    <main id="main" tabindex="-1">
      <${Banners} />
      <${Screen} path=${path} />
    </main>
  </div>`;
}

function App() {
  const own = useStore(session);
  const notice = useStore(ended);
  useEffect(() => {
    resume();
    document.addEventListener('click', followLinks);
    if (place.get().path === '/now' && !location.pathname.endsWith('/now')) {
      navigate(href('/now'), { replace: true });
    }
  }, []);
  if (own === undefined) return html`<div class="starting"><${Logo} /><span class="sr" role="status">Loading</span></div>`;
  if (own === null) return html`<${Login} notice=${notice} />`;
  return html`<${Shell} own=${own} /><${Dialogs} /><${Notices} />`;
}

render(html`<${App} />`, document.getElementById('app'));
