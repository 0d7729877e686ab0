// Charts over time, drawn by uPlot, with a legend whose entries can be switched off, the values
// under the pointer, and the same numbers as a table.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState, useStore, classes } from '../ui.js';
import uPlot from '../../vendor/uPlot.esm.js';
import { clock, compact, date, dateTime } from '../format.js';
import { Icon } from './icon.js';
import { theme } from './theme.js';
import { stacked, withGaps } from './series.js';

const TABLE_ROWS_MAX = 200;
const DAY = 86_400;

/** The value of a custom property, such as `--c1`: a canvas knows no properties. */
const property = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * A chart.
 *
 * - `title`: what it shows. `note`: one line below it.
 * - `points`: a list whose members have `start` (seconds). Times without a point are gaps.
 * - `step`: the seconds of a point.
 * - `from`, `to`: the range in seconds; without them that of the points.
 * - `series`: `{ key, label, value(point), color, dashed, hidden }`; `color` is a custom property's
 *   name, such as `--c1`. `value` returns `null` where there is none.
 * - `stack`: whether the series are drawn on top of each other.
 * - `format(value)`: a value's text. `sync`: charts of one name share their cursor.
 * - `height`: pixels.
 */
export function Chart({
  title, note, points, step, from, to, series, stack = false, format = compact, sync, height = 180,
}) {
  const shade = useStore(theme);
  const place = useRef(null);
  const plot = useRef(null);
  const [off, setOff] = useState(() => new Set(series.filter((own) => own.hidden).map((own) => own.key)));
  const [hover, setHover] = useState(null);
  const [asTable, setAsTable] = useState(false);

  const rows = useMemo(() => withGaps(points, step, from, to), [points, step, from, to]);
  const raw = useMemo(() => series.map((own) => rows.map((row) => {
    const value = row.point ? own.value(row.point) : null;
    return typeof value === 'number' && Number.isFinite(value) ? value : null;
  })), [rows, series]);
  const visible = series.map((own) => !off.has(own.key));
  const drawn = useMemo(
    () => [rows.map((row) => row.start), ...(stack ? stacked(raw, visible) : raw)],
    [rows, raw, stack, off],
  );
  const bounds = [rows[0]?.start ?? 0, rows.at(-1)?.start ?? 1];
  const shape = JSON.stringify([series.map((own) => [own.key, own.color, own.dashed]), stack, shade, sync, height, asTable]);
  const latest = useRef({});
  latest.current = { raw, format, bounds, span: bounds[1] - bounds[0] };

  useLayoutEffect(() => {
    if (asTable || !place.current) return undefined;
    const made = new uPlot(
      options({ series, stack, sync, height, latest, setHover, width: place.current.clientWidth }),
      drawn,
      place.current,
    );
    plot.current = made;
    const watcher = new ResizeObserver(() => {
      const width = place.current?.clientWidth;
      if (width) made.setSize({ width, height });
    });
    watcher.observe(place.current);
    return () => {
      watcher.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape]);

  useEffect(() => {
    const made = plot.current;
    if (!made) return;
    series.forEach((own, index) => {
      if (made.series[index + 1]?.show !== visible[index]) made.setSeries(index + 1, { show: visible[index] });
    });
    if (stack) stackBands(made, series, visible);
    made.setData(drawn, false);
    made.setScale('x', { min: bounds[0], max: bounds[1] });
  }, [drawn, shape]);

  const toggle = (key) => setOff((last) => {
    const next = new Set(last);
    if (!next.delete(key)) next.add(key);
    return next;
  });
  // The arrow keys move the cursor, so that the values need no pointer.
  const keys = (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move || !plot.current) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(rows.length - 1, (hover ?? (move > 0 ? -1 : rows.length)) + move));
    const left = plot.current.valToPos(rows[index].start, 'x');
    plot.current.setCursor({ left, top: height / 2 });
  };

  const at = hover === null ? null : rows[hover]?.start;
  return html`<figure class="chart" aria-label=${title}>
    <figcaption class="chart-head">
      <div class="chart-title"><strong>${title}</strong>
        ${note && html`<span class="chart-note">${note}</span>`}</div>
      <button type="button" class="icon-button" aria-pressed=${asTable ? 'true' : 'false'}
        title=${asTable ? 'Show as a chart' : 'Show as a table'}
        aria-label=${`${title}: ${asTable ? 'show as a chart' : 'show as a table'}`}
        onClick=${() => setAsTable(!asTable)}><${Icon} name=${asTable ? 'chart' : 'table'} /></button>
    </figcaption>
    <div class="legend">
      ${series.map((own, index) => html`<button type="button" key=${own.key}
        class=${classes('legend-item', !visible[index] && 'off')}
        aria-pressed=${visible[index] ? 'true' : 'false'} onClick=${() => toggle(own.key)}>
        <span class=${classes('swatch', own.dashed && 'dashed')} style=${{ '--swatch': `var(${own.color})` }}></span>
        ${own.label}
        <span class="legend-value num">${valueAt(raw[index], hover, format)}</span>
      </button>`)}
      <span class="legend-time num">${at === null ? '' : dateTime(at * 1000)}</span>
    </div>
    ${asTable
    ? html`<${Numbers} title=${title} series=${series} rows=${rows} raw=${raw} format=${format} />`
    : html`<div class="plot-box">
        <div class="plot" ref=${place} tabindex="0" role="img" onKeyDown=${keys}
          aria-label=${`${title}: chart. The arrow keys move through the values; the button above shows a table.`}></div>
        ${raw.every((values) => values.every((value) => value === null)) && html`<p class="plot-empty">No data in this range</p>`}
      </div>`}
  </figure>`;
}

