"""A stream of `tritonclient`'s while the service stops.

usage: oip_grpc_drain.py HOST:PORT MODEL

Prints `ok: streaming` once a stream is open and answered. The service is to be stopped then: what follows is checked.
"""

import queue
import sys
import time

import numpy as np
import tritonclient.grpc as triton


def check(name, true):
    if not true:
        sys.exit(f"FAILED: {name}")
    print(f"ok: {name}", flush=True)


def main(address, model):
    client = triton.InferenceServerClient(address)
    text = triton.InferInput("text", [1], "BYTES")
    text.set_data_from_numpy(np.array([b"good film"], dtype=np.object_))
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer(model, [text])
    result, error = answers.get(timeout=20)
    check("streaming", error is None and result.as_numpy("label")[0] == b"positive")

    deadline = time.monotonic() + 20
    while client.is_server_ready() and time.monotonic() < deadline:
        time.sleep(0.01)
    check("readiness falls", not client.is_server_ready() and client.is_server_live())
    check("the model's too", not client.is_model_ready(model))
    check("a request is still answered", client.infer(model, [text]).as_numpy("label")[0] == b"positive")
    _, error = answers.get(timeout=20)
    check("the stream is told to go elsewhere", error.status() == "StatusCode.UNAVAILABLE" and "stopping" in error.message())


if __name__ == "__main__":
    main(*sys.argv[1:])
