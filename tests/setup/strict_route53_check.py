"""Checks strict_route53.py against Route 53's published contract, through AWS's own client.

Each rule quotes the sentence it stands for. The sentences are looked up in the API model that AWS
publishes (botocore carries it), so that a rule nobody promised cannot creep in.
"""

import gzip
import html
import json
import pathlib
import re

import boto3
import botocore

import strict_route53

FIRST, SECOND = "192.0.2.1", "192.0.2.2"


def published():
    model = pathlib.Path(botocore.__file__).parent / "data/route53/2013-04-01/service-2.json.gz"
    text = json.dumps(json.loads(gzip.decompress(model.read_bytes())))
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", text)))


def change(action, name, kind, ttl, *values):
    return {"Action": action, "ResourceRecordSet": {
        "Name": name, "Type": kind, "TTL": ttl,
        "ResourceRecords": [{"Value": value} for value in values]}}


def main():
    contract = published()
    url, _ = strict_route53.start()
    client = boto3.client("route53", endpoint_url=url, region_name="us-east-1",
                          aws_access_key_id="test", aws_secret_access_key="test")
    zone = client.create_hosted_zone(Name="example.test.", CallerReference="check")
    zone = zone["HostedZone"]["Id"]

    def send(*changes):
        batch = {"Changes": list(changes)}
        client.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)

    def held():
        sets = client.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        values = lambda one: [record["Value"] for record in one["ResourceRecords"]]
        return {(one["Name"], one["Type"]): (one["TTL"], values(one))
                for one in sets if one["Type"] not in ("NS", "SOA")}

    def refused(sentence, words, *changes):
        assert sentence in contract, f"not published: {sentence}"
        before = held()
        try:
            send(*changes)
        except client.exceptions.InvalidChangeBatch as error:
            assert words in str(error), f"{error}: not {words!r}"
        else:
            raise AssertionError(f"accepted against: {sentence}")
        assert held() == before, f"something was changed against: {sentence}"

    same = "you must specify all the same values that you specified when you created it"
    whole = "either makes all or none of the changes in the change batch request"
    app = "app.example.test."
    send(change("CREATE", app, "A", 5, FIRST),
         change("CREATE", "t.example.test", "TXT", 5, '"1.3"'))
    refused(same, "do not match", change("DELETE", app, "A", 5, SECOND))
    refused(same, "do not match", change("DELETE", app, "A", 6, FIRST))
    refused(same, "do not match", change("DELETE", app, "A", 5, FIRST, SECOND))
    refused("Deletes an existing resource record set that has the specified values", "not found",
            change("DELETE", "none.example.test", "A", 5, FIRST))
    refused("Creates a resource record set that has the specified values", "already exists",
            change("CREATE", app, "A", 5, SECOND))
    refused("Creates a resource record set that has the specified values", "already exists",
            change("CREATE", app, "A", 5, FIRST))
    refused(whole, "already exists",
            change("CREATE", "new.example.test", "A", 5, FIRST),
            change("CREATE", app, "A", 5, FIRST))
    refused(whole, "do not match",
            change("DELETE", app, "A", 5, FIRST), change("CREATE", app, "A", 5, SECOND),
            change("DELETE", "t.example.test", "TXT", 5, '"0.9"'))
    refused("If you try to delete the same resource record set more than once in a single change "
            "batch, Route 53 returns an InvalidChangeBatch error", "duplicate",
            change("DELETE", app, "A", 5, FIRST), change("CREATE", app, "A", 5, SECOND),
            change("DELETE", app, "A", 5, SECOND))

    assert "deletes the first resource record set and creates the second resource record set in a" \
        " single operation" in contract
    send(change("DELETE", app, "A", 5, FIRST), change("CREATE", app, "A", 5, SECOND))
    assert held()[(app, "A")] == (5, [SECOND])
    send(change("DELETE", app, "A", 5, SECOND), change("CREATE", app, "A", 5, SECOND))
    assert held()[(app, "A")] == (5, [SECOND])
    assert "If a resource set doesn't exist, Route 53 creates it" in contract
    send(change("UPSERT", app, "A", 7, FIRST))
    assert held()[(app, "A")] == (7, [FIRST])
    assert "treats www.example.com (without a trailing dot) and www.example.com. (with a " \
        "trailing dot) as identical" in contract
    refused(same, "already exists", change("CREATE", "APP.example.test", "A", 5, FIRST))
    send(change("DELETE", "app.example.test", "A", 7, FIRST))
    assert list(held()) == [("t.example.test.", "TXT")]
    print("ok")


main()
