"""Route 53 for tests: moto, with the checks in front that AWS makes and moto does not.

moto 5.2.5 checks neither the values of a DELETE nor a CREATE over an existing name, and applies a
batch change by change, so that a compare-and-swap always succeeds there. Here each batch is checked
whole against what moto holds, as the published contract says (strict_route53_check.py quotes it),
and only its net effect is given to moto, or nothing at all.

Prints its URL on one line, and ends when its standard input does.
Usage: strict_route53.py DIR [N]
  DIR  each batch is recorded there as it came, byte for byte; while a file `throttle` is there,
       every second question is answered with Throttling
  N    so many answers to GetChange say PENDING, as AWS does until its name servers have a change
"""

import ipaddress
import logging
import pathlib
import re
import sys
import threading
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

from moto.server import ThreadedMotoServer

NS = "{https://route53.amazonaws.com/doc/2013-04-01/}"
RECORDS_MAX = 1000
VALUE_CHARACTERS_MAX = 32000
# What leads some clients to one record set of several.
ROUTING = ("Weight", "Failover", "HealthCheckId")


class Invalid(Exception):
    """A batch that AWS refuses: its error code and one message for each fault."""

    def __init__(self, code, messages):
        super().__init__(code)
        self.code, self.messages = code, messages


def name_of(text):
    return text.lower().rstrip(".") + "."


def parse_set(element):
    """(name, type, identifier) and (ttl, values, routing) of a ResourceRecordSet."""
    text = lambda tag: element.findtext(NS + tag)
    if element.find(NS + "AliasTarget") is not None:
        content = ("alias", ElementTree.tostring(element.find(NS + "AliasTarget")), ())
    else:
        values = [value.text or "" for value in element.iter(NS + "Value")]
        routing = tuple((tag, text(tag)) for tag in ROUTING if text(tag))
        content = (text("TTL"), tuple(sorted(values)), routing)
    return (name_of(text("Name") or ""), text("Type"), text("SetIdentifier")), content


def check_values(key, content):
    ttl, values, _ = content
    if ttl == "alias":
        return
    if ttl is None or not values:
        raise Invalid("InvalidInput", [f"Expected TTL and ResourceRecords for {key[0]}"])
    for value in values:
        if key[1] == "TXT" and not re.fullmatch(r'"[^"]*"( "[^"]*")*', value):
            raise Invalid("InvalidChangeBatch", [
                "InvalidCharacterString (Value should be enclosed in quotation marks) "
                f"encountered with '{value}'"])
        try:
            if key[1] == "A":
                ipaddress.IPv4Address(value)
            if key[1] == "AAAA":
                ipaddress.IPv6Address(value)
        except ValueError:
            raise Invalid("InvalidChangeBatch", [f"Invalid address '{value}'"]) from None


def check(zone, before, changes):
    """The record sets after `changes`, or Invalid: all or none."""
    after, deleted, faults = dict(before), set(), []
    for action, key, content in changes:
        about = f"resource record set [name='{key[0]}', type='{key[1]}']"
        if action not in ("CREATE", "DELETE", "UPSERT"):
            raise Invalid("InvalidInput", [f"Invalid Action '{action}'"])
        check_values(key, content)
        if key[0] != zone and not key[0].endswith("." + zone):
            faults.append(f"RRSet with DNS name {key[0]} is not permitted in zone {zone}")
        elif action == "DELETE":
            if key in deleted:
                faults.append(f"The request contains a duplicate delete of {about}")
            elif key not in after:
                faults.append(f"Tried to delete {about} but it was not found")
            elif after[key] != content:
                faults.append(
                    f"Tried to delete {about} but the values provided do not match the current "
                    "values")
            else:
                del after[key]
            deleted.add(key)
        elif action == "CREATE" and key in after:
            faults.append(f"Tried to create {about} but it already exists")
        else:
            after[key] = content
    for name, kind, _ in after:
        beside = [key for key in after if key[0] == name and key[1] != "CNAME"]
        if kind == "CNAME" and beside:
            faults.append(
                f"RRSet of type CNAME with DNS name {name} is not permitted as it conflicts with "
                f"other records with the same DNS name in zone {zone}")
    if faults:
        raise Invalid("InvalidChangeBatch", faults)
    return after


class Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    moto = ""
    record = None
    recorded = 0
    pending = 0
    questions = 0

    def log_message(self, *_):
        pass

    def to_moto(self, method, path, body=None):
        # moto finds the service in the signature's scope. It must not take the body for a form.
        scope = self.headers.get("Authorization", "")
        headers = {"Authorization": scope, "Content-Type": "text/xml"}
        request = urllib.request.Request(self.moto + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def reply(self, status, headers, body):
        self.send_response(status)
        for name in headers:
            if name.lower() in ("content-type", "location"):
                self.send_header(name, headers[name])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def throttled(self):
        if self.command != "GET" or not Front.record or not Front.throttle().exists():
            return False
        with Front.lock:
            Front.questions += 1
            return Front.questions % 2 == 0

    @staticmethod
    def throttle():
        return pathlib.Path(Front.record, "throttle")

    def pass_on(self):
        if self.throttled():
            text = (
                '<?xml version="1.0"?><ErrorResponse xmlns="https://route53.amazonaws.com/doc/'
                "2013-04-01/\"><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate "
                "exceeded</Message></Error><RequestId>0</RequestId></ErrorResponse>")
            return self.reply(400, {"Content-Type": "text/xml"}, text.encode())
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        status, headers, text = self.to_moto(self.command, self.path, body)
        if "/change/" in self.path and Front.pending > 0:
            Front.pending -= 1
            text = text.replace(b"INSYNC", b"PENDING")
        self.reply(status, headers, text)

    do_GET = do_DELETE = do_PUT = pass_on

    def do_POST(self):
        match = re.fullmatch(r"/2013-04-01/hostedzone/([^/]+)/rrset/?", self.path)
        if not match:
            return self.pass_on()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with Front.lock:
            self.keep(body)
            try:
                self.reply(*self.change(match.group(1), body))
            except Invalid as fault:
                message = "[" + ", ".join(fault.messages) + "]"
                text = (
                    '<?xml version="1.0"?><ErrorResponse xmlns="https://route53.amazonaws.com/doc/'
                    f'2013-04-01/"><Error><Type>Sender</Type><Code>{fault.code}</Code><Message>'
                    f"{escape(message)}</Message></Error><RequestId>0</RequestId></ErrorResponse>")
                self.reply(400, {"Content-Type": "text/xml"}, text.encode())

    def keep(self, body):
        if Front.record:
            lines = [self.requestline] + [f"{k}: {v}" for k, v in self.headers.items()]
            path = pathlib.Path(Front.record, f"{Front.recorded:04}")
            path.write_bytes("\r\n".join(lines + ["", ""]).encode() + body)
            Front.recorded += 1

    def change(self, zone_id, body):
        base = f"/2013-04-01/hostedzone/{zone_id}"
        status, headers, text = self.to_moto("GET", base)
        if status != 200:
            return status, headers, text
        zone = ElementTree.fromstring(text).find(f".//{NS}HostedZone")
        zone = name_of(zone.findtext(NS + "Name"))
        _, _, text = self.to_moto("GET", base + "/rrset?maxitems=1000")
        sets = ElementTree.fromstring(text).iter(NS + "ResourceRecordSet")
        before = dict(parse_set(element) for element in sets)
        batch = ElementTree.fromstring(body)
        changes = []
        for element in batch.iter(NS + "Change"):
            key, content = parse_set(element.find(NS + "ResourceRecordSet"))
            changes.append((element.findtext(NS + "Action"), key, content))
        values = [value for action, _, content in changes for value in content[1]
                  for _ in range(2 if action == "UPSERT" else 1)]
        if len(values) > RECORDS_MAX or sum(map(len, values)) > VALUE_CHARACTERS_MAX:
            raise Invalid("InvalidChangeBatch", ["Number of records or characters limit exceeded"])
        after = check(zone, before, changes)
        net = [("DELETE", key, before[key]) for key in before if key not in after]
        net += [("UPSERT", key, after[key]) for key in after if after[key] != before.get(key)]
        # moto refuses an empty batch; one that changes nothing writes what is there again.
        net = net or [("UPSERT", key, after[key]) for _, key, _ in changes[:1] if key in after]
        return self.to_moto("POST", base + "/rrset", render(net).encode())


def render(changes):
    text = []
    for action, (name, kind, identifier), (ttl, values, routing) in changes:
        one_of = f"<SetIdentifier>{escape(identifier)}</SetIdentifier>" if identifier else ""
        one_of += "".join(f"<{tag}>{escape(value)}</{tag}>" for tag, value in routing)
        records = "".join(
            f"<ResourceRecord><Value>{escape(value)}</Value></ResourceRecord>" for value in values)
        text.append(
            f"<Change><Action>{action}</Action><ResourceRecordSet><Name>{name}</Name><Type>{kind}"
            f"</Type>{one_of}<TTL>{ttl}</TTL><ResourceRecords>{records}</ResourceRecords>"
            "</ResourceRecordSet></Change>")
    return (
        '<ChangeResourceRecordSetsRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/">'
        f"<ChangeBatch><Changes>{''.join(text)}</Changes></ChangeBatch>"
        "</ChangeResourceRecordSetsRequest>")


def start(record=None):
    """Start both on loopback, and return the front's URL and moto's own."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    Front.moto = "http://%s:%d" % moto.get_host_and_port()
    Front.record = record
    front = ThreadingHTTPServer(("127.0.0.1", 0), Front)
    threading.Thread(target=front.serve_forever, daemon=True).start()
    return "http://127.0.0.1:%d" % front.server_address[1], Front.moto


if __name__ == "__main__":
    Front.pending = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    print(start(sys.argv[1])[0], flush=True)
    sys.stdin.read()
