# Reads survivors.txt, then the lists that together.py leaves for each module: counts them, and
# fails where a survivor is not explained. `apart`: what was not run.

# path:line:column: what  →  path: what, so that an explanation outlives other changes of its file.
function named(line) {
  sub(/:[0-9]+:[0-9]+:/, ":", line)
  return line
}

FNR == NR {
  if ($0 ~ /^arbiter\//) {
    known = $0
    explained[known] = ""
  } else if ($0 ~ /^  / && known != "") {
    explained[known] = explained[known] $0
  }
  next
}

{
  count = split(FILENAME, parts, "/")
  module = parts[count - 2]
  list = parts[count]
  if (seen[module, list, $0]++) next
  modules[module] = 1
  found[module, list]++
  total[list]++
  if (list == "missed.txt") {
    survivor = named($0)
    survives[survivor] = 1
    if (!(survivor in explained) || explained[survivor] == "") unexplained[$0] = 1
  }
}

function row(name, caught, timeout, missed, unviable, apart) {
  viable = caught + timeout + missed
  share = viable ? 100 * (caught + timeout) / viable : 100
  return sprintf("%-18s %7d %8d %7d %9d %6d %8.1f %%", name, caught, timeout, missed, unviable, \
    apart, share)
}

function counts(module, found) {
  return row(module, found[module, "caught.txt"], found[module, "timeout.txt"], \
    found[module, "missed.txt"], found[module, "unviable.txt"], found[module, "apart.txt"])
}

END {
  printf "%-18s %7s %8s %7s %9s %6s %10s\n", "module", "caught", "timeout", "missed", "unviable", \
    "apart", "of viable"
  for (module in modules)
    print counts(module, found) | "sort"
  close("sort")
  print row("all", total["caught.txt"], total["timeout.txt"], total["missed.txt"], \
    total["unviable.txt"], total["apart.txt"])
  for (one in unexplained) {
    print "not explained in tests/mutants/survivors.txt: " one
    bad = 1
  }
  for (one in explained) {
    if (explained[one] == "") {
      print "without a reason in tests/mutants/survivors.txt: " one
      bad = 1
    }
  }
  exit bad
}
