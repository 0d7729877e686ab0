// The actions on callers that several screens offer: blocks, quotas, credits.
import { askAction } from './components/dialog.js';
import { list } from './format.js';

const SPANS = [['900', '15 minutes'], ['3600', '1 hour'], ['86400', '1 day'], ['604800', '7 days'], ['2592000', '30 days']];
const KINDS = [['address', 'Address or network'], ['client', 'Client'], ['subject', 'Subject'], ['key', 'API key']];
const CUSTOM = 'custom';

const span = {
  name: 'span', label: 'For how long', type: 'select', value: '3600', options: [...SPANS, [CUSTOM, 'Another time…']],
};
const custom = {
  name: 'seconds', label: 'Seconds', type: 'number', min: 1, max: 34_560_000, value: 3600, required: true,
  hint: 'At most 400 days.', when: (values) => values.span === CUSTOM,
};

const secondsOf = (values) => (values.span === CUSTOM ? values.seconds : Number(values.span));

const issuerField = (value, when) => ({
  name: 'issuer', label: 'Issuer', value: value ?? '', placeholder: 'this service', when,
  hint: 'The issuer of the tokens. Leave it empty for this service.',
});

/** Blocks a caller. `kind` and `value` fill the dialog. */
export function askBlock({ kind = 'address', value = '', issuer, done } = {}) {
  askAction({
    title: 'Block a caller',
    effect: 'Its requests are refused with 403, beginning with the next one that asks the store. An address is also refused where nothing asks the store, within the policy\'s block.refresh_seconds.',
    confirm: 'Block',
    danger: true,
    fields: [
      { name: 'kind', label: 'What', type: 'select', value: kind, options: KINDS },
      { name: 'value', label: 'Which', value, required: true, maxlength: 256, placeholder: '203.0.113.7, 203.0.113.0/24, a client id …' },
      issuerField(issuer, (values) => values.kind !== 'address'),
      span,
      custom,
    ],
    method: 'POST',
    path: '/blocks',
    body: (values) => ({
      [values.kind]: values.value.trim(),
      issuer: values.issuer?.trim() || undefined,
      seconds: secondsOf(values),
    }),
    said: 'Blocked.',
    done,
  });
}

/** The kind and the value that a block names. */
export function blockTarget(block) {
  for (const [kind] of KINDS) {
    if (block?.[kind] !== undefined && block[kind] !== null) return [kind, block[kind]];
  }
  return ['', ''];
}

/** Ends a block. */
export function askUnblock(block, done) {
  const [kind, value] = blockTarget(block);
  askAction({
    title: 'End this block',
    effect: `Requests of the ${kind} ${value} are accepted again within a second. Where nothing asks the store, those of an address are within the policy's block.refresh_seconds.`,
    confirm: 'End the block',
    method: 'DELETE',
    path: '/blocks',
    body: () => ({ [kind]: value, issuer: block.issuer || undefined }),
    said: 'Block ended.',
    when: 'within a second',
    done,
  });
}

// Each part of a limit's `by` has a field of its own.
const partFields = (parts, values) => parts.map((part, index) => ({
  name: `part${index}`, label: `Caller: ${part}`, value: values?.[index] ?? '', required: true, maxlength: 1024,
}));

const byOf = (parts, values) => parts.map((part, index) => ({ part, value: values[`part${index}`] }));

/** Gives one caller of a limit another quota. `limit` is a member of `/api/limits`. */
export function askOverride(limit, { values, quota, issuer, done } = {}) {
  const parts = list(limit.by);
  askAction({
    title: `Another quota in ${limit.limit}`,
    effect: `This caller has another quota than the limit's own${limit.quota ? ` of ${limit.quota}` : ''}, from its next request that asks the store until the time is over.`,
    confirm: 'Set the quota',
    fields: [
      ...partFields(parts, values),
      issuerField(issuer),
      { name: 'quota', label: 'Quota', type: 'number', min: 1, max: 1_000_000, value: quota ?? limit.quota ?? '', required: true, hint: 'Requests in a window or period.' },
      { ...span, value: '86400' },
      custom,
    ],
    method: 'POST',
    path: '/limits/override',
    body: (given) => ({
      limit: limit.limit,
      by: byOf(parts, given),
      issuer: given.issuer?.trim() || undefined,
      quota: given.quota,
      seconds: secondsOf(given),
    }),
    said: 'Quota set.',
    done,
  });
}

/** Lets the limit's own quota apply again. `quota` is a member of `quotas` of `/api/limits`. */
export function askEndOverride(quota, done) {
  askAction({
    title: 'End this quota',
    effect: `The limit's own quota applies to ${callerText(quota.by)} again, from its next request that asks the store.`,
    confirm: 'End the quota',
    method: 'DELETE',
    path: '/limits/override',
    body: () => ({ limit: quota.limit, by: quota.by, issuer: quota.issuer || undefined }),
    said: 'Quota ended.',
    done,
  });
}

/** Adds credits to one caller of a limit. */
export function askCredits(limit, { values, issuer, done } = {}) {
  const parts = list(limit.by);
  // The same for each try: what is sent again after a lost reply counts once.
  const id = randomId();
  askAction({
    title: `Credits in ${limit.limit}`,
    effect: 'The credits are added to what this caller has, and count with its next request that asks the store. A number below 0 takes some back.',
    confirm: 'Add the credits',
    fields: [
      ...partFields(parts, values),
      issuerField(issuer),
      { name: 'credits', label: 'Credits', type: 'number', required: true, hint: 'What was granted in all stays between 0 and 10^12.' },
    ],
    method: 'POST',
    path: '/limits/credits',
    body: (given) => ({
      limit: limit.limit,
      by: byOf(parts, given),
      issuer: given.issuer?.trim() || undefined,
      credits: given.credits,
      id,
    }),
    said: 'Credits added.',
    done,
  });
}

const randomId = () => Array.from(
  crypto.getRandomValues(new Uint8Array(16)),
  (byte) => byte.toString(16).padStart(2, '0'),
).join('');

/** A caller as text: the values of its parts. */
export function callerText(by) {
  const parts = list(by).map((part) => (part && typeof part === 'object' ? `${part.part} ${part.value}` : String(part)));
  return parts.join(', ') || 'the caller';
}
