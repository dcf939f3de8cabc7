"""SSSD-ECG's state dict against a PyTorch model that has its names and layouts but is written out with dense matrices.

The published code and weights are not at hand here: `python -m experiments.sssd_parity` compares with these.
"""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tgdp_jax.app.evaluation import draw_samples
from tgdp_jax.data.problem import Data, Problem, Scaler
from tgdp_jax.errors import UserError
from tgdp_jax.interop import load_sssd
from tgdp_jax.interop.sssd import CHAIN
from tgdp_jax.train.checkpoint import Store
from tgdp_jax.transfer.networks import denoiser
from tgdp_jax.transfer.stages import silent, train_method

torch = pytest.importorskip("torch", reason="needs torch: python -m pip install -e '.[interop-test]'")
safetensors_torch = pytest.importorskip("safetensors.torch")

LENGTH, LEADS, WIDTH, SKIP, STATES, CLASSES, EMBEDDED, HIDDEN = 20, 3, 4, 5, 6, 7, 8, 9


def paired(values):
    """States beside their conjugates."""
    values = torch.view_as_complex(values.double().contiguous())
    return torch.cat([values, values.conj()], -1)


class Kernel(torch.nn.Module):
    """K [2, H, L] by powers of dense matrices, in double precision."""

    def __init__(self, width):
        super().__init__()
        half = STATES // 2
        w = torch.stack([-0.3 - torch.rand(width, half), 6 * torch.rand(width, half)], -1)
        p = torch.randn(1, width, half, 2)
        nodes = torch.exp(-2j * np.pi * torch.arange(LENGTH // 2 + 1) / LENGTH)
        self.C = torch.nn.Parameter(torch.randn(2, width, half, 2))
        fixed = {"w": w, "P": p, "Q": p * torch.tensor([1.0, -1.0]), "B": torch.randn(1, width, half, 2)}
        fixed |= {"log_dt": torch.rand(width) * 2 - 3, "omega": torch.view_as_real(nodes)}
        fixed["z"] = torch.view_as_real(2 * (1 - nodes) / (1 + nodes))
        for name, value in fixed.items():
            self.register_buffer(name, value)

    def forward(self):
        one, dt = torch.eye(STATES, dtype=torch.complex128), torch.exp(self.log_dt.double())[:, None, None]
        a = torch.diag_embed(paired(self.w)) - paired(self.P)[0][:, :, None] * paired(self.Q)[0][:, None, :]
        back = torch.linalg.inv(one - dt / 2 * a)
        step, state = back @ (one + dt / 2 * a), back @ (dt * paired(self.B)[0][..., None])
        c = paired(self.C)[..., None, :] @ torch.linalg.inv(one - torch.linalg.matrix_power(step, LENGTH))
        out = []
        for _ in range(LENGTH):
            out.append((c @ state)[..., 0, 0].real)
            state = step @ state
        return torch.stack(out, -1)


class Held(torch.nn.Module):
    """Modules under given names, for the names of the state dict."""

    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)


class Space(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        linear = torch.nn.Linear(width, width)
        linear.bias = torch.nn.Parameter(torch.randn(width, 1))
        self.s4_layer = Held(kernel=Held(kernel=Kernel(width)), output_linear=linear)
        self.s4_layer.D = torch.nn.Parameter(torch.randn(1, width))
        self.norm_layer = torch.nn.LayerNorm(width)

    def forward(self, h):  # [B, H, L]
        forward, backward = self.s4_layer.kernel.kernel().float()
        y = self.s4_layer.D[0][:, None] * h
        for k in range(LENGTH):
            for j in range(LENGTH):
                y[..., k] += (forward[:, k - j] if j <= k else backward[:, j - k - 1]) * h[..., j]
        linear = self.s4_layer.output_linear
        y = linear.weight @ torch.nn.functional.gelu(y) + linear.bias
        return self.norm_layer((y + h).transpose(1, 2)).transpose(1, 2)


def conv(inputs, outputs, size=1, *, norm=True):
    layer = torch.nn.Conv1d(inputs, outputs, size, padding=size // 2)
    with warnings.catch_warnings():  # the published code has the older of two forms
        warnings.simplefilter("ignore", FutureWarning)
        return torch.nn.utils.weight_norm(layer) if norm else layer


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc_t, self.fc_label = torch.nn.Linear(HIDDEN, WIDTH), torch.nn.Linear(EMBEDDED, 2 * WIDTH)
        self.conv_layer = Held(conv=conv(WIDTH, 2 * WIDTH, 3))
        self.S41, self.S42 = Space(2 * WIDTH), Space(2 * WIDTH)
        self.res_conv, self.skip_conv = conv(WIDTH, WIDTH), conv(WIDTH, SKIP)

    def forward(self, h, label, time):
        z = self.S41(self.conv_layer.conv(h + self.fc_t(time)[..., None]))
        z = self.S42(z + self.fc_label(label)[..., None])
        unit = torch.tanh(z[:, :WIDTH]) * torch.sigmoid(z[:, WIDTH:])
        return (h + self.res_conv(unit)) / 2**0.5, self.skip_conv(unit)


class Model(torch.nn.Module):
    def __init__(self, layers=2):
        super().__init__()
        relu = torch.nn.ReLU()
        self.init_conv = torch.nn.Sequential(Held(conv=conv(LEADS, WIDTH)), relu)
        self.embedding = torch.nn.Embedding(CLASSES, EMBEDDED)
        self.residual_layer = Held(
            fc_t1=torch.nn.Linear(128, HIDDEN),
            fc_t2=torch.nn.Linear(HIDDEN, HIDDEN),
            residual_blocks=torch.nn.ModuleList([Layer() for _ in range(layers)]),
        )
        last = conv(SKIP, LEADS, norm=False)
        self.final_conv = torch.nn.Sequential(Held(conv=conv(SKIP, SKIP)), relu, Held(conv=last))

    def forward(self, x, label, steps):
        silu, body = torch.nn.functional.silu, self.residual_layer
        angles = steps[:, None] * torch.exp(-np.log(10_000.0) * torch.arange(64) / 63)
        time = silu(body.fc_t2(silu(body.fc_t1(torch.cat([angles.sin(), angles.cos()], 1)))))
        h, total = torch.relu(self.init_conv[0].conv(x)), 0
        for layer in body.residual_blocks:
            h, skip = layer(h, label @ self.embedding.weight, time)
            total = total + skip
        out = torch.relu(self.final_conv[0].conv(total / len(body.residual_blocks) ** 0.5))
        return self.final_conv[2].conv(out)


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    return Model()


def saved(folder, state):
    path = folder / "weights.safetensors"
    safetensors_torch.save_file({name: value.detach().clone() for name, value in state.items()}, path)
    return path


def test_a_state_dict_gives_its_numbers(theirs, tmp_path):
    loaded = load_sssd(saved(tmp_path, theirs.state_dict()))
    assert loaded.shape == (LENGTH, LEADS) and loaded.sde == CHAIN and loaded.net.num_classes == CLASSES
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, LENGTH, LEADS)).astype(np.float32)
    labels = rng.integers(2, size=(3, CLASSES)).astype(np.float32)  # several statements hold at once
    steps = np.array([0, 57, 199])
    with torch.no_grad():
        expected = theirs(*(torch.from_numpy(a) for a in (x.swapaxes(1, 2), labels, steps))).numpy().swapaxes(1, 2)
    assert expected.std() > 0.1 and np.abs(np.diff(expected, axis=0)).max() > 0.01
    t = jnp.asarray((steps + 1) / 200, jnp.float32)
    ours = jax.jit(loaded.net.apply)(loaded.variables, x, t, jnp.asarray(labels))
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=2e-5)


