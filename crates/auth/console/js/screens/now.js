// Now: whether anything is wrong, and the figures of the gate over a range.
import { html, useInterval, useMemo, useStore } from '../ui.js';
import { useApi } from '../api.js';
import { live } from '../live.js';
import { useParams } from '../router.js';
import { RANGES, bounds, rangeOf, refreshMs, stepOf, words } from '../range.js';
import { compact, list, milliseconds, object, percent } from '../format.js';
import { Choice, Page } from '../components/page.js';
import { Empty, ErrorState, Loading, Panel } from '../components/basics.js';
import { Chart } from '../components/chart.js';
import { seriesByName } from '../components/series.js';
import { Split } from '../components/bars.js';
import { Edges, Status, Vitals } from './now_parts.js';

const SOURCES = [
  ['isolate', 'Isolate', '--c1', 'c1'], ['store', 'Store', '--c2', 'c2'],
  ['provider', 'Provider', '--c3', 'c3'], ['signature', 'Signature', '--c4', 'c4'],
];

const ms = (member) => (point) => point[member];

const LATENCY = [
  { key: 'p50', label: 'p50', color: '--c1', value: ms('p50_ms') },
  { key: 'p95', label: 'p95', color: '--c2', value: ms('p95_ms') },
  { key: 'p99', label: 'p99', color: '--c3', value: ms('p99_ms') },
];

const STORE = [
  { key: 'p50', label: 'p50', color: '--c1', value: ms('store_p50_ms') },
  { key: 'p99', label: 'p99', color: '--c3', value: ms('store_p99_ms') },
];

const SHARES = SOURCES.map(([key, label, color]) => ({
  key,
  label,
  color,
  value: (point) => {
    const sources = object(point.by_source);
    const all = SOURCES.reduce((sum, [name]) => sum + (sources[name] ?? 0), 0);
    return all > 0 ? (sources[key] ?? 0) / all : null;
  },
}));

const rate = (value) => `${compact(value)}/s`;

/** Adds the points up, for a range whose totals are not known. */
function add(points) {
  const sum = { requests: 0, accepted: 0, refused: 0, by_source: {} };
  for (const point of points) {
    for (const name of ['requests', 'accepted', 'refused']) sum[name] += point[name] ?? 0;
    for (const [name, value] of Object.entries(object(point.by_source))) {
      sum.by_source[name] = (sum.by_source[name] ?? 0) + value;
    }
  }
  return sum;
}

export default function Now() {
  const [params, change] = useParams();
  const range = rangeOf(params.range);
  const now = useStore(live);
  const fetched = useApi(range === 'live' ? null : '/now', { range });
  useInterval(fetched.poll, range === 'live' ? 0 : refreshMs(range));

  const past = range === 'live' ? null : fetched.data?.range === range ? fetched.data : null;
  const points = useMemo(
    () => (range === 'live' ? now.points : list(past?.points)),
    [range, now.points, past],
  );
  const step = stepOf(range, range === 'live' ? now.step : past?.step_seconds);
  const state = now.state ?? past?.state ?? null;
  const totals = useMemo(
    () => (range === 'live' ? add(points) : { ...add(points), ...object(past?.totals) }),
    [range, points, past],
  );
  const recent = useMemo(() => (range === 'live' ? add(points.slice(-3)) : null), [range, points]);
  const waiting = range === 'live' ? now.at === null : past === null;

  return html`<${Page} title="Now" actions=${html`<${Choice} label="Range" value=${range}
    options=${RANGES} onChange=${(value) => change({ range: value === 'live' ? '' : value })} />`}>
    <${Status} state=${state} recent=${recent} link=${now.link} at=${now.at} />
    ${range !== 'live' && fetched.error && html`<${ErrorState} error=${fetched.error} onRetry=${fetched.reload} />`}
    ${waiting
    ? (!fetched.error || range === 'live') && html`<${Panel}><${Loading} lines=${8} /><//>`
    : html`<${Vitals} points=${points} totals=${totals} state=${state} step=${step} range=${range} />
      <${Charts} points=${points} step=${step} range=${range} state=${state} totals=${totals} />`}
    <${Edges} state=${state} />
  <//>`;
}

function Charts({ points, step, range, state, totals }) {
  const [from, to] = bounds(range, points, step);
  const common = { points, step, from, to, sync: 'now' };
  const requests = useMemo(() => [
    { key: 'accepted', label: 'Accepted', color: '--c-ok', value: (point) => per(point.accepted, step) },
    { key: 'refused', label: 'Refused', color: '--c-bad', value: (point) => per(point.refused, step) },
  ], [step]);
  const codes = useMemo(() => seriesByName(points, 'by_code', { scale: 1 / step }), [points, step]);
  const degraded = useMemo(() => seriesByName(points, 'degraded', { scale: 1 / step }), [points, step]);
  const bound = state?.delay_ms_max;
  const revocation = useMemo(() => [
    { key: 'clearance', label: 'Age of used clearances, p99', color: '--c1', value: ms('clearance_age_p99_ms') },
    { key: 'delivery', label: 'Commit to store, p99', color: '--c2', value: ms('delivery_p99_ms') },
    ...(bound > 0 ? [{ key: 'bound', label: 'Bound', color: '--c5', dashed: true, value: () => bound }] : []),
  ], [bound]);
  const sources = SOURCES.map(([name, label, , tone]) => ({ name: label, tone, count: object(totals.by_source)[name] ?? 0 }));
  return html`
    <div class="grid two">
      <${Panel}><${Chart} ...${common} title="Requests per second" series=${requests} stack format=${rate} height=${200} /><//>
      <${Panel}><${Chart} ...${common} title="Refused per second, by code" series=${codes} stack format=${rate} height=${200} /><//>
    </div>
    <div class="grid three">
      <${Panel}><${Chart} ...${common} title="Request latency" note="Head of the request to head of the response" series=${LATENCY} format=${milliseconds} /><//>
      <${Panel}><${Chart} ...${common} title="Store latency" note="One request to the store" series=${STORE} format=${milliseconds} /><//>
      <${Panel}><${Chart} ...${common} title="Revocation delay" note="Measured, beside the bound of the policy" series=${revocation} format=${milliseconds} /><//>
    </div>
    <div class="grid two">
      <${Panel}><div class="stack">
        <${Chart} ...${common} title="Who judged the tokens" note="Share of verdicts by their source" series=${SHARES} stack format=${percent} height=${140} />
        <${Split} label=${`Verdicts by source in ${words(range)}`} parts=${sources} /></div><//>
      ${degraded.length > 0
    ? html`<${Panel}><${Chart} ...${common} title="Degraded verdicts per second" note="Decided without the store" series=${degraded} stack format=${rate} height=${180} /><//>`
    : html`<${Panel} title="Degraded verdicts" note="Decided without the store">
        <${Empty} title=${`None in ${words(range)}`}>Each verdict had all that the policy asks for.<//><//>`}
    </div>`;
}

const per = (value, step) => (Number.isFinite(value) ? value / step : null);
