"""Loss term and monitor: blocks, groups, degenerate batches, streaming."""

import math

import pytest
import torch

from nequip_decorr import FeatureCorrelation, FeatureDecorrelation
from nequip_decorr.correlation import PENALTIES, effective_rank, moments, pearson_abs
from nequip_decorr.features.fields import match_fields, strided_rows
from tests.helpers.tolerances import MERGE


def batch(num_edges=60, width=12, seed=0, num_atoms=9, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator, dtype=dtype)
    features = torch.randn(num_edges, width, generator=generator, dtype=dtype) @ mixing
    return {
        "edge_features": features,
        "edge_index": torch.randint(num_atoms, (2, num_edges), generator=generator),
        "atom_types": torch.arange(num_atoms) % 2,
    }


def merged(batches):
    """One batch of all edges, atoms renumbered."""
    offset, index = 0, []
    for b in batches:
        index.append(b["edge_index"] + offset)
        offset += len(b["atom_types"])
    return {
        "edge_features": torch.cat([b["edge_features"] for b in batches]),
        "edge_index": torch.cat(index, dim=1),
        "atom_types": torch.cat([b["atom_types"] for b in batches]),
    }


@pytest.mark.parametrize("penalty", PENALTIES)
def test_value_is_the_mean_over_blocks(penalty):
    data = batch()
    term = FeatureDecorrelation(penalty, block_size=4)
    expected = sum(PENALTIES[penalty](moments(x)) for x in data["edge_features"].split(4, 1)) / 3
    assert term(data, data).item() == pytest.approx(expected.item(), abs=1e-12)


def test_block_size_and_num_blocks_agree():
    data = batch()
    by_size = FeatureDecorrelation(block_size=4)(data, data)
    assert by_size.item() == FeatureDecorrelation(num_blocks=3)(data, data).item()
    assert by_size.item() != FeatureDecorrelation()(data, data).item()


def test_block_weights_leave_blocks_out():
    data = batch()
    last = FeatureDecorrelation(block_size=4, block_weights=[0, 0, 2.0])(data, data)
    alone = FeatureDecorrelation()({"edge_features": data["edge_features"][:, 8:]}, {})
    assert last.item() == pytest.approx(alone.item(), abs=1e-14)


def test_per_edge_type_is_the_mean_over_ordered_pairs():
    data = batch()
    types = data["atom_types"][data["edge_index"]]
    expected = [
        pearson_abs(moments(data["edge_features"][(types[0] == a) & (types[1] == b)]))
        for a in (0, 1)
        for b in (0, 1)
    ]
    value = FeatureDecorrelation("pearson_abs", per_edge_type=True)(data, data)
    assert value.item() == pytest.approx(sum(expected).item() / 4, abs=1e-12)


def test_per_edge_type_ignores_absent_pairs():
    data = batch()
    data["atom_types"] = torch.zeros_like(data["atom_types"])
    one_type = FeatureDecorrelation(per_edge_type=True)(data, data)
    assert one_type.item() == pytest.approx(FeatureDecorrelation()(data, data).item(), abs=1e-14)


@pytest.mark.parametrize("per_edge_type", [False, True])
@pytest.mark.parametrize("num_edges", [0, 1, 2])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_few_edges_are_finite(penalty, num_edges, per_edge_type):
    data = batch(num_edges, dtype=torch.float32)
    x = data["edge_features"].requires_grad_()
    value = FeatureDecorrelation(penalty, block_size=4, per_edge_type=per_edge_type)(data, data)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(x.grad).all()


def test_forward_gives_gradient_and_keeps_the_running_mean():
    term = FeatureDecorrelation(block_size=4)
    values = []
    for seed in range(3):
        data = batch(seed=seed)
        x = data["edge_features"].requires_grad_()
        value = term(data, data)
        value.backward()
        assert x.grad.abs().sum() > 0
        values.append(value.item())
    assert term.compute().item() == pytest.approx(sum(values) / 3, abs=1e-14)
    term.reset()
    assert term.num_batches == 0


def test_update_twice_a_step_does_not_change_the_mean():
    term, twice = FeatureDecorrelation(), FeatureDecorrelation()
    for seed in range(2):
        data = batch(seed=seed)
        term.update(data, data)
        twice.update(data, data)
        twice.update(data, data)
    assert twice.compute().item() == pytest.approx(term.compute().item(), abs=1e-15)


