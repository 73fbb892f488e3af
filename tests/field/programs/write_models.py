"""Writes models of scikit-learn, XGBoost, PyTorch and transformers as their own functions save them, and the same with
something harmless that runs when they are loaded: `write_models.py FOLDER`.

Prints a line of JSON for each file: its name, its format, and whether loading it runs code.
"""

import json
import os
import pickle
import sys
from pathlib import Path

import cloudpickle
import joblib
import numpy
import torch
import transformers
import xgboost
from safetensors.torch import save_file
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

FOLDER = Path(sys.argv[1])


class Runs:
    def __reduce__(self):
        return os.getcwd, ()


def told(name: str, kind: str, runs: bool = False) -> str:
    print(json.dumps({"name": name, "kind": kind, "runs": runs}), flush=True)
    return str(FOLDER / name)


def write_both(stem: str, suffix: str, kind: str, value: object, save) -> None:
    save(value, told(f"{stem}{suffix}", kind))
    save([value, Runs()], told(f"{stem}-runs{suffix}", kind, True))


def dump(value: object, path: str) -> None:
    Path(path).write_bytes(pickle.dumps(value))


generator = numpy.random.default_rng(0)
features, labels = generator.normal(size=(200, 5)), generator.integers(0, 2, 200)
forest = RandomForestClassifier(n_estimators=10).fit(features, labels)
words = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["good day", "bad night"], [0, 1])
boosted = xgboost.XGBClassifier(n_estimators=5).fit(features, labels)
network = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
config = transformers.BertConfig(
    vocab_size=100, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
)
bert = transformers.BertModel(config)

write_both("sklearn-forest", ".pkl", "scikit-learn, pickle", forest, dump)
write_both("sklearn-text", ".pkl", "scikit-learn, pickle", words, dump)
write_both("sklearn-forest", ".joblib", "scikit-learn, joblib", forest, joblib.dump)
write_both(
    "sklearn-zlib", ".joblib", "scikit-learn, joblib, zlib", words, lambda v, p: joblib.dump(v, p, compress=3)
)
write_both(
    "sklearn-cloud",
    ".pkl",
    "scikit-learn, cloudpickle",
    words,
    lambda v, p: Path(p).write_bytes(cloudpickle.dumps(v)),
)
Path(told("cloud-function.pkl", "cloudpickle of a function", True)).write_bytes(
    cloudpickle.dumps(lambda x: x + 1)
)
write_both("xgboost", ".pkl", "XGBoost, pickle", boosted, dump)
boosted.save_model(told("xgboost.json", "XGBoost, JSON"))
boosted.save_model(told("xgboost.ubj", "XGBoost, UBJSON"))
write_both("torch-tensors", ".pt", "PyTorch, tensors", network.state_dict(), torch.save)
write_both("torch-module", ".pth", "PyTorch, module", network, torch.save)
write_both(
    "torch-old",
    ".bin",
    "PyTorch before 1.6, tensors",
    network.state_dict(),
    lambda v, p: torch.save(v, p, _use_new_zipfile_serialization=False),
)
torch.jit.script(network).save(told("torch-script.pt", "TorchScript"))
save_file(network.state_dict(), told("torch.safetensors", "safetensors"))
bert.save_pretrained(FOLDER / "bert")
(FOLDER / "bert" / "model.safetensors").rename(told("transformers.safetensors", "transformers, safetensors"))
write_both("transformers", ".bin", "transformers, tensors", bert.state_dict(), torch.save)
numpy.savez(told("arrays.npz", "NumPy, arrays"), features=features)
numpy.save(
    told("objects-runs.npy", "NumPy, objects", True),
    numpy.array([Runs(), None], dtype=object),
    allow_pickle=True,
)
