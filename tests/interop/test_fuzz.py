"""Whatever the bytes of a model's files are: it is read, or refused in one sentence, in little time and memory."""

import datetime
import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.interop.latents import ONE_LEVEL
from tests.interop.latents import model as latent_model
from tests.interop.models import model, sssd_state
from tests.interop.test_adapters import ADAPTERS, BASE, LORA
from tgdp_jax.errors import UserError
from tgdp_jax.interop import load_adapters, load_sssd, load_unet, save_adapters, save_unet
from tgdp_jax.interop.files import CONFIG, SCHEDULER, WEIGHTS
from tgdp_jax.interop.latent_unet import read_unet, write_unet

pytestmark = pytest.mark.usefixtures("little_memory")
INDEX = f"{WEIGHTS}.index.json"
# One level, since a file that is whole is read to its end.
TINY = {
    "block_out_channels": [4],
    "down_block_types": ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "add_attention": False,
    "sample_size": 8,
}


def fuzz(examples):
    """Always the same examples; none may hang."""
    return settings(max_examples=examples, derandomize=True, database=None, deadline=datetime.timedelta(seconds=10))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """For every reader: (its file, what it holds when whole, how it is read)."""
    root = tmp_path_factory.mktemp("files")
    save_unet(root / "net", model("no attention, odd layers", **TINY))
    safetensors.numpy.save_file(sssd_state(layers=1), root / "sssd.safetensors")
    save_adapters(root / "lora.safetensors", LORA, ADAPTERS)
    write_unet(root / "latent", *latent_model("stable-diffusion-1", **ONE_LEVEL))
    readers = {
        WEIGHTS: (root / "net" / WEIGHTS, lambda path: load_unet(path.parent)),
        "latent unet": (root / "latent" / WEIGHTS, lambda path: read_unet(path.parent)),
        "sssd": (root / "sssd.safetensors", load_sssd),
        "adapters": (root / "lora.safetensors", lambda path: load_adapters(path, BASE)),
    }
    return {name: (path, path.read_bytes(), read) for name, (path, read) in readers.items()}


def attempt(path, data, read):
    """Whether the file is read with these bytes in it."""
    whole = path.read_bytes()
    path.write_bytes(data)
    try:
        read(path)
        return True
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 700
        return False
    finally:
        path.write_bytes(whole)


READERS = st.sampled_from([WEIGHTS, "latent unet", "sssd", "adapters"])
# Places near the start are those of the header.
PLACES = st.floats(0, 1, exclude_max=True).map(lambda at: at**4)
EDITS = st.lists(st.tuples(PLACES, st.integers(0, 3), st.binary(max_size=12)), min_size=1, max_size=4)


@fuzz(120)
@given(reader=READERS, edits=EDITS, keep=PLACES | st.just(1.0))
def test_weights_with_other_bytes(files, reader, edits, keep):
    path, data, read = files[reader]
    for place, gone, new in edits:
        at = int(place * len(data))
        data = data[:at] + new + data[at + gone :]
    attempt(path, data[: int(keep * len(data))] if keep < 1 else data, read)


NUMBERS = (
    st.integers(-2, 40)
    | st.sampled_from([2**31, 2**63, 10**10, 10**18, 10**400])
    | st.floats()
    | st.sampled_from([1e-300, 0.5, 1e300])
)
TEXTS = st.text(max_size=8) | st.sampled_from(["x" * 5000, "a\nb", "\x1b[31m", "DownBlock2D", "linear", "learned"])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
SIZES = st.integers(0, 9) | st.sampled_from([-1, 2**31, 2**62])
DTYPES = st.sampled_from(["F32", "F16", "BF16", "F64", "I8", "F8_E4M3", "C64", "BOOL", "X", ""])
ENTRIES = st.fixed_dictionaries(
    {"dtype": DTYPES, "shape": st.lists(SIZES, max_size=5), "data_offsets": st.lists(SIZES, min_size=2, max_size=2)}
)


