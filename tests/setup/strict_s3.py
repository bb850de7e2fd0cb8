"""S3 for tests: moto with IAM enforcement on, and checks in front that S3 makes and moto does not.

moto 5.2.5 checks signatures and the policies of whoever asks. Of a bucket policy it knows no
condition, denies everybody where a statement makes an exception, and lets multipart uploads pass.
Here the front judges each write by the bucket policy, by the rules that AWS publishes for `Deny`;
moto is left to judge the rest. The front also wants a checksum with a policy and a replication, as
S3 does, and gives a policy back in another spelling that means the same.

Prints its URL on one line, and ends when its standard input does.
Usage: strict_s3.py DIR [ADDRESS PORT PEER]
  DIR      gets `credentials` with the profiles agent (may do all), app (writes objects), admin (a
           role, likewise), unfencing (all but write policies) and nobody (may do nothing)
  ADDRESS  it serves there, and for ever, as one region's buckets; PEER is the URL of the other
           region's, to which it replicates by itself as the rules of a bucket say, and keeps trying

Buckets orders-eu and orders-us are there, with versions kept. By POST:
  /-/replicate/FROM/TO  copies what TO lacks, as replication does: no bucket policy denies it
  /-/stale/N            the next N reads of a policy or replication show what was there before
  /-/obey/0             writes pass, whatever the bucket policy says; /-/obey/1: as before
  /-/sums/0             a wrong checksum is not noticed; /-/sums/1: as before
  /-/seen               how many policies and replications were written
  /-/policy/BUCKET      the policy; with a body that becomes the policy, none of `none`
  /-/replication/BUCKET the replication, as JSON
  /-/replica/BUCKET/KEY the body becomes that object, as replication writes it
  /-/refuse/STATUS      every request of a client is refused with it; /-/refuse/0: as before
"""

import base64
import fnmatch
import http.client
import json
import logging
import pathlib
import re
import sys
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import moto.settings
from moto.iam.access_control import PermissionResult, S3IAMRequest
from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeBucket, s3_backends
from moto.server import ThreadedMotoServer

REGION = "eu-west-1"
ACCOUNT = "123456789012"
REPLICATION_EVERY = 0.1
REPLICATION_LIMIT = 1.0
CONDITIONS = {
    "ArnNotEquals": lambda seen, wanted: all(seen != arn for arn in wanted),
    "ArnEquals": lambda seen, wanted: any(seen == arn for arn in wanted),
}


def as_list(value):
    return value if isinstance(value, list) else [value]


