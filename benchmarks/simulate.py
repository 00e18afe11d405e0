"""Time the compiled engine beside libRoadRunner and SciPy on the mechanism, and the whole way to grades.

    python -m benchmarks.simulate [--patients 1000] [--repeat 3] [--graded 100000] [--only aftercar,roadrunner]

Virtual patients of one product over 60 days with doses of three drugs on days that differ between patients; states are told every 12 hours.
Each contender runs in a process of its own, in turns; its time is that of the work, after compiling and loading. Accuracy is against the
compiled engine at a tolerance of 1e-11. SciPy runs on a part, and its times are multiplied up.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks import results
from benchmarks.measure import Run, in_turns, measured, middle, timed

FULL = 1_000  # patients from which on the results are written
DAYS, EVERY_H = 60, 12
SCIPY = 20  # of so many patients one runs through it
TOLERANCE = {"aftercar": 1e-6, "roadrunner": 1e-6, "lsoda": 1e-6, "diffrax": 1e-6, "aftercar_default": 1e-4}
WHAT = {
    "aftercar": "aftercar, compiled Dormand-Prince, all processors, rtol 1e-6",
    "aftercar_default": "aftercar at its default tolerance, rtol 1e-4",
    "roadrunner": "libRoadRunner (CVODE), a process a processor, rtol 1e-6",
    "diffrax": "diffrax (Tsit5, jax on the processors), all patients at once, rtol 1e-6",
    "lsoda": "SciPy LSODA with the compiled right-hand side, rtol 1e-6",
}
GIVEN = (("tocilizumab", 150.0, 3.0), ("dexamethasone", 10.0, 4.0), ("anakinra", 1.0, 6.0))  # state, jump, earliest day


@dataclass(frozen=True)
class Cohort:
    """What each contender integrates."""

    states: np.ndarray
    parameters: np.ndarray
    times: np.ndarray
    dose_days: np.ndarray  # `[patient, dose]`


def cohort(n: int) -> Cohort:
    """The same patients for the same number."""
    from aftercar.simulate.model import load_model
    from aftercar.simulate.population import patients

    people = patients(load_model(), "axi-cel", "LBCL", n, seed=20_261_126)
    draw = np.random.default_rng(20_261_126)
    first = np.array([day for _, _, day in GIVEN])
    days = np.round((first + draw.random((n, len(GIVEN))) * 3) * 24) / 24
    return Cohort(people.states, people.parameters, np.arange(0, DAYS * 24 + 1, EVERY_H) / 24, days)


def _doses(c: Cohort):  # type: ignore[no-untyped-def]
    from aftercar.simulate.engine import Doses
    from aftercar.simulate.model import load_model

    names = load_model().states
    n = len(c.states)
    states = np.array([names.index(s) for s, _, _ in GIVEN])
    amounts = np.array([a for _, a, _ in GIVEN])
    patient = np.repeat(np.arange(n), len(GIVEN))
    return Doses(patient, c.dose_days.ravel(), np.tile(states, n), np.tile(amounts, n))


def compiled(c: Cohort, rtol: float) -> np.ndarray:
    """The compiled engine."""
    from aftercar.simulate.engine import integrate
    from aftercar.simulate.model import load_model

    return integrate(load_model(), c.states, c.parameters, c.times, _doses(c), rtol=rtol)


# --- In the child ---


def _aftercar(rtol: float, c: Cohort, answers: Path) -> Callable[[], None]:
    compiled(Cohort(c.states[:1], c.parameters[:1], c.times, c.dose_days[:1]), rtol)  # compiled and loaded
    return lambda: np.save(answers, compiled(c, rtol))


def _spans(c: Cohort, i: int) -> list[tuple[float, float, int | None]]:
    """From dose to dose: begin, end, and the dose that is given at the begin."""
    order = np.argsort(c.dose_days[i])
    edges = [0.0, *c.dose_days[i][order], float(c.times[-1])]
    return [(a, b, None if k == 0 else int(order[k - 1])) for k, (a, b) in enumerate(pairwise(edges))]


def _roadrunner(c: Cohort, answers: Path) -> Callable[[], None]:
    from loky import ProcessPoolExecutor

    workers = os.cpu_count() or 1
    pool = ProcessPoolExecutor(workers)
    list(pool.map(_loaded, range(workers)))

    def work() -> None:
        parts = np.array_split(np.arange(len(c.states)), workers * 4)
        done = pool.map(_roadrunner_part, [(c.states[p], c.parameters[p], c.times, c.dose_days[p]) for p in parts])
        np.save(answers, np.concatenate(list(done)))

    return work


def _loaded(_: int = 0):  # type: ignore[no-untyped-def]
    import roadrunner

    from aftercar.simulate.model import load_model

    global _RUNNER
    if "_RUNNER" not in globals():
        _RUNNER = roadrunner.RoadRunner(load_model().sbml)
        _RUNNER.integrator.relative_tolerance, _RUNNER.integrator.absolute_tolerance = 1e-6, 1e-9
    return None if _ >= 0 else _RUNNER


def _roadrunner_part(told: tuple[np.ndarray, ...]) -> np.ndarray:
    from aftercar.simulate.document import quantities, read_sbml
    from aftercar.simulate.model import load_model

    model, c, runner = load_model(), Cohort(*told), _loaded(-1)
    species = list(runner.model.getFloatingSpeciesIds())
    # A species is read as its equations read it: as an amount where it has no concentration.
    document = read_sbml(model.sbml)
    amounts = {q.name for q in quantities(document.getModel()) if q.kind == "species" and q.in_amount}
    names = [f"[{s}]" if s in species and s not in amounts else s for s in model.states]
    out = np.empty((len(c.states), len(c.times), len(names)))
    runner.timeCourseSelections = ["time", *names]
    for i in range(len(c.states)):
        runner.resetAll()
        for name, value in zip(model.parameters, c.parameters[i], strict=True):
            runner.setValue(name, value)
        for name, value in zip(names, c.states[i], strict=True):
            runner.setValue(name, value)
        told_ = 0
        for begin, end, dose in _spans(c, i):
            if dose is not None:
                name, amount, _ = GIVEN[dose]
                place = names[model.states.index(name)]
                runner.setValue(place, runner.getValue(place) + amount)
            last = int(np.searchsorted(c.times, end + 1e-12, side="right"))
            asked = np.unique(np.concatenate([[begin], c.times[told_:last], [end]]))
            if len(asked) > 1:
                rows = np.asarray(runner.simulate(times=asked.tolist()))
                keep = np.isin(asked, c.times[told_:last])
                out[i, told_:last] = rows[keep, 1:]
            told_ = last
    return out


def _lsoda(c: Cohort, answers: Path) -> Callable[[], None]:
    from scipy.integrate import solve_ivp

    from aftercar.simulate.compiled import kernel
    from aftercar.simulate.model import load_model

    model = load_model()
    rhs = kernel(model.equations.source()).rhs
    places = [model.states.index(s) for s, _, _ in GIVEN]

    def work() -> None:
        out = np.empty((len(c.states), len(c.times), c.states.shape[1]))
        for i in range(len(c.states)):
            y, slope = c.states[i].copy(), np.empty(c.states.shape[1])

            def f(t: float, at: np.ndarray, i: int = i, slope: np.ndarray = slope) -> np.ndarray:
                rhs(t, at, c.parameters[i], slope)
                return slope.copy()

            told = 0
            for begin, end, dose in _spans(c, i):
                if dose is not None:
                    y[places[dose]] += GIVEN[dose][1]
                if end <= begin:
                    continue  # two doses at one time
                last = int(np.searchsorted(c.times, end + 1e-12, side="right"))
                found = solve_ivp(
                    f, (begin, end), y, method="LSODA", t_eval=np.unique(np.append(c.times[told:last], end)), rtol=1e-6, atol=1e-9
                )
                out[i, told:last] = found.y.T[: last - told]
                y, told = found.y[:, -1].copy(), last
        np.save(answers, out)

    f_ready = np.empty(c.states.shape[1])
    rhs(0.0, c.states[0], c.parameters[0], f_ready)
    return work


def _diffrax(c: Cohort, answers: Path) -> Callable[[], None]:
    import diffrax
    import jax
    import jax.numpy as jnp

    from aftercar.simulate.model import load_model

    jax.config.update("jax_enable_x64", True)
    model = load_model()
    rates = _jax_rates(model.equations.source(), len(model.states))
    places = [model.states.index(s) for s, _, _ in GIVEN]
    amounts = jnp.array([a for _, a, _ in GIVEN])
    times = jnp.array(c.times)

    def span(y, p, begin, end):  # type: ignore[no-untyped-def]
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(rates), diffrax.Tsit5(), begin, end, None, y, args=p, saveat=diffrax.SaveAt(ts=jnp.clip(times, begin, end), t1=True),
            stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-9), max_steps=100_000,
        )  # fmt: skip
        return found.ys[:-1], found.ys[-1]

    def one(y, p, days):  # type: ignore[no-untyped-def]
        order = jnp.argsort(days)
        edges = jnp.concatenate([jnp.zeros(1), days[order], times[-1:]])
        out = jnp.broadcast_to(y, (len(times), len(y)))
        for k in range(len(GIVEN) + 1):
            if k:
                y = y.at[jnp.array(places)[order[k - 1]]].add(amounts[order[k - 1]])
            told, y = span(y, p, edges[k], edges[k + 1])
            out = jnp.where(((times > edges[k]) & (times <= edges[k + 1]))[:, None], told, out)
        return out

    work = jax.jit(jax.vmap(one))
    given = (jnp.array(c.states), jnp.array(c.parameters), jnp.array(c.dose_days))
    work(*given).block_until_ready()  # compiled for this number of patients
    return lambda: np.save(answers, np.asarray(work(*given)))


def _jax_rates(source: str, n: int):  # type: ignore[no-untyped-def]
    """The generated right-hand side as a function of jax."""
    import jax.numpy as jnp

    text = source.replace("from numba import njit", "").replace('@njit(cache=True, nogil=True, error_model="numpy")', "")
    scope = {"np": jnp, "max": jnp.maximum, "min": jnp.minimum, "abs": jnp.abs}
    exec(text.replace("import numpy as np", ""), scope)

    def rates(t, y, p):  # type: ignore[no-untyped-def]
        slope = [jnp.zeros(()) for _ in range(n)]
        scope["rhs"](t, y, p, slope)
        return jnp.stack(slope)

    return rates


CONTENDERS: dict[str, Callable[[Cohort, Path], Callable[[], None]]] = {
    "aftercar": partial(_aftercar, 1e-6),
    "aftercar_default": partial(_aftercar, 1e-4),
    "roadrunner": _roadrunner,
    "diffrax": _diffrax,
    "lsoda": _lsoda,
}
PART = {"lsoda": SCIPY}


# --- In the parent ---


def main() -> None:
    """Run, compare, and write the section."""
    parser = argparse.ArgumentParser(description="Time the compiled engine beside others.")
    parser.add_argument("--patients", type=int, default=FULL)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--graded", type=int, default=100_000)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    chosen = [n for n in CONTENDERS if not args.only or n in args.only.split(",")]
    missing = {"lsoda": "scipy", "roadrunner": "roadrunner", "diffrax": "diffrax"}
    chosen = [n for n in chosen if find_spec(missing.get(n, "numpy"))]
    n = args.patients
    first, again = _compiling()
    with tempfile.TemporaryDirectory() as folder:
        answers = {name: Path(folder) / f"{name}.npy" for name in chosen}
        runs = in_turns(
            {k: partial(measured, "benchmarks.simulate", "--child", k, str(n), str(answers[k])) for k in chosen}, args.repeat
        )
        exact = compiled(cohort(n), 1e-11)
        wrong = {name: _error(np.load(answers[name]), exact) for name in chosen}
    found = {name: middle(r, PART.get(name, 1)) for name, r in runs.items()}
    growth = [(m, measured("benchmarks.simulate", "--child", "aftercar", str(m), os.devnull).cpu) for m in (n, 4 * n)]
    table = _table(found, wrong)
    print(
        f"\n{table}\n\nCompiling {first:.1f} s, from the disk {again:.1f} s; {growth[1][1] / growth[0][1]:.2f} times the CPU for 4 times the patients."
    )
    graded = _graded(args.graded) if args.graded else None
    if graded:
        print(f"{args.graded:,} virtual patients simulated in {graded[0].wall:.0f} s and graded in {graded[1].wall:.0f} s.")
    if n >= FULL and len(chosen) > 2 and graded and args.graded >= 100_000:
        text = TEMPLATE.format(
            n=f"{n:,}", machine=results.machine(load, "numba", "numpy", "libroadrunner"), table=table, repeat=args.repeat, first=first, again=again,
            growth=growth[1][1] / growth[0][1], graded=f"{args.graded:,}", sim=graded[0], grade=graded[1], total=graded[0].wall + graded[1].wall,
        )  # fmt: skip
        results.write_section("simulate", text)


def _error(found: np.ndarray, exact: np.ndarray) -> float:
    """The largest error of any state at any time, as a share of its largest value of that patient."""
    exact = exact[: len(found)]
    return float((np.abs(found - exact) / (exact.max(axis=1, keepdims=True) + 1e-9)).max())


def _compiling() -> tuple[float, float]:
    """Seconds to compile, and to load what is on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AFTERCAR_CACHE"] = folder
        taken = [measured("benchmarks.simulate", "--child", "compile", "1", os.devnull).wall for _ in range(2)]
        del os.environ["AFTERCAR_CACHE"]
    return taken[0], taken[1]


