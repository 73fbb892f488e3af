import optuna
from optuna_integration.mlflow import MLflowCallback

study = optuna.create_study(study_name="optuna")
study.optimize(
    lambda trial: trial.suggest_float("x", -1, 1) ** 2,
    n_trials=3,
    callbacks=[MLflowCallback(metric_name="loss")],
)
