// Horizontal bars: the greatest of a kind, and the steps of a request.
import { html, classes } from '../ui.js';
import { count, milliseconds, percent, share, list, text } from '../format.js';
import { Empty } from './basics.js';

// A width by the style's object, which the content security policy allows: no style in the markup.
const width = (part) => ({ width: `${Math.max(0, Math.min(1, part)) * 100}%` });

/**
 * The greatest first: `items` is a list of `{ name, count }`. `onSelect(name)` makes each a button,
 * except one without a name; `selected` is the name that is chosen.
 */
export function BarList({ items, label, onSelect, selected, tone, show = 8, empty = 'None' }) {
  const rows = [...list(items)].sort((a, b) => b.count - a.count);
  if (rows.length === 0) return html`<${Empty} title=${empty} />`;
  const most = Math.max(1, ...rows.map((row) => row.count));
  const all = rows.reduce((sum, row) => sum + row.count, 0);
  const row = (item) => html`
    <span class="bar-name" title=${`${text(item.name)}: ${count(item.count)}, ${percent(share(item.count, all))}`}>${text(item.name)}</span>
    <span class="bar-count num">${count(item.count)}</span>
    <span class="bar-share num dim">${percent(share(item.count, all))}</span>
    <span class="bar-track" aria-hidden="true"><span class=${classes('bar-fill', tone)}
      style=${width(item.count / most)}></span></span>`;
  return html`<ul class="bars" aria-label=${label}>
    ${rows.slice(0, show).map((item) => html`<li key=${text(item.name)}>
      ${onSelect && item.name
    ? html`<button type="button" class=${classes('bar', item.name === selected && 'on')}
          aria-pressed=${item.name === selected ? 'true' : 'false'}
          onClick=${() => onSelect(item.name === selected ? '' : item.name)}>${row(item)}</button>`
    : html`<div class="bar">${row(item)}</div>`}
    </li>`)}
    ${rows.length > show && html`<li class="dim bars-rest num">
      and ${rows.length - show} more with ${count(rows.slice(show).reduce((sum, one) => sum + one.count, 0))}</li>`}
  </ul>`;
}

/** A share of a whole as one bar of parts: `parts` is a list of `{ name, count, tone }`. */
export function Split({ parts, label }) {
  const all = parts.reduce((sum, part) => sum + (part.count || 0), 0);
  return html`<div class="split" role="group" aria-label=${label}>
    <div class="split-track" aria-hidden="true">
      ${parts.map((part) => html`<span key=${part.name} class=${classes('split-part', part.tone)}
        style=${width(share(part.count, all) ?? 0)}></span>`)}
    </div>
    <ul class="split-legend">
      ${parts.map((part) => html`<li key=${part.name}><span class=${classes('swatch', part.tone)}
        aria-hidden="true"></span>${part.name} <strong class="num">${percent(share(part.count, all))}</strong>
        <span class="dim num">${count(part.count)}</span></li>`)}
    </ul>
  </div>`;
}

/** The steps of one request, each where it began: `steps` is a list of `{ name, ms, note }`. */
export function Waterfall({ steps, total }) {
  const rows = list(steps).map((step) => (Array.isArray(step)
    ? { name: step[0], ms: step[1], note: step[2] }
    : step));
  const known = rows.reduce((sum, step) => sum + (step.ms || 0), 0);
  const all = Math.max(known, total || 0);
  let began = 0;
  return html`<ol class="waterfall" aria-label="Steps of the request">
    ${rows.map((step, index) => {
    const from = began;
    began += step.ms || 0;
    const place = all > 0
      ? { left: `${Math.min(99, (from / all) * 100)}%`, width: `${((step.ms || 0) / all) * 100}%` }
      : { left: '0%', width: '0%' };
    return html`<li key=${index} class=${index === rows.length - 1 ? 'last' : ''}>
      <span class="step-name mono">${text(step.name)}</span>
      <span class="step-track" aria-hidden="true"><span class="step-fill" style=${place}></span></span>
      <span class="step-ms num">${milliseconds(step.ms)}</span>
      <span class="step-note">${text(step.note)}</span>
    </li>`;
  })}
  </ol>`;
}
