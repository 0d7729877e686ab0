// Sessions as a table, for the list of all and for one user's.
import { html } from '../ui.js';
import { Badge, Empty, Time } from '../components/basics.js';
import { Table } from '../components/table.js';
import { Act, AT_ONCE, Country, Device, UserLink, sessionHref } from './shared.js';

/** Returns whether the session can still be used. */
export const isActive = (session) => !session.ended_at
  && !(session.expires_at && session.expires_at * 1000 <= Date.now());

/** What an operator is asked before a session ends. */
export const endSession = (session, done) => ({
  title: 'End this session',
  effect: `${session.username ?? 'The user'} is logged out of this session. Its tokens are refused ${AT_ONCE}.`,
  confirm: 'End session',
  danger: true,
  path: `/sessions/${encodeURIComponent(session.id)}/end`,
  said: 'Session ended.',
  done,
});

export function SessionState({ session }) {
  if (session.ended_at) {
    return html`<${Badge} tone="muted" title=${session.ended_why ?? undefined}>
      Ended<//>`;
  }
  if (!isActive(session)) return html`<${Badge} tone="muted">Expired<//>`;
  return html`<${Badge} tone="ok" dot>Active<//>`;
}

/** `withUser`: whether a column names the user. `onChanged` is called after a session ended. */
export function SessionTable({ caption, rows, withUser = false, onChanged, ...rest }) {
  return html`<${Table} caption=${caption} rows=${rows} rowKey=${(row) => row.id}
    tone=${(row) => (isActive(row) ? '' : 'dimmed')}
    empty=${html`<${Empty} title="No sessions">None matches, or no user has logged in yet.<//>`}
    ...${rest}
    columns=${[
    withUser && {
      key: 'username', label: 'User', primary: true,
      render: (row) => html`<${UserLink} id=${row.user_id} username=${row.username} />`,
    },
    {
      key: 'device', label: 'Device', width: 'wide', primary: !withUser,
      render: (row) => html`<a class="clip" href=${sessionHref(row.id)} title=${row.device || row.id}>
        ${row.device ? html`<${Device} agent=${row.device} />` : 'Unknown device'}</a>`,
    },
    { key: 'address', label: 'Address', mono: true },
    { key: 'country', label: 'Country', render: (row) => (row.country ? html`<${Country} code=${row.country} />` : null) },
    { key: 'seen_at', label: 'Last seen', render: (row) => html`<${Time} at=${row.seen_at} />` },
    { key: 'created_at', label: 'Login', render: (row) => html`<${Time} at=${row.created_at} />` },
    { key: 'refreshes', label: 'Refreshes', end: true, width: 'roomy' },
    { key: 'state', label: 'State', render: (row) => html`<${SessionState} session=${row} />` },
    {
      key: 'act', label: '',
      render: (row) => (isActive(row)
        ? html`<${Act} action="end-session" label="End" spec=${endSession(row, onChanged)} />`
        : ' '),
    },
  ]} />`;
}