def test_the_newer_form_of_weight_norm_is_the_same(theirs, tmp_path):
    state = {
        name.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): value
        for name, value in theirs.state_dict().items()
    }
    older, newer = (load_sssd(saved(tmp_path, values)).variables for values in (theirs.state_dict(), state))
    jax.tree.map(np.testing.assert_array_equal, older, newer)


def test_it_is_the_source_of_a_run(theirs, tmp_path):
    path = saved(tmp_path, theirs.state_dict())
    config = dataclasses.replace(tiny.TRAINING, pretrained=path)
    rng = np.random.default_rng(0)
    rows = Data(rng.normal(size=(20, LENGTH, LEADS)).astype(np.float32), np.arange(20) % 3)
    problem = Problem("series", rows, rows, None, num_classes=3)
    trained = train_method(config, problem, {}, "source", 0, Store(tmp_path), silent)
    jax.tree.map(np.testing.assert_array_equal, trained.trees["source"]["params"], load_sssd(path).variables)
    x, labels = draw_samples(trained.generator, problem, 0, 5, silent)
    assert x.shape == (5, LENGTH, LEADS) and set(labels) <= {0, 1, 2}
    scaled = dataclasses.replace(problem, scaler=Scaler.of(rows.x))
    with pytest.raises(UserError, match="scales rows by their own spread"):
        denoiser(config, scaled)
    with pytest.raises(UserError, match=r"for series of shape \(20, 3\) \(places, channels\) but a row"):
        denoiser(config, tiny.problem())


def test_what_does_not_fit_is_named(theirs, tmp_path):
    state = theirs.state_dict()
    block = "residual_layer.residual_blocks.1"
    with pytest.raises(UserError, match=r"lacks residual_layer\.residual_blocks\.1\.fc_t\.bias: convert"):
        load_sssd(saved(tmp_path, {name: value for name, value in state.items() if name != f"{block}.fc_t.bias"}))
    with pytest.raises(UserError, match=r"beside those of SSSD-ECG, decoder\.weight: convert"):
        load_sssd(saved(tmp_path, state | {"decoder.weight": torch.zeros(2)}))
    with pytest.raises(UserError, match=r"layer1/of_time/kernel \(is \[9, 6\], not \[9, 4\]\)"):
        load_sssd(saved(tmp_path, state | {f"{block}.fc_t.weight": torch.zeros(6, HIDDEN)}))
    kernel = f"{block}.S41.s4_layer.kernel.kernel"
    with pytest.raises(UserError, match=r"S41\.s4_layer\.kernel\.kernel\.Q is not the conjugate"):
        load_sssd(saved(tmp_path, state | {f"{kernel}.Q": state[f"{kernel}.P"]}))
    with pytest.raises(UserError, match="loading a pickle can run code"):
        load_sssd(tmp_path / "100000.pkl")
