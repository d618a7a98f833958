"""The service as `tritonclient`, a client that refit did not write, sees it.

usage: oip_http.py HOST:PORT MODEL

Needs `tritonclient[http]` and numpy. Prints one line for each thing that works, and fails at the first that does not.
"""

import asyncio
import sys

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
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


def what_there_is(client, model, version):
    config = client.get_model_config(model)
    check("config", config["input"][0]["data_type"] == "TYPE_STRING" and config["backend"] == "tract")
    check("config of a version", client.get_model_config(model, version) == config)
    statistics = client.get_inference_statistics(model)["model_stats"]
    counted = statistics[0]["inference_stats"]
    check("statistics", counted["success"]["count"] > 50 and counted["compute_infer"]["ns"] > 0)
    check("statistics of all models", len(client.get_inference_statistics()["model_stats"]) == 1)
    check("statistics of a version", len(client.get_inference_statistics(model, version)["model_stats"]) == 1)
    index = client.get_model_repository_index()
    check("repository index", index == [{"name": model, "version": version, "state": "READY", "reason": ""}])
    client.load_model(model)
    check("a model that is loaded is loaded", client.is_model_ready(model))
    client.unload_model(model)
    check("a model that is unloaded does not answer", not client.is_model_ready(model))
    client.load_model(model)
    check("a model that is loaded again answers", client.is_model_ready(model))
    refused("load nothing", "nobody", lambda: client.load_model("nobody"))
    refused("load with a configuration", "not supported", lambda: client.load_model(model, config="{}"))
    check("trace settings", client.get_trace_settings()["trace_level"] == ["OFF"])
    check("trace settings of a model", client.get_trace_settings(model)["trace_level"] == ["OFF"])
    check("log settings", client.get_log_settings()["log_error"] in (True, False))
    change = lambda: client.update_trace_settings(settings={"trace_level": "TIMESTAMPS"})
    refused("change trace settings", "not supported", change)
    refused("change log settings", "not supported", lambda: client.update_log_settings({"log_info": True}))


def shared_memory(client, model):
    refused("system shared memory status", "shared memory", client.get_system_shared_memory_status)
    refused("status of a region", "shared memory", lambda: client.get_system_shared_memory_status("a"))
    refused("CUDA shared memory status", "shared memory", client.get_cuda_shared_memory_status)
    register = lambda: client.register_system_shared_memory("a", "/a", 8)
    refused("register system shared memory", "shared memory", register)
    register = lambda: client.register_cuda_shared_memory("a", b"a", 0, 8)
    refused("register CUDA shared memory", "shared memory", register)
    refused("unregister", "shared memory", lambda: client.unregister_system_shared_memory("a"))
    refused("unregister all", "shared memory", client.unregister_cuda_shared_memory)
    tensor = triton.InferInput("text", [1], "BYTES")
    tensor.set_shared_memory("a", 8)
    refused("an input in shared memory", "shared memory", lambda: client.infer(model, [tensor]))


async def asynchronous(address, model, first):
    async with triton_aio.InferenceServerClient(address) as client:
        check("asynchronous: ready", await client.is_model_ready(model))
        results = await asyncio.gather(*(client.infer(model, [text_input(TEXTS, True)]) for _ in range(20)))
        check("asynchronous: answers", all(np.array_equal(it.as_numpy("probabilities"), first) for it in results))


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
    for algorithm in ("gzip", "deflate"):
        same = client.infer(model, [text_input(TEXTS, True)], request_compression_algorithm=algorithm)
        check(f"the same answers to {algorithm}", np.array_equal(same.as_numpy("probabilities"), first))
    classes = [triton.InferRequestedOutput("probabilities", class_count=2)]
    refused("classification", "not supported", lambda: client.infer(model, [text_input(TEXTS, True)], outputs=classes))
    asyncio.run(asynchronous(address, model, first))
    what_there_is(client, model, version)
    shared_memory(client, model)


if __name__ == "__main__":
    main(*sys.argv[1:])
