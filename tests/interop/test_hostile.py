"""Files that are damaged, absurd or made to do harm: each kind is refused in one sentence, before anything is made."""

import dataclasses
import json
import os
import pickle
import shutil
import struct
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from tests.interop.latents import model as latent_model
from tests.interop.models import model, sssd_state
from tests.interop.test_adapters import ADAPTERS, BASE, LORA
from tgdp_jax.errors import UserError
from tgdp_jax.interop import load_adapters, load_sssd, load_unet, save_adapters, save_unet, unet_files
from tgdp_jax.interop.files import CONFIG, SCHEDULER, WEIGHTS
from tgdp_jax.interop.latent_unet import read_unet, write_unet

INDEX = f"{WEIGHTS}.index.json"
SMALL = "no attention, odd layers"
pytestmark = pytest.mark.usefixtures("little_memory")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sound file for every reader."""
    root = tmp_path_factory.mktemp("whole")
    save_unet(root / "net", model(SMALL))
    safetensors.numpy.save_file(sssd_state(), root / "sssd.safetensors")
    save_adapters(root / "lora.safetensors", LORA, ADAPTERS)
    write_unet(root / "latent", *latent_model("no middle"))
    return root


# Every reader of weights: (its file, how it is read); a new one is walked through all faults by its entry.
READERS = {
    "unet": (f"net/{WEIGHTS}", lambda root: load_unet(root / "net")),
    "latent unet": (f"latent/{WEIGHTS}", lambda root: read_unet(root / "latent")),
    "sssd": ("sssd.safetensors", lambda root: load_sssd(root / "sssd.safetensors")),
    "adapters": ("lora.safetensors", lambda root: load_adapters(root / "lora.safetensors", BASE)),
}


@pytest.fixture
def root(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "files")
    return tmp_path / "files"


def raw(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def tensor(*shape, dtype="F32", start=0, end=8):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def contents(data):
    return lambda path: path.write_bytes(data)


def cut(keep):
    return lambda path: path.write_bytes(path.read_bytes()[:keep])


def replaced(make):
    """Something else in the file's place."""

    def damage(path):
        path.unlink()
        make(path)

    return damage


def changed(change):
    """`change` of the tensors and the first one's name."""

    def damage(path):
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
        tensors = safetensors.numpy.load_file(path)
        safetensors.numpy.save_file(tensors | change(tensors, min(tensors)), path, metadata=metadata)

    return damage


def filled(value, dtype: Any = np.float32):
    def change(tensors, name):
        last = tensors[name].astype(dtype)
        last.flat[-1] = value
        return {name: last}

    return changed(change)


def sparse(path):
    path.write_bytes(raw({}, length=50_000_000))
    os.truncate(path, 2**26)


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({"weight": 1}))


