"""The viewer's pages over HTTP: what they show, what they filter, and that no text of the data becomes markup."""

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from mmat_dagster.cli import run
from mmat_dagster.interfaces import LedgerError, StoreError
from mmat_dagster.schema import DatasetName, Rationale
from mmat_dagster.viewer.app import Viewed, create_app
from mmat_dagster.viewer.folder import ReadOnlyFolder
from mmat_dagster.viewer.indexing import fill
from mmat_dagster.viewer.library import Library
from mmat_dagster.viewer.links import view_hint, view_link
from mmat_dagster.viewer.replaying import Exchange
from tests.rebuilding import leave_behind
from tests.viewed_stores import BREAKING, LINK, SCRIPT, StoreOf, make_dialogue, shelve, write_dialogues, write_store

BASE = "http://127.0.0.1:8765"
HARMLESS = frozenset(
    "a aside body button code dd details dialog div dl dt fieldset figcaption figure form g h1 h2 h3 head header html "
    "input kbd label legend li link main meta meter nav ol optgroup option p path pre rect script section select span "
    "strong summary svg table tbody td text th thead title tr img circle".split()
)


class Markup(HTMLParser):
    """Keeps what could run: tags, handlers, scripts, addresses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.scripts: list[str | None] = []
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep one tag."""
        self.tags.append(tag)
        for name, value in attrs:
            self.handlers += [name] if name.startswith("on") or name in ("style", "autofocus", "srcdoc") else []
            self.addresses += [value or ""] if name in ("href", "src", "action") else []
        if tag == "script":
            self.scripts.append(dict(attrs).get("src"))

    def check(self) -> None:
        """Assert that the page holds the viewer's own markup alone."""
        assert set(self.tags) <= HARMLESS, set(self.tags) - HARMLESS
        assert (self.handlers, self.scripts) == ([], ["/static/viewer.js"])
        assert all(address.startswith(("/", "#")) for address in self.addresses), self.addresses


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoreOf:
    """Return a store whose index is complete."""
    stored = write_store(tmp_path_factory.mktemp("viewer") / "store")
    fill(Library(stored.viewed.store), stored.viewed.index)
    return stored


@pytest.fixture(scope="module")
def client(stored: StoreOf) -> Iterator[TestClient]:
    """Yield a browser of sorts."""
    with browsing(stored.viewed) as client:
        yield client


@contextmanager
def browsing(viewed: Viewed) -> Iterator[TestClient]:
    """Open a viewer; at the end the process that fills its index is gone, too."""
    with TestClient(create_app(viewed), base_url=BASE) as client:
        yield client


def ids(page: str) -> list[str]:
    """Return the dialogues that a list shows."""
    return [html.unescape(found).replace("%2F", "/") for found in re.findall(r'href="/dialogue\?id=([^"&]*)', page)]


def numbers(client: TestClient, **wanted: object) -> list[int]:
    """Return the numbers of the dialogues that a filter finds."""
    page = client.get("/dialogues", params={name: str(value) for name, value in wanted.items()})
    assert page.status_code == 200
    return [int(found.removeprefix("tabmwp/")) for found in ids(page.text)]


def test_the_start_page_tells_what_the_store_holds(client: TestClient) -> None:
    page = client.get("/").text
    assert all(name in page for name in ("rationales", "rr_dialogues", "orr_dialogues", "dialogue_audit", "12"))