@fuzz(120)
@given(reader=READERS, data=st.data())
def test_weights_with_another_header(files, reader, data):
    path, whole, read = files[reader]
    length = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + length])
    names = st.sampled_from(sorted(header)) | TEXTS
    for name, entry in data.draw(st.dictionaries(names, ENTRIES | VALUES, min_size=1, max_size=3)).items():
        if data.draw(st.booleans()):
            header[name] = entry
        elif isinstance(header.get(name), dict):
            # One that keeps its numbers, so that only what is made of them can be wrong.
            key = data.draw(st.sampled_from(sorted(header[name])))
            header[name] = header[name] | {key: data.draw(VALUES | st.permutations([3, 3, 4, 4]))}
        else:
            header.pop(name, None)
    encoded = json.dumps(header, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    attempt(path, struct.pack("<Q", len(encoded)) + encoded + whole[8 + length :], read)


@fuzz(150)
@given(reader=READERS, data=st.data())
def test_weights_of_other_shapes(files, reader, data):
    """A file that is one, of tensors that are other ones."""
    path, whole, read = files[reader]
    tensors = safetensors.numpy.load(whole)
    names = sorted(tensors)
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3)):
        value = tensors.pop(name, None)
        kind = data.draw(st.sampled_from(["other axes", "one more", "named otherwise", "gone", "other numbers"]))
        if value is None or kind == "gone":
            continue
        if kind == "other axes":
            value = value.reshape(data.draw(st.sampled_from([(-1,), (1, -1), (-1, 1), value.shape[::-1]])))
        elif kind == "one more":
            value = value.repeat(2, data.draw(st.integers(0, value.ndim - 1))) if value.ndim else value
        elif kind == "other numbers":
            value = np.full_like(value, data.draw(st.sampled_from([0.0, -1.0, float("inf"), float("nan")])))
        elif kind == "named otherwise":
            name = data.draw(st.sampled_from(names) | st.just(name.replace("0", "1000000")))
        tensors[name] = value
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
    keys = st.sampled_from(["format", "rank", "alpha", "targets"])
    metadata |= data.draw(st.dictionaries(keys, TEXTS | NUMBERS.map(str), max_size=1))
    attempt(path, safetensors.numpy.save(tensors, metadata=metadata), read)


# Configs, and whose they are.
JSON_FILES = st.sampled_from([(WEIGHTS, CONFIG), (WEIGHTS, SCHEDULER), ("latent unet", CONFIG)])


@fuzz(250)
@given(file=JSON_FILES, data=st.data())
def test_configs_with_other_values(files, file, data):
    weights, _, read = files[file[0]]
    path = weights.with_name(file[1])
    values = json.loads(path.read_text())
    keys = st.sampled_from(sorted(values)) | st.sampled_from(["variance_type", "trained_betas", "class_embed_type"])
    values |= data.draw(st.dictionaries(keys | TEXTS, VALUES, min_size=1, max_size=2))
    attempt(path, json.dumps(values).encode(), read)


@fuzz(100)
@given(file=JSON_FILES, edits=EDITS, keep=PLACES | st.just(1.0))
def test_configs_with_other_bytes(files, file, edits, keep):
    weights, _, read = files[file[0]]
    path = weights.with_name(file[1])
    data = path.read_bytes()
    for place, gone, new in edits:
        at = int(place * len(data))
        data = data[:at] + new + data[at + gone :]
    attempt(path, data[: int(keep * len(data))] if keep < 1 else data, read)


@fuzz(60)
@given(index=st.dictionaries(st.just("weight_map") | TEXTS, VALUES | st.dictionaries(TEXTS, TEXTS), max_size=2))
def test_an_index_with_any_values(files, index):
    path = files[WEIGHTS][0]
    data = path.read_bytes()
    path.with_name(INDEX).write_text(json.dumps(index))
    path.unlink()
    try:
        with pytest.raises(UserError):
            load_unet(path.parent)
    finally:
        path.write_bytes(data)
        path.with_name(INDEX).unlink()


def test_the_files_are_sound_as_they_are(files):
    """Else all others would be refused for nothing."""
    assert all(attempt(*files[name]) for name in files)
