// @ts-check
// WebCrypto for Wasm: keys, signatures and random bytes.

export function nonce() {
  return crypto.getRandomValues(new Uint8Array(12));
}

/**
 * @param {string} algorithm
 * @param {string} jwk
 * @param {string} usage
 */
export function importKey(algorithm, jwk, usage) {
  return crypto.subtle.importKey('jwk', JSON.parse(jwk), parameters(algorithm), false, [usage]);
}

/**
 * @param {string} algorithm
 * @param {CryptoKey} key
 * @param {Uint8Array} signature
 * @param {Uint8Array} input
 */
export function verify(algorithm, key, signature, input) {
  return crypto.subtle.verify(parameters(algorithm), key, signature, input);
}

/**
 * @param {string} algorithm
 * @param {CryptoKey} key
 * @param {Uint8Array} input
 */
export async function sign(algorithm, key, input) {
  return new Uint8Array(await crypto.subtle.sign(parameters(algorithm), key, input));
}

/**
 * Returns WebCrypto's parameters of an algorithm of RFC 7518, whose name ends with the hash's bits.
 */
function parameters(/** @type {string} */ algorithm) {
  const bits = Number(algorithm.slice(2));
  const hash = `SHA-${bits}`;
  switch (algorithm.slice(0, 2)) {
    case 'ES': return { name: 'ECDSA', namedCurve: bits === 512 ? 'P-521' : `P-${bits}`, hash };
    case 'HS': return { name: 'HMAC', hash };
    case 'PS': return { name: 'RSA-PSS', hash, saltLength: bits / 8 };
    case 'RS': return { name: 'RSASSA-PKCS1-v1_5', hash };
    default: return { name: 'Ed25519' };
  }
}