NO_FILE = r"can not be read \(.*\): it is not a safetensors file, or it is damaged or cut off; fetch it again"
FILE_FAULTS = {
    "empty": (contents(b""), NO_FILE),
    "one byte": (contents(b"\x08"), NO_FILE),
    "text": (contents(b"These are not the weights you look for."), NO_FILE),
    "a page that says not found": (contents(b"<!DOCTYPE html><html>404</html>"), NO_FILE),
    "a pointer of Git LFS": (contents(b"version https://git-lfs.github.com/spec/v1\nsize 9\n"), "git lfs pull"),
    "a pickle": (contents(pickle.dumps({"weight": list(range(99))})), "is a pickle, which can run code"),
    "an archive of pickles": (replaced(archive), "is a pickle, which can run code"),
    "cut in the length": (cut(5), NO_FILE),
    "cut in the header": (cut(60), NO_FILE),
    "cut in the numbers": (cut(-1), NO_FILE),
    "longer than it says": (lambda path: path.write_bytes(path.read_bytes() + b"\0"), NO_FILE),
    "a header without end": (contents(raw({}, length=2**63)), NO_FILE),
    "a header of 50 MB": (sparse, NO_FILE),
    "a header that says 50 MB": (contents(raw({}, length=50_000_000)), NO_FILE),
    "a header that is no JSON": (contents(raw(b"\xff" * 9)), NO_FILE),
    "a header of deep nesting": (contents(raw(b'{"a":' + b"[" * 100_000)), NO_FILE),
    "numbers that overlap": (contents(raw({"a": tensor(2), "b": tensor(2, start=4, end=12)}, bytes(12))), NO_FILE),
    "numbers that nobody owns": (contents(raw({"a": tensor(2), "b": tensor(1, start=12, end=16)}, bytes(16))), NO_FILE),
    "a shape that overflows": (contents(raw({"a": tensor(2**62, 2**10)}, bytes(8))), NO_FILE),
    "a negative shape": (contents(raw({"a": tensor(-2)}, bytes(8))), NO_FILE),
    "a name twice": (contents(raw(b'{"a":%b,"a":%b}' % (
        json.dumps(tensor(1, end=4)).encode(), json.dumps(tensor(1, start=4)).encode()), bytes(8))), NO_FILE),
    "a type without a name": (contents(raw({"a": tensor(8, dtype="F7")}, bytes(8))), NO_FILE),
    "no tensors": (changed(lambda tensors, name: tensors.clear() or {}), "holds 0 tensors"),
    "too many tensors": (
        changed(lambda tensors, name: {f"x{i}": np.zeros(1, np.float32) for i in range(10_000)}),
        "holds .* tensors, where a model has 1 to 10000",
    ),
    "integers": (changed(lambda tensors, name: {name: tensors[name].astype(np.int8)}), "is I8, which is not supported"),
    "eight bits": (contents(raw({"a": tensor(8, dtype="F8_E4M3")}, bytes(8))), "a is F8_E4M3, which is not supported"),
    "complex numbers": (contents(raw({"a": tensor(1, dtype="C64")}, bytes(8))), "a is C64, which is not supported"),
    "an empty tensor": (
        changed(lambda tensors, name: {name: np.zeros((4, 0), np.float32)}),
        r"has no numbers, being of shape \[4, 0\]",
    ),
    "200 axes": (contents(raw({"a": tensor(*[1] * 200, 2)}, bytes(8))), "a has 201 axes"),
    "a name without letters": (contents(raw({"": tensor(2)}, bytes(8))), "a tensor named ''"),
    "a name of two lines": (contents(raw({"a\nb": tensor(2)}, bytes(8))), r"a tensor named 'a\\nb'"),
    "a name of 1,000 letters": (contents(raw({"a" * 1000: tensor(2)}, bytes(8))), "a tensor named 'a{40}',"),
    "NaN": (filled(np.nan), "holds NaN or infinity"),
    "infinity": (filled(-np.inf), "holds NaN or infinity"),
    "infinity in half precision": (filled(np.inf, np.float16), "holds NaN or infinity"),
    "too large for float32": (filled(1e300, np.float64), "holds NaN or infinity"),
    "nothing": (replaced(lambda path: None), "does not exist|has no diffusion"),
    "a link to nothing": (replaced(lambda path: path.symlink_to("nowhere")), "does not exist|has no diffusion"),
    "a link to itself": (replaced(lambda path: path.symlink_to(path)), "can not be read|has no diffusion"),
    "a folder": (replaced(lambda path: path.mkdir()), "is a folder"),
    "a pipe": (replaced(os.mkfifo), "is a named pipe"),
    "a link to a device": (replaced(lambda path: path.symlink_to("/dev/zero")), "is a device"),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_files_of_weights_that_are_none_are_refused(root, reader, fault):
    name, read = READERS[reader]
    damage, message = FILE_FAULTS[fault]
    damage(root / name)
    with pytest.raises(UserError, match=message) as caught:
        read(root)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("reader", READERS)
def test_sound_files_are_read_where_links_point_to_them(root, reader, tmp_path):
    name, read = READERS[reader]
    expected = read(root)
    (root / name).rename(tmp_path / "elsewhere")
    (root / name).symlink_to(tmp_path / "elsewhere")
    arrays = zip(jax.tree.leaves(_arrays(expected)), jax.tree.leaves(_arrays(read(root))), strict=True)
    assert all(np.array_equal(a, b) for a, b in arrays)


def _arrays(loaded):
    return loaded[1] if isinstance(loaded, tuple) else loaded.variables


def nested(depth):
    return b'{"block_out_channels": ' + b"[" * depth + b"]" * depth + b"}"


def options(**changes):
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | changes))


