// Audit events as a table, for the log and for one user or session.
import { html } from '../ui.js';
import { Badge, Empty, Time } from '../components/basics.js';
import { Table } from '../components/table.js';
import { Device, UserLink, sessionHref } from './shared.js';

const BAD = new Set(['login_failed', 'console_login_failed', 'refresh_token_reused', 'client_denied', 'introspection_denied']);
const WARN = new Set(['country_new', 'refresh_burst', 'sessions_over_max', 'user_disabled', 'user_deleted', 'block_set', 'client_disabled', 'client_deleted']);

/** The name of an event, in words, coloured by how grave it is. */
export function EventName({ event }) {
  const tone = BAD.has(event) ? 'bad' : WARN.has(event) ? 'warn' : 'muted';
  return html`<${Badge} tone=${tone} title=${event}>${String(event ?? '').replaceAll('_', ' ')}<//>`;
}

/**
 * `of` says which columns the reader needs: `all`, or those of one `user` or `session`.
 */
export function AuditTable({ caption, rows, of = 'all', ...rest }) {
  const isAll = of === 'all';
  return html`<${Table} caption=${caption} rows=${rows} rowKey=${(row, index) => row.id ?? index}
    empty=${html`<${Empty} title="No events">None matches these filters.<//>`} ...${rest}
    columns=${[
    { key: 'at', label: 'Time', render: (row) => html`<span class="nowrap"><${Time} at=${row.at} exact=${isAll} /></span>` },
    { key: 'event', label: 'Event', primary: true, render: (row) => html`<${EventName} event=${row.event} />` },
    isAll && {
      key: 'user', label: 'User', render: (row) => (row.user_id || row.username
        ? html`<${UserLink} id=${row.user_id} username=${row.username} />` : null),
    },
    of !== 'user' && { key: 'actor', label: 'Actor', render: (row) => html`<${Actor} row=${row} />` },
    {
      key: 'detail', label: 'Detail', width: 'detail',
      render: (row) => (row.detail || (of !== 'user' && row.reason)
        ? html`<${Detail} row=${row} withReason=${of !== 'user'} />` : null),
    },
    { key: 'address', label: 'Address', mono: true, width: of === 'session' ? 'roomy' : '', render: (row) => (row.address ? html`<span title=${row.device || undefined}>${row.address}</span>` : null) },
    of !== 'session' && {
      key: 'device', label: 'Device', width: isAll ? 'roomy' : '',
      render: (row) => (row.device ? html`<${Device} agent=${row.device} />` : null),
    },
    isAll && {
      key: 'session_id', label: 'Session', render: (row) => (row.session_id
        ? html`<a class="mono nowrap" href=${sessionHref(row.session_id)}>${String(row.session_id).slice(0, 6)}…</a>` : null),
    },
    isAll && {
      key: 'request_id', label: 'Request', width: 'roomy', render: (row) => (row.request_id
        ? html`<span class="mono clip-short" title=${row.request_id}>${row.request_id}</span>` : null),
    },
  ]} />`;
}

function Actor({ row }) {
  return html`<span class="nowrap">${row.actor}${row.by && html` <span class="dim">by</span> <strong>${row.by}</strong>`}</span>`;
}

function Detail({ row, withReason }) {
  return html`<span class="wrap">${row.detail}${row.detail && ' '}
    ${withReason && row.reason && html`<span class="reason">“${row.reason}”</span>`}</span>`;
}
