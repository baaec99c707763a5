from pipeline.training.hidden_matrices import hidden_matrices, muon_rate


def test_matrices_of_layers_by_shape() -> None:
    shapes = {
        "embedding.kernel": (9, 64),
        "layer_0.sender.kernel": (64, 32),
        "layer_0.sender.bias": (32,),
        "layer_0.attention.kernel": (32, 1),
        "layer_0.hidden.kernel": (32, 32),
        "layer_1.sender.kernel": (64, 32),
        "output.kernel": (64, 8),
    }
    assert hidden_matrices(shapes) == {
        (64, 32): ["layer_0.sender.kernel", "layer_1.sender.kernel"],
        (32, 32): ["layer_0.hidden.kernel"],
    }


def test_more_outputs_than_inputs_learn_faster() -> None:
    assert muon_rate((64, 32)) == muon_rate((32, 32)) == 15.0
    assert muon_rate((32, 128)) == 30.0
