"""What MLflow runs to load a registered model; a copy of this file lies in its artifact, beside that of the package."""

from mlflow.models import set_model

from semiseg.registry.service import SegmentationService

set_model(SegmentationService())
