"""Tables as rows: what columns become, what is refused and how it is said, and the way back to a table."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tgdp_jax.data.arrays import ArraysConfig, given_rows, load
from tgdp_jax.data.facts import problem_facts, problem_of_facts
from tgdp_jax.data.tables import csv_file
from tgdp_jax.data.tables.files import read_table, write_table
from tgdp_jax.errors import UserError
from tgdp_jax.settings.stored import from_json, to_json

needs_arrow = pytest.mark.skipif(find_spec("pyarrow") is None, reason="pyarrow is not installed")


def table(rows: int, seed: int = 0) -> pd.DataFrame:
    """Numbers, whole numbers, categories, truth values and a label."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "height": rng.normal(170.0, 8.0, rows),
            "age": rng.integers(20, 70, rows),
            "species": rng.permutation(np.resize(["cat", "dog", "owl"], rows)),
            "colour": rng.permutation(np.resize(["red", "blue", "green"], rows)),
            "member": rng.permutation(np.resize([True, False], rows)),
        }
    )


def save(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return path


def problem(folder: Path, source: pd.DataFrame, target: pd.DataFrame, ending: str = ".csv", **options):
    config = ArraysConfig(
        source=save(source, folder / f"source{ending}"), target=save(target, folder / f"target{ending}"), **options
    )
    return load(config, n_target=None, seed=0)


def refused(folder: Path, source: pd.DataFrame, target: pd.DataFrame, **options) -> str:
    with pytest.raises(UserError) as caught:
        problem(folder, source, target, **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


# What columns become


@pytest.mark.parametrize("ending", [".csv", pytest.param(".parquet", marks=needs_arrow)])
def test_numbers_stay_and_categories_are_one_hot(tmp_path, ending):
    source, target = table(150), table(60, seed=1)
    p = problem(tmp_path, source, target[target.columns[::-1]], ending, label="species")
    assert p.columns is not None and p.num_classes == 0
    assert p.columns.names == (
        *("height", "age", "colour=blue", "colour=green", "colour=red", "member=False", "member=True"),
    )
    x = p.scaler.to_user(p.source.x)
    np.testing.assert_allclose(x[:, 0], source["height"], rtol=1e-5)
    np.testing.assert_allclose(x[:, 4], source["colour"] == "red", atol=1e-5)
    np.testing.assert_allclose(x[:, 6], source["member"], atol=1e-5)
    # The target's columns are found by name, whatever their order.
    assert p.reference is not None
    learned = np.concatenate([p.scaler.to_user(part.x) for part in (p.target, p.reference)])
    np.testing.assert_allclose(np.sort(learned[:, 0]), np.sort(target["height"]), rtol=1e-5)


@pytest.mark.parametrize("ending", [".csv", pytest.param(".parquet", marks=needs_arrow)])
def test_rows_go_back_to_the_table_they_came_from(tmp_path, ending):
    source = table(150)
    p = problem(tmp_path, source, table(40, seed=1), ending, label="species", conditional=True)
    assert p.columns is not None and p.classes == ("cat", "dog", "owl")
    noisy = p.source.x + 1e-4 * np.random.default_rng(2).normal(size=p.source.x.shape).astype(np.float32)
    written = tmp_path / f"samples{ending}"
    write_table(written, p.columns.decode(p.scaler.to_user(noisy), p.source.y, p.classes))
    back = pd.read_csv(written) if ending == ".csv" else pd.read_parquet(written)
    assert list(back.columns) == list(source.columns) and back["age"].dtype == np.int64
    assert back["member"].dtype == bool
    np.testing.assert_allclose(back["height"], source["height"], rtol=1e-4)
    for name in ("age", "species", "colour", "member"):
        assert back[name].tolist() == source[name].tolist()


def test_chosen_columns_are_modelled_in_their_order(tmp_path):
    target = table(40).assign(other=1.0).drop(columns="member")
    p = problem(tmp_path, table(150), target, columns=("age", "height"))
    assert p.columns is not None and p.columns.names == p.columns.order == ("age", "height")
    assert p.columns.parts[0].kind == "integer"


def test_whole_numbers_beside_fractions_are_not_rounded(tmp_path):
    p = problem(tmp_path, table(150), table(40).assign(age=30.5), columns=("age",))
    assert p.columns is not None and p.columns.parts[0].kind == "number"


def test_labels_are_matched_by_name_and_numbers_stay_numbers(tmp_path):
    target = table(40)
    target = target[target["species"] != "cat"]
    p = problem(tmp_path, table(150), target, label="species", conditional=True)
    assert p.classes == ("cat", "dog", "owl") and set(p.target.y) == {1, 2}
    p = problem(
        tmp_path,
        table(150).assign(code=[0, 1, 3] * 50),
        table(40).assign(code=3),
        label="code",
        conditional=True,
        columns=("age", "height"),
    )
    assert p.columns is not None and set(p.target.y) == {3} and p.columns.order == ("age", "height", "code")
    assert p.columns.decode(p.source.x[:3], p.source.y[:3], p.classes)["code"].tolist() == [0, 1, 3]


def test_few_target_rows_whose_codes_look_like_numbers_match_the_source(tmp_path):
    source = table(150).assign(zone=["1", "2", "A"] * 50)
    p = problem(tmp_path, source, table(40).assign(zone=2), columns=("zone",))
    x = p.scaler.to_user(p.target.x)
    np.testing.assert_allclose(x, np.tile([0.0, 1.0, 0.0], (len(x), 1)), atol=1e-6)


def test_constant_columns_are_named(tmp_path):
    p = problem(tmp_path, table(150).assign(unit=3.5), table(40).assign(unit=3.5), columns=("age", "unit"))
    assert "not scaled, being constant to rounding in the source: column 'unit'" in p.notes


def test_what_is_stored_of_a_run_brings_columns_back(tmp_path):
    p = problem(tmp_path, table(150), table(40), label="species", conditional=True)
    assert problem_of_facts(problem_facts(p)).columns == p.columns
    facts = problem_facts(p)
    old = {k: v for k, v in json.loads(str(facts["facts"])).items() if k != "columns"}
    assert problem_of_facts({**facts, "facts": np.array(json.dumps(old))}).columns is None


def test_settings_of_earlier_runs_stay_what_they_are():
    config = ArraysConfig(source=Path("a.npz"), target=Path("b.npz"))
    assert to_json(config) == {"source": "a.npz", "target": "b.npz", "reference": None, "conditional": False}
    given = ArraysConfig(source=Path("a.csv"), target=Path("b.csv"), columns=("x", "y"), label="z")
    assert from_json(ArraysConfig, to_json(given)) == given


# What is refused


def test_missing_values_are_counted_by_column(tmp_path):
    source = table(150)
    source.loc[[4, 9], "height"] = np.nan
    source.loc[7, "colour"] = None
    message = refused(tmp_path, source, table(40))
    assert "source.csv has missing values: 2 in column 'height' (first: data row 5), 1 in column 'colour'" in message
    problem(tmp_path, source, table(40), columns=("age",))  # nobody looks at the others
    source["species"] = [None, *source["species"][1:]]
    assert "1 in column 'species'" in refused(
        tmp_path, source, table(40), columns=("age",), label="species", conditional=True
    )


def test_columns_of_one_file_alone_are_named(tmp_path):
    message = refused(tmp_path, table(150).rename(columns={"age": "Age"}), table(40))
    assert "('Age' is in" in message and "source.csv only, 'age' is in" in message and "--columns" in message


def test_columns_that_are_not_there_are_named_with_those_that_are(tmp_path):
    message = refused(tmp_path, table(150), table(40), columns=("age", "weight"))
    assert "source.csv has no column 'weight': it has 'height', 'age', 'species'" in message
    assert "no column 'kind'" in refused(tmp_path, table(150), table(40), label="kind")
    assert "name their column with --label" in refused(tmp_path, table(150), table(40), conditional=True)
    assert "'age' is the label" in refused(tmp_path, table(150), table(40), columns=("age",), label="age")


def test_identifiers_are_named_with_the_remedy(tmp_path):
    source = table(150).assign(id=[f"patient {i}" for i in range(150)])
    message = refused(tmp_path, source, table(40).assign(id="patient 1"))
    assert "column 'id'" in message and "150 different texts in 150 rows (first: 'patient 0')" in message
    assert "naming those to model with --columns" in message


def test_numbers_spoiled_by_a_few_texts_are_named(tmp_path):
    source = table(150)
    source["height"] = source["height"].astype(str)
    source.loc[20, "height"] = "tall"
    assert "1 values that are no numbers (first: 'tall')" in refused(tmp_path, source, table(40))
    message = refused(tmp_path, table(150), table(40).assign(height="tall"))
    assert "'height' holds numbers in" in message and "(first: 'tall')" in message


def test_categories_of_the_target_alone_are_named(tmp_path):
    message = refused(tmp_path, table(150), table(40).assign(colour="mauve"))
    assert "target.csv has 'mauve', which the source does not ('blue', 'green', 'red')" in message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pd.to_datetime(["2020-01-01"] * 150), "holds datetime64"),
        ([1 + 2j] * 150, "holds complex128"),
        ([[1, 2]] * 150, "holds mixed"),
        ([1, "a"] * 75, "holds mixed-integer"),
    ],
)
def test_what_is_neither_number_nor_category_is_named(values, message):
    source = pd.DataFrame({"odd": values, "x": np.arange(150.0)})
    with pytest.raises(UserError, match=rf"column 'odd' of the source {message}.*convert it"):
        given_rows({"source": source, "target": source})
    given_rows({"source": source, "target": source}, columns=("x",))


