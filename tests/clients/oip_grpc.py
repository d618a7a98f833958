"""The service over gRPC as `tritonclient`, a client that refit did not write, sees it.

usage: oip_grpc.py HOST:PORT MODEL

Needs `tritonclient[grpc]` and numpy. Prints one line for each thing that works, and fails at the first that does not.
"""

import asyncio
import queue
import sys

import grpc
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

TEXTS = ["good film", "the plot was bad", "", "süß 🎬 and good"]


def text_input(texts):
    tensor = triton.InferInput("text", [len(texts)], "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode() for text in texts], dtype=np.object_))
    return tensor


def check(name, true):
    if not true:
        sys.exit(f"FAILED: {name}")
    print(f"ok: {name}")


def refused(name, status, says, call):
    try:
        call()
    except InferenceServerException as error:
        check(f"{name} ({error.status()}: {error.message()})", error.status() == f"StatusCode.{status}" and says in error.message())
    except grpc.RpcError as error:
        check(f"{name} ({error.code()}: {error.details()})", error.code().name == status and says in error.details())
    else:
        check(name, False)


def what_there_is(client, model):
    check("live and ready", client.is_server_live() and client.is_server_ready())
    check("model ready", client.is_model_ready(model) and client.is_model_ready(model, "1"))
    check("no other model or version", not client.is_model_ready("nobody") and not client.is_model_ready(model, "999"))
    server = client.get_server_metadata(as_json=True)
    check("server metadata", server["name"] == "refit" and "model_repository" in server["extensions"])
    metadata = client.get_model_metadata(model)
    check("metadata", metadata.inputs[0].datatype == "BYTES" and metadata.name == model and list(metadata.versions) == ["1"])
    config = client.get_model_config(model).config
    check("config", config.input[0].data_type == 13 and config.backend == "tract" and config.instance_group[0].count == 2)
    index = client.get_model_repository_index(as_json=True)["models"]
    check("repository index", index == [{"name": model, "version": "1", "state": "READY"}])
    client.load_model(model)
    check("a model that is loaded is loaded", True)
    client.unload_model(model)
    check("a model that is unloaded does not answer", not client.is_model_ready(model))
    client.load_model(model)
    check("a model that is loaded again answers", client.is_model_ready(model))
    refused("load nothing", "NOT_FOUND", "nobody", lambda: client.load_model("nobody"))
    own = lambda: client.load_model(model, config="{}")
    refused("load with a configuration", "UNIMPLEMENTED", "not supported", own)
    check("trace settings", client.get_trace_settings(as_json=True)["settings"]["trace_level"]["value"] == ["OFF"])
    check("log settings", "log_error" in client.get_log_settings(as_json=True)["settings"])
    change = lambda: client.update_trace_settings(settings={"trace_level": "TIMESTAMPS"})
    refused("change trace settings", "UNIMPLEMENTED", "not supported", change)
    refused("change log settings", "UNIMPLEMENTED", "not supported", lambda: client.update_log_settings({"log_info": True}))


def shared_memory(client, model):
    refused("system shared memory status", "UNIMPLEMENTED", "shared memory", client.get_system_shared_memory_status)
    refused("CUDA shared memory status", "UNIMPLEMENTED", "shared memory", client.get_cuda_shared_memory_status)
    register = lambda: client.register_system_shared_memory("a", "/a", 8)
    refused("register system shared memory", "UNIMPLEMENTED", "shared memory", register)
    register = lambda: client.register_cuda_shared_memory("a", b"AAAA", 0, 8)
    refused("register CUDA shared memory", "UNIMPLEMENTED", "shared memory", register)
    refused("unregister", "UNIMPLEMENTED", "shared memory", lambda: client.unregister_system_shared_memory("a"))
    refused("unregister all", "UNIMPLEMENTED", "shared memory", client.unregister_cuda_shared_memory)
    tensor = triton.InferInput("text", [1], "BYTES")
    tensor.set_shared_memory("a", 8)
    refused("an input in shared memory", "UNIMPLEMENTED", "shared memory", lambda: client.infer(model, [tensor]))


def inference(client, model):
    outputs = [triton.InferRequestedOutput(name) for name in ("label", "probabilities", "prediction_id", "model_version")]
    result = client.infer(model, [text_input(TEXTS)], outputs=outputs, request_id="r1")
    probabilities, labels = result.as_numpy("probabilities"), list(result.as_numpy("label"))
    check("probabilities", probabilities.dtype == np.float32 and np.allclose(probabilities.sum(axis=1), 1, atol=1e-5))
    check("labels", labels[0] == b"positive" and labels[1] == b"negative" and len(labels) == len(TEXTS))
    check("prediction ids", len(set(result.as_numpy("prediction_id"))) == len(TEXTS))
    response = result.get_response()
    check("request id and version", response.id == "r1" and response.model_version == "1")
    check("the labels of the columns", result.get_output("probabilities").parameters["labels"].string_param == '["negative","positive"]')
    for compression in ("gzip", "deflate"):
        same = client.infer(model, [text_input(TEXTS)], compression_algorithm=compression)
        check(f"the same answer to {compression}", np.array_equal(same.as_numpy("probabilities"), probabilities))
    waiting = queue.Queue()
    for _ in range(20):
        client.async_infer(model, [text_input(TEXTS)], lambda result, error: waiting.put((result, error)))
    results = [waiting.get(timeout=20) for _ in range(20)]
    check("many at once", all(error is None and np.array_equal(result.as_numpy("probabilities"), probabilities) for result, error in results))
    sticky = client.infer(model, [text_input(TEXTS)], headers={"x-refit-key": "user-1"}, model_version="1")
    check("a key and a version", np.array_equal(sticky.as_numpy("probabilities"), probabilities))
    return probabilities


def tokens(client, model):
    """The caller's own tokens: "[CLS] good film [SEP]" with padding."""
    rows = {"input_ids": [[2, 5, 6, 3, 0, 0]], "attention_mask": [[1, 1, 1, 1, 0, 0]], "token_type_ids": [[0] * 6]}
    inputs = []
    for name, values in rows.items():
        inputs.append(triton.InferInput(name, [1, 6], "INT64"))
        inputs[-1].set_data_from_numpy(np.array(values, dtype=np.int64))
    outputs = [triton.InferRequestedOutput(name) for name in ("logits", "embedding")]
    own = client.infer(model, inputs, outputs=outputs)
    text = client.infer(model, [text_input(["good film"])], outputs=outputs)
    check("logits of tokens", np.array_equal(own.as_numpy("logits"), text.as_numpy("logits")))
    check("embedding of tokens", np.array_equal(own.as_numpy("embedding"), text.as_numpy("embedding")))


def refusals(client, model):
    wrong = triton.InferInput("text", [1], "FP32")
    wrong.set_data_from_numpy(np.zeros(1, dtype=np.float32))
    refused("wrong data type", "INVALID_ARGUMENT", "BYTES", lambda: client.infer(model, [wrong]))
    refused("unknown model", "NOT_FOUND", "nobody", lambda: client.infer("nobody", [text_input(TEXTS)]))
    refused("unknown version", "NOT_FOUND", "999", lambda: client.infer(model, [text_input(TEXTS)], model_version="999"))
    output = [triton.InferRequestedOutput("scores")]
    refused("unknown output", "INVALID_ARGUMENT", "scores", lambda: client.infer(model, [text_input(TEXTS)], outputs=output))
    classes = [triton.InferRequestedOutput("probabilities", class_count=2)]
    refused("classification", "UNIMPLEMENTED", "classification", lambda: client.infer(model, [text_input(TEXTS)], outputs=classes))
    large = [text_input(["x" * 2_000_000])]
    refused("too large", "RESOURCE_EXHAUSTED", "too large", lambda: client.infer(model, large))
    zeros = [text_input(["\0" * 30_000_000])]
    bomb = lambda: client.infer(model, zeros, compression_algorithm="gzip")
    try:
        bomb()
        check("a message that inflates beyond the limit", False)
    except InferenceServerException as error:
        check(f"a message that inflates beyond the limit ({error.status()})", True)
    many = [text_input(["good film " * 20] * 200)]
    refused("a deadline of the client", "DEADLINE_EXCEEDED", "", lambda: client.infer(model, many, client_timeout=0.001))


def typed_contents(address, model, probabilities):
    """As KServe's clients send tensors."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(address))
    request = service_pb2.ModelInferRequest(model_name=model, id="typed")
    tensor = request.inputs.add(name="text", datatype="BYTES", shape=[len(TEXTS)])
    tensor.contents.bytes_contents.extend(text.encode() for text in TEXTS)
    response = stub.ModelInfer(request)
    outputs = {output.name: output.contents for output in response.outputs}
    check("typed contents", np.array_equal(np.array(outputs["probabilities"].fp32_contents, dtype=np.float32), probabilities.ravel()))
    check("typed bytes", outputs["label"].bytes_contents[0] == b"positive" and not response.raw_output_contents)
    tensor.contents.bytes_contents[0] = b"\xff"
    refused("not UTF-8", "INVALID_ARGUMENT", "element 0", lambda: stub.ModelInfer(request))
    request.inputs[0].shape[:] = [-1]
    refused("a negative axis", "INVALID_ARGUMENT", "", lambda: stub.ModelInfer(request))
    request.raw_input_contents.extend([b"", b""])
    refused("raw contents of another number", "INVALID_ARGUMENT", "raw contents of 2", lambda: stub.ModelInfer(request))
    unknown = grpc.insecure_channel(address).unary_unary("/inference.Other/Call")
    refused("an unknown service", "UNIMPLEMENTED", "no gRPC service", lambda: unknown(b""))
    unknown = grpc.insecure_channel(address).unary_unary("/inference.GRPCInferenceService/Other")
    refused("an unknown method", "UNIMPLEMENTED", "", lambda: unknown(b""))
    garbage = grpc.insecure_channel(address).unary_unary("/inference.GRPCInferenceService/ModelInfer")
    refused("not a message", "INTERNAL", "", lambda: garbage(b"\xff\xff\xff\xff"))


def streaming(client, model, probabilities):
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(30):
        name = "nobody" if number == 7 else model
        client.async_stream_infer(name, [text_input(TEXTS)], request_id=str(number), enable_empty_final_response=True)
    results = [answers.get(timeout=20) for _ in range(30)]
    client.stop_stream()
    check("a refusal is an answer of the stream", "nobody" in results[7][1].message())
    good = [result for result, error in results if error is None]
    check("streamed answers in their order", [int(result.get_response().id) for result in good] == [*range(7), *range(8, 30)])
    check("streamed answers", all(np.array_equal(result.as_numpy("probabilities"), probabilities) for result in good))
    check("each is the last to its request", all(result.get_response().parameters["triton_final_response"].bool_param for result in good))


async def asynchronous(address, model, probabilities):
    async with triton_aio.InferenceServerClient(address) as client:
        check("asynchronous: ready", await client.is_model_ready(model))
        results = await asyncio.gather(*(client.infer(model, [text_input(TEXTS)]) for _ in range(20)))
        check("asynchronous: answers", all(np.array_equal(it.as_numpy("probabilities"), probabilities) for it in results))

        async def requests():
            for number in range(10):
                yield {"model_name": model, "inputs": [text_input(TEXTS)], "request_id": str(number)}

        streamed = [result async for result, error in client.stream_infer(requests()) if error is None]
        check("asynchronous: a stream", [result.get_response().id for result in streamed] == [str(number) for number in range(10)])


def health(address):
    """grpc.health.v1, its messages written by hand: a string in field 1, an enumeration in field 1."""
    channel = grpc.insecure_channel(address)
    call = channel.unary_unary("/grpc.health.v1.Health/Check")
    check("health of the server", call(b"") == b"\x08\x01")
    name = b"inference.GRPCInferenceService"
    check("health of the service", call(bytes([10, len(name)]) + name) == b"\x08\x01")
    refused("health of nothing", "NOT_FOUND", "nothing", lambda: call(b"\x0a\x07nothing"))
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
    check("health, watched", next(watch) == b"\x08\x01")
    watch.cancel()


def main(address, model):
    client = triton.InferenceServerClient(address)
    what_there_is(client, model)
    shared_memory(client, model)
    probabilities = inference(client, model)
    tokens(client, model)
    refusals(client, model)
    typed_contents(address, model, probabilities)
    streaming(client, model, probabilities)
    asyncio.run(asynchronous(address, model, probabilities))
    statistics = client.get_inference_statistics(model).model_stats[0]
    counted = statistics.inference_stats
    check("statistics", counted.success.count == statistics.inference_count > 200 and counted.compute_infer.ns > 0)
    check("no failures", counted.fail.count == 0)
    health(address)
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
