#!/usr/bin/python3
"""A mail server for tests: STARTTLS, AUTH, and a file of what it got.

    smtp_server.py --port-file FILE --mails FILE --cert FILE --key FILE [--no-tls]

Takes a free port on 127.0.0.1 and writes its number to the port file.  Every
mail is a line of JSON in the mails file: from, to, headers and text.  Without
--no-tls it refuses mails before STARTTLS, and wants user "etl", password
"right".  Recipients at refused.example get 550, those at busy.example 451.
"""
import argparse
import email
import email.policy
import json
import ssl
import time

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, SMTP

ARGS = None


class Mails:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.endswith("@refused.example"):
            return "550 no such user"
        if address.endswith("@busy.example"):
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        line = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None,
                "headers": {name: str(value) for name, value in message.items()},
                "text": message.get_content()}
        with open(ARGS.mails, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    good = (data.login, data.password) == (b"etl", b"right")
    return AuthResult(success=good, handled=False)


class Server(Controller):
    def factory(self):
        if ARGS.no_tls:
            return SMTP(Mails())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ARGS.cert, ARGS.key)
        return SMTP(Mails(), tls_context=context, require_starttls=True,
                    auth_required=True, authenticator=authenticate)


def free_port():
    import socket
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    global ARGS
    parser = argparse.ArgumentParser()
    for name in ("--port-file", "--mails", "--cert", "--key"):
        parser.add_argument(name)
    parser.add_argument("--no-tls", action="store_true")
    ARGS = parser.parse_args()
    server = Server(None, hostname="127.0.0.1", port=free_port())
    server.start()
    with open(ARGS.port_file, "w", encoding="ascii") as file:
        file.write(str(server.port))
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
