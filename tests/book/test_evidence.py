"""The evidence page says what the measured runs say."""

import dataclasses
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from coursekit import results
from coursekit.book import evidence
from coursekit.book.claims import CLAIMS
from coursekit.book.evidence import Claim, Found


@pytest.fixture(scope="module")
def generated() -> str:
    return evidence.page(CLAIMS)


def claim_about(words: str) -> Claim:
    (found,) = [claim for claim in CLAIMS if words in claim.text]
    return found


def test_the_committed_page_is_what_the_measured_runs_say(root: Path, generated: str) -> None:
    committed = (root / evidence.PAGE).read_text(encoding="utf-8")
    assert committed == generated, "run: python -m coursekit.book.evidence"


def test_every_week_has_its_headline_claims_and_no_week_hides_what_failed() -> None:
    assert Counter(claim.experiment for claim in CLAIMS).keys() == results.KEYS.keys()
    assert min(Counter(claim.experiment for claim in CLAIMS).values()) >= 3
    assert {claim.found().status for claim in CLAIMS} == set(evidence.STATUSES)


def test_every_claim_says_how_it_was_obtained_and_what_disputes_it() -> None:
    for claim in CLAIMS:
        assert all((claim.text, claim.paper, claim.how, claim.disputed)), claim.text
        assert (claim.found().status == "not run") <= (not claim.files), claim.text


def test_links_lead_to_files_and_works_cited_are_in_the_bibliography(root: Path, generated: str) -> None:
    targets = set(re.findall(r"\]\((\.\./[^)]+)\)", generated))
    assert len(targets) > 100
    assert [link for link in targets if not (root / "chapters" / link).is_file()] == []
    keys = {k for group in re.findall(r"\{cite:[tp]\}`([^`]+)`", generated) for k in group.split(",")}
    assert (
        keys - set(re.findall(r"^@\w+\{([^,]+),", (root / "references.bib").read_text(), re.MULTILINE))
        == set()
    )


@pytest.mark.parametrize(
    ("asked", "blind", "status"),
    [
        ({"a": True, "b": True}, "", "replicated"),
        ({"a": True, "b": False}, "", "partly"),
        ({"a": False, "b": False}, "", "not replicated"),
        ({"a": False}, "it knows nothing", "null result"),
        ({}, "", "not run"),
    ],
)
def test_the_verdict_follows_from_the_answers(asked: dict[str, bool], blind: str, status: str) -> None:
    assert Found("", asked, blind).status == status


def test_other_rows_give_another_number_and_another_verdict() -> None:
    claim = claim_about("Flat solutions generalize")
    (run,) = claim.runs()
    assert claim.found().status == "not replicated"
    rows = run.rows.copy()
    rows.loc[rows["metric"] == "sharpness", "value"] *= -1
    turned = claim.find(dataclasses.replace(run, rows=rows))
    assert turned.status == "replicated"
    assert "−0.55" in turned.ours


def test_a_reversal_that_is_learned_would_be_told() -> None:
    claim = claim_about("recalled in that order and not in the other")
    runs = claim.runs()
    rows = runs[0].rows.copy()
    rows.loc[(rows["metric"] == "exact_match") & (rows["order"] == "reverse"), "value"] = 0.5
    assert claim.find(dataclasses.replace(runs[0], rows=rows), runs[1]).status == "partly"


def test_a_recipe_that_learns_nothing_counts_for_nothing() -> None:
    claim = claim_about("No learning rate and batch size helps")
    runs = claim.runs()
    assert list(claim.found().asked) == [
        "reverse at most 0.3 % under each of the 5 recipes that learn the same order to 50 %"
    ]
    for run in runs:
        rows = run.rows.copy()
        rows.loc[rows["metric"] == "exact_match", "value"] = 0.0
        runs[runs.index(run)] = dataclasses.replace(run, rows=rows)
    assert claim.find(*runs).status == "null result"


def test_a_verdict_is_computed_where_the_numbers_are_near_each_other() -> None:
    claim = claim_about("ReLU is easier to train")
    sigmoid, relu = claim.runs()
    assert list(claim.find(sigmoid, relu).asked.values()) == [True, False]
    assert claim.find(sigmoid, sigmoid).status == "not replicated"


def test_hardware_time_and_an_unclean_checkout_come_from_the_header(generated: str) -> None:
    header = results.read_measured("scaling_laws", "family").header
    row = next(line for line in generated.splitlines() if "For each budget there is a best size" in line)
    assert f"{header.wall_seconds / 60:.0f} minutes on {header.hardware['cpu']}" in row
    assert ("uncommitted changes" in row) == str(header.git_commit).endswith("-dirty")


def test_a_text_that_would_break_its_table_is_refused() -> None:
    claim = Claim("grokking", "p(A | B)", "1", "so", "nobody", (), lambda: Found("1", {"yes": True}))
    with pytest.raises(ValueError, match=r"expected no \| and no line break"):
        evidence.page([claim])


def test_the_claims_need_no_torch() -> None:
    code = "import sys, coursekit.book.claims; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_main_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str], generated: str) -> None:
    assert evidence.main(tmp_path) == 0
    assert (tmp_path / evidence.PAGE).read_text(encoding="utf-8") == generated
    assert "not replicated" in capsys.readouterr().out
