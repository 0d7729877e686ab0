// Sessions: search, and one with its refreshes and events.
import { html } from '../ui.js';
import { useApi, usePages } from '../api.js';
import { href, useParams } from '../router.js';
import { count, list } from '../format.js';
import { Badge, Empty, Facts, Id, Loaded, Panel, Time } from '../components/basics.js';
import { Chip, Filters, Page, Search, Select } from '../components/page.js';
import { Table } from '../components/table.js';
import { AuditTable } from './auditTable.js';
import { SessionState, SessionTable, endSession, isActive } from './sessionTable.js';
import { Act, Country, PeopleTabs, Scope, UserLink, clientHref, deviceName, rest } from './shared.js';

export default function Sessions({ path = [] }) {
  return path[0] ? html`<${Session} id=${path[0]} key=${path[0]} />` : html`<${SessionList} />`;
}

function SessionList() {
  const [params, change] = useParams();
  const { q, user, state } = params;
  const pages = usePages('/sessions', { q, user, state });
  return html`<${Page} title="Sessions" tabs=${html`<${PeopleTabs} current="sessions" />`}
    lead="Logins of users, newest first.">
    <${Panel} flush>
      <${Filters}>
        <${Search} label="Username or address begins with, or a session’s id" value=${q}
          placeholder="Username, address or id" onChange=${(text) => change({ q: text })} />
        <${Select} label="State" value=${state}
          options=${[['', 'All'], ['active', 'Active'], ['ended', 'Ended']]}
          onChange=${(own) => change({ state: own })} />
        ${user && html`<${Chip} label="User" value=${pages.items?.[0]?.username ?? user}
          onRemove=${() => change({ user: '' })} />`}
      <//>
      <${SessionTable} caption="Sessions" rows=${pages.items} withUser ...${rest(pages)}
        onChanged=${pages.reload} />
    <//>
  <//>`;
}

function Session({ id }) {
  const from = useApi(`/sessions/${encodeURIComponent(id)}`);
  const session = from.data;
  const act = session && isActive(session)
    && html`<${Act} action="end-session" label="End session" tone="quiet-danger" spec=${endSession(session, from.reload)} />`;
  return html`<${Page} title="Session" heading=${html`Session ${session && html`<span class="dim">of</span> `}
      ${session && html`<span class="clip-long">${session.username}</span>`}`}
    back=${[href('/sessions'), 'Sessions']} actions=${act}>
    <${Loaded} from=${from} lines=${8}>${(data) => html`<${Details} session=${data} />`}<//>
  <//>`;
}

function Details({ session }) {
  const refreshes = list(session.refreshes);
  return html`
    <${Panel} title="Session">
      <${Facts} wide items=${[
    ['State', html`<${SessionState} session=${session} />`],
    ['User', html`<${UserLink} id=${session.user_id} username=${session.username} />`],
    ['Client', session.client_id ? html`<${Id} value=${session.client_id} chars=${24}
      href=${String(session.client_id).startsWith('pcc_') ? clientHref(session.client_id) : undefined} />` : null],
    ['Id', html`<${Id} value=${session.id} chars=${24} />`],
    ['Login', html`<${Time} at=${session.created_at} exact />`],
    ['Last seen', html`<${Time} at=${session.seen_at} exact />`],
    ['Expires', html`<${Time} at=${session.expires_at} exact />`],
    session.ended_at && ['Ended', html`<${Time} at=${session.ended_at} exact />`],
    session.ended_why && ['Ended because', String(session.ended_why).replaceAll('_', ' ')],
    ['Address', session.address && html`<span class="mono">${session.address}</span>`],
    ['Country', session.country && html`<${Country} code=${session.country} />`],
    ['Device', session.device && html`<span class="wrap">${deviceName(session.device)}</span>`],
    ['User agent', session.device && html`<span class="wrap mono">${session.device}</span>`],
  ]} />
    <//>
    <div class="cols uneven">
      <${Panel} flush title="Refresh history" note=${refreshes.length >= 100 ? 'The newest 100' : `${count(refreshes.length)} in all`}>
        <${Table} dense caption="Refreshes" rows=${refreshes} empty=${html`<${Empty} title="Never refreshed" />`}
          columns=${[
    { key: 'at', label: 'Issued', primary: true, render: (row) => html`<${Time} at=${row.at} exact />` },
    {
      key: 'spent_at', label: 'Refresh token', render: (row) => (row.spent_at
        ? html`<span>used <${Time} at=${row.spent_at} /></span>`
        : html`<${Badge} tone="info">Unused<//>`),
    },
    { key: 'scope', label: 'Scope', render: (row) => (row.scope ? html`<${Scope} scope=${row.scope} show=${2} />` : null) },
  ]} />
      <//>
      <${Panel} flush title="Events">
        <${AuditTable} caption="Events of this session" rows=${list(session.events)} of="session" dense
          empty=${html`<${Empty} title="No events" />`} />
      <//>
    </div>`;
}
