"""One request, or a few, to Azure Blob Storage, for tests: what users do beside the arbiter.

Knows only Python's own library, so that it tells of the service and of no client.
Usage: azure_blob.py URL ACCOUNT KEY COMMAND ARGS…
  create CONTAINER                    make a container
  policies CONTAINER [ID=RIGHTS…]     set its stored access policies
  rights CONTAINER                    print them, `ID=RIGHTS` a line
  metadata CONTAINER [NAME=VALUE…]    set its metadata, or print it where none is given
  write CONTAINER KEY TEXT            write a blob
  read CONTAINER KEY                  print a blob
  as CONTAINER POLICY METHOD KEY      PUT or GET a blob with a SAS of that policy; print the status
  lease CONTAINER KEY INFO            lock a blob as Terraform does
"""

import base64
import datetime
import hashlib
import hmac
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

VERSION = "2020-12-06"


class Account:
    def __init__(self, url, name, key):
        self.url, self.name, self.key = url.rstrip("/"), name, base64.b64decode(key)

    def signed(self, text):
        return base64.b64encode(hmac.new(self.key, text.encode(), hashlib.sha256).digest()).decode()

    def ask(self, method, path, query=(), body=None, headers=()):
        """Status, headers and body, as the account's owner."""
        now = datetime.datetime.now(datetime.timezone.utc)
        sent = {"x-ms-date": now.strftime("%a, %d %b %Y %H:%M:%S GMT"), "x-ms-version": VERSION}
        sent.update(headers)
        url = f"{self.url}/{urllib.parse.quote(path)}"
        named = sorted((name.lower(), value) for name, value in sent.items())
        own = "".join(f"{name}:{value}\n" for name, value in named if name.startswith("x-ms-"))
        resource = f"/{self.name}{urllib.parse.urlsplit(url).path}"
        resource += "".join(f"\n{name}:{value}" for name, value in sorted(query))
        length = str(len(body)) if body else ""
        kind = "application/octet-stream" if body is not None else ""
        text = "\n".join([method, "", "", length, "", kind, "", "", "", "", "", "", own + resource])
        sent["Authorization"] = f"SharedKey {self.name}:{self.signed(text)}"
        if body is not None:
            sent["Content-Type"] = kind
            sent["Content-Length"] = str(len(body))
        if query:
            url += "?" + urllib.parse.urlencode(query)
        return answer(urllib.request.Request(url, body, sent, method=method))

    def must(self, *args, **more):
        status, headers, text = self.ask(*args, **more)
        if status >= 300:
            raise SystemExit(f"{status} {text}")
        return headers, text

    def sas(self, container, policy):
        """A token for a container whose rights are those of a stored access policy."""
        resource = f"/blob/{self.name}/{container}"
        text = "\n".join(["", "", "", resource, policy, "", "", VERSION, "c"] + [""] * 7)
        parts = {"sv": VERSION, "sr": "c", "si": policy, "sig": self.signed(text)}
        return urllib.parse.urlencode(parts)


def answer(request):
    try:
        with urllib.request.urlopen(request) as got:
            return got.status, got.headers, got.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def policies(pairs):
    text = "".join(
        f"<SignedIdentifier><Id>{name}</Id><AccessPolicy>"
        "<Start>2020-01-01T00:00:00.0000000Z</Start>"
        f"<Expiry>2099-01-01T00:00:00.0000000Z</Expiry><Permission>{rights}</Permission>"
        "</AccessPolicy></SignedIdentifier>" for name, rights in pairs)
    return f'<?xml version="1.0"?><SignedIdentifiers>{text}</SignedIdentifiers>'.encode()


def main(account, command, container, *words):
    setting = [("restype", "container")]
    blob = {"x-ms-blob-type": "BlockBlob"}
    pairs = [word.split("=", 1) for word in words]
    if command == "create":
        account.must("PUT", container, setting)
    elif command == "policies":
        account.must("PUT", container, setting + [("comp", "acl")], policies(pairs))
    elif command == "rights":
        _, text = account.must("GET", container, setting + [("comp", "acl")])
        for part in text.split("<SignedIdentifier>")[1:]:
            name = re.search("<Id>(.*?)</Id>", part).group(1)
            rights = re.search("<Permission>(.*?)</Permission>", part)
            print(f"{name}={rights.group(1) if rights else ''}")
    elif command == "metadata" and words:
        named = {f"x-ms-meta-{name}": value for name, value in pairs}
        account.must("PUT", container, setting + [("comp", "metadata")], b"", named)
    elif command == "metadata":
        headers, _ = account.must("GET", container, setting + [("comp", "metadata")])
        for name, value in headers.items():
            if name.lower().startswith("x-ms-meta-"):
                print(f"{name.lower().removeprefix('x-ms-meta-')}={value}")
    elif command == "write":
        key, text = words
        account.must("PUT", f"{container}/{key}", (), text.encode(), blob)
    elif command == "as":
        policy, method, key = words
        url = f"{account.url}/{container}/{key}?{account.sas(container, policy)}"
        sent = dict(blob, **{"x-ms-version": VERSION}) if method == "PUT" else {}
        body = b"late" if method == "PUT" else None
        print(answer(urllib.request.Request(url, body, sent, method=method))[0])
    elif command == "read":
        print(account.must("GET", f"{container}/{words[0]}")[1])
    elif command == "lease":
        key, info = words
        asked = {"x-ms-lease-action": "acquire", "x-ms-lease-duration": "-1"}
        headers, _ = account.must("PUT", f"{container}/{key}", [("comp", "lease")], b"", asked)
        named = {"x-ms-meta-terraformlockid": base64.b64encode(info.encode()).decode(),
                 "x-ms-lease-id": headers["x-ms-lease-id"]}
        account.must("PUT", f"{container}/{key}", [("comp", "metadata")], b"", named)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(Account(*sys.argv[1:4]), *sys.argv[4:])
