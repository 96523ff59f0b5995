"""What is made of measurements: ratios, tables, the CSV, goals, the document; and what survives a peer's crash."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import numbaconv
from numbaconv import cli
from numbaconv.bench import backward, figures, layers, reach, report, tables, worker
from numbaconv.bench.ceiling import Ceiling
from numbaconv.bench.clock import Times
from numbaconv.bench.compare import Comparison, Setting
from numbaconv.bench.layers import Layer, square
from numbaconv.bench.peer import RefusedError
from numbaconv.bench.progress import progress
from numbaconv.bench.run import compared

CEILING = Ceiling(100.0, 10.0, 50.0)
SETTING = Setting(("torch", "ncnn"), "float32", 1, 0.001, CEILING)
LAYER = square("some layer", "3x3s1", (64, 32), 28, 3)


def result(kind="3x3s1", remarks=None, threads=1, dtype="float32", layer=LAYER, **seconds):
    """A comparison with these times in units of the plan's."""
    times = {"plan": 1.0, "plain": 2.0} | {name.replace("__", " "): time for name, time in seconds.items()}
    return Comparison(
        layer=layer.name,
        kind=kind,
        problem=str(layer.problem(dtype)),
        dtype=dtype,
        threads=threads,
        strategy="direct",
        flops=layer.flops,
        bytes=layer.bytes(dtype),
        times={name: Times(0.001 * time, 0.0012 * time) for name, time in times.items()},
        errors=dict.fromkeys(times, 0.25),
        remarks=remarks or {},
        ceiling=CEILING,
    )


# ---- ratios and tables -----------------------------------------------------------------------------------------------


def test_ratios():
    one = result(torch=3.0, ncnn=1.5, openvino=0.5, remarks={"openvino": "wrong: error 99", "jax": "refused: no"})
    assert one.peers == ("torch", "ncnn")
    assert one.best_peer() == "ncnn"
    assert one.best_peer(among=("torch", "jax")) == "torch"
    assert (one.over_best(), one.over_best(among=("jax",)), one.ratio("openvino")) == (1.5, None, None)
    assert one.ratio("torch", "plain") == 1.5
    assert one.function == "conv2d"
    assert one.shapes == ((1, 64, 28, 28), (32, 64, 3, 3))
    assert not one.wrong
    assert result(remarks={"plain": "wrong: error 2"}).wrong


def test_regret_is_over_the_best_right_strategy():
    assert result().regret() is None
    assert result(plan__direct=1.0, plan__im2col=0.5).regret() == 2.0
    assert result(plan__direct=0.9, plan__im2col=2.0).regret() == 1.0  # the chosen one, measured twice
    wrong = result(plan__direct=1.0, plan__winograd=0.5, remarks={"plan winograd": "wrong: error 3"})
    assert wrong.regret() == 1.0


def test_gradients_over_torch():
    """Peers have no gradients but PyTorch's, which are no convolutions of its own."""
    both = result(torch=2.0, backward=3.0, torch__backward=6.0)
    assert (both.peers, both.ratio("torch"), both.gradients()) == (("torch",), 2.0, 2.0)
    assert result(torch=2.0).gradients() is None
    assert replace(both, remarks={"backward": "wrong: error 2"}).gradients() is None
    least = result("depthwise", backward=1.0, torch__backward=0.5)
    head, rows = report.gradients([both, least, result()])
    assert head == ["class", "layers", "mean", "least"]
    assert rows == [["3x3s1", "1", "2.00", "2.00"], ["depthwise", "1", "0.50", "0.50"], ["all", "2", "1.00", "0.50"]]


@pytest.mark.parametrize(
    "layer", [LAYER, replace(LAYER, w_shape=(64, 16, 3, 3), groups=2, transposed=True, output_padding=(0, 0))], ids=str
)
def test_gradients_are_checked(layer):
    """Both contenders against the equation; and a weight that is not what it should be is seen."""
    pytest.importorskip("torch")
    x, w, _ = layer.arrays("float32")
    x = x[:, :, :6, :7].copy()
    layer = replace(layer, x_shape=x.shape)
    times, errors = backward.measure(layer, x, w, 1, 0.001)
    assert set(times) == set(errors) == {"backward", "torch backward"}
    assert max(errors.values()) < 1
    dy = np.ones(layer.problem("float32").y_shape, np.float32)
    gradients = numbaconv.conv_backward(dy, x, w, **layer.geometry(), transposed=layer.transposed)
    assert backward.error(layer, x, w, dy, gradients[:2]) < 1
    assert backward.error(layer, x, w, dy, (gradients.x, gradients.weight + 1)) > 1
    assert backward.error(layer, x, w, dy, (gradients.x[..., 1:], gradients.weight)) == np.inf


