"""The comparison with the published SSSD-ECG: its options, its configuration, and the two mends of its network."""

import sys

import numpy as np
import pytest
import tyro

from experiments.sssd_parity import Options, fill_zeros, main, own_memory, read_config
from tgdp_jax.errors import UserError

PLACES = ["--code", "published", "--out", "weights.safetensors"]


def test_weights_come_from_a_checkpoint_or_are_random():
    assert tyro.cli(Options, args=[*PLACES, "--random"]).random
    assert str(tyro.cli(Options, args=[*PLACES, "--checkpoint", "1.pkl"]).checkpoint) == "1.pkl"
    for both_or_none in ([], ["--random", "--checkpoint", "1.pkl"]):
        with pytest.raises(UserError, match="give either --checkpoint or --random"):
            tyro.cli(Options, args=[*PLACES, *both_or_none])


def test_a_list_may_end_with_a_comma(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"wavenet_config": {"layers": [1, 2,], "path": "a,]\\",}",\n  },\n}\n')
    assert read_config(path) == {"wavenet_config": {"layers": [1, 2], "path": 'a,]",}'}}
    path.write_text('{"layers": 1,, }')
    with pytest.raises(UserError, match=r"config.json can not be read as JSON \(.*\): give the published file"):
        read_config(path)
    with pytest.raises(UserError, match=r"nowhere\.json can not be read"):
        read_config(tmp_path / "nowhere.json")


def test_expanded_buffers_take_a_state_dict():
    torch = pytest.importorskip("torch")

    class Expanded(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(3, 4))
            self.register_buffer("b", torch.randn(1, 4).expand(3, 4))
            self.register_buffer("turned", torch.randn(4, 3).T)

    net = Expanded()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    own_memory(net, torch)
    assert all(value.is_contiguous() for value in net.state_dict().values())
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    state = {name: torch.randn(value.shape) for name, value in before.items()}
    net.load_state_dict(state)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, state[name])


def test_zeros_are_filled_and_nothing_else():
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(3, 2)
    net.bias.data[:] = 0
    weight = net.weight.detach().clone()
    fill_zeros(net, torch)
    np.testing.assert_array_equal(net.weight.detach(), weight)
    assert net.bias.detach().numpy().all()


S4 = """
has_cauchy_extension, has_pykeops = True, False
"""
# In place of the published network: that of the tests, with an expanded view for a buffer and a last layer of zeros.
SSSD = """
import torch
from tests.interop import test_sssd

class SSSD_ECG(test_sssd.Model):
    def __init__(self, layers):
        super().__init__(layers)
        kernel = self.residual_layer.residual_blocks[0].S41.s4_layer.kernel.kernel
        kernel.register_buffer("B", kernel.B[:, :1].expand(kernel.B.shape))
        for parameter in self.final_conv[2].conv.parameters():
            parameter.data.zero_()

    def forward(self, inputs):
        x, label, steps = inputs
        return super().forward(x, label, steps[:, 0])
"""


def test_a_published_folder_is_compared(tmp_path, monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    code = tmp_path / "sssd"
    for name, content in {
        "models/__init__.py": "",
        "models/S4Model.py": S4,
        "models/SSSD_ECG.py": SSSD,
        "config/config_SSSD_ECG.json": '{"wavenet_config": {"layers": 2,},}',
    }.items():
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        (code / name).write_text(content)
    monkeypatch.setattr(sys, "path", list(sys.path))
    out = tmp_path / "weights.safetensors"
    main(Options(code=code, out=out, random=True))
    found = capsys.readouterr().out
    assert "largest prediction" in found and out.exists()
    # A checkpoint of these weights gives the same numbers.
    from safetensors.torch import load_file

    torch.save({"model_state_dict": load_file(out)}, tmp_path / "1.pkl")
    main(Options(code=code, out=tmp_path / "again.safetensors", checkpoint=tmp_path / "1.pkl"))
    assert capsys.readouterr().out == found
