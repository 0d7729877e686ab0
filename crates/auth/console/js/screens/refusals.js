// Refusals: by code, route, client and address, and the recent ones one by one.
import { html, useMemo, useInterval, useState } from '../ui.js';
import { useApi } from '../api.js';
import { useParams } from '../router.js';
import { RANGES, bounds, rangeOf, refreshMs, stepOf, words } from '../range.js';
import { compact, count, list, milliseconds, text } from '../format.js';
import { askBlock } from '../actions.js';
import { Chip, Choice, Filters, Page, Search } from '../components/page.js';
import { Badge, Copy, Empty, Facts, Id, Loaded, Panel, Time } from '../components/basics.js';
import { Chart } from '../components/chart.js';
import { seriesByName } from '../components/series.js';
import { BarList, Waterfall } from '../components/bars.js';
import { Table } from '../components/table.js';
import { Modal } from '../components/dialog.js';
import { Icon } from '../components/icon.js';
import { Act } from './shared.js';

const FILTERS = [['code', 'Code'], ['route', 'Route'], ['client', 'Client'], ['address', 'Address']];
const RECENT_MS = 10_000;
const SHOWN_FIRST = 50;
const rate = (value) => `${compact(value)}/s`;

/** 401 and 403 are a caller's fault, 429 a limit's; from 500 on the operator must act. */
export const toneOf = (status) => (status >= 500 ? 'bad' : status === 429 ? 'warn' : 'muted');

const timeOf = (row) => row.at_ms ?? row.at;

export default function Refusals() {
  const [params, change] = useParams();
  const range = rangeOf(params.range, 'hour');
  const sums = useApi('/refusals', { range });
  useInterval(sums.poll, refreshMs(range));
  const filters = Object.fromEntries(FILTERS.map(([name]) => [name, params[name] ?? '']));
  const select = (name) => (value) => change({ [name]: value, id: '' });
  const sample = 'in the sample of the last hour';
  const recents = html`<${Recent} filters=${filters} id=${params.id ?? ''} change=${change} />`;

  return html`<${Page} title="Refusals" actions=${html`<${Choice} label="Range" value=${range}
    options=${RANGES} onChange=${(value) => change({ range: value === 'hour' ? '' : value })} />`}>
    <${Loaded} from=${sums} lines=${8}>${(data) => html`
      <${ByCode} data=${data} range=${range} />
      <div class="breakdowns">
        <${Panel} title="By code" note=${`in ${words(range)}`}><${BarList} label="Refusals by code" items=${data.by_code}
          selected=${filters.code} onSelect=${select('code')} empty="No refusals" /><//>
        <${Panel} title="By route" note=${`in ${words(range)}`}><${BarList} label="Refusals by route" items=${data.by_route}
          selected=${filters.route} onSelect=${select('route')} empty="No refusals" /><//>
        <${Panel} title="By client" note=${sample}><${BarList} label="Refusals by client" items=${data.by_client}
          selected=${filters.client} onSelect=${select('client')} empty="No client is known" /><//>
        <${Panel} title="By address" note=${sample}><${BarList} label="Refusals by address" items=${data.by_address}
          selected=${filters.address} onSelect=${select('address')} empty="No address is known" /><//>
      </div>`}<//>
    ${recents}
  <//>`;
}

function ByCode({ data, range }) {
  const points = list(data.points);
  const guessed = points.length > 1 ? Math.min(...points.slice(1).map((point, i) => point.start - points[i].start)) : 0;
  const step = stepOf(range, data.step_seconds ?? guessed);
  const [from, to] = bounds(range, points, step);
  const series = useMemo(() => seriesByName(points, 'by_code', { scale: 1 / step }), [data, step]);
  return html`<${Panel}><${Chart} title="Refused per second" points=${points} step=${step} from=${from} to=${to}
    series=${series} stack format=${rate} height=${200} /><//>`;
}