@pytest.mark.parametrize("per_edge_type", [False, True])
@pytest.mark.parametrize("statistic", ["mean_abs", "mean_squared", "max_abs", "effective_rank"])
def test_monitor_does_not_depend_on_the_batch_size(statistic, per_edge_type):
    batches = [batch(n, seed=n) for n in (3, 40, 1, 0, 17)]
    streamed = FeatureCorrelation(statistic, block_size=4, per_edge_type=per_edge_type)
    for b in batches:
        streamed(b, b)
    whole = FeatureCorrelation(statistic, block_size=4, per_edge_type=per_edge_type)
    data = merged(batches)
    whole.update(data, data)
    difference = abs(streamed.compute().item() - whole.compute().item())
    assert difference < 100 * MERGE[torch.float64]  # through square roots and eigenvalues
    reversed_ = FeatureCorrelation(statistic, block_size=4, per_edge_type=per_edge_type)
    for b in reversed(batches):
        reversed_.update(b, b)
    assert abs(reversed_.compute().item() - whole.compute().item()) < 100 * MERGE[torch.float64]


def test_monitor_copes_with_a_batch_that_lacks_a_type():
    first = batch(seed=1)
    first["atom_types"] = torch.zeros_like(first["atom_types"])
    second = batch(seed=2)
    streamed = FeatureCorrelation(per_edge_type=True)
    for b in (first, second):
        streamed.update(b, b)
    whole = FeatureCorrelation(per_edge_type=True)
    data = merged([first, second])
    whole.update(data, data)
    assert streamed.compute().item() == pytest.approx(whole.compute().item(), abs=1e-12)


def test_monitor_effective_rank_and_blocks():
    data = batch()
    monitor = FeatureCorrelation("effective_rank", block_size=4)
    monitor.update(data, data)
    expected = [effective_rank(moments(x)).item() for x in data["edge_features"].split(4, 1)]
    assert monitor.per_block().tolist() == pytest.approx(expected, abs=1e-10)
    assert monitor.compute().item() == pytest.approx(sum(expected) / 3, abs=1e-10)


def test_monitor_without_data_is_nan():
    with pytest.warns(UserWarning, match="compute"):
        assert math.isnan(FeatureCorrelation().compute().item())


@pytest.mark.parametrize("every", [1, 3])
def test_every_n_steps_keeps_the_sum_of_gradients_and_the_value(every):
    """Of an epoch of six equal batches; then the next epoch starts anew."""
    data = batch()
    x = data["edge_features"].requires_grad_()
    (full,) = torch.autograd.grad(FeatureDecorrelation(block_size=4)(data, data), x)
    term = FeatureDecorrelation(block_size=4, every_n_steps=every)
    for _ in range(2):
        values = [term(data, data) for _ in range(6)]
        with_gradient = [value.requires_grad for value in values]
        assert with_gradient == [k % every == 0 for k in range(6)]
        sum(v for v in values if v.requires_grad).backward()
        assert torch.allclose(x.grad, 6 * full, rtol=1e-12, atol=0)
        assert {round(v.item(), 12) for v in values} == {round(term.compute().item(), 12)}
        assert term.num_batches == 6 / every
        x.grad = None
        term.reset()


