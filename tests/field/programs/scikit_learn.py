import mlflow
import numpy
from sklearn.linear_model import LogisticRegression

mlflow.autolog()
LogisticRegression().fit(numpy.array([[0.0], [1.0], [2.0], [3.0]]), [0, 0, 1, 1])
