// OAuth clients: list, one, and the actions on it.
import { html } from '../ui.js';
import { useApi, usePages } from '../api.js';
import { href, navigate } from '../router.js';
import { object, seconds } from '../format.js';
import { askBlock } from '../actions.js';
import { Badge, Empty, Facts, Id, Loaded, Panel, Time } from '../components/basics.js';
import { Page } from '../components/page.js';
import { Table } from '../components/table.js';
import { UsageOf } from './keys.js';
import {
  Act, AT_ONCE, GRACE, Json, KeyTabs, Scope, clientHref, changed, given, hasMembers, rest, typedChange, typedJson,
} from './shared.js';

export default function Clients({ path = [] }) {
  return path[0] ? html`<${Client} id=${path[0]} key=${path[0]} />` : html`<${ClientList} />`;
}

const SECRET = {
  member: 'client_secret', title: 'The client’s secret',
  note: 'Copy it now. It is shown this once: only its hash is stored.',
};

const ClientState = ({ of }) => (of.disabled
  ? html`<${Badge} tone="bad" dot>Disabled<//>`
  : html`<${Badge} tone="ok" dot>Active<//>`);

const METHODS = { client_secret: 'Secret', private_key_jwt: 'Key (private_key_jwt)' };

function ClientList() {
  const pages = usePages('/clients');
  return html`<${Page} title="Clients" tabs=${html`<${KeyTabs} current="clients" />`}
    lead="Machines that get access tokens for themselves."
    actions=${html`<${Act} action="create-client" label="Add client" icon="plus" tone="primary" spec=${createClient(pages.reload)} />`}>
    <${Panel} flush>
      <${Table} caption="Clients" rows=${pages.items} rowKey=${(row) => row.client_id} ...${rest(pages)}
        tone=${(row) => (row.disabled ? 'dimmed' : '')} onRow=${(row) => navigate(clientHref(row.client_id))}
        empty=${html`<${Empty} title="No clients">None was added yet.<//>`}
        columns=${[
    {
      key: 'name', label: 'Name', primary: true, width: 'wide',
      render: (row) => html`<a class="clip" href=${clientHref(row.client_id)} title=${row.name}>${row.name}</a>`,
    },
    { key: 'client_id', label: 'Client id', render: (row) => html`<${Id} value=${row.client_id} chars=${14} />` },
    { key: 'scope', label: 'Scope', render: (row) => (row.scope ? html`<${Scope} scope=${row.scope} show=${3} />` : null) },
    { key: 'plan', label: 'Plan' },
    { key: 'auth_method', label: 'Authenticates by', render: (row) => METHODS[row.auth_method] ?? row.auth_method },
    { key: 'token_seconds', label: 'Tokens live', end: true, render: (row) => (row.token_seconds ? seconds(row.token_seconds) : html`<span class="dim">default</span>`) },
    { key: 'created_at', label: 'Added', render: (row) => html`<${Time} at=${row.created_at} />` },
    { key: 'state', label: 'State', render: (row) => html`<${ClientState} of=${row} />` },
  ]} />
    <//>
  <//>`;
}

const tokenSeconds = (value, absent) => (value === undefined || value === '' ? absent : Number(value));

const createClient = (done) => ({
  title: 'Add a client',
  effect: 'The client can get access tokens at once.',
  confirm: 'Add client', path: '/clients', said: 'Client added.', secret: SECRET, done,
  fields: [
    { name: 'name', label: 'Name', required: true, maxlength: 200 },
    { name: 'scope', label: 'Scope', hint: 'The widest scope of its tokens; names, separated by spaces.' },
    { name: 'token_seconds', label: 'Tokens live for seconds', type: 'number', min: 1, max: 86400 },
    { name: 'plan', label: 'Plan', maxlength: 64 },
    { name: 'jwks', label: 'Public keys', type: 'textarea', rows: 3, placeholder: '{"keys": [...]}', hint: 'A JSON Web Key Set. With it the client has keys in place of a secret.' },
  ],
  body: ({ name, scope, token_seconds: life, plan, jwks }) => given({
    name, scope, plan, token_seconds: tokenSeconds(life), jwks: typedJson(jwks, 'Public keys'),
  }),
});

function Client({ id }) {
  const from = useApi(`/clients/${encodeURIComponent(id)}`);
  const client = from.data;
  return html`<${Page} title=${client?.name ?? 'Client'}
    heading=${html`<span class="clip-long">${client?.name ?? 'Client'}</span>`}
    back=${[href('/clients'), 'Clients']} actions=${client && html`<${Actions} of=${client} reload=${from.reload} />`}>
    <${Loaded} from=${from} lines=${8}>${(data) => html`<${Details} of=${data} />`}<//>
  <//>`;
}

