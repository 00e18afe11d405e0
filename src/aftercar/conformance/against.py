"""Ask another grader the questions of the worked cases, by the contract of `docs/conformance.md`.

One JSON document a case, over the standard streams of a command or over HTTP. Nothing of ours grades here: the answers are compared
by the same `difference` as our own. Error texts never quote what the other grader wrote.
"""

from __future__ import annotations

import contextlib
import json
import queue
import shlex
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from aftercar.conformance.run import Check, Expectation, checked, chosen_options, judged, plan
from aftercar.errors import InputError
from aftercar.grade.scale import STATUS
from aftercar.timeline.readers.cases import Case

CONTRACT = "aftercar-conformance/1"
LOST_MAX = 5  # so many lost connections, ends or timeouts in a row, and the rest is not asked

_CASE = ("id", "title", "patient", "options", "timeline", "series")  # never what is expected, or why
_NUMBERS = ("grade", "grade_upper")
_STATUSES = {*STATUS.categories.to_list(), "refused", "allowed", "blocked"}


class NoAnswer(Exception):
    """No usable answer; `lost` where the grader itself is gone or too slow, and not only its words wrong."""

    def __init__(self, why: str, *, lost: bool = False) -> None:
        super().__init__(why)
        self.lost = lost


class Grader(Protocol):
    """Whom to ask: text in, text out."""

    def ask(self, question: str, timeout: float) -> str:
        """The answer to one document.

        Raises:
            NoAnswer: there is none.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Command:
    """A command that is started once and answers line by line; after its end it is started anew for the next question."""

    def __init__(self, command: str) -> None:
        """Split the command as a shell would, without a shell.

        Raises:
            InputError: there is no such command.
        """
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise InputError(f"--against: the command cannot be split into words ({error}).") from error
        if not self._words:
            raise InputError("--against: no command and no address.")
        self._process: subprocess.Popen[str] | None = None
        self._writer: threading.Thread | None = None
        self._start()

    def _start(self) -> subprocess.Popen[str]:
        try:
            process = subprocess.Popen(
                self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", errors="replace", bufsize=1
            )
        except OSError as error:
            raise InputError(f"--against: the command cannot be started ({error.strerror or type(error).__name__}).") from error
        lines: queue.Queue[str | None] = queue.Queue()
        self._process, self._lines, self._writer = process, lines, None
        self._reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
        self._reader.start()
        return process

    def ask(self, question: str, timeout: float) -> str:
        process = self._process or self._start()
        while not self._lines.empty():  # what was said unasked is no answer to this question
            if self._lines.get_nowait() is None:
                self._lines.put(None)
                break
        # A full pipe must not hold us longer than the timeout, so the writing has its own thread.
        self._writer = threading.Thread(target=_write, args=(process, question + "\n"), daemon=True)
        self._writer.start()
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            process.kill()  # a late answer would be taken for the next one
            self.close()
            raise NoAnswer(f"no answer within {timeout:g} s", lost=True) from None
        if line is None:
            self.close()
            raise NoAnswer(f"the grader ended without an answer (exit code {process.returncode})", lost=True)
        return line

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if self._writer is not None and self._writer.is_alive():
            process.kill()
            self._writer.join()
        with contextlib.suppress(OSError):  # what is left in a pipe that nobody reads
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join(1)
        if process.stdout is not None and not self._reader.is_alive():
            process.stdout.close()


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.strip():
                lines.put(line)
    except (OSError, ValueError):  # closed while we read
        pass
    lines.put(None)


def _write(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(text)
        process.stdin.flush()
    except (OSError, ValueError):  # it ended: the reader says so
        pass


class Address:
    """A grader behind an HTTP address, asked by POST."""

    def __init__(self, address: str) -> None:
        self._address = address

    def ask(self, question: str, timeout: float) -> str:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        try:
            request = urllib.request.Request(self._address, question.encode(), headers, method="POST")
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            error.close()
            raise NoAnswer(f"HTTP status {error.code}") from None
        except TimeoutError:
            raise NoAnswer(f"no answer within {timeout:g} s", lost=True) from None
        except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
            late = isinstance(getattr(error, "reason", None), TimeoutError)
            raise NoAnswer(f"no answer within {timeout:g} s" if late else "no connection", lost=True) from None

    def close(self) -> None:
        pass


def grader(target: str) -> Grader:
    """An HTTP address, or else a command.

    Raises:
        InputError: the command cannot be started.
    """
    return Address(target) if urlsplit(target).scheme in ("http", "https") else Command(target)


def run_against(
    paths: Iterable[Path | str], target: str, *, traps: Iterable[str] | None = None, timeout: float = 30.0
) -> list[Check]:
    """Check every expectation of every case against another grader.

    Args:
        paths, traps: as for `conformance.plan`.
        target: a command, or an HTTP address.
        timeout: for one case. [s]
    Raises:
        InputError: a file is not a file of cases, or the command cannot be started.
        OptionError: there is no such trap.
    """
    todo = plan(paths, traps)
    by_case: dict[int, tuple[Case, list[Expectation]]] = {}
    checks: list[Check] = []
    for case, want in todo.asked:
        if "actions" in want or "blocked" in want:
            checks.append(checked(case, want, "not supported", difference="advice is not in the contract"))
        else:
            by_case.setdefault(id(case), (case, []))[1].append(want)
    if not by_case:
        return todo.sort(checks)
    other, lost = grader(target), 0
    try:
        for case, wants in by_case.values():
            if lost >= LOST_MAX:
                checks += [
                    checked(case, w, "failed", difference=f"not asked: the grader was lost {lost} times in a row") for w in wants
                ]
                continue
            try:
                answers = _answers(other.ask(json.dumps(question(case, wants), ensure_ascii=False, default=str), timeout))
            except NoAnswer as error:
                lost = lost + 1 if error.lost else 0
                checks += [checked(case, want, "failed", difference=str(error)) for want in wants]
                continue
            lost = 0
            checks += [_judged(case, want, answers.get(n)) for n, want in enumerate(wants)]
    finally:
        other.close()
    return todo.sort(checks)


def question(case: Case, wants: list[Expectation]) -> dict[str, Any]:
    """The document for one case: its story and what is asked, without what is expected."""
    ask = [
        {"n": n, "scale": w["scale"], **{k: w[k] for k in ("at_h", "at_day") if k in w}, "options": chosen_options(case, w)}
        for n, w in enumerate(wants)
    ]
    return {"contract": CONTRACT, "case": {k: case.body[k] for k in _CASE if case.body.get(k) is not None}, "ask": ask}


def _answers(text: str) -> dict[int, dict[str, Any]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise NoAnswer("the answer is not JSON") from None
    answers = document.get("answers") if isinstance(document, dict) else None
    if not isinstance(answers, list):
        raise NoAnswer("the answer has no list `answers`")
    found: dict[int, dict[str, Any]] = {}
    for answer in answers:
        n = answer.get("n") if isinstance(answer, dict) else None
        if not isinstance(n, int) or isinstance(n, bool) or n in found:
            raise NoAnswer("an answer has no number `n` of its own")
        found[n] = answer
    return found


def _judged(case: Case, want: Expectation, answer: dict[str, Any] | None) -> Check:
    if answer is None:
        return checked(case, want, "failed", difference="no answer to this question")
    if answer.get("unsupported") is True:
        return checked(case, want, "not supported", difference="the other grader does not support this")
    if problem := _malformed(answer):
        return checked(case, want, "failed", difference=problem)
    return judged(case, *_comparable(want, answer))


def _malformed(answer: dict[str, Any]) -> str:
    """What of an answer breaks the contract; empty where nothing does."""
    number = (int, float)
    if any(isinstance(v := answer.get(k), bool) or not isinstance(v, (*number, type(None))) for k in _NUMBERS):
        return "grade and grade_upper must be numbers"
    value = answer.get("value")
    each = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    if any(isinstance(v, bool) or not isinstance(v, (*number, type(None))) for v in each):
        return "value must be a number, a list of numbers or a table of them"
    if not isinstance(status := answer.get("status"), (str, type(None))) or (status and status not in _STATUSES):
        return "status is not a word of the contract"
    if not isinstance(answer.get("group"), (str, type(None))):
        return "group must be a word"
    flags = answer.get("flags") or []
    if not isinstance(flags, list) or not all(isinstance(f, str) for f in flags):
        return "flags must be a list of words"
    return ""


def _comparable(want: Expectation, answer: dict[str, Any]) -> tuple[Expectation, dict[str, Any]]:
    """What is expected and what was answered, less what others need not know of us: the words for states, and warnings.

    Without a status, one that only repeats the grade counts as said; without `grade_upper` the grade is certain. Warnings are asked of
    those who give any.
    """
    got = {k: answer.get(k) for k in ("status", *_NUMBERS, "value", "group", "flags")}
    if got["grade_upper"] is None:
        got["grade_upper"] = got["grade"]
    if isinstance(got["value"], (int, float)):
        got["value"] = {"score": got["value"]}
    expected = dict(want)
    if got["status"] is None:
        wide = got["grade"] != got["grade_upper"] or _wide(got["value"])
        usual = want.get("status") in (None, "graded", "incomplete") or (
            want.get("status") == "not_met" and want.get("grade") == 0
        )
        if usual:
            expected.pop("status", None)
            got["status"] = "incomplete" if wide else "graded"
            if want.get("status") == "incomplete":
                expected["status"] = "incomplete"
    if answer.get("flags") is None and any(want.get(k) is not None for k in ("grade", "status", "value", "min", "max", "group")):
        expected.pop("flags", None)
    return expected, got


def _wide(value: Any) -> bool:
    return isinstance(value, dict) and value.get("score_upper", value.get("score")) != value.get("score")
