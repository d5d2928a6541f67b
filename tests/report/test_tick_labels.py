"""Powers of ten on logarithmic axes are drawn as such, names are no mathematics, legends fit."""

import pytest

from nequip_decorr import html
from nequip_decorr.style import figure, key_of, style


def test_powers_of_ten_are_mathematics_and_names_are_not():
    with style():
        fig, axes = figure(4, 3)
        axes[0, 0].bar(["$x$", "y_1"], [0.02, 0.5])
        axes[0, 0].set(yscale="log", title="$no$ mathematics")
    html.png_bytes(fig)
    powers = [t for t in axes[0, 0].get_yticklabels(which="both") if t.get_text()]
    assert any("10^{-1}" in t.get_text() for t in powers)
    assert all(t.get_parse_math() for t in powers)
    assert not axes[0, 0].title.get_parse_math()


@pytest.mark.parametrize("length", [5, 60])
@pytest.mark.parametrize("width_in", [3.0, 9.6])
def test_a_legend_is_as_wide_as_its_figure_at_most(width_in, length):
    names = [f"{k}{'m' * length}" for k in range(5)]
    fig, axes = figure(width_in, 4)
    handles = [axes[0, 0].plot([0, 1], label=name)[0] for name in names]
    key = key_of(fig, handles, "outside lower center")
    html.png_bytes(fig)
    (only,) = fig.legends
    assert only is key and [text.get_text() for text in key.get_texts()] == names
    columns = key._ncols
    box = key.get_window_extent()
    assert columns == 1 or (box.x0 >= 0 and box.x1 <= fig.bbox.width)
    assert columns == {(3.0, 5): 2, (9.6, 5): 4, (3.0, 60): 1, (9.6, 60): 1}[width_in, length]
