// Limits: what passed and what was refused, who is over now, and the quotas and blocks of single
// callers.
import { html, useInterval } from '../ui.js';
import { useApi, useMayAct } from '../api.js';
import { href, useParams } from '../router.js';
import { RANGES, rangeOf, refreshMs, words } from '../range.js';
import { count, list, percent, seconds, share, text } from '../format.js';
import {
  askBlock, askCredits, askEndOverride, askOverride, askUnblock, blockTarget, callerText,
} from '../actions.js';
import { Choice, Page } from '../components/page.js';
import { Badge, Empty, Loaded, Panel, Time } from '../components/basics.js';
import { Table } from '../components/table.js';
import { Act } from './shared.js';

export default function Limits() {
  const [params, change] = useParams();
  const range = rangeOf(params.range, 'hour');
  const mayAct = useMayAct();
  const found = useApi('/limits', { range });
  useInterval(found.poll, Math.min(refreshMs(range), 10_000));
  const done = () => found.reload();
  return html`<${Page} title="Limits" actions=${html`<${Choice} label="Range" value=${range}
    options=${RANGES} onChange=${(value) => change({ range: value === 'hour' ? '' : value })} />
    <${Act} action="block" label="Block a caller…" small=${false} onClick=${() => askBlock({ done })} />`}>
    <${Loaded} from=${found} lines=${8}>${(data) => html`
      <${Own} data=${data} range=${range} mayAct=${mayAct} done=${done} />
      <${OverNow} data=${data} mayAct=${mayAct} done=${done} />
      <div class="grid wide-two">
        <${Quotas} data=${data} mayAct=${mayAct} done=${done} />
        <${Blocks} data=${data} mayAct=${mayAct} done=${done} />
      </div>`}<//>
  <//>`;
}

const window = (limit) => {
  if (limit.algorithm === 'credits') return limit.quota ? `${count(limit.quota)} credits a ${limit.period ?? 'period'}` : 'granted credits';
  if (limit.period) return `${count(limit.quota)} a ${limit.period}`;
  return limit.quota ? `${count(limit.quota)} in ${seconds(limit.window_seconds)}` : null;
};

function Own({ data, range, mayAct, done }) {
  const most = Math.max(0, ...list(data.items).map((limit) => share(limit.refused, limit.passed + limit.refused) ?? 0));
  const columns = [
    { key: 'limit', label: 'Limit', primary: true },
    { key: 'route', label: 'Route' },
    { key: 'algorithm', label: 'Algorithm', render: (limit) => (limit.algorithm ? String(limit.algorithm).replaceAll('_', ' ') : null) },
    { key: 'quota', label: 'Quota', render: window },
    { key: 'by', label: 'Counted by', render: (limit) => list(limit.by).map(part).join(', ') || null },
    { key: 'passed', label: 'Passed', end: true, render: (limit) => count(limit.passed) },
    { key: 'refused', label: 'Refused', end: true, render: (limit) => count(limit.refused) },
    { key: 'share', label: 'Share refused', end: true, render: (limit) => html`<${ShareBar} value=${share(limit.refused, limit.passed + limit.refused)} most=${most} />` },
    { key: 'shadow', label: 'Shadow', end: true, render: (limit) => (limit.shadow > 0
      ? html`<span class="shadow-note" title="Would have been refused: the limit is not enforced">${count(limit.shadow)}</span>` : count(limit.shadow)) },
    mayAct && { key: 'actions', label: '', render: (limit) => html`<span class="button-row">
      ${limit.algorithm === 'credits' && html`<${Act} action="add-credits" label="Credits…" onClick=${() => askCredits(named(limit), { done })} />`}
      ${limit.algorithm !== 'credits' && limit.overrides && html`<${Act} action="set-quota" label="Quota…" onClick=${() => askOverride(named(limit), { done })} />`}
    </span>` },
  ];
  return html`<${Panel} flush title="Limits" note=${`Judged requests in ${words(range)}`}>
    <${Table} caption="Limits" columns=${columns} rows=${list(data.items)} rowKey=${(limit) => `${limit.limit} ${limit.route}`}
      empty=${html`<${Empty} title="No limit was judged">Limits are in the policy's routes. A limit appears with the first request that it counts. <a href=${href('/policy')}>See the policy</a><//>`} />
  <//>`;
}

