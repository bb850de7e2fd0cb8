"""Builds all mutants that cargo-mutants makes of arbiter-core into one binary, and runs them there.

Each function gets, in front of its body, a copy of it for each of its mutants; a number from the
environment says which one is to run. What one does not compile is found from the compiler's
errors, as cargo-mutants finds it. A test is asked of a mutant only where it reaches the function:
up to there a mutant is what was written, and the tests are deterministic. Each runs in a process of
its own with a limit on its time on the processor, so that a busy machine makes no mutant caught.

What a function returns as `impl Trait` has one type, and what is `const` asks no environment: the
mutants of such functions are not run; `apart.txt` counts them.

Usage: together.py LIST SOURCE FOUND JOBS SECONDS [MODULE…]
  LIST    what `cargo mutants --list --json` prints
  SOURCE  a copy of the checkout, which is changed
  FOUND   gets a directory for each module, with the lists that cargo-mutants would leave there.
          What was caught in an earlier run is not run again
  SECONDS that tests which are not near may take for one mutant: the quick ones are first
"""

import collections
import concurrent.futures
import json
import math
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys

NUMBER = "ARBITER_MUTANT"
REACHED = "ARBITER_MUTANT_REACHED"
# Of a mutant that loops, in seconds on the processor, with what its tests take otherwise.
TIME_MIN = 10
TIME_FACTOR = 5
# Of one that waits, in seconds; nothing in the core does.
WAIT_MAX = 1800
MEMORY_MAX = 4 << 30
BUILDS_MAX = 12

SWITCH = """
#[allow(missing_docs)]
pub(crate) mod mutant {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    static SEEN: [AtomicBool; FUNCTIONS] = [const { AtomicBool::new(false) }; FUNCTIONS];
    static CHOSEN: OnceLock<u32> = OnceLock::new();

    pub(crate) fn at(function: usize) -> u32 {
        if !SEEN[function].swap(true, Relaxed)
            && let Some(path) = std::env::var_os("REACHED")
        {
            let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
            writeln!(file, "{function}").unwrap();
        }
        *CHOSEN.get_or_init(|| match std::env::var("NUMBER") {
            Ok(number) => number.parse().unwrap(),
            Err(_) => 0,
        })
    }
}
"""

TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|r(\#*)".*?"\1|b?"(?:\\.|[^"\\])*"|'(?:\\[^']+|[^'\\])'|[{}()\[\]]|.""",
    re.DOTALL,
)


def offset(starts, place):
    return starts[place["line"] - 1] + place["column"] - 1


def body_of(text, begin, end):
    """Where the body's first brace is: after the signature, outside of any other bracket."""
    depth = 0
    for token in TOKEN.finditer(text, begin, end):
        one = token.group()
        if one == "{" and depth == 0:
            return token.start()
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(one, 0)
    raise SystemExit(f"no body: {text[begin:end]!r}")


def words(path):
    return {word.rstrip("s") for word in re.split("::|_|/", path)}


class Mutant:
    def __init__(self, number, listed, starts):
        self.number = number
        self.name = listed["name"]
        self.file = listed["file"]
        self.span = (offset(starts, listed["span"]["start"]), offset(starts, listed["span"]["end"]))
        self.replacement = listed["replacement"]
        self.key = None
        # Parts of its path that a test that is about it has in its name.
        self.words = words(self.file.removesuffix(".rs")) - {"arbiter", "src", "mod", "core"}
        self.function = None
        self.verdict = None


def line_starts(text):
    starts = [0]
    for at, char in enumerate(text):
        if char == "\n":
            starts.append(at + 1)
    return starts


class File:
    """One source file, with its functions and their mutants."""

    def __init__(self, source, path):
        self.place = source / path
        self.text = self.place.read_text()
        self.starts = line_starts(self.text)
        self.functions = {}
        # What lines of the file as written belong to which mutant.
        self.lines = []

    def add(self, mutant, span):
        """False where the mutant has to be built by itself."""
        begin, end = offset(self.starts, span["start"]), offset(self.starts, span["end"])
        brace = body_of(self.text, begin, end)
        signature = self.text[begin:brace]
        apart = re.search(r"\bconst\s+(unsafe\s+)?fn\b|->.*\bimpl\b", signature, re.DOTALL)
        within = brace < mutant.span[0] and mutant.span[1] < end
        if apart or not within or self.text[end - 1] != "}":
            return False
        self.functions.setdefault((brace, end), []).append(mutant)
        return True

    def write(self, numbers):
        """Writes the file with every mutant that is not known to be unviable."""
        out, done, line = [], 0, 1
        self.lines = []

        def put(text):
            nonlocal line
            out.append(text)
            line += text.count("\n")

        for (brace, end), mutants in sorted(self.functions.items()):
            assert brace >= done, "a function in a function"
            number = numbers.setdefault((self.place, brace), len(numbers))
            put(self.text[done : brace + 1])
            put(f" match crate::mutant::at({number}) {{\n")
            for mutant in mutants:
                if mutant.verdict is not None:
                    continue
                first = line
                put(f"{mutant.number} => return {{")
                put(self.text[brace + 1 : mutant.span[0]])
                put(mutant.replacement)
                put(self.text[mutant.span[1] : end])
                put(",\n")
                self.lines.append((first, line - 1, mutant))
            put("_ => {}\n} ")
            done = brace + 1
            for mutant in mutants:
                mutant.function = number
        put(self.text[done:])
        self.place.write_text("".join(out))


