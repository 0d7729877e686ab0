// Numbers and times as text. A value that is missing or not a number is a dash.
export const DASH = '–';

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const few = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });

const given = (value) => typeof value === 'number' && Number.isFinite(value);

/** `12,345` */
export const count = (value) => (given(value) ? whole.format(value) : DASH);

/** `12.3K`; below 10,000 whole numbers as they are, and three digits of others. */
export const compact = (value) => {
  if (!given(value)) return DASH;
  if (Math.abs(value) >= 10_000) return short.format(value);
  return Number.isInteger(value) ? whole.format(value) : few.format(value);
};

/** `12 ms`, `1.2 s`, `3 min` */
export function milliseconds(value) {
  if (!given(value)) return DASH;
  if (value < 1000) return `${few.format(value)} ms`;
  return seconds(value / 1000);
}

/** `40 s`, `3 min`, `2 h`, `5 d` */
export function seconds(value) {
  if (!given(value)) return DASH;
  if (value < 120) return `${few.format(value)} s`;
  if (value < 7200) return `${few.format(value / 60)} min`;
  if (value < 172_800) return `${few.format(value / 3600)} h`;
  return `${few.format(value / 86_400)} d`;
}

/** `12.3 %` of a share between 0 and 1. */
export function percent(value) {
  if (!given(value)) return DASH;
  const hundredth = value * 100;
  if (hundredth > 0 && hundredth < 0.1) return '< 0.1 %';
  return `${hundredth.toFixed(hundredth === 0 || hundredth >= 99.95 ? 0 : 1)} %`;
}

/** Returns the share, or `null` of nothing. */
export const share = (part, all) => (given(part) && given(all) && all > 0 ? part / all : null);

const two = (n) => String(n).padStart(2, '0');
const day = (at) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
const hours = (at) => `${two(at.getHours())}:${two(at.getMinutes())}`;

/** `2026-11-30 14:05:09` in the browser's time zone, of milliseconds. */
export function dateTime(ms) {
  if (!given(ms)) return DASH;
  const at = new Date(ms);
  return `${day(at)} ${hours(at)}:${two(at.getSeconds())}`;
}

/** `14:05`, and `14:05:09` with seconds. */
export function clock(ms, withSeconds = false) {
  if (!given(ms)) return DASH;
  const at = new Date(ms);
  return hours(at) + (withSeconds ? `:${two(at.getSeconds())}` : '');
}

/** `30 Nov` */
export const date = (ms) => (given(ms)
  ? new Date(ms).toLocaleDateString('en-GB', { day: 'numeric', month: 'short' })
  : DASH);

/** `4 s ago`, `in 3 min` */
export function relative(ms, now = Date.now()) {
  if (!given(ms)) return DASH;
  const away = Math.round((now - ms) / 1000);
  if (Math.abs(away) < 2) return 'now';
  const span = Math.abs(away) < 120
    ? `${Math.abs(away)} s`
    : seconds(roundTo(Math.abs(away)));
  return away > 0 ? `${span} ago` : `in ${span}`;
}

function roundTo(value) {
  if (value < 7200) return Math.round(value / 60) * 60;
  if (value < 172_800) return Math.round(value / 3600) * 3600;
  return Math.round(value / 86_400) * 86_400;
}

/** Text of a value that may be missing. */
export const text = (value) => (value === null || value === undefined || value === '' ? DASH : String(value));

/** A list from what should be one. */
export const list = (value) => (Array.isArray(value) ? value : []);

/** An object from what should be one. */
export const object = (value) => (typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {});
