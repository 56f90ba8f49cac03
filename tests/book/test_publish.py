"""A recorded network laid out as a model folder: its weights, its choices, a card whose numbers are the record's."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from lungnb import UserError
from lungnb.book import publish, recorded
from lungnb.classification import Classification
from lungnb.cli import app
from lungnb.data import load_corpus

NAME, ROW = "convlstm/sprsound-event", "best CNN"


def test_the_folder_is_whole_and_its_network_answers(tmp_path):
    target = tmp_path / "model"
    result = CliRunner().invoke(app, ["publish", NAME, ROW, str(target), "--seed", "1"])
    assert result.exit_code == 0, result.output
    config = json.loads((target / "config.json").read_text())
    assert config["fields"] == recorded.configurations(NAME)[ROW]
    assert config["classes"][0] == "normal"
    corpus = load_corpus("sprsound", n_patients=20)
    run = Classification(**config["fields"] | {"corpus": corpus.fingerprint, "n_patients": 20})
    dataset = run.dataset()
    network = run.network(dataset)
    network.load_state_dict(load_file(target / "model.safetensors"))
    with torch.no_grad():
        logits = network.eval()(dataset.batch(torch.arange(4)), dataset.metadata[:4])
    assert logits.shape == (4, 7)
    assert torch.isfinite(logits).all()


def test_the_card_says_what_the_record_says(tmp_path):
    text = publish.card(NAME, ROW)
    header = yaml.safe_load(text.split("---")[1])
    assert header["pipeline_tag"] == "audio-classification"
    table = recorded.scores(NAME).set_index(["row", "subset", "metric"])["ours"]
    assert f"{table[ROW, 'inter', 'Score']:.3f}" in text
    assert publish.WARNING in text


def test_what_cannot_be_published_is_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"are not on file; of .* those of these rows are: best CNN"):
        publish.publish(NAME, "paper CNN", tmp_path / "a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    with pytest.raises(UserError, match="holds something already"):
        publish.publish(NAME, ROW, tmp_path / "full")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="there is no token"):
        publish.publish(NAME, ROW, tmp_path / "b", repository="somebody/model")
    assert (tmp_path / "b" / "model.safetensors").is_file()


def test_the_upload_is_of_the_folder(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "token")
    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", lambda self, repo, exist_ok: called.append(repo))
    monkeypatch.setattr(
        "huggingface_hub.HfApi.upload_folder", lambda self, folder_path, repo_id: called.append((folder_path, repo_id))
    )
    publish.publish(NAME, ROW, tmp_path / "m", repository="somebody/model")
    assert called == ["somebody/model", (tmp_path / "m", "somebody/model")]
