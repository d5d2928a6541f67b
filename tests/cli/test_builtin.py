"""``nequip-decorr data siox`` and ``demo --improve`` into a folder that was used before."""

from pathlib import Path

import pytest

from nequip_decorr.cli.main import main
from nequip_decorr.cure import demo


def test_edited_configs_are_kept_and_data_of_another_size_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nequip_decorr.datasets.siox.make_siox", lambda *arguments: [])
    assert main(["data", "siox", str(tmp_path), "--size", "demo"]) == 0
    edited = tmp_path / "siox_allegro.yaml"
    edited.write_text(edited.read_text() + "# mine\n")
    assert main(["data", "siox", str(tmp_path), "--size", "demo"]) == 0
    assert f"kept as you have changed it: {edited}" in capsys.readouterr().out
    assert edited.read_text().endswith("# mine\n")
    assert main(["data", "siox", str(tmp_path), "--size", "demo", "--seed", "9"]) == 2
    assert "'seed'" in capsys.readouterr().err


def test_the_improvement_of_the_demo_keeps_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Done(Exception):
        """Nothing is run here."""

    def call(*arguments: object) -> None:
        raise Done

    monkeypatch.setattr(demo, "call", call)
    common = ["demo", "--improve", "--out", str(tmp_path)]
    for _ in range(2):
        with pytest.raises(Done):
            demo.improve_demo(tmp_path, 1, 20, 6.0, 2, None)
    with pytest.raises(Done):
        demo.improve_demo(tmp_path, 1, 20, 6.0, 3, None)
    assert main([*common, "--epochs", "300"]) == 2
    assert "'epochs': (20, 300)" in capsys.readouterr().err
