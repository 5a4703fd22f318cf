"""One setting names the repository, and one command changes it everywhere."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from coursekit import cli
from coursekit.book import adopt, repository
from coursekit.book.repository import address


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """Return a copy of every file that could spell the address out."""
    for name in ("chapters", "labs", "src/coursekit/book"):
        if (root / name).is_dir():
            shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*root.glob("*.md"), *root.glob("_*.yml"), root / "pyproject.toml"):
        shutil.copy(file, tmp_path)
    return tmp_path


def spelled(folder: Path, name: str) -> list[Path]:
    """Return the files in which a repository's name stands."""
    files = (f for f in folder.rglob("*") if f.is_file() and f.suffix in (".md", ".yml", ".toml", ".ipynb"))
    return sorted(f.relative_to(folder) for f in files if name in f.read_text(encoding="utf-8"))


def test_adopt_changes_every_place_once(copy: Path) -> None:
    old, before = address(copy), (copy / "README.md").read_text()
    places = spelled(copy, old)
    assert Path("_config.yml") in places
    assert Path("README.md") in places
    changed = adopt("ada/grokking-course", copy)
    assert sorted(f.relative_to(copy) for f in changed) == places
    assert address(copy) == "ada/grokking-course"
    assert spelled(copy, old) == []
    assert spelled(copy, "ada/grokking-course") == places
    readme = (copy / "README.md").read_text()
    for address_of in ("//{}.github.io/{}/", "//github.com/{}/{}/actions/workflows/tests.yml/badge.svg"):
        assert (address_of.format("ada", "grokking-course") in readme) == (
            address_of.format(*old.split("/")) in before
        )
    assert old.replace("/", ".github.io/") not in readme


def test_adopt_twice_changes_nothing_more(copy: Path) -> None:
    adopt("ada/grokking-course", copy)
    assert adopt("ada/grokking-course", copy) == []


@pytest.mark.parametrize("n_written", [0, 1, 8])
def test_an_adoption_that_was_interrupted_is_finished_by_the_same_command(
    copy: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, n_written: int
) -> None:
    cut = tmp_path_factory.mktemp("cut") / "course"
    shutil.copytree(copy, cut)
    wanted = {"title": "Ada's group", "weeks": [2, 5]}
    adopt("ada/reading-group-of-the-tests", copy, **wanted)
    write, left = Path.write_text, iter(range(n_written))

    def fill_the_disk(self: Path, text: str, encoding: str) -> int:
        if next(left, None) is not None:
            return write(self, text, encoding=encoding)
        write(self, text[:10], encoding=encoding)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", fill_the_disk)
        with pytest.raises(OSError, match="No space left"):
            adopt("ada/reading-group-of-the-tests", cut, **wanted)
    adopt("ada/reading-group-of-the-tests", cut, **wanted)
    files = {file.relative_to(copy): file.read_bytes() for file in copy.rglob("*") if file.is_file()}
    assert {file.relative_to(cut): file.read_bytes() for file in cut.rglob("*") if file.is_file()} == files


def test_a_whole_adoption_changes_what_it_says_and_the_second_time_nothing(copy: Path) -> None:
    wanted = {"title": 'Ada\'s "group": 5 weeks', "weeks": [6, 2, 5]}
    old, headed = repository.title(copy), {name: (copy / name).read_text() for name in repository.TABLES}
    adopt("ada/course", copy, **wanted)
    assert repository.title(copy) == wanted["title"]
    assert yaml.safe_load((copy / "_config.yml").read_text())["title"] == wanted["title"]
    description = tomllib.loads((copy / "pyproject.toml").read_text())["project"]["description"]
    assert description.startswith(f"{wanted['title']}: ")
    assert list(repository.weeks(copy)) == [2, 5, 6]
    toc = yaml.safe_load((copy / "_toc.yml").read_text())
    listed = re.findall(r"'((?:chapters|labs)/[^']*\d\d_[^']*)'", str(toc))
    assert [name for name in listed if name.startswith("chapters/facilitator")] == [
        "chapters/facilitator/02_scaling_laws",
        "chapters/facilitator/05_grokking",
        "chapters/facilitator/06_reversal_curse",
    ]
    assert [name for name in listed if name.startswith("labs/")] == [
        "labs/02_scaling_laws",
        "labs/05_grokking",
        "labs/06_reversal_curse",
    ]
    for name in repository.TABLES:
        text = (copy / name).read_text()
        assert (f"# {wanted['title']}\n" in text) == (f"# {old}\n" in headed[name])
        shown = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
        assert re.findall(r"^\| (\d) \|", shown, re.MULTILINE) == ["2", "5", "6"]
    assert adopt("ada/course", copy, **wanted) == []


def test_weeks_that_were_left_out_come_back(copy: Path) -> None:
    before = {f: f.read_bytes() for f in copy.rglob("*") if f.is_file()}
    shown = re.sub(r"<!--.*?-->", "", (copy / "chapters/index.md").read_text(), flags=re.DOTALL)
    all_weeks, old = list(repository.weeks(copy)), repository.title(copy)
    in_preparation = [int(n) for n in re.findall(r"^\| (\d) \|", shown, re.MULTILINE)]
    adopt(None, copy, title="x: y", weeks=[5])
    adopt(None, copy, title="Another", weeks=[7, 5])
    adopt(None, copy, title=old, weeks=all_weeks)
    (copy / "chapters/index.md").write_text(
        repository._choose_rows((copy / "chapters/index.md").read_text(), in_preparation)
    )
    assert {f: f.read_bytes() for f in copy.rglob("*") if f.is_file()} == before


