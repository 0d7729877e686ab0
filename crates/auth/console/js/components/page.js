// The frame of a screen: its title, its tabs, its filters.
import { html, useEffect, useRef, useState, classes, useId } from '../ui.js';
import { Icon } from './icon.js';

/**
 * A screen: `title` (also the document's), `lead` (one sentence), `back` `[href, label]`, `actions`
 * (on the right of the title), `tabs` as of `Tabs`.
 */
export function Page({ title, heading, lead, back, actions, tabs, children }) {
  const head = useRef(null);
  useEffect(() => { document.title = `${title} · Portcullis`; }, [title]);
  // A screen reader begins with the new screen's title, as it would with a new page.
  useEffect(() => { if (document.activeElement === document.body) head.current?.focus(); }, []);
  return html`<div class="page">
    <header class="page-head">
      <div class="page-title">
        ${back && html`<a class="back" href=${back[0]}><${Icon} name="left" />${back[1]}</a>`}
        <h1 ref=${head} tabindex="-1">${heading ?? title}</h1>
        ${lead && html`<p class="lead">${lead}</p>`}
      </div>
      ${actions && html`<div class="page-actions">${actions}</div>`}
    </header>
    ${tabs}
    ${children}
  </div>`;
}

/** Links to the parts of a screen: `items` is a list of `{ href, label, current }`. */
export function Tabs({ label, items }) {
  return html`<nav class="tabs" aria-label=${label}>
    ${items.map((item) => html`<a key=${item.href} href=${item.href}
      aria-current=${item.current ? 'page' : undefined}>${item.label}</a>`)}
  </nav>`;
}

/** One of few choices: `options` is a list of `[value, label]`. */
export function Choice({ label, value, options, onChange }) {
  const name = useId('choice');
  return html`<fieldset class="choice">
    <legend class="sr">${label}</legend>
    ${options.map(([own, shown]) => html`<label key=${own} class=${classes(own === value && 'on')}>
      <input type="radio" name=${name} value=${own} checked=${own === value}
        onChange=${() => onChange(own)} /><span>${shown}</span>
    </label>`)}
  </fieldset>`;
}

/** The row of filters above a table. */
export const Filters = ({ children }) => html`<div class="filters" role="search">${children}</div>`;

/** A search box. `onChange` is called when the typing pauses. */
export function Search({ label, value = '', placeholder, onChange }) {
  const [typed, setTyped] = useState(value);
  const last = useRef(value);
  useEffect(() => {
    // Another part of the page changed the value.
    if (value !== last.current) {
      last.current = value;
      setTyped(value);
    }
  }, [value]);
  useEffect(() => {
    if (typed === last.current) return undefined;
    const timer = setTimeout(() => {
      last.current = typed;
      onChange(typed);
    }, 200);
    return () => clearTimeout(timer);
  }, [typed]);
  return html`<label class="search">
    <span class="sr">${label}</span><${Icon} name="search" />
    <input type="search" value=${typed} placeholder=${placeholder ?? label} spellcheck="false"
      autocomplete="off" onInput=${(event) => setTyped(event.currentTarget.value)} />
  </label>`;
}

/** A select box in a row of filters: `options` is a list of `[value, label]`. */
export function Select({ label, value = '', options, onChange }) {
  return html`<label class="select">
    <span class="select-label">${label}</span>
    <select value=${value} onChange=${(event) => onChange(event.currentTarget.value)}>
      ${options.map(([own, shown]) => html`<option key=${own} value=${own} selected=${own === value}>
        ${shown}</option>`)}
    </select>
  </label>`;
}

/** A filter that is on, with a button that ends it. */
export function Chip({ label, value, onRemove }) {
  return html`<span class="chip"><span class="dim">${label}</span> ${value}
    <button type="button" aria-label=${`Remove the filter ${label}`} onClick=${onRemove}>
      <${Icon} name="close" /></button>
  </span>`;
}
