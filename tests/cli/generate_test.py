"""`xst generate`: ids that a plain loop over `xst run` gives too, sampling, stops, and what it must refuse."""

import subprocess

import numpy as np
import pytest

from xst_tool import BIN, VECTORS, case_id, cases, good, isas

LMS = [case for case in cases("block_stack") if case.name.startswith("lm_")]
WITH_IDS = [case for case in cases("large") if (case / "generated.npy").exists()] if (VECTORS / "large").is_dir() else []


def ids(text):
    assert text == b"" or text.endswith(b"\n")
    return [int(line) for line in text.split()]


def generate(model, prompt, count, *options, stdin=None):
    if not isinstance(prompt, str):
        prompt = ",".join(map(str, prompt))
    return ids(good("generate", model, "--prompt", prompt, "--max-tokens", count, *options, stdin=stdin))


def greedy_by_run(model, prompt, count, tmp_path, *options):
    """The same by whole runs of `xst run`, one for each token."""
    tokens = list(prompt)
    for _ in range(count):
        np.save(tmp_path / "tokens.npy", np.array(tokens, np.int64))
        good("run", model, "--input", tmp_path / "tokens.npy", "--output", tmp_path / "logits.npy", *options)
        tokens.append(int(np.argmax(np.load(tmp_path / "logits.npy")[-1])))
    return tokens[len(prompt):]


@pytest.mark.parametrize("way", [("--isa", isas()[-1]), ("--isa", "scalar"), ("--device", "reference")],
                         ids=lambda way: way[1])
@pytest.mark.parametrize("case", LMS, ids=case_id)
def test_greedy_is_a_loop_over_run(case, way, packed, tmp_path):
    prompt = np.load(case / "input.npy")[:5, 0].tolist()
    assert generate(packed(case), prompt, 10, *way) == greedy_by_run(packed(case), prompt, 10, tmp_path, *way)


@pytest.mark.parametrize("case", WITH_IDS, ids=map(case_id, WITH_IDS))
def test_greedy_ids_are_the_official_ones(case, packed):
    text = (case / "case.yaml").read_text()
    length = int(text.split("prompt_tokens:")[1].split()[0])
    want = np.load(case / "generated.npy")
    prompts = np.load(case / "input.npy")[:length]
    for way in (("--isa", isas()[-1]), ("--isa", "scalar"), ("--device", "reference")):
        for b in range(want.shape[0]):
            assert generate(packed(case), prompts[:, b].tolist(), want.shape[1], *way) == want[b].tolist()


def test_prompts_are_read_from_anywhere(models):
    want = generate(models["lm"], [1, 2, 3], 6)
    for text in ("1 2 3", " 1,\t2 , 3 "):
        assert generate(models["lm"], text, 6) == want
    for text in (b"1,2,3", b"1 2\n3\n", b"1\r\n2\r\n3\r\n"):
        assert generate(models["lm"], "-", 6, stdin=text) == want
    assert generate(models["lm"], [1, 2, 3], 0) == []


def test_the_prompt_counts(models):
    assert len({tuple(generate(models["lm"], [p], 8)) for p in range(40)}) > 5


def test_longer_is_a_continuation(models):
    whole = generate(models["lm"], [7], 12)
    for cut in range(1, 12):
        assert generate(models["lm"], [7], cut) == whole[:cut]
        assert generate(models["lm"], [7] + whole[:cut], 12 - cut) == whole[cut:]


def test_seeds_decide_and_only_with_sampling(models):
    hot = ("--temperature", "1.5")
    assert generate(models["lm"], [1], 30, *hot, "--seed", 5) == generate(models["lm"], [1], 30, *hot, "--seed", 5)
    assert len({tuple(generate(models["lm"], [1], 30, *hot, "--seed", s)) for s in range(4)}) == 4
    assert generate(models["lm"], [1], 30, *hot) == generate(models["lm"], [1], 30, *hot, "--seed", 0)
    greedy = generate(models["lm"], [1], 30)
    assert generate(models["lm"], [1], 30, "--seed", 9) == greedy
    assert generate(models["lm"], [1], 30, "--temperature", 0) == greedy
    for cut in (("--top-k", 1), ("--top-p", 0), ("--temperature", 1e-9)):
        assert generate(models["lm"], [1], 30, *cut) == greedy


