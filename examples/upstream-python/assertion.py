"""Checks assertions: the JWTs in which a gate states who calls."""

import jwt


class AssertionChecker:
    """Checks the assertions of one gate for one audience."""

    def __init__(self, jwks_url: str, issuer: str, audience: str):
        """Takes the key set of the gate, and `assertion.issuer` and the audience of its policy."""
        # Fetched again every five minutes, and when an assertion names an unknown key: for that at
        # most once in 30 seconds.
        self._keys = jwt.PyJWKClient(jwks_url, lifespan=300, cooldown_duration=30, timeout=2)
        self._issuer = issuer
        self._audience = audience

    def check(self, assertion: str) -> dict:
        """Returns the claims of a valid assertion. Raises jwt.PyJWTError for any other."""
        header = jwt.get_unverified_header(assertion)
        if header.get("typ") != "portcullis-assertion+jwt":
            raise jwt.InvalidTokenError("a JWT of another type")
        if not isinstance(header.get("kid"), str):
            raise jwt.InvalidTokenError("no key id")
        key = self._keys.get_signing_key(header["kid"])
        if key.algorithm_name not in ("EdDSA", "ES256"):
            raise jwt.InvalidAlgorithmError("a gate signs no assertion with this key")
        return jwt.decode(
            assertion,
            key,
            # The key decides the algorithm: the header is not signed by anyone yet.
            algorithms=[key.algorithm_name],
            issuer=self._issuer,
            audience=self._audience,
            leeway=5,
            options={"require": ["iss", "aud", "exp", "jti", "sub_iss"], "strict_aud": True},
        )
