// The ranges of time that screens show.
export const RANGES = [['live', 'Live'], ['hour', 'Hour'], ['day', 'Day'], ['week', 'Week']];

const SECONDS = { live: 600, hour: 3600, day: 86_400, week: 604_800 };
const SPANS = { live: '10 min', hour: '1 h', day: '1 d', week: '7 d' };
const WORDS = { live: 'the last 10 minutes', hour: 'the last hour', day: 'the last day', week: 'the last week' };

/** Returns the range that an address names, or the default. */
export const rangeOf = (name, otherwise = 'live') => (Object.hasOwn(SECONDS, name ?? '') ? name : otherwise);

export const span = (range) => SPANS[range];

export const words = (range) => WORDS[range];

/** How often a range is fetched again, in milliseconds. */
export const refreshMs = (range) => ({ live: 10_000, hour: 20_000, day: 60_000, week: 300_000 })[range];

/** Returns the first and the last second of a range that ends with its last point, or now. */
export function bounds(range, points, step, now = Date.now() / 1000) {
  const last = points.at(-1)?.start;
  const to = Math.max(Math.floor(now / step) * step - step, last ?? 0);
  return [to - SECONDS[range] + step, to];
}

/** Returns the step of a range's points: what the server says, or the usual one. */
export const stepOf = (range, said) => (said > 0 ? said : { live: 10, hour: 60, day: 60, week: 3600 }[range]);
