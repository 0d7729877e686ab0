// What is wrong now, from the state that the server reports. Pure, so that it can be tested alone.
import { list, milliseconds, percent, seconds } from './format.js';

const METRICS_OLD_SECONDS = 60;
const OUTBOX_OLD_SECONDS = 15;

// What an isolate reported earlier says nothing of now: it may be gone.
const CURRENT_MS = 300_000;

// Below this, one client that tries a wrong token is most of the traffic.
const REQUESTS_MIN = 20;
const REFUSED_SHARE = 0.5;

const places = (colos) => {
  const names = [...new Set(list(colos).filter(Boolean))];
  if (names.length === 0) return '';
  const shown = names.slice(0, 6).join(', ');
  return names.length > 6 ? `${shown} and ${names.length - 6} more` : shown;
};

/** What degraded verdicts are called in the log, in words. */
export const DEGRADED = {
  'token=introspect': 'Tokens are judged by the issuer, without the store',
  'token=signature': 'Tokens are accepted by their signature alone',
  'limit=local': 'Limits are counted by each isolate alone',
  'limit=allow': 'Limits are not counted',
};

/**
 * Returns the findings, the worst first: `{ tone, title, text }` with tone bad, warn or info. An
 * empty list says that nothing is wrong. `state` is the member of that name of `/api/now`, and
 * `recent` the sums of its last points.
 */
export function findings(state, recent = null, now = Date.now()) {
  if (!state) return [];
  const edges = list(state.edges).filter((edge) => !(now - edge.at_ms > CURRENT_MS));
  const found = [];
  const add = (tone, title, text = '') => found.push({ tone, title, text });
  if (state.database === 'down') add('bad', 'The database does not answer', 'Logins, refreshes and changes fail.');
  if (state.store === 'down') {
    add('bad', 'The store does not answer', 'Revocations and blocks do not reach the edges until it is back.');
  }
  for (const breaker of list(state.open_breakers)) {
    const at = places(breaker.colos);
    const tone = breaker.state === 'open' ? 'bad' : 'warn';
    const verb = breaker.state === 'open' ? 'is open' : `is ${String(breaker.state).replace('_', ' ')}`;
    add(tone, `The breaker of ${breaker.dependency} ${verb}`, at && `At ${at}.`);
  }
  const degraded = new Map();
  for (const edge of edges) {
    // Token and limit of one verdict are one text.
    const parts = list(edge.degraded).flatMap((text) => String(text).split(', '));
    for (const how of new Set(parts)) degraded.set(how, [...(degraded.get(how) ?? []), edge.colo]);
  }
  for (const [how, colos] of degraded) {
    add('bad', DEGRADED[how] ?? `Degraded: ${how}`, `At ${places(colos) || 'an unknown location'}.`);
  }
  if (state.clearance_age_ms_max > state.delay_ms_max && state.delay_ms_max > 0) {
    add('bad', 'A revocation may take longer than the policy says', `A clearance was used at an age of ${milliseconds(state.clearance_age_ms_max)}; the bound is ${milliseconds(state.delay_ms_max)}.`);
  }
  if (state.outbox_age_seconds > OUTBOX_OLD_SECONDS) {
    add(state.store === 'down' ? 'warn' : 'bad', `The store has not been told for ${seconds(state.outbox_age_seconds)}`, `${state.outbox_rows ?? 'Some'} changes wait in the outbox.`);
  }
  if (state.metrics_age_seconds > METRICS_OLD_SECONDS) {
    add('warn', `No edge has reported for ${seconds(state.metrics_age_seconds)}`, 'Either nothing is requested, or the edges do not reach the store.');
  }
  if (recent?.requests >= REQUESTS_MIN && recent.refused > REFUSED_SHARE * recent.requests) {
    add('warn', 'Most requests are refused', `${percent(recent.refused / recent.requests)} of the last ones. Refusals has the codes.`);
  }
  const policies = new Set(edges.map((edge) => edge.policy).filter(Boolean));
  if (policies.size > 1) {
    add('info', `Edges run ${policies.size} policies`, 'Normal during a deployment.');
  }
  const order = ['bad', 'warn', 'info'];
  return found.sort((a, b) => order.indexOf(a.tone) - order.indexOf(b.tone));
}