def test_all_dialogues_are_listed_in_their_order(client: TestClient) -> None:
    assert numbers(client) == list(range(1, 13))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"reflection": "any"}, [4, 8, 12]),
        ({"reflection": "math"}, [4, 8, 12]),
        ({"reflection": "general"}, []),
        ({"operator": "rag"}, [3, 6, 9, 12]),
        ({"operator": "rag", "reflection": "any"}, [12]),
        ({"operator": "face_detection", "source": "tabmwp", "part": "train"}, list(range(1, 13))),
        ({"source": "infoseek"}, []),
        ({"teacher": "annotations", "min_score": 0.85}, [5, 10]),
        ({"min_score": 0.6, "max_score": 0.7}, [2, 3, 7, 8, 12]),
        ({"words": "item 11"}, [11]),
        ({"words": '"price of item 7"'}, [7]),
        ({"words": "elsewh*"}, [3, 6, 9, 12]),
        ({"words": "zurich FRANCS"}, [3, 6, 9, 12]),
        ({"words": "zurich", "reflection": "any"}, [12]),
        ({"words": "zurich", "operator": "rag", "min_score": 0.9}, []),
        ({"words": '" OR * NEAR( ?!'}, []),
        ({"words": "???"}, []),
    ],
)
def test_filters_find(client: TestClient, wanted: dict[str, object], found: list[int]) -> None:
    assert numbers(client, **wanted) == found


def test_a_score_that_is_none_is_refused(client: TestClient) -> None:
    assert client.get("/dialogues", params={"min_score": "1e9"}).status_code == 400


def test_pages_follow_each_other_to_the_end_and_back(tmp_path: Path) -> None:
    stored = write_store(tmp_path / "store", count=130, part_rows=33)
    fill(Library(stored.viewed.store), stored.viewed.index)
    with browsing(stored.viewed) as client:
        for first in ("/dialogues", "/dialogues?operator=label_bbox", "/dialogues?words=price"):
            there = walk(client, first, "next")
            back = walk(client, link(client.get(first).text, "last") or "", "previous")
            assert [len(page) for page in there] == [50, 50, 30]
            every = [each for page in there for each in page]
            assert every == [f"tabmwp/{number}" for number in range(1, 131)]
            assert {each for page in back for each in page} == set(every)


def walk(client: TestClient, address: str | None, name: str) -> list[list[str]]:
    """Return the dialogues of each page, following one link."""
    pages = []
    while address:
        text = client.get(address).text
        pages.append(ids(text))
        address = link(text, name)
    return pages


def link(page: str, name: str) -> str | None:
    """Return where a link of the pager leads."""
    found = re.search(rf'href="([^"]*)" data-go="{name}"', page)
    return html.unescape(found[1]) if found else None


def test_a_dialogue_shows_its_turns_boxes_audit_and_orr_form(client: TestClient) -> None:
    page = client.get("/dialogue", params={"id": "tabmwp/12"}).text
    told = [
        "the sum is not written out",
        "This needs more care.",
        "price 12",
        "two francs",
        "a dog",
        "face 2",
        "the tag",
    ]
    assert all(text in page for text in told)
    assert page.count("<rect ") - 1 == 5
    assert "reads well" in page
    assert "You reason in one turn." in page


@pytest.mark.parametrize(
    ("dataset", "told"), [("dialogue_audit", "reads well"), ("orr_dialogues", "You reason in one turn.")]
)
def test_what_was_made_of_other_dialogues_is_not_shown(tmp_path: Path, dataset: DatasetName, told: str) -> None:
    stored = write_store(tmp_path / "store")
    with TestClient(create_app(stored.viewed), base_url=BASE) as client:
        assert told in client.get("/dialogue", params={"id": "tabmwp/12"}).text
        leave_behind(stored.root, dataset)
        assert told not in client.get("/dialogue", params={"id": "tabmwp/12"}).text


def test_neighbours_are_those_of_the_filter(client: TestClient) -> None:
    page = client.get("/dialogue", params={"id": "tabmwp/8", "reflection": "any"}).text
    there = [link(page, "previous") or "", link(page, "next") or ""]
    assert ["tabmwp%2F4" in there[0], "tabmwp%2F12" in there[1]] == [True, True]
    assert all("reflection=any" in address for address in there)


