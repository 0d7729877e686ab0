// Checks assertions: the JWTs in which a gate states who calls.

import { createRemoteJWKSet, errors, jwtVerify } from 'jose';

/**
 * Returns a function that checks an assertion. It returns the claims, or throws.
 *
 * @param {{ jwksUrl: string, issuer: string, audience: string }} settings the key set of the gate,
 *   and `assertion.issuer` and the audience of its policy
 */
export function assertionChecker({ jwksUrl, issuer, audience }) {
  // jose does not check what it is given no value for.
  for (const [name, value] of Object.entries({ issuer, audience })) {
    if (typeof value !== 'string' || value === '') throw new TypeError(`${name} is not set`);
  }
  // Fetched when an assertion names an unknown key, at most once in 30 seconds.
  const keys = createRemoteJWKSet(new URL(jwksUrl), { timeoutDuration: 2000, cooldownDuration: 30_000 });
  // Without a key id, the set would accept the only key that fits.
  const keyOf = (header, token) => {
    if (typeof header.kid !== 'string') throw new errors.JWKSNoMatchingKey();
    return keys(header, token);
  };
  return async (assertion) => {
    const { payload } = await jwtVerify(assertion, keyOf, {
      issuer,
      audience,
      typ: 'portcullis-assertion+jwt',
      // The set returns only a key that has the algorithm of the header as its own.
      algorithms: ['EdDSA', 'ES256'],
      requiredClaims: ['aud', 'exp', 'iss', 'jti', 'sub_iss'],
      clockTolerance: 5,
    });
    return payload;
  };
}
