"""Virtual patients of a product, disease and policy, simulated in the background and shown beside what was published."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup

from aftercar.calibrate.compare import Comparison
from aftercar.errors import OptionError
from aftercar.evidence.tables import verified
from aftercar.report import cohort, cohort_figures, other
from aftercar.report.names import scale_name
from aftercar.report.published import TITLES, comparison_svg
from aftercar.simulate.model import load_model
from aftercar.simulate.policy import policies
from aftercar.simulate.run import BANNER
from aftercar.ward.accounts import Person
from aftercar.ward.jobs import Job, Jobs
from aftercar.web import render, simulated
from aftercar.web.access import Reader, TheForm, TheJobs, TheWard
from aftercar.web.render import on_page

router = APIRouter(prefix="/simulate", include_in_schema=False)

KIND = "simulate"


@router.get("")
def ask(request: Request, ward: TheWard, jobs: TheJobs, person: Reader) -> Response:
    """What may be simulated, and what was."""
    ward.note(person, "simulation.list")
    return _form(request, jobs, person, {})


def _form(request: Request, jobs: Jobs, person: Person, filled: dict[str, str], wrong: str = "") -> Response:
    return render.page(
        request, "simulate.html.j2", person, 422 if wrong else 200, **_choices(), filled=filled, wrong=wrong, latest=jobs.latest(KIND),
        asked=simulated.Asked("", ""), most=simulated.MOST, most_days=simulated.MOST_DAYS, banner=BANNER,
    )  # fmt: skip


@cache
def _choices() -> dict[str, Any]:
    """What the model knows."""
    model = load_model()
    known = {name: model.tables[name] for name in ("products", "diseases", "drugs")}
    return {
        "products": known["products"]["product"].unique(maintain_order=True).to_list(),
        "diseases": known["diseases"]["disease"].unique(maintain_order=True).to_list(),
        "policies": policies(model),
        "drugs": known["drugs"].select("drug", "dose", "schedule").to_dicts(),
    }


@router.post("")
def begin(request: Request, jobs: TheJobs, person: Reader, form: TheForm) -> Response:
    """Put a simulation in line."""
    try:
        one = simulated.asked(form)
        number = jobs.ask(person, KIND, one.told())
    except OptionError as error:
        return _form(request, jobs, person, form, str(error))
    return RedirectResponse(f"/simulate/{number}", 303)


@router.get("/{number}")
def see(request: Request, ward: TheWard, jobs: TheJobs, person: Reader, number: str) -> Response:
    """How far it is; and when it is done, what came out."""
    job = jobs.find(number)
    one = simulated.asked(job.asked)
    ward.note(person, "simulation.read", detail={"job": number})
    content = jobs.found(number)
    shown = {} if content is None else _shown(one, simulated.found(content))
    return render.page(
        request, "simulated.html.j2", person, job=job, one=one, policy=_choices()["policies"][one.policy].title, mine=job.account == person.name,
        ahead=_ahead(jobs, job), banner=BANNER, done=content is not None, **shown,
    )  # fmt: skip


def _ahead(jobs: Jobs, job: Job) -> int:
    """How many simulations are done before one that waits."""
    return sum(j.open and j.created_at < job.created_at for j in jobs.latest(KIND, 200))


def _shown(one: simulated.Asked, result: simulated.Simulated) -> dict[str, Any]:
    worst = other.parted(result.worst)[0]
    episodes = result.episodes.filter(result.episodes["scale"].is_in(worst["scale"].unique().implode()))
    table = cohort.worst_table(worst)
    rates = simulated.beside(one, result)
    title = f"{one.product} in {one.disease}, policy {one.policy}: {one.n} virtual patients"
    return {
        "table": table, "timing": cohort.timing_table(episodes), "worst_figure": Markup(cohort_figures.worst_svg(table, simulated=True)),
        "onset_figure": Markup(cohort_figures.onset_svg(episodes, simulated=True)), "states_figure": on_page(result.figure), "treated": result.treated.to_dicts(),
        "rates": rates.to_dicts(), "rates_figure": on_page(comparison_svg(Comparison(rates, rates.clear()), title, "as asked above")) if rates.height else "", "titles": TITLES,
        "marks": verified(), "scale_name": scale_name,
    }  # fmt: skip


@router.post("/{number}/cancel")
def cancel(jobs: TheJobs, person: Reader, number: str) -> Response:
    """Stop it."""
    jobs.cancel(person, number)
    return RedirectResponse(f"/simulate/{number}", 303)