@pytest.mark.parametrize(
    "address", ["/dialogue", "/dialogue?id=tabmwp/99", "/dialogue?id=../../etc/passwd", "/nothing"]
)
def test_what_is_not_there_is_told(client: TestClient, address: str) -> None:
    page = client.get(address)
    assert (page.status_code, "Not there" in page.text) == (404, True)


@pytest.mark.parametrize(
    "query", ["at=999999999999999999999999", "at=-1", "at=%00", "at=4611686018427387903", "after=x"]
)
def test_places_that_are_none_do_no_harm(client: TestClient, query: str) -> None:
    assert client.get(f"/dialogue?id=tabmwp/3&{query}").status_code == 200
    assert client.get(f"/dialogues?{query}").status_code == 200


def test_the_rejected_are_listed_by_reason(client: TestClient) -> None:
    assert "teacher refused" in client.get("/rejected", params={"reason": "teacher refused"}).text
    assert "Nothing was rejected" in client.get("/rejected", params={"reason": "no gold answer"}).text


def test_without_an_index_lists_and_dialogues_are_there(tmp_path: Path) -> None:
    stored = write_store(tmp_path / "store", count=12, is_audited=False)
    never = tmp_path / "a file"
    never.touch()
    with browsing(replace(stored.viewed, index=never / "index.sqlite")) as client:
        page = client.get("/dialogues").text
        assert len(ids(page)) == 12
        assert "The index is being built: 0 of 12" in page
        assert client.get(re.findall(r'src="(/images/[^"]*)"', page)[0]).status_code == 200
        assert client.get("/dialogue", params={"id": "tabmwp/11"}).status_code == 200


def test_a_new_part_is_added_and_a_changed_one_makes_the_index_anew(tmp_path: Path) -> None:
    stored = write_store(tmp_path / "store", count=5)
    library, index = Library(stored.viewed.store), stored.viewed.index
    fill(library, index)
    image = stored.dialogues[0].images[0]
    for count, word in ((10, "item"), (10, "changed")):
        dialogues = [make_dialogue(number, image, thought=f"{word} {number}") for number in range(1, count + 1)]
        write_dialogues(stored.root, "tabmwp", dialogues, part_rows=5 if word == "item" else 4)
        fill(library, index)
        with browsing(stored.viewed) as client:
            assert len(numbers(client, words=word, operator="label_bbox")) == count


def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    stored = write_store(tmp_path / "store", count=3)
    stored.viewed.index.parent.mkdir()
    stored.viewed.index.write_bytes(b"SQLite format 3\0" + b"damaged" * 1000)
    fill(Library(stored.viewed.store), stored.viewed.index)
    with browsing(stored.viewed) as client:
        assert numbers(client, words="item") == [1, 2, 3]


def test_images_are_found_by_their_hash_alone(client: TestClient, stored: StoreOf) -> None:
    image = stored.dialogues[0].images[0]
    shown = client.get(f"/images/{image.sha256}/view")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")
    refused = ["0" * 64, "..%2f..%2fetc%2fpasswd", "../store/images", image.path.replace("/", "%2f"), "x'--"]
    assert {client.get(f"/images/{name}/view").status_code for name in refused} == {404}
    assert client.get(f"/images/{image.sha256}/huge").status_code == 404


@pytest.mark.parametrize("content", [b"", b"<svg onload='alert(1)'/>", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_file_that_is_no_longer_the_image_is_not_served(tmp_path: Path, content: bytes) -> None:
    stored = write_store(tmp_path / "store", count=1)
    image = stored.dialogues[0].images[0]
    (stored.root / image.path).write_bytes(content)
    with browsing(stored.viewed) as client:
        assert client.get("/dialogues").status_code == 200
        assert client.get(f"/images/{image.sha256}/view").status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "10.0.0.1:8765"])
