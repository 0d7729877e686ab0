// Users: search, and one with sessions, keys and what was unusual.
import { html } from '../ui.js';
import { useApi, usePages } from '../api.js';
import { href, navigate, useParams } from '../router.js';
import { count, list, object } from '../format.js';
import { askBlock } from '../actions.js';
import { Empty, Facts, Id, Loaded, Panel, Time } from '../components/basics.js';
import { Filters, Page, Search, Select } from '../components/page.js';
import { Table } from '../components/table.js';
import { AuditTable } from './auditTable.js';
import { KeyTable } from './keyTable.js';
import { SessionTable, isActive } from './sessionTable.js';
import {
  Act, AT_ONCE, Country, Json, PeopleTabs, Scope, UserState, changed, hasMembers, rest, typedChange, userHref,
} from './shared.js';

export default function Users({ path = [] }) {
  return path[0] ? html`<${User} id=${path[0]} key=${path[0]} />` : html`<${UserList} />`;
}

function UserList() {
  const [params, change] = useParams();
  const pages = usePages('/users', { q: params.q, state: params.state });
  return html`<${Page} title="Users" tabs=${html`<${PeopleTabs} current="users" />`}
    lead="Accounts of this auth service.">
    <${Panel} flush>
      <${Filters}>
        <${Search} label="Username begins with" value=${params.q} onChange=${(q) => change({ q })} />
        <${Select} label="State" value=${params.state}
          options=${[['', 'All'], ['active', 'Active'], ['disabled', 'Disabled']]}
          onChange=${(state) => change({ state })} />
      <//>
      <${Table} caption="Users" rows=${pages.items} rowKey=${(row) => row.id} ...${rest(pages)}
        onRow=${(row) => navigate(userHref(row.id))}
        empty=${html`<${Empty} title="No users">None matches these filters.<//>`}
        columns=${[
    {
      key: 'username', label: 'Username', primary: true, width: 'wide',
      render: (row) => html`<a class="clip" href=${userHref(row.id)} title=${row.username}>${row.username}</a>`,
    },
    { key: 'state', label: 'State', render: (row) => html`<${UserState} user=${row} />` },
    { key: 'sessions', label: 'Sessions', end: true, render: (row) => count(row.sessions) },
    { key: 'last_seen_at', label: 'Last seen', render: (row) => html`<${Time} at=${row.last_seen_at} />` },
    { key: 'created_at', label: 'Created', render: (row) => html`<${Time} at=${row.created_at} />` },
    { key: 'scope', label: 'Scope', width: 'wide', render: (row) => (row.scope ? html`<${Scope} scope=${row.scope} show=${3} />` : null) },
    { key: 'id', label: 'Id', render: (row) => html`<${Id} value=${row.id} chars=${8} />` },
  ]} />
    <//>
  <//>`;
}

/** The most sessions that a user's own page lists. */
const SESSIONS_SHOWN = 25;

function User({ id }) {
  const from = useApi(`/users/${encodeURIComponent(id)}`);
  const user = from.data;
  const title = user?.username ?? 'User';
  return html`<${Page} title=${title} heading=${html`<span class="clip-long">${title}</span>`}
    back=${[href('/users'), 'Users']} actions=${user && html`<${Actions} user=${user} reload=${from.reload} />`}>
    <${Loaded} from=${from} lines=${8}>${(data) => html`<${Details} user=${data} reload=${from.reload} />`}<//>
  <//>`;
}

