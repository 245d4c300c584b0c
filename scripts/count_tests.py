"""Prints "PASSED FAILED SKIPPED" of a JUnit file that ctest wrote. Names the tests that failed or were skipped, on stderr."""
import sys
import xml.etree.ElementTree as tree

cases = tree.parse(sys.argv[1]).getroot().findall("testcase")
failed = [case.get("name") for case in cases if case.get("status") == "fail"]
skipped = [case.get("name") for case in cases if case.get("status") in ("notrun", "disabled")]
for name in failed:
    print("FAILED:", name, file=sys.stderr)
for name in skipped:
    print("skipped:", name, file=sys.stderr)
print(len(cases) - len(failed) - len(skipped), len(failed), len(skipped))
