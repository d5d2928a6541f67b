"""Powers of ten on logarithmic axes are drawn as such, and names are never mathematics."""

from nequip_decorr import html
from nequip_decorr.style import figure, style


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
