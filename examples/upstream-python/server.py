"""An API that answers the callers that the gate in front of it states."""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

from assertion import AssertionChecker

CHECKER = AssertionChecker(
    f"{os.environ['GATE_URL']}/.well-known/portcullis-jwks.json",
    issuer=os.environ["ASSERTION_ISSUER"],
    audience=os.environ["ASSERTION_AUDIENCE"],
)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            caller = CHECKER.check(self.headers.get("Portcullis-Assertion", ""))
        except jwt.PyJWTError as error:
            print(f"assertion rejected: {error!r}", file=sys.stderr)
            return self.reply(401, {"error": "the assertion of the gate is missing or invalid"})
        return self.reply(200, {"hello": caller.get("sub"), "scope": caller.get("scope")})

    def reply(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


if __name__ == "__main__":
    address = ("127.0.0.1", int(os.environ.get("PORT", "8789")))
    ThreadingHTTPServer(address, Handler).serve_forever()
