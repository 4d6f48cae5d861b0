"""On-device inference with libtern: pipelines, sessions over any graph, tokenizers. See bindings/python/README.md."""
from ._library import DeviceInfo, Runtime, TernError, default_runtime, version
from ._pipeline import (FeatureExtractionPipeline, Job, Pipeline, Result, TextGenerationPipeline, Timings, pipeline)
from ._session import IOInfo, MemoryPlan, Model, Session
from ._tokenizer import Tokenizer

__version__ = "0.1.0"
__all__ = [
  "DeviceInfo", "FeatureExtractionPipeline", "IOInfo", "Job", "MemoryPlan", "Model", "Pipeline", "Result", "Runtime",
  "Session", "TernError", "TextGenerationPipeline", "Timings", "Tokenizer", "default_runtime", "pipeline", "version",
]