def test_means_by_class():
    results = [result(torch=2.0, ncnn=4.0), result(torch=8.0), result("depthwise", torch=1.0, ncnn=0.25)]
    head, rows = report.means(results, ["torch", "ncnn"])
    assert head == ["class", "layers", "torch", "ncnn", "best peer", "by medians", "torch/plain"]
    assert rows == [
        ["3x3s1", "2", "4.00", "4.00 (1)", "4.00", "4.00", "2.00"],
        ["depthwise", "1", "1.00", "0.25", "0.25", "0.25", "0.50"],
        ["all", "3", "2.52", "1.00", "1.59", "1.59", "1.26"],
    ]
    # A sample stands for its class: four times as many depthwise layers as 3x3 ones.
    weighted = report.means(results, ["torch"], {"3x3s1": 10, "depthwise": 40})[1][-1]
    assert weighted[2] == f"{4 ** (1 / 5):.2f}"


def test_worst_and_refusals():
    slow, fast = result(torch=0.5), result("depthwise", torch=3.0)
    assert [row[1] for row in report.worst([fast, slow])[1]] == ["3x3s1", "depthwise"]
    assert len(report.worst([fast, slow], below=1.0)[1]) == 1
    assert report.worst([fast, slow], among=("ncnn",))[1] == []
    remarks = [{"ncnn": "wrong: error 20"}, {"ncnn": "wrong: shape (1,)"}, {"scipy": "no"}]
    assert report.refusals([result(remarks=r) for r in remarks])[1] == [
        ["ncnn", "2", "wrong result"],
        ["scipy", "1", "no"],
    ]


def test_lines_name_who_did_not_compute():
    one = result(torch=2.0, remarks={"ncnn": "crashed: SIGSEGV"})
    assert report.line(one, ["torch", "ncnn"]).endswith("! ncnn crashed: SIGSEGV")
    text = "\n".join(report.summary([one, result(threads=2)], ["torch", "ncnn"]))
    assert "float32, 1 threads: time of the other" in text
    assert "2 threads" not in text  # no peer computed anything there
    assert "crashed: SIGSEGV" in text


def test_tables_put_numbers_to_the_right():
    head, rows = ["3x3", "n"], [["3x3s1", "12"], ["b", "5"]]
    assert tables.markdown(head, rows).splitlines()[1] == "| --- | ---: |"
    assert tables.columns(head, rows) == ["3x3     n", "3x3s1  12", "b       5"]


# ---- layers ----------------------------------------------------------------------------------------------------------


def test_every_beginning_of_the_fair_order_is_a_sample():
    many = [square(f"{kind}{size}", kind, (8, 8), size, 3) for kind in ("a", "b") for size in range(3, 11)]
    order = layers.fairly(many)
    assert sorted(map(str, order)) == sorted(map(str, many))
    assert [layer.kind for layer in order[:4]] == ["a", "b", "a", "b"]
    assert [layer.x_shape[-1] for layer in order if layer.kind == "a"][:4] == [7, 3, 9, 5]


def test_operations_of_a_transposed_layer_leave_out_inserted_zeros():
    up = Layer("up", "up", (1, 4, 5, 5), (4, 3, 2, 2), (2, 2), ((0, 0),) * 2, (1, 1), 2, True, (0, 0))
    assert up.flops == 2 * 25 * 4 * 3 * 4
    assert up.problem("float32").flops == 4 * up.flops


# ---- the CSV ---------------------------------------------------------------------------------------------------------


def test_figures_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "figures.csv"
    pytest.importorskip("torch")  # whose version is written
    written = [result(torch=2.0), result(torch=0.5, threads=2), result(remarks={"torch": "refused: a, b"}, threads=2)]
    for one in written[:2]:
        figures.append(path, one)
    figures.append(path, written[2])
    known, who = figures.read(path)
    assert known[:1] == written[:1]
    assert who["plan"].startswith("numbaconv ")
    assert who["torch"].startswith("torch 2")
    path.write_text("layer,kind\na,b\n")
    with pytest.raises(ValueError, match="has the columns layer, kind"):
        figures.read(path)


# ---- processes -------------------------------------------------------------------------------------------------------


def crashing(layer, setting, say):
    say("torch")
    if "torch" in setting.peers:
        os.kill(os.getpid(), signal.SIGKILL)
    return result(ncnn=2.0)


def hanging(layer, setting, say):
    say("ncnn")
    if "ncnn" in setting.peers:
        time.sleep(60)
    return result(torch=2.0)


def crashing_ourselves(layer, setting, say):
    say("plan")
    os._exit(3)


def refusing(layer, setting, say):
    raise ValueError("direct refuses this layer")


def ask(compare, patience=60.0):
    one = worker.Worker(compare, patience)
    try:
        return one.compare(LAYER, SETTING)
    finally:
        one.stop()


def test_a_peer_that_crashes_or_hangs_is_left_out_and_named():
    assert ask(crashing).remarks == {"torch": "crashed: SIGKILL"}
    assert ask(hanging, 3.0).remarks == {"ncnn": "gave no result within 3 s"}


def test_our_own_crash_is_no_comparison():
    with pytest.raises(worker.LostError, match="plan crashed: exit code 3"):
        ask(crashing_ourselves)
    with pytest.raises(RefusedError, match="direct refuses"):
        ask(refusing)


