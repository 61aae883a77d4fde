"""A mail server with TLS and logins: mail_server.py MODE DIR [MECHANISM ...]

MODE is plain, starttls or implicit; certificate and key are DIR/cert.pem and DIR/key.pem. The user is "user", the password
"secret". Prints its port, then writes every mail it takes to DIR/mail-N.json.
"""

import asyncio
import hashlib
import hmac
import json
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

mode, directory, *mechanisms = sys.argv[1:]
QUESTION = b"<1896.697170952@example.org>"
count = 0


class Handler:
    async def auth_CRAM__MD5(self, server, args):
        said = await server.challenge_auth(QUESTION)
        user, digest = said.decode().split(" ")
        right = hmac.new(b"secret", QUESTION, hashlib.md5).hexdigest()
        return AuthResult(success=user == "user" and digest == right, handled=False)

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address.startswith("nobody"):
            return "550 5.1.1 no such user"
        if address.startswith("later"):
            return "450 4.2.1 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        global count
        count += 1
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "hello": session.host_name,
            "is_encrypted": session.ssl is not None or mode == "implicit",
            "is_logged_in": session.authenticated,
            "data": envelope.content.decode(),
        }
        path = os.path.join(directory, f"mail-{count}.json")
        with open(path + ".new", "w") as file:
            json.dump(mail, file)
        os.rename(path + ".new", path)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"user", b"secret")
    return AuthResult(success=right, handled=False)


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if mode != "plain":
        context.load_cert_chain(os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem"))
    excluded = [name for name in ("LOGIN", "PLAIN", "CRAM-MD5") if name not in mechanisms]

    def connection():
        return SMTP(
            Handler(),
            hostname="box",
            tls_context=context if mode == "starttls" else None,
            require_starttls=mode == "starttls",
            authenticator=authenticate,
            auth_required=bool(mechanisms),
            auth_require_tls=False,
            auth_exclude_mechanism=excluded,
            enable_SMTPUTF8=False,
        )

    tls = context if mode == "implicit" else None
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