def read(listed, source):
    """The files, and the mutants that have to be built by themselves."""
    files, together, apart = {}, [], []
    seen = collections.Counter()
    for number, one in enumerate(listed, 1):
        path = one["file"]
        file = files.setdefault(path, None) or File(source, path)
        files[path] = file
        mutant = Mutant(number, one, file.starts)
        # Without its line, so that what was found outlives other changes of its file.
        name = re.sub(r":[0-9]+:[0-9]+:", ":", mutant.name)
        seen[name] += 1
        mutant.key = f"{name} #{seen[name]}"
        if one["function"] and file.add(mutant, one["function"]["span"]):
            together.append(mutant)
        else:
            apart.append(mutant)
    for file in files.values():
        inner = [
            (outer, span)
            for outer in file.functions
            for span in file.functions
            if outer[0] < span[0] and span[1] < outer[1]
        ]
        for _, span in inner:
            for mutant in file.functions.pop(span, []):
                together.remove(mutant)
                apart.append(mutant)
    return files, together, apart


def build(files, source):
    """The test binary. Marks what does not compile, and leaves it out."""
    root = source / "arbiter/core/src/lib.rs"
    lib = root.read_text()
    for _ in range(BUILDS_MAX):
        numbers = {}
        for file in files.values():
            file.write(numbers)
        count = str(max(len(numbers), 1))
        switch = SWITCH.replace("FUNCTIONS", count)
        switch = switch.replace('"REACHED"', f'"{REACHED}"').replace('"NUMBER"', f'"{NUMBER}"')
        root.write_text(lib + switch)
        done = subprocess.run(
            ["cargo", "test", "--locked", "--package", "arbiter-core", "--lib", "--no-run",
             "--message-format=json", *os.environ.get("MUTANTS_CARGO_ARGS", "").split()],
            cwd=source, stdout=subprocess.PIPE, text=True,
        )
        messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode == 0:
            return next(
                m["executable"] for m in messages
                if m["reason"] == "compiler-artifact" and m["executable"]
            )
        found = unviable(messages, files, source)
        print(f"{len(found)} mutants do not compile", file=sys.stderr)
        if not found:
            for message in messages:
                if message["reason"] == "compiler-message":
                    print(message["message"]["rendered"], file=sys.stderr)
            raise SystemExit(2)
    raise SystemExit(f"still not compiled after {BUILDS_MAX} builds")


def unviable(messages, files, source):
    found = []
    for message in messages:
        if message["reason"] != "compiler-message" or message["message"]["level"] != "error":
            continue
        for span in message["message"]["spans"]:
            while span["expansion"]:
                span = span["expansion"]["span"]
            file = files.get(str(span["file_name"]))
            for first, last, mutant in file.lines if file else []:
                if first <= span["line_start"] <= last and mutant.verdict is None:
                    mutant.verdict = "unviable"
                    found.append(mutant)
    return found


