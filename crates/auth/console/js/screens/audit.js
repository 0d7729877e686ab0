// The audit log: filters, and an export.
import { html } from '../ui.js';
import { apiUrl, usePages } from '../api.js';
import { useParams } from '../router.js';
import { Panel } from '../components/basics.js';
import { Chip, Filters, Page, Search, Select } from '../components/page.js';
import { AuditTable } from './auditTable.js';
import { Download, rest } from './shared.js';
import { Dates } from './usage.js';

const EVENTS = ['block_cleared', 'block_set', 'client_added', 'client_changed', 'client_deleted', 'client_denied',
  'client_disabled', 'client_enabled', 'client_secret_rolled', 'console_login', 'console_login_failed',
  'console_logout', 'country_new', 'credit_added', 'introspection_denied', 'key_changed', 'key_created',
  'key_revoked', 'key_rolled', 'key_rotated', 'login', 'login_failed', 'logout', 'password_changed',
  'quota_cleared', 'quota_set', 'refresh_burst', 'refresh_token_reused', 'session_revoked',
  'sessions_over_max', 'token_revoked', 'user_added', 'user_changed', 'user_deleted', 'user_disabled', 'user_enabled'];
const ACTORS = ['user', 'operator', 'client', 'service'];
const words = (name) => name.replaceAll('_', ' ');

/** The Unix seconds of the beginning of a typed date, in UTC, `days` later. */
function dayStart(text, days = 0) {
  const ms = Date.parse(`${text}T00:00:00Z`);
  return Number.isFinite(ms) ? ms / 1000 + days * 86_400 : undefined;
}

export default function Audit() {
  const [params, change] = useParams();
  const { q, event, actor, by, user } = params;
  // "To" has its whole day.
  const question = {
    q, event, actor, by, user,
    from: params.from && dayStart(params.from), to: params.to && dayStart(params.to, 1),
  };
  const pages = usePages('/audit', question);
  return html`<${Page} title="Audit" lead="Append-only: no operator can change or delete an event. Newest first."
    actions=${html`<${Download} to=${apiUrl('/audit', { ...question, format: 'csv' })} label="CSV" />
      <${Download} to=${apiUrl('/audit', { ...question, format: 'jsonl' })} label="JSON lines" />`}>
    <${Panel} flush>
      <${Filters}>
        <${Search} label="Username, address, request id or detail begins with" placeholder="Search" value=${q}
          onChange=${(text) => change({ q: text })} />
        <${Select} label="Event" value=${event} options=${[['', 'All'], ...EVENTS.map((name) => [name, words(name)])]}
          onChange=${(own) => change({ event: own })} />
        <${Select} label="Actor" value=${actor} options=${[['', 'All'], ...ACTORS.map((name) => [name, name])]}
          onChange=${(own) => change({ actor: own })} />
        <${Dates} params=${params} change=${change} />
        ${by && html`<${Chip} label="By" value=${by} onRemove=${() => change({ by: '' })} />`}
        ${user && html`<${Chip} label="User" value=${user} onRemove=${() => change({ user: '' })} />`}
      <//>
      <${AuditTable} caption="Audit events" rows=${pages.items} dense ...${rest(pages)} />
    <//>
  <//>`;
}