MODEL = "the weights beside it have"
# Of the net of two levels with 12 and 24 channels and three layers each, for grey images.
CONFIG_FAULTS = {
    "three levels": (options(block_out_channels=[12, 24, 24]), rf"channels is \[12, 24, 24\], .*{MODEL} \[12, 24\]:"),
    "12 levels": (options(block_out_channels=[12] * 12), rf"block_out_channels is \[12, .*{MODEL} \[12, 24\]"),
    "16 levels": (options(block_out_channels=[12] * 16), "a list of 1 to 12 channel counts is"),
    "40 levels": (options(block_out_channels=[12] * 40), "a list of 1 to 12 channel counts is"),
    "a million levels": (options(block_out_channels=[1] * 300_000), "a list of 1 to 12 channel counts is"),
    "other channels": (options(block_out_channels=[12, 48]), rf"_channels is \[12, 48\], .*{MODEL} \[12, 24\]:"),
    "a million channels": (options(block_out_channels=[12, 999_999]), rf"is \[12, 999999\], .*{MODEL} \[12, 24\]"),
    "a billion channels": (options(block_out_channels=[12, 10**9]), r"block_out_channels is \[12, 1000000000\], which"),
    "fewer layers": (options(layers_per_block=2), rf"layers_per_block is 2, but {MODEL} 3"),
    "a million layers": (options(layers_per_block=1_000_000), rf"layers_per_block is 1000000, but {MODEL} 3"),
    "a billion layers": (options(layers_per_block=10**9), "layers_per_block is 1000000000, which is not supported"),
    "colours": (options(in_channels=3, out_channels=3), rf"in_channels is 3, but {MODEL} 1"),
    "a million colours": (options(in_channels=10**6, out_channels=10**6), rf"in_channels is 1000000, but {MODEL} 1"),
    "classes": (options(num_class_embeds=10**6), rf"num_class_embeds is 1000000, but {MODEL} 0"),
    "groups": (options(norm_num_groups=10**6), "must divide the channel counts"),
    "many groups": (options(norm_num_groups=10**400), "norm_num_groups is 1000.*, which is not supported"),
    "kinds without number": (options(down_block_types=["DownBlock2D"] * 50_000), "as many channel counts as levels"),
    "a head of a million": (options(add_attention=True, attention_head_dim=10**6), "heads of 1000000 channels do"),
    "a size beyond reason": (options(sample_size=10**12), "sample_size is 1000000000000, which is not supported"),
    "NaN": (options(norm_eps=float("nan")), "norm_eps is nan"),
    "infinity": (options(freq_shift=float("inf")), "freq_shift is inf"),
    "a number of 300 digits": (options(norm_eps=10**300), "norm_eps is 1000.*, which is not supported"),
    "a number of 5,000 digits": (contents(b'{"layers_per_block": ' + b"9" * 5000 + b"}"), "config.json can not"),
    "a long name": (options(act_fn="x" * 100_000), r"act_fn is 'x+\.\.\.x+', which"),
    "a class of lists": (options(_class_name=[[["x"]]]), "UNet2DModel is expected here"),
    "kinds that are lists": (options(up_block_types=[["UpBlock2D"]] * 2), r"up_block_types is \[\['UpBlock2D'\]"),
    "nested 500 deep": (lambda path: path.write_bytes(nested(500)), "_class|is of a model without a class name"),
    "nested 100,000 deep": (lambda path: path.write_bytes(nested(100_000)), "nested too deeply"),
    "2 MB": (contents(b" " * 2**21), "has 2097152 bytes, more than any of its kind"),
    "a folder": (replaced(lambda path: path.mkdir()), "is a folder"),
    "a pipe": (replaced(os.mkfifo), "is a named pipe"),
    "a device": (replaced(lambda path: path.symlink_to("/dev/zero")), "is a device"),
}  # fmt: skip
SCHEDULER_FAULTS = {
    "1e10 timesteps": (options(num_train_timesteps=10**10), "10000000000, .*an integer from 1 to 100000 is"),
    "no whole number of them": (options(num_train_timesteps=1e3), "num_train_timesteps is 1000.0"),
    "NaN": (options(beta_start=float("nan")), "beta_start is nan"),
    "infinity": (options(beta_end=float("inf")), "beta_end is inf"),
    "a list": (options(variance_type=["learned"]), r"variance_type is \['learned'\]"),
    "betas without number": (options(trained_betas=[0.1] * 50_000), r"trained_betas is \[0\.1, .*\.\.\.\], which"),
    "nested 100,000 deep": (lambda path: path.write_bytes(nested(100_000)), "nested too deeply"),
    "a pipe": (replaced(os.mkfifo), "is a named pipe"),
}
FOLDER_FAULTS = {(CONFIG, name): fault for name, fault in CONFIG_FAULTS.items()} | {
    (SCHEDULER, name): fault for name, fault in SCHEDULER_FAULTS.items()
}


