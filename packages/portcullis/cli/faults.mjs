// What is wrong with an answer; `undefined` if nothing is.

/** @param {string} text */
export function urlFault(text) {
  const url = URL.parse(text);
  if (!url || !['http:', 'https:'].includes(url.protocol)) return `${text} is not a URL; give one such as https://api.example`;
  if (url.username || url.password) return 'a URL with a password; give the password as a secret';
  return undefined;
}

/** @param {string} text */
export function textFault(text) {
  return text.trim() === '' || /["\\\p{Cc}]/u.test(text) ? 'give a text without quotes and control characters' : undefined;
}

/** @param {string} text */
export function nameFault(text) {
  return /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(text) ? undefined : `${text} is not a Worker's name; use a-z, 0-9 and -, 63 characters at most`;
}

/** @param {Record<string, unknown>} choices */
export function oneOf(choices) {
  return (/** @type {string} */ text) => (
    Object.hasOwn(choices, text) ? undefined : `${text} is unknown; choose one of ${Object.keys(choices).join(', ')}`
  );
}

/**
 * The address of a memcached.
 * @param {string} text
 */
export function memcachedFault(text) {
  const good = /^memcacheds?:\/\/[^\s/"\\]+:\d{1,5}$/.test(text);
  return good ? undefined : `${text} is not the address of a memcached; give one such as memcached://cache.example:11211`;
}
