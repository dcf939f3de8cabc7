"""The U-Net and the process against diffusers itself, with random weights."""

import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.interop.models import CONFIGS, FOURIER, config, image_shape, inputs, model
from tests.interop.theirs import assert_close, diffusers, randomised, torch
from tgdp_jax.errors import UserError
from tgdp_jax.interop import load_unet, options, save_unet, tensors
from tgdp_jax.sde import BETA_SCHEDULES, DiscreteVP


def their_model(values, seed=0):
    """diffusers' model of a config, every parameter random."""
    return randomised(diffusers.UNet2DModel(**{name: value for name, value in values.items() if name[0] != "_"}), seed)


def their_output(net, x, timesteps, labels=None):
    with torch.no_grad():
        out = net(
            torch.from_numpy(np.array(x).transpose(0, 3, 1, 2)),
            torch.from_numpy(np.array(timesteps)),
            class_labels=None if labels is None else torch.from_numpy(np.array(labels)),
        ).sample
    return out.numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_folder_of_diffusers_gives_its_numbers(name, tmp_path):
    net = their_model(config(name))
    net.save_pretrained(tmp_path)
    diffusers.DDPMScheduler(num_train_timesteps=100).save_pretrained(tmp_path)
    loaded = load_unet(tmp_path)
    assert loaded.shape == image_shape(config(name))
    x, t, labels = inputs(loaded)
    ours = jax.jit(loaded.net.apply)(loaded.variables, x, t, labels)
    steps = np.round(np.asarray(t) * 100).astype(np.int64) - 1
    assert steps[0] == 0 and steps[-1] == 99
    assert_close(ours, their_output(net, x, steps, labels))


def test_a_net_of_random_frequencies_gives_its_numbers():
    values = FOURIER | {"_class_name": "UNet2DModel"}
    net = their_model(values)
    unet, shape = options.unet_of_options(values, "config")
    rng = np.random.default_rng(2)
    x = jnp.asarray(rng.normal(size=(3, *shape)), jnp.float32)
    timesteps = jnp.asarray([0.3, 1.0, 7.0])
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    shapes = jax.eval_shape(unet.init, jax.random.key(0), x, timesteps)["params"]
    params = tensors.from_tensors(state, shapes, "the model")
    theirs = their_output(net, x, timesteps)
    for row in range(3):  # each of another scale, by its timestep
        assert_close(np.asarray(unet.apply({"params": params}, x, timesteps))[row], theirs[row])


@pytest.mark.parametrize("name", CONFIGS)
def test_diffusers_reads_what_is_written(name, tmp_path):
    ours = model(name)
    save_unet(tmp_path / "out", ours)
    net, info = diffusers.UNet2DModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values()), info
    x, t, labels = inputs(ours)
    steps = np.round(np.asarray(t) * 100).astype(np.int64) - 1
    assert_close(jax.jit(ours.net.apply)(ours.variables, x, t, labels), their_output(net.eval(), x, steps, labels))
    scheduler = diffusers.DDPMScheduler.from_pretrained(tmp_path / "out")
    alpha = np.asarray(ours.sde.alpha(t))
    np.testing.assert_allclose(alpha**2, scheduler.alphas_cumprod.numpy()[steps], rtol=1e-5)


def test_a_pipeline_of_diffusers_is_found(tmp_path):
    net = their_model(config("classes"))
    scheduler = diffusers.DDIMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    diffusers.DDPMPipeline(unet=net, scheduler=scheduler).save_pretrained(tmp_path)
    for folder in (tmp_path, tmp_path / "unet"):
        loaded = load_unet(folder)
        assert loaded.sde == DiscreteVP("squaredcos_cap_v2") and loaded.prediction == "v"


def test_parts_and_variants_of_diffusers_are_read(tmp_path):
    net = their_model(config("classes"))
    scheduler = diffusers.DDPMScheduler()
    parts, half = tmp_path / "parts", tmp_path / "half"
    net.save_pretrained(parts, max_shard_size="200KB")
    assert len(list(parts.glob("*.safetensors"))) > 2
    scheduler.save_pretrained(parts)
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    net.half().save_pretrained(half, variant="fp16")
    scheduler.save_pretrained(half)
    for folder, precision in ((parts, np.float32), (half, np.float16)):
        found = tensors.to_tensors(load_unet(folder).variables["params"]["net"])
        assert found.keys() == state.keys()
        assert all(np.array_equal(found[name], value.astype(precision)) for name, value in state.items())


@pytest.mark.parametrize("kind", BETA_SCHEDULES)
@pytest.mark.parametrize("steps", [50, 1000])
def test_the_process_has_the_marginals_of_the_scheduler(kind, steps):
    scheduler = diffusers.DDPMScheduler(beta_schedule=kind, num_train_timesteps=steps)
    sde = DiscreteVP(kind, num_steps=steps)
    t = jnp.asarray((np.arange(steps) + 1) / steps, jnp.float32)
    theirs = scheduler.alphas_cumprod.numpy().astype(np.float64)
    # They multiply in float32, and take one minus the product: rounding of a unit where little noise is.
    np.testing.assert_allclose(np.asarray(sde.alpha(t)) ** 2, theirs, rtol=2e-4 if kind[0] == "s" else 5e-5)
    np.testing.assert_allclose(np.asarray(sde.sigma(t)) ** 2, 1 - theirs, rtol=1e-4, atol=3e-7)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_predictions_mean_what_they_mean_to_the_scheduler(kind, tmp_path):
    """The clean image that the scheduler sees in an output is the one that our score implies."""
    net = their_model(config("no attention, odd layers"))
    net.save_pretrained(tmp_path)
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=100, prediction_type=kind, clip_sample=False)
    scheduler.save_pretrained(tmp_path)
    loaded = load_unet(tmp_path)
    x, _, _ = inputs(loaded, num=1)
    t = jnp.array([0.6])
    step = torch.tensor(59)
    out = torch.from_numpy(their_output(net, x, np.array([59])))
    theirs = scheduler.step(out, step, torch.from_numpy(np.array(x))).pred_original_sample.numpy()
    alpha, sigma = float(loaded.sde.alpha(t)[0]), float(loaded.sde.sigma(t)[0])
    ours = (x + sigma**2 * loaded.score()(x, t, None)) / alpha
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose((x - sigma * loaded.eps(x, t)) / alpha, theirs, rtol=1e-3, atol=1e-4)


def test_every_option_of_diffusers_is_known(tmp_path):
    """A new one, switched on by default, must be looked at before its nets are loaded."""
    net = diffusers.UNet2DModel(**CONFIGS["no attention, odd layers"])
    net.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    names = set(inspect.signature(diffusers.UNet2DModel.__init__).parameters) - {"self"}
    assert names == {name for name in written if name[0] != "_"}
    options.unet_of_options(written, "config")
    for name in names - {"dropout", "num_train_timesteps"}:  # without a say in what is computed
        with pytest.raises(UserError, match=name):
            options.unet_of_options(written | {name: "unheard of"}, "config")
