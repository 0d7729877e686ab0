// Usage: requests by client, key, user, route and time, as a table, as bars and as CSV.
import { html, useMemo } from '../ui.js';
import { apiUrl, useApi } from '../api.js';
import { useParams } from '../router.js';
import { count, date, dateTime, list, percent, share } from '../format.js';
import { Empty, Id, Loaded, Panel, Stat } from '../components/basics.js';
import { BarList } from '../components/bars.js';
import { Chip, Filters, Page } from '../components/page.js';
import { Table } from '../components/table.js';
import { Download, clientHref, keyHref, userHref } from './shared.js';

const COLUMNS = [['day', 'Day'], ['hour', 'Hour'], ['route', 'Route'], ['client', 'Client'], ['key', 'API key'],
  ['subject', 'User'], ['issuer', 'Issuer']];
const LABELS = Object.fromEntries(COLUMNS);
const FILTERS = ['client', 'key', 'subject', 'route', 'issuer'];
/** The rows that one question returns, and the table shows at first. */
const ROWS = 1000;
const SHOWN = 200;

export default function Usage() {
  const [params, change] = useParams();
  const by = (params.by ?? 'client,route').split(',').filter((name) => name in LABELS);
  const filters = FILTERS.filter((name) => params[name]);
  const question = {
    by: by.join(','), from: params.from, to: params.to, ...Object.fromEntries(filters.map((name) => [name, params[name]])),
  };
  const from = useApi('/usage', { ...question, limit: ROWS });
  const toggle = (name) => {
    const now = by.includes(name) ? by.filter((own) => own !== name) : [...by, name];
    change({ by: now.join(',') || ',' });
  };
  return html`<${Page} title="Usage" lead="Requests that the edges counted. Without dates: the last 30 days."
    actions=${html`<${Download} to=${apiUrl('/usage', { ...question, format: 'csv' })} label="CSV" />`}>
    <${Panel} flush>
      <${Filters}>
        <fieldset class="toggles"><legend>Group by</legend>
          ${COLUMNS.map(([name, label]) => html`<label key=${name} class=${by.includes(name) ? 'on' : ''}>
            <input type="checkbox" name=${`by-${name}`} checked=${by.includes(name)} onChange=${() => toggle(name)} />${label}</label>`)}
        </fieldset>
        <${Dates} params=${params} change=${change} />
        ${filters.map((name) => html`<${Chip} key=${name} label=${LABELS[name]} value=${params[name]}
          onRemove=${() => change({ [name]: '' })} />`)}
      <//>
      <${Loaded} from=${from} lines=${8}>${(data) => html`<${Result} data=${data} by=${by} change=${change} loading=${from.loading} />`}<//>
    <//>
  <//>`;
}

/** Two dates, in UTC, as usage is counted. */
export function Dates({ params, change }) {
  return html`${['from', 'to'].map((name) => html`<label key=${name} class="select">
    <span class="select-label">${name === 'from' ? 'From' : 'To'}</span>
    <input type="date" name=${name} value=${params[name] ?? ''} onChange=${(event) => change({ [name]: event.currentTarget.value })} />
  </label>`)}`;
}

function Result({ data, by, change, loading }) {
  const rows = list(data.items ?? data.usage ?? data.rows);
  const sums = useMemo(() => total(rows), [rows]);
  // The issuer comes with clients and users: two issuers may use the same name.
  const names = Object.keys(LABELS).filter((name) => rows.some((row) => row[name] !== undefined));
  const isOneIssuer = new Set(rows.map((row) => row.issuer)).size < 2;
  const shown = names.filter((name) => by.includes(name) || (name === 'issuer' && !isOneIssuer));
  if (rows.length === 0) {
    return html`<${Empty} title="No requests">Nothing was counted in this time. The edge counts if <code>usage.flush_seconds</code> is set.<//>`;
  }
  return html`
    <div class="stats">
      <${Stat} label="Passed" value=${count(sums.passed)} />
      <${Stat} label="Refused" value=${count(sums.refused)} tone=${sums.refused > 0 ? 'warn' : ''} />
      <${Stat} label="Refused, of all" value=${percent(share(sums.refused, sums.passed + sums.refused))} />
      <${Stat} label="Rows" value=${count(rows.length)} note=${data.next ? `the first ${count(ROWS)}; the CSV has up to ${count(100000)}` : ''} />
    </div>
    <div class="split-cols">
      ${shown.filter((name) => name !== 'day' && name !== 'hour').slice(0, 3).map((name) => html`<section key=${name}>
        <h2>By ${LABELS[name].toLowerCase()}</h2>
        <${BarList} label=${`Requests by ${LABELS[name].toLowerCase()}`} items=${grouped(rows, name)} show=${6}
          onSelect=${name === 'issuer' ? undefined : (own) => own && change({ [name]: own })} />
      </section>`)}
    </div>
    <${Table} dense caption="Usage" rows=${rows.slice(0, SHOWN)} loading=${loading}
      columns=${[
    ...shown.map((name) => ({ key: name, label: LABELS[name], primary: name === shown[0], render: (row) => cell(name, row[name]) })),
    { key: 'passed', label: 'Passed', end: true, render: (row) => count(row.passed) },
    { key: 'refused', label: 'Refused', end: true, render: (row) => count(row.refused) },
  ]} />
    ${rows.length > SHOWN && html`<p class="pager dim num">The first ${count(SHOWN)} of ${count(rows.length)} rows; the CSV has up to ${count(100000)}.</p>`}`;
}

function cell(name, value) {
  if (value === null || value === undefined || value === '') return null;
  if (name === 'day') return html`<span class="num nowrap">${date(value * 1000)}</span>`;
  if (name === 'hour') return html`<span class="num nowrap">${dateTime(value * 1000).slice(0, 16)}</span>`;
  if (name === 'key') return html`<${Id} value=${value} chars=${10} href=${keyHref(value)} copy=${false} />`;
  if ((name === 'client' || name === 'subject') && String(value).startsWith('pcc_')) {
    return html`<${Id} value=${value} chars=${14} href=${clientHref(value)} copy=${false} />`;
  }
  if (name === 'subject') return html`<${Id} value=${value} chars=${12} href=${userHref(value)} copy=${false} />`;
  return html`<span class="clip" title=${String(value)}>${String(value)}</span>`;
}

function total(rows) {
  return rows.reduce((sum, row) => ({
    passed: sum.passed + (row.passed || 0), refused: sum.refused + (row.refused || 0),
  }), { passed: 0, refused: 0 });
}

function grouped(rows, name) {
  const sums = new Map();
  for (const row of rows) sums.set(row[name], (sums.get(row[name]) ?? 0) + (row.passed || 0) + (row.refused || 0));
  return [...sums].map(([own, sum]) => ({ name: own, count: sum }));
}