function Actions({ user, reload }) {
  const path = `/users/${encodeURIComponent(user.id)}`;
  const isDisabled = Boolean(user.disabled_at || user.disabled);
  return html`
    <${Act} action="end-sessions" label="End all sessions" spec=${{
    title: `End all sessions of ${user.username}`,
    effect: `Every session of this user ends, and their tokens are refused ${AT_ONCE}. The user may log in again.`,
    confirm: 'End all sessions', danger: true, path: `${path}/sessions/end`,
    said: 'All sessions ended.', done: reload,
  }} />
    <${Act} action="change-claims" label="Scope and claims" spec=${{
    title: `Scope and claims of ${user.username}`,
    effect: 'Tokens have the new scope and claims from the next refresh or login on.',
    confirm: 'Save', path: `${path}/claims`, said: 'Scope and claims saved.', done: reload,
    fields: [
      { name: 'scope', label: 'Scope', value: user.scope ?? '', hint: 'Names, separated by spaces.' },
      {
        name: 'claims', label: 'Claims', type: 'textarea', rows: 6,
        value: hasMembers(user.claims) ? JSON.stringify(user.claims, null, 2) : '',
        hint: 'A JSON object. Only what you change is sent.',
      },
    ],
    body: ({ scope, claims }) => changed({ scope: user.scope ?? '' }, {
      scope, claims: typedChange(user.claims, claims, 'Claims'),
    }),
  }} />
    <${Act} action="block" label="Block…" onClick=${() => askBlock({ kind: 'subject', value: user.id, done: reload })} />
    ${isDisabled
    ? html`<${Act} action="enable-user" label="Enable" spec=${{
      title: `Enable ${user.username}`,
      effect: 'The user may log in again at once. Sessions that ended stay ended.',
      confirm: 'Enable', path: `${path}/enable`, said: 'User enabled.', done: reload,
    }} />`
    : html`<${Act} action="disable-user" label="Disable" tone="quiet-danger" spec=${{
      title: `Disable ${user.username}`,
      effect: `Every session and API key of this user is refused ${AT_ONCE}, and logins are refused until you enable the user.`,
      confirm: 'Disable', danger: true, path: `${path}/disable`, said: 'User disabled.', done: reload,
    }} />`}
    <${Act} action="delete-user" label="Delete" tone="quiet-danger" spec=${{
    title: `Delete ${user.username}`,
    effect: `The account is gone for good. Its sessions and API keys are refused ${AT_ONCE}.`,
    confirm: 'Delete for good', danger: true, method: 'DELETE', path, said: 'User deleted.',
    done: () => navigate(href('/users')),
  }} />`;
}

function Details({ user, reload }) {
  const sessions = list(user.sessions);
  const active = sessions.filter(isActive);
  const shown = (active.length > 0 ? active : sessions).slice(0, SESSIONS_SHOWN);
  const keys = list(user.keys);
  const all = user.active_sessions ?? active.length;
  return html`
    <div class="cols">
      <${Panel} title="Account">
        <${Facts} items=${[
    ['State', html`<${UserState} user=${user} />`],
    ['Id', html`<${Id} value=${user.id} chars=${24} />`],
    ['Created', html`<${Time} at=${user.created_at} exact />`],
    ['Last seen', html`<${Time} at=${user.last_seen_at ?? latest(sessions)} />`],
    user.disabled_at && ['Disabled', html`<${Time} at=${user.disabled_at} exact />`],
    ['Scope', user.scope ? html`<${Scope} scope=${user.scope} show=${30} />` : null],
    ['Claims', hasMembers(user.claims) ? html`<${Json} value=${object(user.claims)} label="Claims" />` : 'None'],
  ]} />
      <//>
      <${Panel} flush title="Where logins came from" note="The first login from each country.">
        ${list(user.countries).length === 0
    ? html`<${Empty} title="No country known">The edge states countries if it runs at Cloudflare.<//>`
    : html`<${Table} dense caption="Countries" rows=${list(user.countries)} rowKey=${(row) => row.country}
          columns=${[
    { key: 'country', label: 'Country', primary: true, render: (row) => html`<${Country} code=${row.country} />` },
    { key: 'first_seen_at', label: 'First login', end: true, render: (row) => html`<${Time} at=${row.first_seen_at} />` },
  ]} />`}
      <//>
    </div>
    <${Panel} flush title="Unusual events" note="Reused refresh tokens, bursts of refreshes, logins from new countries, failed logins."
      aside=${html`<a href=${href('/audit', { user: user.id })}>All events</a>
        <a href=${href('/usage', { by: 'day,route', subject: user.id })}>Usage</a>`}>
      <${AuditTable} caption="Unusual events" rows=${list(user.unusual)} of="user" dense
        empty=${html`<${Empty} title="Nothing unusual" />`} />
    <//>
    <${Panel} flush title="Sessions"
      aside=${html`<a href=${href('/sessions', { user: user.id })}>All sessions</a>`}
      note=${`${count(all)} active${shown.length < all ? `; the newest ${shown.length} are shown` : ''}`}>
      <${SessionTable} caption="Sessions" rows=${shown} onChanged=${reload} dense />
    <//>
    <${Panel} flush title="API keys"
      aside=${html`<a href=${href('/keys', { owner: `user:${user.id}` })}>Create or search</a>`}>
      <${KeyTable} caption="API keys" rows=${keys} withOwner=${false} onChanged=${reload} dense />
    <//>`;
}

const latest = (sessions) => sessions.reduce((last, own) => Math.max(last ?? 0, own.seen_at ?? 0), null);
