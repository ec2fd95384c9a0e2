"""The package reads YAML with PyYAML, the programs with yaml-cpp: the same configurations and the same refusals."""

import json
import shutil

import pytest
import yaml
import xlstm_stream as xlstm
from xst_tool import VECTORS, cases, good, xst

CASE = VECTORS / "block_stack/mlstm_defaults"
REFUSED = {
    "anchor": "a: &x 1\n", "alias": "a: *x\n", "tag": "a: !!str x\n", "local tag": "a: !local {}\n", "repeated": "a: 1\nb: 2\na: 3\n",
    "two documents": "a: 1\n---\nb: 1\n", "list as key": "[a]: 1\n", "not closed": "{a: 1\n", "other bytes": b"a: \xff\n",
    "zero": "a: \0b\n", "17 levels": "[" * 17 + "]" * 17, "large": "#" * (2**20 + 1), "257 keys": "".join(f"{i}: 1\n" for i in range(257)),
    "tab": "a:\n\t- 1\n", "nothing": "", "text": "x\n", "colon": "a: b: c\n", "quote": 'a: "b\n', "directive": "%YAML 3.0\n---\na: 1\n",
    "unknown key": "model: block_stack\nconfig: {nothing: 1}\n",
}
# [Python, programs]: one parser says that this is no YAML, the other side has another reason to refuse it.
ONE_SAYS_NO_YAML = {"alias": [False, True], "quote": [True, False]}


def folder_of(tmp_path, text):
    shutil.copytree(CASE, tmp_path / "case")
    (tmp_path / "case/config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return tmp_path / "case"


@pytest.mark.parametrize("kind", REFUSED)
def test_both_refuse(kind, tmp_path):
    folder = folder_of(tmp_path, REFUSED[kind])
    with pytest.raises(xlstm.DataError) as refused:
        xlstm.pack(folder, tmp_path / "m.xst")
    done = xst("pack", folder, "-o", tmp_path / "m.xst")
    assert done.returncode == 1 and not (tmp_path / "m.xst").exists()
    said = [text.replace("xst: error: ", "").strip() for text in (str(refused.value), done.stderr.decode())]
    # Of what is no YAML each parser has its own idea.
    no_yaml = ["expected valid YAML" in text for text in said]
    assert said[0] == said[1] or all(no_yaml) or no_yaml == ONE_SAYS_NO_YAML.get(kind), said


def same(folder, tmp_path):
    xlstm.pack(folder, tmp_path / "python.xst")
    good("pack", folder, "-o", tmp_path / "tool.xst")
    assert (tmp_path / "python.xst").read_bytes() == (tmp_path / "tool.xst").read_bytes()


@pytest.mark.parametrize("case", cases("block_stack", "stream"), ids=lambda case: case.name)
def test_both_pack_the_same_file(case, tmp_path):
    same(case, tmp_path)


def test_both_read_flow_style_and_quotes(tmp_path):
    config = yaml.safe_load((CASE / "config.yaml").read_text())
    same(folder_of(tmp_path, "# all on one line\n" + json.dumps(config)), tmp_path)
