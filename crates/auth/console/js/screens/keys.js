// API keys: list, one with what it may do and what it was used for, and the actions on it.
import { html } from '../ui.js';
import { useApi, usePages } from '../api.js';
import { href, useParams } from '../router.js';
import { count, list, object } from '../format.js';
import { Empty, Facts, Id, Loaded, Panel, Time } from '../components/basics.js';
import { BarList } from '../components/bars.js';
import { Chip, Filters, Page, Search } from '../components/page.js';
import { KeyState, KeyTable, keyState, revokeKey } from './keyTable.js';
import {
  Act, AT_ONCE, EXPIRES, GRACE, Json, KeyTabs, Owner, Scope, changed, given, hasMembers, rest, typedChange, typedList,
} from './shared.js';

export default function Keys({ path = [] }) {
  return path[0] ? html`<${Key} id=${path[0]} key=${path[0]} />` : html`<${KeyList} />`;
}

const SECRET = {
  member: 'key', title: 'The API key',
  note: 'Copy it now. It is shown this once: only its hash is stored.',
};

function KeyList() {
  const [params, change] = useParams();
  const { q, owner } = params;
  const pages = usePages('/keys', { q, owner });
  return html`<${Page} title="API keys" tabs=${html`<${KeyTabs} current="keys" />`}
    lead="Keys of users and clients. Only hashes are stored."
    actions=${html`<${Act} action="create-key" label="Create key" icon="plus" tone="primary" spec=${createKey(owner, pages.reload)} />`}>
    <${Panel} flush>
      <${Filters}>
        <${Search} label="Name or beginning of a key" value=${q} onChange=${(text) => change({ q: text })} />
        ${owner && html`<${Chip} label="Owner" value=${owner} onRemove=${() => change({ owner: '' })} />`}
      <//>
      <${KeyTable} caption="API keys" rows=${pages.items} ...${rest(pages)} onChanged=${pages.reload} />
    <//>
  <//>`;
}

const createKey = (owner, done) => ({
  title: 'Create an API key',
  effect: 'The key works with the next request at every edge.',
  confirm: 'Create key', path: '/keys', said: 'Key created.', secret: SECRET, done,
  fields: [
    { name: 'owner', label: 'Owner', required: true, value: owner ?? '', placeholder: 'user:ID or client:ID', hint: 'Copy the id from the page of the user or client.' },
    { name: 'name', label: 'Name', required: true, maxlength: 200 },
    { name: 'scope', label: 'Scope', hint: 'Names, separated by spaces; at most those of the owner.' },
    EXPIRES,
    { name: 'plan', label: 'Plan', maxlength: 64 },
    { name: 'networks', label: 'Networks', placeholder: '192.0.2.0/24', hint: 'Only from these; separated by commas. Empty: from everywhere.' },
  ],
  body: (values) => given({
    owner: values.owner, name: values.name, scope: values.scope, plan: values.plan,
    expires_in: values.expires_in ? Number(values.expires_in) : undefined,
    networks: typedList(values.networks).length > 0 ? typedList(values.networks) : undefined,
  }),
});

function Key({ id }) {
  const from = useApi(`/keys/${encodeURIComponent(id)}`);
  const key = from.data;
  return html`<${Page} title=${key?.name ?? 'API key'}
    heading=${html`<span class="clip-long">${key?.name ?? 'API key'}</span>`}
    back=${[href('/keys'), 'API keys']} actions=${key && keyState(key) === 'active' && html`<${Actions} of=${key} reload=${from.reload} />`}>
    <${Loaded} from=${from} lines=${8}>${(data) => html`<${Details} of=${data} />`}<//>
  <//>`;
}

