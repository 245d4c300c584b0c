#!/usr/bin/env python3
"""Two types of one name in one namespace make one program of undefined behaviour when both are linked into it, and neither the compiler
nor the linker says so: it takes either's destructor for both. Looks at every class, struct and enum of src/ outside anonymous
namespaces; fails with the places when a name is there twice."""
import collections
import pathlib
import re
import sys

NAMESPACE = re.compile(r"(?:inline )?namespace( [\w:]+)? ?\{")
NAMESPACE_END = re.compile(r"\}  // namespace")
TYPE = re.compile(r"(?:class|struct|union|enum class|enum)(?: alignas\([^)]*\))? (\w+)(?: final)?(?: : [^{;]*)? ?\{")


def types_of(text):
    """Names of the types that a formatted file defines: namespaces do not indent, so they start a line."""
    namespaces = []
    for line in text.splitlines():
        if opened := NAMESPACE.match(line):
            namespaces.append((opened[1] or "").strip())
        elif NAMESPACE_END.match(line):
            namespaces.pop()
        elif (found := TYPE.match(line)) and all(namespaces):  # an anonymous one has no name
            yield "::".join(namespaces + [found[1]])


def main():
    source = pathlib.Path(__file__).resolve().parent.parent / "src"
    places = collections.defaultdict(list)
    for path in sorted(source.rglob("*")):
        if path.suffix in (".h", ".cpp"):
            for name in set(types_of(path.read_text())):  # twice in one file: alternatives, or the compiler says so
                places[name].append(path.relative_to(source.parent))
    twice = {name: paths for name, paths in places.items() if len(paths) > 1}
    for name, paths in twice.items():
        print(f"{name} is defined in {' and in '.join(map(str, paths))}: rename one of them", file=sys.stderr)
    print(f"{len(places)} types, {len(twice)} names used twice")
    if len(places) < 100:
        sys.exit("expected some hundred types: does this script still understand the files?")
    sys.exit(1 if twice else 0)


if __name__ == "__main__":
    main()