def test_a_host_that_is_not_this_machine_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/dialogues", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:8765", "LOCALHOST", "[::1]:8765", "[::1]"])
def test_this_machine_is_let_in_by_its_names(client: TestClient, host: str) -> None:
    assert client.get("/dialogues", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_but_reading_is_let_in(client: TestClient, method: str) -> None:
    answers = [client.request(method, address).status_code for address in ("/dialogues", "/static/viewer.css", "/x")]
    assert answers == [405] * 3


@pytest.mark.parametrize("address", ["/", "/dialogues", "/nothing", "/static/viewer.js", "/images/0/view"])
def test_every_answer_tells_browsers_to_run_nothing(client: TestClient, address: str) -> None:
    headers = client.get(address).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_a_head_request_is_answered(client: TestClient) -> None:
    assert client.head("/dialogues").status_code == 200


def test_static_files_lie_in_their_folder(client: TestClient) -> None:
    assert client.get("/static/..%2fapp.py").status_code == 404


@pytest.fixture(scope="module")
def harmful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Yield a viewer of a store whose texts would run."""
    root = tmp_path_factory.mktemp("harm") / "store"
    stored = write_store(root, count=2)
    image = shelve(root, 2)
    texts = (SCRIPT.replace("</script>", ""), BREAKING, LINK)
    dialogues = [
        make_dialogue(
            number, image, question=f"{text} ?", thought=f"{text} .", licence=text, part=text, choices=(text,)
        )
        for number, text in enumerate(texts, 1)
    ]
    write_dialogues(root, "tabmwp", dialogues, part_rows=5)
    fill(Library(stored.viewed.store), stored.viewed.index)
    with browsing(stored.viewed) as client:
        yield client


@pytest.mark.parametrize(
    "address",
    ["/", "/dialogues", "/rejected", *(f"/dialogue?id=tabmwp/{at}" for at in (1, 2, 3)), "/ledger?id=tabmwp/1"],
)
def test_no_text_of_the_data_becomes_markup(harmful: TestClient, address: str) -> None:
    Markup(harmful.get(address).text).check()


@settings(max_examples=25)
@given(
    st.dictionaries(
        st.sampled_from("id at after before source part operator reflection teacher words stage reason skip".split()),
        st.text(max_size=30) | st.sampled_from([SCRIPT, BREAKING, LINK]),
    )
)
def test_no_address_becomes_markup(harmful: TestClient, query: dict[str, str]) -> None:
    for path in ("/dialogues", "/dialogue", "/rejected"):
        page = harmful.get(f"{path}?{urlencode(query, errors='replace')}")
        assert page.status_code in (200, 404)
        Markup(page.text).check()


def test_a_ledger_that_cannot_be_read_is_told(stored: StoreOf) -> None:
    def fail(rationale: Rationale) -> list[Exchange]:
        raise LedgerError("the reply ledger cannot be read: locked")

    with browsing(replace(stored.viewed, find_exchanges=fail)) as client:
        assert "cannot be read: locked" in client.get("/ledger?id=tabmwp/1").text


def test_annotated_dialogues_say_that_nothing_was_asked(client: TestClient) -> None:
    assert "Nothing was asked" in client.get("/ledger?id=tabmwp/1").text


def test_the_store_is_only_looked_at(tmp_path: Path) -> None:
    folder = ReadOnlyFolder(tmp_path)
    with pytest.raises(StoreError, match="only looked at"):
        folder.write("a", b"")
    with pytest.raises(StoreError, match="only looked at"):
        folder.delete("a")


def test_a_link_names_the_source_and_the_command() -> None:
    assert view_link("tabmwp", reflection="math") == "http://127.0.0.1:8765/dialogues?source=tabmwp&reflection=math"
    assert view_hint("tabmwp").startswith("`python -m mmat_dagster view`")


def test_the_command_serves_this_machine_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["view", "--host", "192.0.2.1"]) == 1
    assert "knows no password" in capsys.readouterr().err


def test_the_command_tells_that_there_is_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MMAT_STORE", str(tmp_path / "none"))
    assert run(["view"]) == 1
    assert "there is no store" in capsys.readouterr().err
