"""YAML with addresses."""

import pytest

from nbcaffe.errors import ConfigError
from nbcaffe.yamlfile import Problems, dump, load, located


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("-1.e5", -100000.0),
        (".inf", float("inf")),
        ("010", 10),
        ("0x10", 16),
        ("-3", -3),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1e-3'", "1e-3"),
        ("v1.2", "v1.2"),
        ("1.2.3", "1.2.3"),
        ("=", "="),
    ],
)
def test_plain_words_and_numbers_mean_what_they_look_like(text, value):
    read = load(f"key: {text}\n")["key"]
    assert read == value and type(read) is type(value)


def test_every_key_knows_its_line():
    document = load("a: 1\nlayers:\n  - name: x\n    type: y\n  - {name: z}\n", "net.yaml")
    first, second = document["layers"]
    assert (document.where("a"), first.where(), first.where("type"), second.where("name")) == (
        "net.yaml:1",
        "net.yaml:3",
        "net.yaml:4",
        "net.yaml:5",
    )


def test_merge_keys_bring_values_with_the_address_where_they_were_written():
    document = load("a: &a {lr: 1, decay: 2}\nb:\n  <<: *a\n  lr: 3\n")
    assert document["b"] == {"lr": 3, "decay": 2}
    assert (document["b"].where("lr"), document["b"].where("decay")) == ("<text>:4", "<text>:1")


def test_repeated_keys_are_all_told_with_both_lines():
    with pytest.raises(ConfigError) as caught:
        load("a: 1\nb: {c: 1, c: 2}\na: 3\n")
    assert str(caught.value).splitlines() == [
        "<text>:2: 'c' is already set on line 2",
        "<text>:3: 'a' is already set on line 1",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2\n", "<text>:2: not YAML: while parsing a flow sequence"),
        ("a:\n\t- 1\n", r"<text>:2: .*'\\t'"),
        ("a: &a {b: *a}", "<text>:1: .*recursive"),
        ("a: *b\n", "<text>:1: .*undefined alias 'b'"),
        ("a: !!python/object:os.system x\n", "<text>:1: .*could not determine a constructor"),
        ("a: 1\n---\nb: 1\n", "<text>:2: .*another document"),
        ("a: b\x00\n", "<text>:1: character number 0"),
        ("a: !!int many\n", "<text>: .*many"),
        ("? [a]\n: 1\n", "<text>:1: a key must be a word"),
        ("[1,\n 2]", r"<text>:1: expected a mapping \(key: value\), got list"),
        ("\n\n", "<text>: the file is empty"),
    ],
)
def test_what_is_not_yaml_is_one_message_with_its_line(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load(text)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_suggests_its_neighbour(tmp_path):
    (tmp_path / "lenet.yaml").write_text("a: 1\n")
    with pytest.raises(ConfigError, match=r"lent.yaml: no such file, did you mean 'lenet.yaml'\?"):
        load(tmp_path / "lent.yaml")


def test_a_folder_or_a_binary_file_is_refused(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="expected UTF-8"):
        load(tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match="directory"):
        load(tmp_path)


def test_what_is_dumped_reads_back_the_same():
    value = {
        "name": "on",
        "rate": 1e-5,
        "text": "1e-3",
        "nothing": None,
        "empty": "",
        "flag": True,
        "list": [1, [2.5]],
        "layers": [{"name": "null", "pair": (1, 2), "nested": {"a": "010", "b": "12:30"}}, {"name": "é $x: {y}"}],
    }
    read = load(dump(value))
    value["layers"][0]["pair"] = [1, 2]
    assert read == value


def test_a_dump_has_one_line_for_each_item_of_a_list():
    rows = [{"name": "a" * 200, "shape": [[1, 2]]}, {"name": "b"}]
    text = dump({"name": "net", "freeze": ["a", "b"], "layers": rows})
    assert text.splitlines()[1:3] == ["freeze: [a, b]", "layers:"]
    assert len(text.splitlines()) == 5


def test_a_plain_mapping_gets_an_address_too():
    document = located({"layers": [{"name": "a"}]}, "here")
    assert document["layers"][0].where("name") == "here"


def test_problems_come_once_each_sorted_by_line():
    problems = Problems()
    for where, message in (("a.yaml:10", "late"), ("a.yaml:9", "early"), ("b.yaml:1", "other"), ("a.yaml:9", "early")):
        problems.add(where, message)
    with pytest.raises(ConfigError) as caught:
        problems.raise_all()
    assert str(caught.value) == "a.yaml:9: early\na.yaml:10: late\nb.yaml:1: other"
