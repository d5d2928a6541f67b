from __future__ import annotations

from html.parser import HTMLParser

import pytest

from nequip_decorr import html

HOSTILE = '<b onmouseover="alert(1)">&\'</b><script>x</script>'


class Collect(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def parse(text: str) -> Collect:
    parser = Collect()
    parser.feed(text)
    return parser


def page(body: str, **values: object) -> str:
    head = "{% extends 'base.html' %}{% from 'parts.html' import table, figure %}"
    text = f"{head}{{% block body %}}{body}{{% endblock %}}"
    return html.environment().from_string(text).render({"title": "t", **values})


def test_everything_is_escaped_wherever_it_stands():
    text = page(
        '<p title="{{ x }}">{{ x }}</p>{{ table([x], [[x]]) }}{{ figure(png, x, x) }}',
        title=HOSTILE,
        x=HOSTILE,
        png=b"png",
    )
    found = parse(text)
    assert {name for name, _ in found.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "main", "h1", "p", "div"),
        *("table", "thead", "tbody", "tr", "th", "td", "figure", "img", "figcaption"),
    }
    assert all(not key.startswith("on") for _, attrs in found.tags for key in attrs)
    assert found.text.count(HOSTILE) >= 5
    tags = dict(found.tags)
    assert (tags["p"]["title"], tags["img"]["alt"]) == (HOSTILE, HOSTILE)


def test_page_forbids_the_network():
    found = parse(page("{{ figure(png, 'a') }}", png=b"123"))
    policy = next(a["content"] for _, a in found.tags if "Content-Security" in str(a))
    assert policy.startswith("default-src 'none'")
    assert [a["src"][:22] for name, a in found.tags if name == "img"] == ["data:image/png;base64,"]


def test_control_and_reordering_characters_do_no_harm():
    text = page("<p>{{ x }}</p>", x="a\x00b\u202ec\ud800")
    assert "<p>a�bc�</p>" in text
    text.encode("utf-8")


def test_table_sets_numbers_to_the_right_and_checks_its_rows():
    rows = [["x", "1.5 ps", "1"], ["2", "−3e-4", "–"]]
    text = page("{{ table(['a', 'b', 'c'], rows) }}", rows=rows)
    assert text.count('<td class="number">') == 4
    with pytest.raises(ValueError, match="1 cells under a header of 2"):
        page("{{ table(['a', 'b'], [['1']]) }}")


def test_png_is_the_same_each_time():
    from matplotlib.figure import Figure

    def draw() -> bytes:
        fig = Figure(figsize=(1, 1))
        fig.subplots().plot([0, 1])
        return html.png_bytes(fig)

    assert draw() == draw()
    assert draw().startswith(b"\x89PNG")