@pytest.mark.parametrize(("file", "fault"), FOLDER_FAULTS)
def test_configs_beyond_their_weights_are_refused(root, file, fault):
    damage, message = FOLDER_FAULTS[file, fault]
    damage(root / "net" / file)
    with pytest.raises(UserError, match=message) as caught:
        load_unet(root / "net")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_config_and_names_that_agree_on_what_is_not_there_are_refused(root):
    """Many layers at one level do not make room for as many at all."""
    options(layers_per_block=500)(root / "net" / CONFIG)
    name = "down_blocks.0.resnets.{}.conv1.weight".format
    more = {name(i): np.zeros((12, 12, 3, 3), np.float32) for i in range(3, 500)}
    changed(lambda *_: more)(root / "net" / WEIGHTS)
    with pytest.raises(UserError, match=f"layers_per_block is 500, but {MODEL} 3"):
        load_unet(root / "net")


def test_a_parameter_under_two_names_is_refused(tmp_path):
    save_unet(tmp_path / "net", model("classes"))
    name = "mid_block.attentions.0.query.weight"
    changed(lambda tensors, _: {name: tensors[name.replace("query", "to_q")]})(tmp_path / "net" / WEIGHTS)
    with pytest.raises(UserError, match=rf"holds {name} under its former and its current name"):
        load_unet(tmp_path / "net")


def test_a_file_of_numbers_with_a_mark_at_its_start_is_read(root):
    """Editors of Windows write one."""
    path = root / "net" / CONFIG
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_unet(root / "net").shape == (8, 12, 1)


KERNEL = "residual_layer.residual_blocks.1.S41.s4_layer.kernel.kernel"


def wide(state):
    """State spaces of 600 states."""
    return {
        name: np.concatenate([value] * 100, -2)
        for name, value in state.items()
        if name.rpartition(".")[2] in ("C", "P", "Q", "B", "w")
    }