def test_a_lost_layer_does_not_end_the_run(monkeypatch):
    monkeypatch.setattr("numbaconv.bench.run.Worker", lambda: worker.Worker(refusing))
    with progress(2) as bar:
        answers = [answer for _, answer in compared([(LAYER, SETTING)] * 2, bar)]
    assert [str(answer) for answer in answers] == ["direct refuses this layer"] * 2


# ---- goals, document, charts -----------------------------------------------------------------------------------------


def sampled():
    big = square("big", "3x3s1", (256, 256), 56, 3)
    return [
        result(torch=4.0, ncnn=2.0, plan__direct=1.0, threads=2),
        result(torch=2.0, ncnn=0.5, plan__direct=1.0, plan__im2col=0.8, threads=2, layer=big),
        result("depthwise", torch=1.5, ncnn=3.0),
        replace(result(torch=3.0, layer=big), times={n: Times(t, t) for n, t in (("plan", 0.0019), ("plain", 0.003))}),
        result("tiny", torch=1.0, layer=reach.TINY),
        result(dtype="float64", torch=3.0),
    ]


def test_goals():
    head, rows = reach.table(sampled())
    assert head[-2:] == ["1 thread", "2 threads"]
    cells = {(work, measure): values for work, measure, _, *values in rows}
    assert cells["conv2d", "plan over PyTorch"] == ["1.50 (1 layer): not reached", "2.83 (2 layers): reached"]
    assert cells["conv2d, every class", "plan over the best of the four engines"][1].startswith("1.00 (lowest: 3x3s1)")
    assert cells["everything in float64", "plan over PyTorch"] == ["3.00 (1 layer): reached", "-"]
    assert cells["automatic choice", "its time over the best strategy's, worst"][1] == "1.25 (big): reached"
    assert cells["8x8x8x8, 3x3", "plain call's time over PyTorch's"][0] == "2.00 (1 layer): not reached"
    assert cells["layers from 50 MFLOP", "speed-up by the second thread"][1] == "1.90 (1 layer): reached"


FILE = """network,name,category,mb,g,ic,ih,iw,oc,kh,kw,sh,sw,ph,pw,dh,dw,oh,ow,prh,prw,torch_sym_pad,gmac_mb1
net,some layer,3x3s1,1,1,64,28,28,32,3,3,1,1,1,1,1,1,28,28,1,1,1,0
"""


@pytest.fixture
def measured(tmp_path):
    """The arguments of `report` with everything measured before."""
    for package in ("matplotlib", "torch", "ncnn"):
        pytest.importorskip(package)
    (tmp_path / "layers.csv").write_text(FILE)
    for one in sampled():
        figures.append(tmp_path / "page.csv", one)
    arguments = {"--layers": tmp_path / "layers.csv", "--output": tmp_path / "page.md", "--against": "torch,ncnn"}
    return tmp_path, [str(word) for pair in arguments.items() for word in pair]


def test_report_of_what_was_measured(measured, capsys):
    folder, arguments = measured
    assert cli.main(["report", *arguments, "--minutes", "0"]) == 0
    page = (folder / "page.md").read_text()
    assert "page.md: 6 comparisons of 4 layers" in capsys.readouterr().out
    assert "| 3x3s1 | float32 | 2 | 1.00 | 1 of 2 | ncnn 1 |" in page
    assert "There is no layer on which PyTorch's time is below 0.95 of ours, float64, 1 thread." in page
    assert "![every layer's ratio to its best peer, and the roofline](page.png)" in page
    assert (folder / "page.png").read_bytes().startswith(b"\x89PNG")


def test_report_measures_what_is_missing(measured, capsys, monkeypatch):
    folder, arguments = measured
    monkeypatch.setattr("numbaconv.bench.document.SECONDS", 0.001)
    monkeypatch.setattr("numbaconv.bench.document.ceiling.measure", lambda dtype, threads: CEILING)
    words = [*arguments, "--threads", "1", "--csv", str(folder / "new.csv")]
    assert cli.main(["report", *words, "--minutes", "0.0001"]) == 0  # at least one
    assert cli.main(["report", *words, "--minutes", "5"]) == 0
    printed = capsys.readouterr().out
    assert "4 comparisons to do in 0.0001 minutes, 0 done before" in printed
    assert "3 comparisons to do in 5 minutes, 1 done before" in printed
    assert "new.csv" not in (folder / "page.md").read_text()
    assert len(figures.read(folder / "new.csv")[0]) == 4


def test_missing_extras_are_named(measured, capsys, monkeypatch):
    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr("numbaconv.bench.peer.import_module", refuse)
    folder, arguments = measured
    bench = ["bench", "--layers", str(folder / "layers.csv"), "--plot", str(folder / "plot.png")]
    assert cli.main(bench) == 2
    assert 'pip install "numbaconv[plot]"' in capsys.readouterr().err
    assert cli.main(["report", *arguments]) == 2
    assert 'pip install "numbaconv[peers]"' in capsys.readouterr().err
    assert not Path(folder / "plot.png").exists()
