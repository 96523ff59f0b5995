"""The command line, and what it measures with: layers from files, exact samples, comparison with peers."""

from __future__ import annotations

import csv
import importlib

import numpy as np
import pytest

from numbaconv import cli, conv2d
from numbaconv.bench import compare, networks, peers, sample, tables
from numbaconv.bench.ceiling import Ceiling
from numbaconv.bench.clock import interleaved
from numbaconv.bench.layers import square
from numbaconv.bench.peer import Peer

CONV2D = """network,name,category,mb,g,ic,ih,iw,oc,kh,kw,sh,sw,ph,pw,dh,dw,oh,ow,prh,prw,torch_sym_pad,gmac_mb1
net|other,plain,3x3s1,1,1,4,9,11,6,3,3,1,1,1,1,1,1,9,11,1,1,1,0
net,uneven,depthwise,2,4,4,8,8,4,3,3,2,2,0,0,1,1,4,4,1,1,0,0
net,impossible,3x3s1,1,1,4,2,2,6,5,5,1,1,0,0,1,1,0,0,0,0,1,0
"""
CONV1D = """network,name,mb,g,ic,iw,oc,kw,sw,pw,dw,ow,prw,torch_sym_pad,mult,gmac_mb1
wave,causal,1,1,4,20,4,3,1,4,2,20,0,0,1,0
"""
TRANSPOSE = """network,name,nd,mb,g,ic,id,ih,iw,oc,kd,kh,kw,sd,sh,sw,pd,ph,pw,opad_d,opad_h,opad_w,dd,dh,dw,od,oh,ow,mult,gmac_mb1
gan,up,2,1,1,4,1,5,5,6,1,4,4,1,2,2,0,1,1,0,1,1,1,1,1,1,11,11,1,0
"""  # noqa: E501  # the header of the files


@pytest.fixture
def files(tmp_path):
    paths = []
    for name, text in (("conv2d", CONV2D), ("conv1d", CONV1D), ("conv_transpose", TRANSPOSE)):
        paths.append(tmp_path / f"{name}.csv")
        paths[-1].write_text(text)
    return [str(path) for path in paths]


def test_bench(files, tmp_path, capsys):
    figures = tmp_path / "figures.csv"
    assert cli.main(["bench", "--layers", *files, "--seconds", "0.001", "--csv", str(figures)]) == 0
    printed = capsys.readouterr().out
    assert "4 comparisons, 0 of ours wrong" in printed
    assert "net impossible: no output along height" in printed
    rows = [row for row in csv.DictReader(figures.read_text().splitlines()) if row["contender"] == "plan"]
    assert [row["layer"] for row in rows] == ["net plain", "net uneven", "wave causal", "gan up"]
    assert all(0 <= float(row["error"]) <= 1 for row in rows)
    assert "s2 p0:1 d1" in rows[1]["problem"]
    assert "p4:0" in rows[2]["problem"]


@pytest.mark.parametrize("peer", peers.PEERS)
def test_bench_against(files, capsys, peer):
    for package in peers.PEERS[peer].packages:
        pytest.importorskip(package)
    command = ["bench", "--layers", *files, "--against", peer, "--seconds", "0.001", "--threads", "1"]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert "wrong:" not in printed
    assert "best peer" in printed


def test_limits(files, capsys):
    assert cli.main(["bench", "--layers", *files, "--filter", "depthwise", "--seconds", "0.001"]) == 0
    assert "1 comparisons" in capsys.readouterr().out
    assert cli.main(["bench", "--layers", *files, "--memory", "-1"]) == 0
    assert "skipped, its arrays take" in capsys.readouterr().out


def test_missing_and_unknown_peers(files, monkeypatch, capsys):
    monkeypatch.setitem(peers.PEERS, "absent", Peer(("no_such_package",), peers.torch.make, True))
    assert cli.main(["bench", "--layers", *files, "--against", "absent"]) == 2
    assert 'pip install "numbaconv[peers]"' in capsys.readouterr().err
    assert cli.main(["bench", "--layers", *files, "--against", "nobody"]) == 2
    assert "the peers are torch" in capsys.readouterr().err


def test_wrong_and_failing_peers_are_reported(monkeypatch):
    def wrong(layer, x, w, b, threads):
        y = conv2d(x, w, b, **layer.geometry())
        y[0, 3, 4, 5] += 0.01
        return lambda: y

    def failing(layer, x, w, b, threads):
        return lambda: importlib.import_module("no_such_package")

    monkeypatch.setitem(peers.PEERS, "wrong", Peer(("numpy",), wrong, True))
    monkeypatch.setitem(peers.PEERS, "failing", Peer(("numpy",), failing, True))
    layer = square("small", "3x3", (4, 6), 9, 3)
    result = compare.compare(layer, compare.Setting(("wrong", "failing"), "float32", 1, 0.001, Ceiling(1.0, 1.0, 1.0)))
    assert result.remarks["wrong"].startswith("wrong: error")
    assert result.remarks["failing"].startswith("refused: No module named")
    assert result.peers == ()
    assert set(result.remarks) == {"wrong", "failing"}


