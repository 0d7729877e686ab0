// What charts do to their points before they are drawn.

const ROWS_MAX = 20_000;

/**
 * Returns a row for each step between `from` and `to`: `{ start, point }`, without `point` where
 * nothing was recorded. So a gap stays a gap.
 */
export function withGaps(points, step, from, to) {
  const sorted = [...points].filter((point) => Number.isFinite(point?.start)).sort((a, b) => a.start - b.start);
  if (sorted.length === 0) {
    return Number.isFinite(from) && Number.isFinite(to) ? [{ start: from }, { start: to }] : [];
  }
  const width = step > 0 ? step : 60;
  const rows = [];
  const fill = (until) => {
    while (rows.length < ROWS_MAX && until - rows.at(-1).start > width * 1.5) {
      rows.push({ start: rows.at(-1).start + width });
    }
  };
  if (Number.isFinite(from) && sorted[0].start - from > width) {
    rows.push({ start: from });
    fill(sorted[0].start);
  }
  for (const point of sorted) {
    if (rows.length > 0) fill(point.start);
    rows.push({ start: point.start, point });
  }
  if (Number.isFinite(to) && to > rows.at(-1).start) {
    fill(to);
    if (to - rows.at(-1).start > width) rows.push({ start: to });
  }
  return rows;
}

/** Returns the series on top of each other, the first lowest. Those not shown add nothing. */
export function stacked(raw, visible) {
  const length = raw[0]?.length ?? 0;
  const sums = new Array(length).fill(0);
  return raw.map((values, index) => values.map((value, at) => {
    if (value === null) return null;
    if (visible[index]) sums[at] += value;
    return sums[at];
  }));
}

/** The colours of series that have no meaning of their own, in order. */
export const COLORS = ['--c1', '--c2', '--c3', '--c4', '--c5', '--c6', '--c7', '--c8'];

/**
 * Returns the names with the greatest sums over `points`, as series of a chart; the others are one
 * series `other`. `member` is the name of the member that holds the numbers by name.
 */
export function seriesByName(points, member, { top = 7, scale = 1, label = (name) => name } = {}) {
  const sums = new Map();
  for (const point of points) {
    for (const [name, value] of Object.entries(point?.[member] ?? {})) {
      if (Number.isFinite(value)) sums.set(name, (sums.get(name) ?? 0) + value);
    }
  }
  const names = [...sums].sort((a, b) => b[1] - a[1]).map(([name]) => name);
  // In the order of the alphabet, so that a name keeps its colour while the sums change.
  const main = names.slice(0, top).sort();
  const rest = names.slice(top);
  const own = (point, name) => (point[member] ? (point[member][name] ?? 0) * scale : null);
  const series = main.map((name, index) => ({
    key: name, label: label(name), color: COLORS[index % COLORS.length], value: (point) => own(point, name),
  }));
  if (rest.length > 0) {
    series.push({
      key: '(other)',
      label: `${rest.length} others`,
      color: '--c-other',
      value: (point) => (point[member] ? rest.reduce((sum, name) => sum + own(point, name), 0) : null),
    });
  }
  return series;
}