const valueAt = (values, index, format) => {
  if (index === null) return '';
  return values[index] === null || values[index] === undefined ? 'no data' : format(values[index]);
};

function Numbers({ title, series, rows, raw, format }) {
  const shown = rows.map((row, index) => ({ ...row, index })).filter((row) => row.point).slice(-TABLE_ROWS_MAX).reverse();
  return html`<div class="chart-table" tabindex="0" role="region" aria-label=${`${title}, as a table`}>
    <table class="table dense">
      <caption class="sr">${title}</caption>
      <thead><tr><th scope="col">Time</th>
        ${series.map((own) => html`<th scope="col" class="end" key=${own.key}>${own.label}</th>`)}</tr></thead>
      <tbody>${shown.map((row) => html`<tr key=${row.start}>
        <th scope="row" class="num">${dateTime(row.start * 1000)}</th>
        ${series.map((own, i) => html`<td class="end num" key=${own.key}>${format(raw[i][row.index])}</td>`)}
      </tr>`)}</tbody>
    </table>
  </div>`;
}

function options({ series, stack, sync, height, latest, setHover, width }) {
  const line = property('--line');
  const ink = property('--ink-3');
  const font = `11px ${property('--sans')}`;
  const axis = { stroke: ink, font, ticks: { show: false }, grid: { stroke: line, width: 1 } };
  return {
    width,
    height,
    padding: [8, 20, 0, 0],
    legend: { show: false },
    cursor: {
      y: false,
      points: { size: 7 },
      drag: { x: false, y: false },
      sync: sync ? { key: sync } : undefined,
    },
    scales: {
      x: { time: true, range: () => latest.current.bounds },
      y: { range: (_, min, max) => [0, max > 0 ? max * 1.08 : 1] },
    },
    axes: [
      {
        ...axis,
        size: 24,
        gap: 5,
        space: 72,
        grid: { show: false },
        values: (_, splits) => splits.map((at, i) => tick(at, splits, i, latest.current.span)),
      },
      {
        ...axis,
        size: (_, values) => Math.max(34, 12 + 6.6 * Math.max(0, ...(values ?? []).map((value) => value.length))),
        gap: 6,
        space: 34,
        values: (_, splits) => splits.map((value) => latest.current.format(value)),
      },
    ],
    series: [{}, ...series.map((own, index) => {
      const color = property(own.color);
      return {
        label: own.label,
        stroke: color,
        width: stack ? 1 : 1.6,
        dash: own.dashed ? [5, 4] : undefined,
        fill: stack ? paint(color) : undefined,
        // Lines between points; a point alone between two gaps is drawn as a point.
        points: { show: true, size: 5, fill: color, filter: (u, at) => alone(u.data[at]) },
        value: (_, value, __, at) => latest.current.format(latest.current.raw[index]?.[at] ?? value),
      };
    })],
    hooks: {
      setCursor: [(u) => setHover(u.cursor.left >= 0 && u.cursor.idx !== null && u.cursor.idx !== undefined ? u.cursor.idx : null)],
    },
  };
}

/** Fills each shown series of a stack down to the shown one below it. */
function stackBands(plot, series, visible) {
  plot.delBand(null);
  let below = null;
  series.forEach((own, index) => {
    if (!visible[index]) return;
    if (below !== null) {
      plot.addBand({ series: [index + 1, below], fill: paint(property(own.color)) });
    }
    below = index + 1;
  });
}

/** The colour with 60 % opacity. The properties are six hexadecimal digits. */
const paint = (color) => `${color}99`;

function alone(values) {
  const found = [];
  values.forEach((value, at) => {
    if (value !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null) found.push(at);
  });
  return found;
}

/** The text of a time on the axis: the date where the day changes, otherwise the time. */
function tick(at, splits, index, span) {
  const time = new Date(at * 1000);
  const midnight = time.getHours() === 0 && time.getMinutes() === 0;
  if (midnight && (span > 2 * DAY || index > 0)) return date(at * 1000);
  const apart = (splits[1] ?? at) - splits[0];
  return clock(at * 1000, apart > 0 && apart % 60 !== 0);
}
