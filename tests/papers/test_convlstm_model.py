"""The Conv-LSTM against docs/papers/convlstm.md, section 3: shapes, sizes, the order of the sequence, and a forward
pass written out by hand."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lungnb.papers.convlstm import INPUTS, MODELS, ConvLSTM, Convolutions, Metadata, StackedMaps

INPUTS_OF_THE_PAPER = [name for name in INPUTS if name != "stretched"]

#: docs/papers/convlstm.md, section 3: what convolutions, pools and upsamplings give, one after the other.
TAIL = "16x32x38 32x32x38 32x16x19 32x32x38 64x32x38 64x16x19"
TRACES = {
    ("A", True): f"8x64x76 8x32x38 16x32x38 16x16x19 {TAIL}",
    ("A5", True): f"8x64x79 8x32x39 16x32x39 16x16x19 {TAIL}",
    ("B", True): "8x38x45 16x36x43 16x18x21 16x36x42 32x34x40 32x17x20 32x34x40 64x32x38 64x16x19",
    ("A", False): "8x64x76 8x32x38 16x32x38 16x16x19 32x16x19 32x8x9 64x8x9 64x4x4",
    ("A5", False): "8x64x79 8x32x39 16x32x39 16x16x19 32x16x19 32x8x9 64x8x9 64x4x4",
    ("B", False): "8x38x45 16x36x43 16x18x21 32x16x19 32x8x9 64x6x7 64x3x3",
}
FRAMES = {"A": (64, 76), "A5": (64, 79), "B": (40, 47)}
UNKNOWN = torch.tensor([[19, 2, 4]])


def maps(size="A", n=2, seed=0):
    return torch.randn(n, 3, *FRAMES[size], generator=torch.Generator().manual_seed(seed))


def network(architecture="full", size="A", readout="last", hidden=8, seed=0, **choices):
    torch.manual_seed(seed)
    return ConvLSTM(architecture, size, readout, hidden, **choices).eval()


def of_paper(*choices):
    """The network at its full width without the memory for it."""
    with torch.device("meta"):
        return ConvLSTM(*choices)


def count(module):
    return sum(p.numel() for p in module.parameters())


def seen(module, forward, *kinds):
    """Outputs of the layers of these kinds, in the order in which they were called."""
    outputs = []
    hooks = [
        m.register_forward_hook(lambda m, i, out: outputs.append(out)) for m in module.modules() if type(m) in kinds
    ]
    with torch.no_grad():
        forward()
    for hook in hooks:
        hook.remove()
    return outputs


@pytest.mark.parametrize(("size", "upsampling"), TRACES)
def test_traced_shapes_of_the_sheet(size, upsampling):
    layers = Convolutions(INPUTS[size], upsampling)
    outputs = seen(layers, lambda: layers(maps(size)), nn.Conv2d, nn.MaxPool2d, nn.Upsample)
    assert " ".join("x".join(map(str, out.shape[1:])) for out in outputs) == TRACES[size, upsampling]


@pytest.mark.parametrize("size", INPUTS_OF_THE_PAPER)
def test_the_front_end_gives_the_sizes_of_the_sheet(size):
    given = INPUTS[size]
    front = StackedMaps(8000, given.n_fft, given.hop_length, given.n_rows)
    stack = front(torch.zeros(2, round(8000 * given.seconds)))
    assert stack.shape == (2, 3, *FRAMES[size])
    for architecture in MODELS:
        assert network(architecture, size)(stack, UNKNOWN.expand(2, -1)).shape == (2, 7)


@pytest.mark.parametrize("size", INPUTS_OF_THE_PAPER)
def test_the_sequence_runs_along_time_inside_each_row(size):
    model, given = network("ConvLstm", size), []
    model.lstm.register_forward_pre_hook(lambda m, inputs: given.append(inputs[0]))
    (features,) = seen(model, lambda: model(maps(size), None), Convolutions)
    (sequence,) = given  # one call for all steps: no loop in Python
    assert sequence.shape == (2, 304, 64)
    steps = torch.stack([features[:, :, k // 19, k % 19] for k in range(304)], dim=1)
    assert torch.equal(sequence, steps)


def test_the_lstm_is_the_plain_one_that_has_fused_kernels():
    for architecture in ("ConvLstm", "full"):
        lstm = of_paper(architecture).lstm
        assert type(lstm) is nn.LSTM
        assert (lstm.input_size, lstm.hidden_size, lstm.num_layers) == (64, 512, 1)
        assert (lstm.bidirectional, lstm.dropout, lstm.proj_size, lstm.bias) == (False, 0, 0, True)


def test_sizes_of_the_sheet():
    model = of_paper()
    assert count(model.lstm) == 1_183_744
    assert count(model.convolutions) == 24_768
    assert model.before[0].weight.shape == (512, 304 * 512)
    assert round(model.before[0].weight.numel() / 1e6, 1) == 79.7
    assert 150 * of_paper("full", "A", "last").before[0].weight.numel() < model.before[0].weight.numel()
    assert [of_paper(name).head.in_features for name in MODELS[:3]] == [64 * 4 * 4, 64 * 16 * 19, 304 * 512]
    assert of_paper("CNN", "B").head.in_features == 64 * 3 * 3


def test_embeddings_have_a_row_for_what_is_unknown():
    tables = of_paper().metadata.tables
    assert [t.weight.shape for t in tables] == [(19 + 1, 64), (2 + 1, 64), (4 + 1, 64)]
    metadata = Metadata(2)
    row = metadata(torch.tensor([[3, 1, 4]]))[0]
    assert torch.equal(
        row, torch.cat([metadata.tables[0].weight[3], metadata.tables[1].weight[1], metadata.tables[2].weight[4]])
    )


@pytest.mark.parametrize("architecture", MODELS)
def test_only_the_full_model_looks_at_the_metadata(architecture):
    model, known = network(architecture), torch.tensor([[3, 1, 2]])
    with torch.no_grad():
        before = model(maps(n=1), known)
        for column in range(3):
            other = known.clone()
            other[0, column] = UNKNOWN[0, column]
            assert torch.equal(model(maps(n=1), other), before) == (architecture != "full")


def test_upsampling_duplicates_values():
    layers = Convolutions(INPUTS["A"], upsampling=True)
    pooled_and_up = seen(layers, lambda: layers(maps()), nn.MaxPool2d, nn.Upsample)
    for pooled, up in (pooled_and_up[1:3], pooled_and_up[3:5]):
        assert np.array_equal(up.numpy(), pooled.numpy().repeat(2, axis=2).repeat(2, axis=3))


@pytest.mark.parametrize("architecture", MODELS)
def test_the_output_is_linear_in_the_last_layer(architecture):
    """So it is no softmax, and has no activation."""
    model = network(architecture)
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        before = model(maps(), UNKNOWN.expand(2, -1))
        last.weight *= -20
        last.bias *= -20
        assert torch.allclose(model(maps(), UNKNOWN.expand(2, -1)), -20 * before, atol=1e-4)


def by_hand(model, x, metadata, padding, pooled, readout):
    """The full model in evaluation mode from its weights alone, the LSTM step by step."""
    state = {k: v.detach() for k, v in model.state_dict().items()}
    convs = [m for m in model.convolutions if isinstance(m, nn.Conv2d)]
    norms = [m for m in model.convolutions if isinstance(m, nn.BatchNorm2d)]
    for n, (conv, norm) in enumerate(zip(convs, norms, strict=True), start=1):
        x = F.conv2d(x, conv.weight, conv.bias, padding=padding)
        scale = norm.weight / (norm.running_var + 1e-5).sqrt()
        x = ((x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]).clamp(min=0)
        if n in pooled:
            x = (
                x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
                .unflatten(3, (-1, 2))
                .unflatten(2, (-1, 2))
                .amax((3, 5))
            )
        if n in (2, 3):
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    h = c = torch.zeros(len(x), model.lstm.hidden_size)
    states = []
    for row in range(16):
        for column in range(19):
            gates = x[:, :, row, column] @ state["lstm.weight_ih_l0"].T + state["lstm.bias_ih_l0"]
            i, f, g, o = (gates + h @ state["lstm.weight_hh_l0"].T + state["lstm.bias_hh_l0"]).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            states.append(h)
    x = torch.cat(states, dim=1) if readout == "all" else h
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    x = (x @ linear[0].weight.T + linear[0].bias).tanh()
    x = x @ linear[1].weight.T + linear[1].bias
    x = torch.cat([x, *(state[f"metadata.tables.{k}.weight"][metadata[:, k]] for k in range(3))], dim=1)
    x = (x @ linear[2].weight.T + linear[2].bias).tanh()
    return x @ linear[3].weight.T + linear[3].bias


@pytest.mark.parametrize("readout", ["all", "last"])
@pytest.mark.parametrize(("size", "padding", "pooled"), [("A", 1, (1, 2, 3, 4)), ("B", 0, (2, 3, 4))])
@torch.no_grad()
def test_forward_is_the_one_written_by_hand(size, padding, pooled, readout):
    model, metadata = network("full", size, readout), torch.tensor([[0, 1, 3], [19, 2, 4], [7, 0, 0]])
    for layer in model.convolutions:
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.running_mean, layer.running_var, layer.weight, layer.bias):
                values.copy_(torch.rand(values.shape) + 0.5)
    x = 3 * maps(size, n=3)
    assert torch.allclose(model(x, metadata), by_hand(model, x, metadata, padding, pooled, readout), atol=1e-4)


@pytest.mark.parametrize("architecture", MODELS)
def test_every_weight_learns(architecture):
    model = network(architecture, dropout=0.2).train()
    model(maps(n=4), torch.tensor([[3, 1, 2]] * 4)).logsumexp(1).sum().backward()
    grads = {k: p.grad for k, p in model.named_parameters()}
    assert all(g is not None and g.isfinite().all() and g.any() for g in grads.values())


def test_dropout_is_only_in_training():
    model, x = network("ConvLstm", dropout=0.5), maps()
    with torch.no_grad():
        assert torch.equal(model(x, None), model(x, None))
        model.dropout.train()
        assert not torch.equal(model(x, None), model(x, None))
