// Verifies a signature for `cargo xtask policy explain --jwks`, as the npm package does. The token
// comes by the standard input, so that no list of processes shows it.
import { readFileSync } from 'node:fs';
import { verifySignature } from '../../../packages/portcullis/signature.mjs';

const { algorithm, jwk, signature, input } = JSON.parse(readFileSync(0, 'utf8'));
const holds = verifySignature(algorithm, jwk, Buffer.from(signature), input);
process.stdout.write(JSON.stringify(holds));
