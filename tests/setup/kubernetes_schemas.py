"""Hold objects, one JSON a line, against the schema of the oldest Kubernetes that is spoken here.

Knows the validator; what the objects are for it does not know. Prints how many are right, or each
fault.
"""

import json
import sys

import kubernetes_validate

VERSION = "1.33"


def main():
    faults, count = [], 0
    with open(sys.argv[1], encoding="utf-8") as lines:
        for count, line in enumerate(lines, 1):
            thing = json.loads(line)
            name = f"{thing['kind']} {thing['metadata'].get('name')}"
            try:
                kubernetes_validate.validate(thing, VERSION, strict=True)
            except kubernetes_validate.ValidationError as error:
                path = ".".join(str(part) for part in error.path)
                faults.append(f"{name}: {path}: {error.message}")
    print("\n".join(faults) if faults else f"{count} ok")
    return 1 if faults else 0


sys.exit(main())