def test_cuts_alone_sample_at_temperature_one(packed):
    model = packed(VECTORS / "block_stack/lm_untied")  # its logits are flatter
    for cut in (("--top-k", 5), ("--top-p", 0.8)):
        plain = generate(model, [1], 30, *cut, "--seed", 3)
        assert plain == generate(model, [1], 30, *cut, "--seed", 3, "--temperature", 1)
        assert plain != generate(model, [1], 30, "--seed", 3, "--temperature", 1)
        assert plain != generate(model, [1], 30)


def test_a_stop_id_is_printed_and_ends(models):
    whole = generate(models["lm"], [1], 40, "--temperature", 1.2, "--seed", 1)
    for stop in (whole[0], whole[7], whole[20]):
        want = whole[:whole.index(stop) + 1]
        assert generate(models["lm"], [1], 40, "--temperature", 1.2, "--seed", 1, "--stop", stop) == want
    both = generate(models["lm"], [1], 40, "--temperature", 1.2, "--seed", 1, "--stop", f"{whole[20]},{whole[7]}")
    assert both == whole[:min(whole.index(whole[7]), whole.index(whole[20])) + 1]
    absent = next(i for i in range(40) if i not in whole)
    assert generate(models["lm"], [1], 40, "--temperature", 1.2, "--seed", 1, "--stop", absent) == whole


@pytest.mark.parametrize("args", [
    ["--max-tokens", "1"], ["--prompt", "1"], ["--prompt", "1", "--max-tokens", "-1"],
    ["--prompt", "", "--max-tokens", "1"], ["--prompt", " ", "--max-tokens", "1"],
    ["--prompt", "1,,2", "--max-tokens", "1"], ["--prompt", "1,", "--max-tokens", "1"],
    ["--prompt", ",1", "--max-tokens", "1"], ["--prompt", "one", "--max-tokens", "1"],
    ["--prompt", "1.5", "--max-tokens", "1"], ["--prompt", "9" * 30, "--max-tokens", "1"],
    ["--prompt", "1", "--max-tokens", "1", "--stop", "x"],
    ["--prompt", "1", "--max-tokens", "1", "--temperature", "-1"],
    ["--prompt", "1", "--max-tokens", "1", "--temperature", "nan"],
    ["--prompt", "1", "--max-tokens", "1", "--temperature", "inf"],
    ["--prompt", "1", "--max-tokens", "1", "--top-p", "1.5"], ["--prompt", "1", "--max-tokens", "1", "--top-p", "nan"],
    ["--prompt", "1", "--max-tokens", "1", "--top-k", "-3"],
    ["--prompt", "1", "--max-tokens", "1", "--temperature", "0", "--top-k", "3"],
    ["--prompt", "1", "--max-tokens", "1", "--temperature", "0", "--top-p", "0.5"],
    ["--prompt", "1", "--max-tokens", "1", "--seed", "-1"],
    ["--prompt", "1", "--max-tokens", "1", "--device", "reference", "--isa", "scalar"],
], ids=" ".join)
def test_bad_usage_is_2(args, models, refused):
    refused("generate", models["lm"], *args, status=2)


def test_ids_outside_the_vocabulary_are_1(models, refused):
    refused("generate", models["lm"], "--prompt", "1,40", "--max-tokens", "1", names=["40", "index 1"])
    refused("generate", models["lm"], "--prompt=-1", "--max-tokens", "0", names=["-1", "index 0"])
    refused("generate", models["lm"], "--prompt", "1", "--max-tokens", "1", "--stop", "40", names=["--stop", "40"])
    refused("generate", models["lm"], "--prompt", "-", "--max-tokens", "1", stdin=b"0 41\n", names=["41"])


def test_standard_input_must_hold_ids(models, refused):
    refused("generate", models["lm"], "--prompt", "-", "--max-tokens", "1", stdin=b"1 x", names=["x"])
    refused("generate", models["lm"], "--prompt", "-", "--max-tokens", "1", stdin=b"\x93NUMPY\x01\x00")
    refused("generate", models["lm"], "--prompt", "-", "--max-tokens", "1", stdin=b"\n", status=2)


@pytest.mark.parametrize("kind", ["bare", "wrapped"])
def test_other_models_are_2(kind, models, refused):
    refused("generate", models[kind], "--prompt", "1", "--max-tokens", "1", status=2, names=["block_stack", "lm"])


def test_a_missing_model_is_1(refused):
    refused("generate", "gone.xst", "--prompt", "1", "--max-tokens", "1", names=["gone.xst"])


def test_output_nobody_takes_is_an_error(models):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([BIN / "xst", "generate", models["lm"], "--prompt", "1", "--max-tokens", "3"],
                              stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and done.stderr.startswith(b"xst: error: standard output: expected")
