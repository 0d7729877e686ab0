// Small parts: badges, times, copy buttons, facts, figures, and the states of what is loading.
import { html, useState, useEffect, createStore, useStore, classes } from '../ui.js';
import { DASH, dateTime, relative, text } from '../format.js';
import { Icon } from './icon.js';

/** The clock of all relative times: one timer for the page. */
const tick = createStore(Date.now());
setInterval(() => { if (!document.hidden) tick.set(Date.now()); }, 5000);

/** A word with a colour. `tone`: ok, warn, bad, info or muted. */
export function Badge({ tone = 'muted', dot = false, title, children }) {
  return html`<span class=${classes('badge', tone)} title=${title}>
    ${dot && html`<span class="dot" aria-hidden="true"></span>`}${children}
  </span>`;
}

/**
 * A time: `at` in seconds, or `ms` in milliseconds. Shows how long ago, with the exact time as its
 * title; `exact` shows the exact time.
 */
export function Time({ at, ms, exact = false }) {
  const now = useStore(tick);
  const value = ms ?? (typeof at === 'number' ? at * 1000 : null);
  if (typeof value !== 'number' || !Number.isFinite(value) || Math.abs(value) > 8.64e15) {
    return html`<span class="dim">${DASH}</span>`;
  }
  const iso = new Date(value).toISOString();
  const full = dateTime(value);
  return html`<time class="num" datetime=${iso} title=${exact ? relative(value, now) : full}>
    ${exact ? full : relative(value, Math.max(now, Date.now()))}
  </time>`;
}

/** Copies a value. `label` says which. */
export function Copy({ value, label = 'Copy' }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return undefined;
    const timer = setTimeout(() => setCopied(false), 1500);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = async (event) => {
    event.stopPropagation();
    try {
      await navigator.clipboard.writeText(value);
      setCopied(true);
    } catch {
      // Without a secure context there is no clipboard: the value can be selected by hand.
      setCopied(false);
    }
  };
  return html`<button type="button" class="copy" onClick=${copy} title=${label} aria-label=${label}>
    <${Icon} name=${copied ? 'check' : 'copy'} />
    <span class="sr" role="status">${copied ? 'Copied' : ''}</span>
  </button>`;
}

/** An identifier in the fixed-width font, shortened in the middle, with a copy button. */
export function Id({ value, href, chars = 12, copy = true }) {
  const full = text(value);
  const shown = full.length > chars + 3 ? `${full.slice(0, chars)}…` : full;
  const label = html`<span class="mono" title=${full === shown ? undefined : full}>${shown}</span>`;
  return html`<span class="id">
    ${href ? html`<a href=${href}>${label}</a>` : label}
    ${copy && full !== DASH && html`<${Copy} value=${full} label=${`Copy ${full}`} />`}
  </span>`;
}

/** Names with values: `items` is a list of `[name, value]`; a missing value is a dash. */
export function Facts({ items, wide = false }) {
  return html`<dl class=${classes('facts', wide && 'wide')}>
    ${items.filter(Boolean).map(([name, value]) => html`<div key=${name}>
      <dt>${name}</dt><dd>${value === null || value === undefined || value === '' ? DASH : value}</dd>
    </div>`)}
  </dl>`;
}

/** One figure with its name: `tone` colours it, `note` explains it. */
export function Stat({ label, value, unit, note, tone, title }) {
  return html`<div class=${classes('stat', tone)} title=${title}>
    <div class="stat-label">${label}</div>
    <div class="stat-value">${value}${unit && html`<span class="unit">${unit}</span>`}</div>
    ${note && html`<div class="stat-note">${note}</div>`}
  </div>`;
}

/** A part of a screen with a heading. `aside` stands on the right of the heading. */
export function Panel({ title, note, aside, flush = false, class: extra, children }) {
  return html`<section class=${classes('panel', flush && 'flush', extra)}>
    ${(title || aside) && html`<header class="panel-head">
      <div>
        ${title && html`<h2>${title}</h2>`}
        ${note && html`<p class="panel-note">${note}</p>`}
      </div>
      ${aside && html`<div class="panel-aside">${aside}</div>`}
    </header>`}
    <div class="panel-body">${children}</div>
  </section>`;
}

/** Says that there is nothing, and what would make something appear. */
export function Empty({ title = 'Nothing here', children }) {
  return html`<div class="empty"><strong>${title}</strong>${children && html`<p>${children}</p>`}</div>`;
}

/** Says what failed, with the code and the request's id, and offers to try again. */
export function ErrorState({ error, onRetry }) {
  return html`<div class="error-state" role="alert">
    <${Icon} name="warn" />
    <div>
      <strong>${error.message}</strong>
      <p class="dim">
        <code>${error.code}</code>
        ${error.requestId && html` · request <code>${error.requestId}</code>`}
        ${error.retryAfter && html` · try again in ${error.retryAfter} s`}
      </p>
    </div>
    ${onRetry && html`<button type="button" class="button small" onClick=${() => onRetry()}>Try again</button>`}
  </div>`;
}

/** Grey lines in the place of what is being loaded. */
export function Loading({ lines = 4 }) {
  return html`<div class="loading" role="status" aria-busy="true">
    <span class="sr">Loading</span>
    ${Array.from({ length: lines }, (_, i) => html`<span class=${`bone b${i % 4}`} key=${i}></span>`)}
  </div>`;
}

/** What an `useApi` result shows: the error, bones, or `children(data)`. */
export function Loaded({ from, lines, children }) {
  if (from.data !== null && from.data !== undefined) {
    return html`${from.error && html`<${ErrorState} error=${from.error} onRetry=${from.reload} />`}
      ${children(from.data)}`;
  }
  if (from.error) return html`<${ErrorState} error=${from.error} onRetry=${from.reload} />`;
  return html`<${Loading} lines=${lines} />`;
}
