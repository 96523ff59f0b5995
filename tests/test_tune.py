"""Measured choice: what `tune` finds decides, is kept on disk, fits only where it was measured, and can be forgotten.

Times are invented, so that nothing here depends on speed.
"""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cases import conv
from processes import python

import numbaconv
from numbaconv import ConvProblem, cli, machine, planner, tuning, wisdom
from numbaconv.bench.clock import Times
from numbaconv.codegen import cache, host, launch
from numbaconv.planner import Answer, Call
from numbaconv.strategies import NAMES

CASE = conv((1, 4, 9, 11), (6, 4, 3, 3), padding=1)
PROBLEM = CASE.problem()
SPEEDS = {"clock": 2.5, "bandwidth": 7.0}
TIMES = dict.fromkeys(NAMES, 9e-6) | {"im2col": 1e-6, "direct": 2e-6, "generic": 4e-6}


def new_process():
    """Forget what this process has read and planned."""
    for known in (wisdom._known, wisdom._stamp, planner.plan, machine.host):
        known.cache_clear()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where wisdom is kept, with nothing in it; kernels stay in their own cache."""
    monkeypatch.setattr(wisdom, "_root", lambda: tmp_path / "wisdom")
    new_process()
    yield tmp_path
    monkeypatch.undo()
    new_process()


@pytest.fixture
def times(folder, monkeypatch):
    """What every strategy will be found to take: a table to change."""
    invented = dict(TIMES)

    def by_table(runs, seconds):
        assert seconds > 0
        return {name: Times(invented[name], invented[name]) for name in runs}

    monkeypatch.setattr(tuning, "interleaved", by_table)
    monkeypatch.setattr(tuning, "_speeds", lambda: SPEEDS)
    monkeypatch.setattr(tuning, "FAR", float("inf"))
    return invented


def files(folder):
    return sorted(folder.rglob("*.json"))


def prepared(**options):
    x, w, b = CASE.arrays()
    return CASE.plan(w, b, **options)


def cheapest():
    return planner.chosen(planner.ask(PROBLEM.folded(), machine.host()))


# ---- the choice ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["direct", "im2col", "generic"])
def test_the_fastest_is_planned_now_and_in_the_next_process(times, strategy):
    times[strategy] = 1e-7
    numbaconv.tune(PROBLEM)
    for _ in range(2):
        assert prepared().strategy == strategy
        new_process()


def test_what_is_forgotten_does_not_decide(times):
    times["generic"] = 1e-7
    numbaconv.tune(PROBLEM)
    assert prepared().strategy == "generic" != cheapest()
    numbaconv.forget_wisdom()
    assert prepared().strategy == cheapest()
    new_process()
    assert prepared().strategy == cheapest()


@pytest.mark.skipif(launch.max_threads() == 1, reason="one thread is all there is")
def test_plans_plain_calls_and_numbers_of_threads_are_apart(times):
    times["generic"] = 1e-7
    numbaconv.tune(prepared(num_threads=1))
    chosen = {
        (threads, packed): planner.plan(PROBLEM, None, threads, packed).strategy
        for threads in (1, 2)
        for packed in (True, False)
    }
    assert chosen.pop((1, True)) == "generic"
    assert set(chosen.values()) == {cheapest()}
    numbaconv.tune(PROBLEM, num_threads=2)
    assert [planner.plan(PROBLEM, None, 2, packed).strategy for packed in (True, False)] == ["generic"] * 2
    assert planner.plan(PROBLEM, None, 1, False).strategy == cheapest()


def test_a_strategy_by_name_and_the_cost_model_alone_are_as_ever(times):
    times["generic"] = 1e-7
    numbaconv.tune(PROBLEM)
    assert prepared(strategy="direct").strategy == "direct"
    assert planner.plan(PROBLEM).strategy == cheapest()
    assert planner.plan(PROBLEM, None, numbaconv.get_num_threads(), True, None, "generic").strategy == "im2col"


def test_results_stay_right(times):
    x, w, b = CASE.arrays()
    before = CASE.call(x, w, b)
    for strategy in ("generic", "im2col"):
        times[strategy] = min(times.values()) / 10
        numbaconv.tune(PROBLEM)
        assert prepared().strategy == strategy
        np.testing.assert_allclose(CASE.call(x, w, b), before, rtol=1e-4, atol=1e-4)


def answers(**measured):
    """Three strategies that are cheaper from left to right; their measured times."""
    costs = {"a": 3.0, "b": 2.0, "c": 1.0}
    return [Answer(name, cost, None, measured.get(name)) for name, cost in costs.items()]


@pytest.mark.parametrize(
    ("measured", "choice"),
    [
        ({}, "c"),
        ({"a": 1.0, "b": 1.5, "c": 2.0}, "a"),
        ({"a": 1.0, "b": 1.02, "c": 2.0}, "b"),  # as fast as each other: the cheaper
        ({"a": 1.0, "b": 1.04, "c": 2.0}, "a"),
        ({"a": 1.0, "b": 1.5}, "a"),  # what was not measured had no chance
    ],
)
def test_chosen(measured, choice):
    assert planner.chosen(answers(**measured)) == choice


def test_explain_shows_what_was_measured(times):
    times["generic"] = 1e-7
    numbaconv.tune(PROBLEM)
    x, w, _ = CASE.arrays()
    _, plan, *lines = numbaconv.explain(x, w, **CASE.geometry).splitlines()
    assert "(generic" in plan
    (marked,) = [line for line in lines if line.startswith("* ")]
    assert marked.startswith("* generic") and marked.endswith("measured 0.1 us")
    assert any(line.startswith("  direct") and line.endswith("measured 2.0 us") for line in lines)


def test_a_pickled_plan_is_planned_anew(times):
    times["generic"] = 1e-7
    x, _, _ = CASE.arrays()
    plan = prepared()
    packed, before = pickle.dumps(plan), plan(x)
    numbaconv.tune(plan)
    assert plan.strategy == cheapest() != "generic"
    again = pickle.loads(packed)
    assert again.strategy == "generic"
    np.testing.assert_allclose(again(x), before, rtol=1e-4, atol=1e-4)
    numbaconv.forget_wisdom()
    assert pickle.loads(pickle.dumps(again)).strategy == cheapest()


def test_every_word_of_a_problem_is_in_its_key():
    """So that no problem is answered with the times of another."""
    problem = conv((2, 6, 5, 6, 7), (8, 3, 2, 3, 2), padding=1, stride=2, dilation=1, groups=2).problem()
    others = [replace(problem, **{word: getattr(problem, word) * 2}) for word in ("batch", "in_channels", "groups")]
    others += [replace(problem, out_channels=16), replace(problem, dtype="float64"), replace(problem, transposed=True)]
    for word in ("in_size", "kernel", "stride", "dilation", "input_dilation", "padding"):
        for i in range(3):
            values = list(getattr(problem, word))
            values[i] = (1, 0) if word == "padding" else values[i] + 1
            others.append(replace(problem, **{word: tuple(values)}))
    calls = [Call(other, threads, use) for other in (problem, *others) for threads in (1, 2) for use in (True, False)]
    assert len({str(call) for call in calls}) == len(calls)


# ---- what is measured ------------------------------------------------------------------------------------------------


def test_the_calls_of_a_function(times):
    x, w, b = CASE.arrays()

    def network():
        plan = CASE.plan(w, b)
        for _ in range(2):
            CASE.call(plan(x)[:, :4].copy(), w, num_threads=1)
        CASE.call(x, w, strategy="direct")

    CASE.call(x, w)  # what was planned before counts as well
    report = numbaconv.tune(network)
    folded = PROBLEM.folded()
    assert [one.call for one in report.tuned] == [
        Call(folded, numbaconv.get_num_threads(), True), Call(folded, 1, False)
    ]  # fmt: skip
    assert planner.watch is None


def test_a_function_that_fails_is_no_longer_watched(times):
    with pytest.raises(ZeroDivisionError):
        numbaconv.tune(lambda: 1 / 0)
    assert planner.watch is None


def test_equal_problems_are_measured_once(times):
    square = ConvProblem.of(2, (1, 4, 6, 6), (4, 4, 1, 1), "float32")
    wide = ConvProblem.of(2, (1, 4, 3, 12), (4, 4, 1, 1), "float32")
    assert [one.call.prepared for one in numbaconv.tune([square, wide]).tuned] == [True, False]


def test_one_candidate_is_not_measured(times):
    report = numbaconv.tune(ConvProblem.of(1, (1, 4, 9), (4, 4, 3), "bool"))
    assert [one.times for one in report.tuned] == [{}, {}]
    assert report.regret == 1 and report.measured == ()
    assert "1.000 in the geometric mean of 0" in str(report)
    assert wisdom.sizes() == {"default": 1}  # clock and bandwidth


def test_the_hopeless_are_not_measured(times, monkeypatch):
    monkeypatch.setattr(tuning, "FAR", 1.5)
    (one, _) = numbaconv.tune(PROBLEM).tuned
    costs = {a.strategy: a.cost for a in planner.ask(PROBLEM.folded(), machine.host()) if a.cost is not None}
    assert set(one.times) | set(one.hopeless) == set(costs) and one.hopeless
    assert all(costs[name] == pytest.approx(ratio * min(costs.values())) for name, ratio in one.hopeless.items())
    assert min(one.hopeless.values()) > 1.5
    assert "not measured" in str(one)


def test_the_disturbed_are_measured_again_and_not_kept(times, monkeypatch):
    monkeypatch.setattr(tuning, "FAR", 10.0)
    measured = []

    def busy(runs, seconds):
        measured.append(sorted(runs))
        return {name: Times(0.016, 0.016) if name in late else Times(1e-6, 1e-6) for name in runs}

    monkeypatch.setattr(tuning, "interleaved", busy)
    (other,) = {"direct", "im2col"} - {cheapest()}
    for late, kept in (({other}, True), ({other, cheapest()}, False)):
        measured.clear()
        report = numbaconv.tune(PROBLEM)
        one = report.tuned[0]
        assert len(report.measured) == 2 * kept
        assert set(one.disturbed) == late and f"{other} (16000.0, disturbed)" in str(one)
        assert bool(one.times) is kept and not late & set(one.times)
        assert late <= set(measured[1]) and len(measured) == 2 * tuning.TRIES
        assert (str(one.call) in wisdom._known()["default"]) is kept
        numbaconv.forget_wisdom()


def test_the_cost_model_is_contradicted_only_by_who_wins_again(times, monkeypatch):
    """Its choice is measured until it gets no better: here in the third round, in which it wins."""
    rounds = iter([{cheapest(): 5e-6, "generic": 3e-6}, {cheapest(): 4e-6, "generic": 3e-6}, {cheapest(): 2e-6}])
    measured = []

    def quieter(runs, seconds):
        measured.append(set(runs))
        found = next(rounds)
        return {name: Times(found.get(name, 8e-6), 8e-6) for name in runs}

    monkeypatch.setattr(tuning, "interleaved", quieter)
    plan = prepared()
    (one,) = numbaconv.tune(plan).tuned
    assert measured[1:] == [{cheapest(), "generic"}] * 2 and one.fastest == cheapest()
    assert (one.times[cheapest()], one.times["generic"], one.regret) == (2e-6, 3e-6, 1.0)


def test_the_report(times):
    larger = conv((1, 4, 19, 21), (6, 4, 3, 3), padding=1).problem()
    times[cheapest()] = 3e-6
    times["generic"] = 1e-6
    text = str(numbaconv.tune([PROBLEM, larger]))
    head, *lines, last = text.splitlines()
    assert head.split()[:4] == ["convolution", "threads", "call", "predicted"]
    assert [line.startswith(str(problem)) for line, problem in zip(lines, [PROBLEM] * 2 + [larger] * 2, strict=True)]
    regrets = [3.0, 3.0, *(one.regret for one in numbaconv.tune(larger).tuned)]
    assert f"{np.prod(regrets) ** 0.25:.3f} in the geometric mean of 4, at worst 3.00 ({PROBLEM.folded()} " in last


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ([[]], {}, ValueError, "no convolution"),
        ([lambda: None], {}, ValueError, "no convolution"),
        ([lambda: None], {"num_threads": 1}, ValueError, "num_threads=1"),
        ([[(1, 2)]], {}, TypeError, r"got \(1, 2\)"),
        ([PROBLEM], {"num_threads": 0}, ValueError, "num_threads"),
        ([PROBLEM], {"seconds": 0}, ValueError, "seconds"),
        ([PROBLEM], {"name": "../x"}, ValueError, r"name must be .* got '\.\./x'"),
        ([ConvProblem.of(1, (0, 4, 9), (4, 4, 3), "float32")], {}, ValueError, "no convolution"),
    ],
)
def test_refusals(folder, arguments, options, error, words):
    with pytest.raises(error, match=words):
        numbaconv.tune(*arguments, **options)
    assert not files(folder)


# ---- the speeds of the machine ---------------------------------------------------------------------------------------


def test_speeds_are_measured_once_and_are_those_of_the_machine(times, monkeypatch):
    usual = machine.host()
    numbaconv.tune(PROBLEM)
    monkeypatch.setattr(tuning, "_speeds", lambda: pytest.fail("measured again"))
    for _ in range(2):
        assert machine.host() == replace(usual, **SPEEDS)
        numbaconv.tune(PROBLEM, name="more")
        new_process()
    numbaconv.forget_wisdom()
    assert machine.host() == usual


def test_speeds_that_were_measured_are_those_of_a_machine(folder):
    speeds = tuning._speeds()
    assert 0.05 < speeds["clock"] < 20 and 0.05 < speeds["bandwidth"] < 2000


# ---- sets ------------------------------------------------------------------------------------------------------------


def clock(monkeypatch, now):
    monkeypatch.setattr(wisdom.time, "time", lambda: float(now))


def test_of_several_sets_the_latest_counts(folder, monkeypatch):
    for now, name, value in ((5, "old", 1.0), (7, "new", 2.0), (6, "older", 3.0)):
        clock(monkeypatch, now)
        wisdom.keep(name, "key", {"direct": value})
    for _ in range(2):
        assert wisdom.find("key") == {"direct": 2.0}
        assert wisdom.sizes() == {"new": 1, "old": 1, "older": 1}
        new_process()
    wisdom.forget("new")
    assert wisdom.find("key") == {"direct": 3.0}
    assert wisdom.find("another key") == {}


def test_export_forget_import(times):
    times["generic"] = 1e-7
    numbaconv.tune(PROBLEM, name="mine")
    text = numbaconv.export_wisdom("mine")
    numbaconv.forget_wisdom("mine")
    assert not files(wisdom._root())
    assert numbaconv.import_wisdom(text) == "mine"
    assert prepared().strategy == "generic"
    assert numbaconv.export_wisdom("mine") == text
    new_process()
    assert json.loads(numbaconv.export_wisdom("mine")) == json.loads(text)


def test_import_keeps_later_figures(folder, monkeypatch):
    clock(monkeypatch, 1)
    for key in ("a", "b"):
        wisdom.keep("default", key, {"direct": 1.0})
    text = wisdom.as_text("default")
    clock(monkeypatch, 2)
    wisdom.keep("default", "a", {"direct": 2.0})
    wisdom.forget("default")
    wisdom.keep("default", "a", {"direct": 2.0})
    numbaconv.import_wisdom(text)
    assert [wisdom.find(key)["direct"] for key in ("a", "b")] == [2.0, 1.0]


@pytest.mark.parametrize("change", [{"format": 0}, {"processor": "abacus"}, {"features": "none"}, {"package": "old"}])
def test_wisdom_of_something_else(times, change):
    """It is named at import, and on disk it is as if it were not there."""
    times["generic"] = 1e-7
    numbaconv.tune(PROBLEM)
    ((word, value),) = change.items()
    other = json.dumps(json.loads(numbaconv.export_wisdom()) | change)
    with pytest.raises(ValueError, match=f"of {word} {value!r}"):
        numbaconv.import_wisdom(other)
    for file in files(wisdom._root()):
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
    new_process()
    assert wisdom.sizes() == {} and prepared().strategy == cheapest()


@pytest.mark.parametrize("word", ["name", "digest"])
def test_another_processor_or_package_has_wisdom_of_its_own(folder, monkeypatch, word):
    wisdom.keep("default", "key", {"direct": 1.0})
    with monkeypatch.context() as other:
        other.setattr(host if word == "name" else cache, word, lambda *_: "something else")
        new_process()
        assert wisdom.sizes() == {}
        wisdom.keep("default", "key", {"direct": 2.0})
        new_process()
        assert wisdom.find("key") == {"direct": 2.0}
    new_process()
    assert wisdom.find("key") == {"direct": 1.0} and len(files(folder)) == 2
    wisdom.forget("default")
    assert not files(folder)  # the name is forgotten everywhere


def test_names_that_are_not_there(folder):
    wisdom.keep("mine", "key", {"direct": 1.0})
    for act in (numbaconv.export_wisdom, numbaconv.forget_wisdom):
        with pytest.raises(ValueError, match="no wisdom named 'default'; there is mine"):
            act()
        for name in ("", ".", "..", "a/b", "-a", "a" * 65, "a\n"):
            with pytest.raises(ValueError, match="name must be"):
                act(name)


# ---- on disk ---------------------------------------------------------------------------------------------------------


def with_entries(entries):
    """A change of the text of wisdom, to these entries."""
    return lambda text: json.dumps(json.loads(text) | {"entries": entries})


def with_figure(value):
    return with_entries({"key": {"when": 1.0, "figures": {"direct": value}}})


DAMAGES = {
    "empty": lambda text: "",
    "half": lambda text: text[: len(text) // 2],
    "no object": lambda text: "[1]",
    "deep": lambda text: "[" * 100_000,
    "a bad name": lambda text: json.dumps(json.loads(text) | {"name": "../up"}),
    "no entries": with_entries(None),
    "no time": with_entries({"key": {"figures": {}}}),
    "not a number": with_figure("x"),
    "nan": with_figure(float("nan")),
    "negative": with_figure(-1),
    "too large": with_figure(10**400),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_ignored(folder, damage):
    wisdom.keep("default", "key", {"direct": 1.0})
    (file,) = files(folder)
    text = DAMAGES[damage](file.read_text())
    file.write_text(text)
    new_process()
    assert wisdom.sizes() == {} and prepared().strategy == cheapest()
    with pytest.raises(ValueError, match="not a text that export_wisdom gave"):
        numbaconv.import_wisdom(text)
    wisdom.keep("default", "key", {"direct": 2.0})
    new_process()
    assert wisdom.find("key") == {"direct": 2.0}


def test_bytes_that_are_no_text_and_a_folder_in_the_place_of_a_file(folder):
    wisdom.keep("default", "key", {"direct": 1.0})
    wisdom.keep("default", "other", {"direct": 1.0})
    one, two = files(folder)
    one.write_bytes(b"\xff\xfe\x00")
    two.unlink()
    two.mkdir()
    new_process()
    assert wisdom.sizes() == {}


def test_strategies_of_another_time_are_ignored(folder):
    call = Call(PROBLEM.folded(), numbaconv.get_num_threads(), True)
    for figures in ({"abacus": 1e-9}, {"abacus": 1e-9, "generic": 1.0}, {"pointwise": 1e-9, "generic": 1.0}):
        wisdom.keep("default", str(call), figures)
        planner.plan.cache_clear()
        assert prepared().strategy == ("generic" if "generic" in figures else cheapest())


def test_nowhere_to_write_holds_for_the_process(times, monkeypatch):
    monkeypatch.setattr(wisdom, "_root", lambda: None)
    times["generic"] = 1e-7
    numbaconv.tune(PROBLEM)
    assert prepared().strategy == "generic"
    text = numbaconv.export_wisdom()
    numbaconv.forget_wisdom()
    assert prepared().strategy == cheapest()
    numbaconv.import_wisdom(text)
    assert prepared().strategy == "generic"


def test_a_directory_below_a_file_is_nowhere(tmp_path):
    (tmp_path / "file").touch()
    program = """