function Actions({ of, reload }) {
  const path = `/clients/${encodeURIComponent(of.client_id)}`;
  return html`
    <${Act} action="change-client" label="Change" spec=${{
    title: `Change ${of.name}`,
    effect: 'New tokens have the new settings. Those that exist stay as they are until they expire.',
    confirm: 'Save', method: 'PATCH', path, said: 'Client changed.', done: reload,
    fields: [
      { name: 'name', label: 'Name', required: true, value: of.name, maxlength: 200 },
      { name: 'scope', label: 'Scope', value: of.scope ?? '' },
      { name: 'token_seconds', label: 'Tokens live for seconds', type: 'number', min: 1, max: 86400, value: of.token_seconds ?? '' },
      { name: 'plan', label: 'Plan', value: of.plan ?? '', maxlength: 64 },
      {
        name: 'claims', label: 'Claims', type: 'textarea', rows: 4,
        value: hasMembers(of.claims) ? JSON.stringify(of.claims, null, 2) : '', hint: 'A JSON object. Only what you change is sent.',
      },
    ],
    body: ({ name, scope, token_seconds: life, plan, claims }) => changed({
      name: of.name, scope: of.scope ?? '', token_seconds: of.token_seconds ?? null, plan: of.plan ?? null,
    }, {
      name, scope, token_seconds: tokenSeconds(life, null), plan: plan === '' ? null : plan,
      claims: typedChange(of.claims, claims, 'Claims'),
    }),
  }} />
    ${of.auth_method !== 'private_key_jwt' && html`<${Act} action="roll-client" label="Roll secret" spec=${{
    title: `Roll the secret of ${of.name}`,
    effect: 'The client gets a new secret, which works at once. The old one works for the time that you choose.',
    confirm: 'Roll', path: `${path}/roll`, said: 'Secret rolled.', secret: SECRET, done: reload, fields: [GRACE],
    body: ({ grace_seconds: grace }) => ({ grace_seconds: Number(grace) }),
  }} />`}
    <${Act} action="revoke-client-tokens" label="Revoke tokens" spec=${{
    title: `Revoke the tokens of ${of.name}`,
    effect: `Every access token that the client has is refused ${AT_ONCE}. It may get new ones.`,
    confirm: 'Revoke tokens', danger: true, path: `${path}/revoke-tokens`, said: 'Tokens revoked.', done: reload,
  }} />
    <${Act} action="block" label="Block…" onClick=${() => askBlock({ kind: 'client', value: of.client_id, done: reload })} />
    ${of.disabled
    ? html`<${Act} action="enable-client" label="Enable" spec=${{
      title: `Enable ${of.name}`,
      effect: 'The client may get tokens again at once. Its old tokens and keys that were revoked stay revoked.',
      confirm: 'Enable', method: 'PATCH', path, said: 'Client enabled.', done: reload, body: () => ({ disabled: false }),
    }} />`
    : html`<${Act} action="disable-client" label="Disable" tone="quiet-danger" spec=${{
      title: `Disable ${of.name}`,
      effect: `The client gets no tokens, and those that it has are refused ${AT_ONCE}.`,
      confirm: 'Disable', danger: true, method: 'PATCH', path, said: 'Client disabled.', done: reload, body: () => ({ disabled: true }),
    }} />`}
    <${Act} action="delete-client" label="Delete" tone="quiet-danger" spec=${{
    title: `Delete ${of.name}`,
    effect: `The client is gone for good. Its tokens and API keys are refused ${AT_ONCE}.`,
    confirm: 'Delete for good', danger: true, method: 'DELETE', path, said: 'Client deleted.',
    done: () => navigate(href('/clients')),
  }} />`;
}

function Details({ of }) {
  return html`<div class="cols">
    <${Panel} title="Client">
      <${Facts} items=${[
    ['State', html`<${ClientState} of=${of} />`],
    ['Client id', html`<${Id} value=${of.client_id} chars=${30} />`],
    ['Authenticates by', METHODS[of.auth_method] ?? of.auth_method],
    ['Added', html`<${Time} at=${of.created_at} exact />`],
    ['API keys', html`<a href=${href('/keys', { owner: `client:${of.client_id}` })}>Its API keys</a>`],
  ]} />
    <//>
    <${Panel} title="Its tokens">
      <${Facts} items=${[
    ['Scope', of.scope ? html`<${Scope} scope=${of.scope} show=${30} />` : 'None'],
    ['Tokens live', of.token_seconds ? seconds(of.token_seconds) : 'As those of users'],
    ['Plan', of.plan],
    ['Claims', hasMembers(of.claims) ? html`<${Json} value=${object(of.claims)} label="Claims" />` : 'None'],
    of.jwks && ['Public keys', html`<${Json} value=${of.jwks} label="Public keys" />`],
  ]} />
    <//>
  </div>
  <${UsageOf} filter=${{ client: of.client_id }} />`;
}
