// The policies that edges run: which edges, the routes as parsed, the document, and `explain`.
import { html, useState } from '../ui.js';
import { send, useApi } from '../api.js';
import { href } from '../router.js';
import { count, list, object, text } from '../format.js';
import { Badge, Empty, ErrorState, Id, Loaded, Panel, Time } from '../components/basics.js';
import { Field } from '../components/dialog.js';
import { Page } from '../components/page.js';
import { Table } from '../components/table.js';
import { Json, Scope, typedJson } from './shared.js';

export default function Policies({ path = [] }) {
  const from = useApi('/policies');
  const items = list(from.data?.items);
  const chosen = path[0] ?? newest(items)?.hash ?? null;
  return html`<${Page} title="Policy" lead="What the edges run, as they parsed it. Secrets are left out.">
    <${Loaded} from=${from} lines=${4}>${() => html`
      <${Panel} flush title="Policies in use"
        note=${items.length > 1 ? `${items.length} policies at once: a deployment is on its way, or an edge has an old one.` : undefined}>
        <${Table} caption="Policies in use" rows=${items} rowKey=${(row) => row.hash} selected=${(row) => row.hash === chosen}
          empty=${html`<${Empty} title="No edge has reported">Edges report their policy if <code>metrics.interval_seconds</code> is set.<//>`}
          columns=${[
    {
      key: 'hash', label: 'Policy', primary: true,
      render: (row) => html`<${Id} value=${row.hash} chars=${16} href=${href(`/policy/${encodeURIComponent(row.hash)}`)} />`,
    },
    { key: 'routes', label: 'Routes', end: true, render: (row) => count(row.routes) },
    { key: 'edges', label: 'Edges', render: (row) => html`<${Edges} edges=${list(row.edges)} />` },
    { key: 'last', label: 'Last report', render: (row) => html`<${Time} ms=${lastReport(row)} />` },
    { key: 'first_seen_at', label: 'First seen', render: (row) => html`<${Time} at=${row.first_seen_at} />` },
  ]} />
      <//>
      ${chosen && html`<${Policy} hash=${chosen} key=${chosen} />`}`}<//>
  <//>`;
}

const lastReport = (row) => list(row.edges).reduce((last, edge) => Math.max(last ?? 0, edge.at_ms ?? 0), null);
const newest = (items) => items.reduce((best, row) => (!best || (lastReport(row) ?? 0) > (lastReport(best) ?? 0) ? row : best), null);

/** The locations of edges, each with how many isolates reported. */
function Edges({ edges }) {
  const colos = new Map();
  for (const edge of edges) colos.set(text(edge.colo), (colos.get(text(edge.colo)) ?? 0) + 1);
  if (edges.length === 0) return html`<span class="dim">none now</span>`;
  return html`<span class="marks" title=${edges.map((edge) => edge.name).join(', ')}>
    ${[...colos].sort().map(([colo, number]) => html`<span class="mark" key=${colo}>${colo}${number > 1 && html` <span class="num dim">×${number}</span>`}</span>`)}
  </span>`;
}

function Policy({ hash }) {
  const from = useApi(`/policies/${encodeURIComponent(hash)}`);
  return html`<${Loaded} from=${from} lines=${8}>${(data) => html`
    <${Explain} hash=${hash} limits=${limitNames(data)} />
    <${Panel} flush title="Routes" note="The first route that matches wins.">
      <${Table} dense caption="Routes" rows=${list(data.routes)} rowKey=${(row, index) => `${index}-${row.name}`}
        empty=${html`<${Empty} title="No routes" />`}
        columns=${[
    { key: 'name', label: 'Route', primary: true, render: (row) => html`<strong class="clip">${row.name}</strong>` },
    { key: 'path', label: 'Path', render: (row) => html`<span class="mono clip" title=${row.path}>${row.path}</span>` },
    { key: 'methods', label: 'Methods', render: (row) => (list(row.methods).length > 0 ? html`<span class="mono nowrap">${list(row.methods).join(' ')}</span>` : html`<span class="dim">all</span>`) },
    { key: 'access', label: 'Access', render: (row) => html`<${Access} access=${row.access} />` },
    { key: 'require', label: 'Requires', render: (row) => (row.require ? html`<code>${text(row.require)}</code>` : null) },
    { key: 'scope', label: 'Scopes', render: (row) => html`<${Scopes} row=${row} />` },
    { key: 'limits', label: 'Limits', render: (row) => (list(row.limits).length > 0 ? html`<${Scope} scope=${list(row.limits).map(limitName).join(' ')} show=${3} />` : null) },
    { key: 'upstream', label: 'Upstream', render: (row) => (row.upstream ? html`<span class="mono clip" title=${row.upstream}>${row.upstream}</span>` : html`<span class="dim">default</span>`) },
  ]} />
    <//>
    <${Panel} title="Document" note="Laid over by its environment, with variables filled in.">
      <${Json} value=${object(data.document)} label="The policy as JSON" />
    <//>`}<//>`;
}

const limitName = (own) => (typeof own === 'string' ? own : own?.name);
const limitNames = (data) => [...new Set(list(data.routes).flatMap((route) => list(route.limits).map(limitName)).filter(Boolean))];

/** The scopes of which a token needs all, or any. */
function Scopes({ row }) {
  const [all, any] = [list(row.scope), list(row.scope_any)];
  if (all.length + any.length === 0) return html`<span class="dim">–</span>`;
  return html`${all.length > 0 && html`<${Scope} scope=${all.join(' ')} show=${3} />`}
    ${any.length > 0 && html`<span class="nowrap"><span class="dim">any of </span><${Scope} scope=${any.join(' ')} show=${3} /></span>`}`;
}