from numbaconv import wisdom
wisdom.keep("default", "key", {"direct": 1.0})
print(wisdom.find("key"), wisdom.sizes())
wisdom.forget("default")
"""
    done = python("-c", program, NUMBA_CACHE_DIR=str(tmp_path / "file" / "below"))
    assert done.stdout == "{'direct': 1.0} {'default': 1}\n"


def test_a_disk_that_fails_holds_for_the_process(times, monkeypatch):
    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    times["generic"] = 1e-7
    numbaconv.tune(PROBLEM)
    assert prepared().strategy == "generic"
    assert not [path for path in wisdom._root().rglob("*") if path.is_file()]


WRITER = """
import sys
from numbaconv import wisdom
for i in range(40):
    for key in (f"own {sys.argv[1]} {i}", f"shared {i}"):
        wisdom.keep("default", key, {"direct": 1.0 + int(sys.argv[1])})
"""
READER = """
from numbaconv import wisdom
print(wisdom.sizes(), {wisdom.find(f"shared {i}")["direct"] for i in range(40)} <= {1.0, 2.0, 3.0})
"""


def test_three_writers_at_once_lose_nothing(tmp_path):
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda i: python("-c", WRITER, str(i), NUMBA_CACHE_DIR=str(tmp_path)), range(3)))
    assert python("-c", READER, NUMBA_CACHE_DIR=str(tmp_path)).stdout == "{'default': 160} True\n"
    assert len(files(tmp_path)) == len(list(tmp_path.rglob("*.*"))) == 160


# ---- the command line ------------------------------------------------------------------------------------------------

LAYERS = """network,name,category,mb,g,ic,ih,iw,oc,kh,kw,sh,sw,ph,pw,dh,dw,oh,ow,prh,prw,torch_sym_pad,gmac_mb1
net,plain,3x3s1,1,1,4,9,11,6,3,3,1,1,1,1,1,1,9,11,1,1,1,0
net,other,1x1,1,1,4,8,8,4,1,1,1,1,0,0,1,1,8,8,0,0,1,0
net,impossible,3x3s1,1,1,4,2,2,6,5,5,1,1,0,0,1,1,0,0,0,0,1,0
"""


def test_commands(times, tmp_path, capsys):
    layers, saved = tmp_path / "layers.csv", tmp_path / "saved.json"
    layers.write_text(LAYERS)
    times["generic"] = 1e-7
    assert cli.main(["tune", "--layers", str(layers), "--filter", "3x3", "--name", "mine", "--seconds", "0.01"]) == 0
    printed = capsys.readouterr()
    assert "geometric mean of 2, at worst" in printed.out
    assert printed.err.startswith("net impossible: no output along height")
    assert prepared().strategy == "generic"
    assert cli.main(["wisdom", "list"]) == 0
    assert capsys.readouterr().out == "mine: 3 entries\n"
    assert cli.main(["wisdom", "export", "mine"]) == 0
    saved.write_text(capsys.readouterr().out)
    assert cli.main(["wisdom", "forget", "mine"]) == 0
    assert prepared().strategy == cheapest()
    assert cli.main(["wisdom", "import", str(saved)]) == 0
    assert capsys.readouterr().out == "imported mine\n"
    assert prepared().strategy == "generic"
    assert cli.main(["info"]) == 0
    assert "wisdom     mine (3)" in capsys.readouterr().out
    assert cli.main(["tune", "--layers", str(layers), "--filter", "nobody"]) == 2
    assert "--filter 'nobody'" in capsys.readouterr().err
    for wrong in (["forget"], ["import"], ["import", str(tmp_path / "absent")], ["import", str(layers)]):
        assert cli.main(["wisdom", *wrong]) == 2
    assert capsys.readouterr().err.count("numbaconv: ") == 4
