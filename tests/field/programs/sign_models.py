"""Logs, registers and downloads real models with the stock client: `sign_models.py log NAME` or
`sign_models.py download NAME FOLDER`. Prints the seconds that it took.

`transformers` is a GPT-2 of random numbers, 2 GB in 500 files.
"""

import os
import sys
import time

import mlflow

SHARD = "4300KB"  # three files for each layer
LAYERS = 168


def scikit_learn(name: str) -> None:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    features, labels = load_digits(return_X_y=True)
    fitted = LogisticRegression(max_iter=50).fit(features, labels)
    mlflow.sklearn.log_model(fitted, name="model", registered_model_name=name, pip_requirements=[])


def pytorch(name: str) -> None:
    import torch

    network = torch.nn.Sequential(
        torch.nn.Linear(512, 4096), torch.nn.ReLU(), torch.nn.Linear(4096, 512), torch.nn.Linear(512, 10)
    )
    example = torch.zeros(1, 512).numpy()
    mlflow.pytorch.log_model(
        network, name="model", registered_model_name=name, pip_requirements=[], input_example=example
    )


def transformers(name: str) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    vocabulary = {"[UNK]": 0, "[EOS]": 1}
    config = GPT2Config(
        vocab_size=len(vocabulary), n_positions=64, n_embd=512, n_layer=LAYERS, n_head=8, bos_token_id=1
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(vocabulary, unk_token="[UNK]")),
        unk_token="[UNK]",
        eos_token="[EOS]",
    )
    mlflow.transformers.log_model(
        {"model": GPT2LMHeadModel(config), "tokenizer": tokenizer},
        name="model",
        task="text-generation",
        registered_model_name=name,
        pip_requirements=[],
    )


os.environ["MLFLOW_HUGGINGFACE_MODEL_MAX_SHARD_SIZE"] = SHARD
command, model, *folder = sys.argv[1:]
started = time.perf_counter()
if command == "log":
    mlflow.set_experiment(os.environ["EXPERIMENT"])
    {"scikit-learn": scikit_learn, "pytorch": pytorch, "transformers": transformers}[model](model)
else:
    mlflow.artifacts.download_artifacts(f"models:/{model}/1", dst_path=folder[0])
print(f"seconds {time.perf_counter() - started:.1f}")
