// Signatures of tokens, verified by Node's own cryptography.
import { constants, createHmac, createPublicKey, timingSafeEqual, verify } from 'node:crypto';

/**
 * Returns whether a signature holds, or null if Node can't use the key. `algorithm` is a name of
 * RFC 7518 or RFC 8037, `jwk` the key as JSON.
 */
export function verifySignature(algorithm, jwk, signature, input) {
  const [family, bits] = [algorithm.slice(0, 2), algorithm.slice(2)];
  const key = JSON.parse(jwk);
  if (family === 'HS') {
    const mac = createHmac(`sha${bits}`, Buffer.from(key.k, 'base64url')).update(input).digest();
    return mac.length === signature.length && timingSafeEqual(mac, signature);
  }
  let publicKey;
  try {
    publicKey = createPublicKey({ key, format: 'jwk' });
  } catch {
    return null;
  }
  const text = Buffer.from(input);
  switch (family) {
    case 'ES':
      return verify(`sha${bits}`, text, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature);
    case 'PS': {
      const padding = constants.RSA_PKCS1_PSS_PADDING;
      const options = { key: publicKey, padding, saltLength: Number(bits) / 8 };
      return verify(`sha${bits}`, text, options, signature);
    }
    case 'RS':
      return verify(`sha${bits}`, text, publicKey, signature);
    default:
      return verify(null, text, publicKey, signature);
  }
}
