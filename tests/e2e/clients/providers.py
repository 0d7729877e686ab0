"""Verifies the tokens of tests/e2e/it/clients/providers.rs with PyJWT.

Reads on standard input the key sets and the tokens, each with the options that say what the policy
says. Prints for each token null, or the name of PyJWT's error.
"""

import json
import sys

import jwt

LEEWAY_SECONDS = 30


def verdict(described, jwks):
    token, options = described["token"], described["judge"]
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        keys = [key for key in jwks[described["set"]]["keys"] if key["kid"] == kid]
        if not keys:
            return "no such key"
        jwt.decode(
            token,
            jwt.PyJWK(keys[0]),
            algorithms=options["algorithms"],
            issuer=options["issuer"],
            audience=options["audience"],
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "sub"]},
        )
        return None
    except jwt.PyJWTError as error:
        return type(error).__name__


described = json.load(sys.stdin)
verdicts = [verdict(token, described["jwks"]) for token in described["tokens"]]
json.dump(verdicts, sys.stdout)