const part = (own) => (own && typeof own === 'object' ? own.part : String(own));
const named = (limit) => ({ ...limit, by: list(limit.by).map(part) });

function ShareBar({ value, most }) {
  return html`<span class="share-bar"><span class="bar-track" aria-hidden="true"><span class="bar-fill bad"
    style=${{ width: `${most > 0 ? ((value ?? 0) / most) * 100 : 0}%` }}></span></span><span>${percent(value)}</span></span>`;
}

function OverNow({ data, mayAct, done }) {
  const limitOf = (row) => list(data.items).find((limit) => limit.limit === row.limit);
  const override = (row) => {
    const limit = named(limitOf(row));
    const values = limit.by.map((name) => (name === 'address' ? row.address : name === 'client' ? row.client : limit.by.length === 1 ? row.who : ''));
    return askOverride(limit, { values, quota: limit.quota ? Math.min(1_000_000, limit.quota * 2) : undefined, done });
  };
  const columns = [
    { key: 'who', label: 'Caller', primary: true, render: (row) => text(row.who ?? row.client ?? row.address) },
    { key: 'limit', label: 'Limit' },
    { key: 'code', label: 'Code' },
    { key: 'address', label: 'Address', mono: true },
    { key: 'count', label: 'Refused', end: true, render: (row) => count(row.count) },
    { key: 'last', label: 'Last', end: true, render: (row) => html`<${Time} at=${row.last_at} />` },
    mayAct && { key: 'actions', label: '', render: (row) => html`<span class="button-row">
      ${limitOf(row)?.overrides && limitOf(row).algorithm !== 'credits' && html`<${Act} action="set-quota" label="Quota…" onClick=${() => override(row)} />`}
      <${Act} action="block" label="Block…" tone="quiet-danger"
        onClick=${() => askBlock({ ...(row.client ? { kind: 'client', value: row.client } : { kind: 'address', value: row.address ?? '' }), done })} />
    </span>` },
  ];
  return html`<${Panel} flush title="Over a limit now" note="Refused in the last five minutes, from the sample of refusals">
    <${Table} caption="Callers over a limit" columns=${columns} rows=${list(data.over_now)} rowKey=${(row, i) => i}
      empty=${html`<${Empty} title="No caller is over a limit" />`} />
  <//>`;
}

function Quotas({ data, mayAct, done }) {
  const columns = [
    { key: 'caller', label: 'Caller', primary: true, render: (quota) => callerText(quota.by) },
    { key: 'limit', label: 'Limit' },
    { key: 'quota', label: 'Quota', end: true, render: (quota) => count(quota.quota) },
    { key: 'until', label: 'Ends', end: true, render: (quota) => html`<${Time} at=${quota.until} />` },
    mayAct && { key: 'actions', label: '', render: (quota) => html`<${Act} action="end-quota" label="End…" onClick=${() => askEndOverride(quota, done)} />` },
  ];
  return html`<${Panel} flush title="Quotas of single callers" note="Instead of the limit's own">
    <${Table} caption="Quotas of single callers" columns=${columns} rows=${list(data.quotas)} rowKey=${(quota) => `${quota.limit} ${JSON.stringify(quota.by)} ${quota.issuer}`}
      empty=${html`<${Empty} title="Each caller has its limit's own quota" />`} />
  <//>`;
}

function Blocks({ data, mayAct, done }) {
  const columns = [
    { key: 'target', label: 'Blocked', primary: true, render: (block) => {
      const [kind, value] = blockTarget(block);
      return html`<span class="nowrap"><${Badge} tone="bad">${kind}<//> <span class="clip" title=${text(value)}>${text(value)}</span></span>`;
    } },
    { key: 'reason', label: 'Reason' },
    { key: 'actor', label: 'By' },
    { key: 'until', label: 'Ends', end: true, render: (block) => (block.until ? html`<${Time} at=${block.until} />` : 'never') },
    mayAct && { key: 'actions', label: '', render: (block) => html`<${Act} action="end-block" label="End…" onClick=${() => askUnblock(block, done)} />` },
  ];
  return html`<${Panel} flush title="Blocks" note="Refused whatever their tokens say">
    <${Table} caption="Blocks" columns=${columns} rows=${list(data.blocks)} rowKey=${(block) => blockTarget(block).join(' ') + (block.issuer ?? '')}
      empty=${html`<${Empty} title="No caller is blocked" />`} />
  <//>`;
}
