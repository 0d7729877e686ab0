// Signing keys, and the keys that encrypt records in the store.
import { html } from '../ui.js';
import { useApi } from '../api.js';
import { list, object } from '../format.js';
import { Badge, Empty, Facts, Id, Loaded, Panel, Time } from '../components/basics.js';
import { Page } from '../components/page.js';
import { Table } from '../components/table.js';
import { Act, KeyTabs } from './shared.js';

const STATES = {
  next: ['info', 'Next', 'Published, so that every edge knows it before it signs.'],
  current: ['ok', 'Current', 'Signs new tokens.'],
  previous: ['muted', 'Previous', 'Verifies tokens that it signed, until the last one expires.'],
};

export default function Signing() {
  const from = useApi('/signing-keys');
  const act = html`<${Act} action="rotate-keys" label="Rotate now" tone="quiet-danger" spec=${{
    title: 'Rotate the signing keys',
    effect: 'The next key signs from now on, and a new next key is made. Tokens of the current key stay valid until they expire.',
    confirm: 'Rotate now', danger: true, path: '/signing-keys/rotate', said: 'Signing keys rotated.', done: from.reload,
  }} />`;
  return html`<${Page} title="Signing keys" tabs=${html`<${KeyTabs} current="signing" />`}
    lead="The keys that sign access tokens. Private halves are encrypted in the database, and shown nowhere."
    actions=${from.data && act}>
    <${Loaded} from=${from} lines=${5}>${(data) => html`
      <${Panel} flush title="Signing keys">
        <${Table} caption="Signing keys" rows=${list(data.keys)} rowKey=${(row) => row.kid}
          empty=${html`<${Empty} title="No signing keys">Access tokens of this service are opaque.<//>`}
          columns=${[
    {
      key: 'state', label: 'State', primary: true, render: (row) => {
        const [tone, name] = STATES[row.state] ?? ['muted', row.state];
        return html`<${Badge} tone=${tone} dot>${name}<//>`;
      },
    },
    { key: 'kid', label: 'Key id (kid)', render: (row) => html`<${Id} value=${row.kid} chars=${22} />` },
    { key: 'algorithm', label: 'Algorithm', mono: true },
    { key: 'created_at', label: 'Created', render: (row) => html`<${Time} at=${row.created_at} />` },
    { key: 'active_from', label: 'Signs from', render: (row) => html`<${Time} at=${far(row.active_from)} />` },
    { key: 'ends_at', label: 'Verifies until', render: (row) => html`<${Time} at=${far(row.ends_at)} />` },
    { key: 'means', label: 'What it does', width: 'wide', render: (row) => html`<span class="dim">${STATES[row.state]?.[2]}</span>` },
  ]} />
      <//>
      <${Panel} title="Record encryption" note="The keys that encrypt what the store has, by their names. The secrets are in the settings alone.">
        <${Facts} items=${[
    ['Current', name(object(data.record_encryption).current, 'Records are not encrypted')],
    ['Previous', name(object(data.record_encryption).previous, 'None')],
  ]} />
      <//>`}<//>
  <//>`;
}

const name = (value, absent) => (value ? html`<code>${value}</code>` : absent);

/** A time in the year 9999 means that no rotation is scheduled. */
const far = (at) => (typeof at === 'number' && at > 200_000_000_000 ? null : at);