function Actions({ of, reload }) {
  const path = `/keys/${encodeURIComponent(of.id)}`;
  return html`
    <${Act} action="change-key" label="Change" spec=${{
    title: `Change ${of.name}`,
    effect: `The change takes effect ${AT_ONCE}.`,
    confirm: 'Save', method: 'PATCH', path, said: 'Key changed.', done: reload,
    fields: [
      { name: 'name', label: 'Name', required: true, value: of.name, maxlength: 200 },
      { name: 'scope', label: 'Scope', value: of.scope ?? '' },
      { name: 'plan', label: 'Plan', value: of.plan ?? '', maxlength: 64 },
      { name: 'networks', label: 'Networks', value: list(of.networks).join(', '), hint: 'Empty: from everywhere.' },
      {
        name: 'quotas', label: 'Quotas', type: 'textarea', rows: 3, placeholder: '{"api": 500}',
        value: hasMembers(of.quotas) ? JSON.stringify(of.quotas) : '', hint: 'Limits by their names. Only what you change is sent.',
      },
      {
        name: 'expires_in', label: 'Expires', type: 'select',
        options: [['keep', 'As it is'], ...EXPIRES.options], value: 'keep',
      },
    ],
    body: ({ name, scope, plan, networks, quotas, expires_in: expires }) => changed({
      name: of.name, scope: of.scope ?? '', plan: of.plan ?? null, networks: list(of.networks),
    }, {
      name, scope, plan: plan === '' ? null : plan, networks: typedList(networks),
      quotas: typedChange(of.quotas, quotas, 'Quotas'),
      ...(expires === 'keep' ? {} : expires === '' ? { expires_at: null } : { expires_in: Number(expires) }),
    }),
  }} />
    <${Act} action="roll-key" label="Roll" spec=${{
    title: `Roll ${of.name}`,
    effect: 'The key gets a new secret, which works with the next request. The old one works for the time that you choose.',
    confirm: 'Roll', path: `${path}/roll`, said: 'Key rolled.', secret: SECRET, done: reload, fields: [GRACE],
    body: ({ grace_seconds: grace }) => ({ grace_seconds: Number(grace) }),
  }} />
    <${Act} action="revoke-key" label="Revoke" tone="quiet-danger" spec=${revokeKey(of, reload)} />`;
}

function Details({ of }) {
  return html`<div class="cols">
    <${Panel} title="Key">
      <${Facts} items=${[
    ['State', html`<${KeyState} of=${of} />`],
    ['Owner', html`<${Owner} owner=${of.owner} />`],
    ['Begins with', of.prefix && html`<span class="mono">${of.prefix}</span>`],
    ['Id', html`<${Id} value=${of.id} chars=${24} />`],
    ['Created', html`<${Time} at=${of.created_at} exact />`],
    ['Last used', html`<${Time} at=${of.last_used_at} />`],
    ['Expires', of.expires_at ? html`<${Time} at=${of.expires_at} exact />` : 'Never'],
    of.previous_until && ['Old secret works', html`<${Time} at=${of.previous_until} />`],
    of.revoked_at && ['Revoked', html`<${Time} at=${of.revoked_at} exact />`],
  ]} />
    <//>
    <${Panel} title="What it may do">
      <${Facts} items=${[
    ['Scope', of.scope ? html`<${Scope} scope=${of.scope} show=${30} />` : 'None'],
    ['Plan', of.plan],
    ['Networks', list(of.networks).length > 0 ? html`<span class="mono wrap">${list(of.networks).join(', ')}</span>` : 'Everywhere'],
    ['Quotas', hasMembers(of.quotas) ? html`<${Json} value=${object(of.quotas)} label="Quotas" />` : 'Those of the limits'],
    ['Metadata', hasMembers(of.metadata) ? html`<${Json} value=${object(of.metadata)} label="Metadata" />` : 'None'],
  ]} />
    <//>
  </div>
  <${UsageOf} filter=${{ key: of.id }} />`;
}

/** The requests of one key or client in the last 30 days, by route. */
export function UsageOf({ filter }) {
  const from = useApi('/usage', { by: 'route', ...filter });
  return html`<${Panel} title="Requests, last 30 days" aside=${html`<a href=${href('/usage', { by: 'day,route', ...filter })}>All of its usage</a>`}>
    <${Loaded} from=${from} lines=${3}>${(data) => {
    const rows = list(data.items ?? data.usage ?? data.rows);
    const refused = rows.reduce((sum, row) => sum + (row.refused || 0), 0);
    if (rows.length === 0) return html`<${Empty} title="No requests">The edge counts requests if <code>usage.flush_seconds</code> is set.<//>`;
    return html`<${BarList} label="Requests by route" items=${rows.map((row) => ({ name: row.route, count: row.passed }))} />
      ${refused > 0 && html`<p class="panel-note num">${count(refused)} more were refused.</p>`}`;
  }}<//>
  <//>`;
}
