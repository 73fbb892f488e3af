"""`python tests/field/steps OUTPUT`: runs every step against MLFLOW_TRACKING_URI and writes the results as JSON."""

import logging
import os
import sys
import warnings

warnings.simplefilter("ignore")
import artifacts  # noqa: E402, F401  each registers its steps
import experiments  # noqa: E402, F401
import frame  # noqa: E402
import genai  # noqa: E402, F401
import models  # noqa: E402, F401
import refused  # noqa: E402, F401
import runs  # noqa: E402, F401
import traces  # noqa: E402, F401

logging.getLogger("mlflow").setLevel(logging.ERROR)
frame.run_all(sys.argv[1])
sys.stdout.flush()
os._exit(0)  # without waiting for background threads of the client
