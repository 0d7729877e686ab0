// The console's functions without a page: what is wrong now, gaps and stacks of charts, numbers and
// times as text.
import assert from 'node:assert/strict';

const js = (name) => import(new URL(`../../../crates/auth/console/js/${name}.js`, import.meta.url));

export default async function units() {
  const { findings } = await js('findings');
  const { seriesByName, stacked, withGaps } = await js('components/series');
  const format = await js('format');
  wrong(findings);
  gaps(withGaps);
  stacks(stacked);
  names(seriesByName);
  texts(format);
}

function wrong(findings) {
  const edge = { colo: 'AMS', policy: 'a', degraded: [], clearance_age_ms_max: 900, delay_ms_max: 10_000 };
  const well = {
    store: 'up', database: 'up', outbox_rows: 0, outbox_age_seconds: 0, metrics_age_seconds: 3,
    clearance_age_ms_max: 900, delay_ms_max: 10_000, open_breakers: [], edges: [edge],
  };
  const titles = (changes) => findings({ ...well, ...changes }).map((one) => `${one.tone}: ${one.title}`);
  assert.deepEqual(titles({}), []);
  assert.deepEqual(findings(null), []);
  assert.deepEqual(titles({ store: 'down' }), ['bad: The store does not answer']);
  assert.deepEqual(titles({ database: 'down' }), ['bad: The database does not answer']);
  assert.deepEqual(titles({ outbox_rows: 2, outbox_age_seconds: 40 }), ['bad: The store has not been told for 40 s']);
  assert.deepEqual(titles({ metrics_age_seconds: 240 }), ['warn: No edge has reported for 4 min']);
  assert.deepEqual(titles({ clearance_age_ms_max: 10_001 }), ['bad: A revocation may take longer than the policy says']);
  assert.deepEqual(titles({ open_breakers: [{ dependency: 'store', state: 'half_open', colos: ['AMS'] }] }), ['warn: The breaker of store is half open']);
  assert.deepEqual(titles({ edges: [{ ...edge, degraded: ['token=signature'] }] }), ['bad: Tokens are accepted by their signature alone']);
  assert.deepEqual(titles({ edges: [edge, { ...edge, policy: 'b' }] }), ['info: Edges run 2 policies']);
  const refused = (share, requests) => findings(well, { requests, refused: share * requests }).map((one) => one.title);
  assert.deepEqual(refused(0.6, 20), ['Most requests are refused']);
  assert.deepEqual([...refused(0.5, 1000), ...refused(1, 19)], []);
  // What an isolate reported long ago says nothing of now.
  assert.deepEqual(titles({ edges: [{ ...edge, at_ms: Date.now() - 400_000, degraded: ['limit=local'], policy: 'b' }, edge] }), []);
  // The worst comes first, and members that are missing say nothing.
  const order = titles({ metrics_age_seconds: 90, store: 'down', edges: [edge, { ...edge, policy: 'b' }] });
  assert.deepEqual(order.map((one) => one.split(':')[0]), ['bad', 'warn', 'info']);
  assert.deepEqual(findings({ store: 'up' }), []);
}

function gaps(withGaps) {
  const starts = (rows) => rows.map((row) => (row.point ? row.start : -row.start));
  assert.deepEqual(starts(withGaps([{ start: 10 }, { start: 20 }, { start: 50 }], 10)), [10, 20, -30, -40, 50]);
  assert.deepEqual(starts(withGaps([{ start: 30 }], 10, 10, 60)), [-10, -20, 30, -40, -50]);
  assert.deepEqual(starts(withGaps([], 10, 10, 40)), [-10, -40]);
  // Points out of order are sorted, and a step of nothing ends.
  assert.deepEqual(starts(withGaps([{ start: 20 }, { start: 10 }], 0)), [10, 20]);
}

function stacks(stacked) {
  assert.deepEqual(stacked([[1, 2, null], [3, 4, null]], [true, true]), [[1, 2, null], [4, 6, null]]);
  assert.deepEqual(stacked([[1, 2], [3, 4]], [false, true]), [[0, 0], [3, 4]]);
}

function names(seriesByName) {
  const points = [{ start: 1, by_code: { a: 1, b: 5, c: 2 } }, { start: 2, by_code: null }];
  const series = seriesByName(points, 'by_code', { top: 1, scale: 0.5 });
  assert.deepEqual(series.map((own) => [own.label, own.value(points[0]), own.value(points[1])]), [['b', 2.5, null], ['2 others', 1.5, null]]);
}

function texts(format) {
  assert.deepEqual([0, 12.345, 999, 1500, 125_000].map(format.milliseconds), ['0 ms', '12.3 ms', '999 ms', '1.5 s', '2.08 min']);
  assert.deepEqual([undefined, null, Number.NaN, 'x'].map(format.milliseconds), ['–', '–', '–', '–']);
  assert.deepEqual([0, 0.0004, 0.0123, 1, null].map(format.percent), ['0 %', '< 0.1 %', '1.2 %', '100 %', '–']);
  assert.deepEqual([5, 9999, 12.345, 123_456].map(format.compact), ['5', '9,999', '12.3', '123.5K']);
  assert.equal(format.relative(1_000_000, 1_075_000), '75 s ago');
  assert.equal(format.relative(1_300_000, 1_000_000), 'in 5 min');
  assert.equal(format.share(1, 0), null);
}
