"""Folders of diffusers without diffusers: what is written is read back, and whatever is wrong with one is named."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from tests.helpers import assert_moments
from tests.interop.models import CONFIGS, inputs, model
from tgdp_jax import sampling
from tgdp_jax.errors import UserError
from tgdp_jax.interop import files, load_unet, save_unet
from tgdp_jax.nets.unet import UNet
from tgdp_jax.sde import DiscreteVP

SMALL = "no attention, odd layers"
CONFIG, WEIGHTS, SCHEDULER = files.CONFIG, files.WEIGHTS, files.SCHEDULER


@pytest.fixture
def folder(tmp_path):
    save_unet(tmp_path / "net", model(SMALL))
    return tmp_path / "net"


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(path, change):
    tensors = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file(change(tensors), path)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_round_trip_changes_nothing(name, tmp_path):
    first = model(name, prediction="v")
    save_unet(tmp_path / "a", first)
    second = load_unet(tmp_path / "a")
    assert dataclasses.replace(first, variables=None) == dataclasses.replace(second, variables=None)
    assert jax.tree.structure(first.variables) == jax.tree.structure(second.variables)
    jax.tree.map(np.testing.assert_array_equal, first.variables, second.variables)
    save_unet(tmp_path / "b", second)
    for file in (CONFIG, WEIGHTS, SCHEDULER):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_net_with_a_row_for_no_label_has_one_class_more_when_read_back(tmp_path):
    first = model("classes")
    unet = first.net.net.clone(num_classes=4, null_label=True)
    own = dataclasses.replace(first, net=first.net.clone(net=unet))  # the table has five rows either way
    save_unet(tmp_path / "net", own)
    loaded = load_unet(tmp_path / "net")
    assert loaded.net.num_classes == 5
    x, t, _ = inputs(own)
    labels = jnp.array([0, 3, 4])
    theirs, ours = (jax.jit(net.eps)(x, t, labels) for net in (loaded, own))
    np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-6)


def test_the_score_is_minus_the_noise_over_sigma(folder):
    loaded = load_unet(folder)
    x, t, _ = inputs(loaded)
    score, eps = jax.jit(lambda x, t: (loaded.score()(x, t, None), loaded.eps(x, t)))(x, t)
    np.testing.assert_allclose(score, -eps / loaded.sde.sigma(t)[:, None, None, None], rtol=1e-5)


def test_a_loaded_net_samples_and_gives_features(folder):
    loaded = load_unet(folder)
    # A net whose output is zero predicts no noise: x shrinks to its signal's scale, exactly, in every solver step.
    silent = dataclasses.replace(loaded, variables=jax.tree.map(jnp.zeros_like, loaded.variables))
    x = sampling.sample(jax.random.key(0), silent.score(), silent.sde, range(64), (8, 12, 1), solver="ddim", chunk=64)
    assert np.isfinite(x).all()
    scale = float(silent.sde.alpha(jnp.float32(0.01)) / silent.sde.alpha(jnp.float32(1.0)))
    assert_moments(x.reshape(-1, 1), np.zeros(1), scale**2 * np.eye(1), errors=4.5)
    x, t, _ = inputs(loaded)
    maps = jax.eval_shape(lambda x, t: loaded.net.apply(loaded.variables, x, t, method="encode"), x, t)
    assert [m.shape for m in maps] == [(3, 8, 12, 12)] * 4 + [(3, 4, 6, 12)] + [(3, 4, 6, 24)] * 4


@pytest.mark.parametrize("place", ["beside", "sibling", "pipeline"])
def test_the_scheduler_is_found(folder, tmp_path, place):
    home = folder
    if place != "beside":
        (tmp_path / "scheduler").mkdir()
        (folder / SCHEDULER).rename(tmp_path / "scheduler" / SCHEDULER)
    if place == "pipeline":
        folder.rename(tmp_path / "unet")
        home = tmp_path
    edit(next(tmp_path.rglob(SCHEDULER)), num_train_timesteps=7)
    assert load_unet(home).sde == DiscreteVP(num_steps=7)


def test_without_a_scheduler_the_process_must_be_given(folder):
    with pytest.raises(UserError, match="leave out sde"):
        load_unet(folder, sde=DiscreteVP())
    (folder / SCHEDULER).unlink()
    with pytest.raises(UserError, match=f"no {SCHEDULER}"):
        load_unet(folder)
    loaded = load_unet(folder, sde=DiscreteVP(num_steps=7), prediction="x0")
    assert (loaded.sde.num_steps, loaded.net.num_steps, loaded.prediction) == (7, 7, "x0")


@pytest.mark.parametrize("precision", [np.float16, jnp.bfloat16, np.float64])
def test_names_and_precisions_of_other_files_are_read(tmp_path, precision):
    first = model("classes")
    save_unet(tmp_path / "net", first)
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(name):
        for new, old in former.items():
            name = name.replace(new, old)
        return name

    edit_tensors(
        tmp_path / "net" / WEIGHTS,
        lambda tensors: {rename(name): value.astype(precision) for name, value in tensors.items()},
    )
    edit(tmp_path / "net" / CONFIG, down_block_types=["UNetResDownBlock2D", "UNetResAttnDownBlock2D"])
    loaded = load_unet(tmp_path / "net")
    assert loaded.net == first.net
    rounded = jax.tree.map(lambda leaf: np.asarray(leaf).astype(precision).astype(np.float32), first.variables)
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, rounded)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded.variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "UNet2DConditionModel"}, "of a UNet2DConditionModel: UNet2DModel is expected"),
        ({"_class_name": None}, "UNet2DModel is expected"),
        ({"center_input_sample": True}, "center_input_sample is True"),
        ({"mid_block_scale_factor": 1.414}, "mid_block_scale_factor is 1.414"),
        ({"act_fn": "gelu"}, "act_fn is 'gelu'"),
        ({"class_embed_type": "timestep"}, "class_embed_type is 'timestep'"),
        ({"time_embedding_type": "learned"}, "time_embedding_type is 'learned'"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type is 'fourier', whose timesteps"),
        ({"resnet_time_scale_shift": "spatial"}, "resnet_time_scale_shift is 'spatial'"),
        ({"down_block_types": ["SkipDownBlock2D", "DownBlock2D"]}, "down_block_types is .*'SkipDownBlock2D'"),
        ({"up_block_types": ["UpBlock2D", "SkipUpBlock2D"]}, "up_block_types is .*'SkipUpBlock2D'"),
        ({"up_block_types": ["UpBlock2D"]}, "as many channel counts as levels"),
        ({"downsample_padding": 2}, "downsample_padding is 2"),
        ({"downsample_type": "fir"}, "downsample_type is 'fir'"),
        ({"upsample_type": "fir"}, "upsample_type is 'fir'"),
        ({"block_out_channels": "many"}, "block_out_channels is 'many'"),
        ({"block_out_channels": []}, r"block_out_channels is \[\]"),
        ({"layers_per_block": 0}, "layers_per_block is 0"),
        ({"layers_per_block": [1, 2]}, r"layers_per_block is \[1, 2\]"),
        ({"norm_num_groups": 5}, "must divide the channel counts"),
        ({"norm_eps": "small"}, "norm_eps is 'small'"),
        ({"sample_size": [1, 2, 3]}, r"sample_size is \[1, 2, 3\]"),
        ({"out_channels": 2}, "out_channels is 2 and in_channels 1"),
        ({"brand_new": "thing"}, "brand_new is 'thing'"),
    ],
)
def test_options_that_are_not_supported_are_named(folder, changes, message):
    edit(folder / CONFIG, **changes)
    with pytest.raises(UserError, match=message):
        load_unet(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "ScoreSdeVeScheduler"}, "_class_name is 'ScoreSdeVeScheduler'"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule is 'sigmoid'"),
        ({"trained_betas": [0.1, 0.2]}, r"trained_betas is \[0.1, 0.2\]"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr is True"),
        ({"timestep_type": "continuous"}, "timestep_type is 'continuous'"),
        ({"variance_type": "learned_range"}, "variance_type is 'learned_range'"),
        ({"prediction_type": "flow_prediction"}, "prediction_type is 'flow_prediction'"),
        ({"beta_end": 2}, "beta_end is 2"),
        ({"beta_start": 0.1}, "beta_start and beta_end"),
        ({"num_train_timesteps": 0}, "num_train_timesteps is 0"),
    ],
)
def test_schedulers_that_are_not_supported_are_named(folder, changes, message):
    edit(folder / SCHEDULER, **changes)
    with pytest.raises(UserError, match=message):
        load_unet(folder)


def test_options_without_a_say_are_passed_over(folder):
    edit(folder / CONFIG, dropout=0.1, num_train_timesteps=1000, decay=0.9999, _name_or_path="x", brand_new=None)
    edit(folder / SCHEDULER, clip_sample=True, variance_type="fixed_large", thresholding=False, steps_offset=1)
    assert load_unet(folder).net == model(SMALL).net


@pytest.mark.parametrize("file", [CONFIG, SCHEDULER])
@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe", b""])
def test_a_file_that_is_no_json_object_is_named(folder, file, content):
    (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=file):
        load_unet(folder)


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(UserError, match=r"nowhere is not a folder"):
        load_unet(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"is not a folder: give the one"):
        load_unet(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    with pytest.raises(UserError, match=f"has no {WEIGHTS}"):
        load_unet(folder)
    (folder / f"{WEIGHTS}.index.json").write_text("{}")
    with pytest.raises(UserError, match="does not list files beside it"):
        load_unet(folder)
    (folder / CONFIG).unlink()
    with pytest.raises(UserError, match=f"{CONFIG} is missing"):
        load_unet(folder)


@pytest.mark.parametrize("suffix", files.PICKLES)
def test_pickles_are_refused_unread(folder, suffix):
    file = folder / f"diffusion_pytorch_model{suffix}"
    (folder / WEIGHTS).rename(file)
    for place in (folder, file):
        with pytest.raises(UserError, match=f"{file.name} is a pickle, which can run code"):
            load_unet(place)


@pytest.mark.parametrize("keep", [0.0, 1e-4, 0.01, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_refused(folder, keep):
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(UserError, match=f"{WEIGHTS} can not be read"):
        load_unet(folder)


def test_tensors_that_do_not_fit_the_config_are_named(folder):
    whole = (folder / WEIGHTS).read_bytes()

    def refused(change, message):
        (folder / WEIGHTS).write_bytes(whole)
        edit_tensors(folder / WEIGHTS, change)
        with pytest.raises(UserError, match=message):
            load_unet(folder)

    without = lambda tensors: {name: v for name, v in tensors.items() if name != "conv_in.bias"}  # noqa: E731
    refused(without, r"lacks tensors that config.json calls for: conv_in.bias;")
    refused(lambda tensors: tensors | {"head.bias": np.zeros(2, np.float32)}, r"does not call for: head.bias;")
    refused(
        lambda tensors: tensors | {"conv_in.weight": np.zeros((12, 1, 1, 1), np.float32)},
        r"conv_in.weight \(is \[12, 1, 1, 1\], not \[12, 1, 3, 3\]\)",
    )
    refused(lambda tensors: tensors | {"conv_in.bias": np.zeros(12, np.int32)}, "conv_in.bias is I32")
    few = lambda tensors: {name: v for name, v in tensors.items() if "mid_block" not in name}  # noqa: E731
    refused(few, r"lacks tensors .*: mid_block\.resnets\.0\.conv1\.bias, .* and \d+ more; use the two files")
    refused(lambda tensors: {}, "holds 0 tensors")


def test_an_existing_folder_is_not_written_over(folder, tmp_path):
    with pytest.raises(UserError, match="exists already"):
        save_unet(folder, model(SMALL, seed=1))
    with pytest.raises(UserError, match="exists already"):
        save_unet(folder / CONFIG, model(SMALL, seed=1))
    with pytest.raises(UserError, match="can not be written"):
        save_unet(folder / CONFIG / "below", model(SMALL))
    (tmp_path / "empty").mkdir()
    save_unet(tmp_path / "empty", model(SMALL))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "net"]


def test_a_net_with_a_token_is_refused(tmp_path):
    first = model(SMALL)
    own = dataclasses.replace(first, net=first.net.clone(net=first.net.net.clone(new_token=True)))
    with pytest.raises(UserError, match="no U-Net with a new token"):
        save_unet(tmp_path / "net", own)
    assert not list(tmp_path.iterdir())


def test_what_was_interrupted_leaves_nothing(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.numpy, "save_file", full)
        with pytest.raises(UserError, match="No space left"):
            save_unet(tmp_path / "net", model(SMALL))
    assert not list(tmp_path.iterdir())
    (tmp_path / ".net.part").mkdir()  # of a process that was killed
    save_unet(tmp_path / "net", model(SMALL))
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_nets_that_diffusers_does_not_have_are_refused(tmp_path):
    first = model("adm")
    with pytest.raises(UserError, match="predicts 'score'"):
        save_unet(tmp_path / "net", dataclasses.replace(first, prediction="score"))
    unet: UNet = first.net.net
    bare = first.net.clone(net=unet.clone(time_norm="default", mid_groups=None))
    with pytest.raises(UserError, match="without a norm"):
        save_unet(tmp_path / "net", dataclasses.replace(first, net=bare))
    assert not list(tmp_path.iterdir())
