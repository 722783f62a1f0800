import pytest

from lenet_lightning.__main__ import main
from lenet_lightning.historical.describe import layers
from lenet_lightning.networks import NETWORKS

# parameters, connections: the tutorial's and the papers'; multiply-accumulates: by hand
PUBLISHED = {"lenet5": (61_706, None, 416_520), "lenet5_1998": (60_000, 340_908, None), "lenet1": (2_578, 98_442, None)}


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_are_the_published_ones(name):
    counted = layers(NETWORKS[name]())
    totals = [
        sum(getattr(layer, kind) for layer in counted) for kind in ("parameters", "connections", "multiplications")
    ]
    assert [total for total, published in zip(totals, PUBLISHED[name], strict=True) if published] == [
        published for published in PUBLISHED[name] if published
    ]


def test_connections_of_each_layer_are_those_of_the_paper():
    assert {layer.name: layer.connections for layer in layers(NETWORKS["lenet5_1998"]())} == {
        "c1": 122_304,
        "s2": 5_880,
        "c3": 151_600,
        "s4": 2_000,
        "c5": 48_120,
        "f6": 10_164,
        "output": 840,
    }


def test_one_network_or_all_are_printed_beside_the_published_figures(capsys):
    assert main(["describe", "--network", "lenet1"]) == 0
    one = capsys.readouterr().out
    assert "98,442" in one
    assert "340,908" not in one
    assert main(["describe"]) == 0
    text = capsys.readouterr().out
    for figure in ("61,706", "60,000", "340,908", "2,578", "98,442"):
        assert text.count(figure) == 2  # counted, and published
    assert max(map(len, text.splitlines())) <= 88


def test_a_network_that_is_not_there_is_refused(capsys):
    assert main(["describe", "--network", "alexnet"]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "lenet5_1998" in err