function Recent({ filters, id, change }) {
  const found = useApi('/refusals/recent', { ...filters, id });
  useInterval(found.poll, id ? 0 : RECENT_MS);
  const [shown, setShown] = useState(null);
  const [most, setMost] = useState(SHOWN_FIRST);
  const items = found.data ? list(found.data.items) : null;
  const active = FILTERS.filter(([name]) => filters[name] !== '');
  const columns = [
    { key: 'at', label: 'Time', width: 'narrow', render: (row) => html`<${Time} ms=${timeOf(row)} />` },
    { key: 'code', label: 'Code', primary: true, render: (row) => html`<button type="button" class="link-button" aria-label=${`${text(row.code)}: show the steps`}
      onClick=${() => setShown(row)}>${text(row.code)}</button>` },
    { key: 'status', label: 'Status', render: (row) => html`<${Badge} tone=${toneOf(row.status)}>${text(row.status)}<//>${row.shadow && html` <${Badge} tone="info" title="The policy does not enforce it: the request was forwarded">shadow<//>`}` },
    { key: 'request', label: 'Request', render: (row) => html`<span class="clip mono" title=${`${text(row.method)} ${text(row.path)}`}>${text(row.method)} ${text(row.path)}</span>` },
    { key: 'route', label: 'Route' },
    { key: 'client', label: 'Client' },
    { key: 'address', label: 'Address', mono: true },
    { key: 'ms', label: 'Took', end: true, render: (row) => milliseconds(row.ms) },
    { key: 'weight', label: 'Count', end: true, render: (row) => count(row.weight) },
  ];
  return html`<${Panel} flush title="Recent refusals"
    note="A sample of the last hour, at most 1,000. Each stands for itself and for others that were not kept.">
    <div class="panel-filters"><${Filters}>
      <${Search} label="Request id" placeholder="Find by request id" value=${id} onChange=${(value) => change({ id: value.trim() })} />
      ${active.map(([name, label]) => html`<${Chip} key=${name} label=${label} value=${filters[name]} onRemove=${() => change({ [name]: '' })} />`)}
    <//></div>
    <${Table} caption="Recent refusals" columns=${columns} rows=${items === null ? null : items.slice(0, most)} rowKey=${(row) => `${row.id} ${timeOf(row)}`}
      dense loading=${found.isStale} error=${found.error} onRetry=${found.reload} onRow=${setShown}
      more=${items !== null && items.length > most ? () => setMost(most + 200) : null}
      empty=${id ? html`<${NotFound} id=${id} />` : html`<${Empty} title="No recent refusals">${active.length > 0
        ? 'None of the sample has these filters.'
        : html`Refusals appear here within some seconds, if <code>metrics.interval_seconds</code> of the policy is above 0.`}<//>`} />
    ${shown && html`<${Detail} row=${shown} onClose=${() => setShown(null)} change=${change} />`}
  <//>`;
}

function NotFound({ id }) {
  const command = `grep '"request_id":"${id.replace(/[^\w.:-]/g, '')}"' edge.log`;
  return html`<${Empty} title="This request is not in the sample">
    It may have been forwarded, be older than an hour, or was not kept. The edge's log has a line for each request:
    look there for <code>request_id</code>. In a file of its lines: <code>${command}</code> <${Copy} value=${command} label="Copy the command" />
  <//>`;
}

/** One refusal: its facts, and its steps as a waterfall. */
function Detail({ row, onClose, change }) {
  const filter = (changes) => () => {
    onClose();
    change({ code: '', route: '', client: '', address: '', id: '', ...changes });
  };
  const block = (kind, value) => () => {
    onClose();
    askBlock({ kind, value, issuer: kind === 'address' ? undefined : row.iss });
  };
  return html`<${Modal} title=${text(row.code)} onClose=${onClose} wide>
    <div class="detail">
      <p class="detail-head"><${Badge} tone=${toneOf(row.status)}>${text(row.status)}<//>
        ${row.shadow && html`<${Badge} tone="info">shadow: the request was forwarded<//>`}
        <span class="detail-path">${text(row.method)} ${text(row.path)}</span></p>
      <${Facts} items=${[
        ['Time', html`<${Time} ms=${timeOf(row)} exact />`],
        ['Request id', html`<${Id} value=${row.id} />`],
        ['Route', row.route],
        ['Client', row.client],
        ['Address', row.address && html`<span class="mono">${row.address}</span>`],
        ['Issuer', row.iss],
        ['Location', row.colo],
        ['Took', milliseconds(row.ms)],
        ['Stands for', row.weight > 1 ? `${count(row.weight)} refusals` : 'itself'],
      ]} />
      <h3>Steps</h3>
      ${list(row.steps).length > 0
    ? html`<${Waterfall} steps=${row.steps} total=${row.ms} />`
    : html`<p class="dim">No steps were recorded.</p>`}
      <p class="dim">The edge's clock moves with its requests to others alone: a step at 0 ms took less than a millisecond of its own.</p>
      <div class="button-row">
        ${row.client && html`<button type="button" class="button small" onClick=${filter({ client: row.client })}><${Icon} name="filter" />This client</button>`}
        ${row.address && html`<button type="button" class="button small" onClick=${filter({ address: row.address })}><${Icon} name="filter" />This address</button>`}
        ${row.address && html`<${Act} action="block-address" label="Block the address…" tone="quiet-danger" onClick=${block('address', row.address)} />`}
        ${row.client && html`<${Act} action="block-client" label="Block the client…" tone="quiet-danger" onClick=${block('client', row.client)} />`}
      </div>
    </div>
  <//>`;
}
