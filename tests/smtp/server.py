"""A mail server for one test: takes mail by SMTP and tells what it got, one line of JSON each, on stdout.

    server.py [--port N] [--answer '451 4.7.1 later']... [--unknown ADDRESS]... [--login USER:PASSWORD]

The first line is {"listening": port}. Each mail is answered by the next --answer, and with 250 behind the last of
them. A recipient that is --unknown is answered with 550. With --login only that user may send.
"""

import argparse
import asyncio
import email
import email.policy
import json

from aiosmtpd.smtp import SMTP, AuthResult


def tell(**event):
    print(json.dumps(event), flush=True)


class Inbox:
    def __init__(self, answers, unknown):
        self.answers = answers
        self.unknown = unknown

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in self.unknown:
            tell(refused=address)
            return "550 5.1.1 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"

    async def handle_DATA(self, server, session, envelope):
        answer = self.answers.pop(0) if self.answers else "250 2.0.0 taken"
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        tell(mail={
            "answer": answer,
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "authenticated": session.authenticated,
            "headers": {name: str(value) for name, value in mail.items()},
            "type": mail.get_content_type(),
            "parts": [
                {"type": part.get_content_type(), "body": part.get_content()}
                for part in (mail.iter_parts() if mail.is_multipart() else [mail])
            ],
            "defects": [repr(defect) for part in mail.walk() for defect in part.defects],
        })
        return answer


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--answer", action="append", default=[])
    parser.add_argument("--unknown", action="append", default=[])
    parser.add_argument("--login")
    arguments = parser.parse_args()
    inbox = Inbox(arguments.answer, arguments.unknown)

    def login(server, session, envelope, mechanism, data):
        good = arguments.login.encode() == data.login + b":" + data.password
        return AuthResult(success=good, handled=False)

    def session():
        return SMTP(
            inbox, hostname="mail.test", enable_SMTPUTF8=True, auth_require_tls=False,
            auth_required=bool(arguments.login), authenticator=login if arguments.login else None,
        )

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", arguments.port)
    tell(listening=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
