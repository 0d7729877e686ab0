// Tables, and the button below them that loads more rows.
import { html, classes, useLayoutEffect, useRef } from '../ui.js';
import { DASH } from '../format.js';
import { Empty, ErrorState, Loading } from './basics.js';

/**
 * A table. On a narrow screen each row becomes a card.
 *
 * - `caption`: what the rows are, for screen readers.
 * - `columns`: `{ key, label, render(row), end, mono, width, primary }`. Without `render` the
 *   member `key` is shown. Long text ends in an ellipsis, with all of it as the title. `end` aligns
 *   to the right and uses digits of one width. `width`: narrow, wide.
 * - `rows`: a list, or `null` while loading. `rowKey(row, index)`.
 * - `onRow(row)`: the whole row can be clicked. Give one cell a link or button too, for the
 *   keyboard.
 * - `selected(row)`, `tone(row)`.
 * - `error`, `onRetry`, `empty` (a node), `more` (a function or `null`), `loading`: as of
 *   `usePages`.
 */
export function Table({
  caption, columns, rows, rowKey, onRow, selected, tone, error, onRetry, empty, more, loading,
  dense = false,
}) {
  if (rows === null || rows === undefined) {
    if (error) return html`<${ErrorState} error=${error} onRetry=${onRetry} />`;
    return html`<${Loading} lines=${6} />`;
  }
  if (rows.length === 0) {
    return html`${error && html`<${ErrorState} error=${error} onRetry=${onRetry} />`}
      ${empty ?? html`<${Empty} />`}`;
  }
  const shown = columns.filter(Boolean);
  const click = (row) => (event) => {
    // Links and buttons in the row do their own work, and so does selecting text.
    if (event.target.closest('a, button, input, select')) return;
    if (String(getSelection() ?? '') !== '') return;
    onRow(row);
  };
  return html`<${Scroll} label=${caption}>
    <table class=${classes('table', dense && 'dense', loading && 'stale')} role="table"
      aria-busy=${loading ? 'true' : undefined}>
      <caption class="sr">${caption}</caption>
      <thead role="rowgroup"><tr role="row">
        ${shown.map((column) => html`<th key=${column.key} scope="col" role="columnheader"
          class=${cellClass(column, true)}>${column.label || html`<span class="sr">Actions</span>`}</th>`)}
      </tr></thead>
      <tbody role="rowgroup">
        ${rows.map((row, index) => html`<tr role="row" key=${rowKey ? rowKey(row, index) : index}
          class=${classes(onRow && 'clickable', selected?.(row) && 'selected', tone?.(row))}
          aria-selected=${selected?.(row) ? 'true' : undefined}
          onClick=${onRow ? click(row) : undefined}>
          ${shown.map((column) => html`<td key=${column.key} role="cell" class=${cellClass(column)}
            data-label=${column.label || undefined}>
            ${cell(column, row)}</td>`)}
        </tr>`)}
      </tbody>
    </table>
  <//>
  ${error && html`<${ErrorState} error=${error} onRetry=${onRetry} />`}
  <${Pager} more=${more} loading=${loading} count=${rows.length} />`;
}

/** What is wider than its place is scrolled, by the keyboard as well. */
function Scroll({ label, children }) {
  const own = useRef(null);
  useLayoutEffect(() => {
    const element = own.current;
    const check = () => {
      if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
      else element.removeAttribute('tabindex');
    };
    check();
    const watcher = new ResizeObserver(check);
    watcher.observe(element);
    return () => watcher.disconnect();
  }, []);
  return html`<div class="table-wrap" ref=${own} role="region" aria-label=${label}>${children}</div>`;
}

function cell(column, row) {
  const value = column.render ? column.render(row) : row?.[column.key];
  if (value === null || value === undefined || value === '') {
    return html`<span class="dim">${DASH}</span>`;
  }
  if (typeof value === 'number') return value;
  if (typeof value === 'string') return html`<span class="clip" title=${value.length > 24 ? value : undefined}>${value}</span>`;
  return column.render ? value : JSON.stringify(value);
}

const cellClass = (column, head = false) => classes(
  column.end && 'end num', column.mono && !head && 'mono', column.width, column.primary && 'primary',
  !column.label && 'actions',
);

/** Loads more rows; nothing if the list is at its end. */
export function Pager({ more, loading, count }) {
  if (!more) return null;
  return html`<div class="pager">
    <span class="dim num">${count} shown</span>
    <button type="button" class="button small" disabled=${loading} onClick=${() => more()}>
      ${loading ? 'Loading…' : 'Load more'}</button>
  </div>`;
}
