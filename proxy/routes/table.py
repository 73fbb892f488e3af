"""The complete table of MLflow's operations: served, served to browsers only, and refused. Pure."""

from proxy.routes.refused import REFUSED
from proxy.routes.served import SERVED, SERVED_TO_BROWSERS

OPERATIONS = SERVED + SERVED_TO_BROWSERS + REFUSED
