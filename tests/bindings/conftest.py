"""Where the library, the command and the models are. Tests that need a model which is missing are skipped and say so."""
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("TERN_MODEL_CACHE") or pathlib.Path.home() / ".cache/tern")
GGUF = CACHE / "SmolLM2-135M-Instruct-Q4_1.gguf"
MINILM = CACHE / "all-MiniLM-L6-v2"

if not os.environ.get("TERN_LIBRARY"):
  built = sorted(ROOT.glob("build*/**/libtern.so"), key=lambda path: path.stat().st_mtime)
  if built:
    os.environ["TERN_LIBRARY"] = str(built[-1])
sys.path.insert(0, str(ROOT / "bindings/python"))


def need(path: pathlib.Path) -> pathlib.Path:
  if not path.exists():
    pytest.skip(f"{path} is missing: run tests/models/fetch_models.py and make_minilm_folder.py")
  return path


@pytest.fixture(scope="session")
def gguf():
  return need(GGUF)


@pytest.fixture(scope="session")
def minilm():
  need(MINILM / "onnx/model.onnx")
  return MINILM


@pytest.fixture(scope="session")
def chat(gguf):
  import tern
  with tern.pipeline("text-generation", gguf, context_length=512) as pipe:
    yield pipe


@pytest.fixture(scope="session")
def command():
  """Path of the tern command."""
  named = os.environ.get("TERN_COMMAND")
  found = [pathlib.Path(named)] if named else sorted(ROOT.glob("build*/**/bin/tern"), key=lambda p: p.stat().st_mtime)
  if not found or not found[-1].exists():
    pytest.skip("the tern command is not built; set TERN_COMMAND")
  return str(found[-1])