class Tests:
    """The tests of the binary: what each reaches, and the time it takes."""

    def __init__(self, binary, directory, scratch, most):
        self.binary, self.directory, self.scratch, self.most = binary, directory, scratch, most
        listed = self.run(0, ["--list", "--format=terse"], WAIT_MAX)
        self.names = [line.removesuffix(": test") for line in listed.stdout.splitlines()]
        self.reach = {}
        self.seconds = {}

    def run(self, number, args, seconds, reached=None):
        env = dict(os.environ, RUST_MIN_STACK=str(256 << 20), RUST_BACKTRACE="0")
        if number:
            env[NUMBER] = str(number)
        if reached:
            env[REACHED] = str(reached)
        limit = int(seconds) + 1
        return subprocess.run(
            [self.binary, *args], cwd=self.directory, env=env, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=WAIT_MAX,
            preexec_fn=lambda: limits(limit),
        )

    def learn(self, name):
        reached = self.scratch / f"{name.replace('::', '-')}.reached"
        reached.unlink(missing_ok=True)
        done = self.run(0, ["--exact", name], WAIT_MAX, reached)
        if done.returncode:
            raise SystemExit(f"{name} fails without a mutant:\n{done.stdout}")
        taken = re.search(r"finished in ([0-9.]+)s", done.stdout)
        self.seconds[name] = float(taken.group(1)) if taken else 0.0
        self.reach[name] = set(map(int, reached.read_text().split())) if reached.exists() else set()

    def batches(self, mutant):
        """The tests that reach it: the near ones first, then the quick ones, ever more at once."""
        reach = [name for name in self.names if mutant.function in self.reach[name]]
        near = [name for name in reach if mutant.words & words(name)]
        far = set(reach) - set(near)
        for names, limit in ((near, math.inf), (far, self.most)):
            batch, taken, most, spent = [], 0.0, 0.05, 0.0
            for name in sorted(names, key=lambda name: (self.seconds[name], name)):
                if batch and taken + self.seconds[name] > most:
                    yield batch, taken
                    batch, taken, most = [], 0.0, most * 2
                batch.append(name)
                taken += self.seconds[name]
                spent += self.seconds[name]
                if spent > limit:
                    break
            if batch:
                yield batch, taken

    def judge(self, mutant):
        for batch, seconds in self.batches(mutant):
            try:
                done = self.run(
                    mutant.number, ["--test-threads=1", "--exact", *batch],
                    TIME_MIN + TIME_FACTOR * seconds,
                )
            except subprocess.TimeoutExpired:
                return "timeout"
            if done.returncode in (-24, -9):
                return "timeout"
            if done.returncode:
                return "caught"
        return "missed"


def limits(seconds):
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def module_of(path, modules):
    """The longest of the modules that has the file."""
    inside = path.removeprefix("arbiter/core/src/").removesuffix(".rs")
    fitting = [m for m in modules if inside == m or inside.startswith(m + "/")]
    return max(fitting, key=len, default=None)


def leave(found, mutants, modules):
    """Writes the lists; a module's old ones are replaced."""
    lists = collections.defaultdict(list)
    for mutant in (one for one in mutants if one.verdict):
        lists[module_of(mutant.file, modules), mutant.verdict].append(mutant.name)
    for module in modules:
        place = found / module.replace("/", "-") / "mutants.out"
        place.mkdir(parents=True, exist_ok=True)
        for verdict in ("caught", "timeout", "missed", "unviable", "apart"):
            names = lists[module, verdict]
            (place / f"{verdict}.txt").write_text("".join(name + "\n" for name in names))


def main():
    listed, source, found, jobs, most, *modules = sys.argv[1:]
    source, found = pathlib.Path(source).resolve(), pathlib.Path(found).resolve()
    wanted = [one for one in json.loads(pathlib.Path(listed).read_text())
              if module_of(one["file"], modules)]
    files, together, apart = read(wanted, source)
    kept = found / "verdicts.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    for mutant in apart:
        mutant.verdict = "apart"
    for mutant in together:
        before = known.get(mutant.key)
        mutant.verdict = None if before == "missed" else before

    def keep():
        known.update((m.key, m.verdict) for m in together if m.verdict)
        kept.write_text(json.dumps(known, indent=0, sort_keys=True))
        leave(found, together + apart, modules)

    # A later build of the same directory must not change what runs.
    binary = shutil.copy(build(files, source), found / "tests")
    scratch = found / "reached"
    scratch.mkdir(parents=True, exist_ok=True)
    tests = Tests(binary, source / "arbiter/core", scratch, float(most))
    with concurrent.futures.ThreadPoolExecutor(int(jobs)) as pool:
        list(pool.map(tests.learn, tests.names))
        viable = [mutant for mutant in together if mutant.verdict is None]
        print(f"{len(viable)} mutants, {len(tests.names)} tests", file=sys.stderr)
        for at, (mutant, verdict) in enumerate(zip(viable, pool.map(tests.judge, viable)), 1):
            mutant.verdict = verdict
            if verdict != "caught":
                print(f"{verdict}: {mutant.name}", file=sys.stderr, flush=True)
            if at % 50 == 0:
                print(f"{at} of {len(viable)}", file=sys.stderr, flush=True)
                keep()
    keep()


main()