SSSD_FAULTS = {
    "a layer of a billion": (
        lambda state: {"residual_layer.residual_blocks.999999999.fc_t.bias": np.zeros(4, np.float32)},
        r"lacks residual_layer\.residual_blocks\.2:",
    ),
    "another model": (lambda state: state.clear() or {"x": np.zeros(2)}, r"lacks residual_layer\.residual_blocks\.0:"),
    "a U-Net": (lambda state: {"conv_in.weight": np.zeros(2)}, "is of a U-Net of diffusers: give the folder"),
    "roots of another length": (
        lambda state: {f"{KERNEL}.omega": np.exp(np.array([[0, 0], [1e-9, -1e-9]])) * [1, -1e-9]},
        "omega is not made of roots of unity",
    ),
    "one root": (lambda state: {f"{KERNEL}.omega": np.ones((1, 2))}, r"rows of \[0, 20\] places"),
    "roots without axes": (lambda state: {f"{KERNEL}.omega": np.ones(4)}, r"omega \(is \[4\], not \[\*, 2\]\)"),
    "a number for w": (lambda state: {f"{KERNEL}.w": np.ones(())}, r"w \(is \[\], not \[\*, \*, 2\]\)"),
    "Q of another shape": (lambda state: {f"{KERNEL}.Q": np.ones((1, 8, 4, 2))}, r"Q \(is .* not \[1, 8, 3, 2\]\)"),
    "P of two": (lambda state: {f"{KERNEL}.P": np.ones((2, 8, 3, 2))}, r"P \(is .* not \[1, \*, \*, 2\]\)"),
    "a norm of the wrong size": (
        lambda state: {"init_conv.0.conv.weight_g": np.ones((1, 1, 1))},
        r"weight_g \(is \[1, 1, 1\], not \[4, 1, 1\]\)",
    ),
    "a weight of one axis": (
        lambda state: {"residual_layer.fc_t1.weight": np.ones(9)},
        r"fc_t1.weight \(is \[9\], not \[\*, \*\]\)",
    ),
    "a bias of two columns": (
        lambda state: {"residual_layer.fc_t1.bias": np.ones((9, 2))},
        r"bias \(is \[9, 2\], not \[\*, 1\]\)",
    ),
    "too many states": (wide, "state spaces of 600 states: at most 256"),
}


@pytest.mark.parametrize("fault", SSSD_FAULTS)
def test_state_dicts_that_do_not_fit_together_are_refused(tmp_path, fault):
    change, message = SSSD_FAULTS[fault]
    state = sssd_state()
    more = change(state)
    safetensors.numpy.save_file(state | more, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=message):
        load_sssd(tmp_path / "x.safetensors")


def test_a_sound_state_dict_is_read(whole):
    loaded = load_sssd(whole / "sssd.safetensors")
    assert loaded.shape == (20, 3) and loaded.net.num_classes == 7 and loaded.net.net.layers == 2
    params, state = loaded.variables["params"]["net"], sssd_state()
    v, g = (state[f"init_conv.0.conv.weight_{part}"] for part in "vg")
    kernel = (g * v / np.linalg.norm(v, axis=1, keepdims=True))[..., 0].T
    np.testing.assert_allclose(params["input"]["kernel"], kernel, rtol=1e-6)
    space = params["layer1"]["space1"]["space"]
    np.testing.assert_array_equal(space["c"], state[f"{KERNEL}.C"])
    np.testing.assert_allclose(space["log_decay"], np.log(0.5), rtol=1e-6)


ADAPTER_FAULTS = {
    "rank 0": ({"rank": "0"}, "does not say its rank, alpha and targets"),
    "rank -1": ({"rank": "-1"}, "does not say its rank, alpha and targets"),
    "rank of 5,000 digits": ({"rank": "9" * 5000}, "does not say its rank, alpha and targets"),
    "another rank": ({"rank": "1"}, r"conv/kernel/a is \[18, 2\], which at rank 1 does not fit"),
    "a rank beyond": ({"rank": "1000000000"}, r"which at rank 1000000000 does not fit"),
    "alpha NaN": ({"alpha": "nan"}, "does not say its rank, alpha and targets"),
    "alpha infinite": ({"alpha": "1e39"}, "does not say its rank, alpha and targets"),
    "targets of no kind": ({"targets": "(("}, "does not say its rank, alpha and targets"),
    "targets repeated": ({"targets": "a{99999999999999999999}"}, "does not say its rank, alpha and targets"),
    "targets nested": ({"targets": "(" * 5000 + ")" * 5000}, "does not say its rank, alpha and targets"),
}


@pytest.mark.parametrize("fault", ADAPTER_FAULTS)
def test_adapters_that_can_not_be_scaled_are_refused(root, fault):
    metadata, message = ADAPTER_FAULTS[fault]
    path = root / "lora.safetensors"
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata() | metadata
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path, metadata=metadata)
    with pytest.raises(UserError, match=message):
        load_adapters(path, BASE)


VARIANTS = "diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.non_ema.safetensors"