const TONES = { public: 'warn', protected: 'ok', optional: 'info', auth: 'muted' };
const Access = ({ access }) => html`<${Badge} tone=${TONES[access] ?? 'muted'}>${text(access)}<//>`;

const ASSUMPTIONS = [['', 'Nothing: all is well'], ['revoked', 'The token is revoked'], ['blocked', 'The caller is blocked'],
  ['no-record', 'The store has no record'], ['bad-signature', 'The signature is wrong'], ['store-down', 'The store is down'],
  ['auth-down', 'The auth service is down']];
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].map((name) => [name, name]);

/** Asks what the edge would do with a typed request. */
function Explain({ hash, limits }) {
  const [values, setValues] = useState({ method: 'GET', target: '', headers: '', claims: '', address: '', country: '', assume: '' });
  const [state, setState] = useState({ busy: false, error: null, reply: null });
  const set = (name) => (value) => setValues((last) => ({ ...last, [name]: value }));
  const submit = async (event) => {
    event.preventDefault();
    let body;
    try {
      body = question(values);
    } catch (invalid) {
      setState({ busy: false, error: invalid, reply: null });
      return;
    }
    setState((last) => ({ ...last, busy: true, error: null }));
    try {
      setState({ busy: false, error: null, reply: await send('POST', `/policies/${encodeURIComponent(hash)}/explain`, body) });
    } catch (error) {
      setState({ busy: false, error, reply: null });
    }
  };
  const field = (name, label, more) => html`<${Field} value=${values[name]} onChange=${set(name)} field=${{ name, label, ...more }} />`;
  return html`<${Panel} title="Explain a request" note="What an edge with this policy would do, step by step. Nothing is sent, and no real token is taken.">
    <form class="explain" onSubmit=${submit} aria-busy=${state.busy ? 'true' : 'false'}>
      <div class="explain-line">
        ${field('method', 'Method', { type: 'select', options: METHODS, required: true })}
        ${field('target', 'Path and query', { required: true, placeholder: '/api/orders?page=1' })}
        <button type="submit" class="button primary" disabled=${state.busy}>${state.busy ? 'Explaining…' : 'Explain'}</button>
      </div>
      <details class="more"><summary>Token, headers, address</summary>
        <div class="explain-more">
          ${field('claims', 'Claims of a token', { type: 'textarea', rows: 5, placeholder: '{"sub": "alice", "scope": "orders:read"}', hint: 'Empty: the request has no token.' })}
          ${field('headers', 'Headers', { type: 'textarea', rows: 5, placeholder: 'Origin: https://shop.example', hint: 'One a line. No token: give its claims.' })}
          ${field('address', 'Address', { placeholder: '203.0.113.1' })}
          ${field('country', 'Country', { maxlength: 2, placeholder: 'NL' })}
          ${field('assume', 'Assume', { type: 'select', options: [...ASSUMPTIONS, ...limits.map((name) => [`over:${name}`, `The caller is over the limit ${name}`])] })}
        </div>
      </details>
    </form>
    ${state.error && html`<${ErrorState} error=${state.error} />`}
    ${state.reply && html`<${Explained} reply=${state.reply} />`}
  <//>`;
}

function question({ method, target, headers, claims, address, country, assume }) {
  if (!target.startsWith('/')) throw invalid('The path must begin with /, such as /api/orders.');
  const fields = headers.split('\n').filter((line) => line.trim() !== '').map((line) => {
    const place = line.indexOf(':');
    if (place < 1) throw invalid(`The header "${line.trim().slice(0, 60)}" has no colon; write Name: value.`);
    return [line.slice(0, place).trim(), line.slice(place + 1).trim()];
  });
  const typed = typedJson(claims, 'Claims');
  return {
    method, target, headers: fields,
    ...(address.trim() && { address: address.trim() }),
    ...(country.trim() && { country: country.trim().toUpperCase() }),
    ...(typed && { claims: typed }),
    ...(assume && { assume: [assume] }),
  };
}

const invalid = (message) => Object.assign(new Error(message), { code: 'input_invalid' });

function Explained({ reply }) {
  const outcome = object(reply.outcome);
  const isRefused = Boolean(outcome.code) || outcome.status >= 400;
  return html`<div class="explained" role="status">
    <p class="verdict">
      <${Badge} tone=${isRefused ? 'bad' : 'ok'} dot>${isRefused ? 'Refused' : outcome.target ? 'Forwarded' : 'Answered by the edge'}<//>
      ${outcome.status && html`<strong class="num">${outcome.status}</strong>`}
      ${outcome.code && html`<code>${outcome.code}</code>`}
      ${outcome.target && html`<span class="mono wrap">→ ${outcome.target}</span>`}
    </p>
    <ol class="steps">${list(reply.steps).map((step, index) => html`<li key=${index}>
      <span class="step-name mono">${text(step.name)}</span><span class="wrap">${text(step.text)}</span></li>`)}</ol>
    ${list(reply.assumptions).length > 0 && html`<div class="assumed"><strong>Assumed, because only the store or an issuer knows:</strong>
      <ul>${list(reply.assumptions).map((line, index) => html`<li key=${index}>${text(line)}</li>`)}</ul></div>`}
    ${reply.text && html`<details class="more"><summary>As the command prints it</summary>
      <pre class="code" tabindex="0" role="region" aria-label="Output of the command"><code>${reply.text}</code></pre></details>`}
  </div>`;
}