def denies(statement, principal, action, resource):
    """Whether a statement denies it, for the elements that are used here; others are an error."""
    extra = set(statement) - {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
    if extra:
        raise ValueError(f"not judged here: {extra}")
    if statement["Effect"] != "Deny" or statement["Principal"] not in ("*", {"AWS": "*"}):
        return False
    if not any(fnmatch.fnmatchcase(action, wanted) for wanted in as_list(statement["Action"])):
        return False
    if not any(fnmatch.fnmatchcase(resource, wanted) for wanted in as_list(statement["Resource"])):
        return False
    for operator, keys in statement.get("Condition", {}).items():
        for key, wanted in keys.items():
            if key != "aws:PrincipalArn":
                raise ValueError(f"not judged here: {key}")
            if not CONDITIONS[operator](principal, as_list(wanted)):
                return False
    return True


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Refused(Exception):
    def __init__(self, status, code):
        super().__init__(code)
        self.status, self.code = status, code


def check_policy(bucket, body):
    """What S3 refuses as MalformedPolicy."""
    try:
        policy = json.loads(body)
        statements = as_list(policy["Statement"])
        arn = f"arn:aws:s3:::{bucket}"
        inside = all(
            wanted == arn or wanted.startswith(arn + "/")
            for statement in statements for wanted in as_list(statement["Resource"]))
        sids = [statement["Sid"] for statement in statements if "Sid" in statement]
        whole = policy["Version"] in ("2012-10-17", "2008-10-17") and statements
        if not whole or not inside or len(sids) != len(set(sids)) or len(body) > 20480:
            raise Refused(400, "MalformedPolicy")
    except (ValueError, KeyError, TypeError):
        raise Refused(400, "MalformedPolicy") from None


def spelled_anew(policy):
    """The same policy as S3 may give it back: lists of one as that one, others in another order."""
    for statement in as_list(policy["Statement"]):
        if statement.get("Principal") == "*":
            statement["Principal"] = {"AWS": "*"}
        for key in ("Action", "Resource"):
            wanted = as_list(statement[key])
            statement[key] = wanted[0] if len(wanted) == 1 else wanted[::-1]
    return policy


class Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    moto = ("127.0.0.1", 0)
    principals = {}
    replicas = set()
    before = {}
    stale = 0
    written = 0
    obeys = True
    sums = True
    refuses = 0

    def log_message(self, *_):
        pass

    def reply(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, fault):
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{fault.code}</Code><Message>'
            "no</Message><RequestId>0</RequestId></Error>")
        self.reply(fault.status, text.encode(), [("Content-Type", "application/xml")])

    def forward(self, body):
        connection = http.client.HTTPConnection(*Front.moto)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        text = answer.read()
        hop = ("connection", "content-length", "transfer-encoding", "server", "date")
        headers = [pair for pair in answer.getheaders() if pair[0].lower() not in hop]
        connection.close()
        return answer.status, text, headers

    def handle_one(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.path.startswith("/-/"):
            return self.command_of_tests(body)
        url = urllib.parse.urlsplit(self.path)
        bucket, _, key = urllib.parse.unquote(url.path).lstrip("/").partition("/")
        query = set(urllib.parse.parse_qs(url.query, keep_blank_values=True))
        try:
            if Front.refuses:
                code = "AccessDenied" if Front.refuses == 403 else "InternalError"
                raise Refused(Front.refuses, code)
            self.judge(bucket, key, query)
            setting = query & {"policy", "replication"}
            if setting and self.command == "PUT":
                self.check_setting(bucket, setting, body)
        except Refused as fault:
            return self.fail(fault)
        if setting and self.command in ("PUT", "DELETE") and not key:
            with Front.lock:
                Front.written += 1
                Front.before[bucket] = policy_of(bucket)
        if setting == {"policy"} and self.command == "GET":
            return self.policy(bucket, body)
        status, text, headers = self.forward(body)
        if self.command == "HEAD" and (bucket, key) in Front.replicas:
            headers.append(("x-amz-replication-status", "REPLICA"))
        if self.command == "PUT" and status == 200:
            Front.replicas.discard((bucket, key))
        return self.reply(status, text, headers)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one

    def judge(self, bucket, key, query):
        """The bucket policy's word about a write of an object."""
        if self.command not in ("PUT", "POST", "DELETE") or not (key or "delete" in query):
            return
        removes = self.command == "DELETE" or "delete" in query
        action = "s3:DeleteObject" if removes else "s3:PutObject"
        if "tagging" in query:
            action += "Tagging"
        key_id = re.search(r"Credential=([^/]+)/", self.headers.get("Authorization", ""))
        principal = Front.principals.get(key_id.group(1) if key_id else "", "anonymous")
        policy = policy_of(bucket)
        resource = f"arn:aws:s3:::{bucket}/{key or '*'}"
        statements = as_list(json.loads(policy)["Statement"]) if policy else []
        denied = any(denies(found, principal, action, resource) for found in statements)
        if denied and Front.obeys:
            raise Refused(403, "AccessDenied")

    def check_setting(self, bucket, setting, body):
        given = self.headers.get("x-amz-checksum-crc32c")
        wanted = base64.b64encode(crc32c(body).to_bytes(4, "big")).decode()
        sums = [name for name in self.headers if name.lower().startswith("x-amz-checksum-")]
        if not sums and self.headers.get("Content-MD5") is None:
            raise Refused(400, "InvalidRequest")
        if given is not None and given != wanted and Front.sums:
            # S3 knows who asks before it has read what is sent.
            self.authorised("PutBucketPolicy" if setting == {"policy"} else "", bucket, body)
            raise Refused(400, "BadDigest")
        if setting == {"policy"}:
            check_policy(bucket, body)

    def authorised(self, action, bucket, body):
        asked = S3IAMRequest(
            account_id=ACCOUNT, method=self.command, path=self.path, body=body, action=action,
            data={"BucketName": bucket},
            headers={name.title(): value for name, value in self.headers.items()})
        try:
            asked.check_signature()
            asked.check_action_permitted(f"arn:aws:s3:::{bucket}")
        except S3ClientError as error:
            raise Refused(403, "AccessDenied") from error

    def policy(self, bucket, body):
        status, text, headers = self.forward(body)
        with Front.lock:
            if Front.stale > 0 and status in (200, 404):
                Front.stale -= 1
                text, status = Front.before.get(bucket), 200
                if text is None:
                    return self.fail(Refused(404, "NoSuchBucketPolicy"))
        if status == 200:
            text = json.dumps(spelled_anew(json.loads(text))).encode()
        return self.reply(status, text, headers)

    def command_of_tests(self, body):
        name, *words = self.path.removeprefix("/-/").split("/")
        answer = ""
        if name == "stale":
            Front.stale = int(words[0])
        elif name == "obey":
            Front.obeys = words[0] == "1"
        elif name == "sums":
            Front.sums = words[0] == "1"
        elif name == "seen":
            answer = str(Front.written)
        elif name == "policy":
            bucket = s3_backends[ACCOUNT]["aws"].buckets[words[0]]
            if body:
                bucket.policy = None if body == b"none" else body
            answer = (bucket.policy or b"").decode()
        elif name == "replication":
            bucket = s3_backends[ACCOUNT]["aws"].buckets[words[0]]
            answer = json.dumps(getattr(bucket, "replication", None))
        elif name == "refuse":
            Front.refuses = int(words[0])
        elif name == "replica":
            key = urllib.parse.unquote("/".join(words[1:]))
            s3_backends[ACCOUNT]["aws"].put_object(words[0], key, body)
            Front.replicas.add((words[0], key))
        elif name == "replicate":
            backend = s3_backends[ACCOUNT]["aws"]
            source, target = (backend.buckets[word] for word in words)
            for key in list(source.keys):
                found, there = backend.get_object(words[0], key), None
                if key in target.keys:
                    there = backend.get_object(words[1], key)
                mine = (words[0], key) in Front.replicas
                if found is not None and not mine and (there is None or there.etag != found.etag):
                    backend.put_object(words[1], key, found.value)
                    Front.replicas.add((words[1], key))
        self.reply(200, answer.encode())


def replicate(peer, sent):
    """Push what is new to the other region, as the rules of the buckets say. A replica stays."""
    backend = s3_backends[ACCOUNT]["aws"]
    for name, bucket in list(backend.buckets.items()):
        rules = as_list((getattr(bucket, "replication", None) or {}).get("Rule") or [])
        enabled = [rule for rule in rules if rule.get("Status") == "Enabled"]
        for key in list(bucket.keys) if enabled else []:
            found = backend.get_object(name, key)
            known = (name, key) in Front.replicas or sent.get((name, key))
            if found is None or known in (True, found.etag):
                continue
            for rule in enabled:
                target = rule["Destination"]["Bucket"].rpartition(":")[2]
                url = f"{peer}/-/replica/{target}/{urllib.parse.quote(key)}"
                request = urllib.request.Request(url, found.value, method="POST")
                urllib.request.urlopen(request, timeout=REPLICATION_LIMIT).close()
            sent[(name, key)] = found.etag


def keep_replicating(peer):
    sent = {}
    while True:
        try:
            replicate(peer, sent)
        except OSError:
            pass  # the other region is away: what it lacks is sent once it is back
        time.sleep(REPLICATION_EVERY)


def policy_of(bucket):
    found = s3_backends[ACCOUNT]["aws"].buckets.get(bucket)
    return found.policy if found else None


def allow(*actions):
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def furnish(url, directory):
    """Buckets, users and the file with their credentials."""
    asks = {"endpoint_url": url, "region_name": REGION, "aws_access_key_id": "setup",
            "aws_secret_access_key": "setup"}
    s3, iam, sts = (boto3.client(name, **asks) for name in ("s3", "iam", "sts"))
    for bucket in ("orders-eu", "orders-us"):
        where = {"LocationConstraint": REGION}
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    profiles = []
    users = {"agent": ["s3:*", "iam:PassRole"], "nobody": ["ec2:DescribeInstances"],
             "unfencing": ["s3:Get*", "s3:List*", "s3:PutObject"],
             "app": ["s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:ListBucket"]}
    for user, actions in users.items():
        arn = iam.create_user(UserName=user)["User"]["Arn"]
        iam.put_user_policy(UserName=user, PolicyName="own", PolicyDocument=allow(*actions))
        key = iam.create_access_key(UserName=user)["AccessKey"]
        Front.principals[key["AccessKeyId"]] = arn
        profiles.append((user, key["AccessKeyId"], key["SecretAccessKey"], None))
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName="storage-admin", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    iam.put_role_policy(RoleName="storage-admin", PolicyName="own", PolicyDocument=allow("s3:*"))
    iam.create_role(RoleName="replicate", AssumeRolePolicyDocument=trust)
    session = sts.assume_role(RoleArn=role, RoleSessionName="tests")["Credentials"]
    Front.principals[session["AccessKeyId"]] = role
    profiles.append(
        ("admin", session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"]))
    lines = []
    for name, key_id, secret, token in profiles:
        lines += [f"[{name}]", f"aws_access_key_id = {key_id}", f"aws_secret_access_key = {secret}"]
        lines += [f"aws_session_token = {token}"] if token else []
    pathlib.Path(directory, "credentials").write_text("\n".join(lines) + "\n")


def start(directory, address="127.0.0.1", port=0):
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto_server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto_server.start()
    Front.moto = moto_server.get_host_and_port()
    furnish("http://%s:%d" % Front.moto, directory)
    # From now on moto judges whoever asks, and the front alone by bucket policies.
    moto.settings.INITIAL_NO_AUTH_ACTION_COUNT = 0.0
    FakeBucket.get_permission = lambda *_: PermissionResult.NEUTRAL
    front = ThreadingHTTPServer((address, port), Front)
    front.daemon_threads = True
    threading.Thread(target=front.serve_forever, daemon=True).start()
    return "http://%s:%d" % front.server_address


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(start(sys.argv[1]), flush=True)
        sys.stdin.read()
    else:
        place, address, port, peer = sys.argv[1:]
        print(start(place, address, int(port)), flush=True)
        keep_replicating(peer)