def variant(folder, name, precision, shift=0.0):
    tensors = safetensors.numpy.load_file(folder / WEIGHTS)
    tensors = {key: (value + np.float32(shift)).astype(precision) for key, value in tensors.items()}
    safetensors.numpy.save_file(tensors, folder / name)


@pytest.mark.parametrize("precision", [np.float16, jnp.bfloat16])
@pytest.mark.parametrize("name", VARIANTS)
def test_the_only_variant_of_the_weights_is_read(root, name, precision):
    folder = root / "net"
    first = load_unet(folder)
    variant(folder, name, precision, shift=1.0)
    assert_same(load_unet(folder), first)  # the plain one goes before
    assert set(unet_files(folder)) == {CONFIG, WEIGHTS, SCHEDULER}
    variant(folder, name, precision)
    (folder / WEIGHTS).unlink()
    (folder / f"._{name}").write_text("what macOS leaves beside files")
    rounded = jax.tree.map(lambda leaf: np.asarray(leaf).astype(precision).astype(np.float32), first.variables)
    assert_same(load_unet(folder), dataclasses.replace(first, variables=rounded))
    assert set(unet_files(folder)) == {CONFIG, name, SCHEDULER}


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a.variables, b.variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(a.variables)} == {jnp.dtype("float32")}


def test_of_several_variants_one_must_be_chosen(root):
    folder = root / "net"
    for name in VARIANTS:
        variant(folder, name, np.float16)
    (folder / WEIGHTS).unlink()
    with pytest.raises(UserError, match=rf"2 files of weights \({', '.join(VARIANTS)}\): rename the one to take"):
        load_unet(folder)


def split(folder):
    """The weights in two parts, as `save_pretrained` writes large ones."""
    tensors = safetensors.numpy.load_file(folder / WEIGHTS)
    names = sorted(tensors)
    part = "diffusion_pytorch_model-0000{}-of-00002.safetensors".format
    parts = {part(i + 1): names[i::2] for i in range(2)}
    for file, own in parts.items():
        safetensors.numpy.save_file({name: tensors[name] for name in own}, folder / file, metadata={"format": "pt"})
    where = {name: file for file, own in parts.items() for name in own}
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    (folder / WEIGHTS).unlink()
    return sorted(parts)


def test_weights_in_parts_are_read(root):
    folder = root / "net"
    first = load_unet(folder)
    parts = split(folder)
    assert_same(load_unet(folder), first)
    assert set(unet_files(folder)) == {CONFIG, *parts, SCHEDULER}


def test_parts_that_are_not_whole_are_refused(root):
    folder = root / "net"
    first, second = split(folder)
    part, index = (folder / second).read_bytes(), (folder / INDEX).read_text()
    (folder / second).write_bytes((folder / first).read_bytes())
    with pytest.raises(UserError, match=f"{second} holds .*, as another part of the weights does"):
        load_unet(folder)
    (folder / second).unlink()
    with pytest.raises(UserError, match=f"{second} does not exist"):
        load_unet(folder)
    (folder / second).write_bytes(part)
    for wrong in ({"weight_map": {"a": "../x"}}, {"weight_map": {"a": 1}}, {"weight_map": {}}, {"weight_map": [1]}, {}):
        (folder / INDEX).write_text(json.dumps(wrong))
        with pytest.raises(UserError, match="does not list files beside it"):
            load_unet(folder)
    (folder / INDEX).write_text(index.replace(second, first))
    with pytest.raises(UserError, match=r"the weights beside it lack conv_in\.weight"):
        load_unet(folder)
    (folder / INDEX).unlink()
    with pytest.raises(UserError, match=f"{first} is one part of several and .*{INDEX}, which lists them, is missing"):
        load_unet(folder)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_path_that_no_system_has_is_named(name):
    for read in (load_unet, load_sssd):
        with pytest.raises(UserError, match=r"can not be read|is not a folder|is not a \.safetensors file"):
            read(name)
    with pytest.raises(UserError, match="can not be read"):
        load_sssd(f"{name}.safetensors")