WRONG = [
    ({"penalty": "pearson"}, "`penalty` must be one of .*pearson_squared.*, got 'pearson'"),
    ({"field": ""}, "`field` must be the name of an output field"),
    ({"block_size": 0}, "`block_size` must be a positive integer or null, got 0"),
    ({"num_blocks": 2.5}, "`num_blocks` must be a positive integer or null, got 2.5"),
    ({"block_weights": [1.0, -1.0]}, "`block_weights` must be finite, not negative"),
    ({"block_weights": [0.0, 0.0]}, "not all zero"),
    ({"per_edge_type": "yes"}, "`per_edge_type` must be true or false, got 'yes'"),
    ({"every_n_steps": 0}, "`every_n_steps` must be a positive integer or null, got 0"),
    ({"shrinkage": 0.0}, r"`shrinkage` must be in \(0, 1\], got 0.0"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        FeatureDecorrelation(**arguments)


def test_wrong_statistic():
    with pytest.raises(ValueError, match=r"`statistic` must be one of .*effective_rank.*, got 'x'"):
        FeatureCorrelation("x")


def test_wrong_data():
    data = batch()
    with pytest.raises(ValueError, match=r"field `nope` is not in .*could be used.*edge_features"):
        FeatureDecorrelation(field="nope")(data, data)
    with pytest.raises(ValueError, match="`block_size` 5 does not divide the field's 12 channels"):
        FeatureDecorrelation(block_size=5)(data, data)
    with pytest.raises(ValueError, match="2 blocks of 4 channels make 8, but the field has 12"):
        FeatureDecorrelation(block_size=4, num_blocks=2)(data, data)
    with pytest.raises(ValueError, match="`block_weights` has 2 entries for 3 blocks"):
        FeatureDecorrelation(block_size=4, block_weights=[1, 1])(data, data)
    data["node_features"] = data["edge_features"][:9]
    with pytest.raises(ValueError, match="needs one feature row per edge: got 9 rows for 60 edges"):
        FeatureDecorrelation(field="node_features", per_edge_type=True)(data, data)
    with pytest.raises(ValueError, match="must be a floating-point tensor"):
        FeatureDecorrelation(field="atom_types")(data, data)


@pytest.mark.parametrize(("rows", "most"), [(10, 3), (4097, 4096), (60, 59), (7, 1)])
def test_strided_rows_are_spread_evenly(rows, most):
    taken = strided_rows(rows, most, torch.device("cpu"))
    assert len(taken) == len(set(taken.tolist())) == most
    steps = torch.diff(taken, prepend=taken.new_tensor([-1]), append=taken.new_tensor([rows]))
    assert steps.min() >= 1
    assert torch.diff(taken).numel() == 0 or torch.diff(taken).max() <= -(-rows // most)
    assert strided_rows(most, most, torch.device("cpu")) is None
    assert strided_rows(rows, None, torch.device("cpu")) is None


@pytest.mark.parametrize("per_edge_type", [False, True])
def test_max_samples_takes_the_term_of_the_taken_edges(per_edge_type):
    data = batch(num_edges=60)
    taken = strided_rows(60, 25, torch.device("cpu"))
    part = {
        "edge_features": data["edge_features"][taken],
        "edge_index": data["edge_index"][:, taken],
        "atom_types": data["atom_types"],
    }
    options = {"block_size": 4, "per_edge_type": per_edge_type}
    some = FeatureDecorrelation(max_samples=25, **options)(data, data)
    assert some.item() == FeatureDecorrelation(**options)(part, part).item()
    assert some.item() != FeatureDecorrelation(**options)(data, data).item()
    assert FeatureDecorrelation(max_samples=60, **options)(data, data).item() == pytest.approx(
        FeatureDecorrelation(max_samples=None, **options)(data, data).item(), abs=0
    )


def test_a_pattern_takes_its_fields_in_the_order_of_layers():
    names = ["layer10_x", "layer2_x", "layer1_y", "pos"]
    assert match_fields(names, "layer*_x") == ["layer2_x", "layer10_x"]
    assert match_fields(names, "pos") == ["pos"]
    assert match_fields(names, "po") == []


def test_a_pattern_averages_over_fields_of_any_width():
    data = batch()
    fields = {"layer0_x": data["edge_features"], "layer1_x": data["edge_features"][:, :5]}
    both = FeatureDecorrelation(field="layer*_x")(fields, fields).item()
    each = [FeatureDecorrelation(field=name)(fields, fields).item() for name in fields]
    assert both == pytest.approx(sum(each) / 2, abs=1e-14)
    monitor = FeatureCorrelation(field="layer*_x")
    monitor.update(fields, fields)
    assert monitor.per_block().tolist() == pytest.approx(
        [pearson_abs(moments(value)).item() for value in fields.values()], abs=1e-14
    )


def test_edges_and_nodes_do_not_mix():
    data = {"layer0_x": torch.rand(5, 3), "layer1_x": torch.rand(6, 3)}
    with pytest.raises(ValueError, match=r"different numbers of rows: \{'layer0_x': 5"):
        FeatureDecorrelation(field="layer*_x")(data, data)


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True])
def test_max_samples_is_a_positive_integer_or_null(wrong):
    with pytest.raises(ValueError, match="`max_samples` must be a positive integer or null"):
        FeatureDecorrelation(max_samples=wrong)