def test_a_table_beside_an_array_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((200, 2)))
    config = ArraysConfig(source=tmp_path / "a.npz", target=save(table(40), tmp_path / "b.csv"))
    with pytest.raises(UserError, match="the target is a table and the source is an array"):
        load(config, n_target=None, seed=0)
    config = ArraysConfig(source=tmp_path / "a.npz", target=tmp_path / "a.npz", columns=("a",))
    with pytest.raises(UserError, match="arrays have none: leave them out"):
        load(config, n_target=None, seed=0)


# Text files


def csv(folder: Path, text: str | bytes) -> pd.DataFrame:
    (folder / "a.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(folder / "a.csv").frame


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfa,b\n1.5,x\n2.5,y\n",
        b"a,b\r\n1.5,x\r\n2.5,y\r\n",
        b"a;b\n1.5;x\n2.5;y\n",
        b"a;b\n1,5;x\n2,5;y\n",
        b"a\tb\n1.5\tx\n2.5\ty",
        b'"a", "b"\n1.5, "x"\n2.5, "y"\n\n',
    ],
    ids=["byte order mark", "windows", "semicolons", "decimal commas", "tabs", "quoted"],
)
def test_common_forms_of_csv_are_read(tmp_path, text):
    frame = csv(tmp_path, text)
    assert frame.to_dict("list") == {"a": [1.5, 2.5], "b": ["x", "y"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty: its first line has to name the columns"),
        (b"\n1,2\n", "begins with an empty line"),
        (b"1.0,2.0\n3.0,4.0\n", "begins with numbers: its first line has to name the columns"),
        (b"a,b\n1,2,3\n4,5,6\n", "can not be read as CSV"),
        (b"a,b\n1,2\n4,5,6\n", "Expected 2 fields in line 3, saw 3"),
        (b"a,b,a\n1,2,3\n", "several columns named 'a'"),
        ("größe,b\n1,2\n".encode("latin-1"), "no text in UTF-8"),
        (b"a,b\n" + "größe,2\n".encode("latin-1"), "no text in UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "has NUL bytes"),
        (b"a,b\n1,2\n\x00\x00,3\n", "NUL"),
        (b'a,b\n"1,2\n3,4\n', "EOF inside string"),
        (b"," * 20_000 + b"\n1\n", "has 20,001 columns"),
        (b"a" * (csv_file.LONGEST_LINE + 10), "first line of more than 1 MB"),
    ],
)
def test_what_is_no_table_is_said(tmp_path, text, message):
    with pytest.raises(UserError, match=rf"a\.csv .*{message}") as caught:
        csv(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_header_alone_rows_cut_short_and_columns_without_a_name_are_said(tmp_path):
    assert "source.csv has no rows" in refused(tmp_path, table(150)[:0], table(40))
    (tmp_path / "a.csv").write_text("a,b\n" + "1,2\n" * 120 + "3\n")
    config = ArraysConfig(source=tmp_path / "a.csv", target=tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"a\.csv has missing values: 1 in column 'b' \(first: data row 121\)"):
        load(config, n_target=None, seed=0)
    for name in ("source", "target"):
        table(150).to_csv(tmp_path / f"{name}.csv")
    config = ArraysConfig(source=tmp_path / "source.csv", target=tmp_path / "target.csv")
    with pytest.raises(UserError, match=r"no name for column 1, .*index=False"):
        load(config, n_target=None, seed=0)


# Parquet and data sets of Hugging Face, with pyarrow alone


def dataset(folder: Path, frame: pd.DataFrame, classes: dict[str, list[str]] | None = None) -> Path:
    """What `Dataset.save_to_disk` of `datasets` 4 leaves, in two files."""
    import pyarrow as pa

    features = {name: {"names": names, "_type": "ClassLabel"} for name, names in (classes or {}).items()}
    about = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    folder.mkdir(parents=True)
    half, names = len(frame) // 2, ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    for name, part in zip(names, (frame[:half], frame[half:]), strict=True):
        rows = pa.Table.from_pandas(part, preserve_index=False).replace_schema_metadata(about)
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, rows.schema) as stream:
            stream.write_table(rows)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


@needs_arrow
def test_a_folder_of_datasets_is_read_with_the_names_of_its_classes(tmp_path):
    def coded(frame):
        return frame.assign(species=frame["species"].map({"cat": 0, "dog": 1, "owl": 2}))

    names = {"species": ["cat", "dog", "owl"]}
    config = ArraysConfig(
        source=dataset(tmp_path / "a/train", coded(table(150)), names),
        target=dataset(tmp_path / "b", coded(table(40)), names),
        label="species",
        conditional=True,
    )
    p = load(config, n_target=None, seed=0)
    assert p.columns is not None and p.columns.ending == ".parquet" and p.classes == ("cat", "dog", "owl")
    assert p.columns.names[:3] == ("height", "age", "colour=blue") and len(p.source) == 150
    assert set(config.data_files()["source"]) == {"data-00000-of-00002.arrow", "data-00001-of-00002.arrow"}


@needs_arrow
def test_folders_of_another_kind_are_said(tmp_path):
    dataset(tmp_path / "all/train", table(150))
    (tmp_path / "all/dataset_dict.json").write_text('{"splits": ["train"]}')
    (tmp_path / "empty").mkdir()
    dataset(tmp_path / "lost", table(150))
    (tmp_path / "lost/data-00001-of-00002.arrow").unlink()
    dataset(tmp_path / "away", table(150))
    (tmp_path / "away/state.json").write_text(json.dumps({"_data_files": [{"filename": "../lost/state.json"}]}))
    for name, message in {
        "all": "holds several data sets: give one of .*all/train",
        "empty": "it has no state.json",
        "lost": r"data-00001-of-00002\.arrow does not exist",
        "away": "state.json is damaged",
    }.items():
        with pytest.raises(UserError, match=message):
            read_table(tmp_path / name)


@needs_arrow
def test_datasets_itself_writes_what_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    frame = table(150)
    written = datasets.Dataset.from_pandas(frame).class_encode_column("species")
    written.save_to_disk(tmp_path / "a", num_shards=2)
    pd.testing.assert_frame_equal(read_table(tmp_path / "a").frame, frame, check_dtype=False)


@needs_arrow
def test_types_of_parquet_become_numbers_and_categories(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    rows = pa.table(
        {
            "a.b": pa.array([1, 2], pa.decimal128(5, 2)),
            "code": pa.array(["x", "y"]).dictionary_encode(),
            "small": pa.array([1.5, 2.5], pa.float16()),
            "flag": pa.array([True, False]),
            "list": pa.array([[1], [2]]),
            "when": pa.array([1, 2], pa.timestamp("s")),
        }
    )
    parquet.write_table(rows, tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"column 'list' of .*a\.parquet holds list"):
        read_table(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"column 'when' of .*a\.parquet holds timestamp"):
        read_table(tmp_path / "a.parquet", ["when"])
    read, _ = given_rows({"source": read_table(tmp_path / "a.parquet", ["a.b", "code", "small", "flag"]).frame})
    np.testing.assert_array_equal(read["source"].x, [[1, 1, 0, 1.5, 0, 1], [2, 0, 1, 2.5, 1, 0]])


def test_a_missing_package_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("tgdp_jax.data.tables.files.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"a\.csv needs other packages: pip install 'tgdp-jax\[tables\]'"):
        csv(tmp_path, "a\n1\n")
