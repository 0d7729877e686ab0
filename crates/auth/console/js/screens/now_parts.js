// The parts of the screen Now: the verdict on the whole, its figures, and the edges that report.
import { html, classes, useState } from '../ui.js';
import { href } from '../router.js';
import { findings } from '../findings.js';
import { span } from '../range.js';
import { compact, count, list, milliseconds, percent, seconds, share, text, DASH } from '../format.js';
import { Icon } from '../components/icon.js';
import { Badge, Empty, Id, Panel, Stat, Time } from '../components/basics.js';
import { Table } from '../components/table.js';

const EDGE_OLD_MS = 60_000;
const EDGES_FIRST = 20;

/** Whether anything is wrong now, in one look. */
export function Status({ state, recent, link, at }) {
  const found = findings(state, recent);
  const wrong = found.filter((one) => one.tone !== 'info');
  const silent = !state || (list(state.edges).length === 0 && wrong.length === 0);
  const tone = silent ? 'unknown' : wrong.some((one) => one.tone === 'bad') ? 'bad' : wrong.length > 0 ? 'warn' : 'ok';
  const title = {
    unknown: link === 'connecting' ? 'Connecting' : 'No edge reports yet',
    ok: 'Nothing is wrong',
    warn: wrong.length === 1 ? 'One thing to look at' : `${wrong.length} things to look at`,
    bad: wrong.length === 1 ? 'One thing is wrong' : `${wrong.length} things are wrong`,
  }[tone];
  return html`<section class=${classes('status', tone)} data-tone=${tone} aria-labelledby="status-title">
    <span class="status-mark"><${Icon} name=${tone === 'ok' ? 'check' : tone === 'unknown' ? 'info' : 'warn'} /></span>
    <div class="status-text">
      <h2 id="status-title">${title}</h2>
      <p class="dim">${summary(state)}${at && html` · as of <${Time} ms=${at} />`}</p>
    </div>
    ${found.length > 0 && html`<ul class="findings">
      ${found.map((one) => html`<li key=${one.title} class=${one.tone}><span class="dot" aria-hidden="true"></span>
        <span><strong>${one.title}.</strong> ${one.text}</span></li>`)}
    </ul>`}
    <ul class="parts" aria-label="Dependencies">
      ${[['Store', state?.store], ['Database', state?.database]].map(([name, own]) => html`<li key=${name}>
        <${Badge} tone=${own === 'up' ? 'ok' : own === 'down' ? 'bad' : 'muted'} dot>${name} ${own ?? 'unknown'}<//></li>`)}
      <li><${Badge} dot tone=${list(state?.open_breakers).length > 0 ? 'bad' : state ? 'ok' : 'muted'}>
        ${list(state?.open_breakers).length === 0 ? 'Breakers closed' : `${list(state.open_breakers).length} breakers not closed`}<//></li>
    </ul>
  </section>`;
}

function summary(state) {
  if (!state) return 'The console waits for the first figures.';
  const edges = list(state.edges);
  if (edges.length === 0) return 'No edge reports. Set metrics.interval_seconds in the policy, and send a request.';
  const colos = new Set(edges.map((edge) => edge.colo).filter(Boolean));
  return `${edges.length} ${edges.length === 1 ? 'isolate reports' : 'isolates report'} from ${colos.size} ${colos.size === 1 ? 'location' : 'locations'}`;
}

/** The figures of the range, in a row. */
export function Vitals({ points, totals, state, step, range }) {
  const known = points.filter((point) => Number.isFinite(point.requests));
  const recent = range === 'live' ? known.slice(-3) : known;
  const sum = (member) => recent.reduce((all, point) => all + (point[member] ?? 0), 0);
  const perSecond = recent.length > 0 ? sum('requests') / (recent.length * step) : null;
  const refused = range === 'live' ? share(sum('refused'), sum('requests')) : share(totals.refused, totals.requests);
  const last = [...points].reverse().find((point) => Number.isFinite(point.p99_ms));
  const from = range === 'live' ? last : { ...last, ...totals };
  const age = state?.clearance_age_ms_max;
  const bound = state?.delay_ms_max;
  const close = bound > 0 && age > bound ? 'bad' : undefined;
  const late = state?.outbox_age_seconds > 5;
  return html`<div class="vitals panel">
    <${Stat} label="Requests" value=${compact(perSecond)} unit="/s" note=${`${compact(totals.requests)} in ${span(range)}`} />
    <${Stat} label="Refused" value=${percent(refused)} note=${`${compact(totals.refused)} in ${span(range)}`} />
    <${Stat} label="Latency p99" value=${milliseconds(from?.p99_ms)} title=${`p95 ${milliseconds(from?.p95_ms)}`} note=${`p50 ${milliseconds(from?.p50_ms)}`} />
    <${Stat} label="Store p99" value=${milliseconds(from?.store_p99_ms)} note=${`p50 ${milliseconds(from?.store_p50_ms)}`} />
    <div class="stat wide-stat">
      <div class="stat-label">Revocation delay</div>
      <div class=${classes('stat-value', close)}>${milliseconds(age)}<span class="unit">of ${milliseconds(bound)} allowed</span></div>
      <${Meter} value=${age} most=${bound} label="Greatest age of a clearance that was used, beside the bound" />
      <div class="stat-note">oldest clearance used</div>
    </div>
    <${Stat} label="Commit to store" value=${milliseconds(state?.delivery_ms_p99)} tone=${late ? 'bad' : undefined}
      note=${`at most ${milliseconds(state?.delivery_ms_max)}`} title=${`p50 ${milliseconds(state?.delivery_ms_p50)}`} />
    <${Stat} label="Outbox" value=${state ? count(state.outbox_rows) : DASH} unit=${state?.outbox_rows === 1 ? 'change' : 'changes'} tone=${late ? 'bad' : undefined}
      note=${state?.outbox_rows > 0 ? `the oldest waits ${seconds(state.outbox_age_seconds)}` : 'nothing waits'} />
  </div>`;
}

function Meter({ value, most, label }) {
  if (!(most > 0) || !Number.isFinite(value)) return null;
  const part = Math.min(1, value / most);
  const tone = value > most ? 'bad' : part > 0.9 ? 'warn' : '';
  return html`<div class="meter" role="meter" aria-label=${label} aria-valuemin="0" aria-valuemax=${most} aria-valuenow=${Math.min(value, most)}
    aria-valuetext=${`${milliseconds(value)} of ${milliseconds(most)}`}>
    <span class=${classes('meter-fill', tone)} style=${{ width: `${part * 100}%` }}></span></div>`;
}

/** The isolates that report, with the policy that each runs. */
export function Edges({ state }) {
  const [most, setMost] = useState(EDGES_FIRST);
  const edges = [...list(state?.edges)].sort((a, b) => (b.at_ms ?? 0) - (a.at_ms ?? 0));
  const columns = [
    { key: 'name', label: 'Isolate', mono: true, render: (edge) => text(edge.name) },
    { key: 'policy', label: 'Policy', render: (edge) => (edge.policy
      ? html`<${Id} value=${edge.policy} href=${href('/policy', { hash: edge.policy })} chars=${16} copy=${false} />` : null) },
    { key: 'version', label: 'Version' },
    { key: 'requests', label: 'Requests', end: true, render: (edge) => count(edge.requests) },
    { key: 'age', label: 'Oldest clearance', end: true, render: (edge) => milliseconds(edge.clearance_age_ms_max) },
    { key: 'breakers', label: 'Breakers', render: (edge) => breakers(edge) },
    { key: 'degraded', label: 'Degraded', render: (edge) => (list(edge.degraded).length === 0 ? null
      : list(edge.degraded).map((how) => html`<${Badge} key=${how} tone="bad">${how}<//> `)) },
    { key: 'at', label: 'Reported', end: true, render: (edge) => html`<span class=${Date.now() - edge.at_ms > EDGE_OLD_MS ? 'dim' : ''}><${Time} ms=${edge.at_ms} /></span>` },
  ];
  return html`<${Panel} flush title="Isolates" note=${`${count(state?.edges_total ?? edges.length)} wrote their metrics in the last hour. Figures are since the report before.`}>
    <${Table} caption="Isolates that report" columns=${columns} rows=${edges.slice(0, most)} rowKey=${(edge, i) => edge.name ?? i} dense
      more=${edges.length > most ? () => setMost(most + 100) : null}
      empty=${html`<${Empty} title="No isolate reports">An edge reports after its first requests, if <code>metrics.interval_seconds</code> of its policy is above 0.<//>`} />
  <//>`;
}

function breakers(edge) {
  const open = Object.entries(edge.breakers ?? {});
  if (open.length === 0) return html`<span class="dim">closed</span>`;
  return open.map(([name, state]) => html`<${Badge} key=${name} tone=${state === 'open' ? 'bad' : 'warn'}>${name}: ${String(state).replace('_', ' ')}<//> `);
}
