// API keys as a table, for the list of all and for one owner's.
import { html } from '../ui.js';
import { Badge, Empty, Time } from '../components/basics.js';
import { Table } from '../components/table.js';
import { Act, AT_ONCE, Owner, Scope, keyHref } from './shared.js';

/** Returns the state of a key: active, revoked or expired. */
export function keyState(key) {
  if (key.revoked_at) return 'revoked';
  if (key.expires_at && key.expires_at * 1000 <= Date.now()) return 'expired';
  return 'active';
}

export function KeyState({ of }) {
  const state = keyState(of);
  if (state === 'revoked') return html`<${Badge} tone="bad" dot>Revoked<//>`;
  if (state === 'expired') return html`<${Badge} tone="muted" dot>Expired<//>`;
  return html`<${Badge} tone="ok" dot>Active<//>`;
}

/** What an operator is asked before a key is revoked. */
export const revokeKey = (key, done) => ({
  title: `Revoke ${key.name}`,
  effect: `The key is refused ${AT_ONCE}, for good. No key can be enabled again.`,
  confirm: 'Revoke',
  danger: true,
  path: `/keys/${encodeURIComponent(key.id)}/revoke`,
  said: 'Key revoked.',
  done,
});

/** `withOwner`: whether a column names the owner. `onChanged` is called after a change. */
export function KeyTable({ caption, rows, withOwner = true, onChanged, ...rest }) {
  return html`<${Table} caption=${caption} rows=${rows} rowKey=${(row) => row.id}
    tone=${(row) => (keyState(row) === 'active' ? '' : 'dimmed')}
    empty=${html`<${Empty} title="No API keys">None matches, or none was created yet.<//>`}
    ...${rest}
    columns=${[
    {
      key: 'name', label: 'Name', primary: true, width: 'wide',
      render: (row) => html`<a class="clip" href=${keyHref(row.id)} title=${row.name}>${row.name}</a>`,
    },
    { key: 'prefix', label: 'Begins with', mono: true },
    withOwner && { key: 'owner', label: 'Owner', render: (row) => html`<${Owner} owner=${row.owner} />` },
    { key: 'scope', label: 'Scope', render: (row) => (row.scope ? html`<${Scope} scope=${row.scope} show=${2} />` : null) },
    { key: 'last_used_at', label: 'Last used', render: (row) => html`<${Time} at=${row.last_used_at} />` },
    {
      key: 'expires_at', label: 'Expires',
      render: (row) => (row.expires_at ? html`<${Time} at=${row.expires_at} />` : html`<span class="dim">never</span>`),
    },
    { key: 'state', label: 'State', render: (row) => html`<${KeyState} of=${row} />` },
    {
      key: 'act', label: '',
      render: (row) => (keyState(row) === 'active'
        ? html`<${Act} action="revoke-key" label="Revoke" spec=${revokeKey(row, onChanged)} />`
        : ' '),
    },
  ]} />`;
}
