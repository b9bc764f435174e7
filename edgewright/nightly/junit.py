"""A night as JUnit XML, which every CI server reads: a suite for each cell, a case for each step.

There is no standard, but a form that Jenkins, GitLab and others share: what says no is a
`failure`, what could not be judged is an `error`.
"""

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from edgewright.base.errors import ExitCode
from edgewright.nightly.report import CellReport, NightReport, StepReport

SAYS_NO = (ExitCode.CHECK, ExitCode.TARGET)  # the others are the user's, or a bug


def render(report: NightReport) -> bytes:
    root = Element("testsuites", name=f"night {report.night}", time=f"{report.seconds:.3f}")
    suites = [_suite(root, report, cell) for cell in report.cells]
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _suite(root: Element, report: NightReport, cell: CellReport) -> Element:
    seconds = sum(step.seconds for step in cell.steps if not step.from_record)
    suite = SubElement(
        root,
        "testsuite",
        name=f"{cell.board}.{cell.model}",
        timestamp=report.began.strftime("%Y-%m-%dT%H:%M:%S"),
        time=f"{seconds:.3f}",
    )
    if cell.worker:
        suite.set("hostname", cell.worker)
    for step in cell.steps:
        _case(suite, cell, step)
    counts = {"tests": "testcase", "failures": "*/failure", "errors": "*/error"}
    for name, path in {**counts, "skipped": "*/skipped"}.items():
        suite.set(name, str(len(suite.findall(path))))
    return suite


def _case(suite: Element, cell: CellReport, step: StepReport) -> None:
    seconds = 0.0 if step.from_record else step.seconds
    case = SubElement(
        suite,
        "testcase",
        classname=f"{cell.board}.{cell.model}",
        name=step.step,
        time=f"{seconds:.3f}",
    )
    text = step.problem or ""
    if step.outcome == "skipped":
        SubElement(case, "skipped", message=text)
    elif step.outcome == "failed":
        tag = "failure" if step.exit_code in SAYS_NO else "error"
        problem = SubElement(
            case, tag, message=text.partition("\n")[0], type=f"exit code {step.exit_code}"
        )
        problem.text = text if step.next is None else f"{text}\nnext: {step.next}"
    elif step.from_record:
        SubElement(case, "system-out").text = "from its record: nothing that it depends on changed"
