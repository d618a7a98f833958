"""Triton with its dynamic batcher and the Python back end, an instance of the model a worker.

The binary is the one that PyTriton carries. PyTriton's own way to bind a function puts a proxy in front of it, which
costs throughput; a model repository is how Triton is used.
"""

import os
import shutil
import sys
import sysconfig
import tempfile
from importlib.util import find_spec
from pathlib import Path

from encoder import number

CONFIG = """
name: "bench"
backend: "python"
max_batch_size: {batch}
input [ {{ name: "text", data_type: TYPE_STRING, dims: [ 1 ] }} ]
output [ {{ name: "logits", data_type: TYPE_FP32, dims: [ -1 ] }} ]
instance_group [ {{ count: {workers}, kind: KIND_CPU }} ]
dynamic_batching {{ max_queue_delay_microseconds: {delay} }}
"""


def write_repository(folder):
    (folder / "bench/1").mkdir(parents=True)
    shutil.copy("triton_model.py", folder / "bench/1/model.py")
    numbers = {"batch": number("BATCH"), "workers": number("WORKERS"), "delay": number("DELAY_MS") * 1000}
    (folder / "bench/config.pbtxt").write_text(CONFIG.format(**numbers))


def write_backends(folder, triton):
    """The Python back end with the stub of this version of Python."""
    shutil.copytree(triton / "backends/python", folder / "python")
    version = "{}.{}".format(*sys.version_info)
    shutil.copy(triton / f"python_backend_stubs/{version}/triton_python_backend_stub", folder / "python")


def main():
    folder, package = Path(tempfile.mkdtemp()), Path(find_spec("pytriton").origin).parent
    write_repository(folder / "models")
    write_backends(folder / "backends", package / "tritonserver")
    # The stub loads a Python of its own: it has to be the one that this environment belongs to.
    libraries = [sysconfig.get_config_var("LIBDIR"), str(package.parent / "nvidia_pytriton.libs")]
    path = [str(package.parent), os.environ["PYTHONPATH"]]
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries), "PYTHONPATH": ":".join(path)}
    os.execve(package / "tritonserver/bin/tritonserver", [
        "tritonserver", f"--model-repository={folder / 'models'}", f"--backend-directory={folder / 'backends'}",
        "--http-address=127.0.0.1", f"--http-port={number('PORT')}", "--allow-grpc=false", "--allow-metrics=false",
    ], environment)


if __name__ == "__main__":
    main()
