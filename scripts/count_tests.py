"""Prints "PASSED FAILED SKIPPED" of a JUnit file that ctest, or pytest, wrote. Names the tests that failed or were skipped, on stderr.

    count_tests.py TESTS.xml CASES

CASES is the folder of the reports of GoogleTest: where a test of ctest is many cases, these are what counts.
"""
import sys
import xml.etree.ElementTree as tree
from pathlib import Path


def cases_of(test, folder):
    """(name, "passed", "failed" or "skipped") of every case of one test of ctest."""
    state = {"fail": "failed", "notrun": "skipped", "disabled": "skipped"}.get(test.get("status"), "passed")
    try:
        suites = tree.parse(folder / f"{test.get('name')}.xml").getroot()
    except (OSError, tree.ParseError):  # no report, or its writer ended while it wrote
        return [(test.get("name"), state)]
    cases = []
    for case in suites.iter("testcase"):
        if case.get("status") == "notrun":
            continue  # another part's, or not chosen
        result = "failed" if case.find("failure") is not None else case.get("result")
        cases.append((f"{test.get('name')} {case.get('classname')}.{case.get('name')}", "passed" if result == "completed" else result))
    if state == "failed" and all(result != "failed" for _, result in cases):
        cases.append((f"{test.get('name')}, at its end", "failed"))
    return cases


def pytest_cases(suites):
    """The same of pytest's report; what broke before or behind a test has failed, too."""
    for case in suites.iter("testcase"):
        broken = case.find("failure") is not None or case.find("error") is not None
        yield f"{case.get('classname')}.{case.get('name')}", "failed" if broken else "skipped" if case.find("skipped") is not None else "passed"


def main():
    root = tree.parse(sys.argv[1]).getroot()
    if root.tag == "testsuites":
        cases = list(pytest_cases(root))
    else:
        cases = [case for test in root.findall("testcase") for case in cases_of(test, Path(sys.argv[2]))]
    for name, result in cases:
        if result != "passed":
            print(f"{'FAILED' if result == 'failed' else result}: {name}", file=sys.stderr)
    print(*(sum(result == wanted for _, result in cases) for wanted in ("passed", "failed", "skipped")))


main()
