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


def test_everything_is_escaped_wherever_it_stands():
    text = html.page(
        HOSTILE,
        tag_heavy := html.tag("p", HOSTILE, [HOSTILE, html.tag("i", HOSTILE)], title=HOSTILE),
        html.table([HOSTILE], [[HOSTILE]]),
        html.figure(b"png", alt=HOSTILE, caption=HOSTILE),
    )
    found = parse(text)
    assert {name for name, _ in found.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "main", "p", "i", "div"),
        *("table", "thead", "tbody", "tr", "th", "td", "figure", "img", "figcaption"),
    }
    assert all(not key.startswith("on") for _, attrs in found.tags for key in attrs)
    assert found.text.count(HOSTILE) == 7
    assert dict(parse(tag_heavy).tags)["p"]["title"] == HOSTILE


def test_page_forbids_the_network():
    found = parse(html.page("t", html.figure(b"123", alt="a")))
    policy = next(a["content"] for _, a in found.tags if "Content-Security" in str(a))
    assert policy.startswith("default-src 'none'")
    assert [a["src"][:22] for name, a in found.tags if name == "img"] == ["data:image/png;base64,"]


def test_control_and_reordering_characters_do_no_harm():
    assert html.join("a\x00b\u202ec\ud800") == "a�bc�"
    html.join("a\x00b\u202ec\ud800").encode("utf-8")


def test_names_that_run_scripts_are_refused():
    for name, attributes in (("script", {}), ("p", {"onclick": "x"}), ("p x", {})):
        with pytest.raises(ValueError, match="not allowed as the name"):
            html.tag(name, **attributes)


def test_table_sets_numbers_to_the_right_and_checks_its_rows():
    text = html.table(["a", "b", "c"], [["x", "1.5 ps", "1"], ["2", "−3e-4", "–"]])
    assert text.count('<td class="number">') == 4
    with pytest.raises(ValueError, match="1 cells under a header of 2"):
        html.table(["a", "b"], [["1"]])


def test_png_is_the_same_each_time():
    from matplotlib.figure import Figure

    def draw() -> bytes:
        fig = Figure(figsize=(1, 1))
        fig.subplots().plot([0, 1])
        return html.png_bytes(fig)

    assert draw() == draw()
    assert draw().startswith(b"\x89PNG")