def _graded(n: int) -> tuple[Run, Run]:
    folder = results.fresh_folder("simulate")
    words = ("--child", "write", str(n), str(folder / "timeline"))
    written = measured("benchmarks.simulate", *words)
    return written, measured("benchmarks.simulate", "--child", "grade", str(n), str(folder / "timeline"))


def _table(found: dict[str, Run], wrong: dict[str, float]) -> str:
    own = found.get("aftercar")
    lines = [
        "| | wall, s | CPU, s | peak memory, MiB | largest error | wall / aftercar |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for name, run in found.items():
        share = f"{run.wall / own.wall:.1f}" if own else ""
        lines.append(f"| {WHAT[name]} | {run.wall:.2f} | {run.cpu:.2f} | {run.peak:,.0f} | {wrong[name]:.1e} | {share} |")
    return "\n".join(lines)


def _child(name: str, n: int, target: str) -> Callable[[], object]:
    if name == "compile":
        return lambda: compiled(cohort(1), 1e-4)
    if name == "write":
        from aftercar.simulate.run import Scenario, simulate_folder

        return lambda: simulate_folder(Scenario("axi-cel", "LBCL"), n, 1, target)
    if name == "grade":
        from aftercar.grade.folder import grade_folder

        return lambda: grade_folder(target, f"{target}_graded", scales=["crs", "icans"])
    whole = cohort(n)
    size = max(n // PART.get(name, 1), 1)
    part = Cohort(whole.states[:size], whole.parameters[:size], whole.times, whole.dose_days[:size])
    work = CONTENDERS[name](part, Path(target))
    if target == os.devnull:
        return lambda: compiled(part, TOLERANCE[name])
    return work


TEMPLATE = """## Simulation: the mechanism, and from virtual patients to grades

{n} virtual patients, 60 days, three doses each, states every 12 hours. {machine}

{table}

Median of {repeat} runs taken in turns, after loading. Errors are against the compiled engine at a tolerance of 1e-11, as a share of a state's largest
value in that patient. Compiling takes {first:.0f} s once; from the disk it is {again:.1f} s. Four times the patients cost {growth:.1f} times the CPU.

{graded} virtual patients under the standard policy, charted for 60 days and treated on their grades: written in {sim.wall:.0f} s ({sim.peak:,.0f} MiB), then graded
for CRS and ICANS in {grade.wall:.0f} s ({grade.peak:,.0f} MiB): {total:.0f} s in all.
"""


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        timed(_child(sys.argv[2], int(sys.argv[3]), sys.argv[4]))
    else:
        main()