def test_the_license_and_the_authors_stay(copy: Path) -> None:
    author = yaml.safe_load((copy / "_config.yml").read_text())["author"]
    adopt("ada/course", copy, title="Ada's group", weeks=[5])
    assert yaml.safe_load((copy / "_config.yml").read_text())["author"] == author


@pytest.mark.parametrize("given", ["", " x", "two\nlines", "<b>", "a *b*", "$x$", "[x](y)", "#1", "a | b"])
def test_a_title_is_one_line_of_plain_text(copy: Path, given: str) -> None:
    before = address(copy)
    with pytest.raises(ValueError, match="expected TITLE as one line"):
        adopt("ada/another-course", copy, title=given)
    assert address(copy) == before, "nothing is changed before everything was checked"


@pytest.mark.parametrize("given", ["Course: the second", "2027", "null", "- a", "yes", "é — ü"])
def test_a_title_stays_itself_in_yaml(copy: Path, given: str) -> None:
    adopt(None, copy, title=given)
    assert yaml.safe_load((copy / "_config.yml").read_text())["title"] == given
    assert repository.title(copy) == given


@pytest.mark.parametrize("given", ["", "2,", "two", "2;3", "99", "2,99", "-2"])
def test_weeks_that_are_none_get_one_sentence(copy: Path, given: str) -> None:
    before = address(copy)
    run = subprocess.run(
        [
            sys.executable,
            "src/coursekit/book/repository.py",
            "--repository=ada/another-course",
            f"--weeks={given}",
        ],
        cwd=copy,
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert address(copy) == before


def test_make_and_the_command_line_run_the_same_code(
    copy: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(root / "Makefile", copy)
    words = [
        "make",
        "adopt",
        f"PYTHON={sys.executable}",
        "REPOSITORY=ada/course",
        'TITLE=Ada\'s "course"',
        "WEEKS=2,5",
    ]
    made = subprocess.run(words, cwd=copy, capture_output=True, text=True, check=True)
    assert "changed README.md" in made.stdout
    monkeypatch.chdir(copy)
    again = ["adopt", "--repository", "ada/course", "--title", 'Ada\'s "course"', "--weeks", "5,2"]
    assert cli.main(again) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(
        "The repository is ada/course, the title 'Ada\\'s \"course\"', the weeks 2, 5 already"
    )
    assert cli.main(["adopt"]) == 2
    assert "at least one of" in capsys.readouterr().err


def test_the_text_of_an_adopted_copy_builds_without_a_warning(copy: Path, root: Path) -> None:
    """No cell runs here: what is tested is that links to weeks left out do no harm, and where the buttons lead."""
    shutil.copy(root / "references.bib", copy)
    shutil.copytree(
        root / "src", copy / "src", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    adopt("ada/course", copy, title="Ada's group", weeks=[5, 7])
    config = copy / "_config.yml"
    config.write_text(config.read_text().replace("execute_notebooks: cache", "execute_notebooks: 'off'"))
    command = [Path(sys.executable).parent / "jupyter-book", "build", "-W", "-n", "--keep-going", copy]
    build = subprocess.run(command, capture_output=True, text=True)
    assert build.returncode == 0, build.stdout[-3000:] + build.stderr[-3000:]
    html = copy / "_build" / "html"
    pages = sorted(page.stem for page in html.rglob("*.html") if re.match(r"\d\d_", page.stem))
    assert pages == ["05_grokking"] * 3 + ["07_reversal_dynamics"] * 3
    lab, index = ((html / name).read_text() for name in ("labs/05_grokking.html", "chapters/index.html"))
    assert "colab.research.google.com/github/ada/course/blob/main/labs/05_grokking.ipynb" in lab
    assert re.search(r"<h1>Ada.s group<", index)
    assert "02_scaling_laws" not in re.sub(r"<!--.*?-->", "", index, flags=re.DOTALL)


def test_adopt_and_back_restores_every_file(copy: Path) -> None:
    before = {f: f.read_bytes() for f in copy.rglob("*") if f.is_file()}
    old = address(copy)
    adopt("ada/x", copy)
    adopt(old, copy)
    assert {f: f.read_bytes() for f in copy.rglob("*") if f.is_file()} == before


def test_a_longer_name_is_left_alone(copy: Path) -> None:
    adopt("ada/course", copy)
    (copy / "README.md").write_text(
        "https://github.com/ada/course-notes and https://github.com/ada/course.\n"
    )
    adopt("bob/fork", copy)
    assert (copy / "README.md").read_text() == (
        "https://github.com/ada/course-notes and https://github.com/bob/fork.\n"
    )


@pytest.mark.parametrize(
    "given", ["https://github.com/ada/course", "github.com/ada/course/", "ada/course.git"]
)
def test_an_address_is_as_good_as_a_name(copy: Path, given: str) -> None:
    adopt(given, copy)
    assert address(copy) == "ada/course"


@pytest.mark.parametrize("given", ["", "course", "ada/course/labs", "ada course", "-ada/course", "ada/"])
def test_bad_input_gets_one_sentence(copy: Path, given: str) -> None:
    run = subprocess.run(
        [sys.executable, "src/coursekit/book/repository.py", f"--repository={given}"],
        cwd=copy,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
    assert "OWNER/NAME" in run.stderr
    assert repr(given) in run.stderr


def test_a_folder_without_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"_config\.yml does not exist"):
        adopt("ada/course", tmp_path)
