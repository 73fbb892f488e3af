#!/usr/bin/env bash
# MLflow 3.17.2 with skops 0.16.0: `mlflow.sklearn.save_model` of a random forest, with default arguments, ends with an
# exception: MLflow saves scikit-learn's models with skops by default, and this release of skops does not trust
# sklearn.tree._tree.Tree, of which every tree and forest consists. A linear model is saved. With
# serialization_format="cloudpickle", or with the type in skops_trusted_types, the forest is saved too.
#
# Observed:
#   LogisticRegression: saved
#   RandomForestClassifier: MlflowException, Untrusted types found in the file: ['sklearn.tree._tree.Tree']
#   RandomForestClassifier, cloudpickle: saved
#
# Needs Python 3.11. Installs pinned packages in a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
bin="$folder/venv/bin"
"$bin/pip" install --quiet --disable-pip-version-check mlflow==3.17.2 skops==0.16.0 scikit-learn==1.9.1
cd "$folder"
"$bin/python" - <<'PYTHON' 2>"$folder/errors" | tee "$folder/told"
import re

import mlflow
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

FEATURES, LABELS = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]


def save(name, model, **options):
    try:
        mlflow.sklearn.save_model(model.fit(FEATURES, LABELS), name, pip_requirements=[], **options)
        print(f"{name}: saved")
    except mlflow.MlflowException as error:
        print(f"{name}: MlflowException, {re.search('Untrusted types found in the file: .*?]', str(error))[0]}")


save("LogisticRegression", LogisticRegression())
save("RandomForestClassifier", RandomForestClassifier(n_estimators=2))
save("RandomForestClassifier, cloudpickle", RandomForestClassifier(n_estimators=2), serialization_format="cloudpickle")
PYTHON
grep -q "^LogisticRegression: saved" "$folder/told" &&
  grep -q "^RandomForestClassifier: MlflowException" "$folder/told" &&
  grep -q "cloudpickle: saved" "$folder/told" || { echo "the finding is out of date"; exit 1; }
