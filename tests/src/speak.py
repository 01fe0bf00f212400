"""Messages as devices send them, by Python's own clients: speak.py syslog udp|tcp PORT TEXT, or speak.py mail PORT SENDER RECIPIENT FILE."""

import logging
import logging.handlers
import smtplib
import socket
import sys


def syslog(transport, port, text):
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    handler = logging.handlers.SysLogHandler(
        ("127.0.0.1", int(port)), facility=logging.handlers.SysLogHandler.LOG_LOCAL3, socktype=kind
    )
    handler.ident = "backup: "
    logging.getLogger().addHandler(handler)
    logging.error(text)
    logging.shutdown()


def mail(port, sender, recipient, file):
    with open(file, "rb") as lines, smtplib.SMTP("127.0.0.1", int(port), timeout=30) as smtp:
        try:
            smtp.sendmail(sender, [recipient], lines.read().replace(b"\n", b"\r\n"))
            print("kept")
        except smtplib.SMTPResponseException as refused:
            print(refused.smtp_code)
        except smtplib.SMTPRecipientsRefused as refused:
            print(refused.recipients[recipient][0])


{"syslog": syslog, "mail": mail}[sys.argv[1]](*sys.argv[2:])
