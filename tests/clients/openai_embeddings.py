"""Embeddings as `openai`, a client that refit did not write, sees them.

usage: openai_embeddings.py HOST:PORT MODEL

Needs `openai` and numpy. Prints one line for each thing that works, and fails at the first that does not.
"""

import base64
import sys

import numpy as np
import openai

TEXTS = ["good film", "the plot was bad", "", "süß 🎬 and good"]


def check(name, true):
    if not true:
        sys.exit(f"FAILED: {name}")
    print(f"ok: {name}")


def refused(name, error, says, call):
    try:
        call()
    except error as refusal:
        check(f"{name} ({refusal.status_code})", says in refusal.message)
    else:
        check(name, False)


def main(address, model):
    client = openai.OpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0)
    listed = list(client.models.list())
    check("models", [it.id for it in listed] == [model] and listed[0].object == "model" and listed[0].created > 0)
    check("one model", client.models.retrieve(model).owned_by == "refit")

    one = client.embeddings.create(model=model, input=TEXTS[0])
    check("one text", len(one.data) == 1 and one.object == "list" and one.model == model)
    check("usage", one.usage.prompt_tokens == one.usage.total_tokens == 4)
    many = client.embeddings.create(model=model, input=TEXTS)
    check("many texts", [it.index for it in many.data] == list(range(len(TEXTS))))
    check("an answer does not depend on its neighbours", many.data[0].embedding == one.data[0].embedding)
    floats = client.embeddings.create(model=model, input=TEXTS, encoding_format="float")
    vectors = np.array([it.embedding for it in floats.data], dtype=np.float32)
    check("floats", np.array_equal(vectors, np.array([it.embedding for it in many.data], dtype=np.float32)))
    # Two words of four tokens, the first component is 8 for "good".
    check("the vector", abs(vectors[0, 0] - 2) < 1e-6 and vectors.shape == (len(TEXTS), 256))
    raw = client.embeddings.with_raw_response.create(model=model, input=TEXTS[0], encoding_format="base64")
    bytes_of = base64.b64decode(raw.http_response.json()["data"][0]["embedding"])
    check("base64", np.array_equal(np.frombuffer(bytes_of, dtype="<f4"), vectors[0]))
    check("the own dimensions", len(client.embeddings.create(model=model, input="a", dimensions=256).data[0].embedding) == 256)

    embed = lambda **change: client.embeddings.create(**{"model": model, "input": "a", **change})
    refused("other dimensions", openai.UnprocessableEntityError, "256 dimensions", lambda: embed(dimensions=8))
    refused("unknown model", openai.NotFoundError, "nobody", lambda: embed(model="nobody"))
    refused("token ids", openai.UnprocessableEntityError, "list of strings", lambda: embed(input=[1, 2]))
    refused("no input", openai.UnprocessableEntityError, "input is empty", lambda: embed(input=[]))


if __name__ == "__main__":
    main(*sys.argv[1:])
