"""The service as `tritonclient`, a client that refit did not write, sees it.

usage: oip_http.py HOST:PORT MODEL

Needs `tritonclient[http]` and numpy. Prints one line for each thing that works, and fails at the first that does not.
"""

import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

TEXTS = ["good film", "the plot was bad", "", "süß 🎬 and good"]


def text_input(texts, binary):
    tensor = triton.InferInput("text", [len(texts)], "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode() for text in texts], dtype=np.object_), binary_data=binary)
    return tensor


def check(name, true):
    if not true:
        sys.exit(f"FAILED: {name}")
    print(f"ok: {name}")


def refused(name, says, call):
    try:
        call()
    except InferenceServerException as error:
        check(name, says in error.message())
    else:
        check(name, False)


def main(address, model):
    client = triton.InferenceServerClient(address, concurrency=4)
    check("live and ready", client.is_server_live() and client.is_server_ready())
    check("model ready", client.is_model_ready(model))
    check("no other model", not client.is_model_ready("nobody"))
    check("extensions", "binary_tensor_data" in client.get_server_metadata()["extensions"])
    metadata = client.get_model_metadata(model)
    check("metadata", metadata["inputs"][0]["datatype"] == "BYTES" and metadata["name"] == model)
    version = metadata["versions"][0]

    answers = {}
    for binary_in in (True, False):
        for binary_out in (True, False):
            outputs = [
                triton.InferRequestedOutput(name, binary_data=binary_out)
                for name in ("label", "probabilities", "prediction_id", "model_version")
            ]
            result = client.infer(model, [text_input(TEXTS, binary_in)], outputs=outputs, request_id="r1")
            labels = [label.decode() if isinstance(label, bytes) else label for label in result.as_numpy("label")]
            answers[binary_in, binary_out] = labels, result.as_numpy("probabilities")
            ids = result.as_numpy("prediction_id")
            check(f"infer, binary input {binary_in}, output {binary_out}", len(set(ids)) == len(TEXTS))
            check("request id", result.get_response()["id"] == "r1")
    first_labels, first = answers[True, True]
    check("probabilities", first.dtype == np.float32 and np.allclose(first.sum(axis=1), 1, atol=1e-5))
    for labels, probabilities in answers.values():
        check("the same answers however they travel", labels == first_labels and np.array_equal(probabilities, first))

    default = client.infer(model, [text_input(TEXTS[:1], True)], model_version=version)
    check("default outputs", np.array_equal(default.as_numpy("probabilities"), first[:1]))
    waiting = [client.async_infer(model, [text_input(TEXTS, True)]) for _ in range(20)]
    results = [request.get_result().as_numpy("probabilities") for request in waiting]
    check("many at once", all(np.array_equal(result, first) for result in results))

    wrong = triton.InferInput("text", [1], "FP32")
    wrong.set_data_from_numpy(np.zeros(1, dtype=np.float32))
    refused("wrong data type", "BYTES", lambda: client.infer(model, [wrong]))
    refused("unknown model", "nobody", lambda: client.infer("nobody", [text_input(TEXTS, True)]))
    refused("unknown version", "999", lambda: client.infer(model, [text_input(TEXTS, True)], model_version="999"))
    compressed = lambda: client.infer(model, [text_input(TEXTS, True)], request_compression_algorithm="gzip")
    refused("compressed body", "Content-Encoding", compressed)


if __name__ == "__main__":
    main(*sys.argv[1:])
