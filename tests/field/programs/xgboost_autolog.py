import mlflow
import numpy
import xgboost

mlflow.xgboost.autolog()
data = xgboost.DMatrix(numpy.arange(20.0).reshape(10, 2), label=[0, 1] * 5)
xgboost.train({"max_depth": 2}, data, num_boost_round=3, evals=[(data, "train")])
