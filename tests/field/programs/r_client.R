library(mlflow)

mlflow_set_experiment(Sys.getenv("MLFLOW_EXPERIMENT_NAME"))
run <- mlflow_start_run()
mlflow_log_param("depth", 3)
mlflow_log_metric("loss", 0.5, step = 1)
mlflow_end_run()