def test_sample_knows_the_truth_of_transposed_layers():
    layer = square("up", "up", (4, 6), 5, 4)
    layer = type(layer)("up", "up", (1, 4, 5, 5), (4, 3, 4, 4), (2, 2), ((1, 1),) * 2, (1, 1), 2, True, (1, 1))
    x, w, b = layer.arrays("float64")
    problem = layer.problem("float64")
    truth = sample.outputs(problem, x, w, b)
    y = layer.plain(x, w, b, 1)()
    assert truth.error(y) <= 1
    y.reshape(-1)[truth.places[3]] = np.nan
    assert truth.error(y) == np.inf


def test_networks():
    resnet, mobilenet = list(networks.resnet50()), list(networks.mobilenet_v2())
    assert (len(resnet), len(mobilenet)) == (53, 52)
    gmacs = [sum(layer.problem("float32").macs for layer in network) / 1e9 for network in (resnet, mobilenet)]
    assert gmacs == pytest.approx([4.087, 0.2995], abs=1e-3)  # published: 4.09 and 0.30 with the last matrix product
    assert sum(layer.count for layer in networks.unique(networks.resnet50)) == 53


def test_demo(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("numbaconv.bench.demo.SECONDS", 0.001)
    readme = tmp_path / "README.md"
    command = "python -m numbaconv demo --markdown README.md"
    readme.write_text(f"before\n{tables.BEGIN.format(command)}\nold\n{tables.END}\nafter\n")
    assert cli.main(["demo", "--quick", "--markdown", str(readme)]) == 0
    printed = capsys.readouterr()
    assert "ResNet-50" in printed.out
    assert printed.err == ""  # no bar where there is no terminal
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| **MobileNetV2** |" in text
    assert "old" not in text


def test_filters(monkeypatch, capsys, tmp_path):
    pytest.importorskip("cv2")
    for name, value in {"SIDES": (3,), "TAPS": (5,), "PIXELS": 32, "SAMPLES": 100}.items():
        monkeypatch.setattr(f"numbaconv.bench.filters.{name}", value)
    page = tmp_path / "signal.md"
    page.write_text(f"{tables.BEGIN.format('python -m numbaconv filters --markdown docs/signal.md')}\n{tables.END}\n")
    assert cli.main(["filters", "--seconds", "0.001", "--markdown", str(page)]) == 0
    printed = capsys.readouterr()
    assert "Gaussian 3x3, uint8 32x32" in printed.err
    assert printed.out.strip() in page.read_text()


def test_accuracy(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("numbaconv.bench.accuracy.CHANNELS", (8, 32))
    monkeypatch.setattr("numbaconv.bench.accuracy.DRAWS", 1)
    page = tmp_path / "accuracy.md"
    command = "python -m numbaconv accuracy --markdown docs/accuracy.md"
    page.write_text(f"{tables.BEGIN.format(command)}\n{tables.END}\n")
    assert cli.main(["accuracy", "--markdown", str(page)]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(rows) > 3
    assert all(cell == "-" or float(cell.split("(")[1].rstrip(") |")) < 1 for row in rows for cell in row[1:])
    assert "F(4x4,3x3)" in page.read_text()


def test_explain_and_info(capsys):
    assert (
        cli.main(["explain", "1x4x9x9", "6x2x3x3", "-s", "2,1", "-p", "0:1,1:1", "-g", "2", "--dtype", "float64"]) == 0
    )
    assert capsys.readouterr().out.startswith("conv2d f64 1x4x9x9 * 6x2x3x3 s2x1 p0:1x1")
    assert cli.main(["explain", "4x9", "4x2x3", "--transposed", "-s", "2"]) == 0
    assert "conv_transpose1d" in capsys.readouterr().out
    assert cli.main(["explain", "1x4x9x9", "6x3x3x3"]) == 2
    assert "channels" in capsys.readouterr().err
    assert cli.main(["info"]) == 0
    assert "numbaconv" in capsys.readouterr().out


def test_blocks_take_turns():
    order = []
    times = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 1e-9, rounds=2)
    assert "".join(order)[:1] == "a"
    assert set(times) == {"a", "b"}
    assert times["a"].best <= times["a"].median
